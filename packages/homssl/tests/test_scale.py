import pytest
import torch
from homssl import Cyclic, GroupConv2d, LiftConv2d, Product, Scale
from torch import nn


def smooth(x, sigma=2.0):
    return Scale(2, sigma=sigma).blur(x, 1)


@torch.no_grad()
def error(net, x, group, g):
    z = net(x)
    known = group.known(g, z)
    want = group.act_on_features(z, g) * known
    return float((net(group.act(x, g)) * known - want).norm() / want.norm())


def test_blurs_add_up_to_one_another(draw):
    scale, x = Scale(4), draw(1, 1, 16, 16)
    assert scale.variance(1) == pytest.approx(1.0)
    assert scale.variance(2) == pytest.approx(scale.variance(1) + 4 * scale.variance(1))
    twice = Scale(2, sigma=2.0).blur(scale.blur(x, 1), 1)  # variances 1 and 4
    assert torch.allclose(twice, scale.blur(x, 2), rtol=0, atol=1e-14)
    assert torch.allclose(scale.blur(x, 3).mean(), x.mean(), rtol=0, atol=1e-14)


def test_reductions_compose_about_the_centre(draw):
    scale, x = Scale(4), draw(1, 1, 15, 18)
    for a in (0, 1, 2):
        for b in (0, 1):
            assert torch.equal(scale.shrink(scale.shrink(x, b), a), scale.shrink(x, a + b))
    assert torch.equal(scale.shrink(x, 1)[..., 7, 8], x[..., 7, 8])


def test_a_lifted_smooth_image_moves_down_the_levels(draw):
    group, x = Scale(3), smooth(draw(3, 1, 32, 32))
    net = nn.Sequential(LiftConv2d(1, 4, 3, group), nn.ReLU(), GroupConv2d(4, 4, 3, group))
    net = net.double()
    assert error(net, x, group, 1) < 0.02
    assert error(net, x, group, 2) < 0.02
    assert error(net, x, group, 1) > 1e-8  # approximate, and said to be
    assert not group.exact


def test_the_wrong_direction_of_the_levels_is_seen(draw):
    group, x = Scale(3), smooth(draw(3, 1, 32, 32))
    net = LiftConv2d(1, 4, 3, group).double().requires_grad_(False)
    z = net(x)
    up = torch.cat([torch.zeros_like(z[:, :, :1]), z[:, :, :-1]], dim=2)
    want = group.shrink(up, 1)[:, :, 1:]
    assert float((net(group.act(x, 1))[:, :, 1:] - want).norm() / want.norm()) > 0.1


def test_rotations_are_exact_beside_scale(draw):
    group, x = Product(Cyclic(4), Scale(2)), draw(2, 1, 15, 15)
    net = nn.Sequential(LiftConv2d(1, 4, 3, group), nn.ReLU(), GroupConv2d(4, 4, 3, group))
    net = net.double()
    for turn in range(4):
        assert error(net, x, group, 2 * turn) < 1e-12
    assert error(net, smooth(x), group, 3) < 0.1


def test_only_the_levels_inside_are_known():
    group, z = Scale(3), torch.zeros(1, 1, 3)
    assert group.known(1, z).tolist() == [True, True, False]
    assert group.admissible(group.base(2)).tolist() == [True, True, False]
    both = Product(Cyclic(2), group)
    assert both.known(1, torch.zeros(1, 1, 6)).tolist() == [True, True, False] * 2


@pytest.mark.parametrize("levels", [0, 1])
def test_one_level_is_no_scale(levels):
    with pytest.raises(ValueError, match=f"got {levels}"):
        Scale(levels)


def test_a_reduction_has_no_inverse_and_no_end():
    with pytest.raises(ValueError, match="no inverses"):
        Scale(3).inverse(torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="below 3"):
        Scale(3).compose(torch.tensor(1), torch.tensor(2))

import copy

import pytest
import torch
from homssl import (
    ASSL,
    HSSL,
    Cyclic,
    Dihedral,
    EMATeacher,
    GroupConv2d,
    LiftConv2d,
    Product,
    Scale,
    Translation,
    cosine_regression,
    group_convnet,
    info_nce,
    unstructured,
)
from homssl.fibers import fibers
from torch import nn

GROUPS = [
    Cyclic(4),
    Dihedral(4),
    Translation((7, 7)),
    Translation((7, 5)),
    Product(Cyclic(4), Translation((7, 7))),
]
OBJECTIVES = ["info_nce", "simsiam", "byol", "any"]


def variance(z1, z2):
    """Some pair objective that a user may bring."""
    return (z1 - z2).square().mean() - 0.1 * (z1.std(0) + z2.std(0)).mean()


def pair_of(group, objective, draw, *, base_size=1, width=8, **options):
    """H-SSL and A-SSL on the same modules, and images."""
    encoder = group_convnet(group, widths=(4, 6, width)).double()
    seen = len(group.base(base_size)) * width
    head = nn.Sequential(nn.Linear(seen, 16), nn.ReLU(), nn.Linear(16, 8)).double()
    if objective in ("simsiam", "byol"):
        predictor = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8))
        options |= {"objective": cosine_regression, "predictor": predictor.double()}
    elif objective == "any":
        options |= {"objective": variance}
    h = HSSL(encoder, group, head=head, base_size=base_size, **options)
    a = ASSL(encoder, group, head=head, base_size=base_size, **options)
    if objective == "byol":
        h.teacher, a.teacher = EMATeacher(h.branch), EMATeacher(a.branch)
        for teacher in h.teacher, a.teacher:
            for i, weight in enumerate(teacher.inner.parameters()):
                weight.data += 0.1 * draw(*weight.shape, seed=i)  # not the branch itself
    height, wide = group.grid or (7, 7)
    return h, a, draw(16, 1, 4 * height, 4 * wide)


def gradient(loss, module):
    parts = torch.autograd.grad(
        loss, list(module.parameters()), allow_unused=True, retain_graph=True
    )
    return torch.cat([p.flatten() for p in parts if p is not None])


@pytest.mark.parametrize("group", GROUPS, ids=str)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_both_losses_and_gradients_are_one_number(group, objective, draw, generator):
    h, a, x = pair_of(group, objective, draw, base_size=2)
    first = h(x, generator=generator)
    second = a(x, elements=first.elements)
    assert h.training
    assert abs(float(first.loss.detach() - second.loss.detach())) <= 1e-12
    assert float((first.views - second.views).detach().abs().max()) <= 1e-12
    one, other = gradient(first.loss, h.branch), gradient(second.loss, a.branch)
    assert float((one - other).norm() / other.norm()) <= 1e-11


def test_the_identity_at_the_size_of_the_notes_in_both_precisions(draw, generator):
    """64 images, C4, batch normalisation in training mode."""
    group, x = Cyclic(4), draw(64, 1, 28, 28)
    for dtype, value, slope in ((torch.float64, 1e-12, 1e-11), (torch.float32, 1e-5, 1e-4)):
        encoder = group_convnet(group).to(dtype)
        h = HSSL(encoder, group)(x.to(dtype), generator=generator)
        a = ASSL(encoder, group)(x.to(dtype), elements=h.elements)
        assert abs(float(h.loss.detach() - a.loss.detach())) <= value
        one, other = gradient(h.loss, encoder), gradient(a.loss, encoder)
        assert float((one - other).norm() / other.norm()) <= slope


@pytest.mark.parametrize("group", [Cyclic(4), Dihedral(4), Translation((7, 7))], ids=str)
def test_the_wrong_sign_of_the_index_is_caught(group, draw, generator):
    """Control: at +g the loss is another, by little; the bound of the identity is far below."""
    h, a, x = pair_of(group, "info_nce", draw)
    elements = h.sample(len(x), generator=generator)
    z = h.branch.encoder(x)
    base = group.base(1)
    wrong = [h.branch.head(fibers(z, group, base, group.inverse(g))) for g in elements]
    difference = abs(float((info_nce(*wrong) - a(x, elements=elements).loss).detach()))
    assert 1e-4 < difference < 1


def test_without_structure_the_two_losses_part(draw, generator):
    group, x = Cyclic(4), draw(64, 1, 28, 28)
    plain = unstructured(group_convnet(group)).double()
    h = HSSL(plain, group)(x, generator=generator)
    a = ASSL(plain, group)(x, elements=h.elements)
    assert abs(float((h.loss - a.loss).detach())) > 0.01


@pytest.mark.parametrize("views", [2, 3, 4])
def test_many_views_cost_one_pass_and_average_all_pairs(views, draw, generator):
    h, a, x = pair_of(Cyclic(4), "info_nce", draw, views=views)
    passes = []
    h.branch.encoder.register_forward_hook(lambda *_: passes.append(1))
    out = h(x, generator=generator)
    assert len(passes) == 1
    a(x, elements=out.elements)
    assert len(passes) == 1 + views  # the encoder is one
    pairs = [info_nce(out.views[i], out.views[j]) for i in range(views) for j in range(i)]
    assert float(out.loss.detach()) == pytest.approx(float(sum(pairs).detach()) / len(pairs))


def test_a_predicted_view_learns_and_its_target_does_not(draw, generator):
    h, _, x = pair_of(Cyclic(4), "simsiam", draw)
    out = h(x, generator=generator)
    z1, z2 = out.views
    p1, p2 = h.predictor(z1), h.predictor(z2)
    want = (cosine_regression(p1, z2.detach()) + cosine_regression(p2, z1.detach())) / 2
    assert float(out.loss.detach()) == pytest.approx(float(want.detach()), abs=1e-12)
    assert torch.allclose(gradient(out.loss, h.branch), gradient(want, h.branch), atol=1e-12)


def test_a_teacher_gives_the_targets_without_gradient(draw, generator):
    h, _, x = pair_of(Cyclic(4), "byol", draw)
    out = h(x, generator=generator)
    t1, t2 = h.teacher(x, out.elements)
    p1, p2 = (h.predictor(view) for view in out.views)
    want = (cosine_regression(p1, t2) + cosine_regression(p2, t1)) / 2
    assert float(out.loss.detach()) == pytest.approx(float(want.detach()), abs=1e-12)
    out.loss.backward()
    assert all(w.grad is None for w in h.teacher.parameters())
    assert not t1.requires_grad


def test_a_teacher_follows_by_its_decay(draw):
    branch = nn.Linear(2, 2)
    teacher = EMATeacher(branch, decay=0.9)
    start = copy.deepcopy(branch.weight.data)
    branch.weight.data += 1
    teacher.update()
    assert torch.allclose(teacher.inner.weight, start + 0.1)
    assert len(list(teacher.parameters())) == 2  # what it follows is no part of it
    assert all(not w.requires_grad for w in teacher.parameters())
    with pytest.raises(ValueError, match=r"0 to 1, got 1\.5"):
        EMATeacher(branch, decay=1.5)


def test_input_augmentation_and_fibers_go_together(draw, generator):
    h, a, x = pair_of(Cyclic(4), "info_nce", draw)
    jitter = [x * (1 + 0.2 * draw(16, 1, 1, 1, seed=seed)) for seed in (1, 2, 3)]
    out = h(jitter, generator=generator)
    assert out.views.shape[0] == 6  # three versions, two fibers each
    assert bool(out.loss.isfinite())
    again = a(jitter, elements=out.elements)
    assert abs(float((out.loss - again.loss).detach())) <= 1e-12


def test_the_full_base_with_an_invariant_head_does_not_see_the_element(draw):
    group = Cyclic(4)

    class Mean(nn.Module):
        def forward(self, v):
            return v.unflatten(1, (4, -1)).mean(1)

    h = HSSL(group_convnet(group).double(), group, head=Mean(), base_size=4)
    x = draw(8, 1, 12, 12)
    losses = [float(h(x, elements=torch.randint(4, (2, 8))).loss.detach()) for _ in range(3)]
    assert max(losses) - min(losses) < 1e-12


def test_the_order_of_images_and_of_channels_does_not_matter(draw, generator):
    h, _, x = pair_of(Cyclic(4), "byol", draw)
    h.eval()
    out = h(x, generator=generator)
    order = torch.randperm(len(x), generator=generator)
    again = h(x[order], elements=out.elements[:, order])
    assert float(again.loss.detach()) == pytest.approx(float(out.loss.detach()), abs=1e-12)

    channels = torch.randperm(8, generator=generator)

    class Shuffled(nn.Module):
        def __init__(self, encoder):
            super().__init__()
            self.encoder = encoder

        def forward(self, x):
            return self.encoder(x)[:, channels]

    for branch in h.branch, h.teacher.inner:
        branch.encoder = Shuffled(branch.encoder)
        first = branch.head[0]
        first.weight.data = first.weight.data[:, channels]
    shuffled = h(x, elements=out.elements)
    assert float(shuffled.loss.detach()) == pytest.approx(float(out.loss.detach()), abs=1e-12)


def test_a_margin_makes_the_identity_exact_under_zero_padding(draw, generator):
    group = Translation((12, 12), margin=2)
    net = nn.Sequential(LiftConv2d(1, 4, 3, group), nn.ReLU(), GroupConv2d(4, 6, 3, group)).double()
    h, a = HSSL(net, group, base_size=2), ASSL(net, group, base_size=2)
    x = draw(8, 1, 12, 12)
    out = h(x, generator=generator)
    assert float((out.loss - a(x, elements=out.elements).loss).detach().abs()) == 0.0
    torus = Translation((12, 12))
    options = {"base_size": 2, "allow_approximate": True}
    h, a = HSSL(net, torus, **options), ASSL(net, torus, **options)
    out = h(x, generator=generator)
    assert float((out.loss - a(x, elements=out.elements).loss).detach().abs()) > 1e-3


def test_scale_is_near_on_smooth_images_and_no_more(draw, generator):
    group = Scale(3)
    net = nn.Sequential(LiftConv2d(1, 4, 3, group), nn.ReLU(), GroupConv2d(4, 6, 3, group)).double()
    x = Scale(2, sigma=2.0).blur(draw(8, 1, 32, 32), 1)
    x = x / x.std() + torch.linspace(-2, 2, 8, dtype=x.dtype).view(8, 1, 1, 1)
    h = HSSL(net, group)(x, generator=generator)
    a = ASSL(net, group)(x, elements=h.elements)
    assert 0 < float((h.loss - a.loss).detach().abs()) < 0.02


def test_a_draw_is_replayed_and_the_global_generator_left_alone(draw):
    h, _, x = pair_of(Cyclic(4), "info_nce", draw)
    before = torch.random.get_rng_state()
    first, again = (h(x, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first.elements, again.elements)
    assert torch.equal(first.views, again.views)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert "2 views of 16 images" in str(first)
    table = first.to_table()
    assert {len(column) for column in table.values()} == {32}
    assert table["element"][:2] == first.elements[:, 0].tolist()


def test_construction_refuses_an_encoder_that_breaks(draw):
    group = Cyclic(4)
    broken = nn.Sequential(
        LiftConv2d(1, 4, 3, group), nn.Flatten(1, 2), nn.BatchNorm2d(16), nn.Unflatten(1, (4, 4))
    )
    with pytest.raises(ValueError, match=r"encoder\.2 normalises each orientation"):
        HSSL(broken, group)
    assert HSSL(broken, group, allow_approximate=True).branch.encoder is broken
    with pytest.raises(ValueError, match=r"encoder\.0 is a layer of D4, but the group is C4"):
        ASSL(group_convnet(Dihedral(4)), group)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"views": 1}, "views must be at least 2, got 1"),
        ({"views": 5}, "at most 4"),
        ({"max_distance": 0}, "1 to 2, got 0"),
        ({"base_size": 9}, "1 to 4, got 9"),
    ],
)
def test_construction_says_what_came(options, message):
    with pytest.raises(ValueError, match=message):
        HSSL(nn.Identity(), Cyclic(4), **options)


def test_a_step_says_what_came(draw, generator):
    h, _, x = pair_of(Cyclic(4), "info_nce", draw)
    for call, message in (
        (lambda: h(x), "generator must be given"),
        (lambda: h(x, elements=torch.zeros(3, 16, dtype=torch.int64)), r"\(2, 16\), got \(3, 16\)"),
        (lambda: h([x, x[:3]], generator=generator), r"got \[16, 3\]"),
        (lambda: h([], generator=generator), r"got \[\]"),
        (lambda: h(x[:1], generator=generator), "at least 2 images"),
        (lambda: h(draw(4, 1, 28, 24), generator=generator), "square maps, got 28x24"),
        (lambda: h(draw(4, 1, 28), generator=generator), r"\(B, 1, H, W\)"),
    ):
        with pytest.raises(ValueError, match=message):
            call()

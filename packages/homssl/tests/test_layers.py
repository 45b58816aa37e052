import copy
import io

import pytest
import torch
from homssl import (
    Cyclic,
    Dihedral,
    GroupBatchNorm2d,
    GroupConv2d,
    GroupMean,
    GroupPool2d,
    LiftConv2d,
    Product,
    Scale,
    Translation,
    expand_kernel,
    group_convnet,
    group_resnet,
    turned_kernels,
    unstructured,
)
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

GROUPS = [
    Cyclic(2),
    Cyclic(4),
    Dihedral(1),
    Dihedral(4),
    Translation((3, 3)),
    Product(Cyclic(4), Translation((3, 3))),
    Product(Dihedral(4), Translation((4, 4))),
]
each = pytest.mark.parametrize("group", GROUPS, ids=str)


@torch.no_grad()
def worst(net, x, group):
    """The largest relative error of equivariance over the generators."""
    z = net(x)
    errors = []
    for g in group.generators:
        want = group.act_on_features(z, g)
        errors.append(float((net(group.act(x, g)) - want).norm() / want.norm()))
    return max(errors)


def looped_group_conv(z, weight, bias, group, padding):
    """The definition: sums over channels, orientations and taps, one output number at a time."""
    batch, into, order, height, width = z.shape
    out_channels, k = weight.shape[0], weight.shape[-1]
    z = nn.functional.pad(z, [padding] * 4)
    size = (height + 2 * padding - k + 1, width + 2 * padding - k + 1)
    y = torch.zeros(batch, out_channels, order, *size, dtype=z.dtype)
    for r in range(order):
        back = group.inverse(torch.tensor(r))
        for o in range(out_channels):
            y[:, o, r] = bias[o]
            for i in range(into):
                for s in range(order):
                    relative = int(group.compose(back, torch.tensor(s)))
                    kernel = group.turn(weight[o, i, relative], r)
                    for dy in range(k):
                        for dx in range(k):
                            patch = z[:, i, s, dy : dy + size[0], dx : dx + size[1]]
                            y[:, o, r] += kernel[dy, dx] * patch
    return y


@pytest.mark.parametrize("group", [Cyclic(2), Cyclic(4), Dihedral(2), Dihedral(4)], ids=str)
def test_a_group_convolution_equals_its_definition(group, draw):
    layer = GroupConv2d(2, 3, 3, group).double()
    z = draw(2, 2, group.order, 5, 5)
    want = looped_group_conv(z, layer.weight, layer.bias, group, 1)
    assert float((layer(z) - want).detach().abs().max()) < 1e-12
    assert layer.weight.numel() == 3 * 2 * group.order * 9


@pytest.mark.parametrize("group", [Cyclic(4), Dihedral(4)], ids=str)
def test_lifting_equals_a_convolution_with_each_turned_kernel(group, draw):
    layer = LiftConv2d(2, 3, 3, group).double()
    x = draw(2, 2, 6, 6)
    for r in range(group.order):
        kernel = group.turn(layer.weight[:, :, 0], r)
        want = nn.functional.conv2d(x, kernel, layer.bias, padding=1)
        assert float((layer(x)[:, :, r] - want).detach().abs().max()) < 1e-13
    assert layer.weight.numel() == 3 * 2 * 9


@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_trivial_group_is_torch_to_the_bit(padding, stride):
    x = torch.randn(2, 3, 9, 9)
    plain = nn.Conv2d(3, 5, 3, stride=stride, padding=padding)
    lift = LiftConv2d(3, 5, 3, Cyclic(1), stride=stride, padding=padding)
    conv = GroupConv2d(3, 5, 3, Cyclic(1), stride=stride, padding=padding)
    for layer in lift, conv:
        layer.load_state_dict({"weight": plain.weight[:, :, None], "bias": plain.bias})
    assert torch.equal(lift(x)[:, :, 0], plain(x))
    assert torch.equal(conv(x[:, :, None])[:, :, 0], plain(x))
    norm, twin = GroupBatchNorm2d(5, Cyclic(1)), nn.BatchNorm2d(5)
    assert torch.equal(norm(lift(x))[:, :, 0], twin(plain(x)))


@each
def test_every_layer_and_the_whole_network_are_equivariant(group, draw):
    side = 4 * (group.grid or (3, 3))[0]
    x = draw(3, 2, side, side)
    lift = LiftConv2d(2, 3, 3, group)
    for rest in (
        [],
        [GroupConv2d(3, 4, 3, group)],
        [GroupConv2d(3, 4, 1, group)],
        [GroupConv2d(3, 4, 5, group)],
        [GroupBatchNorm2d(3, group)],
        [GroupPool2d(2, group)],
        [GroupPool2d(2, group, kind="max")],
    ):
        assert worst(nn.Sequential(lift, *rest).double(), x, group) < 1e-12
    net = group_convnet(group, widths=(3, 4, 5), in_channels=2).double()
    assert worst(net, x, group) < 1e-12
    assert worst(net.eval(), x, group) < 1e-12
    assert worst(group_resnet(group, widths=(3, 4), in_channels=2).double(), x, group) < 1e-12


@given(
    group=st.sampled_from([Cyclic(2), Cyclic(4), Dihedral(2), Dihedral(4)]),
    side=st.integers(5, 9),
    size=st.integers(1, 5),
    padding=st.integers(0, 2),
    seed=st.integers(0, 10**6),
)
def test_any_kernel_and_padding_keep_rotations(group, side, size, padding, seed, draw):
    net = nn.Sequential(
        LiftConv2d(1, 2, size, group, padding=padding), GroupConv2d(2, 2, 2, group, padding=padding)
    ).double()
    if side + 4 * padding - size < 1:
        return
    assert worst(net, draw(2, 1, side, side, seed=seed), group) < 1e-12


def test_a_stride_on_an_odd_grid_is_exact_and_on_an_even_grid_is_not(draw):
    group = Cyclic(4)
    odd = LiftConv2d(1, 4, 3, group, stride=2, size=29).double()
    assert worst(odd, draw(2, 1, 29, 29), group) < 1e-12
    for make in (
        lambda: LiftConv2d(1, 4, 3, group, stride=2, size=28),
        lambda: odd(draw(2, 1, 28, 28)),
    ):
        with pytest.raises(ValueError, match="stride 2 on a side of 28 is not symmetric"):
            make()
    with pytest.raises(ValueError, match="size must be given with stride 2"):
        LiftConv2d(1, 4, 3, group, stride=2)
    even = LiftConv2d(1, 4, 3, group, stride=2, size=28, allow_approximate=True).double()
    assert worst(even, draw(2, 1, 28, 28), group) > 0.1
    centred = LiftConv2d(1, 4, 2, group, stride=2, size=28).double()  # even kernel, even grid
    assert worst(centred, draw(2, 1, 28, 28), group) < 1e-12


def test_pooling_an_odd_grid_is_refused(draw):
    with pytest.raises(ValueError, match="side of 7 is not symmetric"):
        GroupPool2d(2, Cyclic(4), size=7)
    with pytest.raises(ValueError, match="side of 7 is not symmetric"):
        GroupPool2d(2, Cyclic(4))(draw(1, 1, 4, 7, 7))
    loose = GroupPool2d(2, Cyclic(4), allow_approximate=True)
    net = nn.Sequential(LiftConv2d(1, 4, 3, Cyclic(4)), loose).double()
    assert worst(net, draw(1, 1, 7, 7), Cyclic(4)) > 0.1


def test_shifts_by_the_stride_are_exact_and_by_less_are_not(draw):
    x = draw(2, 1, 12, 12)
    net = group_convnet(Translation((3, 3)), widths=(3, 4, 5)).double()  # total stride 4
    z = net(x)
    assert torch.allclose(net(x.roll(4, -1)), z.roll(1, -1), rtol=0, atol=1e-12)
    assert float((net(x.roll(2, -1)) - z).detach().abs().max()) > 1e-3


def test_zero_padding_is_refused_for_a_torus_and_exact_inside_a_margin(draw):
    with pytest.raises(ValueError, match="zero padding breaks"):
        LiftConv2d(1, 2, 3, Translation((8, 8)), padding_mode="zeros")
    with pytest.raises(ValueError, match="keeps the grid"):
        LiftConv2d(1, 2, 3, Translation((8, 8)), padding=0)
    x = draw(2, 1, 8, 8)
    loose = LiftConv2d(
        1, 2, 3, Translation((8, 8)), padding_mode="zeros", allow_approximate=True
    ).double()
    assert worst(loose, x, Translation((8, 8))) > 0.1
    inside = Translation((8, 8), margin=1)
    net = LiftConv2d(1, 2, 3, inside).double()
    assert net.padding_mode == "zeros"
    z = net(x)
    for g in range(inside.order):
        known = inside.known(g, z)
        want = inside.act_on_features(z, g)
        assert float(((net(inside.act(x, g)) - want) * known).detach().abs().max()) == 0.0


def test_a_constant_image_looks_the_same_in_every_orientation():
    net = group_convnet(Cyclic(4), kernel_size=1).double()
    z = net(torch.full((2, 1, 12, 12), 0.7, dtype=torch.float64))
    assert float((z - z[:, :, :1]).detach().abs().max()) < 1e-12


def test_eight_rotations_are_near_with_smooth_kernels_and_exact_at_quarter_turns(draw):
    group = Cyclic(8, allow_approximate=True)
    away = torch.arange(33) - 16.0
    disc = (away[:, None] ** 2 + away**2 < 110).double()
    x = Scale(2, sigma=2.0).blur(draw(3, 1, 33, 33) * disc, 1)
    layer = LiftConv2d(1, 8, 7, group, bias=False).double()

    layer.requires_grad_(False)

    def error(g):
        z = layer(x)
        want = group.act_on_features(z, g)
        return float((layer(group.act(x, g)) - want).norm() / want.norm())

    with torch.no_grad():
        layer.weight.copy_(draw(*layer.weight.shape, seed=1))
    assert error(1) > 0.1
    assert error(2) < 1e-12
    inner = torch.zeros(7, 7, dtype=torch.float64)
    inner[2:5, 2:5] = 1  # what a blur of one pixel keeps inside the kernel
    with torch.no_grad():
        rough = draw(*layer.weight.shape, seed=1) * inner
        layer.weight.copy_(Scale(2, sigma=1.0).blur(rough, 1))
    assert error(1) <= 0.03
    assert error(2) < 1e-12


def test_the_kernel_is_kept_in_eval_mode_and_dropped_when_the_weight_changes(draw):
    layer = LiftConv2d(1, 2, 3, Cyclic(4)).double().eval()
    x = draw(1, 1, 6, 6)
    with torch.no_grad():
        first = layer(x)
        assert layer.kernel() is layer.kernel()
    kept = layer._kept[2]
    layer(x).sum().backward()  # with gradient: not kept
    torch.optim.SGD(layer.parameters(), lr=0.1).step()
    with torch.no_grad():
        assert layer.kernel() is not kept
        assert not torch.equal(layer(x), first)
        twin = copy.deepcopy(layer)
        assert twin._kept is None
        layer.weight = nn.Parameter(torch.zeros_like(layer.weight))
        assert float(layer.kernel().abs().max()) == 0
        assert twin(x).dtype == torch.float64
        assert layer.float().kernel().dtype == torch.float32
        layer.train()
        assert layer._kept is None
        assert layer.kernel() is not layer.kernel()


def test_weights_given_for_one_call_are_not_kept(draw):
    layer = LiftConv2d(1, 2, 3, Cyclic(4)).double().eval()
    x = draw(1, 1, 6, 6)
    with torch.no_grad():
        for value in (1.0, 2.0):  # both may stand at one address
            other = {"weight": torch.full_like(layer.weight, value)}
            out = torch.func.functional_call(layer, other, (x,))
            want = layer(x) * 0 + layer.bias.view(1, -1, 1, 1, 1)
            want = want + value * nn.functional.conv2d(
                x, torch.ones(8, 1, 3, 3, dtype=x.dtype), padding=1
            ).view(out.shape)
            assert torch.allclose(out, want, atol=1e-12)


def test_a_network_is_saved_and_loaded_as_plain_weights(draw):
    net, twin = group_convnet(Cyclic(4)).eval(), group_convnet(Cyclic(4)).eval()
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    twin.load_state_dict(torch.load(file, weights_only=True))
    x = torch.randn(2, 1, 12, 12)
    assert torch.equal(net(x), twin(x))
    assert not any("turns" in name or "kept" in name for name in net.state_dict())


@pytest.mark.parametrize("group", [Cyclic(4), Scale(2), Translation((4, 4))], ids=str)
def test_a_network_compiles_as_one_graph_and_exports(group):
    net = group_convnet(group, widths=(2, 3)).eval()
    x = torch.randn(2, 1, 8, 8)
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    exported = torch.export.export(net, (x,)).module()
    with torch.no_grad():
        assert torch.allclose(compiled(x), net(x), atol=1e-6)
        assert torch.allclose(exported(x), net(x), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_passes_through(dtype):
    net = group_convnet(Cyclic(4)).to(dtype).eval()
    assert net(torch.randn(2, 1, 12, 12, dtype=dtype)).dtype == dtype


def test_the_expanded_kernel_of_an_inexact_group_agrees_at_quarter_turns(draw):
    exact, eight = Cyclic(4), Cyclic(8, allow_approximate=True)
    weight = draw(2, 3, 4, 3, 3)
    wide = torch.zeros(2, 3, 8, 3, 3, dtype=weight.dtype)
    wide[:, :, ::2] = weight
    every = [group.elements() for group in (exact, eight)]
    four = expand_kernel(
        weight, turned_kernels(exact, 3), exact.pull(every[0][None], every[0][:, None])
    )
    all_eight = expand_kernel(
        wide, turned_kernels(eight, 3), eight.pull(every[1][None], every[1][:, None])
    )
    part = all_eight.view(2, 8, 3, 8, 3, 3)[:, ::2, :, ::2].reshape(four.shape)
    assert torch.allclose(part, four, atol=1e-12)


def test_the_twin_without_structure_has_the_same_tensors(draw):
    x = draw(3, 1, 12, 12)
    for group in (Cyclic(4), Dihedral(4), Translation((3, 3))):
        net = group_convnet(group).double()
        before = {name: value.clone() for name, value in net.state_dict().items()}
        plain = unstructured(net)
        for layer, twin in zip(net, plain, strict=True):
            a, b = (layer(x), twin(x))
            assert a.shape == b.shape
            assert a.dtype == b.dtype
            x = a.detach()
        x = draw(3, 1, 12, 12)
        if group.axis > 1:
            assert worst(plain, x, group) > 0.1
            weights = [sum(w.numel() for w in m.parameters() if w.ndim > 3) for m in (net, plain)]
            assert weights[1] == group.axis * weights[0]
        now = net.state_dict()
        assert all(torch.equal(now[k], v) for k, v in before.items() if "running" not in k
                   and "tracked" not in k)  # fmt: skip


def test_means_over_the_group_and_over_space(draw):
    z = draw(2, 3, 4, 5, 5)
    assert torch.equal(GroupMean("group")(z), z.mean(2))
    assert torch.equal(GroupMean("space")(z), z.mean((3, 4)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LiftConv2d(0, 2, 3, Cyclic(4)), "in_channels must be at least 1, got 0"),
        (lambda: LiftConv2d(1, 2, 3, Cyclic(4), padding=-1), "padding must be at least 0"),
        (lambda: LiftConv2d(1, 2, 3, Cyclic(4), padding_mode="reflect"), "got 'reflect'"),
        (lambda: LiftConv2d(1, 2, 3, Cyclic(4))(torch.zeros(1, 2, 4, 4)), r"got \(1, 2, 4, 4\)"),
        (lambda: LiftConv2d(1, 2, 3, Cyclic(4))(torch.zeros(1, 1, 4, 6)), "got 4x6"),
        (lambda: GroupConv2d(1, 2, 3, Cyclic(4))(torch.zeros(1, 1, 2, 4, 4)), r"\(B, 1, 4, H, W\)"),
        (lambda: GroupBatchNorm2d(2, Cyclic(4))(torch.zeros(1, 8, 4, 4)), r"\(B, 2, 4, H, W\)"),
        (lambda: GroupPool2d(0, Cyclic(4)), "at least 1"),
        (lambda: GroupPool2d(2, Cyclic(4), kind="min"), "'min'"),
        (lambda: GroupMean("channels"), "'channels'"),
        (lambda: group_convnet(Cyclic(4), widths=()), "got none"),
        (lambda: group_resnet(Cyclic(4), blocks=0), "got"),
        (lambda: unstructured(group_convnet(Scale(2))), "no levels of scale"),
    ],
)
def test_says_what_came(make, message):
    with pytest.raises(ValueError, match=message):
        make()

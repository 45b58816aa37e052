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
    NotHomomorphicError,
    Product,
    Scale,
    Translation,
    assert_homomorphic,
    equivariance_error,
    group_convnet,
    unstructured,
)
from torch import nn

C4 = Cyclic(4)


class OneByOne(nn.Module):
    """A mutant: batch normalisation of each orientation by itself."""

    def __init__(self, channels, axis):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels * axis)
        nn.init.uniform_(self.norm.weight, 0.5, 1.5)

    def forward(self, z):
        return self.norm(z.flatten(1, 2)).view(z.shape)


class NoRoll(GroupConv2d):
    """A mutant: the weight does not follow the relative orientation."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.relative = torch.arange(4).expand(4, 4)


class Reversed(GroupConv2d):
    """A mutant: r s in the place of r^-1 s."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.relative = self.relative[[0, 3, 2, 1]]


class Position(nn.Module):
    """A mutant: a learned number for every cell."""

    def __init__(self, side):
        super().__init__()
        self.number = nn.Parameter(torch.randn(side, side))

    def forward(self, z):
        return z + self.number


MUTANTS = {
    "per-orientation batch norm": lambda: OneByOne(4, 4),
    "stride on an even grid": lambda: GroupConv2d(
        4, 4, 3, C4, stride=2, size=12, allow_approximate=True
    ),
    "no roll of the group axis": lambda: NoRoll(4, 4, 3, C4),
    "the wrong roll": lambda: Reversed(4, 4, 3, C4),
    "dropout": lambda: nn.Dropout(0.5),
    "a code of position": lambda: Position(12),
    "layer norm with a weight for each cell": lambda: nn.LayerNorm((12, 12)),
}


def network(*rest):
    start = [LiftConv2d(1, 4, 3, C4), GroupBatchNorm2d(4, C4), nn.ReLU()]
    end = [GroupConv2d(4, 5, 3, C4, padding=1), nn.ReLU()]
    return nn.Sequential(*start, *rest, *end).double()


def test_a_network_over_the_group_passes_layer_by_layer(draw):
    certificate = assert_homomorphic(group_convnet(C4).double(), draw(3, 1, 28, 28), C4)
    assert certificate.passed
    assert certificate.first_failing is None
    assert certificate.max_error < 1e-12
    assert [row.name for row in certificate.layers] == [*map(str, range(11)), "(output)"]
    assert all(row.error < 1e-12 for row in certificate.layers)
    assert certificate.elements == (0, 1, 2, 3)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_defect_is_found_and_named(name, draw):
    mutant = MUTANTS[name]()
    if isinstance(mutant, nn.LayerNorm):
        nn.init.uniform_(mutant.weight, 0.5, 1.5)
    net = network(mutant)
    x = draw(3, 1, 12, 12)
    certificate = equivariance_error(net, x, C4)
    assert certificate.passed is False
    assert certificate.first_failing in ("3", "3.norm")
    assert "not equivariant: the first layer" in str(certificate)
    with pytest.raises(NotHomomorphicError, match=r"beyond 1e-10 is 3") as caught:
        assert_homomorphic(net, x, C4)
    assert caught.value.certificate.first_failing == certificate.first_failing


def test_the_same_networks_without_the_defect_pass(draw):
    for layer in (nn.Identity(), GroupConv2d(4, 4, 3, C4), GroupBatchNorm2d(4, C4)):
        assert assert_homomorphic(network(layer), draw(3, 1, 12, 12), C4).passed


def test_zero_padding_is_found_for_translations_and_excused_inside_a_margin(draw):
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU()).double()
    x = draw(2, 1, 9, 9)
    assert equivariance_error(net, x, Translation((9, 9))).first_failing == "0"
    assert equivariance_error(net, x, Translation((9, 9), margin=1)).max_error == 0.0
    two = nn.Sequential(net, nn.Conv2d(4, 4, 3, padding=1)).double()
    assert not equivariance_error(two, x, Translation((9, 9), margin=1)).passed  # reaches 2


def test_networks_that_were_not_built_with_these_layers_are_read(draw):
    x = draw(3, 1, 8, 8)
    circular = nn.Conv2d(1, 6, 3, padding=1, padding_mode="circular").double()
    assert equivariance_error(circular, x, Translation((8, 8))).passed

    class ByHand(nn.Module):
        """p4 lifting as four convolutions; orientations first or last in the channels."""

        def __init__(self, first):
            super().__init__()
            self.weight, self.first = nn.Parameter(draw(5, 1, 3, 3)), first

        def forward(self, x):
            parts = [nn.functional.conv2d(x, self.weight.rot90(r, (-2, -1))) for r in range(4)]
            return torch.stack(parts, dim=1 if self.first else 2).flatten(1, 2)

    for first, reading in ((True, "regular (|G|, C)"), (False, "regular (C, |G|)")):
        certificate = assert_homomorphic(ByHand(first), x, C4)
        assert certificate.layers[-1].representation == reading
    invariant = nn.Sequential(ByHand(True), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert equivariance_error(invariant, x, C4).passed
    blur = nn.Conv2d(1, 4, 3, padding=1, bias=False).double()
    nn.init.ones_(blur.weight)
    assert equivariance_error(blur, x, C4).passed  # an image of four channels


def test_what_the_output_must_be_is_looked_at(draw):
    x = draw(3, 1, 12, 12)
    pooled = nn.Sequential(group_convnet(C4), GroupMean("group"), GroupMean("space")).double()
    assert equivariance_error(pooled, x, C4, output="invariant").passed
    with pytest.raises(NotHomomorphicError):  # 20 numbers may be 5 x 4, but they do not turn
        assert_homomorphic(
            nn.Sequential(group_convnet(C4), GroupMean("space"), nn.Flatten()).double(), x,
            Dihedral(2), output="invariant",
        )  # fmt: skip
    flat = nn.Sequential(group_convnet(C4), GroupMean("space")).double()
    assert assert_homomorphic(flat, x, C4).layers[-1].representation == "regular"
    assert not equivariance_error(flat, x, C4, output="invariant").passed


def test_an_approximate_group_gets_a_number_and_no_verdict(draw):
    group = Cyclic(8, allow_approximate=True)
    certificate = equivariance_error(group_convnet(group).double(), draw(2, 1, 16, 16), group)
    assert certificate.passed is None
    assert certificate.first_failing is None
    assert certificate.max_error > 0.01
    assert "approximate" in str(certificate)
    assert "no verdict" in certificate.verdict
    with pytest.raises(ValueError, match="atol must be given: C8 is approximate"):
        assert_homomorphic(group_convnet(group).double(), draw(2, 1, 16, 16), group)
    loose = equivariance_error(group_convnet(group).double(), draw(2, 1, 16, 16), group, atol=9)
    assert loose.passed
    scale = Scale(2)
    smooth = Scale(2, sigma=3.0).blur(draw(2, 1, 32, 32), 1)
    lift = LiftConv2d(1, 4, 3, scale).double()
    assert assert_homomorphic(lift, smooth, scale, atol=0.03).passed


def test_a_large_group_is_tried_by_its_generators(draw):
    group = Product(C4, Translation((6, 6)))
    net = group_convnet(group, widths=(2, 3)).double()
    certificate = assert_homomorphic(net, draw(2, 1, 12, 12), group)
    assert certificate.elements == group.generators
    only = equivariance_error(net, draw(2, 1, 12, 12), group, elements=[7])
    assert only.elements == (7,)
    plain = unstructured(net)
    assert not equivariance_error(plain, draw(2, 1, 12, 12), group).passed


def test_what_is_not_finite_fails(draw):
    net = network(nn.Identity())
    with torch.no_grad():
        net[0].weight[0, 0, 0, 0, 0] = torch.nan
    certificate = equivariance_error(net, draw(2, 1, 12, 12), C4)
    assert certificate.first_failing == "0"
    assert certificate.layers[0].note == "not finite"


def test_a_grid_of_another_size_is_said(draw):
    net = nn.Conv2d(1, 2, 3).double()
    certificate = equivariance_error(net, draw(2, 1, 9, 9), Translation((9, 9)))
    assert not certificate.passed
    assert "must divide" in certificate.layers[-1].note


def test_a_layer_that_is_called_twice_has_two_rows(draw):
    relu = nn.ReLU(inplace=True)
    net = nn.Sequential(LiftConv2d(1, 2, 3, C4), relu, GroupConv2d(2, 2, 3, C4), relu).double()
    certificate = assert_homomorphic(net, draw(2, 1, 8, 8), C4)
    assert [row.name for row in certificate.layers] == ["0", "1", "2", "1 (call 2)", "(output)"]


def test_the_network_and_the_global_generator_are_left_as_they_were(draw):
    net = network(nn.Dropout(0.5))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.random.get_rng_state()
    equivariance_error(net, draw(3, 1, 12, 12), C4)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert net.training
    assert not net[0]._forward_hooks
    assert equivariance_error(net.eval(), draw(3, 1, 12, 12), C4).passed


def test_the_table_has_a_row_a_layer(draw):
    certificate = equivariance_error(network(GroupPool2d(2, C4)), draw(2, 1, 12, 12), C4)
    table = certificate.to_table()
    assert {len(column) for column in table.values()} == {len(certificate.layers)}
    assert table["layer"][-1] == "(output)"
    assert str(certificate).count("\n") == len(certificate.layers) + 1


def test_says_what_came(draw):
    net = group_convnet(C4).double()
    with pytest.raises(ValueError, match=r"got torch.float64 \(2, 1, 28\)"):
        equivariance_error(net, draw(2, 1, 28), C4)
    with pytest.raises(ValueError, match="square images"):
        equivariance_error(net, draw(2, 1, 28, 20), C4)
    with pytest.raises(ValueError, match="'some'"):
        equivariance_error(net, draw(2, 1, 28, 28), C4, output="some")

    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    with pytest.raises(TypeError, match="return a tensor, got tuple"):
        equivariance_error(Pair(), draw(2, 1, 8, 8), C4)

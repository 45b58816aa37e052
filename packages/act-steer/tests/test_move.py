import math

import pytest
import torch
from act_steer.errors import ShapeMismatch
from act_steer.move import Move, channel_axis
from act_steer.quantile import QuantileTransport
from act_steer.transport import AffineTransport
from act_steer_models import affine
from hypothesis import given
from hypothesis import strategies as st
from torch import nn


def looped(transport, z, strength):
    """The definition, number by number, for rows ``(N, D)``."""
    out = z.clone()
    for row in out:
        for d in range(len(row)):
            a = float(row[d])
            gain, step = float(transport.scale[d]) - 1, float(transport.shift[d])
            low, high = float(transport.low[d]), float(transport.high[d])
            if transport.clamp:
                row[d] = a + strength * (gain * min(max(a, low), high) + step)
            elif low <= a <= high:
                row[d] = a + strength * (gain * a + step)
    return out


@given(
    lead=st.lists(st.integers(1, 3), min_size=1, max_size=2),
    width=st.integers(1, 5),
    strength=st.floats(-1, 2),
    support=st.sampled_from(["all", "bounded", "clamp"]),
    scaled=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_equals_the_definition_number_by_number(lead, width, strength, support, scaled, seed):
    options = {"bounded": support != "all", "clamp": support == "clamp", "scaled": scaled}
    transport = affine(width, seed, dtype=torch.float64, **options)
    g = torch.Generator().manual_seed(seed)
    z = 0.5 * torch.randn(*lead, width, generator=g, dtype=torch.float64)
    z.view(-1, width)[0] = transport.low.clamp(min=-1)  # the ends belong to the support
    before = z.clone()
    moved = Move([transport], strength)(z)
    want = looped(transport, z.reshape(-1, width), strength).reshape(z.shape)
    torch.testing.assert_close(moved, want, atol=1e-12, rtol=0)
    torch.testing.assert_close(moved, transport(z, strength), atol=1e-12, rtol=0)
    assert torch.equal(z, before)
    live = Move([transport], torch.tensor(strength, dtype=torch.float64))(z)
    torch.testing.assert_close(live, moved, atol=1e-12, rtol=0)


@given(strength=st.floats(0, 1), bounded=st.booleans(), seed=st.integers(0, 2**31))
def test_pixels_and_means_of_pictures_equal_the_definition(strength, bounded, seed):
    transport = affine(4, seed, bounded=bounded, dtype=torch.float64)
    g = torch.Generator().manual_seed(seed)
    z = 0.3 * torch.randn(2, 4, 3, 5, generator=g, dtype=torch.float64)
    pointwise = Move([transport], strength, spatial="pointwise")(z)
    pixels = looped(transport, z.permute(0, 2, 3, 1).reshape(-1, 4), strength)
    want = pixels.reshape(2, 3, 5, 4).permute(0, 3, 1, 2)
    torch.testing.assert_close(pointwise, want, atol=1e-12, rtol=0)
    assert pointwise.stride() == z.stride()
    pooled = Move([transport], strength, spatial="pooled")(z)
    means = z.mean((2, 3))
    for b in range(2):
        for c in range(4):
            change = (looped(transport, means, strength) - means)[b, c]
            torch.testing.assert_close(pooled[b, c], z[b, c] + change, atol=1e-12, rtol=0)


@pytest.mark.parametrize("spatial", ["pooled", "pointwise"])
@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("bounded", [False, True])
def test_a_strength_a_row_is_each_row_moved_by_itself(spatial, timed, bounded):
    transports = [affine(4, seed, bounded=bounded, dtype=torch.float64) for seed in range(2)]
    transports = transports if timed else transports[:1]
    g = torch.Generator().manual_seed(0)
    strengths = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    rows = torch.tensor([1, 0, 1]) if timed else None
    times = {"timesteps": [1, 2]} if timed else {}
    for shape in ((3, 4), (3, 5, 4), (3, 4, 3, 5)):
        z = 0.3 * torch.randn(shape, generator=g, dtype=torch.float64)
        moved = Move(transports, strengths, spatial=spatial, **times)(z, rows)
        for n, strength in enumerate(strengths.tolist()):
            one = Move(transports, strength, spatial=spatial, **times)
            want = one(z[n : n + 1], None if rows is None else rows[n : n + 1])
            torch.testing.assert_close(moved[n : n + 1], want, atol=1e-12, rtol=0)


def test_a_strength_a_row_holds_for_maps_that_are_called():
    a, b = torch.randn(20, 4), torch.randn(20, 4) + 1
    transport, z = QuantileTransport.fit(a, b), 0.3 * torch.randn(2, 3, 4)
    moved = Move([transport], torch.tensor([0.25, 1.0]))(z)
    torch.testing.assert_close(moved[0], transport(z[0], 0.25))
    torch.testing.assert_close(moved[1], transport(z[1], 1.0))


def test_strength_0_and_the_identity_return_every_bit():
    z = torch.randn(3, 7, 4) * 1e3
    assert Move([affine(4)], 0.0)(z) is z
    inf = torch.full((4,), torch.inf)
    same = AffineTransport(torch.ones(4), torch.zeros(4), -inf, inf)
    assert torch.equal(Move([same], 0.7)(z), z)
    outside = AffineTransport(torch.full((4,), 2.0), torch.ones(4), torch.full((4,), 1e5), inf)
    assert torch.equal(Move([outside], 0.7)(z), z)


def test_the_ends_of_the_support_move_and_what_is_beyond_does_not():
    one = torch.ones(1)
    move = Move([AffineTransport(2 * one, one, -one, one)], 1.0)
    z = torch.tensor([[-1.0], [1.0], [math.nextafter(1.0, 2.0) + 1e-6], [float("nan")]])
    assert move(z)[:3].flatten().tolist() == [-1.0, 3.0, z[2].item()]
    assert move(z)[3].isnan()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(dtype):
    transport = affine(64)
    z = (100 * torch.randn(50, 64)).to(dtype)
    moved = Move([transport], 0.3)(z)
    assert moved.dtype == dtype
    assert torch.equal(
        moved, (z.float() + 0.3 * ((transport.scale - 1) * z.float() + transport.shift)).to(dtype)
    )


def test_a_strength_that_is_a_tensor_has_a_gradient_and_is_read_at_every_call():
    transport, z = affine(3), torch.randn(2, 3)
    strength = torch.tensor(0.5, requires_grad=True)
    move = Move([transport], strength)
    move(z).sum().backward()
    want = ((transport.scale - 1) * z + transport.shift).sum()
    torch.testing.assert_close(strength.grad, want)
    with torch.no_grad():
        strength.fill_(0.0)
    assert torch.equal(move(z), z)


def test_follows_the_model_to_float64_and_never_to_half():
    transport = affine(3, dtype=torch.float64)
    module = nn.Sequential(Move([transport], 0.5))
    for dtype, inside in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        module.to(dtype)
        assert module[0].weight.dtype == inside
    z = torch.randn(2, 3, dtype=torch.float64)
    assert torch.equal(module(z), Move([transport], 0.5)(z))
    assert not module.state_dict()


def test_every_row_takes_the_map_of_the_nearest_timestep():
    transports = [affine(3, seed) for seed in range(3)]
    move = Move(transports, 0.8, timesteps=[0.0, 10.0, 20.0])
    z = torch.randn(4, 2, 3)
    rows = move.rows_of(torch.tensor([4, 6, 25, 11]), 4)
    assert rows.tolist() == [0, 1, 2, 1]
    for n, k in enumerate(rows.tolist()):
        torch.testing.assert_close(move(z, rows)[n], Move([transports[k]], 0.8)(z[n]))
    picture = torch.randn(4, 3, 2, 2)
    for spatial in ("pooled", "pointwise"):
        both = Move(transports, 0.8, timesteps=[0.0, 10.0, 20.0], spatial=spatial)
        for n, k in enumerate(rows.tolist()):
            alone = Move([transports[k]], 0.8, spatial=spatial)(picture[n : n + 1])[0]
            torch.testing.assert_close(both(picture, rows)[n], alone)


def test_one_timestep_does_for_all_rows_and_others_must_be_as_many():
    move = Move([affine(3), affine(3, 1)], timesteps=[0.0, 1.0], name="norm")
    assert move.rows_of(torch.tensor(0.9), 3).tolist() == [1, 1, 1]
    assert move.rows_of(torch.tensor([0.9, 0.9]), 4).tolist() == [1, 1, 1, 1]
    with pytest.raises(ValueError, match="norm gives 4 rows, and there are 2 timesteps"):
        move.rows_of(torch.tensor([0.0, 1.0]), 4)


def test_a_map_that_is_not_affine_is_called():
    class Bent:
        def __call__(self, z, strength):
            return z + strength * (z.tanh() - z)

    z = torch.randn(2, 5, 3)
    torch.testing.assert_close(Move([Bent()], 0.5)(z), 0.5 * (z + z.tanh()))
    with pytest.raises(ValueError, match="only affine maps can depend on the timestep"):
        Move([Bent(), Bent()], timesteps=[0.0, 1.0])


def test_channels_are_found_where_they_are():
    assert channel_axis((2, 4, 4), False, 4) == -1
    assert channel_axis((2, 4, 4), True, 4) == 1
    assert channel_axis((2, 9, 4), True, 4) == -1
    assert channel_axis((2, 5, 5, 4), False, 4) == -1
    assert channel_axis((2, 4, 4, 4), False, 4) == 1
    assert channel_axis((2, 4, 4, 4), False) == 1
    assert channel_axis((4, 4), True, 4) == -1
    square = torch.randn(2, 4, 4)
    moved = Move([affine(4)], module=nn.GroupNorm(2, 4), spatial="pointwise")(square)
    torch.testing.assert_close(moved, Move([affine(4)])(square.mT).mT)


def test_says_which_width_came():
    with pytest.raises(ShapeMismatch, match=r"mlp gives \(2, 5\), and its map is 3 wide"):
        Move([affine(3)], name="mlp")(torch.zeros(2, 5))
    with pytest.raises(TypeError, match=r"mlp gives torch.int64"):
        Move([affine(3)], name="mlp")(torch.zeros(2, 3, dtype=torch.int64))

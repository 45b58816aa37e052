"""Properties 1 to 14 and 20 of the affine maps, with POT and loops as oracles."""

import numpy as np
import ot
import pytest
import torch
from act_steer import (
    AffineTransport,
    AurA,
    GaussianTransport,
    LinearTransport,
    MeanTransport,
    ShapeMismatch,
    wasserstein2,
)
from hypothesis import assume, given
from hypothesis import strategies as st

KINDS = [LinearTransport, MeanTransport, GaussianTransport, AurA]
shapes = {
    "n": st.integers(1, 13),
    "m": st.integers(1, 13),
    "dim": st.integers(1, 4),
    "seed": st.integers(0, 2**31),
    "grid": st.booleans(),
}


def samples(n, m, dim, seed, grid=False):
    """Two samples in float64; on a coarse grid many values are equal."""
    g = np.random.default_rng(seed)
    a = g.normal(size=(n, dim)) * 2 + 1
    b = g.normal(size=(m, dim)) * g.uniform(0.2, 3) - g.uniform(0, 2)
    if grid:
        a, b = np.round(a), np.round(b)
    return torch.from_numpy(a), torch.from_numpy(b)


def plan_regression(a, b, wa=None, wb=None):
    """Least squares over the optimal plan of POT, for one column."""
    n, m = len(a), len(b)
    wa = np.full(n, 1 / n) if wa is None else wa / wa.sum()
    wb = np.full(m, 1 / m) if wb is None else wb / wb.sum()
    plan = ot.emd_1d(a, b, wa, wb)
    ma, mb = wa @ a, wb @ b
    variance = wa @ (a - ma) ** 2
    if variance < 1e-20:
        return 1.0, mb - ma
    scale = (a - ma) @ plan @ (b - mb) / variance
    return scale, mb - scale * ma


def test_the_scale_divides_by_the_variance_of_the_source_not_of_the_target():
    g = torch.Generator().manual_seed(0)  # 1e5 samples: the deviation of the scale is below 0.002
    a, b = 2 * torch.randn(100_000, 1, generator=g), torch.randn(100_000, 1, generator=g)
    scale = LinearTransport.fit(a, b).scale.item()
    assert abs(scale - 0.5) < 0.02
    assert abs(2 - 0.5) > 0.02  # what the other denominator gives


@pytest.mark.parametrize("seed", range(200))
def test_equals_polyfit_on_sorted_columns(seed):
    g = np.random.default_rng(seed)
    n, dim = g.integers(2, 40), g.integers(1, 6)
    a, b = samples(n, n, dim, seed)
    t = LinearTransport.fit(a, b)
    for d in range(dim):
        scale, shift = np.polyfit(np.sort(a[:, d]), np.sort(b[:, d]), 1)
        assert abs(t.scale[d] - scale) < 1e-10 * max(1, abs(scale))
        assert abs(t.shift[d] - shift) < 1e-10 * max(1, abs(shift), abs(scale))


@given(**shapes)
def test_equals_regression_over_the_optimal_plan_for_any_counts(n, m, dim, seed, grid):
    a, b = samples(n, m, dim, seed, grid)
    t = LinearTransport.fit(a, b)
    for d in range(dim):
        scale, shift = plan_regression(a[:, d].numpy(), b[:, d].numpy())
        assert abs(t.scale[d] - scale) < 1e-9
        assert abs(t.shift[d] - shift) < 1e-9


@given(**shapes, zeros=st.booleans())
def test_equals_regression_over_the_optimal_plan_for_any_weights(n, m, dim, seed, grid, zeros):
    a, b = samples(n, m, dim, seed, grid)
    g = np.random.default_rng(seed + 1)
    wa, wb = g.random(n) + 0.05, g.random(m) + 0.05
    if zeros and n > 1:
        wa[0] = 0
    t = LinearTransport.fit(a, b, (wa, wb))
    for d in range(dim):
        scale, shift = plan_regression(a[:, d].numpy(), b[:, d].numpy(), wa, wb)
        assert abs(t.scale[d] - scale) < 1e-9
        assert abs(t.shift[d] - shift) < 1e-9
    kept = a[1:] if zeros and n > 1 else a
    assert torch.equal(t.low, kept.amin(0))
    assert torch.equal(t.high, kept.amax(0))


@given(**shapes)
def test_the_scale_is_rho_times_the_ratio_of_deviations(n, m, dim, seed, grid):
    a, b = samples(n, m, dim, seed, grid)
    t, normal = LinearTransport.fit(a, b), GaussianTransport.fit(a, b)
    m_ = t.moments
    varies = ~m_.degenerate
    ratio = (m_.std_b / m_.std_a)[varies]
    assert torch.allclose(t.scale[varies], m_.rho[varies] * ratio, atol=1e-12)
    assert torch.allclose(normal.scale[varies], ratio, atol=1e-12)
    assert (t.scale[varies] >= -1e-12).all()
    assert (t.scale[varies] <= ratio + 1e-12).all()
    assert ((m_.rho >= 0) & (m_.rho <= 1)).all()


def test_linear_equals_gaussian_only_where_sorted_samples_are_affinely_related():
    a, b = samples(50, 50, 2, 0)
    b[:, 0] = 3 * a[:, 0] + 1
    linear, normal = LinearTransport.fit(a, b), GaussianTransport.fit(a, b)
    assert linear.scale[0] == pytest.approx(normal.scale[0].item(), abs=1e-12)
    assert linear.scale[1] < normal.scale[1] - 1e-3


def test_gaussian_equals_the_bures_mapping_of_pot_in_one_dimension():
    a, b = samples(30, 17, 3, 0)
    t = GaussianTransport.fit(a, b)
    for d in range(3):
        x, y = a[:, d], b[:, d]
        va, vb = x.var(correction=0).reshape(1, 1), y.var(correction=0).reshape(1, 1)
        scale, shift = ot.gaussian.bures_wasserstein_mapping(
            x.mean().reshape(1), y.mean().reshape(1), va, vb
        )
        assert t.scale[d] == pytest.approx(scale.item(), abs=1e-12)
        assert t.shift[d] == pytest.approx(shift.item(), abs=1e-12)


@given(**shapes, strength=st.floats(0, 1))
@pytest.mark.parametrize("kind", KINDS)
def test_the_reported_distance_is_that_of_pot_at_any_strength(
    kind, n, m, dim, seed, grid, strength
):
    a, b = samples(n, m, dim, seed, grid)
    t = kind.fit(a, b)
    moved = t(a, strength)
    want = ot.wasserstein_1d(moved.numpy(), b.numpy(), p=2)
    assert torch.allclose(t.w2(strength) ** 2, torch.from_numpy(want), atol=1e-9)
    assert torch.allclose(wasserstein2(moved, b) ** 2, torch.from_numpy(want), atol=1e-9)


@given(**shapes)
def test_distance_before_and_after_follow_from_five_moments(n, m, dim, seed, grid):
    a, b = samples(n, m, dim, seed, grid)
    t = LinearTransport.fit(a, b)
    k = t.moments
    before = (k.mean_a - k.mean_b) ** 2 + k.std_a**2 + k.std_b**2 - 2 * k.rho * k.std_a * k.std_b
    assert torch.allclose(wasserstein2(a, b) ** 2, before, atol=1e-9)
    after = torch.where(k.degenerate, k.std_b**2, k.std_b**2 * (1 - k.rho**2))
    assert torch.allclose(wasserstein2(t(a), b) ** 2, after, atol=1e-9)


@given(**shapes)
def test_along_the_strength_the_squared_distance_is_a_quadratic_that_falls(n, m, dim, seed, grid):
    a, b = samples(n, m, dim, seed, grid)
    t = LinearTransport.fit(a, b)
    k = t.moments
    rho = torch.where(k.degenerate, torch.zeros_like(k.rho), k.rho)
    kept = torch.where(k.degenerate, k.std_b, k.std_b * (1 - rho**2).clamp(min=0).sqrt())
    falls = (k.mean_a - k.mean_b) ** 2 + torch.where(
        k.degenerate, torch.zeros_like(rho), (k.std_a - rho * k.std_b) ** 2
    )
    steps = torch.linspace(0, 1, 6, dtype=torch.float64)
    got = torch.stack([wasserstein2(t(a, float(s)), b) ** 2 for s in steps])
    want = (1 - steps[:, None]) ** 2 * falls + kept**2
    assert torch.allclose(got, want, atol=1e-9)
    assert (got.diff(dim=0) <= 1e-9).all()


@given(**shapes, strength=st.floats(0, 1))
@pytest.mark.parametrize("kind", [LinearTransport, MeanTransport, GaussianTransport])
def test_the_mean_goes_straight_from_source_to_target(kind, n, m, dim, seed, grid, strength):
    a, b = samples(n, m, dim, seed, grid)
    moved = kind.fit(a, b, support="minmax")(a, strength).mean(0)
    assert torch.allclose(moved, (1 - strength) * a.mean(0) + strength * b.mean(0), atol=1e-9)


def test_the_support_is_closed_and_what_is_outside_comes_back_bit_for_bit():
    a, b = samples(9, 9, 1, 3)
    a, b = a.float(), b.float()
    t = LinearTransport.fit(a, b)
    low, high = a.amin(), a.amax()
    outside = torch.stack([torch.nextafter(low, low - 1), torch.nextafter(high, high + 1)])
    at = torch.stack([low, high])
    assert torch.equal(t(outside[:, None])[:, 0], outside)
    assert not torch.isclose(t(at[:, None])[:, 0], at).any()
    assert abs(t(a).mean() - b.mean()) < 1e-6


def test_an_open_interval_would_miss_the_mean():
    a, b = samples(9, 9, 1, 3)
    t = LinearTransport.fit(a, b)
    inside = (a > t.low) & (a < t.high)
    assert abs(torch.where(inside, t(a), a).mean() - b.mean()) > 1e-2


@given(**shapes)
@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_not_paired_and_copies_change_nothing(kind, n, m, dim, seed, grid):
    a, b = samples(n, m, dim, seed, grid)
    g = torch.Generator().manual_seed(seed)
    t = kind.fit(a, b)
    mixed = kind.fit(a[torch.randperm(n, generator=g)], b[torch.randperm(m, generator=g)])
    copied = kind.fit(a.repeat(3, 1), b.repeat(2, 1))
    weighed = kind.fit(a, b, (np.full(n, 0.3), np.full(m, 7.0)))
    for other, bound in ((mixed, 0.0), (weighed, 0.0), (copied, 1e-10)):
        for name, tensor in other.tensors().items():
            assert torch.allclose(tensor, t.tensors()[name], atol=bound, rtol=0), name


@given(**shapes, copies=st.integers(1, 3), strength=st.floats(0, 1))
@pytest.mark.parametrize("kind", KINDS)
def test_equal_samples_give_the_identity_bit_for_bit(kind, n, m, dim, seed, grid, copies, strength):
    a = samples(n, m, dim, seed, grid)[0].float()
    t = kind.fit(a, a.flip(0).repeat(copies, 1))
    if kind is not AurA:  # its rule rounds, as it sums ranks
        assert torch.equal(t.scale, torch.ones(dim))
        assert torch.equal(t.shift, torch.zeros(dim))
    assert torch.equal(t(a, strength), a)


@given(**shapes, factor=st.floats(0.1, 9), step=st.floats(-5, 5))
def test_equivariant_under_growing_affine_maps(n, m, dim, seed, grid, factor, step):
    assume(n > 1)
    a, b = samples(n, m, dim, seed, False)
    t = LinearTransport.fit(a, b)
    moved = LinearTransport.fit(factor * a + step, b)
    assert torch.allclose(moved.scale, t.scale / factor, atol=1e-8)
    assert torch.allclose(moved.shift, t.shift - t.scale * step / factor, atol=1e-7)
    moved = LinearTransport.fit(a, factor * b + step)
    assert torch.allclose(moved.scale, factor * t.scale, atol=1e-8)
    assert torch.allclose(moved.shift, factor * t.shift + step, atol=1e-8)


def test_not_equivariant_under_reflection_of_a_skewed_sample():
    a = torch.tensor([[0.0], [0.0], [1.0], [8.0]], dtype=torch.float64)
    b = torch.tensor([[0.0], [1.0], [2.0], [3.0]], dtype=torch.float64)
    there, back = LinearTransport.fit(a, b), LinearTransport.fit(-a, b)
    assert abs(back.scale + there.scale) > 1e-3  # equivariance would negate it
    assert back.scale > 0


@given(**shapes)
def test_there_and_back_again_is_rho_squared(n, m, dim, seed, grid):
    a, b = samples(n, m, dim, seed, grid)
    there, back = LinearTransport.fit(a, b), LinearTransport.fit(b, a)
    both = ~(there.moments.degenerate | back.moments.degenerate)
    product = (there.scale * back.scale)[both]
    assert torch.allclose(product, there.moments.rho[both] ** 2, atol=1e-10)


@pytest.mark.parametrize("kind", [LinearTransport, GaussianTransport, MeanTransport])
@pytest.mark.parametrize("n", [1, 5])
def test_a_constant_source_is_shifted_to_the_mean(kind, n):
    _, b = samples(1, 7, 3, 0)
    a = torch.full((n, 3), 300.1, dtype=torch.float64)
    t = kind.fit(a, b)
    assert torch.equal(t.scale, torch.ones(3, dtype=torch.float64))
    assert torch.allclose(t(a).mean(0), b.mean(0))
    assert t.moments.degenerate.all()


def test_a_source_that_varies_by_rounding_only_counts_as_constant():
    g = torch.Generator().manual_seed(0)
    a = 300 + 1e-4 * torch.randn(50, 1, generator=g)
    b = torch.randn(50, 1, generator=g)
    t = LinearTransport.fit(a, b)
    assert t.scale.item() == 1
    assert t.moments.degenerate.item()
    assert LinearTransport.fit(a, b, resolution=0.0).scale.item() > 50


def test_a_constant_target_collapses_unless_a_least_scale_is_asked_for():
    a, _ = samples(9, 1, 2, 0)
    b = torch.full((4, 2), 5.0, dtype=torch.float64)
    assert torch.equal(LinearTransport.fit(a, b).scale, torch.zeros(2, dtype=torch.float64))
    t = LinearTransport.fit(a, b, min_scale=0.25)
    assert torch.equal(t.scale, torch.full((2,), 0.25, dtype=torch.float64))
    assert torch.allclose(t(a).mean(0), b.mean(0))


def test_a_largest_scale_keeps_the_means_together():
    a, b = samples(9, 9, 2, 0)
    t = LinearTransport.fit(a / 100, b, max_scale=3.0)
    assert torch.equal(t.scale, torch.full((2,), 3.0, dtype=torch.float64))
    assert torch.allclose(t(a / 100).mean(0), b.mean(0))


def test_strength_zero_gives_the_tensor_itself_and_a_tensor_of_zero_the_same_values():
    a, b = samples(9, 9, 2, 0)
    t = LinearTransport.fit(a, b)
    assert t(a, 0.0) is a
    assert torch.equal(t(a, torch.tensor(0.0)), a)


@given(**shapes, strength=st.floats(-2, 3))
def test_strength_interpolates(n, m, dim, seed, grid, strength):
    a, b = samples(n, m, dim, seed, grid)
    t = LinearTransport.fit(a, b, support="all")
    z = torch.linspace(-9, 9, 5, dtype=torch.float64)[:, None].expand(5, dim)
    assert torch.allclose(t(z, strength), (1 - strength) * z + strength * t(z), atol=1e-9)
    scale, shift = t.affine(strength)
    assert torch.allclose(t(z, strength), scale * z + shift, atol=1e-9)


def test_twice_is_the_square_and_interpolation_does_not_commute_with_it():
    t = AffineTransport(
        *(torch.tensor([x], dtype=torch.float64) for x in (3.0, 1.0, -torch.inf, torch.inf))
    )
    z = torch.tensor([[2.0]], dtype=torch.float64)
    assert t(t(z)).item() == 3 * 3 * 2 + 3 * 1 + 1
    half_twice = t(t(z, 0.5), 0.5).item()
    twice_half = (0.5 * z + 0.5 * t(t(z))).item()
    assert abs(half_twice - twice_half) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_all_columns_at_once_equal_each_by_itself(kind):
    a, b = samples(40, 23, 700, 1)  # more columns than fit one block
    t = kind.fit(a, b)
    for d in (0, 1, 350, 699):
        alone = kind.fit(a[:, [d]], b[:, [d]])
        assert torch.allclose(alone.scale, t.scale[[d]], atol=1e-13)
        assert torch.allclose(alone.shift, t.shift[[d]], atol=1e-13)
        assert torch.allclose(alone.w2(), t.w2()[[d]], atol=1e-13)


def test_aura_dampens_by_the_pairs_that_it_tells_apart():
    a, b = samples(9, 14, 3, 4, grid=True)
    g = np.random.default_rng(0)
    wa, wb = g.random(9), g.random(14)
    t = AurA.fit(a, b, (wa, wb))
    for d in range(3):
        wins = sum(
            wa[i] * wb[j] * (float(a[i, d] > b[j, d]) + 0.5 * float(a[i, d] == b[j, d]))
            for i in range(9)
            for j in range(14)
        )
        auroc = wins / wa.sum() / wb.sum()
        assert t.scale[d] == pytest.approx(min(1, 1 - 2 * (auroc - 0.5)), abs=1e-12)
    assert torch.equal(t.shift, torch.zeros(3, dtype=torch.float64))
    assert not t.bounded


def test_aura_silences_what_separates_and_leaves_what_is_larger_in_the_target():
    a = torch.tensor([[5.0, 0.0], [6.0, 1.0]])
    t = AurA.fit(a, a.flip(1))
    assert torch.equal(t.scale, torch.tensor([0.0, 1.0]))


@given(**shapes, levels=st.tuples(st.floats(0, 0.4), st.floats(0.6, 1)))
def test_a_support_between_levels_holds_the_quantiles(n, m, dim, seed, grid, levels):
    a, b = samples(n, m, dim, seed, grid)
    t = LinearTransport.fit(a, b, support=levels)
    for d in range(dim):
        ordered = sorted(a[:, d].tolist())
        for level, end in zip(levels, (t.low[d], t.high[d]), strict=True):
            reached = [x for i, x in enumerate(ordered) if (i + 1) / n >= level - 1e-9]
            assert end == reached[0]
    inside = ((a >= t.low) & (a <= t.high)).double().mean(0)
    assert torch.allclose(t.moments.coverage, inside)
    copied = LinearTransport.fit(a.repeat(2, 1), b, support=levels)
    assert torch.equal(copied.low, t.low)


def test_clamp_moves_the_outside_as_far_as_the_ends():
    a, b = samples(9, 9, 2, 0)
    t = LinearTransport.fit(a, b, support="clamp")
    far = t.high + 10
    assert torch.allclose(t(far[None]) - far, t(t.high[None]) - t.high)
    assert torch.allclose(t(a), LinearTransport.fit(a, b)(a))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_come_back_rounded_once(dtype):
    a, b = samples(30, 30, 4, 0)
    t = LinearTransport.fit(a.float(), b.float())
    z = a.to(dtype)
    want = torch.where(
        (z.float() >= t.low) & (z.float() <= t.high),
        (z.float() + ((t.scale - 1) * z.float() + t.shift)).to(dtype),
        z,
    )
    assert t(z).dtype == dtype
    assert torch.equal(t(z), want)
    fitted = LinearTransport.fit(z, b)
    assert fitted.scale.dtype == torch.float64
    assert LinearTransport.fit(z, b.to(dtype)).scale.dtype == torch.float32


def test_the_inverse_brings_back_what_was_moved_and_leaves_alone_what_collapsed():
    a, b = samples(30, 30, 2, 0)
    b[:, 1] = 4.0
    t = LinearTransport.fit(a, b)
    back = t.inverse()
    moved = t(a)
    assert torch.allclose(back(moved)[:, 0], a[:, 0])
    assert torch.equal(back(moved)[:, 1], moved[:, 1])
    outside = t(t.high + 1e-3)
    assert back(torch.maximum(outside, back.high + 1e-3)).equal(
        torch.maximum(outside, back.high + 1e-3)
    )


@given(factor=st.floats(-2, 2), strength=st.floats(-1, 1))
def test_a_scaled_map_at_a_strength_is_the_map_at_the_product(factor, strength):
    a, b = samples(9, 9, 3, 0)
    t = LinearTransport.fit(a, b)
    assert torch.allclose(t.scaled(factor)(a, strength), t(a, factor * strength))


def test_gradients_pass_through_the_map_and_its_strength():
    a, b = samples(9, 9, 3, 0)
    t = LinearTransport.fit(a, b, support="all")
    strength = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    z = a.clone().requires_grad_()
    t(z, strength).sum().backward()
    assert torch.allclose(z.grad, t.affine(0.5)[0].expand(9, 3))
    assert strength.grad == pytest.approx(float(((t.scale - 1) * a + t.shift).sum()))


def test_errors_say_what_came():
    a, b = samples(3, 4, 2, 0)
    with pytest.raises(ValueError, match="2 and 1 columns"):
        LinearTransport.fit(a, b[:, :1])
    with pytest.raises(ValueError, match=r"A must be .* \(3,\)"):
        LinearTransport.fit(a[:, 0], b)
    with pytest.raises(ValueError, match=r"B must be .* \(0, 2\)"):
        LinearTransport.fit(a, b[:0])
    with pytest.raises(ValueError, match="int64"):
        LinearTransport.fit(a.long(), b)
    a[1, 1] = torch.nan
    with pytest.raises(ValueError, match="A has a value that is NaN or infinite, in column 1"):
        LinearTransport.fit(a, b)
    b[0, 0] = -torch.inf
    with pytest.raises(ValueError, match=r"B has a value .* column 0"):
        LinearTransport.fit(b[1:], b)
    for bad in ([1.0], [1.0, -1.0, 1.0], [0.0, 0.0, 0.0], [1.0, torch.nan, 1.0]):
        with pytest.raises(ValueError, match="weights of A must be 3 finite numbers"):
            LinearTransport.fit(b[1:], b[1:], (bad, None))
    for support in ("some", (0.5,), (0.9, 0.1), (-0.1, 1.0)):
        with pytest.raises(ValueError, match="support must be"):
            LinearTransport.fit(b[1:], b[1:], support=support)


def test_a_map_checks_its_tensors_and_what_it_moves():
    one, two = torch.ones(1), torch.ones(2)
    with pytest.raises(ValueError, match=r"got \(2,\), \(1,\)"):
        AffineTransport(two, one, two, two)
    with pytest.raises(ValueError, match="finite"):
        AffineTransport(one * torch.nan, one, one, one)
    with pytest.raises(ValueError, match="int64"):
        AffineTransport(one.long(), one, one, one)
    with pytest.raises(ShapeMismatch, match=r"map of 2 neurons .* \(5, 3\)"):
        AffineTransport(two, two, two, two)(torch.zeros(5, 3))
    with pytest.raises(ValueError, match="without moments"):
        AffineTransport(two, two, two, two).w2()
    with pytest.raises(TypeError, match="LinearTransport"):
        AffineTransport.fit(torch.zeros(2, 1), torch.zeros(2, 1))

"""The optimal map itself, the measured quality, and the full-covariance map."""

import numpy as np
import ot
import pytest
import torch
from act_steer import (
    ChainTransport,
    FullGaussianTransport,
    GaussianTransport,
    LinearTransport,
    QuantileTransport,
    quality,
    wasserstein2,
)
from hypothesis import given
from hypothesis import strategies as st

shapes = {
    "n": st.integers(1, 13),
    "m": st.integers(1, 13),
    "seed": st.integers(0, 2**31),
    "grid": st.booleans(),
}


def samples(n, m, seed, grid=False, dim=3):
    g = np.random.default_rng(seed)
    a, b = g.normal(size=(n, dim)) * 2 + 1, g.normal(size=(m, dim)) - 1
    a, b = (np.round(x) if grid else x for x in (a, b))
    return torch.from_numpy(a), torch.from_numpy(b)


@given(n=st.integers(1, 20), seed=st.integers(0, 2**31))
def test_between_samples_of_one_size_ranks_go_to_ranks(n, seed):
    a, b = samples(n, n, seed)
    t = QuantileTransport.fit(a, b)
    assert torch.allclose(t(a).sort(0).values, b.sort(0).values, atol=1e-12)
    assert torch.equal(t(a).argsort(0), a.argsort(0))
    assert torch.allclose(t.w2(), torch.zeros(3, dtype=torch.float64), atol=1e-7)


@given(**shapes)
def test_equals_the_barycentric_projection_of_pots_plan(n, m, seed, grid):
    a, b = samples(n, m, seed, grid)
    moved = QuantileTransport.fit(a, b)(a)
    for d in range(3):
        x = a[:, d].numpy()
        plan = ot.emd_1d(x, b[:, d].numpy())
        image = n * plan @ b[:, d].numpy()
        for value in np.unique(x):  # equal values share their images
            assert float(moved[x == value, d][0]) == pytest.approx(image[x == value].mean())


@given(**shapes, zero=st.booleans())
def test_weights_equal_copies(n, m, seed, grid, zero):
    a, b = samples(n, m, seed, grid)
    g = np.random.default_rng(seed)
    ka, kb = g.integers(0 if zero else 1, 4, n), g.integers(1, 4, m)
    ka[-1] = 1
    a, ka = torch.cat([a, a[:3] + 0.25, a[:1]]), np.append(ka, [1] * (min(n, 3) + 1))
    weighed = QuantileTransport.fit(a, b, (ka, kb), knots=3)
    copied = QuantileTransport.fit(
        a.repeat_interleave(torch.from_numpy(ka), 0),
        b.repeat_interleave(torch.from_numpy(kb), 0),
        knots=3,
    )
    assert torch.allclose(weighed.source, copied.source, atol=1e-9)
    assert torch.allclose(weighed.target, copied.target, atol=1e-9)
    assert torch.allclose(weighed.w2(0.3), copied.w2(0.3), atol=1e-9)


@given(**shapes, knots=st.integers(1, 9), strength=st.floats(0, 1))
def test_the_reported_distance_is_measured_whatever_the_knots(n, m, seed, grid, knots, strength):
    a, b = samples(n, m, seed, grid)
    t = QuantileTransport.fit(a, b, knots=knots)
    want = ot.wasserstein_1d(t(a, strength).numpy(), b.numpy(), p=2)
    assert torch.allclose(t.w2(strength) ** 2, torch.from_numpy(want), atol=1e-9)


@given(**shapes)
def test_the_map_never_decreases_and_knots_ascend(n, m, seed, grid):
    a, b = samples(n, m, seed, grid)
    t = QuantileTransport.fit(a, b, support="all")
    z = torch.linspace(-9, 9, 200, dtype=torch.float64)[:, None].expand(200, 3)
    assert (t(z).diff(dim=0) >= -1e-12).all()
    far = t.source[:, -1] + 5
    assert torch.allclose(t(far[None])[0] - far, t.target[:, -1] - t.source[:, -1])


def test_no_affine_map_does_better_and_more_knots_are_not_worse():
    g = torch.Generator().manual_seed(0)
    a = torch.randn(200, 3, generator=g).double()
    b = torch.rand(300, 3, generator=g).double() ** 4
    exact = QuantileTransport.fit(a, b, knots=200).w2()
    for other in (QuantileTransport.fit(a, b, knots=8), LinearTransport.fit(a, b)):
        assert (exact <= other.w2()).all()
    assert (QuantileTransport.fit(a, b, knots=8).w2() < 0.5 * LinearTransport.fit(a, b).w2()).all()


def test_support_and_clamp_are_those_of_the_affine_maps():
    a, b = samples(9, 9, 0)
    t = QuantileTransport.fit(a, b)
    outside = t.high + 1e-9
    assert torch.equal(t(outside[None])[0], outside)
    clamp = QuantileTransport.fit(a, b, support="clamp")
    assert torch.allclose(clamp(t.high[None] + 3), clamp(t.high[None]) + 3)
    assert t(a, 0.0) is a
    moved = t(a.bfloat16())
    assert moved.dtype == torch.bfloat16
    assert torch.allclose(moved.double(), t(a.bfloat16().double()), rtol=1e-2)


def test_quantile_errors():
    a, b = samples(3, 4, 0)
    with pytest.raises(ValueError, match="knots must be at least 1, got 0"):
        QuantileTransport.fit(a, b, knots=0)
    with pytest.raises(ValueError, match="3 and 2 columns"):
        QuantileTransport.fit(a, b[:, :2])
    with pytest.raises(ValueError, match=r"0 to 1, got 1\.5"):
        QuantileTransport.fit(a, b).w2(1.5)
    one = torch.ones(2, 2)
    with pytest.raises(ValueError, match="knots must be"):
        QuantileTransport(one, one, one[0], one[0], one)
    with pytest.raises(ValueError, match="ascend"):
        QuantileTransport(one.cumsum(1).flip(1), one, one[0], one[0], torch.ones(2, 3))


@pytest.mark.parametrize("kind", [LinearTransport, QuantileTransport])
def test_quality_measures_on_any_samples(kind):
    a, b = samples(50, 40, 1)
    t = kind.fit(a[:25], b)
    q = quality(t, a[25:], b, strengths=(0.0, 0.5, 1.0))
    for s, row in zip(q.strengths, q.w2, strict=True):
        want = ot.wasserstein_1d(t(a[25:], s).numpy(), b.numpy(), p=2) ** 0.5
        assert torch.allclose(row, torch.from_numpy(want))
    assert torch.allclose(q.coverage, t.inside(a[25:]).double().mean(0))
    assert (q.coverage < 1).any()
    assert "strength 0: " in str(q)
    assert {len(c) for c in q.to_table().values()} == {3}


def test_quality_takes_compositions_and_the_distance_is_a_metric():
    a, b = samples(50, 40, 1)
    t = LinearTransport.fit(a, b)
    assert quality(ChainTransport.of(t, t), a, b).w2.shape == (5, 3)
    assert torch.equal(wasserstein2(a, a.flip(0)), torch.zeros(3, dtype=torch.float64))
    assert torch.allclose(wasserstein2(a, b), wasserstein2(b, a))


def covariance(x):
    return torch.cov(x.T, correction=0)


def test_full_gaussian_matches_means_and_covariances_and_is_the_least_such_map():
    g = torch.Generator().manual_seed(0)
    mix = torch.randn(4, 4, generator=g).double()
    a = torch.randn(60, 4, generator=g).double() @ mix + 1
    b = torch.randn(90, 4, generator=g).double() - 2
    t = FullGaussianTransport.fit(a, b, shrinkage=0.0)
    assert torch.allclose(t(a).mean(0), b.mean(0))
    assert torch.allclose(covariance(t(a)), covariance(b), atol=1e-10)
    cost = float((t(a) - a).square().sum(1).mean())
    bures = ot.gaussian.bures_wasserstein_distance(
        a.mean(0), b.mean(0), covariance(a), covariance(b)
    )
    assert cost == pytest.approx(float(bures) ** 2)
    diagonal = GaussianTransport.fit(a, b, support="all")
    assert not torch.allclose(covariance(diagonal(a)), covariance(b), atol=0.1)


def test_full_gaussian_in_one_dimension_is_the_gaussian_map():
    a, b = samples(30, 20, 0, dim=1)
    t, want = FullGaussianTransport.fit(a, b, shrinkage=0.0), GaussianTransport.fit(a, b)
    assert t.matrix.item() == pytest.approx(want.scale.item())
    assert t.shift.item() == pytest.approx(want.shift.item())


def test_full_gaussian_with_fewer_samples_than_neurons_is_kept_finite_by_shrinkage():
    a, b = samples(5, 6, 0, dim=20)
    t = FullGaussianTransport.fit(a, b)
    assert torch.allclose(t(a).mean(0), b.mean(0))
    assert t.matrix.abs().max() < 50
    half = t(a, 0.5)
    assert torch.allclose(half, 0.5 * a + 0.5 * t(a))
    some = t.keep(torch.arange(20) < 3)
    assert torch.equal(some(a)[:, 3:], a[:, 3:])
    assert torch.allclose(some(a)[:, :3], t(a)[:, :3])


@given(seed=st.integers(0, 2**31))
def test_full_gaussian_weights_equal_copies(seed):
    a, b = samples(9, 11, seed)
    g = np.random.default_rng(seed)
    ka, kb = g.integers(1, 4, 9), g.integers(1, 4, 11)
    weighed = FullGaussianTransport.fit(a, b, (ka, kb))
    copied = FullGaussianTransport.fit(
        a.repeat_interleave(torch.from_numpy(ka), 0), b.repeat_interleave(torch.from_numpy(kb), 0)
    )
    assert torch.allclose(weighed.matrix, copied.matrix, atol=1e-8)
    assert torch.allclose(weighed.shift, copied.shift, atol=1e-8)


def test_full_gaussian_errors():
    a, b = samples(9, 9, 0)
    with pytest.raises(ValueError, match="support='minmax'"):
        FullGaussianTransport.fit(a, b, support="minmax")
    with pytest.raises(ValueError, match="shrinkage must be"):
        FullGaussianTransport.fit(a, b, shrinkage=2)
    with pytest.raises(ValueError, match="3 and 2 columns"):
        FullGaussianTransport.fit(a, b[:, :2])
    with pytest.raises(ValueError, match=r"\(3, 2\)"):
        FullGaussianTransport(torch.ones(3, 2), torch.ones(3))
    with pytest.raises(ValueError, match="quality"):
        FullGaussianTransport.fit(a, b).w2()
    a[0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        FullGaussianTransport.fit(a, b)

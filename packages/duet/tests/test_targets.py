import math

import numpy as np
import pytest
import torch
from duet.targets import (
    bessel_ratios,
    gaussian_target,
    von_mises_series,
    von_mises_target,
)
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.special import ive

positions = st.floats(0, 1)
counts = st.integers(1, 24)
kappas = st.floats(0, 60)
sigmas = st.floats(0.02, 3)


def at(p, dtype=torch.float64):
    return torch.tensor([p], dtype=dtype)


def arcs_by_quadrature(p, bins, kappa, points=20_000):
    """The mass of every arc by the midpoint rule, normalised by Bessel's function of scipy."""
    middles = (np.arange(bins * points) + 0.5) / (bins * points)
    density = np.exp(kappa * (np.cos(2 * math.pi * (middles - p)) - 1)) / ive(0, kappa)
    return density.reshape(bins, points).mean(1) / bins


def parts_by_loop(p, bins, sigma):
    """The definition: the normal distribution function at both edges of each part."""

    def below(edge):
        return 0.5 * math.erfc((p - edge) / (sigma * math.sqrt(2)))

    masses = [below((i + 1) / bins) - below(i / bins) for i in range(bins)]
    return [mass / sum(masses) for mass in masses]


@pytest.mark.parametrize("bins", [2, 3, 8, 16])
@pytest.mark.parametrize("kappa", [0.1, 1.0, 3.0, 10.0, 50.0])
def test_von_mises_mass_is_that_of_quadrature(kappa, bins):
    for p in (0.0, 0.123, 0.5, 0.871):
        want = arcs_by_quadrature(p, bins, kappa)
        assert np.abs(von_mises_target(at(p), bins, kappa).numpy() - want).max() <= 1e-9
        single = at(p, torch.float32)
        want = arcs_by_quadrature(float(single), bins, kappa)
        assert np.abs(von_mises_target(single, bins, kappa).numpy() - want).max() <= 1e-6


@given(p=positions, bins=st.integers(1, 16), kappa=st.floats(0, 200))
def test_von_mises_mass_is_that_of_quadrature_anywhere(p, bins, kappa):
    nodes, weights = np.polynomial.legendre.leggauss(400 // bins + 20)
    places = (np.arange(bins)[:, None] + (nodes + 1) / 2) / bins
    density = np.exp(kappa * (np.cos(2 * math.pi * (places - p)) - 1)) / ive(0, kappa)
    want = density @ weights / (2 * bins)
    assert np.abs(von_mises_target(at(p), bins, kappa).numpy() - want).max() <= 1e-12


@pytest.mark.parametrize("kappa", [1e-3, 0.1, 3.0, 50.0, 700.0, 1e4, 1e6])
def test_bessel_ratios_are_those_of_scipy(kappa):
    most = 20 + math.ceil(9 * math.sqrt(kappa))
    n = np.arange(1, most + 1)
    np.testing.assert_allclose(
        bessel_ratios(kappa, most).numpy(), ive(n, kappa) / ive(0, kappa), rtol=1e-10, atol=1e-15
    )


@given(p=positions, bins=counts, sigma=sigmas)
@example(p=0.0, bins=8, sigma=0.2)
@example(p=1.0, bins=8, sigma=0.2)
def test_gaussian_mass_is_that_of_the_distribution_function(p, bins, sigma):
    got = gaussian_target(at(p), bins, sigma)[0].tolist()
    assert got == pytest.approx(parts_by_loop(p, bins, sigma), abs=1e-12)
    single = at(p, torch.float32)
    got = gaussian_target(single, bins, sigma)[0].tolist()
    assert got == pytest.approx(parts_by_loop(float(single), bins, sigma), abs=1e-6)


@given(p=st.lists(positions, min_size=1, max_size=5), bins=counts, kappa=kappas, sigma=sigmas)
def test_targets_are_probabilities(p, bins, kappa, sigma):
    for target, width in ((von_mises_target, kappa), (gaussian_target, sigma)):
        for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
            got = target(torch.tensor(p, dtype=dtype), bins, width)
            assert got.dtype == dtype
            assert got.shape == (len(p), bins)
            assert bool((got >= 0).all())
            assert float((got.sum(-1) - 1).abs().max()) <= tolerance


@given(p=positions, bins=counts, kappa=kappas, turns=st.integers(-3, 3))
def test_whole_turns_do_not_count(p, bins, kappa, turns):
    moved = von_mises_target(at(p) + turns, bins, kappa)
    torch.testing.assert_close(moved, von_mises_target(at(p), bins, kappa), atol=1e-12, rtol=0)


def test_both_ends_of_the_circle_are_one():
    assert von_mises_target(at(0.0), 8).equal(von_mises_target(at(1.0), 8))


@given(p=positions, bins=counts, kappa=st.floats(0, 200), k=st.integers(-30, 30))
def test_moving_by_bins_moves_the_target_by_bins(p, bins, kappa, k):
    moved = von_mises_target(at(p) + k / bins, bins, kappa)
    rolled = von_mises_target(at(p), bins, kappa).roll(k, -1)
    torch.testing.assert_close(moved, rolled, atol=1e-12, rtol=0)


@given(p=positions, bins=counts, kappa=kappas, sigma=sigmas)
def test_reflecting_the_parameter_reflects_the_target(p, bins, kappa, sigma):
    for target, width in ((von_mises_target, kappa), (gaussian_target, sigma)):
        mirrored = target(1 - at(p), bins, width)
        flipped = target(at(p), bins, width).flip(-1)
        torch.testing.assert_close(mirrored, flipped, atol=1e-12, rtol=0)


@given(p=positions, bins=counts)
def test_the_widest_targets_are_uniform(p, bins):
    uniform = torch.full((1, bins), 1 / bins, dtype=torch.float64)
    assert von_mises_target(at(p), bins, kappa=0.0).equal(uniform)
    torch.testing.assert_close(von_mises_target(at(p), bins, 1e-9), uniform, atol=1e-9, rtol=0)
    torch.testing.assert_close(gaussian_target(at(p), bins, 1e4), uniform, atol=1e-8, rtol=0)
    wide = gaussian_target(at(p, torch.float32), bins, 1e4)
    torch.testing.assert_close(wide, uniform.float(), atol=1e-6, rtol=0)


@given(bin_=st.integers(0, 7), inside=st.floats(0.1, 0.9))
def test_the_narrowest_targets_are_the_bin_of_the_parameter(bin_, inside):
    p, hot = at((bin_ + inside) / 8), torch.zeros(1, 8, dtype=torch.float64)
    hot[0, bin_] = 1
    torch.testing.assert_close(von_mises_target(p, 8, kappa=1e6), hot, atol=1e-12, rtol=0)
    torch.testing.assert_close(gaussian_target(p, 8, sigma=1e-3), hot, atol=1e-12, rtol=0)


@pytest.mark.parametrize("target", [von_mises_target, gaussian_target])
def test_gradients_with_respect_to_the_parameter_are_right(target):
    p = torch.tensor([0.13, 0.5, 0.86], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: target(p, 8), p)


def test_any_leading_shape_and_none():
    p = torch.rand(2, 3, dtype=torch.float64)
    for target in (von_mises_target, gaussian_target):
        assert target(p, 5).shape == (2, 3, 5)
        torch.testing.assert_close(target(p, 5)[1, 2], target(p[1, 2], 5))
        assert target(torch.zeros(0), 5).shape == (0, 5)


def test_half_precision_is_widened():
    for target in (von_mises_target, gaussian_target):
        for dtype in (torch.float16, torch.bfloat16):
            got = target(torch.tensor([0.25], dtype=dtype), 8)
            assert got.dtype == torch.float32
            torch.testing.assert_close(got, target(torch.tensor([0.25]), 8))


def test_autocast_does_not_narrow_the_targets():
    p = torch.rand(64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = von_mises_target(p, 8), gaussian_target(p, 8)
    assert got[0].equal(von_mises_target(p, 8))
    assert got[1].equal(gaussian_target(p, 8))


def test_a_table_made_under_inference_mode_serves_training():
    von_mises_series.cache_clear()
    with torch.inference_mode():
        von_mises_target(torch.tensor([0.3]), 8)
    p = torch.tensor([0.3], requires_grad=True)
    von_mises_target(p, 8).square().sum().backward()
    assert float(p.grad.abs()) > 0


def test_few_harmonics_are_kept_and_multiples_of_the_bins_are_none_of_them():
    series = von_mises_series(8, 3.0, torch.float64, torch.device("cpu"))
    harmonics = (series.radians / (2 * math.pi)).round()
    assert 12 <= len(harmonics) <= 22
    assert not bool((harmonics % 8 == 0).any())
    single = von_mises_series(8, 3.0, torch.float32, torch.device("cpu"))
    assert len(single.radians) < len(harmonics)


def test_bad_arguments_are_told_what_came():
    p = torch.tensor([0.5])
    with pytest.raises(ValueError, match="finite; got nan"):
        von_mises_target(torch.tensor([0.5, math.nan]), 8)
    with pytest.raises(ValueError, match="finite; got inf"):
        von_mises_target(torch.tensor([math.inf]), 8)
    with pytest.raises(ValueError, match=r"in \[0, 1\].*got 1.5"):
        gaussian_target(torch.tensor([0.5, 1.5]), 8)
    with pytest.raises(ValueError, match="got nan among 1"):
        gaussian_target(torch.tensor([math.nan]), 8)
    with pytest.raises(ValueError, match=r"kappa.*-1"):
        von_mises_target(p, 8, kappa=-1.0)
    with pytest.raises(ValueError, match=r"kappa.*nan"):
        von_mises_target(p, 8, kappa=math.nan)
    with pytest.raises(ValueError, match=r"sigma.*got 0"):
        gaussian_target(p, 8, sigma=0.0)
    with pytest.raises(ValueError, match=r"bins.*got 0"):
        von_mises_target(p, 0)
    with pytest.raises(TypeError, match=r"p\.float\(\)"):
        von_mises_target(torch.tensor([0]), 8)
    with pytest.raises(TypeError, match="got float"):
        gaussian_target(0.5, 8)


def test_the_check_can_be_switched_off():
    assert bool(von_mises_target(torch.tensor([math.nan]), 8, check=False).isnan().all())
    assert gaussian_target(torch.tensor([1.5]), 8, check=False).shape == (1, 8)

import math

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lv_ssl import PowerSpherical, VonMisesFisher
from lv_ssl.sphere import (
    draw_power_angle,
    draw_vmf_angle,
    log_sphere_area,
    power_moments,
    vmf_moments,
)
from scipy import integrate

DIMS, KAPPAS = (2, 3, 7, 64, 101, 128, 2048), (1e-3, 0.5, 4.0, 40.0, 1e3, 1e5)


def kept(x, *, of=torch.float64):
    return torch.tensor(x, dtype=of)


@pytest.mark.parametrize("d", DIMS)
@pytest.mark.parametrize("kappa", KAPPAS)
def test_the_partition_function_and_mean_cosine_agree_with_40_digits(d, kappa):
    with mpmath.workdps(40):
        log_partition = mpmath.log(mpmath.hyp0f1(mpmath.mpf(d) / 2, mpmath.mpf(kappa) ** 2 / 4))
        nu = mpmath.mpf(d) / 2
        cosine = mpmath.besseli(nu, kappa) / mpmath.besseli(nu - 1, kappa)
    got, mean = vmf_moments(kept([kappa]), d)
    assert float(got) == pytest.approx(float(log_partition), rel=1e-9, abs=1e-9)
    assert float(mean) == pytest.approx(float(cosine), rel=1e-8)


@pytest.mark.parametrize("d", [2, 3, 8, 64])
@pytest.mark.parametrize("kappa", [0.3, 5.0, 80.0])
@pytest.mark.parametrize("kind", ["vmf", "power"])
def test_kl_is_the_integral_of_the_density_against_the_uniform_one(d, kappa, kind):
    def tilt(t):
        return kappa * (math.cos(t) if kind == "vmf" else math.log1p(math.cos(t)))

    def area(t):
        return math.sin(t) ** (d - 2)

    edge = math.pi * (1 - 1e-9)
    norm, flat = (
        integrate.quad(f, 0, edge, epsabs=0, epsrel=1e-10, limit=400)[0]
        for f in (lambda t: math.exp(tilt(t) - tilt(0)) * area(t), area)
    )

    def integrand(t):
        log_ratio = tilt(t) - tilt(0) - math.log(norm) + math.log(flat)
        return math.exp(tilt(t) - tilt(0)) * area(t) / norm * log_ratio

    want = integrate.quad(integrand, 0, edge, epsabs=1e-12, epsrel=1e-10, limit=400)[0]
    q = (VonMisesFisher if kind == "vmf" else PowerSpherical)(
        torch.ones(1, d, dtype=torch.float64), kept([[kappa]])
    )
    assert float(q.kl()) == pytest.approx(want, rel=1e-6, abs=1e-8)
    assert float(q.entropy()) == pytest.approx(log_sphere_area(d) - want, rel=1e-6, abs=1e-6)


@given(kappa=st.floats(0.01, 1e4), d=st.integers(2, 300))
@pytest.mark.parametrize("moments", [vmf_moments, power_moments])
def test_the_mean_statistic_is_the_slope_of_the_log_partition(moments, kappa, d):
    k = kept([kappa]).requires_grad_()
    log_partition, mean = moments(k, d)
    (slope,) = torch.autograd.grad(log_partition.sum(), k)
    torch.testing.assert_close(slope, mean.detach(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("d", [2, 3, 16, 256])
@pytest.mark.parametrize("kappa", [0.1, 3.0, 50.0, 2000.0])
@pytest.mark.parametrize(
    ("draw", "moments", "statistic"),
    [
        (draw_vmf_angle, vmf_moments, torch.cos),
        (draw_power_angle, power_moments, lambda t: torch.log1p(torch.cos(t))),
    ],
    ids=["vmf", "power"],
)
def test_angles_have_the_moments_of_the_density_and_so_have_their_gradients(
    draw, moments, statistic, d, kappa
):
    # n = 20,000, seed 0; bounds of 5 standard errors
    k = torch.full((20_000,), kappa, dtype=torch.float64, requires_grad=True)
    t = statistic(draw(k, d, torch.Generator().manual_seed(0)))
    k1 = kept([kappa]).requires_grad_()
    _, mean = moments(k1, d)
    (slope,) = torch.autograd.grad(mean.sum(), k1)
    (each,) = torch.autograd.grad(t.sum(), k)
    t, mean = t.detach(), mean.detach()
    root = 20_000**0.5
    assert float((t.mean() - mean).abs()) < 5 * float(t.std()) / root + 1e-9
    assert float((each.mean() - slope).abs()) < 5 * float(each.std()) / root + 1e-9
    assert float(slope) > 0
    variance = float(t.var())  # of an exponential family: the slope of the mean
    assert variance == pytest.approx(float(slope), rel=0.15)


def test_the_gradient_of_an_angle_is_that_of_its_quantile():
    # by finite differences of scipy's distribution function
    d, t0 = 5, 0.9

    def cdf(kappa):
        def f(t):
            return math.exp(kappa * (math.cos(t) - 1)) * math.sin(t) ** (d - 2)

        return integrate.quad(f, 0, t0)[0] / integrate.quad(f, 0, math.pi)[0]

    def pdf(kappa):
        return (cdf_at(kappa, t0 + 1e-4) - cdf_at(kappa, t0 - 1e-4)) / 2e-4

    def cdf_at(kappa, t):
        def f(s):
            return math.exp(kappa * (math.cos(s) - 1)) * math.sin(s) ** (d - 2)

        return integrate.quad(f, 0, t)[0] / integrate.quad(f, 0, math.pi)[0]

    from lv_ssl.sphere import _quantile_slope

    for kappa in (1.0, 6.0):
        want = -(cdf(kappa + 1e-4) - cdf(kappa - 1e-4)) / 2e-4 / pdf(kappa)
        _, mean = vmf_moments(kept([kappa]), d)
        got = _quantile_slope(kept([kappa]), kept([t0]), mean, torch.cos, d)
        assert float(got) == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("kind", [PowerSpherical, VonMisesFisher])
def test_little_concentration_is_uniform_and_much_is_the_mean(kind, seeded):
    loc = torch.tensor([[3.0, 0.0, 0.0, 4.0]])
    flat = kind(loc, torch.tensor([[1e-4]])).rsample(20_000, generator=seeded())
    assert flat.mean(0).norm() < 0.03  # of 20,000 uniform directions: 0.007 on average
    sharp = kind(loc, torch.tensor([[1e6]])).rsample(100, generator=seeded())
    torch.testing.assert_close(sharp.mean(0), loc / 5, rtol=0, atol=5e-3)


def test_a_sphere_needs_two_dimensions():
    with pytest.raises(ValueError, match="d must be at least 2"):
        log_sphere_area(1)

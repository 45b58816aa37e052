import math

import mpmath
import pytest
import torch
from er_ssl import log_sphere_area, vmf_log_normalizer, vmf_mean_cosine
from hypothesis import given
from hypothesis import strategies as st

mpmath.mp.dps = 40

DIMENSIONS = [2, 3, 4, 16, 64, 65, 66, 129, 1000, 8192, 10000]
KAPPAS = [1e-3, 1.0, 10.0, 31.9, 32.1, 500.0]


def bessel(nu, kappa):
    return mpmath.besseli(mpmath.mpf(nu), mpmath.mpf(kappa), maxterms=10**6)


def exact_log_normalizer(d, kappa):
    """The formula in forty digits."""
    nu, kappa = mpmath.mpf(d) / 2 - 1, mpmath.mpf(kappa)
    constant = nu * mpmath.log(kappa) - mpmath.mpf(d) / 2 * mpmath.log(2 * mpmath.pi)
    return float(constant - mpmath.log(bessel(nu, kappa)))


@pytest.mark.parametrize("d", DIMENSIONS)
@pytest.mark.parametrize("kappa", KAPPAS)
def test_the_constant_is_that_of_forty_digits(d, kappa):
    got = float(vmf_log_normalizer(d, kappa))
    assert got == pytest.approx(exact_log_normalizer(d, kappa), rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("d", [2, 3, 64, 129, 1000])
def test_the_constant_holds_at_very_large_kappa(d):
    # Hankel's expansion, whose terms fall fast where kappa is far above nu^2
    nu, kappa = d / 2 - 1, 1e5
    tail = mpmath.mpf(0)
    term = mpmath.mpf(1)
    for k in range(40):
        tail += term
        term *= -(4 * mpmath.mpf(nu) ** 2 - (2 * k + 1) ** 2) / ((k + 1) * 8 * mpmath.mpf(kappa))
    log_bessel = kappa - mpmath.log(2 * mpmath.pi * kappa) / 2 + mpmath.log(tail)
    exact = nu * mpmath.log(kappa) - mpmath.mpf(d) / 2 * mpmath.log(2 * mpmath.pi) - log_bessel
    assert float(vmf_log_normalizer(d, kappa)) == pytest.approx(float(exact), abs=1e-6)


def test_the_released_codes_own_case():
    assert float(vmf_log_normalizer(1000, 10.0)) == pytest.approx(2032.008, abs=1e-3)


@given(kappa=st.floats(1e-4, 600))
def test_three_dimensions_have_the_closed_form(kappa):
    log_sinh = kappa + math.log1p(-math.exp(-2 * kappa)) - math.log(2)
    want = math.log(kappa / (4 * math.pi)) - log_sinh
    assert float(vmf_log_normalizer(3, kappa)) == pytest.approx(want, abs=1e-10)


@given(kappa=st.floats(1e-3, 300))
def test_the_mean_cosine_in_three_dimensions_has_the_closed_form(kappa):
    want = 1 / math.tanh(kappa) - 1 / kappa
    assert float(vmf_mean_cosine(3, kappa)) == pytest.approx(want, rel=1e-8)


@pytest.mark.parametrize("d", DIMENSIONS)
@pytest.mark.parametrize("kappa", KAPPAS)
def test_the_derivative_is_the_ratio_of_bessel_functions(d, kappa):
    want = float(bessel(d / 2, kappa) / bessel(mpmath.mpf(d) / 2 - 1, kappa))
    k = torch.tensor(kappa, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(-vmf_log_normalizer(d, k), k)
    assert float(slope) == pytest.approx(want, rel=1e-9)
    assert float(vmf_mean_cosine(d, kappa)) == pytest.approx(want, rel=1e-9)


@given(d=st.integers(2, 10_000), kappa=st.floats(0.01, 1e4))
def test_the_mean_cosine_is_below_one_and_increases(d, kappa):
    k = torch.tensor([kappa, kappa * 1.01], dtype=torch.float64)
    low, high = vmf_mean_cosine(d, k).tolist()
    assert 0 < low < high < 1


@pytest.mark.parametrize("d", [2, 3, 64, 128, 512])
@pytest.mark.parametrize("kappa", [0.5, 31.99, 32.01, 100.0])
def test_derivatives_pass_gradcheck_to_second_order(d, kappa):
    k = torch.tensor([kappa], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda k: vmf_log_normalizer(d, k), k)
    assert torch.autograd.gradgradcheck(lambda k: vmf_log_normalizer(d, k), k)


@pytest.mark.parametrize("d", [2, 3, 7, 128, 10_000])
def test_without_concentration_the_density_is_one_over_the_area(d):
    assert float(vmf_log_normalizer(d, 0.0)) == pytest.approx(-log_sphere_area(d), abs=1e-9)


def test_the_circle_and_the_sphere_have_their_areas():
    assert log_sphere_area(2) == pytest.approx(math.log(2 * math.pi))
    assert log_sphere_area(3) == pytest.approx(math.log(4 * math.pi))


def test_shape_and_dtype_are_those_of_kappa():
    assert vmf_log_normalizer(8, torch.ones(2, 3)).dtype == torch.float32
    assert vmf_log_normalizer(8, torch.ones(2, 3)).shape == (2, 3)
    assert vmf_log_normalizer(8, 1.0).dtype == torch.float64


@pytest.mark.parametrize("kappa", [-1.0, math.inf, math.nan])
def test_refuses_a_concentration_out_of_range(kappa):
    with pytest.raises(ValueError, match="kappa must be at least 0 and finite, got"):
        vmf_log_normalizer(3, kappa)


def test_refuses_one_dimension():
    with pytest.raises(ValueError, match="d must be at least 2"):
        vmf_log_normalizer(1, 1.0)
    with pytest.raises(ValueError, match="d must be at least 2"):
        log_sphere_area(1)

"""The von Mises-Fisher density's constant, exact in any dimension and differentiable in kappa."""

import math
from collections import defaultdict
from fractions import Fraction
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

_SERIES_BELOW = 32.0  # in w = hypot(nu, kappa): below, the power series; above, the expansion
_SERIES_TERMS = 64  # the last is 1e-20 of the sum at most
_EXPANSION_TERMS = 12


def log_sphere_area(d: int) -> float:
    """Return the log of the area of the unit sphere in ``d`` dimensions, in nats.

    It is the entropy of uniform directions, the most that any distribution on the sphere has.

    Args:
        d: dimension of the space that holds the sphere, at least 2.

    Returns:
        ``log(2 pi^(d/2) / Gamma(d/2))``.

    Raises:
        ValueError: if ``d < 2``.

    Source:
        The uniform density, kappa = 0.

    Example:
        >>> round(log_sphere_area(3), 4)  # log(4 pi)
        2.531
    """
    _check_dimension(d)
    return math.log(2) + d / 2 * math.log(math.pi) - math.lgamma(d / 2)


def vmf_log_normalizer(d: int, kappa: float | Tensor) -> Tensor:
    """Return ``log C_d(kappa)``, the log of the constant of the von Mises-Fisher density.

    The density of a direction z around a unit mean mu is ``C_d(kappa) exp(kappa mu . z)``.

    Args:
        d: dimension of the vectors, at least 2.
        kappa: concentration, at least 0, any shape; a tensor receives gradients of any order.

    Returns:
        Nats, the shape and dtype of ``kappa`` (float64 for a number), computed in float64.

    Raises:
        ValueError: if ``d < 2`` or a number ``kappa`` is negative or not finite.

    Source:
        ``-log C_d = -(d/2-1) log kappa + (d/2) log 2pi + log I_{d/2-1}(kappa)``; the Bessel
        function by its power series or by its uniform asymptotic expansion.

    Example:
        >>> round(float(vmf_log_normalizer(1000, 10.0)), 3)
        2032.008
    """
    _check_dimension(d)
    if not isinstance(kappa, Tensor):
        if not (0 <= kappa < math.inf):
            raise ValueError(f"kappa must be at least 0 and finite, got {kappa}")
        return torch.tensor(_log_normalizer_of_number(d, kappa), dtype=torch.float64)
    return (-_LogMeanExp.apply(kappa.double(), d) - log_sphere_area(d)).to(kappa.dtype)


@lru_cache(maxsize=256)
def _log_normalizer_of_number(d: int, kappa: float) -> float:
    """A training step asks for the same one again and again."""
    return float(-_log_mean_exp(torch.tensor(kappa, dtype=torch.float64), d)) - log_sphere_area(d)


def vmf_mean_cosine(d: int, kappa: float | Tensor) -> Tensor:
    """Return ``A_d(kappa)``, the expected cosine of a draw to the mean direction.

    It is also the derivative of ``-log C_d`` in kappa: 0 at kappa = 0, rising towards 1.

    Args:
        d: dimension of the vectors, at least 2.
        kappa: concentration, at least 0, any shape.

    Returns:
        Values in ``[0, 1)``, the shape and dtype of ``kappa`` (float64 for a number).

    Raises:
        ValueError: if ``d < 2`` or a number ``kappa`` is negative or not finite.

    Source:
        ``A_d = I_{d/2} / I_{d/2-1}``.

    Example:
        >>> round(float(vmf_mean_cosine(3, 2.0)), 6)  # 1 / tanh(2) - 1/2
        0.537315
    """
    if not isinstance(kappa, Tensor):
        kappa = torch.tensor(kappa, dtype=torch.float64)
    # log C_d - log C_{d+2} = log of the ratio, up to the areas
    areas = log_sphere_area(d) - log_sphere_area(d + 2) - math.log(d)
    k = kappa.double()
    ratio = vmf_log_normalizer(d, k) - vmf_log_normalizer(d + 2, k) + areas
    return (k * ratio.exp()).to(kappa.dtype)


class _LogMeanExp(torch.autograd.Function):
    """``log E exp(kappa mu . u)`` over uniform directions u; its derivative is ``A_d(kappa)``."""

    @staticmethod
    def forward(ctx: Any, kappa: Tensor, d: int) -> Tensor:  # pyrefly: ignore
        ctx.save_for_backward(kappa)
        ctx.d = d
        return _log_mean_exp(kappa, d)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # pyrefly: ignore
        (kappa,) = ctx.saved_tensors
        above, here = _LogMeanExp.apply(kappa, ctx.d + 2), _LogMeanExp.apply(kappa, ctx.d)
        return grad * kappa / ctx.d * (above - here).exp(), None


def _log_mean_exp(kappa: Tensor, d: int) -> Tensor:
    """``log 0F1(d/2; kappa^2/4)``, float64."""
    nu = d / 2 - 1
    w = torch.hypot(kappa, torch.full_like(kappa, nu))
    series = _log_series(kappa.clamp(max=_SERIES_BELOW), nu)
    expansion = _log_expansion(w.clamp(min=_SERIES_BELOW), nu)
    return torch.where(w < _SERIES_BELOW, series, expansion)


def _log_series(kappa: Tensor, nu: float) -> Tensor:
    """Power series: all terms positive, and at most exp(kappa) in sum."""
    term = torch.ones_like(kappa)
    total = torch.zeros_like(kappa)
    for m in range(1, _SERIES_TERMS):
        term = term * (kappa * kappa / 4) / (m * (nu + m))
        total = total + term
    return torch.log1p(total)


def _log_expansion(w: Tensor, nu: float) -> Tensor:
    """Uniform expansion in ``1/w`` with ``w = hypot(nu, kappa)``: no term is singular in nu."""
    p2 = (nu / w) ** 2
    correction = torch.zeros_like(w)
    for k in range(_EXPANSION_TERMS, 0, -1):
        u = torch.zeros_like(w)
        for c in reversed(_DEBYE[k]):
            u = u * p2 + c
        correction = (correction + u) / w
    stirling = math.lgamma(nu + 1) - nu * torch.log((nu + w) / 2) + w
    return stirling - torch.log(2 * math.pi * w) / 2 + torch.log1p(correction)


def _debye_polynomials(terms: int) -> list[list[float]]:
    """Coefficients in ``p^2`` of ``u_k(p) / p^k``, by the recurrence of the expansion."""
    u = {0: Fraction(1)}  # power of p -> coefficient
    table = [[1.0]]
    for k in range(1, terms + 1):
        # u_{k+1} = p^2 (1 - p^2) u_k' / 2 + (1/8) integral_0^p (1 - 5 t^2) u_k dt
        following: dict[int, Fraction] = defaultdict(Fraction)
        for n, c in u.items():
            following[n + 1] += c * n / 2 + c / (8 * (n + 1))
            following[n + 3] -= c * n / 2 + 5 * c / (8 * (n + 3))
        u = following
        table.append([float(u.get(k + 2 * m, 0)) for m in range(k + 1)])
    return table


def _check_dimension(d: int) -> None:
    if d < 2:
        raise ValueError(f"d must be at least 2 (a sphere), got {d}")


_DEBYE = _debye_polynomials(_EXPANSION_TERMS)

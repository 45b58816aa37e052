"""Two distributions on the unit sphere: their constants, and angles drawn with a gradient.

Both have, in the angle t to their mean direction, a density proportional to
``exp(kappa T(t)) sin(t)^(d-2)``: von Mises-Fisher with ``T = cos t``, power spherical with
``T = log(1 + cos t)``.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lv_ssl._checks import normal, uniform

_LEAST_ORDER = 50.0  # of the Bessel function where its expansion is used: good to 1e-10
_NODES = 96


def log_sphere_area(d: int) -> float:
    """Return the log of the unit sphere's area in ``d`` dimensions: uniform directions' entropy.

    Args:
        d: dimension of the space that holds the sphere, at least 2.

    Returns:
        ``log(2 pi^(d/2) / Gamma(d/2))``, nats.

    Raises:
        ValueError: if ``d < 2``.

    Source:
        The uniform density, kappa = 0.

    Example:
        >>> round(log_sphere_area(3), 4)  # log(4 pi)
        2.531
    """
    if d < 2:
        raise ValueError(f"d must be at least 2 (a sphere), got {d}")
    return math.log(2) + d / 2 * math.log(math.pi) - math.lgamma(d / 2)


def vmf_moments(kappa: Tensor, d: int) -> tuple[Tensor, Tensor]:
    """Return the log partition function and the mean cosine of von Mises-Fisher.

    Args:
        kappa: concentration, positive, any shape; receives gradients.
        d: dimension, at least 2.

    Returns:
        ``log E exp(kappa cos t)`` over uniform directions, and its derivative ``E cos t`` in
        [0, 1); both float64, of ``kappa``'s shape.

    Source:
        The uniform expansion of ``I_v(kappa)`` at an order of at least 50, then down two
        dimensions a step: ``A_d = kappa / (d + kappa A_{d+2})``.

    Example:
        >>> log_partition, cosine = vmf_moments(torch.tensor([2.0]), 3)
        >>> round(float(cosine), 6)  # 1 / tanh(2) - 1/2
        0.537315
    """
    k = kappa.double()
    top = d
    while top / 2 - 1 < _LEAST_ORDER:
        top += 2
    log_partition, above = _expansion(k, top), _expansion(k, top + 2)
    cosine = k / top * (above - log_partition).exp()
    while top > d:
        top -= 2
        cosine = k / (top + k * cosine)
        log_partition = log_partition + torch.log(k / (top * cosine))
    return log_partition, cosine


def _expansion(k: Tensor, d: int) -> Tensor:
    """The log partition function for large orders, ``v = d/2 - 1``, four corrections."""
    v = d / 2 - 1
    w = torch.hypot(k, torch.full_like(k, v))
    q = (v / w) ** 2
    u1 = (3 - 5 * q) / 24
    u2 = (81 + q * (-462 + q * 385)) / 1152
    u3 = (30375 + q * (-369603 + q * (765765 - q * 425425))) / 414720
    u4 = 4465125 + q * (-94121676 + q * (349922430 + q * (-446185740 + q * 185910725)))
    correction = (u1 + (u2 + (u3 + u4 / 39813120 / w) / w) / w) / w
    log_start = math.lgamma(v + 1) - v * torch.log((v + w) / 2) + w
    return log_start - torch.log(2 * math.pi * w) / 2 + torch.log1p(correction)


def power_moments(kappa: Tensor, d: int) -> tuple[Tensor, Tensor]:
    """Return the log partition function and the mean of ``log(1 + cos t)`` of power spherical.

    Args:
        kappa: concentration, positive, any shape; receives gradients.
        d: dimension, at least 2.

    Returns:
        ``log E (1 + cos t)^kappa`` over uniform directions, and its derivative; both float64,
        of ``kappa``'s shape.

    Source:
        ``(1 + cos t) / 2`` is Beta with parameters ``(d-1)/2 + kappa`` and ``(d-1)/2``.

    Example:
        >>> log_partition, _ = power_moments(torch.tensor([1.0]), 3)
        >>> round(float(log_partition.abs()), 9)  # E (1 + cos t) = 1
        0.0
    """
    k, b = kappa.double(), torch.tensor((d - 1) / 2, dtype=torch.float64, device=kappa.device)
    a = b + k
    log_partition = (
        k * math.log(2)
        + torch.lgamma(a) - torch.lgamma(a + b) + torch.lgamma(2 * b) - torch.lgamma(b)
    )  # fmt: skip
    return log_partition, math.log(2) + torch.digamma(a) - torch.digamma(a + b)


def draw_vmf_angle(kappa: Tensor, d: int, generator: torch.Generator) -> Tensor:
    """Return angles to the mean of von Mises-Fisher, exact draws with an exact gradient.

    Args:
        kappa: concentrations, positive, any shape.
        d: dimension, at least 2.
        generator: where the draws come from.

    Returns:
        Radians in [0, pi], float64, of ``kappa``'s shape; the gradient in ``kappa`` is that of
        the quantile at the drawn angle.

    Source:
        Ulrich 1984 and Wood 1994 (rejection); Figurnov et al. 2018 (implicit gradient).

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> bool((draw_vmf_angle(torch.full((4,), 1e6), 8, g) < 0.01).all())
        True
    """
    k = kappa.detach().double().flatten()
    b = (d - 1) / (2 * k + torch.sqrt(4 * k * k + (d - 1) ** 2))
    x0 = (1 - b) / (1 + b)
    c = k * x0 + (d - 1) * torch.log(4 * b / (1 + b) ** 2)
    half = torch.empty_like(k)  # sin^2(t / 2)
    pending = torch.arange(len(k), device=k.device)
    while len(pending):
        g = normal((len(pending), d), k, generator)
        beta = (1 + g[:, 0] / g.norm(dim=1)) / 2  # Beta((d-1)/2, (d-1)/2)
        bp = b[pending]
        proposal = bp * beta / (1 - (1 - bp) * beta)
        w = 1 - 2 * proposal
        log_ratio = k[pending] * w + (d - 1) * torch.log1p(-x0[pending] * w) - c[pending]
        accepted = log_ratio >= torch.log(uniform((len(pending),), k, generator))
        half[pending[accepted]] = proposal[accepted]
        pending = pending[~accepted]
    angle = 2 * torch.asin(half.clamp(0, 1).sqrt()).view(kappa.shape)
    _, mean = vmf_moments(kappa.detach(), d)
    return _Angle.apply(kappa.double(), angle, mean, torch.cos, d)


def draw_power_angle(kappa: Tensor, d: int, generator: torch.Generator) -> Tensor:
    """Return angles to the mean of power spherical, exact draws with an exact gradient.

    Args:
        kappa: concentrations, positive, any shape.
        d: dimension, at least 2.
        generator: where the draws come from.

    Returns:
        Radians in [0, pi], float64, of ``kappa``'s shape; the gradient in ``kappa`` is that of
        the quantile at the drawn angle.

    Source:
        De Cao and Aziz 2020 (a Beta draw); Figurnov et al. 2018 (implicit gradient).

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> bool((draw_power_angle(torch.full((4,), 1e6), 8, g) < 0.01).all())
        True
    """
    k = kappa.detach().double().flatten()
    first = _gamma((d - 1) / 2 + k, generator)
    second = normal((len(k), d - 1), k, generator).square().sum(1) / 2
    half = second / (first + second)
    angle = 2 * torch.asin(half.clamp(0, 1).sqrt()).view(kappa.shape)
    _, mean = power_moments(kappa.detach(), d)
    return _Angle.apply(kappa.double(), angle, mean, _log_one_plus_cos, d)


def _log_one_plus_cos(t: Tensor) -> Tensor:
    return math.log(2) + 2 * torch.log(torch.cos(t / 2).clamp_min(1e-300))


def _gamma(shape: Tensor, generator: torch.Generator) -> Tensor:
    """Standard gamma draws (Marsaglia and Tsang 2000, raised by one so that any shape will do)."""
    depth = shape + 1 - 1 / 3
    out = torch.empty_like(shape)
    pending = torch.arange(len(shape), device=shape.device)
    while len(pending):
        d = depth[pending]
        x = normal((len(pending),), shape, generator)
        v = (1 + x / (9 * d).sqrt()) ** 3
        log_u = torch.log(uniform((len(pending),), shape, generator))
        accepted = (v > 0) & (log_u < x * x / 2 + d * (1 - v + torch.log(v.clamp_min(1e-300))))
        out[pending[accepted]] = (d * v)[accepted]
        pending = pending[~accepted]
    return out * uniform(shape.shape, shape, generator) ** (1 / shape)


class _Angle(torch.autograd.Function):
    """The drawn angle; its derivative in kappa is that of the quantile, by quadrature."""

    @staticmethod
    def forward(  # pyrefly: ignore
        ctx: Any,
        kappa: Tensor,
        angle: Tensor,
        mean: Tensor,
        statistic: Callable[[Tensor], Tensor],
        d: int,
    ) -> Tensor:
        ctx.save_for_backward(kappa, angle, mean)
        ctx.statistic, ctx.d = statistic, d
        return angle.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:  # pyrefly: ignore
        kappa, angle, mean = ctx.saved_tensors
        slope = _quantile_slope(kappa, angle, mean, ctx.statistic, ctx.d)
        return grad * slope, None, None, None, None


def _quantile_slope(
    kappa: Tensor, angle: Tensor, mean: Tensor, statistic: Callable[[Tensor], Tensor], d: int
) -> Tensor:
    """``dt/dkappa`` at a fixed quantile: the tail's integral of ``T - E T`` over the density at t.

    The integral is taken over the tail in which ``T - E T`` keeps its sign.
    """
    left = statistic(angle) > mean
    length = torch.where(left, angle, math.pi - angle)
    v, weights = (x.to(angle.device) for x in _nodes())
    step = length[..., None] * v**4  # nodes crowd where the tail begins
    s = torch.where(left[..., None], angle[..., None] - step, angle[..., None] + step)
    here = kappa * statistic(angle) + (d - 2) * torch.log(torch.sin(angle).clamp_min(1e-300))
    t = statistic(s)
    log_density = kappa[..., None] * t + (d - 2) * torch.log(torch.sin(s).clamp_min(1e-300))
    ratio = torch.exp(log_density - here[..., None])
    tail = (weights * 4 * v**3 * ratio * (t - mean[..., None])).sum(-1) * length
    return torch.where(left, -tail, tail)


@lru_cache(maxsize=1)
def _nodes() -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes and weights on [0, 1]."""
    x, w = np.polynomial.legendre.leggauss(_NODES)
    return torch.from_numpy((x + 1) / 2), torch.from_numpy(w / 2)

"""The mass that a density round the true parameter leaves in every bin, in closed form."""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from duet._checks import (
    at_least_float32,
    check_bins,
    check_floating,
    check_kappa,
    check_parameter,
    check_sigma,
    full_precision,
)

TURN = 2 * math.pi


def von_mises_target(p: Tensor, bins: int, kappa: float = 3.0, *, check: bool = True) -> Tensor:
    """Mass of a von Mises density in each of ``bins`` equal arcs of the circle.

    The density stands at ``2 pi p``; arc i covers ``[i / bins, (i + 1) / bins]`` of a turn. Its
    Fourier series is integrated arc by arc, so the mass is exact, and moving p by a bin moves the
    target by a bin to the last digits.

    Args:
        p: parameters in turns, any shape ``(...)``; whole turns do not count.
        bins: number of arcs.
        kappa: concentration, larger is narrower; 0 is uniform.
        check: refuse what is not finite, which waits for a GPU; switch off in a hot loop.

    Returns:
        Probabilities ``(..., bins)``, float64 for float64, else float32; for kappa up to 1000
        the latter are within 1e-6.

    Raises:
        ValueError: if a parameter is not finite, or ``bins`` or ``kappa`` out of range.

    Source:
        Suau et al. 2023, figure 1; the series is ours, the reference sums 100 points a bin.

    Example:
        >>> von_mises_target(torch.tensor([0.5]), bins=4, kappa=3.0)
        tensor([[0.0119, 0.4881, 0.4881, 0.0119]])
    """
    check_bins(bins)
    check_kappa(kappa)
    check_floating("p", p)
    if check:
        check_parameter(p, cyclic=True)
    p = at_least_float32(p)
    series = von_mises_series(bins, float(kappa), p.dtype, p.device)
    with full_precision(p):
        turn = (p - p.round()).reshape(-1, 1)
        angle = turn * series.radians  # (..., N)
        mass = torch.addmm(series.uniform, angle.cos(), series.cosines)
        mass = torch.addmm(mass, angle.sin(), series.sines)
        return mass.clamp_min_(0).view(*p.shape, bins)


@dataclass(frozen=True)
class Series:
    """The harmonics of a von Mises density that count, and their waves over the bins."""

    radians: Tensor  # a turn of each harmonic, (N,)
    cosines: Tensor  # (N, bins)
    sines: Tensor  # (N, bins)
    uniform: Tensor  # (bins,)


@lru_cache(maxsize=64)
def von_mises_series(bins: int, kappa: float, dtype: torch.dtype, device: torch.device) -> Series:
    """The table of a target, made in float64.

    A harmonic n leaves ``2 I_n / I_0 sin(n pi / bins) / (n pi) cos(n (c_i - 2 pi p))`` in the arc
    with centre ``c_i``. Multiples of ``bins`` leave nothing, and harmonics below the precision of
    ``dtype`` are left out.
    """
    most = 20 + math.ceil(9 * math.sqrt(kappa))
    with torch.inference_mode(False):  # the tables outlive the block that asked first
        n = torch.arange(1, most + 1, dtype=torch.float64, device="cpu")
        weight = 2 * bessel_ratios(kappa, most) * (n * math.pi / bins).sin() / (n * math.pi)
        weight[n % bins == 0] = 0
        tail = weight.abs().flip(0).cumsum(0).flip(0)
        kept = (weight != 0) & (tail > torch.finfo(dtype).eps / 32)
        n, weight = n[kept], weight[kept]
        centres = (torch.arange(bins, dtype=torch.float64, device="cpu") + 0.5) / bins
        angle, weight = TURN * (n.unsqueeze(1) * centres), weight.unsqueeze(1)
        uniform = torch.full_like(centres, 1 / bins)
        table = (TURN * n, weight * angle.cos(), weight * angle.sin(), uniform)
        return Series(*(part.to(device, dtype) for part in table))


def bessel_ratios(kappa: float, most: int) -> Tensor:
    """``I_n(kappa) / I_0(kappa)`` for n = 1 to ``most``, float64, by backward recurrence.

    The ratio of neighbours obeys ``r_n = 1 / (2 n / kappa + r_(n+1))``; started well above
    ``most`` from zero, the error of the start dies out on the way down.

    Example:
        >>> print(f"{bessel_ratios(3.0, 1).item():.10f}")
        0.8099852940
    """
    ratio, ratios = 0.0, [0.0] * most
    for n in range(2 * most + 20, 0, -1):
        ratio = kappa / (2 * n + kappa * ratio)
        if n <= most:
            ratios[n - 1] = ratio
    return torch.tensor(ratios, dtype=torch.float64, device="cpu").cumprod(0)


def gaussian_target(p: Tensor, bins: int, sigma: float = 0.2, *, check: bool = True) -> Tensor:
    """Mass of a normal density in each of ``bins`` equal parts of ``[0, 1]``, cut off outside.

    Args:
        p: parameters in ``[0, 1]``, any shape ``(...)``.
        bins: number of parts.
        sigma: standard deviation, in units of the full range.
        check: refuse what is outside, which waits for a GPU; switch off in a hot loop.

    Returns:
        Probabilities ``(..., bins)``, float64 for float64, else float32.

    Raises:
        ValueError: if a parameter is not in ``[0, 1]``, or ``bins`` or ``sigma`` out of range.

    Source:
        Suau et al. 2023, figure 1; by the error function, the reference sums 100 points a bin.

    Example:
        >>> gaussian_target(torch.tensor([0.0]), bins=4, sigma=0.2)
        tensor([[7.8870e-01, 1.9888e-01, 1.2243e-02, 1.7626e-04]])
    """
    check_bins(bins)
    check_sigma(sigma)
    check_floating("p", p)
    if check:
        check_parameter(p, cyclic=False)
    p = at_least_float32(p)
    wide = p if p.device.type == "mps" else p.double()  # a wide sigma cancels most digits
    edges = torch.arange(bins + 1, dtype=wide.dtype, device=p.device) / bins
    below = (edges - wide.clamp(0, 1).unsqueeze(-1)).mul_(math.sqrt(0.5) / sigma).erf()
    mass = (below[..., 1:] - below[..., :-1]).clamp_min_(0)
    return mass.div(mass.sum(-1, keepdim=True)).to(p.dtype)

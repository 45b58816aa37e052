"""Normal and Student distributions in numpy, for p-values that no number of resamples limits."""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from vpsa_fair.counts import Array

__all__ = ["normal_cdf", "normal_quantile", "student_p", "student_quantile"]

_NORMAL = NormalDist()
_MOST_FREEDOM = 1e4  # from here on a Student is a normal to four digits
log_gamma = np.vectorize(math.lgamma, otypes=[np.float64])
_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def _one_quantile(share: float) -> float:
    return _NORMAL.inv_cdf(share) if 0 < share < 1 else math.nan


_quantile = np.vectorize(_one_quantile, otypes=[np.float64])


def normal_cdf(z: ArrayLike) -> Array:
    """Share of a standard normal below ``z``, ``(...)``; NaN stays NaN."""
    return 0.5 * _erfc(-np.asarray(z, dtype=np.float64) / math.sqrt(2))


def normal_quantile(share: ArrayLike) -> Array:
    """Point below which a share in (0, 1) of a standard normal lies, ``(...)``."""
    with np.errstate(invalid="ignore"):
        return _quantile(share)


def student_p(t: ArrayLike, freedom: ArrayLike) -> Array:
    """Two-sided p-value of a Student statistic.

    Args:
        t: ``(...)`` statistics; infinite gives 0.
        freedom: ``(...)`` degrees of freedom, positive; more than 10,000 count as 10,000.

    Returns:
        ``(...)`` probabilities of a statistic at least as far from 0; NaN where an input is.

    Source:
        Abramowitz and Stegun 26.7.1 and 26.5.8: the regularised incomplete beta function
        ``I_x(f/2, 1/2)`` at ``x = f / (f + t^2)``.

    Example:
        >>> round(float(student_p(2.228139, 10)), 6)
        0.05
    """
    t, f = np.broadcast_arrays(np.asarray(t, np.float64), np.asarray(freedom, np.float64))
    f = np.clip(f, 1e-3, _MOST_FREEDOM)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        x = f / (f + t * t)  # 0 for an infinite statistic
        rest = 1 / (1 + f / (t * t))  # 1 - x, also where t is tiny
    return np.clip(_incomplete_beta(x, rest, f / 2), 0, 1)


def _incomplete_beta(x: Array, rest: Array, a: Array) -> Array:
    """``I_x(a, 1/2)``, ``rest = 1 - x``, by the continued fraction of the tail that converges."""
    b = np.full_like(a, 0.5)
    swap = x > (a + 1) / (a + b + 2)
    p, q = np.where(swap, b, a), np.where(swap, a, b)
    y = np.where(swap, rest, x)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_front = p * np.log(y) + q * np.log1p(-y) - np.log(p)
        log_front += log_gamma(p + q) - log_gamma(p) - log_gamma(q)
        tail = np.exp(log_front) * _beta_fraction(np.where(np.isfinite(y), y, 0.0), p, q)
    tail = np.where(y <= 0, 0.0, tail)
    return np.where(np.isnan(x) | np.isnan(a), np.nan, np.where(swap, 1 - tail, tail))


def _beta_fraction(x: Array, a: Array, b: Array) -> Array:
    """Lentz's evaluation of the fraction, all entries at once."""
    tiny = 1e-300
    c = np.ones_like(x)
    d = 1 / _away_from_zero(1 - (a + b) * x / (a + 1), tiny)
    h = d
    for m in range(1, 400):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / _away_from_zero(1 + even * d, tiny)
        c = _away_from_zero(1 + even / c, tiny)
        h = h * d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / _away_from_zero(1 + odd * d, tiny)
        c = _away_from_zero(1 + odd / c, tiny)
        step = d * c
        h = h * step
        if (np.abs(step - 1) < 1e-15).all():
            break
    return h


def _away_from_zero(value: Array, tiny: float) -> Array:
    return np.where(np.abs(value) < tiny, tiny, value)


def student_quantile(share: float, freedom: ArrayLike) -> Array:
    """Point that a Student variable exceeds with probability ``1 - share``.

    Args:
        share: in (.5, 1), such as .975.
        freedom: ``(...)`` degrees of freedom, at least 1.

    Returns:
        ``(...)`` quantiles.

    Raises:
        ValueError: if the share is outside (.5, 1).

    Example:
        >>> round(float(student_quantile(0.975, 10)), 4)
        2.2281
    """
    if not 0.5 < share < 1:
        raise ValueError(f"share must lie in (.5, 1), got {share}")
    f = np.clip(np.asarray(freedom, dtype=np.float64), 1.0, _MOST_FREEDOM)
    t = np.full_like(f, _NORMAL.inv_cdf(share))  # below the root, and the tail is convex there
    for _ in range(60):
        excess = student_p(t, f) - 2 * (1 - share)
        step = excess / (2 * _density(t, f))
        t = t + step
        if not (np.abs(step) > 1e-10 * t).any():
            break
    return np.where(np.isnan(f), np.nan, t)


def _density(t: Array, f: Array) -> Array:
    scale = log_gamma((f + 1) / 2) - log_gamma(f / 2) - np.log(f * math.pi) / 2
    return np.exp(scale - (f + 1) / 2 * np.log1p(t * t / f))

"""Scalar summaries of what differs between groups: gap, ratio, FDR, GARBE, inequity."""

import numpy as np
from numpy.typing import ArrayLike

from vpsa_fair.counts import Array

__all__ = ["fdr", "garbe", "gini", "inequity", "max_gap", "min_ratio"]


def _over_groups(rates: ArrayLike, name: str = "rates") -> Array:
    r = np.asarray(rates, dtype=np.float64)
    if r.ndim == 0 or r.shape[-1] < 1:
        raise ValueError(f"{name} must be (..., G) with at least one group, got {r.shape}")
    return r


def max_gap(rates: ArrayLike) -> Array:
    """Largest minus smallest over the last axis, ``(..., G)`` to ``(...)``.

    Example:
        >>> round(float(max_gap([0.9, 0.7, 0.8])), 3)
        0.2
    """
    r = _over_groups(rates)
    return r.max(-1) - r.min(-1)


def min_ratio(rates: ArrayLike) -> Array:
    """Smallest over largest on the last axis; 1 where all are 0.

    Example:
        >>> float(min_ratio([0.8, 0.4]))
        0.5
    """
    r = _over_groups(rates)
    top = r.max(-1)
    return np.divide(r.min(-1), top, out=np.ones_like(top), where=top > 0)


def fdr(fmr: ArrayLike, fnmr: ArrayLike, *, alpha: float = 0.5) -> Array:
    """Fairness discrepancy rate: 1 when no two groups differ in either error.

    Args:
        fmr: ``(..., G)`` false match rates at the global threshold.
        fnmr: ``(..., G)`` false non-match rates.
        alpha: weight of the false matches, in [0, 1].

    Returns:
        ``1 - [alpha * max |FMR_i - FMR_j| + (1 - alpha) * max |FNMR_i - FNMR_j|]``, ``(...)``.

    Raises:
        ValueError: if alpha is outside [0, 1].

    Source:
        de Freitas Pereira and Marcel 2020 (arXiv 2011.02395).

    Example:
        >>> round(float(fdr([0.01, 0.03], [0.1, 0.2])), 3)
        0.94
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1], got {alpha}")
    return 1 - (alpha * max_gap(fmr) + (1 - alpha) * max_gap(fnmr))


def gini(rates: ArrayLike) -> Array:
    """Gini coefficient of the groups, with the small-sample factor; 0 when all are equal.

    Args:
        rates: ``(..., G)``, not negative, two groups or more.

    Returns:
        ``G / (G - 1) * sum_ij |x_i - x_j| / (2 G^2 mean x)``, ``(...)``; 0 where all are 0.

    Raises:
        ValueError: if there is one group only, or a rate is negative.

    Source:
        Howard et al. 2022 (arXiv 2203.05051).

    Example:
        >>> float(gini([1.0, 0.0]))
        1.0
    """
    x = _over_groups(rates)
    n = x.shape[-1]
    if n < 2 or (x < 0).any():
        raise ValueError(f"gini needs two or more rates that are not negative, got {x.shape}")
    rank = 2 * np.arange(1, n + 1) - n - 1  # sum_ij |x_i - x_j| = 2 sum_k rank_k x_(k)
    spread = 2 * (np.sort(x, axis=-1) @ rank)
    scale = 2 * n * x.sum(-1)  # 2 G^2 mean x
    return np.divide(spread, scale, out=np.zeros_like(spread), where=scale > 0) * n / (n - 1)


def garbe(fmr: ArrayLike, fnmr: ArrayLike, *, alpha: float = 0.5) -> Array:
    """Gini aggregation rate for biometric equitability: 0 when all groups are equal.

    Args:
        fmr: ``(..., G)`` false match rates at the global threshold.
        fnmr: ``(..., G)`` false non-match rates.
        alpha: weight of the false matches, in [0, 1].

    Returns:
        ``alpha * gini(FMR) + (1 - alpha) * gini(FNMR)``, ``(...)``.

    Raises:
        ValueError: if alpha is outside [0, 1], or there is one group only.

    Source:
        Howard et al. 2022 (arXiv 2203.05051).

    Example:
        >>> float(garbe([0.1, 0.1], [0.2, 0.0]))
        0.5
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1], got {alpha}")
    return alpha * gini(fmr) + (1 - alpha) * gini(fnmr)


def inequity(rates: ArrayLike) -> Array:
    """Worst group's error over the geometric mean of the groups; 1 when all are equal.

    Args:
        rates: ``(..., G)`` error rates, not negative.

    Returns:
        ``max_g x_g / exp(mean_g log x_g)``, ``(...)``; infinite where some group has no error
        and another has, 1 where none has.

    Source:
        NIST FRVT part 8, draft IR 8429 (2022): maximum over geometric mean.

    Example:
        >>> round(float(inequity([0.04, 0.01])), 6)
        2.0
    """
    x = _over_groups(rates)
    if (x < 0).any():
        raise ValueError(f"error rates must not be negative, got {x.min()}")
    with np.errstate(divide="ignore"):
        centre = np.exp(np.log(x).mean(-1))
    top = x.max(-1)
    ratio = np.divide(top, centre, out=np.full_like(top, np.inf), where=centre > 0)
    return np.where(top == 0, 1.0, ratio)

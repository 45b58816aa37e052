"""Families of tests, and how much a design can see before it is run."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vpsa_fair.counts import Array
from vpsa_fair.student import normal_cdf, normal_quantile

__all__ = ["PowerPlan", "benjamini_hochberg", "holm", "minimum_detectable_gap", "power"]


def _p_values(p: ArrayLike) -> Array:
    values = np.asarray(p, dtype=np.float64)
    if ((values < 0) | (values > 1)).any():
        raise ValueError(f"p-values must lie in [0, 1], got {values.min()} to {values.max()}")
    return values


def holm(p: ArrayLike) -> Array:
    """Adjusted p-values that bound the chance of one false finding in the family.

    Args:
        p: ``(...)`` p-values of one family; NaN is no test and stays NaN.

    Returns:
        ``(...)`` adjusted p-values, never below the given ones.

    Source:
        Holm 1979.

    Example:
        >>> holm([0.01, 0.04, 0.03]).round(9).tolist()
        [0.03, 0.06, 0.06]
    """
    values = _p_values(p)
    flat = values.ravel()
    tested = np.flatnonzero(~np.isnan(flat))
    order = tested[np.argsort(flat[tested], kind="stable")]
    out = np.full(flat.shape, np.nan)
    steps = flat[order] * np.arange(len(order), 0, -1)
    out[order] = np.minimum(np.maximum.accumulate(steps), 1) if len(order) else steps
    return out.reshape(values.shape)


def benjamini_hochberg(p: ArrayLike) -> Array:
    """Adjusted p-values that bound the share of false findings, for a first look.

    Args:
        p: ``(...)`` p-values of one family; NaN is no test and stays NaN.

    Returns:
        ``(...)`` adjusted p-values, at most Holm's.

    Source:
        Benjamini and Hochberg 1995.

    Example:
        >>> benjamini_hochberg([0.01, 0.04, 0.03]).round(9).tolist()
        [0.03, 0.04, 0.04]
    """
    values = _p_values(p)
    flat = values.ravel()
    tested = np.flatnonzero(~np.isnan(flat))
    order = tested[np.argsort(flat[tested], kind="stable")]
    out = np.full(flat.shape, np.nan)
    steps = flat[order] * len(order) / np.arange(1, len(order) + 1)
    out[order] = np.minimum(np.minimum.accumulate(steps[::-1])[::-1], 1)
    return out.reshape(values.shape)


def adjust(p: ArrayLike, method: str) -> Array:
    """Adjusts by ``"holm"`` or ``"bh"``; ``"none"`` leaves the p-values."""
    if method == "none":
        return _p_values(p)
    if method not in ("holm", "bh"):
        raise ValueError(f"adjust must be 'holm', 'bh' or 'none', got {method!r}")
    return holm(p) if method == "holm" else benjamini_hochberg(p)


@dataclass(frozen=True)
class PowerPlan:
    """What two groups of given sizes can show.

    Attributes:
        n: identities of the two groups.
        gap: difference of the two responses.
        power: chance to find the gap at level ``alpha``.
        alpha: level of one test, after the division by ``tests``.
        spread: standard deviation of one identity's response.
    """

    n: tuple[int, int]
    gap: float
    power: float
    alpha: float
    spread: float

    def __str__(self) -> str:
        return (
            f"a gap of {self.gap:.3f} between groups of {self.n[0]} and {self.n[1]} identities "
            f"is found with probability {self.power:.2f} at level {self.alpha:.4g}"
        )

    def to_table(self) -> dict[str, list[float]]:
        """One row."""
        return {
            "n_a": [self.n[0]],
            "n_b": [self.n[1]],
            "gap": [self.gap],
            "power": [self.power],
            "alpha": [self.alpha],
            "spread": [self.spread],
        }


def _error(n: tuple[int, int], spread: float, alpha: float, tests: int) -> tuple[float, float]:
    if min(n) < 2 or not spread > 0 or not 0 < alpha < 1 or tests < 1:
        got = f"n={n}, spread={spread}, alpha={alpha}, tests={tests}"
        raise ValueError(f"two groups of 2 or more, spread > 0, 0 < alpha < 1, tests >= 1: {got}")
    return spread * math.sqrt(1 / n[0] + 1 / n[1]), alpha / tests


def power(
    n: tuple[int, int], gap: float, *, spread: float, alpha: float = 0.05, tests: int = 1
) -> PowerPlan:
    """Chance that a gap between two groups is found.

    Args:
        n: identities in the two groups, 2 or more each.
        gap: difference of the responses (of normalised AUCs, say).
        spread: standard deviation over identities of one identity's response; at most
            ``sqrt(p (1 - p))``. ``Result.spread`` measures it on a pilot.
        alpha: two-sided level of the family.
        tests: number of comparisons among which ``alpha`` is divided (Holm's first step).

    Returns:
        The plan. ``str`` says it in a sentence.

    Raises:
        ValueError: if a size, the spread or the level makes no sense.

    Source:
        Normal approximation of the two-sample test.

    Example:
        >>> print(power((50, 50), 0.1, spread=0.2))
        a gap of 0.100 between groups of 50 and 50 identities is found with probability 0.71 at level 0.05
    """  # noqa: E501
    error, level = _error(n, spread, alpha, tests)
    z = float(normal_quantile(1 - level / 2))
    away = abs(gap) / error
    found = float(normal_cdf(away - z) + normal_cdf(-away - z))
    return PowerPlan(n, gap, found, level, spread)


def minimum_detectable_gap(
    n: tuple[int, int],
    *,
    spread: float,
    power: float = 0.8,
    alpha: float = 0.05,
    tests: int = 1,
) -> PowerPlan:
    """Smallest gap between two groups that is found with a given chance.

    Args:
        n: identities in the two groups, 2 or more each.
        spread: standard deviation over identities of one identity's response.
        power: the chance, above ``alpha`` and below 1.
        alpha: two-sided level of the family.
        tests: number of comparisons among which ``alpha`` is divided.

    Returns:
        The plan, with the gap.

    Raises:
        ValueError: if an argument makes no sense.

    Example:
        >>> round(minimum_detectable_gap((50, 50), spread=0.2).gap, 3)
        0.112
    """
    error, level = _error(n, spread, alpha, tests)
    if not level < power < 1:
        raise ValueError(f"power must lie between alpha ({level:.3g}) and 1, got {power}")
    gap = error * float(normal_quantile(1 - level / 2) + normal_quantile(power))
    return PowerPlan(n, gap, power, level, spread)

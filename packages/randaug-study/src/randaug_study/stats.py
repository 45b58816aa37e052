"""Paired differences and what they allow to be said: intervals, equivalence, non-inferiority.

"Still competitive" is no missing significance: it is a difference shown to be smaller than a
margin that was fixed beforehand. The tests here take paired differences, one a seed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


def _scipy() -> Any:
    """The distributions of scipy.

    Raises:
        ImportError: if scipy is not there, with how to get it.
    """
    try:
        from scipy import stats
    except ImportError as error:
        raise ImportError(
            "the statistics of a study need scipy: install the extra randaug-study[study]"
        ) from error
    return stats


@dataclass(frozen=True)
class Paired:
    """Differences of an arm to its reference over paired seeds, in points.

    Attributes:
        n: pairs.
        mean: mean difference; positive where the arm is above its reference.
        sd: standard deviation of the differences.
        low: lower end of the interval.
        high: upper end of the interval.
        level: coverage of the interval.
    """

    n: int
    mean: float
    sd: float
    low: float
    high: float
    level: float

    @property
    def se(self) -> float:
        """Standard error of the mean difference."""
        return self.sd / math.sqrt(self.n)

    def __str__(self) -> str:
        return (
            f"{self.mean:+.2f} [{self.low:+.2f}, {self.high:+.2f}] "
            f"({100 * self.level:g} % t interval, {self.n} pairs)"
        )


def paired_ci(differences: Sequence[float], *, level: float = 0.95) -> Paired:
    """Mean of paired differences with its t interval.

    Args:
        differences: arm less reference, one a seed, any unit.
        level: coverage, between 0 and 1.

    Returns:
        The interval, in the unit of the differences.

    Raises:
        ValueError: for fewer than 2 differences, one that is not finite, or another level.

    Source:
        Student's t on n - 1 degrees of freedom.

    Example:
        >>> print(paired_ci([0.1, 0.3, 0.2]))
        +0.20 [-0.05, +0.45] (95 % t interval, 3 pairs)
    """
    values = _checked(differences)
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    n, mean, sd = len(values), float(values.mean()), float(values.std(ddof=1))
    half = float(_scipy().t.ppf((1 + level) / 2, n - 1)) * sd / math.sqrt(n)
    return Paired(n, mean, sd, mean - half, mean + half, level)


def paired_t(differences: Sequence[float]) -> float:
    """Two-sided p of the hypothesis that the mean difference is 0.

    Example:
        >>> round(paired_t([0.1, 0.3, 0.2]), 4)
        0.0742
    """
    return min(1.0, 2 * min(_tails(_checked(differences), 0.0)))


def noninferior(differences: Sequence[float], margin: float) -> float:
    """One-sided p of the hypothesis that the mean difference is ``-margin`` or lower.

    Small: the arm is not worse than its reference by as much as the margin. For the converse,
    whether the reference is not worse than the arm, negate the differences.

    Args:
        differences: arm less reference, one a seed.
        margin: positive, in the same unit.

    Returns:
        The p-value.

    Raises:
        ValueError: if ``margin <= 0``.

    Example:
        >>> round(noninferior([0.1, 0.3, 0.2], 0.5), 4)
        0.0034
    """
    return _tails(_checked(differences), -_positive(margin))[1]


def tost(differences: Sequence[float], margin: float) -> float:
    """P of the hypothesis that the mean difference is at least ``margin`` away from 0.

    Small: the two are equivalent to within the margin. Below .05 exactly where the 90 % interval
    lies inside (-margin, margin).

    Source:
        Schuirmann 1987, two one-sided tests.

    Example:
        >>> round(tost([0.1, 0.3, 0.2], 0.5), 4)
        0.0175
    """
    values, margin = _checked(differences), _positive(margin)
    return max(_tails(values, -margin)[1], _tails(values, margin)[0])


def holm(p: Sequence[float]) -> list[float]:
    """p-values adjusted for their number: reject those that are at most the level.

    Args:
        p: one a hypothesis, any order.

    Returns:
        Adjusted values in the same order.

    Raises:
        ValueError: if one lies outside [0, 1].

    Source:
        Holm 1979.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    for value in p:
        if not 0 <= value <= 1:
            raise ValueError(f"p-values must lie in [0, 1], got {value}")
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, highest = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = highest
    return adjusted


def tost_power(
    n: int, sd: float, margin: float, *, difference: float = 0.0, alpha: float = 0.05
) -> float:
    """Probability that `tost` on ``n`` pairs comes out below ``alpha``.

    Args:
        n: pairs, at least 2.
        sd: true standard deviation of the differences.
        margin: equivalence margin.
        difference: true mean difference.
        alpha: level of each one-sided test.

    Returns:
        A probability, exact up to quadrature: given the sample's standard deviation, which has a
        chi distribution, the mean is normal, and the two are independent.

    Raises:
        ValueError: for fewer than 2 pairs, or ``sd`` or ``margin`` not positive.

    Source:
        Phillips 1990; the integral over the sample's deviation.

    Example:
        >>> round(tost_power(10, 0.4, 0.5), 2)
        0.95
    """
    if n < 2 or not sd > 0:
        raise ValueError(f"power needs n >= 2 and sd > 0, got n={n}, sd={sd}")
    margin = _positive(margin)
    stats = _scipy()
    nodes, weights = np.polynomial.legendre.leggauss(400)
    u, weights = (nodes + 1) / 2, weights / 2  # over quantiles of the sample's deviation
    ratio = np.sqrt(stats.chi2.ppf(u, n - 1) / (n - 1))  # sample's deviation over the true one
    cut = float(stats.t.ppf(1 - alpha, n - 1)) * ratio
    scale = math.sqrt(n) / sd
    inside = stats.norm.cdf((margin - difference) * scale - cut) - stats.norm.cdf(
        (-margin - difference) * scale + cut
    )
    return float((np.clip(inside, 0, None) * weights).sum())


def seeds_needed(
    sd: float,
    margin: float,
    *,
    power: float = 0.8,
    difference: float = 0.0,
    alpha: float = 0.05,
    most: int = 100_000,
) -> int:
    """Pairs after which `tost` shows equivalence with the power asked for.

    Args:
        sd: standard deviation of paired differences, as a pilot gives it.
        margin: equivalence margin, same unit.
        power: probability wanted.
        difference: true mean difference that is allowed for.
        alpha: level.
        most: where the search ends.

    Returns:
        The smallest number of pairs.

    Raises:
        ValueError: if the difference is not inside the margin, or ``most`` does not suffice.

    Example:
        >>> seeds_needed(0.5, 0.5), seeds_needed(1.0, 0.5)
        (11, 36)
    """
    if not abs(difference) < _positive(margin):
        raise ValueError(f"a difference of {difference} is not inside a margin of {margin}")
    if not 0 < power < 1:
        raise ValueError(f"power must lie between 0 and 1, got {power}")
    low, high = 1, 2
    while tost_power(high, sd, margin, difference=difference, alpha=alpha) < power:
        low, high = high, 2 * high
        if low >= most:
            raise ValueError(f"more than {most} pairs are needed for sd {sd} and margin {margin}")
    while high - low > 1:
        middle = (low + high) // 2
        enough = tost_power(middle, sd, margin, difference=difference, alpha=alpha) >= power
        low, high = (low, middle) if enough else (middle, high)
    return high


def _tails(values: np.ndarray, at: float) -> tuple[float, float]:
    """P that the mean is not below ``at`` (small: it is below), and that it is not above."""
    n, distance = len(values), float(values.mean()) - at
    se = float(values.std(ddof=1)) / math.sqrt(n)
    if se == 0:  # all differences are equal: the mean is known
        return (0.0 if distance < 0 else 1.0), (0.0 if distance > 0 else 1.0)
    t = _scipy().t
    return float(t.cdf(distance / se, n - 1)), float(t.sf(distance / se, n - 1))


def _checked(differences: Sequence[float]) -> np.ndarray:
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(
            f"differences must be at least 2 finite numbers, one a seed, got {differences!r}"
        )
    return values


def _positive(margin: float) -> float:
    if not margin > 0:
        raise ValueError(f"margin must be positive, got {margin}")
    return float(margin)

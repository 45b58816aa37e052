"""Intervals: from resamples, from counts of few identities, and for differences."""

import numpy as np
from numpy.typing import ArrayLike

from vpsa_fair.counts import Array
from vpsa_fair.student import normal_cdf, normal_quantile

__all__ = ["KINDS", "basic", "bca", "interval", "percentile", "wilson"]

KINDS = ("percentile", "basic", "bca")


def _tails(confidence: float) -> tuple[float, float]:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}")
    return (1 - confidence) / 2, (1 + confidence) / 2


def wilson(rate: ArrayLike, n: ArrayLike, *, confidence: float = 0.95) -> tuple[Array, Array]:
    """Score interval of a rate that rests on ``n`` independent units.

    It stays in [0, 1] and has a width at rates 0 and 1. Used for cells with few identities, with
    the identities as units: the variance of any number in [0, 1] is at most ``p (1 - p)``, so an
    identity's share of hits, or an area under its curve, is covered as well.

    Args:
        rate: ``(...)`` in [0, 1].
        n: ``(...)`` independent units, positive; 0 gives [0, 1].
        confidence: two-sided.

    Returns:
        Lower and upper ends, ``(...)``.

    Source:
        Wilson 1927.

    Example:
        >>> low, high = wilson(1.0, 10)
        >>> round(float(low), 3), round(float(high), 3)
        (0.722, 1.0)
    """
    p, n = np.asarray(rate, dtype=np.float64), np.asarray(n, dtype=np.float64)
    z2 = float(normal_quantile(_tails(confidence)[1])) ** 2
    with np.errstate(invalid="ignore"):
        middle = (n * p + z2 / 2) / (n + z2)
        half = np.sqrt(z2 * (n * p * (1 - p) + z2 / 4)) / (n + z2)
    return np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)


def percentile(samples: ArrayLike, *, confidence: float = 0.95) -> tuple[Array, Array]:
    """The middle share of the resamples.

    Args:
        samples: ``(B, ...)`` resampled values.
        confidence: two-sided.

    Returns:
        Lower and upper ends, ``(...)``.
    """
    low, high = np.quantile(np.asarray(samples), _tails(confidence), axis=0)
    return low, high


def basic(
    samples: ArrayLike, estimate: ArrayLike, *, confidence: float = 0.95
) -> tuple[Array, Array]:
    """The percentile interval, reflected at the estimate."""
    low, high = percentile(samples, confidence=confidence)
    twice = 2 * np.asarray(estimate, dtype=np.float64)
    return twice - high, twice - low


def bca(
    samples: ArrayLike, estimate: ArrayLike, jackknife: ArrayLike, *, confidence: float = 0.95
) -> tuple[Array, Array]:
    """Bias-corrected and accelerated interval.

    Args:
        samples: ``(B, ...)`` resampled values.
        estimate: ``(...)``.
        jackknife: ``(n, ...)`` the estimate without each unit in turn.
        confidence: two-sided.

    Returns:
        Lower and upper ends, ``(...)``.

    Source:
        Efron 1987; the acceleration is the jackknife's.
    """
    b, e = np.asarray(samples, dtype=np.float64), np.asarray(estimate, dtype=np.float64)
    j = np.asarray(jackknife, dtype=np.float64)
    below = ((b < e).mean(0) + (b <= e).mean(0)) / 2  # ties count half
    bias = normal_quantile(np.clip(below, 0.5 / len(b), 1 - 0.5 / len(b)))
    away = j.mean(0) - j
    spread = (away**2).sum(0) ** 1.5
    skew = np.divide((away**3).sum(0), 6 * spread, out=np.zeros_like(e), where=spread > 0)
    ends = []
    for tail in _tails(confidence):
        z = bias + normal_quantile(tail)
        share = normal_cdf(bias + z / np.maximum(1 - skew * z, 1e-6))
        ends.append(_column_quantiles(b, share))
    return ends[0], ends[1]


def _column_quantiles(samples: Array, share: Array) -> Array:
    """Quantile of each column at its own share, by linear interpolation as ``numpy.quantile``."""
    ordered = np.sort(samples, axis=0)
    place = np.clip(share, 0, 1) * (len(samples) - 1)
    low = np.floor(np.nan_to_num(place)).astype(np.intp)
    high = np.minimum(low + 1, len(samples) - 1)
    a = np.take_along_axis(ordered, low[None], 0)[0]
    b = np.take_along_axis(ordered, high[None], 0)[0]
    return a + (place - low) * (b - a)


def interval(
    samples: Array,
    estimate: Array,
    *,
    kind: str = "percentile",
    confidence: float = 0.95,
    jackknife: Array | None = None,
) -> tuple[Array, Array]:
    """The interval of the asked kind; ``"bca"`` needs the jackknife.

    Raises:
        ValueError: if the kind is another word.
    """
    if kind == "percentile":
        return percentile(samples, confidence=confidence)
    if kind == "basic":
        return basic(samples, estimate, confidence=confidence)
    if kind == "bca" and jackknife is not None:
        return bca(samples, estimate, jackknife, confidence=confidence)
    raise ValueError(f"interval must be one of {', '.join(KINDS)}, got {kind!r}")


def half_width_to_error(low: Array, high: Array, confidence: float) -> Array:
    """Standard error that a symmetric interval of this width would have."""
    return (high - low) / (2 * float(normal_quantile(_tails(confidence)[1])))

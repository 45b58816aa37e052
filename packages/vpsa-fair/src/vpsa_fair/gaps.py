"""Differences between rows: standard errors, Student intervals, families of tests."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpsa_fair.counts import Array
from vpsa_fair.curves import chance_corrected
from vpsa_fair.estimates import Estimates, Settings
from vpsa_fair.intervals import half_width_to_error, interval, wilson
from vpsa_fair.stats import adjust
from vpsa_fair.student import log_gamma, student_p, student_quantile

VALUES = ("nauc", "corrected", "drop", "relative")


def transform(areas: Array, value: str, chance: float) -> Array:
    """What a matrix shows, from areas whose first column is the clean response.

    Args:
        areas: ``(..., K)``: clean, then the perturbations.
        value: ``"nauc"``; ``"corrected"`` for chance; ``"drop"``, clean minus area; ``"relative"``,
            area over clean.
        chance: response of a model that guesses.

    Returns:
        ``(..., K + 1)``: clean, the perturbations, their mean. The clean column of a drop is 0,
        of a ratio 1.

    Raises:
        ValueError: if ``value`` is another word.
    """
    if value not in VALUES:
        raise ValueError(f"value must be one of {', '.join(VALUES)}, got {value!r}")
    clean = areas[..., :1]
    if value == "corrected":
        areas = chance_corrected(areas, chance)
    elif value == "drop":
        areas = clean - areas
    elif value == "relative":
        areas = np.divide(areas, clean, out=np.full_like(areas, np.nan), where=clean > 0)
    body = areas[..., 1:] if areas.shape[-1] > 1 else areas
    return np.concatenate([areas, body.mean(-1, keepdims=True)], axis=-1)


@dataclass(frozen=True, eq=False)
class Values:
    """Transformed estimates with intervals and errors.

    Attributes:
        value: ``(R, K + 1)``, columns as :func:`transform`.
        low, high: intervals.
        error: ``(R, K + 1)`` standard errors; for small groups what Wilson's width stands for.
        samples: ``(B, R, K + 1)``.
        worse: +1 if a larger value is worse (a drop), else -1.
    """

    value: Array
    low: Array
    high: Array
    error: Array
    samples: Array
    worse: int


def values(e: Estimates, value: str, chance: float, settings: Settings) -> Values:
    """Values of a matrix with their intervals.

    Few identities resample poorly (three that all succeed have no variance at all): their interval
    is Wilson's with identities as units, carried through a drop or a ratio by its two ends.
    """
    point = transform(e.areas["response"], value, chance)
    samples = transform(e.samples["response"], value, chance)
    if settings.interval == "bca":
        ends = [_bca_row(e, r, samples, point, value, chance, settings) for r in range(len(e.rows))]
        low, high = (np.stack(side) for side in zip(*ends, strict=True))
    else:
        low, high = interval(samples, point, kind=settings.interval, confidence=settings.confidence)
    error = samples.std(0, ddof=1)
    thin_low, thin_high = _thin(e, value, chance, settings)
    thin_error = half_width_to_error(thin_low, thin_high, settings.confidence)
    small = e.small[:, None]
    return Values(
        value=point,
        low=np.where(small, thin_low, low),
        high=np.where(small, thin_high, high),
        error=np.where(small, np.fmax(error, thin_error), error),
        samples=samples,
        worse=1 if value == "drop" else -1,
    )


def _bca_row(
    e: Estimates,
    r: int,
    samples: Array,
    point: Array,
    value: str,
    chance: float,
    settings: Settings,
) -> tuple[Array, Array]:
    without = transform(e.jackknife[r], value, chance)
    return interval(
        samples[:, r], point[r], kind="bca", confidence=settings.confidence, jackknife=without
    )


def _thin(e: Estimates, value: str, chance: float, settings: Settings) -> tuple[Array, Array]:
    """Wilson's ends of every row, carried through the transformation."""
    low, high = wilson(e.areas["response"], e.n[:, None], confidence=settings.confidence)
    if value in ("nauc", "corrected"):
        return transform(low, value, chance), transform(high, value, chance)
    worst, best = low.copy(), high.copy()  # the ends of drop and ratio mix both columns' ends
    worst[:, 0], best[:, 0] = high[:, 0], low[:, 0]
    a, b = transform(worst, value, chance), transform(best, value, chance)
    return np.fmin(a, b), np.fmax(a, b)


@dataclass(frozen=True, eq=False)
class Differences:
    """Differences with Student intervals and p-values, any shape."""

    value: Array
    low: Array
    high: Array
    p: Array


def _fewest(n: NDArray[np.intp], m: NDArray[np.intp]) -> Array:
    """Smallest p-value that so few identities could give if labels were shuffled: 2 / C(n+m, n)."""
    ways = log_gamma(n + m + 1.0) - (log_gamma(n + 1.0) + log_gamma(m + 1.0))
    return np.minimum(2 * np.exp(-ways), 1)


def difference(
    value: Array,
    error: Array,
    n: NDArray[np.intp],
    m: NDArray[np.intp],
    errors: tuple[Array, Array],
    confidence: float,
    fewest: Array | None = None,
) -> Differences:
    """Tests differences against 0.

    Args:
        value: ``(...)`` differences.
        error: ``(...)`` their standard errors.
        n: identities on one side, to broadcast.
        m: identities on the other.
        errors: standard errors of the two sides, for Welch's degrees of freedom.
        confidence: of the interval.
        fewest: smallest p-value that so few identities can give; None takes that of shuffled
            labels.

    Returns:
        Interval ``value ± t * error`` and the p-value of the same statistic, never below
        ``fewest``.
    """
    freedom = _welch(*errors, n, m)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where((value == 0) & (error == 0), 0.0, value / error)
    least = _fewest(*np.broadcast_arrays(n, m)) if fewest is None else fewest
    p = np.fmax(student_p(t, freedom), least)
    p = np.where(np.isnan(value), np.nan, p)
    half = student_quantile((1 + confidence) / 2, freedom) * error
    return Differences(value, value - half, value + half, p)


def _welch(a: Array, b: Array, n: NDArray[np.intp], m: NDArray[np.intp]) -> Array:
    x, y = a**2, b**2
    below = x**2 / np.maximum(n - 1, 1) + y**2 / np.maximum(m - 1, 1)
    pooled = np.maximum(n + m - 2.0, 1.0) * np.ones_like(below)
    return np.divide((x + y) ** 2, below, out=pooled, where=below > 0)


def pairs(v: Values, e: Estimates, confidence: float) -> Differences:
    """Row minus row for all groups, ``(G, G, K + 1)``; groups are resampled independently."""
    g = len(e.rows) - 1
    x, s, n = v.value[:g], v.error[:g], e.n[:g]
    d = difference(
        x[:, None] - x[None],
        np.sqrt(s[:, None] ** 2 + s[None] ** 2),
        n[:, None, None],
        n[None, :, None],
        (s[:, None], s[None]),
        confidence,
    )
    thin = (e.small[:g, None] | e.small[None, :g])[..., None]
    low, high = v.low[:g], v.high[:g]
    return _with_thin(d, thin, (x[:, None], low[:, None], high[:, None]), (x, low, high))


def against_overall(v: Values, e: Estimates, confidence: float) -> Differences:
    """Row minus the overall row, ``(G, K + 1)``, within each resample, as they share identities."""
    g = len(e.rows) - 1
    n, thin = e.n[:g, None], e.small[:g, None]
    away = v.samples[:, :g] - v.samples[:, g:]
    error = np.where(thin, v.error[:g], away.std(0, ddof=1))
    sides = (v.error[:g], np.broadcast_to(v.error[g:], v.error[:g].shape))
    rest = np.maximum(e.n[g] - n, 1)
    d = difference(v.value[:g] - v.value[g:], error, n, rest, sides, confidence)
    own = (v.value[:g], v.low[:g], v.high[:g])
    return _with_thin(d, thin, own, (v.value[g:], v.low[g:], v.high[g:]))


def _with_thin(
    d: Differences,
    thin: NDArray[np.bool_],
    a: tuple[Array, Array, Array],
    b: tuple[Array, Array, Array],
) -> Differences:
    """Differences whose intervals come from the two sides' intervals where a side is small.

    The distances to the facing ends are added in squares (Newcombe 1998): a Student interval on
    one degree of freedom would leave [-1, 1].
    """
    down = np.sqrt((a[0] - a[1]) ** 2 + (b[2] - b[0]) ** 2)
    up = np.sqrt((a[2] - a[0]) ** 2 + (b[0] - b[1]) ** 2)
    low = np.where(thin, d.value - down, d.low)
    return Differences(d.value, low, np.where(thin, d.value + up, d.high), d.p)


def best_rows(v: Values, rows: NDArray[np.bool_], worse: bool = False) -> NDArray[np.intp]:
    """``(K + 1,)`` index of the best (or worst) of the rows that may be one; -1 if none may."""
    sign = v.worse if worse else -v.worse
    score = np.where(rows[:, None] & ~np.isnan(v.value), sign * v.value, -np.inf)
    found = score.argmax(0)
    return np.where(np.isfinite(score.max(0)), found, -1)


def family(p: Array, tested: NDArray[np.bool_], method: str) -> Array:
    """Adjusts the tested entries as one family; the others become NaN."""
    return adjust(np.where(tested, p, np.nan), method)


def adjusted_pairs(p: Array, eligible: NDArray[np.bool_], method: str) -> Array:
    """Adjusts ``(G, G, K + 1)`` p-values of all pairs of eligible groups.

    The perturbations are one family; the clean column and the mean column are each their own.
    """
    g = len(p)
    upper = np.triu(np.ones((g, g), dtype=bool), 1) & eligible[:, None] & eligible[None]
    out = np.full(p.shape, np.nan)
    last = p.shape[-1] - 1
    for columns in (slice(0, 1), slice(1, last), slice(last, last + 1)):
        if p[..., columns].size:
            out[..., columns] = family(p[..., columns], upper[..., None], method)
    return np.fmax(out, out.swapaxes(0, 1))

"""All estimates of one grouping, and their resamples: what matrices and tables read."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpsa_fair.bootstrap import blocks, draw_weights, group_stream, ratio, resampled_rates
from vpsa_fair.counts import CROSS, UNKNOWN, Array, Counts, grouping_name
from vpsa_fair.curves import trapezoid_weights
from vpsa_fair.intervals import interval, wilson

OVERALL = "overall"
CLEAN_COLUMN = "clean"
MEAN_COLUMN = "mean"
_BLOCK_BYTES = 48_000_000


@dataclass(frozen=True)
class Settings:
    """How a result is computed from its counts.

    Attributes:
        seed: of the bootstrap.
        n_boot: resamples.
        confidence: of every interval.
        interval: ``"percentile"``, ``"basic"`` or ``"bca"``, for values; differences use Student's.
        min_identities: groups below are flagged, their intervals are Wilson's, and they are
            left out of extremes and rankings.
    """

    seed: int = 0
    n_boot: int = 2000
    confidence: float = 0.95
    interval: str = "percentile"
    min_identities: int = 10


@dataclass(frozen=True, eq=False)
class Estimates:
    """One grouping: ``R`` rows (its groups, then the overall row), ``K`` areas, ``B`` resamples.

    The columns of areas are the clean response first, then the normalised AUC of each perturbation.

    Attributes:
        grouping: its name.
        rows: labels of the groups, then ``"overall"``.
        columns: ``"clean"`` and the perturbations.
        n: ``(R,)`` identities that have a trial in every measure of the response.
        small: ``(R,)`` whether that is below the minimum.
        named: ``(R,)`` whether the row is a subgroup (neither unknown nor the overall row).
        rates: for each measure ``(R, C)``.
        response: ``(R, C)`` the mean of the response's measures.
        low, high: ``(R, C)`` band of the response.
        areas: for each measure, and for ``"response"``, ``(R, K)``.
        samples: the same, resampled, ``(B, R, K)``. Groups are drawn independently of each other.
        spread: ``(R, K)`` standard deviation over identities that the resamples imply.
        jackknife: for each row ``(n, K)`` areas of the response without each identity; only for
            the interval ``"bca"``.
    """

    grouping: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    n: NDArray[np.intp]
    small: NDArray[np.bool_]
    named: NDArray[np.bool_]
    rates: dict[str, Array]
    response: Array
    low: Array
    high: Array
    areas: dict[str, Array]
    samples: dict[str, Array]
    spread: Array
    jackknife: tuple[Array, ...]

    def row(self, label: str) -> int:
        """Index of a row.

        Raises:
            ValueError: if there is none of that name.
        """
        if label not in self.rows:
            raise ValueError(f"no group {label!r} in {self.grouping!r}; there are {self.rows}")
        return self.rows.index(label)

    @property
    def eligible(self) -> NDArray[np.bool_]:
        """Rows that may be an extreme: named, large enough, and with trials."""
        return self.named & ~self.small & ~np.isnan(self.areas["response"]).any(1)


def area_weights(counts: Counts) -> Array:
    """``(C, K)``: curves times this are the clean response and the areas."""
    out = np.zeros((len(counts.cells), 1 + len(counts.perturbations)))
    out[0, 0] = 1
    for k, name in enumerate(counts.perturbations, 1):
        out[counts.columns(name), k] = trapezoid_weights(counts.curve_positions(name))
    return out


def is_unknown(label: str) -> bool:
    """Whether any attribute of a group is missing."""
    return UNKNOWN in label.split(CROSS)


class _Group:
    """The counts of one group, all measures side by side."""

    def __init__(self, counts: Counts, grouping: str, rows: NDArray[np.bool_]) -> None:
        tables = [counts.measure(m, grouping) for m in counts.response]
        self.hits = np.hstack([h[rows] for h, _ in tables])  # (n, M C)
        self.trials = np.hstack([t[rows] for _, t in tables])
        self.size = int(rows.sum())
        has = [(t[rows] > 0).any(1) for _, t in tables]
        self.n = int(min(h.sum() for h in has))


def estimate(counts: Counts, attributes: str | tuple[str, ...], settings: Settings) -> Estimates:
    """Estimates every group of a grouping, with its resamples.

    Groups are resampled on their own, so none is ever absent, whatever its size.

    Args:
        counts: what the sweep left.
        attributes: one attribute, or several to be crossed.
        settings: seed, resamples, intervals, minimum size.

    Returns:
        The estimates.
    """
    grouping = grouping_name(attributes)
    labels = counts.labels(attributes)
    names = sorted(set(labels.tolist()), key=lambda g: (is_unknown(g), g))
    groups = [_Group(counts, grouping, labels == g) for g in names]
    sums = _with_overall([(g.hits.sum(0), g.trials.sum(0)) for g in groups])
    point = ratio(*sums)  # (R, M C)
    weights = area_weights(counts)
    orders = [counts.order.get(m, 1) for m in counts.response]
    rates, drawn = _resample(groups, names, point, orders, weights, grouping, settings)
    samples = {"response": drawn.mean(0)} | dict(zip(counts.response, drawn, strict=True))

    cells = len(counts.cells)
    by_measure = {m: point[:, i * cells : (i + 1) * cells] for i, m in enumerate(counts.response)}
    response = np.mean(list(by_measure.values()), axis=0)
    areas = {m: r @ weights for m, r in by_measure.items()} | {"response": response @ weights}
    sizes = [g.n for g in groups]
    n = np.array([*sizes, min(sum(sizes), len(counts))], dtype=np.intp)
    small = n < settings.min_identities
    low, high = _band(rates, response, n, small, settings)
    jackknife: tuple[Array, ...] = ()
    if settings.interval == "bca":
        jackknife = _jackknife(groups, sums, orders, weights)
    with np.errstate(invalid="ignore"):
        spread = samples["response"].std(0, ddof=1) * np.sqrt(n)[:, None]
    return Estimates(
        grouping=grouping,
        rows=(*names, OVERALL),
        columns=(CLEAN_COLUMN, *counts.perturbations),
        n=n,
        small=small,
        named=np.array([*(not is_unknown(g) for g in names), False]),
        rates=by_measure,
        response=response,
        low=low,
        high=high,
        areas=areas,
        samples=samples,
        spread=spread,
        jackknife=jackknife,
    )


def _with_overall(sums: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Stacks the groups' sums and adds the sum of all as the last row: ``(..., R, M C)``."""
    hits, trials = [np.stack(part, axis=-2) for part in zip(*sums, strict=True)]
    add = [np.concatenate([s, s.sum(-2, keepdims=True)], axis=-2) for s in (hits, trials)]
    return add[0], add[1]


def _resample(
    groups: list[_Group],
    names: list[str],
    point: Array,
    orders: list[int],
    weights: Array,
    grouping: str,
    settings: Settings,
) -> tuple[Array, Array]:
    """Response ``(B, R, C)``, and the areas of the measures ``(M, B, R, K)``."""
    b, (r, width) = settings.n_boot, point.shape
    cells, k = weights.shape
    streams = [group_stream(settings.seed, f"{grouping}={name}") for name in names]
    response = np.empty((b, r, cells))
    areas = np.empty((len(orders), b, r, k))
    largest = max(g.size for g in groups)
    step = max(1, _BLOCK_BYTES // (8 * max(2 * r * width, largest)))
    for block in blocks(b, step):
        sums = []
        for rng, group in zip(streams, groups, strict=True):
            w = draw_weights(rng, group.size, block.stop - block.start)
            sums.append((w @ group.hits, w @ group.trials))
        hits, trials = _with_overall(sums)
        mean = np.zeros((len(hits), r, cells))
        for m, order in enumerate(orders):
            own = slice(m * cells, (m + 1) * cells)
            rates = resampled_rates(point[:, own], hits[..., own], trials[..., own], order)
            areas[m, block] = rates @ weights
            mean += rates
        response[block] = mean / len(orders)
    return response, areas


def _band(
    rates: Array, response: Array, n: NDArray[np.intp], small: NDArray[np.bool_], settings: Settings
) -> tuple[Array, Array]:
    """Pointwise band of the response; Wilson's for small groups."""
    low, high = interval(rates, response, confidence=settings.confidence)
    thin = wilson(response, n[:, None], confidence=settings.confidence)
    return np.where(small[:, None], thin[0], low), np.where(small[:, None], thin[1], high)


def _jackknife(
    groups: list[_Group], sums: tuple[Array, Array], orders: list[int], weights: Array
) -> tuple[Array, ...]:
    """Areas of the response without each identity, one array a row; the last row has all."""
    own: list[Array] = []
    everyone: list[Array] = []
    for i, group in enumerate(groups):
        own.append(_left_out(group, sums[0][i], sums[1][i], orders, weights))
        everyone.append(_left_out(group, sums[0][-1], sums[1][-1], orders, weights))
    return (*own, np.concatenate(everyone))


def _left_out(
    group: _Group, hits: Array, trials: Array, orders: list[int], weights: Array
) -> Array:
    point, cells = ratio(hits, trials), len(weights)
    total = np.zeros((group.size, cells))
    for m, order in enumerate(orders):
        own = slice(m * cells, (m + 1) * cells)
        rest = hits[own] - group.hits[:, own], trials[own] - group.trials[:, own]
        total += resampled_rates(point[own], *rest, order)
    return (total / len(orders)) @ weights

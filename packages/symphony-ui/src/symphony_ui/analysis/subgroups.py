"""Metrics of a model on subgroups of its data, with intervals and gaps."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symphony_ui.analysis._checks import column
from symphony_ui.analysis._labels import encode
from symphony_ui.analysis._table import columns, pick
from symphony_ui.analysis.confusion import confusion
from symphony_ui.errors import SymphonyError

Floats = NDArray[np.float64]

PROPORTIONS = (
    "accuracy", "recall", "precision", "specificity", "false_positive_rate",
    "false_negative_rate", "positive_rate",
)  # fmt: skip
AVERAGES = ("f1", "macro_precision", "macro_recall", "macro_f1")
NAMES = (*PROPORTIONS, *AVERAGES)
BINARY = {*PROPORTIONS, "f1"} - {"accuracy"}  # these ask which class is positive


@dataclass(frozen=True)
class Cell:
    """One metric of one group, with its interval; NaN where it has no denominator."""

    group: tuple[Any, ...]
    metric: str
    value: float
    lo: float
    hi: float
    of: int  #: rows that the metric is a share of
    small: bool  #: ``of`` is below ``n_min``

    def __str__(self) -> str:
        mark = ", small" if self.small else ""
        return f"{self.value:.3f} [{self.lo:.3f}, {self.hi:.3f}] (n={self.of}{mark})"


@dataclass(frozen=True)
class Gap:
    """How far apart the groups are in one metric."""

    metric: str
    value: float  #: largest minus smallest, over all groups in which the metric is defined
    lowest: tuple[Any, ...] | None
    highest: tuple[Any, ...] | None
    without_small: float  #: the same over the groups that are not small; NaN if there are none


@dataclass(frozen=True)
class Subgroups:
    """Metrics of every observed group, the largest group first, and of all rows."""

    by: tuple[str, ...]
    groups: tuple[tuple[Any, ...], ...]
    sizes: NDArray[np.int64]  #: (G,) rows of each group
    cells: tuple[Cell, ...]  #: group by group, metric by metric
    overall: tuple[Cell, ...]  #: the same for all rows; its group is ()
    gaps: dict[str, Gap]
    missing: int  #: rows left out because label or prediction is missing

    def __str__(self) -> str:
        lines = [f"{len(self.groups)} groups by {', '.join(self.by)}, {int(self.sizes.sum())} rows"]
        if self.missing:
            lines[0] += f" ({self.missing} without label or prediction left out)"
        for number, overall in enumerate(self.overall):
            own = self.cells[number :: len(self.overall)]
            gap = self.gaps[overall.metric]
            lines.append(f"  {overall.metric}: all {overall}, gap {gap.value:.3f}")
            lines += [f"    {', '.join(map(str, cell.group))}: {cell}" for cell in own[:8]]
            if len(own) > 8:
                lines.append(f"    and {len(own) - 8} groups more")
        return "\n".join(lines)

    def to_table(self) -> dict[str, list[Any]]:
        """One row a group and metric: the group's columns, size, value, interval, flag."""
        each = len(self.overall)
        table: dict[str, list[Any]] = {
            name: [cell.group[k] for cell in self.cells] for k, name in enumerate(self.by)
        }
        table["rows"] = [int(n) for n in self.sizes for _ in range(each)]
        for name in ("metric", "value", "lo", "hi", "of", "small"):
            table[name] = [getattr(cell, name) for cell in self.cells]
        return table


def subgroups(
    table: Any,
    by: str | Sequence[str],
    label: str,
    pred: str,
    *,
    metrics: str | Sequence[str] = ("accuracy",),
    positive: Any = None,
    n_min: int = 30,
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Subgroups:
    """Metrics of each subgroup of a table, with intervals, and the gaps between groups.

    Groups are the combinations of values that occur, the largest first; a missing value is a
    group of its own. A small group is flagged, never hidden.

    Args:
        table: a mapping of columns, a data frame, or an object with ``to_table()``.
        by: the columns that make the groups.
        label: the column of true classes.
        pred: the column of predicted classes.
        metrics: of accuracy, recall, precision, specificity, false_positive_rate,
            false_negative_rate, positive_rate (Wilson intervals), f1, macro_precision,
            macro_recall, macro_f1 (bootstrap intervals).
        positive: the class that recall, precision and the like are about; 1 or True by default
            where the classes are 0 and 1.
        n_min: a metric that is a share of fewer rows is flagged small.
        confidence: of the intervals, between 0 and 1.
        draws: bootstrap samples.
        seed: of the bootstrap; the draws of a group depend on the seed and its place only.

    Returns:
        A cell for each group and metric, those of all rows, and each metric's gap.

    Raises:
        ColumnError: if a column is not there.
        SymphonyError: if a metric is unknown, no positive class is known, or an argument is out
            of its range.

    Source:
        Gap: ``max_g m_g - min_g m_g``. Wilson 1927 for proportions; percentile bootstrap else.

    Example:
        >>> table = {"sex": ["f", "f", "m", "m"], "y": [1, 0, 1, 0], "yhat": [1, 0, 0, 0]}
        >>> found = subgroups(table, "sex", "y", "yhat", metrics="recall", n_min=1)
        >>> found.gaps["recall"].value
        1.0
    """
    found = columns(table)
    by = (by,) if isinstance(by, str) else tuple(by)
    metrics = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    unknown = [name for name in metrics if name not in NAMES]
    if unknown or not metrics or not by:
        raise SymphonyError(
            f"by must name a column and metrics must be of {', '.join(NAMES)}; "
            f"got by={by} and metrics={metrics}"
        )
    if not 0 < confidence < 1 or draws < 1:
        raise SymphonyError(
            f"confidence must lie between 0 and 1 and draws be at least 1, got {confidence} and "
            f"{draws}"
        )
    truth = column(pick(found, label), f"column {label!r}")
    called = column(pick(found, pred), f"column {pred!r}", len(truth))
    classes = confusion(truth, called).classes
    place = _positive(positive, classes) if BINARY & set(metrics) else -1
    truth_codes = encode(truth, classes)[1]
    called_codes = encode(called, classes)[1]
    here = np.flatnonzero((truth_codes >= 0) & (called_codes >= 0))
    groups, member = _observed([column(pick(found, name), name)[here] for name in by])

    def cells(group: tuple[Any, ...], rows: NDArray[np.int64], number: int) -> list[Cell]:
        pairs = np.stack([truth_codes[rows], called_codes[rows]], axis=1)
        kinds, counts = np.unique(pairs, axis=0, return_counts=True)
        random = np.random.Generator(np.random.Philox(key=[seed, number]))
        samples = None
        if set(metrics) & set(AVERAGES) and len(rows):
            samples = random.multinomial(len(rows), counts / len(rows), size=draws)
        out = []
        for name in metrics:
            if name in PROPORTIONS:
                value, lo, hi, of = _proportion(name, kinds, counts, place, confidence)
            else:
                value, lo, hi, of = _average(name, kinds, counts, samples, place, confidence)
            out.append(Cell(group, name, value, lo, hi, of, of < n_min))
        return out

    ranked = np.argsort(member, kind="stable")
    sizes = np.bincount(member, minlength=len(groups))
    parts = np.split(here[ranked], np.cumsum(sizes)[:-1]) if len(groups) else []
    every = [
        cell
        for number, (group, rows) in enumerate(zip(groups, parts, strict=True))
        for cell in cells(group, rows, number + 1)
    ]
    return Subgroups(
        by=by,
        groups=tuple(groups),
        sizes=sizes,
        cells=tuple(every),
        overall=tuple(cells((), here, 0)),
        gaps={name: _gap(name, [c for c in every if c.metric == name]) for name in metrics},
        missing=len(truth) - len(here),
    )


def _positive(positive: Any, classes: tuple[Any, ...]) -> int:
    """The place of the positive class; -1 if it occurs in no row."""
    if positive is None:
        if not set(classes) <= {0, 1}:
            listed = ", ".join(map(repr, classes[:5]))
            raise SymphonyError(f"positive must name the class that counts, one of {listed}")
        positive = 1
    elif classes and positive not in classes:
        listed = ", ".join(map(repr, classes[:5]))
        raise SymphonyError(f"positive must be a class that occurs ({listed}), got {positive!r}")
    return classes.index(positive) if positive in classes else -1


def _observed(
    keys: list[NDArray[Any]],
) -> tuple[list[tuple[Any, ...]], NDArray[np.int64]]:
    """The combinations that occur, by falling size and then by value, and each row's."""
    coded = [encode(values) for values in keys]
    codes = np.stack([codes for _, codes in coded], axis=1)  # (N, B), -1 missing
    codes = np.where(codes < 0, [len(levels) for levels, _ in coded], codes)  # and last
    kinds, member, sizes = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    ranked = np.argsort(-sizes, kind="stable")
    number = np.empty(len(ranked), dtype=np.int64)
    number[ranked] = np.arange(len(ranked))
    names = [[*levels, None] for levels, _ in coded]
    groups = [tuple(names[k][code] for k, code in enumerate(kinds[row])) for row in ranked]
    return groups, number[member.ravel()]


def _proportion(
    name: str, kinds: NDArray[Any], counts: NDArray[Any], place: int, confidence: float
) -> tuple[float, float, float, int]:
    """A proportion, its Wilson interval and its denominator."""
    true, called = kinds[:, 0] == place, kinds[:, 1] == place
    every = np.ones(len(kinds), dtype=bool)
    hits, among = {
        "accuracy": (kinds[:, 0] == kinds[:, 1], every),
        "recall": (called, true),
        "precision": (true, called),
        "specificity": (~called, ~true),
        "false_positive_rate": (called, ~true),
        "false_negative_rate": (~called, true),
        "positive_rate": (called, every),
    }[name]
    above, below = int(counts[hits & among].sum()), int(counts[among].sum())
    lo, hi = wilson(above, below, confidence)
    return above / below if below else float("nan"), lo, hi, below


def wilson(successes: float, trials: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a proportion; all of [0, 1] without a trial.

    Example:
        >>> lo, hi = wilson(8, 10)
        >>> round(lo, 3), round(hi, 3)
        (0.49, 0.943)
    """
    if not trials:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, extra = successes / trials, z * z / trials
    centre = (share + extra / 2) / (1 + extra)
    half = z * (share * (1 - share) / trials + extra / trials / 4) ** 0.5 / (1 + extra)
    lo = 0.0 if successes == 0 else max(0.0, centre - half)
    return lo, 1.0 if successes == trials else min(1.0, centre + half)


def _average(
    name: str, kinds: NDArray[Any], counts: NDArray[Any], samples: NDArray[Any] | None,
    place: int, confidence: float,
) -> tuple[float, float, float, int]:  # fmt: skip
    """A metric of several classes, its bootstrap interval and its rows."""
    if samples is None:
        return float("nan"), 0.0, 1.0, 0
    value = float(_score(name, kinds, counts[None], place)[0])
    drawn = _score(name, kinds, samples, place)
    drawn = drawn[~np.isnan(drawn)]
    rows = int(counts.sum())
    if not len(drawn):
        return value, 0.0, 1.0, rows
    lo, hi = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return value, float(lo), float(hi), rows


def _score(name: str, kinds: NDArray[Any], counts: NDArray[Any], place: int) -> Floats:
    """The metric ``(S,)`` of each row of cell counts ``(S, cells)``."""
    classes, flat = np.unique(kinds, return_inverse=True)
    flat = flat.reshape(kinds.shape)
    onehot = np.eye(len(classes))[flat]  # (cells, 2, C)
    true, called = counts @ onehot[:, 0], counts @ onehot[:, 1]  # (S, C)
    hit = counts @ (onehot[:, 0] * onehot[:, 1])
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = 2 * hit / (true + called)  # NaN: the class does not occur in the sample
        if name == "f1":
            own = classes == place
            return f1[:, own][:, 0] if own.any() else np.full(len(counts), np.nan)
        values = {"macro_precision": hit / called, "macro_recall": hit / true, "macro_f1": f1}[name]
    occurs = true + called > 0
    return np.where(occurs, np.nan_to_num(values), 0).sum(axis=1) / occurs.sum(axis=1)


def _gap(metric: str, cells: list[Cell]) -> Gap:
    """The gap between the groups in which the metric is defined."""
    known = sorted((c for c in cells if not np.isnan(c.value)), key=lambda cell: cell.value)
    large = [cell.value for cell in known if not cell.small]
    without_small = large[-1] - large[0] if large else float("nan")
    if not known:
        return Gap(metric, float("nan"), None, None, without_small)
    low, high = known[0], known[-1]
    return Gap(metric, high.value - low.value, low.group, high.group, without_small)

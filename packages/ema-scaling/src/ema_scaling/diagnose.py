"""Do two trainings match at equal samples? Their distance in units of the seeds' spread."""

import itertools
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ema_scaling import _check
from ema_scaling.files import read_rows

Curve = list[tuple[float, float]]  # (samples, value), samples growing
Verdict = Literal["match", "unclear", "apart"]
_PERMUTATIONS = 2000
_RESAMPLES = 1000


@dataclass(frozen=True)
class MatchReport:
    """How two groups of runs differ at equal samples.

    Attributes:
        key: the value compared.
        samples: the grid of counts of samples.
        mean_a: mean over the runs of the first group, on the grid.
        mean_b: mean over the runs of the second group.
        spread: standard deviation over seeds within the groups, pooled, on the grid.
        rms_gap: root mean square of ``mean_b - mean_a`` over the grid.
        max_gap: its largest absolute value.
        mean_gap: its mean, with sign.
        interval: 95 % bootstrap interval of the mean gap over seeds.
        ratio: ``rms_gap`` over the root mean square spread.
        p_value: share of relabellings of the runs with an RMS gap as large; 1 means alike.
        runs: how many runs stood on either side.
        verdict: "match", "unclear" or "apart".
    """

    key: str
    samples: tuple[float, ...]
    mean_a: tuple[float, ...]
    mean_b: tuple[float, ...]
    spread: tuple[float, ...]
    rms_gap: float
    max_gap: float
    mean_gap: float
    interval: tuple[float, float]
    ratio: float
    p_value: float
    runs: tuple[int, int]
    verdict: Verdict

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.verdict}: {self.key} differs by {self.ratio:.2f} seed spreads "
            f"(RMS gap {self.rms_gap:.4g}, largest {self.max_gap:.4g}; mean gap "
            f"{self.mean_gap:.4g}, 95 % interval {low:.4g} to {high:.4g}; p = {self.p_value:.3g}; "
            f"{self.runs[0]} and {self.runs[1]} runs over {len(self.samples)} points)"
        )

    def to_table(self) -> dict[str, tuple[float, ...]]:
        """Columns ``samples``, ``mean_a``, ``mean_b`` and ``spread``."""
        return {
            "samples": self.samples,
            "mean_a": self.mean_a,
            "mean_b": self.mean_b,
            "spread": self.spread,
        }


def compare(
    runs_a: Sequence[Iterable[Mapping[str, Any]]],
    runs_b: Sequence[Iterable[Mapping[str, Any]]],
    key: str,
    *,
    on: str = "samples",
    start: float = 0.0,
    spread: float | None = None,
    match_at: float = 1.0,
    apart_at: float = 3.0,
    seed: int = 0,
) -> MatchReport:
    """Whether two groups of runs, one run a seed, follow the same curve at equal samples.

    Args:
        runs_a: runs of the first setting; a run is rows such as ``{"samples": n, "loss": x}``.
        runs_b: runs of the second setting.
        key: the value to compare.
        on: the clock.
        start: leave out what happened before this count of samples.
        spread: a spread over seeds known from elsewhere; needed where a side has one run.
        match_at: at most this many spreads is a match.
        apart_at: at least this many is apart; between the two it is unclear.
        seed: of the bootstrap and of relabellings too many to list.

    Returns:
        The report. Values are interpolated on straight lines at all counts of samples that both
        sides reached.

    Raises:
        ValueError: if a run lacks the key, the runs do not overlap, or there is no spread.

    Source:
        Our criterion for the paper's claim that the training dynamics are preserved.

    Example:
        >>> base = [[{"samples": n, "loss": 1 / (1 + n) + s} for n in range(9)] for s in (0, .1)]
        >>> compare(base, base, "loss").verdict
        'match'
    """
    a = [_curve(rows, key, on, f"run {i} of the first side") for i, rows in enumerate(runs_a)]
    b = [_curve(rows, key, on, f"run {i} of the second side") for i, rows in enumerate(runs_b)]
    if not a or not b:
        raise ValueError(f"both sides need runs, got {len(a)} and {len(b)}")
    if min(len(a), len(b)) < 2 and spread is None:
        raise ValueError(
            f"{len(a)} and {len(b)} runs have no spread over seeds: give two seeds or more a side, "
            f"or spread="
        )
    if not 0 < match_at <= apart_at:
        raise ValueError(f"needed 0 < match_at <= apart_at, got {match_at} and {apart_at}")
    grid = _grid([*a, *b], start)
    ya, yb = [_on(grid, curve) for curve in a], [_on(grid, curve) for curve in b]
    mean_a, mean_b = _mean(ya), _mean(yb)
    gap = [y - x for x, y in zip(mean_a, mean_b, strict=True)]
    width = _pooled(ya, yb) if spread is None else [_check.positive("spread", spread)] * len(grid)
    scale, rms = _rms(width), _rms(gap)
    ratio = rms / scale if scale else (0.0 if rms == 0 else math.inf)
    verdict: Verdict = "match" if ratio <= match_at else "apart" if ratio >= apart_at else "unclear"
    return MatchReport(
        key, tuple(grid), tuple(mean_a), tuple(mean_b), tuple(width), rms, max(map(abs, gap)),
        math.fsum(gap) / len(gap), _bootstrap(ya, yb, random.Random(seed)), ratio,
        _p_value(ya, yb, random.Random(seed)), (len(a), len(b)), verdict,
    )  # fmt: skip


def load_runs(path: str | Path) -> list[list[dict[str, Any]]]:
    """The runs in a JSON Lines file, or in all of a folder's; rows with a ``seed`` are split by it.

    Args:
        path: a file, or a folder of files ending in .jsonl.

    Returns:
        One list of rows a run.

    Raises:
        ValueError: if there is nothing, or a line is no JSON object.
    """
    path = Path(path)
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    runs: dict[tuple[str, Any], list[dict[str, Any]]] = {}
    for file in files:
        for row in read_rows(file):
            runs.setdefault((file.name, row.get("seed")), []).append(row)
    if not runs:
        raise ValueError(f"{path} holds no rows")
    return list(runs.values())


def _curve(rows: Iterable[Mapping[str, Any]], key: str, on: str, name: str) -> Curve:
    points = {}
    for row in rows:
        if key in row and on in row:
            points[_check.number(on, row[on])] = _check.number(f"{key} of {name}", row[key])
    if not points:
        raise ValueError(f"{name} has no row with both {on!r} and {key!r}")
    return sorted(points.items())


def _grid(curves: list[Curve], start: float) -> list[float]:
    low = max(start, *(curve[0][0] for curve in curves))
    high = min(curve[-1][0] for curve in curves)
    grid = sorted({n for curve in curves for n, _ in curve if low <= n <= high})
    if not grid:
        raise ValueError(f"the runs share no count of samples from {low:g} to {high:g}")
    return grid


def _on(grid: list[float], curve: Curve) -> list[float]:
    """The curve at each point of the grid, on straight lines between its own points."""
    values: list[float] = []
    i = 0
    for n in grid:
        while i + 1 < len(curve) - 1 and curve[i + 1][0] <= n:
            i += 1
        (n0, y0), (n1, y1) = curve[i], curve[min(i + 1, len(curve) - 1)]
        values.append(y0 if n1 == n0 else y0 + (y1 - y0) * (n - n0) / (n1 - n0))
    return values


def _mean(rows: Sequence[Sequence[float]]) -> list[float]:
    return [math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]


def _rms(values: Sequence[float]) -> float:
    return math.sqrt(math.fsum(v * v for v in values) / len(values))


def _pooled(*groups: list[list[float]]) -> list[float]:
    """Standard deviation within the groups at each point, over all groups of two or more runs."""
    freedom = sum(len(group) - 1 for group in groups)
    means = [_mean(group) for group in groups]
    squares = (
        math.fsum((run[i] - mean[i]) ** 2 for group, mean in zip(groups, means, strict=True)
                  for run in group)
        for i in range(len(means[0]))
    )  # fmt: skip
    return [math.sqrt(total / freedom) for total in squares]


def _gap(a: Sequence[Sequence[float]], b: Sequence[Sequence[float]]) -> list[float]:
    return [y - x for x, y in zip(_mean(a), _mean(b), strict=True)]


def _bootstrap(
    a: list[list[float]], b: list[list[float]], draw: random.Random
) -> tuple[float, float]:
    """95 % percentile interval of the mean gap: runs are drawn again, with replacement."""
    level_a = [math.fsum(run) / len(run) for run in a]
    level_b = [math.fsum(run) / len(run) for run in b]
    gaps = sorted(
        math.fsum(draw.choices(level_b, k=len(b))) / len(b)
        - math.fsum(draw.choices(level_a, k=len(a))) / len(a)
        for _ in range(_RESAMPLES)
    )
    return gaps[int(0.025 * _RESAMPLES)], gaps[int(0.975 * _RESAMPLES) - 1]


def _p_value(a: list[list[float]], b: list[list[float]], draw: random.Random) -> float:
    """Share of relabellings whose RMS gap is at least the one seen: all of them if they are few."""
    runs, size = [*a, *b], len(a)
    indices = range(len(runs))
    if math.comb(len(runs), size) <= _PERMUTATIONS:
        choices: Iterable[Sequence[int]] = itertools.combinations(indices, size)
    else:
        drawn = (tuple(draw.sample(indices, size)) for _ in range(_PERMUTATIONS))
        choices = itertools.chain([tuple(range(size))], drawn)
    seen = _rms(_gap(a, b)) * (1 - 1e-12)
    hits = total = 0
    for chosen in choices:
        inside = set(chosen)
        first = [runs[i] for i in inside]
        second = [runs[i] for i in indices if i not in inside]
        hits += _rms(_gap(first, second)) >= seen
        total += 1
    return hits / total

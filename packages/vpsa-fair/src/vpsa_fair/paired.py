"""Two models on the same identities: paired, so that what the identities share cancels."""

import os
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields, replace

import numpy as np

from vpsa_fair.counts import Array
from vpsa_fair.errors import DataError
from vpsa_fair.estimates import MEAN_COLUMN, Estimates
from vpsa_fair.gaps import difference, transform
from vpsa_fair.result import Result
from vpsa_fair.stats import adjust as adjust_family
from vpsa_fair.tables import Column, Table

__all__ = ["Change", "Comparison", "compare"]


@dataclass(frozen=True)
class Change:
    """One cell of two AUC matrices.

    Attributes:
        grouping: attribute or crossed attributes.
        group: its label, or ``"overall"``.
        column: ``"clean"``, a perturbation, or ``"mean"``.
        a: value of the first model.
        b: value of the second.
        change: b minus a.
        low: lower end of the change.
        high: upper end.
        p: p-value of the change.
        p_adjusted: adjusted among the groups and perturbations; the clean, mean and overall cells
            are outside of that family and have NaN.
        n: identities.
        small: fewer than the minimum.
    """

    grouping: str
    group: str
    column: str
    a: float
    b: float
    change: float
    low: float
    high: float
    p: float
    p_adjusted: float
    n: int
    small: bool


@dataclass(frozen=True)
class Comparison:
    """All cells of two models."""

    changes: tuple[Change, ...]
    confidence: float

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes)

    def __len__(self) -> int:
        return len(self.changes)

    def __str__(self) -> str:
        names = ("group", "column", "a", "b", "change", "low", "high", "p_adjusted", "n")
        table = self.to_table()
        columns = {
            k: [f"{v:.3g}" if isinstance(v, float) and v == v else v for v in table[k]]
            for k in names
        }
        head = f"change of the value from a to b with {self.confidence:.0%} interval"
        return f"{head}\n{Table(columns)}"

    def to_table(self) -> dict[str, Column]:
        """One row a cell, columns as the fields of ``Change``."""
        rows = [astuple(c) for c in self.changes]
        return {f.name: [row[i] for row in rows] for i, f in enumerate(fields(Change))}

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """CSV of ``to_table``."""
        return Table(self.to_table()).to_csv(path)

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """JSON of ``to_table``."""
        return Table(self.to_table()).to_json(path)


def compare(a: Result, b: Result, *, value: str = "nauc", adjust: str = "holm") -> Comparison:
    """Compares two models, group by group, on resamples of the same identities.

    Args:
        a: result of the first model.
        b: result of the second, on the same identities, labels and levels.
        value: ``"nauc"``, ``"corrected"``, ``"drop"`` or ``"relative"``.
        adjust: ``"holm"``, ``"bh"`` or ``"none"``.

    Returns:
        Changes b minus a, with Student intervals from the paired resamples.

    Raises:
        DataError: if the two were not measured on the same identities, labels and levels.

    Example:
        >>> from vpsa_fair import item_response
        >>> groups, levels = ["a"] * 20 + ["b"] * 20, [0, 1]
        >>> rng = np.random.default_rng(0)
        >>> u = rng.random((40, 1))
        >>> worse, better = u < [0.9, 0.4], u < [0.9, 0.6]
        >>> a, b = (item_response(x, levels, groups) for x in (worse, better))
        >>> [round(c.change, 2) for c in compare(a, b) if c.column == "perturbation"]
        [0.07, 0.05, 0.06]
    """
    b = _aligned(a, b)
    rows: list[Change] = []
    for by in a.grouping_names:
        rows += _changes(a, b, by, value)
    family = [c.column not in ("clean", MEAN_COLUMN) and c.group != "overall" for c in rows]
    tested = [inside and not c.small for c, inside in zip(rows, family, strict=True)]
    p = np.array([c.p if t else np.nan for c, t in zip(rows, tested, strict=True)])
    adjusted = adjust_family(p, adjust)
    done = [replace(c, p_adjusted=float(q)) for c, q in zip(rows, adjusted, strict=True)]
    return Comparison(tuple(done), a.confidence)


def _aligned(a: Result, b: Result) -> Result:
    """The second result under the settings of the first, after a look whether they match."""
    x, y = a.counts, b.counts
    if not np.array_equal(x.identity, y.identity):
        gone = set(x.identity.tolist()) ^ set(y.identity.tolist())
        some = ", ".join(sorted(gone)[:3]) or "their order differs"
        raise DataError(f"both results must hold the same identities; not in both: {some}")
    for name in a.grouping_names:
        if not np.array_equal(x.labels(name), y.labels(name)):
            raise DataError(f"both results must hold the same labels of {name!r}")
    if x.cells != y.cells or x.response != y.response:
        raise DataError(
            f"both results must hold the same levels and measures, got {x.perturbations} "
            f"({len(x.cells)} cells, {x.response}) and {y.perturbations} "
            f"({len(y.cells)} cells, {y.response})"
        )
    return Result(
        y, a.groupings, a.seed, a.n_boot, a.confidence, a.interval, a.min_identities, b.meta
    )


def _changes(a: Result, b: Result, by: str, value: str) -> list[Change]:
    ea, eb = a.estimates(by), b.estimates(by)
    (va, sa), (vb, sb) = (_both(r, e, value) for r, e in ((a, ea), (b, eb)))
    n = np.minimum(ea.n, eb.n)[:, None]
    error = (sb - sa).std(0, ddof=1)
    one = (error, np.zeros_like(error))  # one sample of differences: n - 1 degrees of freedom
    flips = np.minimum(2.0 ** (1 - n), 1)  # no test on n pairs goes below turning their signs
    d = difference(vb - va, error, n, np.ones_like(n), one, a.confidence, flips)
    out = []
    for r, group in enumerate(ea.rows):
        for k, column in enumerate((*ea.columns, MEAN_COLUMN)):
            cell = (r, k)
            numbers = (va, vb, d.value, d.low, d.high, d.p)
            out.append(
                Change(
                    by,
                    group,
                    column,
                    *(float(x[cell]) for x in numbers),
                    p_adjusted=float("nan"),
                    n=int(n[r, 0]),
                    small=bool(ea.small[r]),
                )
            )
    return out


def _both(result: Result, e: Estimates, value: str) -> tuple[Array, Array]:
    """Values, and the same resampled."""
    chance = result.counts.chance
    point, drawn = e.areas["response"], e.samples["response"]
    return transform(point, value, chance), transform(drawn, value, chance)

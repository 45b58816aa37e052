"""The AUC matrix: groups by perturbations, each cell with its interval, p-value and size."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vpsa_fair.counts import Array
from vpsa_fair.estimates import MEAN_COLUMN, OVERALL, Estimates, Settings
from vpsa_fair.gaps import (
    adjusted_pairs,
    against_overall,
    best_rows,
    family,
    pairs,
    values,
)
from vpsa_fair.tables import Column, Table, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Matrix"]


@dataclass(frozen=True, eq=False)
class Matrix:
    """A table of values, with everything that a reader needs to doubt them.

    ``numpy.asarray`` gives the values. A difference is row minus reference.

    Attributes:
        grouping: the attribute, or the crossed attributes.
        kind: ``"nauc"``, ``"corrected"``, ``"drop"`` or ``"relative"``.
        ref: what the values are differences to; empty for the values themselves.
        rows: groups.
        columns: perturbations; for a pairwise matrix, groups.
        value: ``(R, K)``.
        low: ``(R, K)`` lower ends.
        high: ``(R, K)`` upper ends.
        p: ``(R, K)`` p-values of a difference; NaN where there is no test.
        p_adjusted: ``(R, K)`` adjusted in the family; NaN outside of it.
        n: ``(R,)`` identities.
        small: ``(R,)`` fewer than the minimum: Wilson's interval, no adjusted p, no extreme.
        references: ``(K,)`` the group that each column refers to.
        confidence: of the intervals.
        title: for people.
    """

    grouping: str
    kind: str
    ref: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    value: Array
    low: Array
    high: Array
    p: Array
    p_adjusted: Array
    n: NDArray[np.intp]
    small: NDArray[np.bool_]
    references: tuple[str, ...]
    confidence: float
    title: str

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.value, dtype=dtype) if copy else np.asarray(self.value, dtype=dtype)

    def __str__(self) -> str:
        columns: dict[str, Column] = {
            self.grouping: [f"{r}*" if s else r for r, s in zip(self.rows, self.small, strict=True)]
        }
        columns["n"] = self.n
        for k, name in enumerate(self.columns):
            columns[name] = [self.cell_text(r, k) for r in range(len(self.rows))]
        note = "\n* fewer identities than the minimum" if self.small.any() else ""
        return f"{self.title}\n{Table(columns)}{note}"

    def cell_text(self, row: int, column: int) -> str:
        """A cell in a line: value and interval, and the adjusted p of a difference."""
        value = shown(round(float(self.value[row, column]), 3))
        low, high = (f"{end[row, column]:.2f}" for end in (self.low, self.high))
        p = self.p_adjusted[row, column]
        tail = f" p={p:.2g}" if self.ref and p == p else ""
        return "-" if value == "-" else f"{value} [{low}, {high}]{tail}"

    def to_table(self) -> dict[str, Column]:
        """One row a cell: where it stands, value, interval, p, adjusted p, size, flags."""
        r, k = self.value.shape
        return {
            "grouping": [self.grouping] * (r * k),
            "group": [g for g in self.rows for _ in range(k)],
            "column": list(self.columns) * r,
            "kind": [self.kind] * (r * k),
            "reference": list(self.references) * r,
            "value": self.value.ravel(),
            "low": self.low.ravel(),
            "high": self.high.ravel(),
            "p": self.p.ravel(),
            "p_adjusted": self.p_adjusted.ravel(),
            "n": np.repeat(self.n, k),
            "small": np.repeat(self.small, k),
        }

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """CSV of ``to_table``."""
        return Table(self.to_table()).to_csv(path)

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """JSON of ``to_table``."""
        return Table(self.to_table()).to_json(path)

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Parquet of ``to_table``; needs the extra ``parquet``."""
        Table(self.to_table()).to_parquet(path)

    def plot(self) -> "Figure":
        """Heat map with n and intervals; needs the extra ``plot``."""
        from vpsa_fair.plots import plot_matrix

        return plot_matrix(self)

    def to_html(self) -> str:
        """Heat map as an inline SVG figure, without any address outside of it."""
        from vpsa_fair.svg import heat_map

        return heat_map(self)


_TITLES = {
    "nauc": "normalised AUC",
    "corrected": "normalised AUC, corrected for chance",
    "drop": "clean response minus normalised AUC",
    "relative": "normalised AUC over clean response",
}


def build_matrix(
    e: Estimates,
    settings: Settings,
    chance: float,
    *,
    value: str = "nauc",
    ref: str = "",
    adjust: str = "holm",
    small: bool = False,
    margins: bool = False,
) -> Matrix:
    """Groups by perturbations; see ``Result.matrix``."""
    v = values(e, value, chance, settings)
    g, width = len(e.rows) - 1, v.value.shape[1]
    rows = slice(0, g + 1) if margins and not ref else slice(0, g)
    keep = _columns(e, value, margins)
    shape = (rows.stop, width)
    out = {"value": v.value[rows], "low": v.low[rows], "high": v.high[rows]}
    out |= {"p": np.full(shape, np.nan), "p_adjusted": np.full(shape, np.nan)}
    references = [""] * width
    if ref:
        eligible = e.eligible[:g] | (small & e.named[:g])
        found, references = _differences(v, e, settings, ref, eligible, adjust)
        out |= found
    to = f", difference to {ref}" if ref else ""
    return Matrix(
        grouping=e.grouping,
        kind=value,
        ref=ref,
        rows=e.rows[rows],
        columns=tuple((*e.columns, MEAN_COLUMN)[k] for k in keep),
        n=e.n[rows],
        small=e.small[rows],
        references=tuple(references[k] for k in keep),
        confidence=settings.confidence,
        title=f"{_TITLES[value]}{to}, by {e.grouping}",
        **{name: array[:, keep] for name, array in out.items()},
    )


def _columns(e: Estimates, value: str, margins: bool) -> list[int]:
    """Which columns are shown: the perturbations; with margins clean (where it says anything)."""
    body = list(range(1, len(e.columns)))
    if not margins:
        return body
    clean = [0] if value in ("nauc", "corrected") else []
    return [*clean, *body, len(e.columns)]


def _differences(
    v: Any,
    e: Estimates,
    settings: Settings,
    ref: str,
    eligible: NDArray[np.bool_],
    method: str,
) -> tuple[dict[str, Array], list[str]]:
    """Differences of every group to the reference of each column, and the references' names."""
    g, width = len(e.rows) - 1, v.value.shape[1]
    if ref == OVERALL:
        d = against_overall(v, e, settings.confidence)
        tested = np.broadcast_to(eligible[:, None], d.p.shape)
        adjusted = np.full(d.p.shape, np.nan)
        for k in ([0], list(range(1, width - 1)), [width - 1]):
            if k:
                adjusted[:, k] = family(d.p[:, k], tested[:, k], method)
        found = {"value": d.value, "low": d.low, "high": d.high, "p": d.p, "p_adjusted": adjusted}
        return found, [OVERALL] * width
    d = pairs(v, e, settings.confidence)
    if ref == "best":
        base = best_rows(v, np.append(eligible, False))
        adjusted = adjusted_pairs(d.p, eligible, method)  # the best was chosen among all pairs
    else:
        base = np.full(width, e.row(ref))
        eligible = eligible.copy()
        eligible[base[0]] = True
        adjusted = _adjusted_to_one(d.p, int(base[0]), eligible, method)
    index, column = np.arange(g)[:, None], np.arange(width)[None]
    absent = base < 0
    picked = {"value": d.value, "low": d.low, "high": d.high, "p": d.p, "p_adjusted": adjusted}
    out = {k: np.where(absent, np.nan, a[index, base, column]) for k, a in picked.items()}
    own = index == base
    out["p"] = np.where(own, np.nan, out["p"])
    out["low"] = np.where(own, 0.0, out["low"])
    out["high"] = np.where(own, 0.0, out["high"])
    return out, ["" if b < 0 else e.rows[b] for b in base]


def _adjusted_to_one(p: Array, base: int, eligible: NDArray[np.bool_], method: str) -> Array:
    """Adjusts the comparisons with one named group; a smaller family than all pairs."""
    out = np.full(p.shape, np.nan)
    tested = eligible & (np.arange(len(p)) != base)
    last = p.shape[-1] - 1
    for columns in (slice(0, 1), slice(1, last), slice(last, last + 1)):
        block = p[:, base, columns]
        if block.size:
            mask = np.broadcast_to(tested[:, None], block.shape)
            out[:, base, columns] = family(block, mask, method)
    return out


def build_pairwise(
    e: Estimates,
    settings: Settings,
    chance: float,
    perturbation: str,
    *,
    value: str = "nauc",
    adjust: str = "holm",
    small: bool = False,
) -> Matrix:
    """Row group minus column group for one perturbation; see ``Result.pairwise``."""
    names = [*e.columns, MEAN_COLUMN]
    if perturbation not in names:
        raise ValueError(f"no perturbation {perturbation!r}; there are {names}")
    k, g = names.index(perturbation), len(e.rows) - 1
    v = values(e, value, chance, settings)
    d = pairs(v, e, settings.confidence)
    eligible = e.eligible[:g] | (small & e.named[:g])
    adjusted = adjusted_pairs(d.p[..., [k, k, k]], eligible, adjust)[..., 1]  # a family of its own
    own = np.eye(g, dtype=bool)
    return Matrix(
        grouping=e.grouping,
        kind=value,
        ref="column",
        rows=e.rows[:g],
        columns=e.rows[:g],
        value=d.value[..., k],
        low=np.where(own, 0, d.low[..., k]),
        high=np.where(own, 0, d.high[..., k]),
        p=np.where(own, np.nan, d.p[..., k]),
        p_adjusted=adjusted,
        n=e.n[:g],
        small=e.small[:g],
        references=e.rows[:g],
        confidence=settings.confidence,
        title=f"{perturbation}: {_TITLES[value]} of the row minus the column, by {e.grouping}",
    )

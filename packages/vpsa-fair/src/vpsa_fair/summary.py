"""One line a perturbation: how far groups lie apart, and which two."""

import os
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np

from vpsa_fair.counts import Array
from vpsa_fair.estimates import MEAN_COLUMN, Estimates, Settings
from vpsa_fair.fairness import fdr, garbe, inequity, min_ratio
from vpsa_fair.gaps import adjusted_pairs, best_rows, pairs, values
from vpsa_fair.intervals import percentile
from vpsa_fair.tables import Column, Table, shown

__all__ = ["Spread", "Summary"]

_NAN = float("nan")


@dataclass(frozen=True)
class Spread:
    """How far the groups lie apart in one column.

    Attributes:
        grouping: attribute or crossed attributes.
        column: ``"clean"``, a perturbation, or ``"mean"``.
        gap: best minus worst group, of the normalised AUC.
        low: lower end of the gap's interval, for these two groups.
        high: upper end.
        p_adjusted: of these two, adjusted among all pairs (and all perturbations).
        best: the group with the highest value.
        worst: the group with the lowest.
        n_best: its identities.
        n_worst: its identities.
        ratio: worst over best.
        sd: standard deviation over groups.
        fdr: fairness discrepancy rate of the two error rates, averaged over levels; NaN without
            genuine and impostor trials, as the next six.
        fdr_low: lower end.
        fdr_high: upper end.
        garbe: Gini aggregation rate.
        garbe_low: lower end.
        garbe_high: upper end.
        inequity_fmr: worst false match rate over the geometric mean.
        inequity_fnmr: worst false non-match rate over the geometric mean.
        groups: how many groups were compared.
    """

    grouping: str
    column: str
    gap: float
    low: float
    high: float
    p_adjusted: float
    best: str
    worst: str
    n_best: int
    n_worst: int
    ratio: float
    sd: float
    fdr: float = _NAN
    fdr_low: float = _NAN
    fdr_high: float = _NAN
    garbe: float = _NAN
    garbe_low: float = _NAN
    garbe_high: float = _NAN
    inequity_fmr: float = _NAN
    inequity_fnmr: float = _NAN
    groups: int = 0


@dataclass(frozen=True)
class Summary:
    """Spreads of every grouping and column."""

    spreads: tuple[Spread, ...]
    confidence: float
    excluded: tuple[str, ...]

    def __iter__(self) -> Iterator[Spread]:
        return iter(self.spreads)

    def __len__(self) -> int:
        return len(self.spreads)

    def __str__(self) -> str:
        names = ("grouping", "column", "gap", "low", "high", "p_adjusted", "worst", "n_worst")
        more = ("best", "n_best", "ratio")
        table = self.to_table()
        if any(s.fdr == s.fdr for s in self.spreads):
            more = (*more, "fdr", "garbe")
        columns = {name: [_rounded(v) for v in table[name]] for name in (*names, *more)}
        note = f"\nnot compared (too few identities): {', '.join(self.excluded)}"
        head = f"gap of the normalised AUC with {self.confidence:.0%} interval"
        return f"{head}\n{Table(columns)}{note if self.excluded else ''}"

    def worst(self) -> Spread | None:
        """The widest gap under a perturbation, or None if no two groups could be compared."""
        body = [s for s in self.spreads if s.column not in ("clean", MEAN_COLUMN)]
        return max(body, key=lambda s: s.gap, default=None)

    def to_table(self) -> dict[str, Column]:
        """One row a spread, columns as the fields of ``Spread``."""
        rows = [astuple(s) for s in self.spreads]
        return {f.name: [row[i] for row in rows] for i, f in enumerate(fields(Spread))}

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """CSV of ``to_table``."""
        return Table(self.to_table()).to_csv(path)

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """JSON of ``to_table``."""
        return Table(self.to_table()).to_json(path)


def _rounded(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) and value == value else shown(value)


def spreads(e: Estimates, settings: Settings, chance: float, *, adjust: str, small: bool) -> Any:
    """Spreads of one grouping, in the order of the columns; none if fewer than two groups."""
    g = len(e.rows) - 1
    v = values(e, "nauc", chance, settings)
    eligible = e.eligible[:g] | (small & e.named[:g] & ~np.isnan(v.value[:g]).any(1))
    if eligible.sum() < 2:
        return ()
    mask = np.append(eligible, False)
    best, worst = best_rows(v, mask), best_rows(v, mask, worse=True)
    d = pairs(v, e, settings.confidence)
    p = adjusted_pairs(d.p, eligible, adjust)
    extra = _errors(e, mask, settings)
    names = (*e.columns, MEAN_COLUMN)
    out = []
    for k, name in enumerate(names):
        b, w = int(best[k]), int(worst[k])
        rates = v.value[mask, k]
        out.append(
            Spread(
                grouping=e.grouping,
                column=name,
                gap=float(d.value[b, w, k]),
                low=float(d.low[b, w, k]),
                high=float(d.high[b, w, k]),
                p_adjusted=float(p[b, w, k]) if b != w else 1.0,
                best=e.rows[b],
                worst=e.rows[w],
                n_best=int(e.n[b]),
                n_worst=int(e.n[w]),
                ratio=float(min_ratio(rates)),
                sd=float(rates.std(ddof=1)),
                groups=int(eligible.sum()),
                **{m: float(x[k]) for m, x in extra.items()},
            )
        )
    return tuple(out)


def _errors(e: Estimates, mask: Any, settings: Settings) -> dict[str, Array]:
    """FDR, GARBE and inequity of each column, from the rates of genuine and impostor trials."""
    if not {"genuine", "impostor"} <= set(e.areas):
        return {}

    def rates(tables: dict[str, Array]) -> tuple[Array, Array]:
        found = []
        for measure in ("impostor", "genuine"):
            area = tables[measure][..., mask, :]
            body = area[..., 1:] if area.shape[-1] > 1 else area
            error = 1 - np.concatenate([area, body.mean(-1, keepdims=True)], axis=-1)
            found.append(np.maximum(error, 0).swapaxes(-1, -2))  # (..., K + 1, G)
        return found[0], found[1]

    fmr, fnmr = rates(e.areas)
    drawn = rates(e.samples)
    out = {"inequity_fmr": inequity(fmr), "inequity_fnmr": inequity(fnmr)}
    for name, formula in (("fdr", fdr), ("garbe", garbe)):
        out[name] = formula(fmr, fnmr)
        ends = percentile(formula(*drawn), confidence=settings.confidence)
        out[f"{name}_low"], out[f"{name}_high"] = ends
    return out

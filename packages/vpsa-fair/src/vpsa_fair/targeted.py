"""Targeted robustness: which group gives way first, under what, and from which level on."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from vpsa_fair.counts import Array, Counts
from vpsa_fair.curves import onset_level
from vpsa_fair.estimates import OVERALL, Estimates, Settings
from vpsa_fair.gaps import Differences, Values, against_overall, best_rows, pairs, values
from vpsa_fair.stats import adjust as adjust_family
from vpsa_fair.tables import Column, Table, shown

__all__ = ["Failure", "Targeted"]


@dataclass(frozen=True)
class Failure:
    """One group under one perturbation, against its reference.

    Attributes:
        grouping: attribute or crossed attributes.
        group: its label.
        perturbation: its name.
        reference: the group it is compared with.
        value: the group's own value.
        disparity: how far the group lies behind; positive is worse.
        low: lower end of the disparity.
        high: upper end of the disparity.
        p: p-value of the disparity.
        p_adjusted: adjusted in the family of all comparisons listed from.
        onset: level at which the group's response first falls by the share epsilon; NaN if never.
        reference_onset: the same for the reference.
        half: level at which half of the clean response above chance is lost; NaN if never.
        n: identities of the group.
        small: fewer than the minimum.
    """

    grouping: str
    group: str
    perturbation: str
    reference: str
    value: float
    disparity: float
    low: float
    high: float
    p: float
    p_adjusted: float
    onset: float
    reference_onset: float
    half: float
    n: int
    small: bool

    def __str__(self) -> str:
        p = "not adjusted" if self.p_adjusted != self.p_adjusted else f"{self.p_adjusted:.2g}"
        return (
            f"{self.group} under {self.perturbation}: {self.disparity:.3f} behind {self.reference} "
            f"[{self.low:.3f}, {self.high:.3f}], adjusted p {p}, n {self.n}, "
            f"onset at {shown(self.onset)} against {shown(self.reference_onset)}"
        )


@dataclass(frozen=True)
class Targeted:
    """Failures, the widest disparity first."""

    failures: tuple[Failure, ...]

    def __iter__(self) -> Iterator[Failure]:
        return iter(self.failures)

    def __len__(self) -> int:
        return len(self.failures)

    def __getitem__(self, index: int) -> Failure:
        return self.failures[index]

    def __str__(self) -> str:
        return "\n".join(map(str, self.failures)) or "no group lies behind another"

    def to_table(self) -> dict[str, Column]:
        """One row a failure, columns as the fields of ``Failure``."""
        rows = [astuple(f) for f in self.failures]
        return {f.name: [row[i] for row in rows] for i, f in enumerate(fields(Failure))}

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """CSV of ``to_table``."""
        return Table(self.to_table()).to_csv(path)


@dataclass(frozen=True, eq=False)
class _Block:
    """Comparisons of one grouping before the family is adjusted."""

    rows: list[tuple[int, int, int]]  # group, reference, column
    index: tuple[NDArray[np.intp], ...]  # where they stand in the differences
    differences: Differences
    tested: NDArray[np.bool_]  # the differences that belong to the family
    values: Values


def rank(
    counts: Counts,
    estimates: Sequence[Estimates],
    settings: Settings,
    *,
    top: int | None,
    value: str,
    ref: str,
    epsilon: float,
    adjust: str,
    small: bool,
) -> Targeted:
    """Ranks every group under every perturbation by its disparity; see ``Result.targeted``."""
    blocks = [_compare(e, settings, counts.chance, value, ref, small) for e in estimates]
    adjusted = _adjusted_together(blocks, adjust)
    found: list[Failure] = []
    for e, block, p_adjusted in zip(estimates, blocks, adjusted, strict=True):
        d, at, worse = block.differences, block.index, block.values.worse
        ends = np.sort([worse * d.low[at], worse * d.high[at]], axis=0)
        for i, (g, r, k) in enumerate(block.rows):
            name = e.columns[k]
            found.append(
                Failure(
                    grouping=e.grouping,
                    group=e.rows[g],
                    perturbation=name,
                    reference=e.rows[r],
                    value=float(block.values.value[g, k]),
                    disparity=float(worse * d.value[at][i]),
                    low=float(ends[0, i]),
                    high=float(ends[1, i]),
                    p=float(d.p[at][i]),
                    p_adjusted=float(p_adjusted[at][i]),
                    onset=_onset(counts, e, g, name, epsilon),
                    reference_onset=_onset(counts, e, r, name, epsilon),
                    half=_onset(counts, e, g, name, 0.5, counts.chance),
                    n=int(e.n[g]),
                    small=bool(e.small[g]),
                )
            )
    found = [f for f in found if f.disparity == f.disparity]
    found.sort(key=lambda f: (f.small, -f.disparity, f.grouping, f.group, f.perturbation))
    return Targeted(tuple(found[:top]))


def _compare(
    e: Estimates, settings: Settings, chance: float, value: str, ref: str, small: bool
) -> _Block:
    """Every named group against its reference, in every perturbation."""
    v = values(e, value, chance, settings)
    g, columns = len(e.rows) - 1, range(1, len(e.columns))
    groups = [i for i in range(g) if e.named[i]]
    eligible = e.eligible[:g] | (small & e.named[:g])
    body = np.zeros(v.value.shape[1], dtype=bool)
    body[1 : len(e.columns)] = True
    if ref == OVERALL:
        rows = [(i, g, k) for k in columns for i in groups]
        index = _index([(i, k) for i, _, k in rows], 2)
        tested = eligible[:, None] & body
        return _Block(rows, index, against_overall(v, e, settings.confidence), tested, v)
    if ref == "best":
        base = best_rows(v, np.append(eligible, False))
        pair = np.triu(np.ones((g, g), dtype=bool), 1) & eligible[:, None] & eligible
    else:
        base = np.full(len(body), e.row(ref))
        pair = np.zeros((g, g), dtype=bool)
        pair[eligible, base[0]] = True
        pair[base[0], base[0]] = False
    rows = [(i, int(base[k]), k) for k in columns for i in groups if base[k] not in (-1, i)]
    d = pairs(v, e, settings.confidence)
    return _Block(rows, _index(rows, 3), d, pair[..., None] & body, v)


def _index(rows: Sequence[tuple[int, ...]], width: int) -> tuple[NDArray[np.intp], ...]:
    return tuple(np.array(rows, dtype=np.intp).reshape(-1, width).T)


def _adjusted_together(blocks: Sequence[_Block], method: str) -> list[Array]:
    """One family over all groupings; a pair and its mirror share their p-value."""
    tested = [block.differences.p[block.tested] for block in blocks]
    flat = adjust_family(np.concatenate(tested), method)
    out: list[Array] = []
    start = 0
    for block, p in zip(blocks, tested, strict=True):
        adjusted = np.full(block.differences.p.shape, np.nan)
        adjusted[block.tested] = flat[start : start + len(p)]
        start += len(p)
        if adjusted.ndim == 3:
            adjusted = np.fmax(adjusted, adjusted.swapaxes(0, 1))
        out.append(adjusted)
    return out


def _onset(
    counts: Counts, e: Estimates, row: int, name: str, epsilon: float, floor: float = 0.0
) -> float:
    columns = counts.columns(name)
    return onset_level(
        counts.curve_levels(name), e.response[row, columns], epsilon=epsilon, floor=floor
    )

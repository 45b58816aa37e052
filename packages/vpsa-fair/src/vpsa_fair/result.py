"""The result of an audit: counts, how they are to be read, and every table that follows."""

import hashlib
import io
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpsa_fair.counts import Counts, crossings, write_atomically
from vpsa_fair.errors import SPOILT, DataError, SmallGroupWarning
from vpsa_fair.estimates import Estimates, Settings, estimate
from vpsa_fair.intervals import KINDS
from vpsa_fair.matrix import Matrix, build_matrix, build_pairwise
from vpsa_fair.summary import Summary, spreads
from vpsa_fair.tables import Column, Table, finite
from vpsa_fair.targeted import Targeted, rank

__all__ = ["Result"]

FORMAT = "vpsa-fair-result"
VERSION = 1


@dataclass(frozen=True, eq=False)
class Result:
    """What an audit found. Nothing is computed before it is asked for, and nothing twice.

    Attributes:
        counts: hits and trials of every identity in every cell.
        groupings: attributes, or tuples of attributes to be crossed; all attributes if empty.
        seed: of the bootstrap.
        n_boot: resamples.
        confidence: of every interval.
        interval: of values: ``"percentile"``, ``"basic"`` or ``"bca"``.
        min_identities: smaller groups are flagged, get Wilson's interval, and are no extreme.
        meta: what the run was, JSON values only.
        examples: for each perturbation a strip of uint8 images ``(L + 1, H, W, 3)``.

    Raises:
        ValueError: if a setting makes no sense or an attribute is missing.

    Example:
        >>> from vpsa_fair import item_response
        >>> correct = np.repeat([[1, 1, 0], [1, 1, 1]], 20, axis=0)
        >>> res = item_response(correct, [0, 1, 2], groups=["a"] * 20 + ["b"] * 20)
        >>> print(res.targeted()[0])
        a under perturbation: 0.250 behind b [0.250, 0.250], adjusted p 1.5e-11, n 20, onset at 1.05 against -
    """  # noqa: E501

    counts: Counts
    groupings: tuple[str | tuple[str, ...], ...] = ()
    seed: int = 0
    n_boot: int = 2000
    confidence: float = 0.95
    interval: str = "percentile"
    min_identities: int = 10
    meta: Mapping[str, Any] = field(default_factory=dict)
    examples: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        put = object.__setattr__
        groupings = self.groupings or tuple(self.counts.groups)
        put(self, "groupings", crossings(groupings))
        for name in self.grouping_names:
            self.counts.labels(name)
        if not self.groupings:
            raise ValueError("counts must have at least one attribute to group by")
        if self.n_boot < 2 or not 0 < self.confidence < 1 or self.min_identities < 1:
            got = f"{self.n_boot}, {self.confidence} and {self.min_identities}"
            raise ValueError(
                f"n_boot >= 2, 0 < confidence < 1 and min_identities >= 1 are needed, got {got}"
            )
        if self.interval not in KINDS:
            raise ValueError(f"interval must be one of {', '.join(KINDS)}, got {self.interval!r}")

    @property
    def grouping_names(self) -> tuple[str, ...]:
        """Names of the groupings, such as ``"race"`` and ``"race x gender"``."""
        return crossings(self.groupings)

    @property
    def settings(self) -> Settings:
        """What the estimates depend on, besides the counts."""
        return Settings(self.seed, self.n_boot, self.confidence, self.interval, self.min_identities)

    @cached_property
    def _cache(self) -> dict[str, Estimates]:
        return {}

    def estimates(self, by: str | Sequence[str] | None = None) -> Estimates:
        """Estimates and resamples of one grouping, the first if ``by`` is None."""
        name = self.grouping_names[0] if by is None else crossings([by])[0]
        if name not in self._cache:
            e = estimate(self.counts, name, self.settings)
            self._cache[name] = e
            thin = [f"{e.rows[r]} ({e.n[r]})" for r in np.flatnonzero(e.small & e.named)]
            if thin:
                warnings.warn(
                    f"{name}: fewer than {self.min_identities} identities in {', '.join(thin)}; "
                    "they are flagged and left out of extremes and rankings",
                    SmallGroupWarning,
                    stacklevel=3,
                )
        return self._cache[name]

    @cached_property
    def curves(self) -> Table:
        """Item-response curves with pointwise bands, one row a group, perturbation and level.

        The clean level is repeated at the start of every curve. The columns of the measures hold
        their rates.
        """
        columns: dict[str, list[Any]] = {}
        for by in self.grouping_names:
            e = self.estimates(by)
            for r, group in enumerate(e.rows):
                for name in self.counts.perturbations:
                    at = self.counts.columns(name)
                    block: dict[str, Any] = {
                        "grouping": [by] * len(at),
                        "group": [group] * len(at),
                        "perturbation": [name] * len(at),
                        "level": self.counts.curve_levels(name),
                        "position": self.counts.curve_positions(name),
                        "response": e.response[r, at],
                        "low": e.low[r, at],
                        "high": e.high[r, at],
                        "n": [int(e.n[r])] * len(at),
                        "small": [bool(e.small[r])] * len(at),
                    }
                    block |= {m: rates[r, at] for m, rates in e.rates.items()}
                    for key, part in block.items():
                        columns.setdefault(key, []).extend(part)
        return Table({k: np.array(v) for k, v in columns.items()})

    def matrix(
        self,
        value: str = "nauc",
        ref: str | None = None,
        *,
        by: str | Sequence[str] | None = None,
        adjust: str = "holm",
        small: bool = False,
        margins: bool = False,
    ) -> Matrix:
        """The AUC matrix, groups by perturbations.

        Args:
            value: ``"nauc"``; ``"corrected"`` for chance; ``"drop"``: clean minus AUC;
                ``"relative"``: AUC over clean.
            ref: None for the values; else differences to ``"best"`` (the best group of each
                column, p-values adjusted among all pairs), ``"overall"``, or a group.
            by: grouping; the first if None.
            adjust: ``"holm"``, ``"bh"`` or ``"none"``.
            small: whether small groups may be a reference and are tested.
            margins: whether to add the clean column and the mean over perturbations, and, for
                values, the overall row.

        Returns:
            The matrix.

        Raises:
            ValueError: if a word is unknown.
        """
        return build_matrix(
            self.estimates(by),
            self.settings,
            self.counts.chance,
            value=value,
            ref=ref or "",
            adjust=adjust,
            small=small,
            margins=margins,
        )

    def pairwise(
        self,
        perturbation: str,
        *,
        value: str = "nauc",
        by: str | Sequence[str] | None = None,
        adjust: str = "holm",
        small: bool = False,
    ) -> Matrix:
        """Subgroup by subgroup: row minus column under one perturbation.

        Args:
            perturbation: its name, or ``"clean"`` or ``"mean"``.
            value: as in ``matrix``.
            by: grouping; the first if None.
            adjust: ``"holm"``, ``"bh"`` or ``"none"``; the pairs are one family.
            small: whether small groups are tested.

        Returns:
            An antisymmetric matrix; ``p_adjusted`` is symmetric.
        """
        return build_pairwise(
            self.estimates(by),
            self.settings,
            self.counts.chance,
            perturbation,
            value=value,
            adjust=adjust,
            small=small,
        )

    def targeted(
        self,
        top: int | None = None,
        *,
        by: str | Sequence[str] | None = None,
        value: str = "nauc",
        ref: str = "best",
        epsilon: float = 0.05,
        adjust: str = "holm",
        small: bool = False,
    ) -> Targeted:
        """Groups and perturbations ranked by how far the group lies behind.

        Args:
            top: how many; all if None.
            by: one grouping; all of them, as one family of tests, if None.
            value: as in ``matrix``.
            ref: ``"best"``, ``"overall"`` or a group (then give ``by``).
            epsilon: share of the clean response whose loss is the onset.
            adjust: ``"holm"``, ``"bh"`` or ``"none"``.
            small: whether small groups are tested; they are listed last in any case.

        Returns:
            The ranking, with disparity, interval, adjusted p, onset level and n.
        """
        names = self.grouping_names if by is None else crossings([by])
        return rank(
            self.counts,
            [self.estimates(name) for name in names],
            self.settings,
            top=top,
            value=value,
            ref=ref,
            epsilon=epsilon,
            adjust=adjust,
            small=small,
        )

    def summary(self, *, adjust: str = "holm", small: bool = False) -> Summary:
        """Gap, interval, adjusted p, n, ratio, FDR, GARBE and inequity of every column."""
        found: list[Any] = []
        excluded: list[str] = []
        for by in self.grouping_names:
            e = self.estimates(by)
            found += spreads(e, self.settings, self.counts.chance, adjust=adjust, small=small)
            if not small:
                out = e.named & ~e.eligible
                excluded += [f"{e.rows[r]} (n {e.n[r]})" for r in np.flatnonzero(out)]
        return Summary(tuple(found), self.confidence, tuple(excluded))

    def spread(self, by: str | Sequence[str] | None = None) -> Table:
        """Standard deviation over identities of each area, what a power calculation needs."""
        e = self.estimates(by)
        return Table(
            {
                "group": [g for g in e.rows for _ in e.columns],
                "column": list(e.columns) * len(e.rows),
                "spread": e.spread.ravel(),
                "n": np.repeat(e.n, len(e.columns)),
            }
        )

    def __str__(self) -> str:
        worst = self.targeted(3)
        return f"{self.counts}\n{self.summary()}\nwidest disparities:\n{worst}"

    def to_table(self) -> dict[str, Column]:
        """The cells of the AUC matrices of all groupings, one row each."""
        tables = [self.matrix(by=by, margins=True).to_table() for by in self.grouping_names]
        return {k: [v for t in tables for v in t[k]] for k in tables[0]}

    def report(self, path: str | os.PathLike[str]) -> None:
        """Writes one HTML file that needs nothing outside of it."""
        from vpsa_fair.report import render

        write_atomically(path, render(self).encode())

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes counts, settings and tables into a folder, each file whole or not at all.

        Files: ``counts.npz``, ``examples.npz`` if there are examples, ``result.json``, and for
        people ``curves.csv``, ``matrix.csv``, ``targeted.csv``, ``stats.json``.
        """
        at = Path(folder)
        self.counts.save(at / "counts.npz")
        files = ["counts.npz"]
        if self.examples:
            files.append("examples.npz")
            buffer = io.BytesIO()
            names = np.array(list(self.examples), dtype=np.str_)
            strips: dict[str, Any] = {
                f"strip{i}": np.asarray(v) for i, v in enumerate(self.examples.values())
            }
            np.savez_compressed(buffer, names=names, **strips)
            write_atomically(at / "examples.npz", buffer.getvalue())
        header = {
            "format": FORMAT,
            "version": VERSION,
            "groupings": list(self.groupings),
            **asdict(self.settings),
            "meta": dict(self.meta),
            "files": {name: _digest(at / name) for name in files},
        }
        self.curves.to_csv(at / "curves.csv")
        Table(self.to_table()).to_csv(at / "matrix.csv")
        self.targeted().to_csv(at / "targeted.csv")
        rows = [{k: finite(v) for k, v in row.items()} for row in Table(self.summary().to_table())]
        _write_json(at / "stats.json", {"confidence": self.confidence, "summary": rows})
        _write_json(at / "result.json", header)  # last: a folder that has it is complete

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Result":
        """Reads a folder that ``save`` wrote.

        Raises:
            DataError: if the folder holds no result, or one of a newer version.
        """
        at = Path(folder)
        try:
            header = json.loads((at / "result.json").read_text())
            if header.get("format") != FORMAT or header.get("version", 0) > VERSION:
                got = f"{header.get('format')} {header.get('version')}"
                raise ValueError(f"must be {FORMAT} {VERSION}, got {got}")
            counts = Counts.load(at / "counts.npz")
            files = header.get("files", {"examples.npz": None})  # none: before hashes were kept
            examples = _load_examples(at / "examples.npz") if "examples.npz" in files else {}
            for name, made in files.items():
                if made and _digest(at / name) != made:
                    raise ValueError(f"{name} is of another run than result.json: save it again")
            groupings = header["groupings"]
            names = ("seed", "n_boot", "confidence", "interval", "min_identities")
            settings = {name: header[name] for name in names}
        except (OSError, *SPOILT) as error:
            raise DataError(f"{os.fspath(folder)} holds no result: {error}") from error
        groups = tuple(tuple(g) if isinstance(g, list) else str(g) for g in groupings)
        return cls(counts, groups, meta=header.get("meta", {}), examples=examples, **settings)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _load_examples(path: Path) -> dict[str, NDArray[np.uint8]]:
    if not path.exists():
        return {}
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {str(n): file[f"strip{i}"] for i, n in enumerate(file["names"])}
    except SPOILT as error:
        raise ValueError(f"{path.name} is damaged: {error}") from error


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=1, allow_nan=False, sort_keys=True)
    write_atomically(path, (text + "\n").encode())

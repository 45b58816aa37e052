"""What a sweep leaves behind: hits and trials of every identity in every cell.

Every curve, matrix and interval of this package starts from these counts, so nothing after the
sweep ever needs an image, an embedding or a score again. The unit is the identity: one person (or
one image, for a classifier), whose trials are not independent of each other.
"""

import io
import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpsa_fair.errors import SPOILT

FORMAT = "vpsa-fair-counts"
VERSION = 1
UNKNOWN = "unknown"  # the group of identities whose attribute is missing
CROSS = " x "  # joins the names of crossed attributes, and their labels

Array = NDArray[np.float64]
Labels = NDArray[Any]  # of strings; naming their type upsets documentation tools


@dataclass(frozen=True)
class Cell:
    """One column of the counts: a perturbation at a level.

    Attributes:
        perturbation: its name; empty for the clean cell.
        level: the stimulus level in the perturbation's own unit.
        position: the level on the declared axis, in [0, 1]; 0 is clean, 1 is the strongest.
    """

    perturbation: str
    level: float
    position: float


CLEAN = Cell("", 0.0, 0.0)


@dataclass(frozen=True)
class Axis:
    """The declared axis of a perturbation.

    Attributes:
        kind: ``"linear"`` or ``"log"``, see :func:`positions`.
        clean: the level at which the perturbation does nothing.
        unit: for people, such as ``"px"``.
    """

    kind: str = "linear"
    clean: float = 0.0
    unit: str = ""


def positions(levels: Sequence[float], *, clean: float, axis: str = "linear") -> Array:
    """Places levels on [0, 1], linearly in the declared axis.

    Args:
        levels: ``(L,)`` stimulus levels, ordered from weak to strong, all on one side of ``clean``.
        clean: the level at which the perturbation does nothing.
        axis: ``"linear"``, or ``"log"`` for ``log10(s + c)`` with ``c = 0`` if all levels and
            ``clean`` are positive and ``c = 1 + |smallest|`` otherwise.

    Returns:
        ``(L,)`` positions, strictly increasing, the last exactly 1. ``clean`` would be at 0.

    Raises:
        ValueError: if the levels do not lead away from ``clean``, or the axis is another word.

    Source:
        RichardWebster et al. 2018 (the shifted log grid); Fair SA leaves the axis open.

    Example:
        >>> positions([1.0, 4.0], clean=0.0).tolist()
        [0.25, 1.0]
        >>> positions([3.0, 15.0], clean=0.0, axis="log").tolist()
        [0.5, 1.0]
    """
    s = np.asarray([clean, *levels], dtype=np.float64)
    if len(s) < 2 or not np.isfinite(s).all():
        raise ValueError(f"levels must be one or more finite numbers, got {list(levels)}")
    if axis == "log":
        s = np.log10(s + (0.0 if s.min() > 0 else 1.0 + abs(s.min())))
    elif axis != "linear":
        raise ValueError(f"axis must be 'linear' or 'log', got {axis!r}")
    if s[-1] == s[0]:
        raise ValueError(f"levels must lead away from clean={clean}, got {list(levels)}")
    u = (s[1:] - s[0]) / (s[-1] - s[0])
    if u[0] <= 0 or (np.diff(u) <= 0).any():
        raise ValueError(f"levels must go from weak to strong, got {list(levels)}, clean={clean}")
    return u


def grouping_name(attributes: str | Sequence[str]) -> str:
    """Names a grouping: the attribute, or crossed attributes joined by ``" x "``.

    Example:
        >>> grouping_name(("race", "gender"))
        'race x gender'
    """
    return attributes if isinstance(attributes, str) else CROSS.join(attributes)


@dataclass(frozen=True, eq=False)
class Counts:
    """Hits and trials of ``I`` identities in ``C`` cells.

    Attributes:
        identity: ``(I,)`` unique labels.
        groups: for each attribute ``(I,)`` labels, ``"unknown"`` where the value is missing.
        cells: ``C`` cells, the clean one first, then for each perturbation its levels with
            positions strictly increasing to 1.
        hits: for each measure ``(I, C)`` float64, the correct answers. A hit of an impostor trial
            is a rejection. Hits may be fractional (closed-form k-AFC).
        trials: for each measure ``(I, C)`` float64, the answers asked for.
        response: the measures whose rates are averaged into the response; all if empty.
        order: measures whose trial belongs to two identities have 2 here. **Such a trial is
            entered at both of its identities**, so its hits and trials appear twice.
        chance: the response of a model that guesses.
        protocol: what was counted, for people.
        axes: the axis of each perturbation; linear from 0 where none is given.

    A rate of a group is a ratio of sums over its identities. Where a measure depends on the
    grouping (impostors within the same race, or within the same gender), the entry
    ``"impostor@race"`` holds it and is used for the grouping ``race`` in place of ``"impostor"``;
    the grouping of crossed attributes is ``"race x gender"``.

    Raises:
        ValueError: if shapes disagree, hits lie outside [0, trials], or the cells are not ordered.

    Example:
        >>> one = np.ones((2, 2))
        >>> counts = Counts(
        ...     identity=np.array(["a", "b"]),
        ...     groups={"tone": np.array(["dark", "light"])},
        ...     cells=(CLEAN, Cell("blur", 4.0, 1.0)),
        ...     hits={"correct": np.array([[1.0, 0.0], [1.0, 1.0]])},
        ...     trials={"correct": one},
        ... )
        >>> counts.rate("correct", np.array([True, True])).tolist()
        [1.0, 0.5]
    """

    identity: Labels
    groups: Mapping[str, Labels]
    cells: tuple[Cell, ...]
    hits: Mapping[str, Array]
    trials: Mapping[str, Array]
    response: tuple[str, ...] = ()
    order: Mapping[str, int] = field(default_factory=dict)
    chance: float = 0.0
    protocol: str = ""
    axes: Mapping[str, Axis] = field(default_factory=dict)

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "identity", np.asarray(self.identity, dtype=np.str_))
        put(self, "groups", {k: np.asarray(v, dtype=np.str_) for k, v in self.groups.items()})
        put(self, "cells", tuple(self.cells))
        for name in ("hits", "trials"):
            table = getattr(self, name)
            put(self, name, {k: np.asarray(v, dtype=np.float64) for k, v in table.items()})
        if not self.response:
            put(self, "response", tuple(k for k in self.hits if "@" not in k))
        self._check()

    def _check(self) -> None:
        n = len(self.identity)
        if self.identity.ndim != 1 or n == 0 or len(set(self.identity.tolist())) != n:
            raise ValueError(f"identity must hold unique labels, got {self.identity.shape}")
        for name, labels in self.groups.items():
            if labels.shape != (n,):
                raise ValueError(f"groups[{name!r}] must be ({n},), got {labels.shape}")
        if not self.cells or self.cells[0].perturbation or self.cells[0].position != 0:
            raise ValueError(f"the first cell must be the clean one, got {self.cells[:1]}")
        if extra := set(self.axes) - set(self.perturbations):
            raise ValueError(f"axes of {sorted(extra)} belong to no perturbation")
        for name in self.perturbations:
            u = self.curve_positions(name)
            if (np.diff(u) <= 0).any() or abs(u[-1] - 1) > 1e-9:
                raise ValueError(f"positions of {name!r} must increase to 1, got {u.tolist()}")
        if set(self.hits) != set(self.trials) or not set(self.response) <= set(self.hits):
            raise ValueError(
                f"hits ({sorted(self.hits)}), trials ({sorted(self.trials)}) and response "
                f"({list(self.response)}) must name the same measures"
            )
        for name, hits in self.hits.items():
            trials, want = self.trials[name], (n, len(self.cells))
            if hits.shape != want or trials.shape != want:
                raise ValueError(f"{name!r} must be {want}, got {hits.shape} and {trials.shape}")
            if not (np.isfinite(trials).all() and (hits >= 0).all() and (hits <= trials).all()):
                raise ValueError(f"hits of {name!r} must lie in [0, trials]")
        if not 0 <= self.chance < 1:
            raise ValueError(f"chance must lie in [0, 1), got {self.chance}")

    def __len__(self) -> int:
        return len(self.identity)

    def __str__(self) -> str:
        return (
            f"{self.protocol or 'counts'}: {len(self)} identities, "
            f"{len(self.perturbations)} perturbations, {len(self.cells)} cells, "
            f"measures {', '.join(self.response)}"
        )

    @property
    def perturbations(self) -> tuple[str, ...]:
        """Names in the order of the cells."""
        return tuple(dict.fromkeys(c.perturbation for c in self.cells if c.perturbation))

    def columns(self, perturbation: str) -> NDArray[np.intp]:
        """Columns of a perturbation's curve: the clean cell, then its levels."""
        own = [i for i, c in enumerate(self.cells) if c.perturbation == perturbation]
        if not own or not perturbation:
            raise ValueError(f"no perturbation {perturbation!r}; there are {self.perturbations}")
        return np.array([0, *own], dtype=np.intp)

    def curve_positions(self, perturbation: str) -> Array:
        """Positions of a perturbation's curve, from 0 (clean) to 1."""
        return np.array([self.cells[i].position for i in self.columns(perturbation)])

    def curve_levels(self, perturbation: str) -> Array:
        """Levels of a perturbation's curve, the clean level first, in its own unit."""
        own = [self.cells[i].level for i in self.columns(perturbation)[1:]]
        return np.array([self.axes.get(perturbation, Axis()).clean, *own])

    def labels(self, attributes: str | Sequence[str]) -> Labels:
        """``(I,)`` group labels of one attribute or of crossed attributes.

        Raises:
            ValueError: if an attribute is not in the counts.
        """
        names = attributes.split(CROSS) if isinstance(attributes, str) else list(attributes)
        if isinstance(attributes, str) and attributes in self.groups:
            names = [attributes]
        for name in names:
            if name not in self.groups:
                raise ValueError(f"no attribute {name!r}; there are {sorted(self.groups)}")
        parts = [self.groups[name].tolist() for name in names]
        return np.array([CROSS.join(row) for row in zip(*parts, strict=True)], dtype=np.str_)

    def measure(self, name: str, grouping: str = "") -> tuple[Array, Array]:
        """Hits and trials ``(I, C)`` of a measure as it stands for a grouping."""
        key = f"{name}@{grouping}"
        key = key if key in self.hits else name
        if key not in self.hits:
            raise ValueError(f"no measure {name!r}; there are {sorted(self.hits)}")
        return self.hits[key], self.trials[key]

    def rate(self, name: str, rows: NDArray[Any], grouping: str = "") -> Array:
        """``(C,)`` rate of a measure over some identities; NaN where they have no trial."""
        hits, trials = self.measure(name, grouping)
        h, t = hits[rows].sum(0), trials[rows].sum(0)
        return np.divide(h, t, out=np.full(len(h), np.nan), where=t > 0)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes one npz, atomically; equal counts give equal bytes."""
        header = {
            "format": FORMAT,
            "version": VERSION,
            "cells": [[c.perturbation, c.level, c.position] for c in self.cells],
            "measures": list(self.hits),
            "attributes": list(self.groups),
            "response": list(self.response),
            "order": dict(self.order),
            "chance": self.chance,
            "protocol": self.protocol,
            "axes": {k: [a.kind, a.clean, a.unit] for k, a in self.axes.items()},
        }
        arrays: dict[str, Any] = {"header": np.array(json.dumps(header)), "identity": self.identity}
        arrays |= {f"group{i}": v for i, v in enumerate(self.groups.values())}
        arrays |= {f"hits{i}": v for i, v in enumerate(self.hits.values())}
        arrays |= {f"trials{i}": self.trials[k] for i, k in enumerate(self.hits)}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        write_atomically(path, buffer.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Counts":
        """Reads what ``save`` wrote.

        Raises:
            ValueError: if the file is no such npz, or of a newer version.
        """
        try:
            with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
                arrays = {k: file[k] for k in file.files}
            header = json.loads(str(arrays["header"]))
            if header.get("format") != FORMAT or header.get("version", 0) > VERSION:
                got = f"{header.get('format')} {header.get('version')}"
                raise ValueError(f"it must be {FORMAT} {VERSION}, got {got}")
            return cls._parse(header, arrays)
        except SPOILT as error:
            raise ValueError(f"{os.fspath(path)} is no file of counts: {error}") from error

    @classmethod
    def _parse(cls, header: Mapping[str, Any], arrays: Mapping[str, Any]) -> "Counts":
        return cls(
            identity=arrays["identity"],
            groups={k: arrays[f"group{i}"] for i, k in enumerate(header["attributes"])},
            cells=tuple(Cell(str(p), float(s), float(u)) for p, s, u in header["cells"]),
            hits={k: arrays[f"hits{i}"] for i, k in enumerate(header["measures"])},
            trials={k: arrays[f"trials{i}"] for i, k in enumerate(header["measures"])},
            response=tuple(header["response"]),
            order=header["order"],
            chance=float(header["chance"]),
            protocol=str(header["protocol"]),
            axes={k: Axis(str(a), float(c), str(u)) for k, (a, c, u) in header["axes"].items()},
        )


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes a file under a temporary name beside it, then renames: all of it or nothing."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, 0o644)
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def crossings(groupings: Iterable[str | Sequence[str]]) -> tuple[str, ...]:
    """Names of groupings, each once, in the order given."""
    return tuple(dict.fromkeys(grouping_name(g) for g in groupings))

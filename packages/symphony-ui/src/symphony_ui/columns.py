"""Columns as a page holds them: few kinds, one way of missing, nothing that a browser bends."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from symphony_ui.errors import ColumnError

Kind = Literal["number", "category", "bool", "time", "text", "media"]
Mask = NDArray[np.bool_]
EXACT = 2**53  # float64 holds every integer up to here
FEW = 20  # this many different texts are always a category
MANY = 1000  # and more than this many never are
LONG = 80  # texts longer than this on average are text


class SymphonyWarning(UserWarning):
    """Input that is legal and looks wrong."""


@dataclass(frozen=True, eq=False)
class Column:
    """One column.

    ``values`` by kind: ``number`` float32, float64 or int32 (a missing number is NaN);
    ``time`` float64 epoch milliseconds UTC (NaN); ``bool`` int8 (-1); ``category`` int32 codes
    into ``labels`` (-1); ``text`` objects (None), or int64 and uint64 with ``gaps`` for integers
    that no float64 holds. A column of media holds none of them.
    """

    name: str
    kind: Kind
    dtype: str
    values: NDArray[Any]
    rows: int
    labels: tuple[str, ...] = ()
    gaps: Mask | None = None
    zone: str | None = None
    url: bool = False
    integer: bool = False
    media: Mapping[str, Any] | None = field(default=None)

    @property
    def big(self) -> bool:
        """Whether this is text that holds integers, compared as integers."""
        return self.kind == "text" and self.values.dtype.kind in "iu"

    @cached_property
    def missing(self) -> Mask:
        """True where the row has no value, ``(N,)``."""
        if self.gaps is not None:
            return self.gaps
        if self.kind in ("category", "bool"):
            return self.values < 0
        if self.values.dtype == object:
            return np.fromiter((v is None for v in self.values), dtype=bool, count=self.rows)
        return np.isnan(self.values) if self.values.dtype.kind == "f" else np.zeros(self.rows, bool)

    @cached_property
    def extent(self) -> tuple[float, float] | None:
        """The least and the greatest finite value of a number or time."""
        if self.kind not in ("number", "time"):
            return None
        finite = self.values[np.isfinite(self.values)]
        return (float(finite.min()), float(finite.max())) if len(finite) else None

    @cached_property
    def levels(self) -> int | None:
        """How many different values there are, where that is cheap to say."""
        if self.kind == "category":
            return len(np.unique(self.values[self.values >= 0]))
        if self.kind == "bool":
            return 2
        if self.kind == "number":
            return len(np.unique(self.values[~self.missing]))
        return None

    def cells(self, rows: NDArray[np.int64] | slice = slice(None)) -> list[Any]:
        """The values of some rows as they travel in JSON: None where missing."""
        values, gone = self.values[rows], self.missing[rows]
        if self.kind == "category":
            return [self.labels[code] if code >= 0 else None for code in values]
        if self.kind == "bool":
            return [None if v < 0 else bool(v) for v in values]
        if self.big:
            return [None if m else str(v) for v, m in zip(values.tolist(), gone, strict=True)]
        if self.kind == "text":
            return list(values)
        return [None if m else number(v) for v, m in zip(values.tolist(), gone, strict=True)]

    def empty(self) -> "Column":
        """The column without its rows, to try things on."""
        gaps = None if self.gaps is None else self.gaps[:0]
        return replace(self, values=self.values[:0], rows=0, gaps=gaps)

    def spec(self) -> dict[str, Any]:
        """What the browser is told of this column."""
        return {
            "name": self.name,
            "kind": self.kind,
            "dtype": self.dtype,
            "integer": self.integer,
            "zone": self.zone,
            "url": self.url,
            "levels": self.levels,
            "extent": list(self.extent) if self.extent else None,
            "media": dict(self.media) if self.media else None,
        }


def number(value: float) -> float | str:
    """A number as JSON can hold it."""
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def of_floats(name: str, values: NDArray[Any]) -> Column:
    """A column of floats; float16 becomes float32, longer than float64 becomes float64."""
    dtype = values.dtype.name
    kept = np.float32 if values.dtype.itemsize <= 4 else np.float64
    return Column(name, "number", dtype, np.ascontiguousarray(values, dtype=kept), len(values))


def of_integers(name: str, values: NDArray[Any], gaps: Mask | None = None) -> Column:
    """A column of integers: int32 if they fit, float64 where it holds them all, else text."""
    dtype, rows = values.dtype.name, len(values)
    gaps = gaps if gaps is not None and gaps.any() else None
    here = values if gaps is None else values[~gaps]
    lo, hi = (int(here.min()), int(here.max())) if len(here) else (0, 0)
    if max(-lo, hi) > EXACT:
        kept = values if gaps is None else np.where(gaps, 0, values)
        wide = np.uint64 if hi > np.iinfo(np.int64).max else np.int64
        none = np.zeros(rows, bool) if gaps is None else gaps
        return Column(name, "text", np.dtype(wide).name, kept.astype(wide), rows, gaps=none)
    if gaps is not None:
        kept = np.where(gaps, np.nan, values.astype(np.float64))
    elif lo >= -(2**31) and hi < 2**31:
        kept = values.astype(np.int32)
    else:
        kept = values.astype(np.float64)
    return Column(name, "number", dtype, kept, rows, integer=True)


def of_bools(name: str, values: NDArray[Any], gaps: Mask | None = None) -> Column:
    """A column of bools."""
    codes = values.astype(np.int8)
    if gaps is not None:
        codes = np.where(gaps, np.int8(-1), codes)
    return Column(name, "bool", "bool", codes, len(codes))


def of_times(name: str, values: NDArray[Any], zone: str | None = None) -> Column:
    """A column of ``datetime64``, taken as UTC; ``zone`` is for display."""
    ms = values.astype("datetime64[ms]")
    kept = ms.astype(np.int64).astype(np.float64)
    kept[np.isnat(ms)] = np.nan
    return Column(name, "time", values.dtype.name, kept, len(values), zone=zone)


def of_texts(
    name: str, values: Sequence[str | None], *, kind: str | None = None, dtype: str = "string"
) -> Column:
    """A column of texts: a category where few differ, else text.

    Args:
        name: of the column.
        values: a text or None a row.
        kind: "category", "text" or "url" where the caller knows.
        dtype: what the column was.
    """
    rows = len(values)
    texts = [None if v is None else clean(v) for v in values]
    if kind in (None, "category"):
        place: dict[str, int] = {}
        codes = np.empty(rows, dtype=np.int32)
        for row, text in enumerate(texts):
            codes[row] = -1 if text is None else place.setdefault(text, len(place))
        if kind == "category" or _is_category(place, rows):
            return Column(name, "category", dtype, codes, rows, labels=tuple(place))
    kept = np.empty(rows, dtype=object)
    kept[:] = texts
    return Column(name, "text", dtype, kept, rows, url=kind == "url")


def _is_category(found: Mapping[str, int], rows: int) -> bool:
    if len(found) <= FEW:
        return sum(map(len, found)) <= LONG * len(found)
    return len(found) <= min(MANY, rows / 2) and sum(map(len, found)) <= LONG * len(found)


def clean(text: str) -> str:
    """The text without lone surrogates, which no UTF-8 holds."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def of_codes(name: str, codes: NDArray[Any], labels: Iterable[Any], dtype: str) -> Column:
    """A category from codes (-1 missing) and labels; labels that are not text are texts of it."""
    names = [clean(str(label)) for label in labels]
    if len(set(names)) != len(names):
        raise ColumnError(f"column {name!r}: two categories have the same text")
    return Column(name, "category", dtype, codes.astype(np.int32), len(codes), labels=tuple(names))


def warn(message: str) -> None:
    """Tells the user of something suspicious, at the line that called this package."""
    warnings.warn(message, SymphonyWarning, stacklevel=_outside())


def _outside() -> int:
    """How many frames up the first caller outside this package is."""
    import sys

    depth = 1
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("symphony_ui"):
        frame = frame.f_back
        depth += 1
    return depth

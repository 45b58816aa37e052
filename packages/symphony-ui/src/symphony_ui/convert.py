"""Raw columns to the kinds that a page knows."""

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

import numpy as np
from arro3.core import Array, DataType
from numpy.typing import NDArray

from symphony_ui.arrow import codes, primitive
from symphony_ui.columns import (
    Column,
    Mask,
    of_bools,
    of_codes,
    of_floats,
    of_integers,
    of_texts,
    of_times,
)
from symphony_ui.data import Coded, Zoned
from symphony_ui.errors import ColumnError

KINDS = ("number", "category", "bool", "time", "text", "url")
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Nested:
    """A column that no chart can hold: vectors, media, structs; kept in Python."""

    values: Any
    what: str  #: what it holds, in words


@dataclass(frozen=True)
class Converted:
    """A column, and what there is to say of it."""

    column: Column | Nested
    note: str | None = None


def convert(name: str, raw: Any, kind: str | None = None) -> Converted:
    """The column that a page makes of a raw one.

    Args:
        name: of the column.
        raw: numpy, a list, an Arrow array, or codes.
        kind: what the user says it is; None lets the values decide.

    Raises:
        ColumnError: if the column is complex, or is not what the user says.
    """
    if kind is not None and kind not in KINDS:
        raise ColumnError(f"the kind of {name!r} must be one of {', '.join(KINDS)}, got {kind!r}")
    made = _convert(name, raw, kind)
    if kind is None or isinstance(made.column, Nested):
        return made
    if made.column.kind == ("text" if kind == "url" else kind):
        return made
    if kind in ("category", "text", "url"):
        texts = [None if v is None else str(v) for v in made.column.cells()]
        return Converted(of_texts(name, texts, kind=kind, dtype=made.column.dtype), made.note)
    raise ColumnError(f"column {name!r} is {made.column.kind} and cannot be shown as {kind}")


def _convert(name: str, raw: Any, kind: str | None) -> Converted:
    if isinstance(raw, Zoned):
        return Converted(of_times(name, raw.values, raw.zone))
    if isinstance(raw, Coded):
        labels = [str(label) for label in raw.labels]
        return Converted(of_codes(name, raw.codes, labels, "category"))
    if isinstance(raw, Array):
        return _of_arrow(name, raw, kind)
    if isinstance(raw, np.ndarray) and raw.dtype != object:
        return _of_numpy(name, raw, kind)
    return _of_objects(name, list(raw), kind)


def _of_numpy(name: str, raw: NDArray[Any], kind: str | None) -> Converted:
    if raw.ndim != 1:
        return Converted(Nested(raw, f"arrays of shape {raw.shape[1:]}"))
    gaps = None
    if isinstance(raw, np.ma.MaskedArray):
        gaps = np.ma.getmaskarray(raw)
        raw = raw.data
    form = raw.dtype.kind
    if not raw.dtype.isnative:
        raw = raw.astype(raw.dtype.newbyteorder("="))
    if form == "c":
        raise ColumnError(f"column {name!r} is complex: pass its real part, or its modulus")
    if form == "f":
        return Converted(of_floats(name, raw if gaps is None else np.where(gaps, np.nan, raw)))
    if form in "iu":
        return Converted(of_integers(name, raw, gaps))
    if form == "b":
        return Converted(of_bools(name, raw, gaps))
    if form == "M":
        return Converted(
            of_times(name, raw if gaps is None else np.where(gaps, np.datetime64("NaT"), raw))
        )
    if form == "m":
        return _seconds(name, raw, gaps)
    if form == "S":
        return Converted(Nested(raw.tolist(), "bytes"))
    if form in "UT":
        texts = [None if gaps is not None and gaps[k] else str(v) for k, v in enumerate(raw)]
        return Converted(of_texts(name, texts, kind=kind))
    return Converted(Nested(raw, f"values of dtype {raw.dtype}"))


def _seconds(name: str, raw: NDArray[Any], gaps: Mask | None) -> Converted:
    seconds = raw / np.timedelta64(1, "s")
    if gaps is not None:
        seconds = np.where(gaps, np.nan, seconds)
    column = of_floats(name, seconds.astype(np.float64))
    return Converted(column, f"The durations of {name} are shown in seconds.")


def _of_arrow(name: str, raw: Array, kind: str | None) -> Converted:
    form = raw.type
    if DataType.is_dictionary(form):
        if form.value_type is not None and DataType.is_string(form.value_type):
            at, labels = codes(raw)
            return Converted(of_codes(name, at, labels, "dictionary"))
        return _of_objects(name, list(raw.to_pylist()), kind)
    if DataType.is_boolean(form):
        return Converted(of_bools(name, *primitive(raw)))
    if DataType.is_integer(form):
        return Converted(of_integers(name, *primitive(raw)))
    if DataType.is_decimal(form):
        raw, form = raw.cast(DataType.float64()), DataType.float64()
    if DataType.is_floating(form):
        values, gaps = primitive(raw)
        return Converted(
            of_floats(name, values if gaps is None else np.where(gaps, np.nan, values))
        )
    if DataType.is_timestamp(form) or DataType.is_date(form):
        zone, unit = (form.tz, form.time_unit) if DataType.is_timestamp(form) else (None, None)
        if unit not in ("us", "ns"):  # of finer ones Arrow's cast would round towards 1970
            raw, unit = raw.cast(DataType.timestamp("ms", tz=zone)), "ms"
        values, gaps = primitive(raw.cast(DataType.int64()))
        times = values.astype(f"datetime64[{unit}]").astype("datetime64[ms]")
        if gaps is not None:
            times[gaps] = np.datetime64("NaT")
        return Converted(of_times(name, times, zone))
    if DataType.is_duration(form):
        unit = np.timedelta64(1, form.time_unit or "s")
        values, gaps = primitive(raw.cast(DataType.int64()))
        return _seconds(name, values * unit, gaps)
    return _of_objects(name, list(raw.to_pylist()), kind)


def _of_objects(name: str, raw: list[Any], kind: str | None) -> Converted:
    """A column of Python objects: their types decide."""
    values = [None if _gone(v) else v for v in raw]
    forms = {_form(v) for v in values if v is not None}
    gaps = np.fromiter((v is None for v in values), dtype=bool, count=len(values))
    if not forms:
        return Converted(of_floats(name, np.full(len(values), np.nan, dtype=np.float32)))
    if forms == {"bool"}:
        return Converted(of_bools(name, np.array([bool(v) for v in values]), gaps))
    if forms == {"int"}:
        return _of_python_ints(name, values, gaps)
    if forms <= {"int", "float"}:
        return Converted(
            of_floats(name, np.array([np.nan if v is None else float(v) for v in values]))
        )
    if forms == {"text"}:
        return Converted(of_texts(name, values, kind=kind))
    if forms == {"time"}:
        return Converted(_of_python_times(name, values))
    if forms == {"duration"}:
        seconds = [np.nan if v is None else v / dt.timedelta(seconds=1) for v in values]
        note = f"The durations of {name} are shown in seconds."
        return Converted(of_floats(name, np.array(seconds)), note)
    if "complex" in forms:
        raise ColumnError(f"column {name!r} is complex: pass its real part, or its modulus")
    if "nested" in forms:
        first = next(v for v in values if v is not None and _form(v) == "nested")
        return Converted(Nested(values, f"{type(first).__name__} objects"))
    texts = of_texts(
        name, [None if v is None else str(v) for v in values], kind=kind, dtype="object"
    )
    if len(forms) == 1:
        return Converted(texts)
    mixed = f"Column {name} mixes {' and '.join(sorted(forms))}: it is shown as text."
    return Converted(texts, mixed)


def _gone(value: Any) -> bool:
    """Whether a value is None, NaN, NaT or pandas.NA."""
    if value is None:
        return True
    if isinstance(value, (str, bytes, int, list, dict, np.ndarray)):
        return False
    try:
        return bool(value != value)
    except (TypeError, ValueError, RuntimeError):
        return type(value).__name__ == "NAType"


def _form(value: Any) -> str:
    if isinstance(value, str):
        return "text"
    if isinstance(value, (bool, np.bool_)):
        return "bool"
    if isinstance(value, Integral):
        return "int"
    if isinstance(value, (Real, Decimal)):
        return "float"
    if isinstance(value, (complex, np.complexfloating)):
        return "complex"
    if isinstance(value, (dt.date, np.datetime64)):
        return "time"
    if isinstance(value, (dt.timedelta, np.timedelta64)):
        return "duration"
    nested = (bytes, bytearray, memoryview, list, tuple, dict, set, np.ndarray)
    if isinstance(value, nested) or hasattr(value, "__array__") or hasattr(value, "tobytes"):
        return "nested"
    return type(value).__name__


def _of_python_ints(name: str, values: list[Any], gaps: Mask) -> Converted:
    whole = [0 if v is None else int(v) for v in values]
    for dtype in (np.int64, np.uint64):
        try:
            return Converted(of_integers(name, np.array(whole, dtype=dtype), gaps))
        except OverflowError:
            continue
    texts = [None if v is None else str(v) for v in values]
    note = f"Column {name} holds integers beyond 64 bits: it is shown as text."
    return Converted(of_texts(name, texts, kind="text", dtype="object"), note)


def milliseconds(value: Any) -> float:
    """UTC epoch milliseconds of a date or time; a time without a zone is UTC."""
    if isinstance(value, np.datetime64):
        return float(value.astype("datetime64[ms]").astype(np.int64))
    if not isinstance(value, dt.datetime):
        value = dt.datetime(value.year, value.month, value.day)
    if value.tzinfo is None:
        value = value.replace(tzinfo=dt.UTC)
    return float((value - EPOCH) // dt.timedelta(milliseconds=1))


def _of_python_times(name: str, values: list[Any]) -> Column:
    zones = {str(v.tzinfo) for v in values if isinstance(v, dt.datetime) and v.tzinfo}
    ms = [np.nan if v is None else milliseconds(v) for v in values]
    zone = zones.pop() if len(zones) == 1 else None
    return Column(name, "time", "datetime", np.array(ms, dtype=np.float64), len(ms), zone=zone)

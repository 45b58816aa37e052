"""Any table as columns: frames, mappings, records, Arrow, files."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from arro3.core import Array, DataType, Table
from numpy.typing import NDArray

from symphony_ui.bounds import check_arrow
from symphony_ui.columns import clean
from symphony_ui.errors import ColumnError, FormatError, SymphonyError
from symphony_ui.footer import check_parquet

READABLE = (
    ".parquet",
    ".csv",
    ".tsv",
    ".arrow",
    ".feather",
    ".arrows",
    ".jsonl",
    ".ndjson",
    ".npz",
)


@dataclass(frozen=True)
class Source:
    """The raw columns of a table, and how to get rows of it back in its own type."""

    columns: dict[str, Any]
    rows: int
    take: Callable[[NDArray[np.int64]], Any]
    notes: tuple[str, ...] = ()


def read(data: Any) -> Source:
    """The columns of a table, as they came.

    Args:
        data: a data frame (pandas, polars, pyarrow, anything with the Arrow C stream), a mapping
            of columns, a list of mappings, a structured array, an object with ``to_table()``, or
            the path of a Parquet, CSV, Arrow, JSON Lines or npz file.

    Raises:
        SymphonyError: if it is none of these.
        ColumnError: if columns differ in length or share a name.
    """
    if isinstance(data, (str, os.PathLike)):
        return read(read_file(Path(data)))
    if hasattr(data, "to_table") and not hasattr(data, "__arrow_c_stream__"):
        return read(data.to_table())
    if isinstance(data, Mapping):
        return _of_mapping(data)
    if isinstance(data, np.ndarray):
        return _of_array(data)
    if _is_pandas(data):
        return _of_pandas(data)
    if hasattr(data, "__arrow_c_stream__"):
        return _of_arrow(data)
    if isinstance(data, Sequence):
        return _of_records(data)
    return _of_narwhals(data)


def _named(names: Sequence[Any]) -> tuple[list[str], tuple[str, ...]]:
    """Column names as text, all different, with a note where some were not text."""
    texts = [clean(str(name)) for name in names]
    for k, name in enumerate(texts):
        if name in texts[:k]:
            raise ColumnError(f"two columns are named {name!r}: rename one")
        if "\0" in name:  # Arrow's C interface ends names there, and aborts
            raise ColumnError(f"the name of column {name!r} holds NUL: rename it")
    odd = [text for text, name in zip(texts, names, strict=True) if not isinstance(name, str)]
    note = f"The names of {len(odd)} columns are no text and were made so: {', '.join(odd[:5])}."
    return texts, (note,) if odd else ()


def _source(
    names: Sequence[Any], columns: Sequence[Any], take: Callable[[NDArray[np.int64]], Any]
) -> Source:
    texts, notes = _named(names)
    lengths = [len(column) for column in columns]
    if len(set(lengths)) > 1:
        listed = ", ".join(f"{n!r} {c}" for n, c in list(zip(texts, lengths, strict=True))[:6])
        raise ColumnError(f"columns must be of equal length, got {listed}")
    return Source(dict(zip(texts, columns, strict=True)), lengths[0] if lengths else 0, take, notes)


def _of_mapping(data: Mapping[Any, Any]) -> Source:
    for name, column in data.items():
        if isinstance(column, (str, bytes, Mapping)) or not hasattr(column, "__len__"):
            raise ColumnError(f"column {name!r} must be a list or an array, got {_type(column)}")
    raw = [_plain(column) for column in data.values()]

    def take(rows: NDArray[np.int64]) -> dict[Any, Any]:
        return {name: _some(column, rows) for name, column in data.items()}

    return _source(list(data), raw, take)


def _plain(column: Any) -> Any:
    """A column of a mapping as numpy, a list or an Arrow array."""
    if isinstance(column, (np.ndarray, list)):
        return column
    if hasattr(column, "detach"):  # a torch tensor
        return np.asarray(column.detach().cpu())
    if _is_pandas(column):
        return _pandas_values(column)
    if hasattr(column, "__arrow_c_stream__") or hasattr(column, "__arrow_c_array__"):
        return _one_array(column)
    if hasattr(column, "__array__"):
        return np.asarray(column)
    return list(column)


def _one_array(column: Any) -> Array:
    if hasattr(column, "__arrow_c_array__"):
        return Array.from_arrow(column)
    from arro3.core import ChunkedArray

    return ChunkedArray.from_arrow(column).combine_chunks()


def _some(column: Any, rows: NDArray[np.int64]) -> Any:
    """Some rows of a column in the column's own type."""
    if isinstance(column, np.ndarray) or hasattr(column, "detach"):
        return column[rows]
    if hasattr(column, "iloc"):
        return column.iloc[rows]
    if hasattr(column, "gather"):
        return column.gather(rows)
    return [column[int(row)] for row in rows]


def _of_array(data: NDArray[Any]) -> Source:
    if data.dtype.names is None or data.ndim != 1:
        raise SymphonyError(
            f"an array must be structured with one row an entry, got dtype {data.dtype} of shape "
            f"{data.shape}: pass a mapping such as {{'name': array}}"
        )
    names = data.dtype.names
    return _source(names, [data[name] for name in names], lambda rows: data[rows])


def _of_records(data: Sequence[Any]) -> Source:
    names: dict[Any, None] = {}
    for k, row in enumerate(data):
        if not isinstance(row, Mapping):
            raise SymphonyError(f"a list must hold mappings, one a row, got {_type(row)} at {k}")
        names.update(dict.fromkeys(row))
    columns = [[row.get(name) for row in data] for name in names]
    return _source(list(names), columns, lambda rows: [data[int(row)] for row in rows])


def _is_pandas(data: Any) -> bool:
    return type(data).__module__.split(".")[0] in ("pandas", "modin") and hasattr(data, "iloc")


def _of_pandas(data: Any) -> Source:
    if data.ndim != 2:
        raise SymphonyError(f"data must be a table, got {_type(data)}: pass its to_frame()")
    columns = [_pandas_values(data.iloc[:, k]) for k in range(data.shape[1])]
    return _source(list(data.columns), columns, lambda rows: data.iloc[rows])


def _pandas_values(series: Any) -> Any:
    """A pandas series as numpy, or with its time zone, or as codes and categories."""
    name = str(series.dtype)
    if name.startswith("datetime64[") and "," in name:
        zone = name.split(",", 1)[1].strip(" ]")
        return Zoned(series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(), zone)
    if name == "category":
        return Coded(np.asarray(series.cat.codes), list(series.cat.categories))
    if not isinstance(series.dtype, np.dtype) and series.dtype.kind in "iub":  # nullable
        gaps = np.asarray(series.isna())
        return np.ma.masked_array(
            series.fillna(series.dtype.type(0)).to_numpy(dtype=_numpy_type(name)), gaps
        )
    return np.asarray(series)


def _numpy_type(name: str) -> str:
    """``Int64``, ``uint8[pyarrow]``, ``boolean`` as numpy calls them."""
    plain = name.lower().split("[")[0]
    return "bool" if plain.startswith("bool") else plain


@dataclass(frozen=True)
class Zoned:
    """UTC times and the zone that they are shown in."""

    values: NDArray[Any]
    zone: str

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Coded:
    """Codes (-1 missing) and what they stand for."""

    codes: NDArray[Any]
    labels: list[Any]

    def __len__(self) -> int:
        return len(self.codes)


def _of_arrow(data: Any) -> Source:
    if type(data).__module__.split(".")[0] == "ibis":
        raise SymphonyError("an Ibis expression stays where it is: pass symphony_ui.Ibis(expr)")
    try:
        table = Table.from_arrow(data).combine_chunks()
    except Exception:  # polars exports columns without a type as arro3 does not read them
        return _of_narwhals(data)
    columns: list[Any] = [_one_array(table.column(k)) for k in range(table.num_columns)]
    if not table.num_rows:
        columns = [_nothing(field.type) for field in table.schema]

    def take(rows: NDArray[np.int64]) -> Any:
        import narwhals

        try:
            return narwhals.from_native(data, eager_only=True)[rows.tolist()].to_native()
        except TypeError:  # a relation or a stream: it has no rows of its own any more
            at = Array.from_numpy(np.ascontiguousarray(rows))
            return Table.from_arrays([c.take(at) for c in columns], names=table.column_names)

    return _source(table.column_names, columns, take)


def _nothing(kind: DataType) -> Any:
    """A column of no rows."""
    if DataType.is_dictionary(kind):
        return Coded(np.zeros(0, dtype=np.int32), [])
    none: list[Any] = []
    return none if DataType.is_null(kind) else Array(none, type=kind)


def _of_narwhals(data: Any) -> Source:
    import narwhals

    try:
        frame = narwhals.from_native(data)
    except TypeError as error:
        raise SymphonyError(
            f"data must be a data frame, a mapping of columns, a list of mappings, a structured "
            f"array, a path or have to_table(), got {_type(data)}"
        ) from error
    if isinstance(frame, narwhals.LazyFrame):
        frame = frame.collect()
    columns = [
        s.to_list() if s.null_count() else np.asarray(s.to_numpy()) for s in frame.iter_columns()
    ]
    return _source(frame.columns, columns, lambda rows: frame[rows.tolist()].to_native())


def read_file(path: Path) -> Any:
    """The table of a file, by its ending.

    Raises:
        FormatError: if it cannot be read.
    """
    if not path.is_file():
        raise FormatError(f"{path} is no file")
    ending = path.suffix.lower()
    if ending not in READABLE:
        raise FormatError(f"{path} is none of {', '.join(READABLE)}")
    try:
        return _read_file(path, ending)
    except BaseException as error:  # arro3's panics are no Exception
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        why = str(error)[:300] or f"{type(error).__name__}, a part of it"
        raise FormatError(f"{path} cannot be read as {ending}: {why}") from error


def _read_file(path: Path, ending: str) -> Any:
    from arro3 import io

    if ending == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    if ending == ".parquet":
        check_parquet(path)
        return io.read_parquet(path, batch_size=2**17).read_all()
    if ending in (".csv", ".tsv"):
        options: dict[str, Any] = {
            "has_header": True,
            "delimiter": "\t" if ending == ".tsv" else ",",
        }
        schema = io.infer_csv_schema(path, **options)
        return io.read_csv(path, schema, **options).read_all()
    if ending in (".jsonl", ".ndjson"):
        table = io.read_json(path, io.infer_json_schema(path)).read_all()
        return table.select(_first_seen(path, table.column_names))
    return (io.read_ipc if check_arrow(path) else io.read_ipc_stream)(path).read_all()


def _first_seen(path: Path, names: Sequence[str]) -> list[str]:
    """The columns of JSON Lines in the order in which its lines name them, which arro3 sorts."""
    seen: dict[str, None] = {}
    with path.open("rb") as lines:
        for line in lines:
            if seen.keys() >= set(names):
                break
            seen.update(dict.fromkeys(json.loads(line) if line.strip() else ()))
    return [*(name for name in seen if name in names), *(n for n in names if n not in seen)]


def _type(value: Any) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"

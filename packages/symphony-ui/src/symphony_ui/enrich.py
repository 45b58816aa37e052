"""A table's file with the columns of its analyses added, as another file."""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from arro3.core import Array, DataType, Table, fixed_size_list_array, list_flatten, list_offsets
from arro3.io import write_ipc, write_parquet
from numpy.typing import NDArray

from symphony_ui.analysis import analyze
from symphony_ui.analysis.analyze import Analysis
from symphony_ui.arrow import primitive
from symphony_ui.data import read_file
from symphony_ui.errors import ColumnError, FormatError
from symphony_ui.files import replace_file

WRITTEN = (".parquet", ".arrow", ".feather")


def enrich(
    table: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    vectors: Sequence[str],
    label: str | None = None,
    pred: str | None = None,
    **options: Any,
) -> Analysis:
    """Writes a file's table with the columns of its analyses; the analyses.

    Args:
        table: the path of a table, as ``Page`` reads it.
        output: a path that ends in ``.parquet``, ``.arrow`` or ``.feather``.
        vectors: the columns that hold one vector a row.
        label: the column of true classes.
        pred: the column of predicted classes.
        options: of ``analyze``.

    Raises:
        ColumnError: if a column is not there, or holds no vectors or classes.
        FormatError: if the table cannot be read, or the output has another ending.
    """
    if (ending := Path(output).suffix.lower()) not in WRITTEN:
        raise FormatError(f"{output} is written as none of {', '.join(WRITTEN)}")
    arrays = _arrays(read_file(Path(table)))
    given: dict[str, Any] = {}
    for name in [*vectors, *(name for name in (label, pred) if name is not None)]:
        if name not in arrays:
            raise ColumnError(f"no column {name!r}: the table has {', '.join(arrays) or 'none'}")
        given[name] = matrix_of(arrays[name], name) if name in vectors else _classes(arrays[name])
    found = analyze(given, embedding=vectors, label=label, pred=pred, **options)
    added = {name: _array(column) for name, column in found.table.items() if name not in given}
    arrays |= {name: array for name, array in added.items() if array is not None}
    whole = Table.from_arrays(list(arrays.values()), names=list(arrays))
    file = io.BytesIO()
    (write_parquet if ending == ".parquet" else write_ipc)(whole, file)
    replace_file(output, file.getvalue())
    return found


def _arrays(data: Any) -> dict[str, Array]:
    """The columns of a file as Arrow; what of an npz is neither column nor vectors is left out."""
    if isinstance(data, dict):
        found = {name: _array(column) for name, column in data.items()}
        return {name: array for name, array in found.items() if array is not None}
    whole = data.combine_chunks()
    return {name: whole.column(name).combine_chunks() for name in whole.column_names}


def _array(values: NDArray[Any]) -> Array | None:
    """A column ``(N,)`` or vectors ``(N, D)`` as Arrow; None for arrays of other shapes."""
    if values.ndim == 2 and values.shape[1] and values.dtype.kind in "iuf":
        flat = Array.from_numpy(np.ascontiguousarray(values).reshape(-1))
        return fixed_size_list_array(flat, values.shape[1])
    if values.ndim != 1:
        return None
    if values.dtype.kind in "iufb":
        return Array.from_numpy(np.ascontiguousarray(values))
    return Array([str(value) for value in values.tolist()], type=DataType.utf8())


def matrix_of(array: Array, name: str) -> NDArray[Any]:
    """The matrix ``(N, D)`` of an Arrow array of lists of numbers.

    Raises:
        ColumnError: if they are no vectors of one length.
    """
    kind = array.type
    fixed = DataType.is_fixed_size_list(kind)
    if not fixed and not DataType.is_list(kind) and not DataType.is_large_list(kind):
        raise ColumnError(f"column {name!r} must hold vectors, lists of numbers; it holds {kind}")
    flat = list_flatten(array)
    if not DataType.is_numeric(flat.type) or array.null_count or flat.null_count:
        raise ColumnError(f"column {name!r} must hold vectors of numbers without gaps: {kind}")
    rows, values = len(array), primitive(flat)[0]
    if not fixed:
        sizes = np.unique(np.diff(primitive(list_offsets(array))[0]))
        if len(sizes) > 1:
            raise ColumnError(
                f"column {name!r} must hold vectors of one length, got {sizes[0]} to {sizes[-1]}"
            )
    if not rows or not len(values):
        raise ColumnError(f"column {name!r} holds no vectors: there are {rows} rows")
    return values.reshape(rows, -1)


def _classes(array: Array) -> list[Any]:
    return list(array.to_pylist())

"""Tables as the analyses see them: named columns of equal length."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from arro3.core import Array, DataType, Table
from numpy.typing import NDArray

from symphony_ui.errors import ColumnError


def columns(table: Any) -> dict[str, Any]:
    """The columns of a mapping, of an object with ``to_table()``, or of a data frame."""
    if hasattr(table, "to_table"):
        table = table.to_table()
    if isinstance(table, Table):
        pairs = zip(table.column_names, table.columns, strict=True)
        table = {name: _values(column.combine_chunks()) for name, column in pairs}
    if not isinstance(table, Mapping):
        import narwhals

        try:
            frame = narwhals.from_native(table, eager_only=True)
        except TypeError as error:
            raise ColumnError(
                f"table must be a mapping of columns, a data frame or have to_table(), "
                f"got {type(table).__name__}"
            ) from error
        table = {name: frame[name].to_numpy() for name in frame.columns}
    found = {str(name): values for name, values in table.items()}
    lengths = {name: len(values) for name, values in found.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name!r} {length}" for name, length in list(lengths.items())[:5])
        raise ColumnError(f"columns must be of equal length, got {listed}")
    return found


def _values(array: Array) -> NDArray[Any]:
    """An Arrow array as numpy; what numpy has no type for as objects."""
    values = array.to_pylist()
    plain = DataType.is_numeric(array.type) and not array.null_count
    if plain:
        return np.array(values)
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out


def pick(table: Mapping[str, Any], name: str) -> Any:
    """The column of that name, or an error that lists what there is."""
    if name not in table:
        listed = ", ".join(map(repr, list(table)[:10])) + (", ..." if len(table) > 10 else "")
        raise ColumnError(f"no column {name!r}: the table has {listed or 'no columns'}")
    return table[name]


def vectors(table: Mapping[str, Any], name: str) -> NDArray[Any]:
    """The column of that name as a matrix ``(N, D)``: one array, or one vector a row."""
    values = pick(table, name)
    array = np.asarray(values) if hasattr(values, "dtype") else np.empty(0)
    if array.ndim == 2:
        return array
    rows = [np.asarray(vector) for vector in values]
    shapes = {vector.shape for vector in rows}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        listed = ", ".join(map(str, sorted(shapes)[:4])) or "no rows"
        raise ColumnError(f"column {name!r} must hold vectors of one length, got {listed}")
    return np.stack(rows)

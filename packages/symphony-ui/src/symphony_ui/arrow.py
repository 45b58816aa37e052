"""Arrow in and out: columns of any Arrow table as numpy, and the IPC streams that pages hold."""

import ctypes
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from arro3.core import Array, DataType, Table, dictionary_dictionary, dictionary_indices
from arro3.io import read_ipc_stream, write_ipc_stream
from numpy.typing import NDArray

from symphony_ui.columns import Column, Mask
from symphony_ui.errors import FormatError


class _CArray(ctypes.Structure):
    """The head of ``ArrowArray`` of the Arrow C data interface."""

    _fields_ = (
        ("length", ctypes.c_int64),
        ("null_count", ctypes.c_int64),
        ("offset", ctypes.c_int64),
        ("n_buffers", ctypes.c_int64),
        ("n_children", ctypes.c_int64),
        ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    )


_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype = ctypes.c_void_p
_pointer.argtypes = (ctypes.py_object, ctypes.c_char_p)


def _bytes_at(address: int, start: int, count: int) -> NDArray[np.uint8]:
    """A copy of ``count`` bytes from ``start`` bytes after an address."""
    if not count:
        return np.zeros(0, np.uint8)
    return np.ctypeslib.as_array((ctypes.c_uint8 * count).from_address(address + start)).copy()


def _bits_at(address: int, start: int, count: int) -> Mask:
    first = start // 8
    raw = _bytes_at(address, first, (start + count + 7) // 8 - first)
    bits = np.unpackbits(raw, bitorder="little")[start - 8 * first :][:count]
    return bits.astype(bool)


def primitive(array: Array) -> tuple[NDArray[Any], Mask | None]:
    """The values and the gaps (None: no gap) of an Arrow array of fixed width; gaps hold anything.

    arro3 gives numpy no array with nulls, so the buffers are read where Arrow's C interface says
    that they are.
    """
    _, capsule = array.__arrow_c_array__()
    head = _CArray.from_address(_pointer(capsule, b"arrow_array"))
    n, start = head.length, head.offset
    gaps = None
    if array.null_count and head.buffers[0]:
        gaps = ~_bits_at(head.buffers[0], start, n)
    at = head.buffers[1]
    if not n or not at:
        return np.zeros(n, _dtype(array.type)), gaps
    if DataType.is_boolean(array.type):
        return _bits_at(at, start, n), gaps
    dtype = _dtype(array.type)
    size = dtype.itemsize
    return _bytes_at(at, start * size, n * size).view(dtype), gaps


def _dtype(kind: DataType) -> np.dtype[Any]:
    if DataType.is_boolean(kind):
        return np.dtype(bool)
    bits = kind.bit_width or 64
    if DataType.is_floating(kind):
        return np.dtype(f"f{bits // 8}")
    return np.dtype(f"{'u' if DataType.is_unsigned_integer(kind) else 'i'}{bits // 8}")


def codes(array: Array) -> tuple[NDArray[np.int64], list[Any]]:
    """The codes (-1 missing) and the labels of a dictionary array."""
    values, gaps = primitive(dictionary_indices(array))
    wide = values.astype(np.int64)
    if gaps is not None:
        wide[gaps] = -1
    labels: list[Any] = list(dictionary_dictionary(array).to_pylist())
    if None in labels:
        wide[np.isin(wide, [k for k, label in enumerate(labels) if label is None])] = -1
        labels = ["" if label is None else label for label in labels]
        # a missing label keeps its place, and no row has its code
        return _compact(wide, labels)
    return wide, labels


def _compact(wide: NDArray[np.int64], labels: list[Any]) -> tuple[NDArray[np.int64], list[Any]]:
    """Codes and labels without the labels that no row has."""
    used = np.unique(wide[wide >= 0])
    place = np.full(len(labels) + 1, -1, dtype=np.int64)
    place[used] = np.arange(len(used))
    return place[wide], [labels[k] for k in used]


def _nullable(values: NDArray[Any], missing: Mask, kind: DataType) -> Array:
    """An Arrow array of ``kind``; NaN does not fit into integers and so becomes null."""
    if not missing.any():
        return Array.from_numpy(np.ascontiguousarray(values)).cast(kind)
    return Array.from_numpy(np.where(missing, np.nan, values.astype(np.float64))).cast(kind)


def array_of(column: Column, *, display: bool = False) -> Array:
    """The Arrow array that a page holds for a column; ``display`` halves float64."""
    values, missing = column.values, column.missing
    if column.kind == "number":
        if column.integer and values.dtype == np.float64 and missing.any():
            small = column.extent is None or max(map(abs, column.extent)) < 2**31
            return _nullable(values, missing, DataType.int32() if small else DataType.float64())
        narrow = display and values.dtype == np.float64 and not column.integer
        return Array.from_numpy(
            np.ascontiguousarray(values.astype(np.float32) if narrow else values)
        )
    if column.kind == "time":
        return _nullable(values, missing, DataType.int64()).cast(DataType.timestamp("ms", tz="UTC"))
    if column.kind == "bool":
        return _nullable(values, missing, DataType.int8()).cast(DataType.bool())
    if column.kind == "category":
        labels = Array(list(column.labels) or [""], type=DataType.utf8())
        at = _nullable(values, missing, DataType.int32())
        return labels.take(at).cast(DataType.dictionary(DataType.int32(), DataType.utf8()))
    return Array(column.cells(), type=DataType.utf8())


def write_columns(columns: Sequence[Column], *, display: bool = False) -> bytes:
    """An Arrow IPC stream of the columns; those of media are left out."""
    kept = [column for column in columns if column.kind != "media"]
    arrays = [array_of(column, display=display) for column in kept]
    return write(arrays, [column.name for column in kept])


def write_media(items: Sequence[tuple[str, bytes] | None]) -> bytes:
    """An Arrow IPC stream of media: a mime type and the bytes of each row."""
    mimes = Array([item[0] if item else None for item in items], type=DataType.utf8())
    raw = Array([item[1] if item else None for item in items], type=DataType.binary())
    coded = mimes.cast(DataType.dictionary(DataType.int32(), DataType.utf8()))
    return write([coded, raw], ["mime", "bytes"])


def write(arrays: Sequence[Array], names: Sequence[str]) -> bytes:
    """An Arrow IPC stream of one record batch."""
    file = BytesIO()
    write_ipc_stream(Table.from_arrays(list(arrays), names=list(names)), file, compression=None)
    return file.getvalue()


def read(stream: bytes, what: str) -> Table:
    """The table of an IPC stream that nobody vouches for.

    Raises:
        FormatError: if it is none; arro3's own panics included.
    """
    try:
        return read_ipc_stream(BytesIO(stream)).read_all().combine_chunks()
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError)):
            raise
        raise FormatError(f"{what} is no Arrow stream: {str(error)[:200]}") from error

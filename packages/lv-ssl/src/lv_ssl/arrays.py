"""Arrays in .npy and .npz files, read without pickles and without believing a header's sizes."""

import json
import math
import os
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

_HEADER = "header"
_SPOILT = (  # what zipfile raises on bytes that are none of its own
    ValueError, zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError,
    struct.error, OverflowError,
)  # fmt: skip


def read_npy(path: str | os.PathLike[str]) -> np.ndarray:
    """Return the array of a .npy file.

    Args:
        path: format version 1 or 2, numbers only.

    Returns:
        The array, of the file's shape and dtype.

    Raises:
        ValueError: on any other content: Python objects, a cut file, sizes that do not fit.
        OSError: if the file cannot be read.

    Source:
        NumPy's published format.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(folder + "/z.npy", np.arange(3))
        ...     read_npy(folder + "/z.npy")
        array([0, 1, 2])
    """
    with open(path, "rb") as file:
        return _read(file, os.path.getsize(path), str(path))


def write_npz(
    path: str | os.PathLike[str], header: dict[str, Any], arrays: dict[str, np.ndarray]
) -> None:
    """Write arrays and a JSON header; the file is there as a whole or not at all.

    Args:
        path: ends in .npz.
        header: what JSON can say.
        arrays: name to numbers.

    Raises:
        OSError: if the file cannot be written.

    Source:
        Ours: an uncompressed .npz whose member ``header`` holds UTF-8 JSON.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_npz(folder + "/z.npz", {"format": "mine"}, {"z": np.arange(3)})
        ...     read_npz(folder + "/z.npz")
        ({'format': 'mine'}, {'z': array([0, 1, 2])})
    """
    text = np.frombuffer(json.dumps(header, sort_keys=True).encode(), np.uint8)

    def write(file: IO[bytes]) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            for name, x in {_HEADER: text, **arrays}.items():
                info = zipfile.ZipInfo(f"{name}.npy")  # with no date: equal arrays, equal bytes
                with archive.open(info, "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asanyarray(x), allow_pickle=False)

    replace(path, write)


def read_npz(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the header and the arrays that `write_npz` wrote.

    Args:
        path: the file.

    Returns:
        The header, and name to array.

    Raises:
        ValueError: if it is no such file, or a member's size is not what its header says.
        OSError: if the file cannot be read.

    Source:
        See `write_npz`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_npz(folder + "/z.npz", {}, {})
        ...     read_npz(folder + "/z.npz")
        ({}, {})
    """
    with open(path, "rb") as file:
        try:
            arrays = dict(_members(file))
        except _SPOILT as error:
            told = " ".join(str(error).split())
            raise ValueError(f"{path} is no .npz file that can be read: {told}") from error
    try:
        header = json.loads(arrays.pop(_HEADER).tobytes())
    except (KeyError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} has no JSON header") from error
    if not isinstance(header, dict):
        raise ValueError(f"{path} has a header that is no object, got {type(header).__name__}")
    return header, arrays


def _members(file: IO[bytes]) -> Iterator[tuple[str, np.ndarray]]:
    """Name and array of each member of a zip file."""
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
                raise ValueError(f"{name!r} is compressed or encrypted")
            with archive.open(info) as member:
                yield name, _read(member, info.file_size, repr(name))


def replace(path: str | os.PathLike[str], write: Callable[[IO[bytes]], Any]) -> None:
    """Write a file under a temporary name, then put it in place.

    Args:
        path: where it will be.
        write: called with the open file.

    Raises:
        OSError: if it cannot be written; what stood at ``path`` is still there.

    Source:
        ``os.replace`` is atomic on one file system.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     replace(folder + "/x", lambda file: file.write(b"whole"))
        ...     Path(folder, "x").read_bytes()
        b'whole'
    """
    target = Path(path)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def _read(file: IO[bytes], size: int, name: str) -> np.ndarray:
    """One array of a stream of that many bytes."""
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, columns_first, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, columns_first, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise ValueError(f"version {version}")
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"{name} is no .npy array: {error}") from error
    if dtype.hasobject or dtype.names or dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold numbers, got {dtype}")
    count = math.prod(shape)
    data = file.read(count * dtype.itemsize + 1 if count * dtype.itemsize <= size else size)
    if min(shape, default=0) < 0 or len(data) != count * dtype.itemsize:
        raise ValueError(f"{name} does not hold the {shape} {dtype} that its header says")
    flat = np.frombuffer(data, dtype)
    return flat.reshape(shape, order="F" if columns_first else "C").copy()

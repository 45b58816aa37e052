"""Arrays from .npy files, without NumPy and without ever unpickling."""

import ast
import os
import sys
from pathlib import Path

import torch
from torch import Tensor

_MAGIC = b"\x93NUMPY"
_DTYPES = {"f2": torch.float16, "f4": torch.float32, "f8": torch.float64}


def read_npy(path: str | os.PathLike[str]) -> Tensor:
    """Return the floating array of a .npy file.

    Args:
        path: file in format version 1, 2 or 3, of float16, float32 or float64 in the machine's
            byte order; rows or columns first.

    Returns:
        A tensor of the file's shape and dtype.

    Raises:
        ValueError: on any other content: no .npy, Python objects, integers, a cut file.
        OSError: if the file cannot be read.

    Source:
        NumPy's published format: magic, version, header length, a literal dict, the data.

    Example:
        >>> import pathlib, tempfile
        >>> header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }".ljust(118)
        >>> start = bytes.fromhex("934e554d5059 01 00 7600")  # magic, version 1.0, 118 bytes
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "z.npy")
        ...     _ = path.write_bytes(start + header + bytes.fromhex("0000803f 00000040"))
        ...     print(read_npy(path))
        tensor([1., 2.])
    """
    data = Path(path).read_bytes()
    if data[:6] != _MAGIC or len(data) < 12:
        raise ValueError(f"{path} is no .npy file")
    version, width = data[6], 2 if data[6] == 1 else 4
    if version not in (1, 2, 3):
        raise ValueError(f"{path} has .npy version {version}; 1, 2 and 3 can be read")
    start = 8 + width + int.from_bytes(data[8 : 8 + width], "little")
    descr, columns_first, shape = _header(path, data[8 + width : start])
    order, dtype = descr[:1], _DTYPES.get(descr[1:])
    if dtype is None:
        raise ValueError(f"{path} holds {descr!r}; save float16, float32 or float64")
    if order not in ("=", "|", "<" if sys.byteorder == "little" else ">"):
        raise ValueError(f"{path} is in the other byte order ({descr!r}): save it in the machine's")
    count = 1
    for n in shape:
        count *= n
    size = count * dtype.itemsize
    if len(data) - start != size:
        raise ValueError(f"{path} has {len(data) - start} bytes of data, its shape needs {size}")
    if not count:
        return torch.empty(shape, dtype=dtype)
    flat = torch.frombuffer(bytearray(data[start:]), dtype=dtype)
    return (
        flat.view(shape[::-1]).permute(*range(len(shape))[::-1])
        if columns_first
        else flat.view(shape)
    )


def _header(path: str | os.PathLike[str], text: bytes) -> tuple[str, bool, tuple[int, ...]]:
    try:
        header = ast.literal_eval(text.decode("utf-8").strip())
        descr, columns_first, shape = (header[k] for k in ("descr", "fortran_order", "shape"))
    except (ValueError, SyntaxError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} has a header that cannot be read") from error
    if not isinstance(descr, str):
        raise ValueError(f"{path} holds records; save a plain array of floats")
    if not (isinstance(shape, tuple) and all(isinstance(n, int) and n >= 0 for n in shape)):
        raise ValueError(f"{path} has the shape {shape!r}")
    return descr, bool(columns_first), shape

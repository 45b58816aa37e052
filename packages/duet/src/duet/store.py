"""Tensors on disk: safetensors with a JSON header that has a format and a version; no pickle."""

import json
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

VERSION = 1


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], *, format: str, **header: Any
) -> None:
    """Write tensors and a header; the file is there as a whole or not at all.

    Args:
        path: where.
        tensors: by name; copied to the CPU.
        format: what the file is; `read_tensors` asks for it.
        header: what else JSON holds.

    Raises:
        OSError: if it cannot be written.

    Source:
        safetensors, with the header as JSON in its metadata.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_tensors(folder + "/a", {"x": torch.ones(2)}, format="mine", note="two ones")
        ...     read_tensors(folder + "/a", format="mine")
        ({'x': tensor([1., 1.])}, {'note': 'two ones'})
    """
    words = {"format": format, "version": VERSION, **header}
    arrays = {name: x.detach().cpu().contiguous().clone() for name, x in tensors.items()}
    data = save(arrays, metadata={"duet": json.dumps(words, sort_keys=True)})
    write_whole(path, lambda temporary: temporary.write_bytes(data))


def read_tensors(
    path: str | os.PathLike[str], *, format: str
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the header of a file.

    Args:
        path: what `write_tensors` wrote.
        format: what it must be.

    Returns:
        Tensors by name, on the CPU; the header without format and version.

    Raises:
        ValueError: if it is a pickle, no safetensors file, or of another format or version.
        OSError: if it cannot be read.

    Source:
        See `write_tensors`.

    Example:
        >>> read_tensors("nowhere.safetensors", format="mine")
        Traceback (most recent call last):
        FileNotFoundError: [Errno 2] No such file or directory: 'nowhere.safetensors'
    """
    data = Path(path).read_bytes()
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        if data[:2] == b"PK" or data[:1] == b"\x80":  # torch.save's archive, a bare pickle
            told = f"{path} is a pickle, which is not loaded: it could run any code"
            raise ValueError(told) from error
        raise ValueError(f"{path} is no safetensors file: {error}") from error
    size = int.from_bytes(data[:8], "little")
    try:
        words = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["duet"])
        found = {name: words.pop(name) for name in ("format", "version")}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} was not written by duet: it has no header of ours") from error
    for name, wanted in (("format", format), ("version", VERSION)):
        if found[name] != wanted:
            raise ValueError(f"{path}: {name} must be {wanted!r}, got {found[name]!r}")
    return tensors, words


def write_whole(path: str | os.PathLike[str], write: Callable[[Path], Any]) -> None:
    """Let ``write`` fill a temporary file, and put it in the place of ``path`` when it is done.

    Args:
        path: where; its folder is made.
        write: takes the temporary path, whose suffix is that of ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def fill(module: torch.nn.Module, tensors: Mapping[str, Tensor], path: object) -> None:
    """Load weights into a module, all of them, finite.

    Args:
        module: to be filled.
        tensors: its state dict.
        path: named in errors.

    Raises:
        ValueError: if the names or shapes are others, or a value is not finite.
    """
    bad = [name for name, x in tensors.items() if not bool(x.isfinite().all())]
    if bad:
        raise ValueError(f"{path} holds values that are not finite, in {', '.join(bad)}")
    try:
        module.load_state_dict(dict(tensors))
    except RuntimeError as error:
        told = " ".join(str(error).split())
        raise ValueError(f"{path} does not fit the module: {told}") from error

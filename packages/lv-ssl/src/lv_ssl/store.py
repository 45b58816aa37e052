"""A head on disk: safetensors, with a JSON header that is checked."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from lv_ssl.arrays import replace
from lv_ssl.heads import StochasticHead

FORMAT, VERSION = "lv-ssl head", 1


def save_head(path: str | os.PathLike[str], head: StochasticHead) -> None:
    """Write a head; the file is there as a whole or not at all.

    Args:
        path: where.
        head: weights, statistics and options are kept.

    Raises:
        OSError: if it cannot be written.

    Source:
        safetensors, with the options as JSON in its metadata.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_head(folder + "/head.safetensors", StochasticHead(16, 8))
        ...     load_head(folder + "/head.safetensors").dim
        8
    """
    header = {"format": FORMAT, "version": VERSION, "options": head.options}
    tensors = {k: v.detach().cpu().contiguous() for k, v in head.state_dict().items()}
    data = save(tensors, metadata={"lv-ssl": json.dumps(header, sort_keys=True)})
    replace(path, lambda file: file.write(data))


def load_head(path: str | os.PathLike[str]) -> StochasticHead:
    """Return the head of a file, in eval mode.

    Args:
        path: what `save_head` wrote.

    Returns:
        `StochasticHead`.

    Raises:
        ValueError: if it is no such file, or its weights do not fit its options.
        OSError: if it cannot be read.

    Source:
        See `save_head`.

    Example:
        >>> load_head("nowhere.safetensors")
        Traceback (most recent call last):
        FileNotFoundError: [Errno 2] No such file or directory: 'nowhere.safetensors'
    """
    data = Path(path).read_bytes()
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is no safetensors file: {error}") from error
    options = _options(path, data)
    sizes = [options.get("in_dim"), options.get("dim")]
    weight = tensors.get("location.weight")
    if weight is None or list(weight.shape[::-1]) != sizes or weight.ndim != 2:
        got = None if weight is None else tuple(weight.shape)
        raise ValueError(f"{path}: location.weight must be of {sizes[::-1]}, got {got}")
    try:
        with torch.random.fork_rng(devices=[]):
            head = StochasticHead(**options)
        head.load_state_dict(tensors)
    except (TypeError, ValueError, RuntimeError, KeyError) as error:
        told = str(error).splitlines()
        raise ValueError(f"{path}: {' '.join(map(str.strip, told))}") from error
    if not all(bool(t.isfinite().all()) for t in tensors.values()):
        raise ValueError(f"{path} holds weights that are not finite")
    return head.eval()


def _options(path: str | os.PathLike[str], data: bytes) -> dict[str, Any]:
    """The options in the metadata of a file whose layout safetensors has checked."""
    size = int.from_bytes(data[:8], "little")
    try:
        metadata = json.loads(data[8 : 8 + size]).get("__metadata__", {})
        header = json.loads(metadata["lv-ssl"])
        found = {name: header[name] for name in ("format", "version", "options")}
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not a head that lv-ssl wrote: it has no header") from error
    for name, value in (("format", FORMAT), ("version", VERSION)):
        if found[name] != value:
            raise ValueError(f"{path}: {name} must be {value!r}, got {found[name]!r}")
    if not isinstance(found["options"], dict):
        raise ValueError(f"{path}: options must be an object, got {found['options']!r}")
    return found["options"]


def digest(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file, in hexadecimal: a code book names its head by it.

    Args:
        path: the file.

    Returns:
        64 characters.

    Raises:
        OSError: if it cannot be read.

    Source:
        FIPS 180-4, by hashlib.

    Example:
        >>> import os
        >>> digest(os.devnull)[:8]
        'e3b0c442'
    """
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()

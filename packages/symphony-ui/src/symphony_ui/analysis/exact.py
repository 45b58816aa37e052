"""Exact duplicates: the same bytes, found by their hash."""

import os
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from symphony_ui.analysis._groups import components
from symphony_ui.analysis._progress import progress
from symphony_ui.errors import MediaError, SymphonyError

Item = bytes | bytearray | memoryview | str | os.PathLike[str]


def exact_duplicates(items: Sequence[Item]) -> NDArray[np.int64]:
    """The group ``(N,)`` of each item: items of the same bytes share one, -1 has no equal.

    Args:
        items: bytes, or paths of files (read in pieces, so that a file need not fit in memory).

    Returns:
        Group numbers, 0 for the largest group, as in ``duplicates``.

    Raises:
        SymphonyError: if an item is neither bytes nor a path.
        MediaError: if a file cannot be read; the message names the item.

    Example:
        >>> exact_duplicates([b"one", b"two", b"one"]).tolist()
        [0, -1, 0]
    """
    if isinstance(items, (str, bytes)):
        raise SymphonyError(
            f"items must be a list of bytes or paths, got one {type(items).__name__}"
        )
    first: dict[bytes, int] = {}
    links = []
    for row, item in enumerate(progress(iter(items), len(items), "exact duplicates")):
        seen = first.setdefault(_digest(row, item), row)
        if seen != row:
            links.append((seen, row))
    return components(len(items), np.array(links, dtype=np.int64).reshape(-1, 2))


def _digest(row: int, item: Item) -> bytes:
    """The hash of an item's bytes."""
    if isinstance(item, (bytes, bytearray, memoryview)):
        return blake2b(item).digest()
    if not isinstance(item, (str, os.PathLike)):
        raise SymphonyError(f"items[{row}] must be bytes or a path, got {type(item).__name__}")
    state = blake2b()
    try:
        with Path(item).open("rb") as file:
            while piece := file.read(2**20):
                state.update(piece)
    except OSError as error:
        raise MediaError(f"items[{row}] cannot be read: {error}") from error
    return state.digest()

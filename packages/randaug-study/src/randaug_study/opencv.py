"""Lookups and warps by OpenCV, image by image, with the results of ``tables`` and ``warp``.

For large images, where a lookup by ``torch.gather`` is bound by its indices of 64 bits. OpenCV lets
go of the interpreter, so as many images are worked on at once as torch has threads.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from randaug_study.space import Space
from randaug_study.warp import map_of_code, shift_, shift_of_code

LARGEST = 32767  # coordinates are int16


def load() -> Any:
    """The module cv2.

    Raises:
        ImportError: if it is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise ImportError(
            "backend='opencv' needs cv2: install randaug-study[opencv], or leave backend='torch'"
        ) from error
    return cv2


def lookup_(part: Tensor, tables: Tensor, x: Tensor, rows: np.ndarray) -> None:
    """Write each image of ``part``, after its tables, to its row of ``x``."""
    cv2 = load()
    before, after, entries, places = part.numpy(), x.numpy(), tables.numpy(), rows.tolist()

    def one(image: int) -> None:
        for channel, table in enumerate(entries[image]):
            cv2.LUT(before[image, channel], table, dst=after[places[image], channel])

    _each(one, len(places))


def warp_(
    x: Tensor, rows: np.ndarray, space: Space, codes: np.ndarray, fill: Tensor | None
) -> None:
    """Some rows by their own maps, nearest neighbour, in place; as ``warp.warp_``."""
    cv2 = load()
    height, width = x.shape[2:]
    images, places, numbers = x.numpy(), rows.tolist(), codes.tolist()
    shifts = {code: shift_of_code(space, code, height, width) for code in dict.fromkeys(numbers)}
    maps = {c: _map(space, c, height, width) for c, shift in shifts.items() if shift is None}
    levels = [0] * x.shape[1] if fill is None else fill.round().int().tolist()

    def one(at: int) -> None:
        image, shift = images[places[at]], shifts[numbers[at]]
        if shift is not None:
            shift_(image, shift, np.array(levels, dtype=np.uint8)[:, None, None])
            return
        moved = cv2.remap(
            cv2.merge(list(image)), maps[numbers[at]], None, cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_CONSTANT, borderValue=levels,
        )  # fmt: skip
        cv2.split(moved, list(image))

    _each(one, len(places))


@lru_cache(maxsize=320)  # all of the wide space at one size
def _map(space: Space, code: int, height: int, width: int) -> np.ndarray:
    """Columns and rows of the sources, int16 ``(H, W, 2)``; -1 where there is none."""
    source = map_of_code(space, code, height, width).view(height, width)
    outside = source == height * width
    places = torch.stack([source % width, source // width], 2).masked_fill_(outside[..., None], -1)
    return places.to(torch.int16).numpy()


def _each(work: Callable[[int], None], count: int) -> None:
    """Do the work for 0 to count - 1, by as many threads as torch has."""
    threads = min(torch.get_num_threads(), count)
    if threads < 2:
        for number in range(count):
            work(number)
        return
    share = partial(_share, work, count, threads)
    list(_pool(threads).map(share, range(threads)))


def _share(work: Callable[[int], None], count: int, threads: int, thread: int) -> None:
    for number in range(thread, count, threads):
        work(number)


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "randaug-study")


if hasattr(os, "register_at_fork"):  # a child has no threads of its parent
    os.register_at_fork(after_in_child=_pool.cache_clear)

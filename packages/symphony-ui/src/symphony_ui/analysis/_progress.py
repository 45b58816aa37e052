"""Long work: spread over threads, with a progress bar on a terminal."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def progress(items: Iterator[T], total: int, what: str) -> Iterator[T]:
    """The items, one by one; a bar appears on a terminal if they take longer than a second.

    Only where tqdm is installed, as it is with the extra [analysis].
    """
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        return items
    return iter(tqdm(items, total=total, desc=what, disable=None, delay=1.0, leave=False))


@contextmanager
def own_threads() -> Iterator[int]:
    """Holds BLAS to one thread, and gives how many threads ``spread`` may take instead.

    A block's product is too small to be worth several threads, and the passes over it have one
    only. So each thread takes blocks of its own, as many threads as BLAS would have taken, where
    threadpoolctl (it comes with the extra [analysis]) can hold BLAS; else BLAS does as it likes.
    """
    try:
        from threadpoolctl import threadpool_info, threadpool_limits
    except ModuleNotFoundError:
        yield 1
        return
    blas = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    with threadpool_limits(1, "blas"):
        yield min(max(blas, default=1), os.cpu_count() or 1)


def spread(
    work: Callable[[S], T], items: Sequence[S], what: str, *, threads: int = 1
) -> Iterator[T]:
    """``work`` of each item, in order, several at once on ``threads`` threads."""
    if threads < 2 or len(items) < 2:
        yield from progress(map(work, items), len(items), what)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from progress(_ahead(pool, work, items, 4 * threads), len(items), what)


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[S], T], items: Sequence[S], most: int
) -> Iterator[T]:
    """The results in order, with no more than ``most`` items under way."""
    waiting: deque[Future[T]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) == most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()

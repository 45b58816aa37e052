"""A progress bar for long work: on a terminal, and only where tqdm is installed."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def progress(items: Sequence[T], what: str) -> Iterator[T]:
    """The items, one by one; a bar appears on a terminal if they take longer than a second."""
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        return iter(items)
    return iter(tqdm(items, desc=what, disable=None, delay=1.0, leave=False))

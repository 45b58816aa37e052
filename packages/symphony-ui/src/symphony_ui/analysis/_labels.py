"""Labels as numbers: sorted levels, and each row's place among them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symphony_ui.errors import SymphonyError


def missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    """True where a label is None, NaN or NaT."""
    if values.dtype.kind == "O":
        return np.array([v is None or v != v for v in values], dtype=bool)
    return values != values if values.dtype.kind in "fcmM" else np.zeros(len(values), dtype=bool)


def encode(
    values: NDArray[Any], levels: Sequence[Any] | None = None, name: str = "label"
) -> tuple[list[Any], NDArray[np.int64]]:
    """The levels of a column, sorted, and each row's code ``(N,)``; -1 is missing.

    Args:
        values: one label a row.
        levels: the levels to use, in this order; a label that is none of them is refused.
        name: what to call the column in an error.
    """
    here = ~missing(values)
    if values.dtype.kind == "O":
        found = in_order(set(values[here].tolist()))
        place = {level: number for number, level in enumerate(found)}
        member = np.array([place[v] for v in values[here].tolist()], dtype=np.int64)
    else:
        unique, member = np.unique(values[here], return_inverse=True)
        found = unique.tolist()
    if levels is not None:
        place = {level: number for number, level in enumerate(levels)}
        unknown = [level for level in found if level not in place]
        if unknown:
            raise SymphonyError(
                f"{name} holds {unknown[0]!r}, which is not among the classes: add it to classes"
            )
        member = np.array([place[v] for v in found], dtype=np.int64)[member]
        found = list(levels)
    codes = np.full(len(values), -1, dtype=np.int64)
    codes[here] = member
    return found, codes


def in_order(levels: set[Any]) -> list[Any]:
    """The levels sorted; by type and text where they do not compare."""
    try:
        return sorted(levels)
    except TypeError:
        return sorted(levels, key=lambda level: (type(level).__name__, str(level)))

"""Grids of stimulus levels and the axis on which their curves are integrated."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpsa_fair.counts import positions
from vpsa_fair.errors import LevelError

__all__ = ["Levels", "as_levels", "linear", "log"]


@dataclass(frozen=True)
class Levels:
    """Levels of one perturbation, ascending and positive; 0, the identity, goes before them.

    Attributes:
        values: ``(L,)`` the levels, in the perturbation's unit, without the 0.
        axis: what the curve is integrated over: ``linear``: s; ``log``: log10(s + 1).

    Raises:
        LevelError: if the values are not finite, positive and ascending.

    Source:
        RichardWebster et al. 2018 shift a logarithmic axis by 1 where the identity is 0.

    Example:
        >>> Levels((1.0, 2.0, 4.0)).positions()
        array([0.25, 0.5 , 1.  ])
    """

    values: tuple[float, ...]
    axis: str = "linear"

    def __post_init__(self) -> None:
        values = tuple(float(value) for value in self.values)
        object.__setattr__(self, "values", values)
        if not values or not all(map(math.isfinite, values)):
            raise LevelError(f"levels must be one finite number or more, got {values}")
        if any(high <= low for low, high in zip((0.0, *values), values, strict=False)):
            raise LevelError(f"levels must be positive and ascending, got {values}")
        if self.axis not in ("linear", "log"):
            raise LevelError(f"axis must be 'linear' or 'log', got {self.axis!r}")

    def __len__(self) -> int:
        return len(self.values)

    def positions(self) -> NDArray[np.float64]:
        """``(L,)`` places of the levels on the declared axis: 0 is the identity, the last is 1."""
        return positions(self.values, clean=0.0, axis=self.axis)

    def up_to(self, top: float) -> "Levels":
        """The same grid, stretched or shrunk so that its last level is ``top``.

        Args:
            top: the new last level, positive, in the unit.

        Returns:
            As many levels at the same positions on the axis.

        Example:
            >>> Levels((1.0, 2.0, 4.0)).up_to(8.0).values
            (2.0, 4.0, 8.0)
        """
        if not (top > 0 and math.isfinite(top)):
            raise LevelError(f"the last level must be positive and finite, got {top}")
        places = self.positions()[:-1]
        inner = np.expm1(places * np.log1p(top)) if self.axis == "log" else places * top
        return Levels((*map(float, inner), float(top)), self.axis)


def as_levels(levels: "Levels | Sequence[float]") -> Levels:
    """Levels as they are; a sequence of numbers becomes levels on the linear axis."""
    return levels if isinstance(levels, Levels) else Levels(tuple(levels))


def linear(low: float, high: float, count: int) -> Levels:
    """Equally spaced levels on the linear axis.

    Args:
        low: first level above the identity, positive.
        high: last level.
        count: how many, at least 1; a single level is ``high``.

    Returns:
        The levels.

    Raises:
        LevelError: if the range or the count is none.

    Example:
        >>> linear(1, 4, 4).values
        (1.0, 2.0, 3.0, 4.0)
    """
    _check_range(low, high, count)
    return Levels((high,) if count == 1 else tuple(map(float, np.linspace(low, high, count))))


def log(low: float, high: float, count: int) -> Levels:
    """Levels equally spaced on the axis log10(s + 1).

    Args:
        low: first level above the identity, positive.
        high: last level.
        count: how many, at least 1; a single level is ``high``.

    Returns:
        The levels.

    Raises:
        LevelError: if the range or the count is none.

    Source:
        RichardWebster et al. 2018, whose grid this is where the identity is 0.

    Example:
        >>> [round(level, 3) for level in log(1, 15, 4).values]
        [1.0, 3.0, 7.0, 15.0]
    """
    _check_range(low, high, count)
    if count == 1:
        return Levels((high,), "log")
    inner = np.expm1(np.linspace(np.log1p(low), np.log1p(high), count))[1:-1]
    return Levels((low, *map(float, inner), high), "log")


def _check_range(low: float, high: float, count: int) -> None:
    if count < 1 or not 0 < low <= high or (count > 1 and low == high):
        got = f"low={low}, high={high}, count={count}"
        raise LevelError(f"levels need 0 < low < high and a count of at least 1, got {got}")

"""Schedules over training progress: of the magnitude, the number of operations, or a ``beta``.

A schedule is ``start + (end - start) g(t)`` with a shape ``g`` from [0, 1] to [0, 1] whose
integral is known in closed form, so a curriculum can be matched in its mean to a constant
magnitude, and its values over epochs average to that mean exactly, whatever their number.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

TOP = 30.0  # the highest of the 31 bins

Shape = Literal["constant", "linear", "cosine", "step", "sawtooth"]


@dataclass(frozen=True)
class Schedule:
    """A value over progress ``t`` in [0, 1]; calling it gives the value, fractions included.

    A magnitude M between two bins is drawn when it is used, for each operation of each image:
    bin ``floor(M)``, or the next with probability ``M - floor(M)``, so that the mean bin is M.
    A fractional number of operations is drawn likewise, an image at a time.

    Args:
        shape: ``"constant"``, ``"linear"``, ``"cosine"`` (half a period), ``"step"``
            (``repeats`` equal stairs) or ``"sawtooth"`` (``repeats`` linear ramps).
        start: value at ``t = 0``.
        end: value at ``t = 1``.
        repeats: number of stairs (at least 2) or of ramps (at least 1).
        bounds: range that values must stay in, ``(0, 30)`` for magnitudes.

    Raises:
        ValueError: for an unknown shape, ends outside ``bounds``, or too few ``repeats``.

    Example:
        >>> schedule = linear(0, 18)
        >>> schedule(0.5), schedule.mean
        (9.0, 9.0)
        >>> schedule.over(3)
        [3.0, 9.0, 15.0]
    """

    shape: Shape
    start: float
    end: float
    repeats: int = 1
    bounds: tuple[float, float] = (-math.inf, math.inf)

    def __post_init__(self) -> None:
        if self.shape not in _SHAPES:
            raise ValueError(f"shape must be one of {', '.join(_SHAPES)}, got {self.shape!r}")
        low, high = self.bounds
        if not (low <= self.start <= high and low <= self.end <= high):
            raise ValueError(
                f"a schedule from {self.start:g} to {self.end:g} leaves [{low:g}, {high:g}]: "
                "clamping would change its mean, so choose ends inside"
            )
        least = 2 if self.shape == "step" else 1
        if self.repeats < least:
            raise ValueError(f"{self.shape} needs repeats of at least {least}, got {self.repeats}")

    def __call__(self, t: float) -> float:
        """Value at progress ``t``, which is clamped into [0, 1]; the value into ``bounds``."""
        height = _SHAPES[self.shape][0](_clamp(_number(t), 0.0, 1.0), self.repeats)
        return _clamp(self.start + (self.end - self.start) * height, *self.bounds)

    def integral(self, t: float) -> float:
        """Integral of the value from 0 to ``t`` (clamped into [0, 1]), in closed form."""
        t = _clamp(_number(t), 0.0, 1.0)
        area = _SHAPES[self.shape][1](t, self.repeats)
        return self.start * t + (self.end - self.start) * area

    @property
    def mean(self) -> float:
        """Mean value over training."""
        return self.integral(1.0)

    def over(self, epochs: int) -> list[float]:
        """The mean value within each of ``epochs`` equal spans: their mean is `mean` exactly.

        Use these, not ``schedule(epoch / epochs)``, where a value stays for a whole epoch: the
        left ends of a rising line average below its mean.

        Raises:
            ValueError: if ``epochs`` is below 1.
        """
        if epochs < 1:
            raise ValueError(f"epochs must be at least 1, got {epochs}")
        marks = [self.integral(i / epochs) for i in range(epochs + 1)]
        spans = itertools.pairwise(marks)
        return [_clamp((after - before) * epochs, *self.bounds) for before, after in spans]

    def __str__(self) -> str:
        ends = f"{self.start:g}" if self.start == self.end else f"{self.start:g} to {self.end:g}"
        times = f", {self.repeats} times" if self.repeats > 1 else ""
        return f"{self.shape} {ends}{times} (mean {self.mean:g})"

    def to_table(self, points: int = 101) -> dict[str, list[float]]:
        """Values at ``points`` equally spaced ``t``, for a plot."""
        t = [i / (points - 1) for i in range(points)]
        return {"t": t, "value": [self(at) for at in t]}


def linear(start: float, end: float) -> Schedule:
    """Straight line between any two values: a ``beta`` may be negative, a magnitude may not.

    Example:
        >>> linear(-1, 3)(0.25)
        0.0
    """
    return Schedule("linear", start, end)


def constant(mean: float, *, top: float = TOP) -> Schedule:
    """The same value throughout: the control of every curriculum.

    Example:
        >>> print(constant(9))
        constant 9 (mean 9)
    """
    return Schedule("constant", mean, mean, bounds=(0.0, top))


def up(mean: float, *, top: float = TOP) -> Schedule:
    """Straight line that rises through ``mean``, as steep as [0, ``top``] allows.

    From 0 to ``2 mean``, or, where that passes ``top``, from ``2 mean - top`` to ``top``: the
    mean stays.

    Args:
        mean: mean over training, between 0 and ``top``.
        top: highest legal value, 30 for magnitudes of 31 bins.

    Raises:
        ValueError: if ``mean`` lies outside [0, ``top``].

    Example:
        >>> print(up(9))
        linear 0 to 18 (mean 9)
        >>> print(up(20))
        linear 10 to 30 (mean 20)
    """
    return _matched("linear", mean, top, rising=True)


def down(mean: float, *, top: float = TOP) -> Schedule:
    """Straight line that falls through ``mean``: `up`, backwards."""
    return _matched("linear", mean, top, rising=False)


def cosine(mean: float, *, top: float = TOP, rising: bool = True) -> Schedule:
    """Half a cosine through ``mean``: slow at both ends, steepest in the middle.

    Example:
        >>> [round(value, 2) for value in cosine(9).over(4)]
        [0.9, 5.64, 12.36, 17.1]
    """
    return _matched("cosine", mean, top, rising=rising)


def step(mean: float, *, steps: int = 2, top: float = TOP, rising: bool = True) -> Schedule:
    """``steps`` equal stairs from low to high.

    Example:
        >>> [step(9, steps=3)(t) for t in (0.0, 0.3, 0.5, 0.6, 0.7, 1.0)]
        [0.0, 0.0, 9.0, 9.0, 18.0, 18.0]
    """
    return _matched("step", mean, top, rising=rising, repeats=steps)


def sawtooth(mean: float, *, cycles: int = 4, top: float = TOP, rising: bool = True) -> Schedule:
    """``cycles`` straight ramps, each from the low end to the high one.

    Example:
        >>> sawtooth(9, cycles=2)(0.25)
        9.0
    """
    return _matched("sawtooth", mean, top, rising=rising, repeats=cycles)


@dataclass
class LossDriven:
    """A magnitude that rises when training has become easy, and falls when it is too hard.

    After each epoch `update` takes the mean training loss: below ``easy`` the value rises by
    ``stride``, above ``hard`` it falls by as much. Its mean cannot be fixed beforehand, so its
    control is a constant at `mean`, which is known afterwards.

    Args:
        value: first magnitude.
        easy: loss, in nats, below which the value rises.
        hard: loss above which it falls; infinite by default: it never falls.
        stride: change in bins.
        top: highest value; the lowest is 0.

    Raises:
        ValueError: if ``value`` lies outside [0, ``top``], ``stride <= 0`` or ``hard < easy``.

    Example:
        >>> schedule = LossDriven(6, easy=0.5, stride=2)
        >>> [schedule.update(loss) for loss in (0.9, 0.4, 0.3)]
        [6.0, 8.0, 10.0]
    """

    value: float
    easy: float
    hard: float = math.inf
    stride: float = 1.0
    top: float = TOP
    history: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not 0 <= self.value <= self.top:
            raise ValueError(f"value must lie in [0, {self.top:g}], got {self.value:g}")
        if not self.stride > 0:
            raise ValueError(f"stride must be positive, got {self.stride:g}")
        if self.hard < self.easy:
            raise ValueError(f"hard ({self.hard:g}) must not be below easy ({self.easy:g})")

    def __call__(self, t: float) -> float:
        """The present value; ``t`` is not used, so that it stands where a schedule does."""
        return float(self.value)

    def update(self, loss: float) -> float:
        """Note the epoch's mean training loss; return the value of the next epoch.

        Raises:
            ValueError: if ``loss`` is NaN.
        """
        loss = _number(loss)
        self.history.append(float(self.value))
        change = self.stride * ((loss < self.easy) - (loss > self.hard))
        self.value = _clamp(self.value + change, 0.0, self.top)
        return float(self.value)

    @property
    def mean(self) -> float:
        """Mean value over the epochs so far."""
        return sum(self.history) / len(self.history) if self.history else float(self.value)


def _matched(shape: Shape, mean: float, top: float, *, rising: bool, repeats: int = 1) -> Schedule:
    if not 0 <= mean <= top:
        raise ValueError(f"mean must lie in [0, {top:g}], got {mean:g}")
    reach = min(mean, top - mean)  # symmetric about the mean, so that no clamp moves it
    ends = (mean - reach, mean + reach) if rising else (mean + reach, mean - reach)
    return Schedule(shape, *ends, repeats=repeats, bounds=(0.0, top))


def _stair(t: float, n: int) -> tuple[int, float]:
    """Index of the stair at ``t``, and how far into it."""
    index = min(int(n * t), n - 1)
    return index, t - index / n


def _step(t: float, n: int) -> float:
    return _stair(t, n)[0] / (n - 1)


def _step_area(t: float, n: int) -> float:
    index, rest = _stair(t, n)
    below = index * (index - 1) / 2 / n  # the sum of the stairs before, each 1 / n wide
    return (below + index * rest) / (n - 1)


def _sawtooth(t: float, n: int) -> float:
    return _stair(t, n)[1] * n


def _sawtooth_area(t: float, n: int) -> float:
    index, rest = _stair(t, n)
    return index / (2 * n) + n * rest * rest / 2


_SHAPES: dict[str, tuple[Callable[[float, int], float], Callable[[float, int], float]]] = {
    "constant": (lambda t, n: 0.0, lambda t, n: 0.0),
    "linear": (lambda t, n: t, lambda t, n: t * t / 2),
    "cosine": (
        lambda t, n: (1 - math.cos(math.pi * t)) / 2,
        lambda t, n: t / 2 - math.sin(math.pi * t) / (2 * math.pi),
    ),
    "step": (_step, _step_area),
    "sawtooth": (_sawtooth, _sawtooth_area),
}


def _clamp(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _number(value: float) -> float:
    if math.isnan(value):
        raise ValueError("a schedule cannot be read at NaN")
    return float(value)

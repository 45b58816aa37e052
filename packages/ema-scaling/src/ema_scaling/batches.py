"""A batch size that changes on the clock of samples: pure numbers, no torch."""

import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ema_scaling import _check

_UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9}
_STAGE = re.compile(r"^\s*([0-9.eE+-]+)\s*@\s*([0-9.eE+-]+)\s*(ep|k|M|B|)\s*$")


@dataclass(frozen=True)
class Stage:
    """One stretch of training at one batch size: steps from ``start`` to ``stop`` samples."""

    start: int
    stop: int
    batch: int
    kappa: float
    steps: int


@dataclass(frozen=True)
class BatchSchedule:
    """Which multiple of the base batch holds from which count of samples on.

    Args:
        kappas: multiples of the base batch, each positive.
        starts: samples at which each begins; the first is 0, and they grow.

    Raises:
        ValueError: if the two differ in length, or the starts do not begin at 0 and grow.

    Source:
        Progressive Scaling of Busbridge et al. 2023, with kappa piecewise constant.

    Example:
        >>> schedule = BatchSchedule.parse("1@0, 2@30ep, 6@60ep", dataset_size=1000)
        >>> schedule.kappa(29_999), schedule.kappa(30_000), schedule.kappa(90_000)
        (1.0, 2.0, 6.0)
    """

    kappas: tuple[float, ...]
    starts: tuple[float, ...] = (0.0,)

    def __post_init__(self) -> None:
        if len(self.kappas) != len(self.starts) or not self.kappas:
            raise ValueError(
                f"kappas and starts must pair up, got {len(self.kappas)} and {len(self.starts)}"
            )
        kappas = tuple(_check.positive("kappa", kappa) for kappa in self.kappas)
        starts = tuple(_check.nonnegative("start", start) for start in self.starts)
        if starts[0] != 0 or any(a >= b for a, b in pairwise(starts)):
            raise ValueError(f"starts must begin at 0 and grow, got {starts}")
        object.__setattr__(self, "kappas", kappas)
        object.__setattr__(self, "starts", starts)

    @classmethod
    def parse(cls, text: str, *, dataset_size: int | None = None) -> "BatchSchedule":
        """The schedule written as ``kappa@start`` with commas between.

        Args:
            text: starts are samples, or carry a unit: "k", "M", "B" or "ep" (epochs).
            dataset_size: samples of one epoch, for "ep".

        Returns:
            The schedule.

        Raises:
            ValueError: naming the part that cannot be read.

        Example:
            >>> BatchSchedule.parse("1@0, 4@2k").starts
            (0.0, 2000.0)
        """
        kappas: list[float] = []
        starts: list[float] = []
        for part in text.split(","):
            match = _STAGE.match(part)
            try:
                if match is None:
                    raise ValueError
                kappa, start, unit = float(match[1]), float(match[2]), match[3]
            except ValueError:
                raise ValueError(
                    f"{part.strip()!r} in {text!r} is not kappa@start, such as 2@30ep or 4@1.5M"
                ) from None
            if unit == "ep" and dataset_size is None:
                raise ValueError(f"{part.strip()!r} counts epochs: say the dataset's size")
            kappas.append(kappa)
            starts.append(start * (dataset_size or 1 if unit == "ep" else _UNITS[unit]))
        return cls(tuple(kappas), tuple(starts))

    @classmethod
    def seesaw(cls, cuts: Sequence[float]) -> "BatchSchedule":
        """Doubles the batch at each cut of the learning rate by half.

        With an ``lr_schedule`` that halves there and the square-root rule, the rate in use falls
        by sqrt(2) at each cut while the batch doubles.

        Args:
            cuts: samples at which the base recipe halves its learning rate, growing.

        Returns:
            kappa 1, 2, 4, ... from 0 and each cut on.

        Source:
            Seesaw, 2025: halving the rate against 1/sqrt(2) and twice the batch.

        Example:
            >>> BatchSchedule.seesaw([1000, 2000]).kappas
            (1.0, 2.0, 4.0)
        """
        return cls(tuple(2.0**i for i in range(len(cuts) + 1)), (0.0, *cuts))

    def kappa(self, samples: float) -> float:
        """The multiple of the base batch for a step that begins at ``samples``."""
        return self.kappas[bisect_right(self.starts, samples) - 1]

    def batch(self, samples: float, *, base_batch: int) -> int:
        """The batch of a step that begins at ``samples``.

        Raises:
            ValueError: if kappa makes the batch no whole number.
        """
        exact = base_batch * self.kappa(samples)
        if round(exact) < 1 or abs(exact - round(exact)) > 1e-9 * exact:
            raise ValueError(
                f"kappa = {self.kappa(samples):g} makes a batch of {base_batch} into {exact:g}; "
                f"it must be a whole number"
            )
        return round(exact)

    def stages(self, total: int, *, base_batch: int) -> list[Stage]:
        """The run of ``total`` samples as stretches of equal batch; it changes between steps.

        Args:
            total: samples of the run; the last, partial batch is left out.
            base_batch: the batch at kappa = 1.

        Returns:
            One stage a batch size, in order.

        Raises:
            ValueError: if kappa makes a batch no whole number.

        Example:
            >>> [s.steps for s in BatchSchedule.parse("1@0,2@100").stages(300, base_batch=32)]
            [4, 2]
        """
        out: list[Stage] = []
        position = 0
        for kappa, stop in zip(self.kappas, (*self.starts[1:], math.inf), strict=True):
            size = self.batch(position, base_batch=base_batch)
            if position >= stop:
                continue
            steps = (total - position) // size
            if stop < math.inf:
                steps = min(steps, math.ceil((stop - position) / size))
            if steps > 0:
                out.append(Stage(position, position + steps * size, size, kappa, steps))
                position += steps * size
        return out

    def sizes(self, total: int, *, base_batch: int, start: int = 0) -> Iterator[int]:
        """The batch of every step from ``start`` on, until the next would pass ``total``."""
        position = start
        while position + (size := self.batch(position, base_batch=base_batch)) <= total:
            yield size
            position += size

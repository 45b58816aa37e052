"""What a station of the tour is, what it is given, and what it gives back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

Verdict = Literal["reproduced", "partly", "not at this scale"]


@dataclass(frozen=True)
class Series:
    """One line of a figure.

    Attributes:
        name: in the legend.
        x: positions.
        y: values, as many.
        low: lower edge of a band, or empty.
        high: upper edge of a band, or empty.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class Lines:
    """A line chart as data.

    Attributes:
        title: what is to be seen.
        x_label: quantity and unit.
        y_label: quantity and unit.
        series: the lines.
        levels: names and heights of horizontal lines: floors, ceilings.
        log_x: whether x is drawn by its logarithm.
        log_y: whether y is.
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    levels: Sequence[tuple[str, float]] = ()
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Images:
    """A row of images as data.

    Attributes:
        title: what is to be seen.
        images: ``(N, H, W)`` or ``(N, H, W, 3)`` uint8.
        captions: one an image.
    """

    title: str
    images: np.ndarray
    captions: Sequence[str]


@dataclass(frozen=True)
class StationResult:
    """What a station found.

    Attributes:
        verdict: whether the claim showed at this scale, by a rule that the notes state.
        headline: the number beside the claim, with its interval, in one sentence.
        tables: name -> columns of equal length, as every package's ``to_table()``.
        figures: in reading order.
        notes: sentences: the rule of the verdict, the seeds, what was lost.
    """

    verdict: Verdict
    headline: str
    tables: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)
    figures: Sequence[Lines | Images] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Context:
    """What the runner hands to a station.

    Attributes:
        seeds: how many seeds to run; 1 by default.
        device: torch device, ``cpu`` by default.
        scale: ``small`` or ``paper``.
        data_root: where torchvision keeps its data, for ``paper``.
        progress: call with steps done and steps in all; draws the bar.
        results: of the stations named in ``needs``.
    """

    seeds: int = 1
    device: str = "cpu"
    scale: str = "small"
    data_root: Path | None = None
    progress: Callable[[int, int], None] = lambda done, total: None
    results: Mapping[str, StationResult] = field(default_factory=dict)


class Station(Protocol):
    """One module of ``tenfold.stations`` holds one class of this shape, named ``Station``.

    ``claim``, ``budget_s`` and ``needs`` are literals: the runner reads them from the source, so
    that a cached tour imports no station.
    """

    claim: str
    budget_s: int
    needs: tuple[str, ...]

    def run(self, context: Context) -> StationResult:
        """Do the headline job."""
        ...

"""What a station of the tour is, what it is given, and what it gives back."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np

Verdict = Literal["reproduced", "partly", "not at this scale"]
PACKAGES = (
    "er_ssl", "ema_scaling", "deeppcr", "act_steer", "duet",
    "homssl", "lv_ssl", "randaug_study", "vpsa_fair", "symphony_ui",
)  # fmt: skip


@dataclass(frozen=True)
class Series:
    """One line of a figure.

    Attributes:
        name: in the legend.
        x: positions.
        y: values, as many.
        low: lower edge of a band, or empty.
        high: upper edge of a band, or empty.

    Raises:
        ValueError: if the lengths differ.
        TypeError: if a value is no number.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()

    def __post_init__(self) -> None:
        got = {part: len(getattr(self, part)) for part in ("x", "y", "low", "high")}
        if got["y"] != got["x"] or got["low"] != got["high"] or got["low"] not in (0, got["x"]):
            lengths = ", ".join(f"{part} {n}" for part, n in got.items())
            raise ValueError(
                f"series {self.name!r} must have as many y as x, and a band of as many or none, "
                f"got {lengths}"
            )
        for part in got:
            for value in getattr(self, part):
                if not isinstance(value, Real):
                    kind = type(value).__name__
                    raise TypeError(f"series {self.name!r} needs numbers in {part}, got {kind}")


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

    Raises:
        ValueError: if the array's shape or type, or the number of captions, is another.
    """

    title: str
    images: np.ndarray
    captions: Sequence[str]

    def __post_init__(self) -> None:
        _must_be_images(self.images, f"images of {self.title!r}", many=True)
        if len(self.captions) != len(self.images):
            raise ValueError(
                f"images of {self.title!r} need one caption each, "
                f"got {len(self.captions)} for {len(self.images)}"
            )


@dataclass(frozen=True)
class Explorer:
    """A table, and components of symphony-ui that show it and follow one filter.

    Attributes:
        title: what is to be explored.
        table: columns of equal length; an array ``(N, H, W)`` or ``(N, H, W, 3)`` of uint8 is a
            column of images.
        layout: rows of components, each the name of its class and its arguments, as in
            ``[[("Scatter", {"x": "a", "y": "b"})]]``.

    Raises:
        ValueError: if the columns differ in length, or hold arrays that are no images.
    """

    title: str
    table: Mapping[str, Sequence[Any] | np.ndarray]
    layout: Sequence[Sequence[tuple[str, Mapping[str, Any]]]]

    def __post_init__(self) -> None:
        _must_be_even(f"explorer {self.title!r}", self.table)
        for name, column in self.table.items():
            if isinstance(column, np.ndarray) and column.ndim > 1:
                _must_be_images(column, f"column {name!r} of {self.title!r}", many=True)


@dataclass(frozen=True)
class StationResult:
    """What a station found.

    Attributes:
        verdict: whether the claim showed at this scale, by a rule that the notes state.
        headline: the number beside the claim, with its interval, in one sentence.
        tables: name -> columns of equal length, as every package's ``to_table()``.
        figures: in reading order.
        notes: sentences: the rule of the verdict, the seeds, what was lost.
        arrays: for the stations that build on this one; not drawn.

    Raises:
        ValueError: if the verdict is none of the three, the headline is empty, or a table's
            columns differ in length.
    """

    verdict: Verdict
    headline: str
    tables: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)
    figures: Sequence[Lines | Images | Explorer] = ()
    notes: Sequence[str] = ()
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.verdict not in get_args(Verdict):
            known = ", ".join(map(repr, get_args(Verdict)))
            raise ValueError(f"verdict must be one of {known}, got {self.verdict!r}")
        if not self.headline.strip():
            raise ValueError("headline must say what was found, got an empty text")
        for name, table in self.tables.items():
            _must_be_even(f"table {name!r}", table)
            for column, values in table.items():
                for value in values:
                    if isinstance(value, np.ndarray):
                        _must_be_images(value, f"column {column!r} of {name!r}", many=False)


def _must_be_even(what: str, table: Mapping[str, Sequence[Any] | np.ndarray]) -> None:
    rows = {column: len(values) for column, values in table.items()}
    if len(set(rows.values())) > 1:
        raise ValueError(f"{what} must have columns of equal length, got {rows}")


def _must_be_images(value: np.ndarray, what: str, *, many: bool) -> None:
    shape = value.shape[many:]
    if value.dtype != np.uint8 or not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)):
        lead = "N, " if many else ""
        raise ValueError(
            f"{what} must be uint8 of shape ({lead}H, W) or ({lead}H, W, 3), "
            f"got {value.dtype} of {value.shape}"
        )


@dataclass(frozen=True)
class Context:
    """What the runner hands to a station.

    Attributes:
        seeds: how many seeds to run; 1 by default.
        device: torch device, ``cpu`` by default.
        scale: ``small`` or ``paper``.
        data_root: where torchvision keeps its data, for ``paper``.
        progress: call with steps done and steps in all; draws the bar.
        results: of the stations named in ``needs``, by import name (``er_ssl``).
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
    that a cached tour imports no station. ``needs`` may be left out; it takes either spelling,
    ``er-ssl`` or ``er_ssl``.
    """

    claim: str
    budget_s: int
    needs: tuple[str, ...]

    def run(self, context: Context) -> StationResult:
        """Do the headline job."""
        ...


def committed_study(summary: Path) -> dict[str, Any]:
    """The headlines, tables and figures of a committed study; nothing where there is no summary."""
    if not summary.is_file():
        return {"headlines": [], "tables": {}, "figures": []}
    found = json.loads(summary.read_text(encoding="utf-8"))
    figures = [
        Lines(series=[Series(**line) for line in figure.pop("series")], **figure)
        for figure in found["figures"]
    ]
    headlines = [f"The study: {line}" for line in found["headlines"]]
    return {"headlines": headlines, "tables": found["tables"], "figures": figures}

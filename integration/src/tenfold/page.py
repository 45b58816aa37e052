"""The tour's page: a book of symphony-ui, a tab a station."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tenfold.station import Explorer, Images, Lines, StationResult

if TYPE_CHECKING:
    from symphony_ui import Book, Page

Table = Mapping[str, Sequence[Any]]
TITLE = "Tenfold: the tour"
WIDE = 14  # characters; longer texts get three times the room of a number
INTRODUCTION = (
    "Each package does its headline job on real data. Beside each paper's claim stands what this "
    "run found, and a verdict by a rule that the station states. Every table and chart can be "
    "filtered, sorted, brushed and selected, and **Show data** gives the numbers behind a chart."
)


@dataclass(frozen=True)
class Entry:
    """What the page says of one station.

    Attributes:
        name: import name of the package.
        claim: of the paper, in one sentence.
        result: what was found; None where the station failed.
        error: why it failed; its first line says it in short.
        seconds: how long it took when it ran.
        cached: whether this tour took it from the cache.
    """

    name: str
    claim: str
    result: StationResult | None
    error: str
    seconds: float
    cached: bool = False

    @property
    def label(self) -> str:
        """The package's name as it is installed."""
        return self.name.replace("_", "-")

    @property
    def verdict(self) -> str:
        """The result's verdict, or ``failed``."""
        return self.result.verdict if self.result else "failed"

    @property
    def headline(self) -> str:
        """What was found, or the first line of the error."""
        return self.result.headline if self.result else self.error.strip().split("\n", 1)[0]


def write_page(
    path: Path, entries: Sequence[Entry], options: Mapping[str, Any], *, pending: Sequence[str] = ()
) -> Path:
    """Write the page and return its path; the old page stays until the new one is whole.

    Args:
        path: of the HTML file.
        entries: the stations in order.
        options: what the tour was asked for.
        pending: names of stations that did not run yet.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    return book(entries, options, pending=pending).save(path)


def book(
    entries: Sequence[Entry], options: Mapping[str, Any], *, pending: Sequence[str] = ()
) -> "Book":
    """Return the page; equal entries give equal bytes."""
    from symphony_ui import Book

    tabs: dict[str, list[Page]] = {"Overview": [_overview(entries, options, pending)]}
    for entry in entries:
        tabs[entry.label] = station_pages(entry)
    return Book(tabs, title=TITLE)


def _overview(
    entries: Sequence[Entry], options: Mapping[str, Any], pending: Sequence[str]
) -> "Page":
    from symphony_ui import Compare, Markdown, Page

    asked = ", ".join(f"{name} {value}" for name, value in options.items() if value is not None)
    text = [INTRODUCTION, f"Run with {escaped(asked)}."] if asked else [INTRODUCTION]
    if pending:
        listed = ", ".join(escaped(name.replace("_", "-")) for name in pending)
        text.append(f"Not run yet: {listed}.")
    table = {
        "package": [entry.label for entry in entries],
        "verdict": [entry.verdict for entry in entries],
        "seconds": [round(entry.seconds) for entry in entries],
        "the paper's claim": [entry.claim for entry in entries],
        "found here": [entry.headline for entry in entries],
    }
    names = list(table)
    height = 30 + 84 * max(1, len(entries))
    claims = Compare(names[3:], caption=names[:3], height=height, title="Claims and findings")
    kinds = dict.fromkeys(names[3:], "text")
    return Page(table, [Markdown("\n\n".join(text)), claims], title="Overview", kinds=kinds)


def station_pages(entry: Entry) -> list["Page"]:
    """Return what stands under a station's tab: its claim, figures, tables and notes."""
    from symphony_ui import Markdown, Page

    head = f"# {escaped(entry.label)}: {entry.verdict}\n\n> {escaped(entry.claim)}"
    if entry.result is None:
        fenced = entry.error.replace("```", "'''")
        return [Page({}, [Markdown(f"{head}\n\n```\n{fenced}\n```")], title=entry.label)]
    result = entry.result
    notes = "\n".join(f"- {escaped(note)}" for note in result.notes)
    text = f"{head}\n\n**{escaped(result.headline)}**\n\n{notes}"
    first = Page({}, [Markdown(text)], title=entry.label)
    figures = [_figure(figure) for figure in result.figures]
    return [first, *figures, *(_table(name, table) for name, table in result.tables.items())]


def escaped(text: str) -> str:
    """Text that Markdown leaves as it is, on one line."""
    for mark in "\\`*_[]":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())


def _figure(figure: Lines | Images | Explorer) -> "Page":
    if isinstance(figure, Lines):
        return _lines(figure)
    if isinstance(figure, Explorer):
        return explorer_page(figure)
    from symphony_ui import Image, Instances, Page

    side = max(64, *figure.images.shape[1:3])
    table = {"image": list(figure.images), "caption": list(figure.captions)}
    height = max(360, side + 40)  # a large image is seen whole, without scrolling
    shown = Instances("image", caption=["caption"], size=side, height=height, title=figure.title)
    return Page(table, [shown], title=figure.title, media={"image": Image(size=None)})


def _lines(figure: Lines) -> "Page":
    """A chart's points as rows: one series after the other, then its levels."""
    from symphony_ui import Lines as Chart
    from symphony_ui import Page

    x_label, y_label = _different(figure.x_label, figure.y_label)
    x: list[float] = []
    y: list[float] = []
    low: list[float] = []
    high: list[float] = []
    name: list[str] = []
    for series in figure.series:
        banded = len(series.low) > 0
        x += [float(v) for v in series.x]
        y += [float(v) for v in series.y]
        low += [float(v) for v in (series.low if banded else series.y)]
        high += [float(v) for v in (series.high if banded else series.y)]
        name += [series.name] * len(series.x)
    for label, height in figure.levels:
        ends = [min(x), max(x)] if x else []
        x += ends
        for column in (y, low, high):
            column += [float(height)] * len(ends)
        name += [label] * len(ends)
    table = {x_label: x, y_label: y, "series": name, "low": low, "high": high}
    chart = Chart(
        x_label, y_label, by="series", lo="low", hi="high",
        log_x=figure.log_x, log_y=figure.log_y, title=figure.title,
    )  # fmt: skip
    return Page(table, [chart], title=figure.title, kinds={"series": "category"})


def _different(x: str, y: str) -> tuple[str, str]:
    """Axis labels as names of columns, which must differ from each other and from ours."""
    taken = ["series", "low", "high"]
    names = []
    for label in (x, y):
        while label in taken:
            label += " "
        taken.append(label)
        names.append(label)
    return names[0], names[1]


def explorer_page(figure: Explorer) -> "Page":
    """Return the page of a table to explore."""
    import symphony_ui
    from symphony_ui import Image, Page

    rows = [
        [getattr(symphony_ui, kind)(**options) for kind, options in row] for row in figure.layout
    ]
    images = {name: Image(size=None) for name, column in figure.table.items() if _pictures(column)}
    table = {name: _column(column) for name, column in figure.table.items()}
    return Page(table, rows, title=figure.title, media=images)


def _table(name: str, table: Table) -> "Page":
    from symphony_ui import Image, Page
    from symphony_ui import Table as Rows

    images = {column: Image(size=None) for column, values in table.items() if _pictures(values)}
    columns = {column: _column(values) for column, values in table.items()}
    wide = [name for name, values in columns.items() if _long(values)]
    return Page(
        columns, [Rows(title=name)], title=name, media=images, kinds=dict.fromkeys(wide, "text")
    )


def _long(column: Sequence[Any]) -> bool:
    """Whether a column holds texts that need room."""
    return any(isinstance(value, str) and len(value) > WIDE for value in column)


def _pictures(column: Sequence[Any] | np.ndarray) -> bool:
    """Whether a column's values are images."""
    return any(isinstance(value, np.ndarray) for value in column)


def _column(column: Sequence[Any] | np.ndarray) -> list[Any]:
    """A column as symphony-ui reads it: of one kind; texts where the values are mixed."""
    values = [v.item() if isinstance(v, np.generic) else v for v in column]
    kinds = {type(v) for v in values if v is not None}
    if len(kinds) > 1 and not kinds <= {int, float}:
        return [None if v is None else str(v) for v in values]
    return values

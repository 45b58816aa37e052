"""The tour's page: one HTML file that asks nobody for anything."""

import html
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tenfold.drawing import line_chart, png_address
from tenfold.station import Images, Lines, StationResult

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'"
STYLE = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Entry:
    """What the page says of one station.

    Attributes:
        name: import name of the package.
        claim: of the paper, in one sentence.
        result: what was found; None where the station failed.
        error: why it failed.
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
    def verdict(self) -> str:
        """The result's verdict, or ``failed``."""
        return self.result.verdict if self.result else "failed"


def write_page(path: Path, entries: Sequence[Entry], options: Mapping[str, Any]) -> Path:
    """Write the page and return its path; the old page stays until the new one is whole.

    Args:
        path: of the HTML file.
        entries: the stations in order.
        options: what the tour was asked for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, suffix=".html")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(render(entries, options))
    os.replace(draft, path)
    path.chmod(0o644)
    return path


def render(entries: Sequence[Entry], options: Mapping[str, Any]) -> str:
    """Return the page as text; equal entries give equal text."""
    sections = "".join(_section(entry) for entry in entries)
    asked = ", ".join(f"{name} {value}" for name, value in options.items() if value is not None)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Tenfold: the tour</title><style>{STYLE}</style></head><body><main>"
        "<h1>Tenfold: the tour</h1>"
        "<p>Each package does its headline job on real data. Beside each paper's claim stands what "
        "this run found, and a verdict by a rule that the station states.</p>"
        f"{_overview(entries)}{sections}<footer>Run with {html.escape(asked)}.</footer>"
        "</main></body></html>\n"
    )


def _overview(entries: Sequence[Entry]) -> str:
    rows = "".join(
        f'<tr><th scope="row"><a href="#{_name(entry)}">{_name(entry)}</a></th>'
        f"<td>{html.escape(entry.claim)}</td><td>{html.escape(_headline(entry))}</td>"
        f'<td><span class="verdict {_class(entry)}">{entry.verdict}</span></td>'
        f'<td class="number">{entry.seconds:.0f} s</td></tr>'
        for entry in entries
    )
    head = "<th>package</th><th>the paper's claim</th><th>here</th><th>verdict</th><th>took</th>"
    return f'<table class="overview"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _name(entry: Entry) -> str:
    return html.escape(entry.name.replace("_", "-"), quote=True)


def _class(entry: Entry) -> str:
    return entry.verdict.replace(" ", "-")


def _headline(entry: Entry) -> str:
    return entry.result.headline if entry.result else entry.error.strip().splitlines()[-1]


def _section(entry: Entry) -> str:
    head = (
        f'<section id="{_name(entry)}"><h2>{_name(entry)} '
        f'<span class="verdict {_class(entry)}">{entry.verdict}</span></h2>'
        f'<p class="claim">{html.escape(entry.claim)}</p>'
    )
    if entry.result is None:
        return f"{head}<pre>{html.escape(entry.error)}</pre></section>"
    figures = "".join(_figure(figure) for figure in entry.result.figures)
    tables = "".join(_table(name, table) for name, table in entry.result.tables.items())
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in entry.result.notes)
    return (
        f'{head}<p class="headline">{html.escape(entry.result.headline)}</p>'
        f'<div class="figures">{figures}</div>{tables}<ul class="notes">{notes}</ul></section>'
    )


def _figure(figure: Lines | Images) -> str:
    caption = f"<figcaption>{html.escape(figure.title)}</figcaption>"
    if isinstance(figure, Lines):
        return f"<figure>{caption}{line_chart(figure)}</figure>"
    cells = "".join(
        f'<div><img src="{png_address(image)}" alt="{html.escape(text, quote=True)}">'
        f"<span>{html.escape(text)}</span></div>"
        for image, text in zip(figure.images, figure.captions, strict=True)
    )
    return f'<figure>{caption}<div class="images">{cells}</div></figure>'


def _table(name: str, table: Mapping[str, Sequence[Any]]) -> str:
    columns = list(table.values())
    if len({len(column) for column in columns}) > 1:
        raise ValueError(f"table {name!r} has columns of {[len(c) for c in columns]} rows")
    head = "".join(f"<th>{html.escape(str(column))}</th>" for column in table)
    rows = "".join(
        f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in zip(*columns, strict=True)
    )
    caption = f"<caption>{html.escape(name)}</caption>"
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _cell(value: Any) -> str:
    if isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim >= 2:
        return f'<td><img src="{png_address(value)}" alt=""></td>'
    if isinstance(value, bool | np.bool_):
        return f"<td>{'yes' if value else 'no'}</td>"
    if isinstance(value, float | np.floating):
        return f'<td class="number">{value:.4g}</td>'
    if isinstance(value, int | np.integer):
        return f'<td class="number">{value}</td>'
    return f"<td>{html.escape(str(value))}</td>"

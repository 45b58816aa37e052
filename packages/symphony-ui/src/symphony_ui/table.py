"""The table behind a page: its columns, its media, and what was left out of it and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symphony_ui import arrow
from symphony_ui.columns import Column, warn
from symphony_ui.convert import Converted, Nested, convert
from symphony_ui.data import Source, read
from symphony_ui.errors import ColumnError, MediaError
from symphony_ui.media import Media, MediaColumn, bind, guess


@dataclass(frozen=True)
class PageTable:
    """Columns in the order that the page lists them; those of media are listed too."""

    source: Source
    columns: tuple[Column, ...]
    media: Mapping[str, MediaColumn]
    skipped: dict[str, str] = field(default_factory=dict)  #: column and what it holds
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.source.rows

    def block(self, name: str, *, display: bool = False) -> bytes:
        """The bytes of a block of the page: ``data``, or ``media:<column>``.

        Raises:
            ColumnError: if there is none of that name.
            MediaError: if a medium cannot be made.
        """
        if name == "data":
            return arrow.write_columns(self.columns, display=display)
        column = self.media.get(name.removeprefix("media:")) if name.startswith("media:") else None
        if column is None:
            raise ColumnError(f"no block {name!r}")
        return arrow.write_media([column.item(row) for row in range(self.rows)])


def load_table(
    data: Any,
    *,
    id: str | None = None,
    media: Mapping[str, Media] | None = None,
    kinds: Mapping[str, str] | None = None,
) -> PageTable:
    """The table of any data.

    Args:
        data: as in ``Page``.
        id: the column that names the rows.
        media: columns of media by name.
        kinds: what columns are, where their values do not say it.

    Raises:
        ColumnError: if a column that is named is not there, or cannot be shown.
    """
    source = read(data)
    media, kinds = dict(media or {}), dict(kinds or {})
    for name in kinds:
        if name not in source.columns:
            raise ColumnError(f"kinds names {name!r}, which is no column")
    for name, one in media.items():
        if not isinstance(one, Media):
            raise ColumnError(f"the media {name!r} must be Image, Audio or Text, got {one!r}")
    columns: list[Column] = []
    held: dict[str, MediaColumn] = {}
    skipped: dict[str, str] = {}
    notes = list(source.notes)
    for name, raw in source.columns.items():
        if name in media:
            held[name] = bind(name, media[name], source.columns, source.rows)
            columns.append(held[name].column())
            continue
        made = convert(name, raw, kinds.get(name))
        if made.note:
            notes.append(made.note)
            if "mixes" in made.note:
                warn(made.note)
        column = (
            _nested(name, made, source, held) if isinstance(made.column, Nested) else made.column
        )
        if column is None:
            skipped[name] = made.column.what if isinstance(made.column, Nested) else ""
            notes.append(f"Column {name} was left out of the page: it holds {skipped[name]}.")
        else:
            columns.append(column)
    for name, one in media.items():
        if name not in held:
            held[name] = bind(name, one, source.columns, source.rows)
            columns.append(held[name].column())
    notes += _look_at_ids(columns, id)
    return PageTable(source, tuple(columns), held, skipped, tuple(notes))


def _nested(
    name: str, made: Converted, source: Source, held: dict[str, MediaColumn]
) -> Column | None:
    """A nested column as media, where it looks like some that can be read."""
    assert isinstance(made.column, Nested)
    one = guess(made.column)
    if one is None:
        return None
    column = MediaColumn(name, one, made.column)
    try:
        first = next((row for row in range(min(source.rows, 1000)) if column.item(row)), None)
    except MediaError:
        return None
    if first is None:
        return None
    held[name] = column
    return column.column()


def _look_at_ids(columns: list[Column], id: str | None) -> list[str]:
    """Notes on ids that are doubled or missing; they are told as a warning too."""
    if id is None:
        return []
    column = next((c for c in columns if c.name == id), None)
    if column is None or column.kind == "media":
        raise ColumnError(f"id names {id!r}, which is no column of the page")
    notes = []
    here = column.values[~column.missing]
    doubled = len(here) - len(np.unique(here.astype(str) if here.dtype == object else here))
    if doubled:
        notes.append(f"{doubled} rows of {id} repeat an id: one id then selects several rows.")
    if gone := int(column.missing.sum()):
        notes.append(f"{gone} rows have no {id}.")
    for note in notes:
        warn(note)
    return notes


def rows_of(table: PageTable, rows: NDArray[np.int64]) -> Any:
    """Some rows in the type that the data came in."""
    return table.source.take(rows)

"""What Python says to a page and hears of it: filter, selection, annotations, changes."""

import csv
import io
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from symphony_ui.columns import Mask
from symphony_ui.engine.numpy import NumpyEngine
from symphony_ui.errors import ColumnError, SymphonyError
from symphony_ui.files import replace_file
from symphony_ui.filter import Filter
from symphony_ui.parse import parse, unknown
from symphony_ui.rows import encode_rows
from symphony_ui.session import Session, written
from symphony_ui.state import State
from symphony_ui.table import PageTable

if TYPE_CHECKING:
    from symphony_ui.engine.ibis import IbisEngine


class Controlled:
    """A table under one state: what a page is, but for how it is shown."""

    id: str | None
    table: PageTable | None
    engine: "NumpyEngine | IbisEngine"
    session: Session

    @property
    def rows(self) -> int:
        """How many rows the table has."""
        return self.engine.rows

    def _check(self, state: State) -> None:
        names = [spec["name"] for spec in self.engine.specs() if spec["kind"] != "media"]
        for name in [*state.group_by, *(name for name, _ in state.sort)]:
            if name not in names:
                raise unknown(name, names)
        for tree in state.predicates():
            self.engine.check(tree)

    @property
    def state(self) -> State:
        """The whole state; setting it replaces the whole."""
        return self.session.state

    @state.setter
    def state(self, state: State) -> None:
        self.session.put(state)

    @property
    def filter(self) -> Filter | None:
        """The page's filter; set it to text, a ``Filter`` or None."""
        return self.state.filter

    @filter.setter
    def filter(self, value: str | Filter | None) -> None:
        self.session.change(filter=self._read_filter(value))

    def _read_filter(self, value: Any) -> Filter | None:
        if isinstance(value, str):
            return parse(value, [spec["name"] for spec in self.engine.specs()])
        if value is None or isinstance(value, Filter):
            return value
        raise SymphonyError(f"a filter is text, a Filter or None, got {type(value).__name__}")

    @property
    def group_by(self) -> tuple[str, ...]:
        """The columns that every component is grouped by."""
        return self.state.group_by

    @group_by.setter
    def group_by(self, names: str | Sequence[str]) -> None:
        self.session.change(group_by=listed(names, "group_by"))

    @property
    def selected(self) -> NDArray[np.int64]:
        """The selected row numbers, sorted; set it to row numbers or a mask ``(N,)``."""
        return self.state.selected

    @selected.setter
    def selected(self, rows: ArrayLike) -> None:
        self.session.change(selection=encode_rows(self._numbers(rows)))

    def _numbers(self, rows: ArrayLike) -> NDArray[np.int64]:
        found = np.asarray(rows)
        if found.dtype == bool and found.shape == (self.rows,):
            return np.flatnonzero(found)
        if not found.size:
            return np.zeros(0, dtype=np.int64)
        if found.ndim != 1 or found.dtype.kind not in "iu":
            raise SymphonyError(f"rows must be numbers or a mask of {self.rows}, got {found.dtype}")
        if found.min() < 0 or found.max() >= self.rows:
            raise SymphonyError(f"rows must be from 0 to {self.rows - 1}, got {found.max()}")
        return found.astype(np.int64)

    @property
    def selected_ids(self) -> list[Any]:
        """The ids of the selected rows; setting it selects all rows with these ids."""
        return self._ids(self.selected)

    @selected_ids.setter
    def selected_ids(self, ids: Iterable[Any]) -> None:
        wanted = {str(value) for value in ids}
        have = self._ids(np.arange(self.rows))
        self.selected = np.array([str(v) in wanted and v is not None for v in have], dtype=bool)

    def _ids(self, rows: NDArray[np.int64]) -> list[Any]:
        if self.id is None or self.table is None:
            raise ColumnError("the page has no ids: pass id= the column that names the rows")
        column = next(c for c in self.table.columns if c.name == self.id)
        found = column.cells(rows)
        return [int(v) if column.integer and v is not None else v for v in found]

    @property
    def visible(self) -> Mask:
        """The rows ``(N,)`` that the filter and every brush keep."""
        if not isinstance(self.engine, NumpyEngine):
            raise SymphonyError("the rows of this page stay in its database: use page.frame()")
        return self.engine.mask(self.state.predicates())

    def on_change(
        self, callback: Callable[[Self], Any], keys: Iterable[str] | None = None
    ) -> Callable[[], None]:
        """Calls back after each change of the state, from wherever it came.

        Args:
            callback: takes the page; called in the thread that changed it.
            keys: of the state, such as ``["selection", "filter"]``; also "annotations". None is
                all of them.

        Returns:
            A function that ends it.
        """
        return self.session.on_change(lambda: callback(self), keys)

    # annotations

    @property
    def annotations(self) -> dict[str, list[Any]]:
        """The annotated rows as columns: row, id (where the page has one), label, note."""
        found = written(self.session.notes)
        if self.id is None or self.table is None:
            return found
        ids = self._ids(np.array(found["row"], dtype=np.int64))
        return {"row": found["row"], "id": ids, "label": found["label"], "note": found["note"]}

    def annotate(self, row: int, label: str = "", note: str = "") -> None:
        """Labels and notes a row; empty both, to take its annotation away."""
        self.session.annotate({"row": [int(row)], "label": [label], "note": [note]})

    def annotations_to(self, path: str | os.PathLike[str]) -> Path:
        """Writes the annotations as CSV; the path of the file."""
        table = self.annotations
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
        return replace_file(path, text.getvalue().encode())


def listed(names: str | Sequence[str], what: str) -> tuple[str, ...]:
    """One name or several, checked to be text."""
    found = (names,) if isinstance(names, str) else tuple(names)
    if not all(isinstance(name, str) for name in found):
        raise SymphonyError(f"{what} lists names of columns, got {found}")
    return found


def order(name: str) -> tuple[str, Literal["asc", "desc"]]:
    """A name to sort by and its direction: a "-" before it is down."""
    return (name[1:], "desc") if name.startswith("-") else (name, "asc")

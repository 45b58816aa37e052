"""The page: a table, components that show it, and one state."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from symphony_ui.columns import clean
from symphony_ui.control import Controlled, listed, order
from symphony_ui.engine.numpy import NumpyEngine
from symphony_ui.errors import ColumnError, FormatError, SymphonyError
from symphony_ui.files import replace_file
from symphony_ui.filter import Filter
from symphony_ui.layout import Arranged, Layout, arrange, auto
from symphony_ui.media import Media
from symphony_ui.session import Session, written
from symphony_ui.state import State
from symphony_ui.table import PageTable, load_table, rows_of

if TYPE_CHECKING:
    from symphony_ui.html import Static
    from symphony_ui.server import Server
    from symphony_ui.widget import View

VERSION = 1
REMOTE_ROWS = 5_000_000  # beyond it a browser is not sent the rows
Rows = Literal["selected", "visible", "all"] | ArrayLike


class Page(Controlled):
    """A page of components over one table: in a notebook, live, and as one file.

    As the last value of a notebook's cell it is shown there. Its state is one, whoever changes
    it: a person in the browser, or Python.

    Args:
        data: a data frame, a mapping of columns, a list of mappings, a structured array, an
            object with ``to_table()``, a path, or ``Ibis(expr)``.
        layout: rows of components, or tabs (``Tab``) of them; None lets the columns decide.
        title: of the page.
        id: the column whose values name the rows.
        media: columns of images, sounds or texts, by name.
        kinds: what columns are ("category", "text", "url", ...), where their values do not say.
        filter: the rows to begin with, as text or as a ``Filter``.
        group_by: columns to group every component by.
        sort: columns to sort by; a "-" before a name sorts down.
        engine: "browser" sends it the rows; "remote" keeps them here, for the live page and
            notebooks. By default remote from five million rows on.

    Raises:
        SymphonyError: if the data is no table; its subclasses if a column, a filter or a medium
            does not fit.

    Example:
        >>> page = Page({"score": [0.1, 0.9, 0.5], "label": ["a", "b", "a"]})
        >>> page.filter = "score >= 0.5"
        >>> page.visible.tolist()
        [False, True, True]
    """

    def __init__(
        self,
        data: Any,
        layout: Layout | None = None,
        *,
        title: str = "Page",
        id: str | None = None,
        media: Mapping[str, Media] | None = None,
        kinds: Mapping[str, str] | None = None,
        filter: str | Filter | None = None,
        group_by: Sequence[str] = (),
        sort: Sequence[str] = (),
        engine: Literal["browser", "remote"] | None = None,
    ) -> None:
        if engine not in ("browser", "remote", None):
            raise SymphonyError(f"engine must be 'browser' or 'remote', got {engine!r}")
        self.title = clean(str(title))
        self.id = id
        self.table = None
        if hasattr(data, "make_engine"):
            self.engine = data.make_engine()
            if media or kinds:
                raise SymphonyError("media and kinds are for tables in memory, not for Ibis")
        else:
            self.table = load_table(data, id=id, media=media, kinds=kinds)
            self.engine = NumpyEngine(self.table.columns, self.table.rows)
        far = self.table is None or self.rows >= REMOTE_ROWS
        self.remote = engine == "remote" or (engine is None and far)
        specs = self.engine.specs()
        wanted = layout if layout is not None else auto(specs)
        self._begin(arrange(wanted, specs))
        self.session.change(
            filter=self._read_filter(filter),
            group_by=listed(group_by, "group_by"),
            sort=tuple(order(name) for name in listed(sort, "sort")),
        )

    def _begin(self, layout: Arranged, state: State | None = None) -> None:
        self.layout = layout
        self.modules = layout.modules()
        self.session = Session(state or State(), self._check, self.rows)
        self._blocks: dict[str, bytes] = {}
        self._widgets: dict[str | None, Any] = {}

    @classmethod
    def _restored(cls, title: str, id: str | None, table: PageTable, layout: Arranged) -> "Page":
        """A page out of a saved file."""
        page = cls.__new__(cls)
        page.title, page.id, page.table, page.remote = title, id, table, False
        page.engine = NumpyEngine(table.columns, table.rows)
        page._begin(layout)
        return page

    def __repr__(self) -> str:
        names = [spec["name"] for spec in self.engine.specs()]
        shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        return f"Page({self.title!r}: {self.rows:,} rows, {len(names)} columns: {shown})"

    # what it holds

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out of the page or converted, a sentence each."""
        if self.table is not None:
            return self.table.notes
        left = self.skipped.items()
        return tuple(f"Column {n} was left out of the page: it holds {what}." for n, what in left)

    @property
    def skipped(self) -> dict[str, str]:
        """The columns that are not in the page, and what they hold."""
        if self.table is not None:
            return dict(self.table.skipped)
        return {} if isinstance(self.engine, NumpyEngine) else dict(self.engine.skipped)

    def frame(self, rows: Rows = "visible") -> Any:
        """Rows of the data in the type that they came in.

        Args:
            rows: "visible", "selected", "all", row numbers, or a mask ``(N,)``. Of ``Ibis`` only
                the first and the third: the answer is an expression.
        """
        if self.table is None:
            return self.engine.expression(self.state, str(rows))  # type: ignore[union-attr]
        numbers = {
            "visible": lambda: np.flatnonzero(self.visible),
            "selected": lambda: self.selected,
        }
        if isinstance(rows, str):
            if rows not in (*numbers, "all"):
                raise SymphonyError(f"rows must be 'visible', 'selected' or 'all', got {rows!r}")
            found = np.arange(self.rows) if rows == "all" else numbers[rows]()
        else:
            found = self._numbers(rows)
        return rows_of(self.table, found)

    # what hosts ask for

    def spec(
        self, host: Literal["saved", "live", "widget"], view: str | None = None
    ) -> dict[str, Any]:
        """The page as JSON, for one host; ``view`` leaves only one component."""
        layout = self.layout.spec()
        if view is not None:
            found = [v for tab in layout for row in tab["rows"] for v in row if v["id"] == view]
            if not found:
                ids = ", ".join(placed.id for placed in self.layout.all())
                raise SymphonyError(f"no component has the id {view!r}: there are {ids}")
            layout = [{"tab": view, "rows": [found]}]
        return {
            "v": VERSION,
            "title": self.title,
            "id": self.id,
            "rows": self.rows,
            "host": host,
            "engine": "remote" if self.remote else "browser",
            "columns": self.engine.specs(),
            "layout": layout,
            "state": self.state.to_json(),
            "annotations": written(self.session.notes),
            "custom": {name: {"esm": text} for name, text in self.all_modules().items()},
            "toolbar": view is None,
            "notes": list(self.notes),
            **({"ahead": True} if self.table is None else {}),
        }

    def all_modules(self) -> dict[str, str]:
        """The user's modules, and Vega's runtime where a chart needs it."""
        if not any(placed.component.type == "vega" for placed in self.layout.all()):
            return self.modules
        from symphony_ui.vega import runtime

        return {**self.modules, "vega:runtime": runtime()}

    def answer(self, state: Any, queries: Any) -> list[dict[str, Any]]:
        """The answers to queries under a state, both as they came from a browser.

        Raises:
            SymphonyError: if a query or the state is none, or does not fit the columns.
        """
        if not isinstance(queries, list) or len(queries) > 1000:
            raise FormatError("queries are a list of at most 1000")
        return self.engine.answer(State.from_json(state), queries)

    def block(self, name: str) -> bytes:
        """The bytes of ``data`` or ``media:<column>``, made once."""
        if name not in self._blocks:
            if self.table is None:
                raise ColumnError("the rows of this page stay in its database")
            self._blocks[name] = self.table.block(name)
        return self._blocks[name]

    # where it is shown

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int = 100_000_000,
        precision: Literal["exact", "display"] = "exact",
    ) -> Path:
        """Writes the page as one HTML file that needs no network and no server.

        Args:
            path: of the file; what stands there is replaced at once, or not at all.
            max_bytes: a larger file is not written.
            precision: "display" stores float64 as float32.

        Returns:
            The path.

        Raises:
            SizeError: naming the columns that weigh most.
        """
        text = self.to_html(max_bytes=max_bytes, precision=precision)
        return replace_file(path, text.encode())

    def to_html(
        self,
        *,
        max_bytes: int = 100_000_000,
        precision: Literal["exact", "display"] = "exact",
    ) -> str:
        """The text of the file that ``save`` writes; the same page gives the same text."""
        from symphony_ui.html import page_text

        return page_text(self, max_bytes=max_bytes, display=_is_display(precision))

    def static(self, *, height: int = 700, max_bytes: int = 8_000_000) -> "Static":
        """The saved page in a frame, for notebooks that are read without a kernel."""
        from symphony_ui.html import Static

        return Static(self.to_html(max_bytes=max_bytes), height)

    def serve(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        hosts: Sequence[str] = (),
        open_browser: bool = False,
    ) -> "Server":
        """Serves the page live from this process; needs the extra [serve].

        Args:
            host: the address to listen on.
            port: 0 takes a free one.
            hosts: more names under which the page may be asked for.
            open_browser: opens it.

        Returns:
            The running server: ``url``, ``close()``, and a context manager.
        """
        from symphony_ui.server import Server

        return Server(self, host=host, port=port, hosts=hosts, open_browser=open_browser)

    def view(self, id: str) -> "View":
        """One component by its id, in a cell of its own; the state is the page's."""
        from symphony_ui.widget import View

        return View(self, id)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        from symphony_ui.widget import View

        return View(self, None)._repr_mimebundle_(**kwargs)

    def _display_(self) -> Any:
        """How marimo shows the page."""
        from symphony_ui.widget import View

        return View(self, None).widget


def _is_display(precision: str) -> bool:
    if precision not in ("exact", "display"):
        raise FormatError(f"precision must be 'exact' or 'display', got {precision!r}")
    return precision == "display"

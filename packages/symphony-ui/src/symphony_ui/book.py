"""A book: several pages behind tabs in one HTML file, each with a table and a state of its own."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from symphony_ui.columns import clean
from symphony_ui.errors import FormatError, SizeError, SymphonyError
from symphony_ui.files import replace_file
from symphony_ui.html import document, json_element, page_parts, size_text
from symphony_ui.page import Page, _is_display

VERSION = 1


class Book:
    """Pages behind tabs in one HTML file.

    Each page keeps its own table, filter, brushes and selection; what belongs together stands in
    one page. A page of one component is shown without a toolbar.

    Args:
        tabs: the page, or the pages one below the other, of each tab by its name.
        title: of the book.

    Raises:
        SymphonyError: if there is no tab, or something in one is no page.

    Example:
        >>> scores, names = Page({"score": [0.1, 0.9]}), Page({"name": ["a", "b"]})
        >>> book = Book({"Scores": scores, "Names": names})
        >>> print(book)
        Book('Book': Scores, Names)
    """

    def __init__(self, tabs: Mapping[str, Page | Sequence[Page]], *, title: str = "Book") -> None:
        self.title = clean(str(title))
        self.tabs: dict[str, tuple[Page, ...]] = {}
        for name, pages in tabs.items():
            listed = (pages,) if isinstance(pages, Page) else tuple(pages)
            for page in listed:
                if not isinstance(page, Page):
                    raise SymphonyError(f"tab {name!r} holds {type(page).__name__}, it takes pages")
            self.tabs[str(name)] = listed
        if not self.tabs:
            raise SymphonyError("a book needs one tab or more, got none")

    def __repr__(self) -> str:
        return f"Book({self.title!r}: {', '.join(self.tabs)})"

    @property
    def pages(self) -> list[Page]:
        """The pages of all tabs, in order."""
        return [page for pages in self.tabs.values() for page in pages]

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int = 100_000_000,
        precision: Literal["exact", "display"] = "exact",
    ) -> Path:
        """Writes the book as one HTML file, as ``Page.save`` does a page; the path."""
        text = self.to_html(max_bytes=max_bytes, precision=precision)
        return replace_file(path, text.encode())

    def to_html(
        self,
        *,
        max_bytes: int = 100_000_000,
        precision: Literal["exact", "display"] = "exact",
    ) -> str:
        """The text of the file; the same book gives the same text.

        Raises:
            SizeError: if it is longer than ``max_bytes``, naming the tabs that weigh most.
            FormatError: if two components of one name have different modules.
        """
        display = _is_display(precision)
        weights: dict[str, int] = {}
        parts: list[str] = []
        tabs: list[dict[str, object]] = []
        number = 0
        for name, pages in self.tabs.items():
            held: list[str] = []
            for n, page in enumerate(pages, start=number):
                held += page_parts(page, max_bytes=max_bytes, display=display, key=f"{n}:")
            tabs.append({"tab": name, "pages": list(range(number, number + len(pages)))})
            weights[name] = sum(len(part.encode()) for part in held)
            parts += held
            number += len(pages)
        parts.insert(
            0, json_element("symphony-book", {"v": VERSION, "title": self.title, "tabs": tabs})
        )
        text = document(self.title, parts, self._modules())
        if (size := len(text.encode())) > max_bytes:
            heaviest = sorted(weights, key=lambda name: -weights[name])[:3]
            listed = ", ".join(f"{name} ({size_text(weights[name])})" for name in heaviest)
            raise SizeError(
                f"the book takes {size_text(size)} and may take {size_text(max_bytes)}; heaviest "
                f"tabs: {listed}"
            )
        return text

    def _modules(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for page in self.pages:
            for name, text in page.all_modules().items():
                if found.setdefault(name, text) != text:
                    raise FormatError(f"two pages have components called {name!r}: rename a class")
        return found

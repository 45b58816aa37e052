"""Saved pages read back: JSON and Arrow, nothing else of the file is looked at."""

import base64
import binascii
import html
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from symphony_ui import arrow
from symphony_ui.book import VERSION as BOOK_VERSION
from symphony_ui.book import Book
from symphony_ui.columns import Column
from symphony_ui.convert import Nested, convert
from symphony_ui.data import Source, read
from symphony_ui.errors import FormatError, SymphonyError
from symphony_ui.ipc import check_stream
from symphony_ui.layout import arranged
from symphony_ui.media import Item, Media, MediaColumn
from symphony_ui.page import Page
from symphony_ui.session import read_annotations
from symphony_ui.sniff import SHOWN
from symphony_ui.state import State
from symphony_ui.table import PageTable

INFLATED = 2 * 2**30
MODULE_HEAD = 10_000_000  # Vega's is that long before its export
_ATTRIBUTE = re.compile(r'(?<![a-z-])([a-z-]+)="([^"]*)"')
_REGISTRATION = re.compile(
    r'\(globalThis\.symphonyComponents \?\?= \{\}\)\[("(?:[^"\\]|\\.)*")\] ='
)


def load(path: str | os.PathLike[str]) -> Page:
    """The page of a saved file: its data, its state and its annotations.

    Nothing in the file is run, and nothing outside it is read.

    Args:
        path: of a file that ``Page.save`` or the page's own "Save page" wrote.

    Raises:
        FormatError: if it is no such file, or is broken.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Page({"x": [1, 2]}, title="Two").save(f"{folder}/two.html")
        ...     print(load(file))
        Page('Two': 2 rows, 1 columns: x)
    """
    file = read_file(path)
    if file.book is not None:
        raise FormatError(f"{path} holds a book of pages: read it with load_book")
    return _checked(path, lambda: _page(*file.page("")))


def load_book(path: str | os.PathLike[str]) -> Book:
    """The book of a file that ``Book.save`` wrote, as `load` reads a page.

    Args:
        path: of the file.

    Raises:
        FormatError: if it is no such file, or is broken.
    """
    file = read_file(path)
    if file.book is None:
        raise FormatError(f"{path} holds no book of pages; a single page is read with load")
    book = file.book

    def make() -> Book:
        if book["v"] != BOOK_VERSION:
            raise FormatError(f"this reads version {BOOK_VERSION} of a book, not {book['v']!r}")
        pages = {
            str(tab["tab"]): [_page(*file.page(f"{int(number)}:")) for number in tab["pages"]]
            for tab in book["tabs"]
        }
        return Book(pages, title=str(book["title"]))

    return _checked(path, make)


Made = TypeVar("Made", Page, Book)
_MISFITS = (
    KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, NotImplementedError,
)  # fmt: skip


def _checked(path: Any, make: Callable[[], Made]) -> Made:
    """What ``make`` makes of a file; whatever does not fit is a FormatError."""
    try:
        return make()
    except FormatError:
        raise
    except SymphonyError as error:
        raise FormatError(f"{path} does not fit together: {error}") from error
    except _MISFITS as error:
        raise FormatError(f"{path} cannot be read: {error!r}"[:300]) from error


@dataclass(frozen=True)
class SavedFile:
    """What a saved file holds, by the ids of its elements.

    Attributes:
        specs: of the pages, by their keys; that of a lone page is empty.
        blocks: bytes by key and name.
        modules: the users' modules by name.
        book: the tabs, if it is a book.
    """

    specs: dict[str, Any]
    blocks: dict[str, bytes]
    modules: dict[str, str]
    book: dict[str, Any] | None

    def page(self, key: str) -> tuple[dict[str, Any], dict[str, bytes], dict[str, str]]:
        """Spec, blocks and modules of one page.

        Raises:
            FormatError: if there is no such page, or it is of another version.
        """
        spec = self.specs.get(key)
        if not isinstance(spec, dict):
            raise FormatError("this is no saved page: it has no spec")
        if spec.get("v") != 1:
            raise FormatError(f"this reads version 1 of a page, not {spec.get('v')!r}")
        own = {name[len(key) :]: b for name, b in self.blocks.items() if name.startswith(key)}
        custom = spec.get("custom") or {}
        return spec, own, {name: text for name, text in self.modules.items() if name in custom}


def read_file(path: str | os.PathLike[str]) -> SavedFile:
    """The specs, the blocks and the users' modules of a saved file.

    Raises:
        FormatError: if it is none.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path} cannot be read: {error}") from error
    if not text.endswith("</html>", 0, len(text.rstrip())):
        raise FormatError(f"{path} is no saved page, or is cut short: it has no end")
    file = SavedFile({}, {}, {}, None)
    for head, body in elements(text):
        attributes = dict(_ATTRIBUTE.findall(head))
        id = html.unescape(attributes.get("id", ""))
        if id == "symphony-spec" or id.startswith("symphony-spec:"):
            key = id.removeprefix("symphony-spec").removeprefix(":")
            file.specs[key and f"{key}:"] = _json(body, path)
        elif id == "symphony-book":
            book = _json(body, path)
            file = replace(file, book=book if isinstance(book, dict) else {})
        elif id.startswith("block:"):
            file.blocks[id[6:]] = _bytes(body, attributes.get("data-encoding", "base64"), id)
        elif found := _REGISTRATION.search(body[:MODULE_HEAD]):
            file.modules[str(_json(found[1], path))] = (
                body[: found.start()] + "export default" + body[found.end() :]
            )
    if not file.specs:
        raise FormatError(f"{path} is no saved page: it has no spec")
    return file


def elements(text: str) -> Iterator[tuple[str, str]]:
    """The attributes and the content of each script element; of a broken end, nothing."""
    at = 0
    while (start := text.find("<script", at)) >= 0:
        inner = text.find(">", start) + 1
        end = text.find("</script>", inner)
        if not inner or end < 0:
            return
        yield text[start + 7 : inner - 1], text[inner:end]
        at = end


def _json(body: str, path: Any) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the spec of {path} is no JSON: {error}") from error


def _bytes(body: str, encoding: str, what: str) -> bytes:
    if encoding not in ("base64", "gzip+base64"):
        raise FormatError(f"{what} has an encoding that is not known: {encoding!r}")
    try:
        raw = base64.b64decode(body.strip(), validate=True)
        if encoding == "base64":
            return raw
        unpack = zlib.decompressobj(wbits=31)  # gzip; room is made as it is needed
        content = unpack.decompress(raw, INFLATED)
        if not unpack.eof and len(content) < INFLATED:
            raise EOFError("it is cut short")
    except (binascii.Error, zlib.error, OSError, EOFError, ValueError) as error:
        raise FormatError(f"{what} is broken: {error}") from error
    if len(content) == INFLATED:
        raise FormatError(f"{what} holds more than {INFLATED >> 30} GB")
    return content


def _page(spec: dict[str, Any], blocks: dict[str, bytes], modules: dict[str, str]) -> Page:
    rows = spec["rows"]
    if isinstance(rows, bool) or not isinstance(rows, int) or rows < 0:
        raise FormatError(f"a page has a number of rows, got {rows!r}")
    table = _table(spec["columns"], blocks, rows, [str(note) for note in spec.get("notes", [])])
    layout = arranged(spec["layout"], modules)
    page = Page._restored(str(spec["title"]), spec.get("id"), table, layout)
    page.state = State.from_json(spec["state"])
    notes = spec.get("annotations") or {"row": [], "label": [], "note": []}
    page.session.notes.update(read_annotations(notes, rows))
    return page


def _table(specs: Any, blocks: dict[str, bytes], rows: int, notes: list[str]) -> PageTable:
    """The table of a page's blocks, each column checked against what the spec says of it."""
    plain = [spec for spec in specs if spec["kind"] != "media"]
    arrays: list[Any] = []
    if plain:
        if "data" not in blocks:
            raise FormatError("the page has no block of data")
        held = _read(blocks["data"], "the block of data")
        if held.num_columns != len(plain) or (held.num_rows != rows):
            raise FormatError(
                f"the block of data has {held.num_rows} rows and {held.num_columns} columns, "
                f"the page {rows} and {len(plain)}"
            )
        arrays = list(read(held).columns.values())
    found = dict(zip((spec["name"] for spec in plain), arrays, strict=True))
    media: dict[str, MediaColumn] = {}
    columns: list[Column] = []
    for spec in specs:
        name = spec["name"]
        if spec["kind"] == "media":
            media[name] = _media(spec, blocks, rows)
            columns.append(media[name].column())
        else:
            columns.append(_column(spec, found[name]))
    raw = {
        spec["name"]: media[spec["name"]] if spec["name"] in media else found[spec["name"]]
        for spec in specs
    }

    def take(at: np.ndarray[Any, Any]) -> dict[str, list[Any]]:
        return {
            c.name: [media[c.name].item(int(k)) for k in at] if c.kind == "media" else c.cells(at)
            for c in columns
        }

    return PageTable(Source(raw, rows, take), tuple(columns), media, notes=tuple(notes))


def _read(stream: bytes, what: str) -> Any:
    check_stream(stream, what)
    return arrow.read(stream, what)


def _column(spec: dict[str, Any], array: Any) -> Column:
    """A column as it was, told by its spec where the values alone would not."""
    name, kind = str(spec["name"]), spec["kind"]
    if kind == "text" and spec["dtype"] in ("int64", "uint64"):
        array = [None if v is None else int(v) for v in array.to_pylist()]
        wide = convert(name, array).column
        if not isinstance(wide, Nested) and wide.big:
            return wide
        raise FormatError(f"column {name!r} holds no integers beyond 2^53")
    wanted = "url" if spec.get("url") else kind
    made = convert(name, array, wanted if kind in ("text", "category") else None).column
    if isinstance(made, Nested) or made.kind != kind:
        raise FormatError(f"column {name!r} is no {kind}")
    return replace(
        made, dtype=str(spec["dtype"]), zone=spec.get("zone"), integer=bool(spec["integer"])
    )


class _Held(Media):
    """Media whose bytes are in the file."""

    def item(self, value: Any) -> Item:
        return value[0], value[1]


def _media(spec: dict[str, Any], blocks: dict[str, bytes], rows: int) -> MediaColumn:
    name, told = str(spec["name"]), spec["media"]
    if told["type"] not in ("image", "audio", "text"):
        raise FormatError(f"no such media: {told['type']!r}")
    held = _read(blocks.get(f"media:{name}", b""), f"the block of {name!r}")
    parts = read(held).columns
    if list(parts) != ["mime", "bytes"] or held.num_rows != rows:
        raise FormatError(f"the block of {name!r} does not hold mime and bytes of {rows} rows")
    mimes, raw = parts["mime"].to_pylist(), parts["bytes"].to_pylist()
    if strange := set(mimes) - {None, *SHOWN}:
        raise FormatError(f"the block of {name!r} holds {sorted(strange)[0]!r}, which is not shown")
    pairs = [None if m is None or b is None else (m, b) for m, b in zip(mimes, raw, strict=True)]
    kind = type(
        told["type"].capitalize(), (_Held,), {"type": told["type"], "size": told.get("size")}
    )
    return MediaColumn(name, kind(), pairs)

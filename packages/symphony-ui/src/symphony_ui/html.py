"""A page as one HTML file: nothing in it is fetched, and only what it was made with may run."""

import base64
import gzip
import hashlib
import html
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from symphony_ui.arrow import write_columns
from symphony_ui.errors import FormatError, SizeError, SymphonyError

if TYPE_CHECKING:
    from symphony_ui.page import Page

ARROW = "application/vnd.apache.arrow.stream"
CELLS = 50_000_000  # so many are tried, whatever the file may take: they may shrink
SAMPLE, SLICE = 64 * 1024, 4 * 1024


@cache
def asset(name: str) -> str:
    """The text of a built file of the browser side."""
    return (resources.files("symphony_ui") / "static" / name).read_text(encoding="utf-8")


def inline_json(value: Any) -> str:
    """JSON that may stand in a script element: no character in it can end the element."""
    text = json.dumps(
        value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
    )
    return re.sub("[<>&\u2028\u2029\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)


def inline_script(text: str) -> str:
    """JavaScript that may stand in a script element, and reads the same after the HTML parser.

    Raises:
        FormatError: if it holds a NUL, which no HTML keeps.
    """
    if "\0" in text:
        raise FormatError("a module must not hold the character NUL")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(r"<(?=/script|!--)", r"\\x3c", text, flags=re.IGNORECASE)


def registration(name: str, module: str) -> str:
    """A component's module with its one default export made a registration."""
    target = f"(globalThis.symphonyComponents ??= {{}})[{inline_json(name)}] ="
    return module.replace("export default", target, 1)


def digest(text: str) -> str:
    """A source of the content policy: the hash of an element's text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def policy(scripts: list[str], style: str) -> str:
    """What the file may do: run these scripts, use this style, show what it holds."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(map(digest, scripts))}",
            f"style-src {digest(style)}",
            "img-src data: blob:",
            "media-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def block_element(name: str, content: bytes) -> str:
    """A block of bytes as an element that does nothing."""
    encoding = "base64"
    if shrinks(content):
        content, encoding = gzip.compress(content, compresslevel=6, mtime=0), "gzip+base64"
    body = base64.b64encode(content).decode()
    name = html.escape(f"block:{name}", quote=True).replace("\r", "&#13;")
    return f'<script type="{ARROW}" id="{name}" data-encoding="{encoding}">{body}</script>\n'


def shrinks(content: bytes) -> bool:
    """Whether a sample of 64 kB, from all over, shrinks by a tenth."""
    if len(content) > SAMPLE:
        step = (len(content) - SLICE) // (SAMPLE // SLICE - 1)
        content = b"".join(content[k * step : k * step + SLICE] for k in range(SAMPLE // SLICE))
    return len(gzip.compress(content, compresslevel=6, mtime=0)) < 0.9 * len(content)


def page_text(page: "Page", *, max_bytes: int, display: bool) -> str:
    """The text of a saved page.

    Raises:
        SizeError: if it were longer than ``max_bytes``, naming the columns that weigh most.
        SymphonyError: if the rows are not here to be saved.
    """
    parts = page_parts(page, max_bytes=max_bytes, display=display)
    text = document(page.title, parts, page.all_modules())
    if len(text.encode()) > max_bytes:
        raise _too_large(page, text, max_bytes)
    return text


def page_parts(page: "Page", *, max_bytes: int, display: bool, key: str = "") -> list[str]:
    """The elements that hold a page's spec and its blocks; in a book under its ``key``.

    Raises:
        SizeError: if they would surely be longer than ``max_bytes``.
        SymphonyError: if the rows are not here to be saved.
    """
    if page.table is None:
        raise SymphonyError(
            "a page over Ibis cannot be saved, its rows stay in the database: make a page of "
            "page.frame() or of a sample"
        )
    if page.rows * len(page.table.columns) > max(max_bytes, CELLS):
        raise _too_large(page, None, max_bytes)
    blocks: dict[str, bytes] = {}
    if any(column.kind != "media" for column in page.table.columns):
        blocks["data"] = page.table.block("data", display=True) if display else page.block("data")
    for name in page.table.media:
        blocks[f"media:{name}"] = page.block(f"media:{name}")
    spec = {**page.spec("saved"), "engine": "browser"}
    spec["custom"] = {
        name: dict[str, str]() for name in page.all_modules()
    }  # their text stands in the scripts
    if key:
        drawn = [p for p in page.layout.all() if p.component.type != "markdown"]
        spec["toolbar"] = len(drawn) > 1  # a lone chart needs none
    head = json_element(f"symphony-spec:{key[:-1]}" if key else "symphony-spec", spec)
    return [head, *(block_element(key + name, content) for name, content in blocks.items())]


def document(title: str, parts: Iterable[str], modules: Mapping[str, str]) -> str:
    """A whole document around the elements that hold its data."""
    scripts = [inline_script(registration(name, text)) for name, text in sorted(modules.items())]
    scripts.append(inline_script(asset("symphony.js")))
    style = asset("symphony.css")
    return "".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            f'<meta http-equiv="Content-Security-Policy" content="{policy(scripts, style)}">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            f"<title>{html.escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n",
            '<div id="symphony-page" class="symphony"></div>\n',
            *parts,
            *(f'<script type="module">{text}</script>\n' for text in scripts),
            "</body>\n</html>\n",
        )
    )


def json_element(id: str, value: Any) -> str:
    """A value as JSON in an element that does nothing."""
    return f'<script type="application/json" id="{id}">{inline_json(value)}</script>\n'


def _too_large(page: "Page", text: str | None, max_bytes: int) -> SizeError:
    """The error that says what weighs most."""
    assert page.table is not None
    weights: dict[str, int] = {}
    for column in page.table.columns:
        if column.kind != "media":
            weights[column.name] = _weight(column)
        elif text is not None:
            weights[column.name] = len(block_element("", page.block(f"media:{column.name}")))
    heaviest = sorted(weights, key=lambda name: -weights[name])[:3]
    listed = ", ".join(f"{name} ({size_text(weights[name])})" for name in heaviest)
    total = "" if text is None else f" takes {size_text(len(text.encode()))} and"
    return SizeError(
        f"the page{total} may take {size_text(max_bytes)}; heaviest: {listed}. Drop columns or "
        f"rows, pass precision='display', smaller media (Image(size=32)) or a larger max_bytes"
    )


def _weight(column: Any) -> int:
    """About how much a column takes in the file."""
    share = max(1, column.rows // 100_000)  # of a long column a part says enough
    values, gaps = column.values[::share], column.gaps
    gaps = None if gaps is None else gaps[::share]
    part = replace(column, values=values, rows=len(values), gaps=gaps)
    return len(block_element("", write_columns([part]))) * share


def size_text(size: float) -> str:
    """A number of bytes for people.

    Example:
        >>> size_text(1_234_567)
        '1.2 MB'
    """
    if size < 1000:
        return f"{int(size)} bytes"
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


@dataclass(frozen=True)
class Static:
    """A saved page in a frame of its own; it is its own document and reaches nothing outside."""

    text: str
    height: int

    def _repr_html_(self) -> str:
        source = html.escape(self.text, quote=True)
        return (
            f'<iframe sandbox="allow-scripts allow-downloads" srcdoc="{source}" '
            f'style="width:100%;height:{int(self.height)}px;border:0" title="Page"></iframe>'
        )

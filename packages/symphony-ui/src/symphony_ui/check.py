"""Is a saved file a whole page, and may only what belongs to it run?"""

import os
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from symphony_ui.book import Book
from symphony_ui.errors import FormatError
from symphony_ui.html import ARROW, digest, policy, size_text
from symphony_ui.page import Page
from symphony_ui.saved import load, load_book, read_file

TAGS = frozenset(("html", "head", "meta", "title", "style", "body", "div", "script"))
ATTRIBUTES = frozenset(
    ("lang", "charset", "http-equiv", "content", "name", "id", "class", "type", "data-encoding")
)
DATA = (ARROW, "application/json")


@dataclass(frozen=True)
class Checked:
    """What a file holds, and what is wrong with it.

    Attributes:
        path: of the file.
        page: the page or book, if it can be read.
        blocks: how many blocks of data it holds.
        scripts: how many scripts it runs.
        size: in bytes.
        problems: a sentence each; none in a whole page.
    """

    path: Path
    page: Page | Book | None
    blocks: int
    scripts: int
    size: int
    problems: tuple[str, ...]

    def __str__(self) -> str:
        if self.problems:
            return "\n".join(f"{self.path}: {problem}" for problem in self.problems)
        return (
            f"{self.path}: {self.page}, {self.blocks} blocks, {self.scripts} scripts under their "
            f"hashes, {size_text(self.size)}"
        )


def check(path: str | os.PathLike[str]) -> Checked:
    """What a saved file holds and what is wrong with it; nothing in it is run.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = check(Page({"x": [1, 2]}).save(f"{folder}/page.html"))
        >>> found.blocks, found.scripts, found.problems
        (1, 1, ())
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
        document = _Document(raw.decode().replace("\r\n", "\n").replace("\r", "\n"))
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path} cannot be read: {error}") from error
    problems: list[str] = []
    page: Page | Book | None = None
    blocks = 0
    try:
        file = read_file(path)
        blocks = len(file.blocks)
        page = load(path) if file.book is None else load_book(path)
    except FormatError as error:
        problems.append(str(error))
    scripts = [text for kind, text in document.scripts if kind not in DATA]
    problems += [*document.strange, *_policy(document, scripts)]
    return Checked(path, page, blocks, len(scripts), len(raw), tuple(problems))


def _policy(document: "_Document", scripts: list[str]) -> list[str]:
    """What is wrong between the policy and what it rules."""
    if len(document.policies) != 1:
        return [f"it has {len(document.policies)} content policies, a page has one"]
    found, style = document.policies[0], "".join(document.styles)
    if found == policy(scripts, style):
        return []
    problems = [
        f"script {k} is not the one that its policy allows"
        for k, text in enumerate(scripts, start=1)
        if digest(text) not in found
    ]
    if digest(style) not in found:
        problems.append("the style is not the one that its policy allows")
    return problems or ["its policy allows more than what the page holds"]


class _Document(HTMLParser):
    """The scripts, styles and policies of a document, and what is in no page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[tuple[str, str]] = []
        self.styles: list[str] = []
        self.policies: list[str] = []
        self.strange: list[str] = []
        self._open = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes an element."""
        held = {name: value or "" for name, value in attrs}
        odd = sorted(set(held) - ATTRIBUTES)
        if tag not in TAGS:
            self.strange.append(f"it has an element <{tag}>, which no page has")
        elif odd:
            self.strange.append(f"its <{tag}> has the attribute {odd[0]}, which no page has")
        if tag == "meta" and held.get("http-equiv", "").lower() == "content-security-policy":
            self.policies.append(held.get("content", ""))
            if self.scripts or self.styles:
                self.strange.append("its policy comes after what it should rule")
        elif "http-equiv" in held:
            self.strange.append(f"it has a <{tag}> with http-equiv={held['http-equiv']}")
        if tag == "script":
            self.scripts.append((held.get("type", ""), ""))
        elif tag == "style":
            self.styles.append("")
        self._open = tag

    def handle_endtag(self, tag: str) -> None:
        """Ends an element."""
        self._open = ""

    def handle_data(self, data: str) -> None:
        """Keeps what stands in scripts and styles."""
        if self._open == "script":
            kind, text = self.scripts[-1]
            self.scripts[-1] = (kind, text + data)
        elif self._open == "style":
            self.styles[-1] += data

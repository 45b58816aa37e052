"""The text form of filters: read by recursive descent, never evaluated, and written again."""

import datetime as dt
import json
import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from symphony_ui.columns import EXACT
from symphony_ui.errors import FilterError
from symphony_ui.filter import Filter, Tree

WORDS = {
    "and", "or", "not", "in", "between", "contains", "startswith", "is", "missing", "true",
    "false", "none", "all", "bin", "rows", "lasso",
}  # fmt: skip
SPACE = " \t\n\v\f\r\u00a0\ufeff\u2028\u2029"
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_TICKED = re.compile(r"`(?:[^`]|``)*`")
_TIME = re.compile(r"@[0-9][0-9T:.Z+-]*")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_SIGN = re.compile(r"==|!=|<=|>=|<|>|[()\[\],]")
_WHEN = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:T([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,3}))?)?Z?)?"
)


@dataclass(frozen=True)
class Token:
    """A piece of a filter's text, and where it stands."""

    kind: str
    text: str
    pos: int


def _starts_name(char: str) -> bool:
    return char == "_" or unicodedata.category(char)[0] == "L"


def _in_name(char: str) -> bool:
    return char in "_." or unicodedata.category(char)[0] in "LMN"


def bare(name: str) -> bool:
    """Whether a column's name stands in a filter without backticks."""
    return bool(name) and _starts_name(name[0]) and all(map(_in_name, name)) and name not in WORDS


def _tokens(source: str) -> list[Token]:
    out: list[Token] = []
    at = 0
    while at < len(source):
        char = source[at]
        if char in SPACE or unicodedata.category(char) == "Zs":
            at += 1
            continue
        token = _token(source, at)
        out.append(token)
        at += len(token.text)
    out.append(Token("end", "the end", len(source)))
    return out


def _token(source: str, at: int) -> Token:
    kinds = (
        ("text", _TEXT),
        ("ticked", _TICKED),
        ("time", _TIME),
        ("number", _NUMBER),
        ("sign", _SIGN),
    )
    for kind, pattern in kinds:
        if found := pattern.match(source, at):
            return Token(kind, found[0], at)
    if _starts_name(source[at]):
        end = at + 1
        while end < len(source) and _in_name(source[end]):
            end += 1
        name = source[at:end]
        return Token("word" if name in WORDS else "name", name, at)
    open_ = {'"': "a text without its closing quote", "`": "a name without its closing backtick"}
    hint = "; compare with ==" if source[at] == "=" else ""
    raise FilterError(open_.get(source[at], f"cannot read {json.dumps(source[at])} here{hint}"), at)


class _Parser:
    def __init__(self, source: str, names: Sequence[str] | None) -> None:
        self.list = _tokens(source)
        self.at = 0
        self.names = names
        self.depth = 0

    @property
    def now(self) -> Token:
        return self.list[self.at]

    def take(self, text: str) -> bool:
        hit = self.now.kind in ("word", "sign") and self.now.text == text
        self.at += hit
        return hit

    def need(self, text: str) -> None:
        if not self.take(text):
            self.fail(json.dumps(text))

    def fail(self, wanted: str) -> NoReturn:
        got = "the end" if self.now.kind == "end" else json.dumps(self.now.text, ensure_ascii=False)
        raise FilterError(f"expected {wanted}, found {got}", self.now.pos)

    def chain(self, word: str, part: Callable[[], Tree]) -> Tree:
        parts = [part()]
        while self.take(word):
            parts.append(part())
        return [word, *parts] if len(parts) > 1 else parts[0]

    def either(self) -> Tree:
        self.depth += 1
        if self.depth > 60:
            raise FilterError("the brackets nest too deep", self.now.pos)
        tree = self.chain("or", lambda: self.chain("and", self.single))
        self.depth -= 1
        return tree

    def single(self) -> Tree:
        negations = 0
        while self.take("not"):
            negations += 1
        if self.take("("):
            tree = self.either()
            self.need(")")
        else:
            call = next((name for name in ("all", "bin", "rows", "lasso") if self.take(name)), None)
            tree = self.call(call) if call else self.test()
        for _ in range(negations):
            tree = ["not", tree]
        return tree

    def call(self, name: str) -> Tree:
        self.need("(")
        tree: Tree = [name]
        if name == "rows":
            tree.append(self.text())
        elif name == "bin":
            tree.append(self.column())
            for _ in range(2):
                self.need(",")
                tree.append(None if self.take("none") else self.value())
        elif name == "lasso":
            tree.append(self.column())
            self.need(",")
            tree.append(self.column())
            self.need(",")
            tree.append(self.items(self.point))
        self.need(")")
        return tree

    def point(self) -> list[Any]:
        place = self.items(self.number)
        return place if len(place) == 2 else self.fail("two numbers a point")

    def test(self) -> Tree:
        column = self.column()
        if self.take("in"):
            return ["in", column, self.items(lambda: None if self.take("none") else self.value())]
        if self.take("between"):
            lo = self.value()
            self.need("and")
            return ["between", column, lo, self.value()]
        for op in ("contains", "startswith"):
            if self.take(op):
                return [op, column, self.text()]
        if self.take("is"):
            negate = self.take("not")
            self.need("missing")
            return ["not", ["missing", column]] if negate else ["missing", column]
        for op in ("==", "!=", "<=", ">=", "<", ">"):
            if self.take(op):
                return [op, column, self.value()]
        self.fail("a comparison such as == or in")

    def column(self) -> str:
        token = self.now
        if token.kind not in ("name", "ticked"):
            self.fail("the name of a column")
        name = token.text[1:-1].replace("``", "`") if token.kind == "ticked" else token.text
        if self.names is not None and name not in self.names:
            raise unknown(name, self.names, token.pos)
        self.at += 1
        return name

    def items(self, item: Callable[[], Any]) -> list[Any]:
        self.need("[")
        out: list[Any] = []
        if self.take("]"):
            return out
        out.append(item())
        while self.take(","):
            out.append(item())
        self.need("]")
        return out

    def text(self) -> str:
        token = self.now
        if token.kind != "text":
            self.fail("text in double quotes")
        self.at += 1
        try:
            text: str = json.loads(token.text)
            text.encode()
        except (json.JSONDecodeError, UnicodeEncodeError) as error:
            raise FilterError("a text with an escape that is none", token.pos) from error
        return text

    def number(self) -> float:
        value = self.value()
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return value if is_number else self.fail("a number")

    def value(self) -> Any:
        token = self.now
        if token.kind == "text":
            return self.text()
        for word, meaning in (("true", True), ("false", False)):
            if self.take(word):
                return meaning
        if token.kind not in ("time", "number"):
            self.fail('a value such as 0.5, "text", true or @2024-01-31')
        self.at += 1
        return _when(token) if token.kind == "time" else _number(token)


def _number(token: Token) -> Any:
    if re.fullmatch(r"[+-]?[0-9]+", token.text):
        if len(token.text) > 308:
            raise FilterError(f"{token.text[:20]}... is beyond what a number holds", token.pos)
        exact = int(token.text)
        return {"int": str(exact)} if abs(exact) > EXACT else exact
    value = float(token.text)
    if not math.isfinite(value):
        raise FilterError(f"{token.text} is beyond what a number holds", token.pos)
    return value


def _when(token: Token) -> dict[str, int]:
    found = _WHEN.fullmatch(token.text[1:])
    try:
        if not found:
            raise ValueError
        y, mo, d, h, mi, s = (int(part or 0) for part in found.groups()[:6])
        ms = int((found[7] or "0").ljust(3, "0"))
        when = dt.datetime(y, mo, d, h, mi, s, ms * 1000)
    except ValueError as error:
        raise FilterError(
            f"not a time: {token.text}; write @2024-01-31 or @2024-01-31T12:30", token.pos
        ) from error
    return {"time": (when - dt.datetime(1970, 1, 1)) // dt.timedelta(milliseconds=1)}


def parse(source: str, names: Sequence[str] | None = None) -> Filter | None:
    """The filter of a text, or None for a blank one.

    Args:
        source: such as ``score >= 0.3 and not label in ["a", "b"]``.
        names: the columns that there are; others are then errors.

    Raises:
        FilterError: with ``pos``, the place of the first character that does not fit.

    Example:
        >>> parse("score >= 0.3 and name is missing").tree
        ['and', ['>=', 'score', 0.3], ['missing', 'name']]
    """
    parser = _Parser(source, names)
    if parser.now.kind == "end":
        return None
    tree = parser.either()
    if parser.now.kind != "end":
        parser.fail('"and", "or" or the end')
    return Filter(tree)


def unknown(name: str, names: Sequence[str], pos: int | None = None) -> FilterError:
    """The error of a column that is not there, with the nearest name that is."""
    near = nearest(name, names)
    hint = f"; did you mean {json.dumps(near, ensure_ascii=False)}?" if near is not None else ""
    return FilterError(f"no column {json.dumps(name, ensure_ascii=False)}{hint}", pos)


def nearest(name: str, names: Sequence[str]) -> str | None:
    """The name nearest by edit distance, or None where none is near."""
    best, least = None, max(2, math.ceil(len(name) / 2)) + 1
    for other in names[:5000]:
        if abs(len(name) - len(other)) < least:
            apart = _distance(name.lower(), other.lower())
            if apart < least:
                best, least = other, apart
    return best


def _distance(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        next_ = [i]
        for j, right in enumerate(b, 1):
            next_.append(min(row[j] + 1, next_[-1] + 1, row[j - 1] + (left != right)))
        row = next_
    return row[-1]

"""Filters: which rows are kept, as a closed grammar of JSON arrays; nothing runs as code."""

import datetime as dt
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from symphony_ui.columns import EXACT, clean
from symphony_ui.convert import milliseconds
from symphony_ui.errors import FilterError, FormatError
from symphony_ui.rows import decode_rows, encode_rows

Tree = list[Any]
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
DEEPEST = 100
FIRST, LAST = -62_135_596_800_000, 253_402_300_799_999  # the years 1 to 9999, in epoch ms
LARGEST = 100_000  # nodes and listed values of one tree


@dataclass(frozen=True, eq=False)
class Filter:
    """A condition on rows; combine with ``&``, ``|`` and ``~``.

    A comparison with a missing value is false, ``!=`` included, and ``~`` is the plain
    complement.

    Example:
        >>> wanted = (col("score") >= 0.3) & ~col("label").isin(["cat"])
        >>> print(wanted)
        score >= 0.3 and not label in ["cat"]
    """

    tree: Tree

    def __post_init__(self) -> None:
        check(self.tree)

    def __and__(self, other: "Filter") -> "Filter":
        return Filter(_joined("and", self, other))

    def __or__(self, other: "Filter") -> "Filter":
        return Filter(_joined("or", self, other))

    def __invert__(self) -> "Filter":
        return Filter(["not", self.tree])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Filter) and self.tree == other.tree

    def __hash__(self) -> int:
        return hash(str(self))

    def __bool__(self) -> bool:
        raise FilterError("a filter is neither true nor false: join filters by &, | and ~")

    def __str__(self) -> str:
        from symphony_ui.printing import print_tree

        return print_tree(self.tree)


def _joined(op: str, left: Filter, right: Filter) -> Tree:
    """One node of a chain: ``a & b & c`` has three children."""
    first = left.tree[1:] if left.tree[0] == op else [left.tree]
    return [op, *first, right.tree]


class ColumnRef:
    """A column by its name, to be compared; made by ``col``."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, value: object) -> Filter:  # type: ignore[override]
        return Filter(["==", self.name, literal(value)])

    def __ne__(self, value: object) -> Filter:  # type: ignore[override]
        return Filter(["!=", self.name, literal(value)])

    def __lt__(self, value: object) -> Filter:
        return Filter(["<", self.name, literal(value)])

    def __le__(self, value: object) -> Filter:
        return Filter(["<=", self.name, literal(value)])

    def __gt__(self, value: object) -> Filter:
        return Filter([">", self.name, literal(value)])

    def __ge__(self, value: object) -> Filter:
        return Filter([">=", self.name, literal(value)])

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"col({self.name!r})"

    def between(self, lo: object, hi: object) -> Filter:
        """Both ends are kept."""
        return Filter(["between", self.name, literal(lo), literal(hi)])

    def isin(self, values: Iterable[object]) -> Filter:
        """Whether the value is one of these; a missing one never is."""
        return Filter(["in", self.name, [None if v is None else literal(v) for v in values]])

    def contains(self, text: str) -> Filter:
        """Whether the text holds another, by case."""
        return Filter(["contains", self.name, text])

    def startswith(self, text: str) -> Filter:
        """Whether the text begins with another, by case."""
        return Filter(["startswith", self.name, text])

    def is_missing(self) -> Filter:
        """Whether there is no value."""
        return Filter(["missing", self.name])


def col(name: str) -> ColumnRef:
    """A column of the page, to build a filter from.

    Args:
        name: of the column.

    Example:
        >>> print(col("age").between(20, 30) | (col("odd name") == "x"))
        age between 20 and 30 or `odd name` == "x"
    """
    return ColumnRef(name)


def rows(numbers: Iterable[int]) -> Filter:
    """The rows of these numbers."""
    return Filter(["rows", encode_rows(list(numbers))])


def literal(value: object) -> Any:
    """A value as a tree holds it.

    Raises:
        FilterError: if it is none that a filter knows.
    """
    if isinstance(value, np.generic) and not isinstance(value, np.datetime64):
        value = value.item()
    if isinstance(value, (bool, str)):
        return clean(value) if isinstance(value, str) else value
    if isinstance(value, int):
        return {"int": str(value)} if abs(value) > EXACT else value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise FilterError(
                f"a filter holds finite numbers, got {value}: use is_missing() for NaN"
            )
        return value
    if isinstance(value, (dt.date, np.datetime64)):
        return {"time": milliseconds(value)}
    raise FilterError(
        f"a filter compares with a number, a text, a bool or a time, got {type(value).__name__}"
    )


def check(tree: Any) -> None:
    """Refuses what is no filter tree; columns are not looked at.

    Raises:
        FilterError: saying what is wrong.
    """
    _check(tree, [LARGEST], 0)


def _check(tree: Any, left: list[int], depth: int) -> None:
    if depth > DEEPEST:
        raise FilterError(f"a filter nests at most {DEEPEST} deep")
    if not isinstance(tree, list) or not tree or not isinstance(tree[0], str):
        raise FilterError(f"a filter is a list that begins with an operator, got {_short(tree)}")
    op, args = tree[0], tree[1:]
    left[0] -= 1 + (len(args[1]) if len(args) > 1 and isinstance(args[1], list) else 0)
    if left[0] < 0:
        raise FilterError(f"a filter has at most {LARGEST} parts")
    if op in ("and", "or"):
        if len(args) < 2:
            raise FilterError(f"{op!r} joins two filters or more, got {len(args)}")
        for child in args:
            _check(child, left, depth + 1)
    elif op == "not":
        _count(op, args, 1)
        _check(args[0], left, depth + 1)
    elif op == "all":
        _count(op, args, 0)
    elif op == "rows":
        _count(op, args, 1)
        try:
            decode_rows(args[0])
        except FormatError as error:
            raise FilterError(str(error)) from error
    elif op == "lasso":
        _count(op, args, 3)
        _name(args[0])
        _name(args[1])
        _polygon(args[2])
    else:
        _check_test(op, args)


def _check_test(op: str, args: list[Any]) -> None:
    """An operator on one column."""
    if op in COMPARISONS:
        _count(op, args, 2)
        _value(args[1])
    elif op in ("between", "bin"):
        _count(op, args, 3)
        for value in args[1:]:
            if not (op == "bin" and value is None):
                _value(value)
    elif op == "in":
        _count(op, args, 2)
        if not isinstance(args[1], list):
            raise FilterError(f"'in' needs a list of values, got {_short(args[1])}")
        for value in args[1]:
            if value is not None:
                _value(value)
    elif op in ("contains", "startswith"):
        _count(op, args, 2)
        if not isinstance(args[1], str):
            raise FilterError(f"{op} needs text in quotes, got {_short(args[1])}")
    elif op == "missing":
        _count(op, args, 1)
    else:
        raise FilterError(f"unknown operator {_short(op)}")
    _name(args[0])


def _count(op: str, args: list[Any], wanted: int) -> None:
    if len(args) != wanted:
        raise FilterError(f"{op!r} takes {wanted} arguments, got {len(args)}")


def _name(value: Any) -> None:
    if not isinstance(value, str):
        raise FilterError(f"a column is named by text, got {_short(value)}")


def _value(value: Any) -> None:
    if isinstance(value, Mapping) and len(value) == 1:
        key, held = next(iter(value.items()))
        if key == "time" and _finite(held) and held == int(held) and FIRST <= held <= LAST:
            return
        digits = held[1:] if isinstance(held, str) and held[:1] == "-" else held
        if (
            key == "int"
            and isinstance(digits, str)
            and digits.isascii()
            and digits.isdecimal()
            and len(digits) < 80
        ):
            return
    elif isinstance(value, (str, bool)) or _finite(value):
        return
    raise FilterError(f"no value that a filter knows: {_short(value)}")


def _finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) <= 1.7976931348623157e308


def _polygon(points: Any) -> None:
    good = isinstance(points, list) and all(
        isinstance(p, list) and len(p) == 2 and all(map(_finite, p)) for p in points
    )
    if not good:
        raise FilterError(f"a lasso is a list of points [x, y], got {_short(points)}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def columns_of(tree: Tree) -> set[str]:
    """The names of the columns that a checked tree looks at."""
    op, args = tree[0], tree[1:]
    if op in ("and", "or", "not"):
        return set().union(*(columns_of(child) for child in args))
    if op in ("all", "rows"):
        return set()
    return set(args[:2]) if op == "lasso" else {args[0]}

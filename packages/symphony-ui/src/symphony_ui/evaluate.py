"""Filter trees over columns in numpy: the oracle that the other evaluators are held against."""

import json
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symphony_ui.columns import Column, Mask
from symphony_ui.errors import FilterError
from symphony_ui.filter import COMPARISONS, Tree
from symphony_ui.parse import unknown
from symphony_ui.rows import decode_rows

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def evaluate(tree: Tree, columns: Mapping[str, Column], rows: int) -> Mask:
    """The rows ``(N,)`` that a checked tree keeps.

    Raises:
        FilterError: if a column is not there, or does not compare with its value.
    """
    op, args = tree[0], tree[1:]
    if op == "all":
        return np.ones(rows, dtype=bool)
    if op in ("and", "or"):
        join = np.logical_and if op == "and" else np.logical_or
        return join.reduce([evaluate(child, columns, rows) for child in args])
    if op == "not":
        return ~evaluate(args[0], columns, rows)
    if op == "rows":
        kept = np.zeros(rows, dtype=bool)
        numbers = decode_rows(args[0])
        kept[numbers[numbers < rows]] = True
        return kept
    if op == "lasso":
        x, y = (numeric(find(name, columns), "lasso").values for name in args[:2])
        return inside(x.astype(np.float64), y.astype(np.float64), args[2])
    column = find(args[0], columns)
    if op == "missing":
        return column.missing.copy()
    if op == "bin":
        return _bin(numeric(column, "bin"), args[1], args[2])
    if op == "between":
        return compare(column, ">=", args[1]) & compare(column, "<=", args[2])
    if op == "in":
        kept = np.zeros(rows, dtype=bool)
        for value in args[1]:
            if value is not None:
                kept |= compare(column, "==", value)
        return kept
    if op in COMPARISONS:
        return compare(column, op, args[1])
    return _textual(column, op, args[1])


def find(name: str, columns: Mapping[str, Column]) -> Column:
    """The column of that name."""
    if name not in columns:
        raise unknown(name, list(columns))
    return columns[name]


def numeric(column: Any, op: str) -> Any:
    """The column, if it holds numbers or times."""
    if column.kind not in ("number", "time"):
        raise FilterError(f"{op} needs numbers, and {json.dumps(column.name)} is {column.kind}")
    return column


def scalar(column: Any, value: Any) -> Any:
    """What a tree's value is in the terms of a column: a float, an exact int, a text or a bool.

    Raises:
        FilterError: if the two do not compare.
    """
    kind = column.kind
    if isinstance(value, bool):
        if kind == "bool":
            return value
    elif isinstance(value, (int, float)):
        if kind == "number":
            return float(value)
        if kind == "time":
            raise FilterError(
                f"{json.dumps(column.name)} is a time: write @2024-01-31, not {value}"
            )
        if column.big and value == int(value):
            return int(value)
    elif isinstance(value, str):
        if kind == "category" or (kind == "text" and not column.big):
            return value
    elif "time" in value:
        if kind == "time":
            return float(value["time"])
    elif kind == "number" or column.big:
        return int(value["int"])
    raise FilterError(
        f"{json.dumps(column.name)} is {kind} and cannot be compared with {json.dumps(value)}"
    )


def exact(op: str, value: int) -> tuple[str, float] | bool:
    """A comparison of floats with an integer that float64 may not hold, as one that it holds.

    The answer is an operator and a float, or whether every number compares true.
    """
    try:
        near = float(value)
    except OverflowError:
        near = float("inf") if value > 0 else float("-inf")
    if np.isfinite(near) and int(near) == value:
        return op, near
    if op in ("==", "!="):
        return op == "!="
    above = near if near > value else float(np.nextafter(near, np.inf))
    below = near if near < value else float(np.nextafter(near, -np.inf))
    if op in ("<", "<="):
        return "<=", below
    return ">=", above


def compare(column: Column, op: str, value: Any) -> Mask:
    """Which rows ``(N,)`` compare true with a tree's value; missing ones never do."""
    against = scalar(column, value)
    test = OPERATORS[op]
    if column.kind == "category":
        if not column.labels:
            return np.zeros(column.rows, dtype=bool)
        hit = np.fromiter((test(label, against) for label in column.labels), dtype=bool)
        return hit[column.values] & ~column.missing
    if column.big:
        return _integers(column.values, test, against) & ~column.missing
    if column.kind == "text":
        found = (v is not None and test(v, against) for v in column.values)
        return np.fromiter(found, dtype=bool, count=column.rows)
    values = column.values.astype(np.float64)
    if isinstance(against, int) and not isinstance(against, bool):
        plain = exact(op, against)
        if isinstance(plain, bool):
            return ~column.missing if plain else np.zeros(column.rows, dtype=bool)
        test, against = OPERATORS[plain[0]], plain[1]
    kept: Mask = test(values, against) & ~column.missing
    return kept


def _integers(values: NDArray[Any], test: Callable[[Any, Any], Any], against: int) -> Mask:
    """Compares 64-bit integers with any integer."""
    bounds = np.iinfo(values.dtype)
    if bounds.min <= against <= bounds.max:
        kept: Mask = test(values, values.dtype.type(against))
        return kept
    return np.full(len(values), test(0, against))


def _bin(column: Column, lo: Any, hi: Any) -> Mask:
    kept = ~column.missing
    if lo is not None:
        kept &= compare(column, ">=", lo)
    if hi is not None:
        kept &= compare(column, "<", hi)
    return kept


def _textual(column: Column, op: str, part: str) -> Mask:
    if column.kind not in ("text", "category"):
        raise FilterError(f"{op} needs text, and {json.dumps(column.name)} is {column.kind}")

    def test(text: str) -> bool:
        return part in text if op == "contains" else text.startswith(part)

    if column.kind == "category":
        if not column.labels:
            return np.zeros(column.rows, dtype=bool)
        hit = np.fromiter(map(test, column.labels), dtype=bool)
        return hit[column.values] & ~column.missing
    found = (v is not None and test(v) for v in column.cells())
    return np.fromiter(found, dtype=bool, count=column.rows)


def inside(x: NDArray[Any], y: NDArray[Any], polygon: list[list[float]]) -> Mask:
    """Which points ``(N,)`` lie in a polygon by the even-odd rule, in float64."""
    kept = np.zeros(len(x), dtype=bool)
    if len(polygon) < 3:
        return kept
    points = np.array(polygon, dtype=np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    near = np.flatnonzero((x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1]))
    a, b = x[near], y[near]
    odd = np.zeros(len(near), dtype=bool)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for (px, py), (qx, qy) in zip(points, np.roll(points, 1, axis=0), strict=True):
            crosses = (py > b) != (qy > b)
            odd ^= crosses & (a < (qx - px) * (b - py) / (qy - py) + px)
    kept[near] = odd
    return kept

"""Filter trees and bins as Ibis expressions; Ibis makes the SQL, of whichever database."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from symphony_ui.engine.base import edges, levels_of
from symphony_ui.errors import FilterError
from symphony_ui.evaluate import OPERATORS, exact, numeric, scalar
from symphony_ui.filter import COMPARISONS, Tree
from symphony_ui.parse import unknown
from symphony_ui.rows import decode_rows

FEW_ROWS = 500  # more row numbers than this are joined, not listed
ROW = "symphony_row_number"


@dataclass(frozen=True)
class Field:
    """A column of the database, as filters see it."""

    name: str
    kind: str
    big: bool  #: integers that no float64 holds, compared as integers
    value: Callable[[Any], Any]  #: of a table: floats, integers, texts or bools; null is missing
    plain: Callable[[Any], Any]  #: the same, but where a float is NaN it stays so

    @property
    def few(self) -> bool:
        """Whether so few values differ that a database may group by them."""
        return self.kind in ("category", "bool")


def predicate(tree: Tree, table: Any, fields: Mapping[str, Field]) -> Any:
    """A checked tree as a boolean expression over ``table`` that is never null.

    Raises:
        FilterError: if a column is not there, or does not compare with its value.
    """
    import ibis

    op, args = tree[0], tree[1:]
    if op == "all":
        return ibis.literal(True)
    if op in ("and", "or", "not"):
        parts = [predicate(child, table, fields) for child in args]
        return ~parts[0] if op == "not" else ibis.and_(*parts) if op == "and" else ibis.or_(*parts)
    if op == "rows":
        return _numbered(table[ROW], decode_rows(args[0]))
    if op == "lasso":
        x, y = (numeric(find(name, fields), "lasso") for name in args[:2])
        return _inside(x.value(table), y.value(table), args[2]).fill_null(False)
    field = find(args[0], fields)
    value = field.value(table)
    if op == "missing":
        return value.isnull()
    if op == "bin":
        numeric(field, "bin")
        ends = [v if v is None else float(scalar(field, v)) for v in args[1:]]
        kept = value.notnull()
        kept = kept if ends[0] is None else kept & (value >= ends[0])
        return (kept if ends[1] is None else kept & (value < ends[1])).fill_null(False)
    if op == "between":
        return compare(field, value, ">=", args[1]) & compare(field, value, "<=", args[2])
    if op == "in":
        parts = [compare(field, value, "==", v) for v in args[1] if v is not None]
        return ibis.or_(*parts) if parts else ibis.literal(False)
    if op in COMPARISONS:
        return compare(field, value, op, args[1])
    if field.kind not in ("text", "category"):
        raise FilterError(f"{op} needs text, and {json.dumps(field.name)} is {field.kind}")
    text = value.cast("string") if field.big else value
    found = text.contains(args[1]) if op == "contains" else text.startswith(args[1])
    return found.fill_null(False)


def find(name: str, fields: Mapping[str, Field]) -> Field:
    """The field of that name."""
    if name not in fields:
        raise unknown(name, list(fields))
    return fields[name]


def compare(field: Field, value: Any, op: str, against: Any) -> Any:
    """A comparison that is false where the value is missing."""
    against = scalar(field, against)
    if isinstance(against, int) and not isinstance(against, bool):
        if field.big:
            if not -(2**63) <= against < 2**63:
                return value.notnull() if OPERATORS[op](0, against) else value.isnull() & False
        else:
            plain = exact(op, against)
            if isinstance(plain, bool):
                return value.notnull() & plain
            op, against = plain
    return OPERATORS[op](value, against).fill_null(False)


def _numbered(number: Any, rows: Any) -> Any:
    """Whether a row has one of these numbers."""
    import ibis

    if not len(rows):
        return ibis.literal(False)
    if len(rows) == rows[-1] - rows[0] + 1:
        return number.between(int(rows[0]), int(rows[-1]))
    if len(rows) <= FEW_ROWS:
        return number.isin(rows.tolist())
    import pyarrow

    return number.isin(ibis.memtable(pyarrow.table({"number": rows}))["number"])  # else by pandas


def _inside(a: Any, b: Any, polygon: Sequence[Sequence[float]]) -> Any:
    """The even-odd rule, with the arithmetic of the other evaluators."""
    import ibis

    if len(polygon) < 3:
        return ibis.literal(False)
    points = [(float(x), float(y)) for x, y in polygon]
    lows, highs = (
        [min(v) for v in zip(*points, strict=True)],
        [max(v) for v in zip(*points, strict=True)],
    )
    box = (a >= lows[0]) & (a <= highs[0]) & (b >= lows[1]) & (b <= highs[1])
    crossings: Any = ibis.literal(0)
    for (px, py), (qx, qy) in zip(points, [points[-1], *points[:-1]], strict=True):
        if py == qy:
            continue  # level edges are never crossed
        crosses = (b < py) != (b < qy)
        left = a < (b - py) * (qx - px) / (qy - py) + px
        crossings = crossings + (crosses & left).cast("int32")
    return box & (crossings % 2 == 1)


def near(value: Any, bins: Mapping[str, Any]) -> Any:
    """About which of linear bins a value is in, by one multiplication; -1 outside of them.

    It rises with the value and is right to within one, or 0 where float64 cannot say so much.
    """
    import ibis

    inside = (value >= bins["lo"]) & (value <= bins["hi"]) & (value - value == 0)  # not NaN
    scale = bins["n"] / (bins["hi"] - bins["lo"]) if _is_wide(bins) else 0.0
    product = (value - bins["lo"]) * scale if scale else ibis.literal(0.0)
    at: Any = ibis.ifelse(inside, product, -1.0)
    return ibis.least(at.floor(), bins["n"] - 1)


def _is_wide(bins: Mapping[str, Any]) -> bool:
    """Whether float64 tells bins of this width from each other, also after some rounding."""
    lo, hi, n = bins["lo"], bins["hi"], bins["n"]
    width = hi - lo
    fine = 16 * float(np.spacing(max(abs(lo), abs(hi), np.finfo(float).tiny)))
    return bool(np.isfinite(width)) and width / n > fine and bool(np.isfinite(n / width))


def linear_code(value: Any, at: Any, bins: Mapping[str, Any]) -> Any:
    """The bin of a value, 0 to n - 1, then n for other, n + 1 for missing, by what is ``near``.

    The edges decide: the two beside it, or all of them where it says nothing.
    """
    import ibis

    n = bins["n"]
    if _is_wide(bins):
        low, high = ((at + k) / float(n) * (bins["hi"] - bins["lo"]) + bins["lo"] for k in (0, 1))
        down, up = (at > 0) & (value < low), (at < n - 1) & (value >= high)
        code = ibis.cases((down, at - 1), (up, at + 1), else_=at)
    else:
        code = sum(((value >= float(e)).cast("int64") for e in edges(bins)[1:n]), at)
    real = (value - value == 0) | value.isinf()  # not by isnan: see schema.finite
    return ibis.cases((at >= 0, code), (real.fill_null(False), n), else_=n + 1)


def level_code(field: Field, value: Any, levels: Sequence[Any]) -> Any:
    """The number of a value's level, then that of other, then of missing."""
    import ibis

    n = len(levels)
    pairs = [
        (value == level, ibis.literal(k, "int32"))
        for level, k in levels_of(field.kind, levels).items()
    ]
    missing = (value.isnull(), ibis.literal(n + 1, "int32"))
    return ibis.cases(*pairs, missing, else_=ibis.literal(n, "int32"))

"""What every engine answers: five kinds of query over the rows that a state keeps."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from symphony_ui.errors import FormatError
from symphony_ui.filter import Filter, Tree
from symphony_ui.state import State

Query = dict[str, Any]
Answer = dict[str, Any]
MOST_BINS = 65_000
MOST_CELLS = 4_000_000
MOST_ROWS = 500_000


class Engine(Protocol):
    """Answers queries about the rows of one table."""

    rows: int

    def specs(self) -> list[dict[str, Any]]:
        """The columns, as the page's spec lists them."""
        ...

    def check(self, tree: Tree) -> None:
        """Raises FilterError if the tree cannot be evaluated on this table."""
        ...

    def answer(self, state: State, queries: Sequence[Query]) -> list[Answer]:
        """The answers, in order; see PROTOCOL.md."""
        ...


def edges(bins: Mapping[str, Any]) -> NDArray[np.float64]:
    """The ``n + 1`` edges of linear bins, in float64 as every evaluator computes them."""
    lo, hi, n = bins["lo"], bins["hi"], bins["n"]
    t = np.arange(n + 1) / n
    with np.errstate(over="ignore"):
        width = np.float64(hi) - np.float64(lo)
    out = lo + width * t if np.isfinite(width) else lo * (1 - t) + hi * t
    out[0], out[n] = lo, hi
    return out


def checked_bins(raw: Any) -> dict[str, Any]:
    """Bins of a query, if they are any; ``levels`` are sorted out by the engine.

    Raises:
        FormatError: if they are not.
    """
    if isinstance(raw, Mapping) and raw.get("type") == "linear":
        lo, hi, n = (raw.get(key, math.nan) for key in ("lo", "hi", "n"))
        real = all(isinstance(v, (int, float)) and math.isfinite(v) for v in (lo, hi))
        if real and isinstance(n, int) and 1 <= n <= MOST_BINS and lo <= hi:
            return {"type": "linear", "lo": float(lo), "hi": float(hi), "n": n}
    elif isinstance(raw, Mapping) and raw.get("type") == "levels":
        levels = raw.get("levels")
        if (
            isinstance(levels, list)
            and len(levels) <= MOST_BINS
            and all(level is None or isinstance(level, (str, int, float)) for level in levels)
        ):
            return {"type": "levels", "levels": levels}
    raise FormatError(f"bins are linear or levels, got {str(raw)[:80]}")


def size(bins: Mapping[str, Any]) -> int:
    """How many bins there are, without other and missing."""
    return bins["n"] if bins["type"] == "linear" else len(bins["levels"])


def checked(query: Any) -> Query:
    """A query that has what its kind needs.

    Raises:
        FormatError: if it does not.
        FilterError: if its ``where`` is no filter.
    """
    if not isinstance(query, Mapping):
        raise FormatError(f"a query is an object, got {str(query)[:60]}")
    kind = query.get("kind")
    made: Query = {"kind": kind, "view": query.get("view")}
    if query.get("where") is not None:
        made["where"] = Filter(query["where"]).tree
    if kind == "hist":
        made |= {"column": _name(query.get("column")), "bins": checked_bins(query.get("bins"))}
    elif kind == "matrix":
        made |= {key: _name(query.get(key)) for key in ("x", "y")}
        made |= {key: checked_bins(query.get(key)) for key in ("xbins", "ybins")}
        made["value"] = None if query.get("value") is None else _name(query["value"])
        cells = (size(made["xbins"]) + 2) * (size(made["ybins"]) + 2)
        if cells > MOST_CELLS:
            raise FormatError(f"a matrix has at most {MOST_CELLS} cells, asked for {cells}")
    elif kind == "rows":
        made |= {
            "columns": _names(query.get("columns")),
            "sort": _sort(query.get("sort", [])),
            "offset": _whole(query.get("offset", 0), 2**53),
            "limit": _whole(query.get("limit", 100), MOST_ROWS),
            "scope": _one_of(query.get("scope", "visible"), ("visible", "context")),
        }
    elif kind == "groups":
        made |= {
            "by": _names(query.get("by")),
            "limit": _whole(query.get("limit", 100), MOST_ROWS),
            "scope": _one_of(query.get("scope", "visible"), ("visible", "all")),
        }
    elif kind != "count":
        raise FormatError(f"no such query: {str(kind)[:40]!r}")
    return made


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise FormatError(f"a query names its columns, got {str(value)[:60]!r}")
    return value


def _names(value: Any) -> list[str]:
    if not isinstance(value, list) or len(value) > 10_000:
        raise FormatError(f"a query lists its columns, got {str(value)[:60]!r}")
    return [_name(v) for v in value]


def _whole(value: Any, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise FormatError(f"a query counts from 0 to {most}, got {str(value)[:40]!r}")
    return value


def _one_of(value: Any, known: tuple[str, ...]) -> str:
    if value not in known:
        raise FormatError(f"the scope of a query is one of {', '.join(known)}, got {value!r}")
    return str(value)


def _sort(value: Any) -> list[tuple[str, bool]]:
    """Columns and whether they go down."""
    good = isinstance(value, list) and all(
        isinstance(pair, (list, tuple)) and len(pair) == 2 and pair[1] in ("asc", "desc")
        for pair in value
    )
    if not good:
        raise FormatError(f"a query sorts by pairs of a column and asc or desc, got {value!r}")
    return [(_name(name), way == "desc") for name, way in value]


def levels_of(kind: str, levels: Sequence[Any]) -> dict[Any, int]:
    """The bin of each level that a column of this kind can hold; others match no row."""
    wanted = (int, float) if kind in ("number", "time") else str
    return {
        level: k
        for k, level in enumerate(levels)
        if isinstance(level, wanted) and not isinstance(level, bool)
    }


def order_of(key: Sequence[Any]) -> tuple[Any, ...]:
    """What groups of equal size are sorted by: missing last, then by value."""
    far = {"Infinity": math.inf, "-Infinity": -math.inf}
    return tuple(
        (v is None, 0 if v is None else far.get(v, v) if isinstance(v, str) else v) for v in key
    )

"""Pages over tables that stay in a database: DuckDB, or whatever else Ibis reaches."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symphony_ui.analysis._checks import extra
from symphony_ui.columns import number
from symphony_ui.engine.base import (
    MOST_CELLS,
    Answer,
    Query,
    checked,
    edges,
    order_of,
    size,
)
from symphony_ui.engine.expressions import ROW, bin_code, find, predicate
from symphony_ui.engine.numpy import finite
from symphony_ui.engine.schema import describe, fetch
from symphony_ui.errors import FilterError, SymphonyError
from symphony_ui.filter import Tree
from symphony_ui.state import State

KEPT = 400  # answers that are remembered
Key = tuple[str, Mapping[str, Any]]  # a column and its bins


@dataclass(frozen=True)
class Ibis:
    """A table that stays where it is, as the data of a page; needs the extra [big].

    Args:
        expr: an Ibis table expression, such as ``ibis.read_parquet("data/*.parquet")``.
        order_by: columns whose order numbers the rows; needed where the database keeps no
            order of its own, as all but DuckDB do.

    Example:
        >>> import ibis
        >>> from symphony_ui.page import Page
        >>> page = Page(Ibis(ibis.memtable({"x": [1.0, 2.0, 3.0]})), filter="x > 1")
        >>> page.frame("visible").count().to_pyarrow().as_py()
        2
    """

    expr: Any
    order_by: str | Sequence[str] | None = None

    def make_engine(self) -> "IbisEngine":
        """The engine that asks it."""
        return IbisEngine(self.expr, self.order_by)


class IbisEngine:
    """Answers queries by Ibis expressions.

    Counts while one brush is dragged come from cubes: counts by the brush's bins too, asked of
    the database once and then added up here, so that a step of a drag asks it nothing.
    """

    def __init__(self, expr: Any, order_by: str | Sequence[str] | None = None) -> None:
        self._ibis = extra("ibis", "Ibis", "big")
        if not hasattr(expr, "schema") or not hasattr(expr, "aggregate"):
            raise SymphonyError(f"Ibis needs a table expression, got {type(expr).__name__}")
        self.expr = expr
        self._lock = threading.RLock()
        order = [order_by] if isinstance(order_by, str) else list(order_by or ())
        number = self._ibis.row_number()
        self._numbered = expr.mutate(**{ROW: number.over(order_by=order) if order else number})
        found = describe(expr)
        self.rows, self.fields, self._specs = found.rows, found.fields, found.specs
        self._kept: OrderedDict[str, Any] = OrderedDict()
        self._bins: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._last: dict[str, Tree] = {}
        self._moving: str | None = None

    def specs(self) -> list[dict[str, Any]]:
        """The columns, as the page's spec lists them."""
        return self._specs

    def expression(self, state: State, rows: str) -> Any:
        """The Ibis expression of the visible rows, or of all."""
        if rows == "all":
            return self.expr
        if rows != "visible":
            raise SymphonyError(f"rows of an Ibis page must be 'visible' or 'all', got {rows!r}")
        table = self._table(state.predicates())
        return table.drop(ROW) if ROW in table.columns else table

    def check(self, tree: Tree) -> None:
        """Raises FilterError if the tree cannot be evaluated on this table."""
        predicate(tree, self._numbered, self.fields)

    # what is asked of the database

    def _table(self, trees: Sequence[Tree], numbered: bool = False) -> Any:
        """The rows that all trees keep."""
        table = self._numbered if numbered or any(map(_holds_rows, trees)) else self.expr
        for tree in trees:
            table = table.filter(predicate(tree, table, self.fields))
        return table

    def _remembered(self, key: Any, make: Any) -> Any:
        text = repr(key)
        if text not in self._kept:
            self._kept[text] = make()
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(text)
        return self._kept[text]

    def _counted(
        self, keys: Sequence[Key], trees: Sequence[Tree], value: str | None = None
    ) -> NDArray[np.float64]:
        """Counts, and sums of ``value``: ``(2, bins of the first key + 2, ...)``."""
        return self._remembered((keys, trees, value), lambda: self._count_now(keys, trees, value))

    def _count_now(
        self, keys: Sequence[Key], trees: Sequence[Tree], value: str | None
    ) -> NDArray[np.float64]:
        table = self._table(trees)
        if value is not None:
            field = find(value, self.fields)
            if field.kind not in ("number", "time"):
                raise FilterError(f"a sum needs numbers, and {value!r} is {field.kind}")
            table = table.filter(field.value(table).notnull())
        cell = self._ibis.literal(0, "int32")
        shape = [size(bins) + 2 for _, bins in keys]
        for (name, bins), width in zip(keys, shape, strict=True):
            cell = cell * width + bin_code(find(name, self.fields), table, bins)
        measures = {"n": self._ibis._.count()}
        if value is not None:
            measures["s"] = self.fields[value].value(self._ibis._).sum()
        out = np.zeros((2, int(np.prod(shape))))
        if keys:
            found = table.group_by(cell=cell).aggregate(**measures).to_pyarrow()
            at = found.column("cell").to_numpy().astype(np.int64)
        else:
            found, at = table.aggregate(n=table.count()).to_pyarrow(), np.zeros(1, dtype=np.int64)
        out[0, at] = found.column("n").to_numpy()
        if value is not None:
            out[1, at] = found.column("s").to_numpy(zero_copy_only=False)
        return out.reshape(2, *shape)

    def _counts(
        self, keys: Sequence[Key], state: State, view: str | None, where: Sequence[Tree],
        value: str | None = None,
    ) -> NDArray[np.float64]:  # fmt: skip
        """As ``_counted``, for a scope of a state, out of a cube where one brush moves."""
        brush = state.brushes.get(self._moving or "")
        if brush is None or self._moving == view:
            return self._counted(keys, [*state.predicates(view), *where], value)
        along = self._along(brush.tree)
        cells = np.prod([size(bins) + 2.0 for _, bins in keys])
        if along is None or cells * (size(along[0][1]) + 2) > MOST_CELLS:
            return self._counted(keys, [*state.predicates(view), *where], value)
        key, lo, hi = along
        others = {k: b for k, b in state.brushes.items() if k not in (self._moving, view)}
        trees = State(filter=state.filter, brushes=others).predicates()
        cube = self._counted([*keys, key], [*trees, *where], value)
        with np.errstate(invalid="ignore"):
            return cube[..., lo:hi].sum(axis=-1)

    def _along(self, tree: Tree) -> tuple[Key, int, int] | None:
        """The bins that the moving brush keeps, if it lies along edges of its own histogram."""
        if tree[0] not in ("bin", "between"):
            return None
        bins = self._bins.get((self._moving or "", tree[1]))
        if bins is None:
            return None
        at = edges(bins).tolist()
        lo, hi = (v["time"] if isinstance(v, dict) else v for v in tree[2:])
        ends = (0 if lo is None else _index(at, lo)), (None if hi is None else _index(at, hi))
        if ends[0] is None or ends[1] is None or lo is None or at.count(lo) + at.count(hi) != 2:
            return None
        if (tree[0] == "between") != (ends[1] == bins["n"]):
            return None
        return (tree[1], bins), ends[0], ends[1]

    # the queries

    def answer(self, state: State, queries: Sequence[Query]) -> list[Answer]:
        """The answers, in order."""
        ready = [checked(query) for query in queries]
        with self._lock:
            self._follow(state, ready)
            return [getattr(self, f"_{query['kind']}")(state, query) for query in ready]

    def _follow(self, state: State, queries: Sequence[Query]) -> None:
        """Notes which brush moves, and the bins of each histogram."""
        for query in queries:
            if query["kind"] == "hist" and query["bins"]["type"] == "linear":
                self._bins[query["view"], query["column"]] = query["bins"]
        brushes = {key: brush.tree for key, brush in state.brushes.items()}
        moved = [key for key, tree in brushes.items() if self._last.get(key) != tree]
        if moved:
            self._moving = moved[-1]
        self._last = brushes

    def _count(self, state: State, query: Query) -> Answer:
        return {"all": self.rows, "visible": self._total(state, query, None)}

    def _total(self, state: State, query: Query, view: str | None) -> int:
        return int(self._counts([], state, view, _where(query))[0])

    def _hist(self, state: State, query: Query) -> Answer:
        key, where = (query["column"], query["bins"]), _where(query)
        found = {
            "all": self._counted([key], []),
            "context": self._counts([key], state, query["view"], where),
            "visible": self._counts([key], state, None, where),
        }
        return {scope: counts[0].astype(np.int64).tolist() for scope, counts in found.items()}

    def _matrix(self, state: State, query: Query) -> Answer:
        keys = [(query["y"], query["ybins"]), (query["x"], query["xbins"])]
        counts, sums = self._counts(keys, state, query["view"], _where(query), query["value"])
        plain = counts.astype(np.int64).tolist()
        return {
            "counts": plain,
            "sum": None if query["value"] is None else [finite(r) for r in sums],
        }

    def _rows(self, state: State, query: Query) -> Answer:
        view = query["view"] if query["scope"] == "context" else None
        table = self._table([*state.predicates(view), *_where(query)], numbered=True)
        order = []
        for name, down in _once(query["sort"]):
            value = find(name, self.fields).value(table)
            order.append(value.desc(nulls_first=False) if down else value.asc(nulls_first=False))
        names = [name for name in dict.fromkeys(query["columns"]) if name in self.fields]
        kept = {f"c{k}": self.fields[name].value(table) for k, name in enumerate(names)}
        page = table.order_by([*order, table[ROW]]) if order else table
        page = page.limit(query["limit"], offset=query["offset"]).select(row=ROW, **kept)
        found = fetch(page.order_by("row") if not order else page)
        cells = {
            name: [self._cell(name, v) for v in found[f"c{k}"]] for k, name in enumerate(names)
        }
        index = [int(row) for row in found["row"]]
        none = [None] * len(index)
        rows = [list(r) for r in zip(*(cells.get(n, none) for n in query["columns"]), strict=True)]
        total = self._total(state, query, view)
        return {"rows": rows or [[] for _ in index], "index": index, "total": total}

    def _cell(self, name: str, value: Any) -> Any:
        if value is None:
            return None
        field = self.fields[name]
        if field.big:
            return str(value)
        if field.kind in ("number", "time"):
            whole = self.expr.schema()[name].is_integer() or field.kind == "time"
            return int(value) if whole else number(float(value))
        return value

    def _groups(self, state: State, query: Query) -> Answer:
        trees = [] if query["scope"] == "all" else state.predicates()
        trees = [*trees, *_where(query)]
        return self._remembered(("groups", query, trees), lambda: self._groups_now(query, trees))

    def _groups_now(self, query: Query, trees: Sequence[Tree]) -> Answer:
        table = self._table(trees)
        fields = [find(name, self.fields) for name in query["by"]]
        if not fields:
            total = int(self._counted([], trees)[0])
            lone: list[Any] = [{"key": [], "count": total}] if total else []
            return {"groups": lone[: query["limit"]], "total": len(lone)}
        keys = {f"k{k}": field.value(table) for k, field in enumerate(fields)}
        groups = table.group_by(**keys).aggregate(n=self._ibis._.count())
        total = int(fetch(groups.aggregate(n=groups.count()))["n"][0])
        order = [groups["n"].desc(), *(groups[key].asc(nulls_first=False) for key in keys)]
        found = fetch(groups.order_by(order).limit(query["limit"]))
        out = [
            {
                "key": [self._cell(n, v) for n, v in zip(query["by"], key, strict=True)],
                "count": int(n),
            }
            for *key, n in zip(*(found[key] for key in keys), found["n"], strict=True)
        ]
        return {
            "groups": sorted(out, key=lambda g: (-g["count"], order_of(g["key"]))),
            "total": total,
        }


def _where(query: Query) -> list[Tree]:
    return [query["where"]] if "where" in query else []


def _once(sort: Sequence[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """The order without what sorts by a column again, which changes nothing."""
    first: dict[str, bool] = {}
    for name, down in sort:
        first.setdefault(name, down)
    return list(first.items())


def _index(at: Sequence[float], value: float) -> int | None:
    return at.index(value) if value in at else None


def _holds_rows(tree: Tree) -> bool:
    if tree[0] in ("and", "or", "not"):
        return any(map(_holds_rows, tree[1:]))
    return tree[0] == "rows"

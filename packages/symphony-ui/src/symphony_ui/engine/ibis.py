"""Pages over tables that stay in a database: DuckDB, or whatever else Ibis reaches."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from symphony_ui.analysis._checks import extra
from symphony_ui.columns import number
from symphony_ui.engine.base import Answer, Query, checked, order_of
from symphony_ui.engine.cubes import Cubes
from symphony_ui.engine.expressions import ROW, find, predicate
from symphony_ui.engine.numpy import finite
from symphony_ui.engine.schema import describe, fetch
from symphony_ui.errors import SymphonyError
from symphony_ui.filter import Tree
from symphony_ui.parse import unknown
from symphony_ui.state import State


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
    """Answers queries by Ibis expressions."""

    def __init__(self, expr: Any, order_by: str | Sequence[str] | None = None) -> None:
        self._ibis = extra("ibis", "Ibis", "big")
        if not hasattr(expr, "schema") or not hasattr(expr, "aggregate"):
            raise SymphonyError(f"Ibis needs a table expression, got {type(expr).__name__}")
        self.expr = expr
        self._lock = threading.RLock()
        order = [order_by] if isinstance(order_by, str) else list(order_by or ())
        for name in order:
            if name not in expr.columns:
                raise unknown(name, list(expr.columns))
        self._ordered = bool(order)
        number = self._ibis.row_number()
        self._numbered = expr.mutate(**{ROW: number.over(order_by=order) if order else number})
        found = describe(expr)
        self.rows, self.fields, self._specs = found.rows, found.fields, found.specs
        self.skipped = found.skipped
        self._cubes = Cubes(self._table, self.fields)

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

    # the queries

    def answer(self, state: State, queries: Sequence[Query]) -> list[Answer]:
        """The answers, in order."""
        ready = [checked(query) for query in queries]
        with self._lock:
            self._cubes.follow(state, ready)
            return [getattr(self, f"_{query['kind']}")(state, query) for query in ready]

    def _count(self, state: State, query: Query) -> Answer:
        return {"all": self.rows, "visible": self._total(state, query, None)}

    def _total(self, state: State, query: Query, view: str | None) -> int:
        return int(self._cubes.counts([], state, view, _where(query))[0])

    def _hist(self, state: State, query: Query) -> Answer:
        key, where = (query["column"], query["bins"]), _where(query)
        found = {
            "all": self._cubes.counted([key], []),
            "context": self._cubes.counts([key], state, query["view"], where),
            "visible": self._cubes.counts([key], state, None, where),
        }
        return {scope: counts[0].astype(np.int64).tolist() for scope, counts in found.items()}

    def _matrix(self, state: State, query: Query) -> Answer:
        keys = [(query["y"], query["ybins"]), (query["x"], query["xbins"])]
        value = query["value"]
        found = self._cubes.counts(keys, state, query["view"], _where(query), value)
        sums = None if value is None else [finite(row) for row in found[1]]
        return {"counts": found[0].astype(np.int64).tolist(), "sum": sums}

    def _rows(self, state: State, query: Query) -> Answer:
        view = query["view"] if query["scope"] == "context" else None
        table = self._table([*state.predicates(view), *_where(query)], numbered=True)
        order = []
        for name, down in _once(query["sort"]):
            value = find(name, self.fields).value(table)
            order.append(value.desc(nulls_first=False) if down else value.asc(nulls_first=False))
        names = [name for name in dict.fromkeys(query["columns"]) if name in self.fields]
        kept = {f"c{k}": self.fields[name].value(table) for k, name in enumerate(names)}
        if order or self._ordered:  # else they come as the database keeps them, and it stops early
            table = table.order_by([*order, table[ROW]])
        page = table.limit(query["limit"], offset=query["offset"])
        found = fetch(page.select(row=ROW, **kept))
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
        return self._cubes.remembered(
            ("groups", query, trees), lambda: self._groups_now(query, trees)
        )

    def _groups_now(self, query: Query, trees: Sequence[Tree]) -> Answer:
        table = self._table(trees)
        fields = [find(name, self.fields) for name in query["by"]]
        if not fields:
            total = int(self._cubes.counted([], trees)[0])
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


def _holds_rows(tree: Tree) -> bool:
    if tree[0] in ("and", "or", "not"):
        return any(map(_holds_rows, tree[1:]))
    return tree[0] == "rows"

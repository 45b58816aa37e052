"""The oracle: every query over columns in memory, as plainly as numpy says it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symphony_ui.columns import Column, Mask
from symphony_ui.engine.base import Answer, Query, checked, edges, levels_of, size
from symphony_ui.errors import FilterError
from symphony_ui.evaluate import evaluate, find
from symphony_ui.filter import Tree
from symphony_ui.state import State


class NumpyEngine:
    """Answers queries over columns.

    Example:
        >>> from symphony_ui.columns import of_floats
        >>> engine = NumpyEngine([of_floats("x", np.array([0.1, 0.9, np.nan]))])
        >>> bins = {"type": "linear", "lo": 0, "hi": 1, "n": 2}
        >>> engine.answer(State(), [{"kind": "hist", "view": "v", "column": "x", "bins": bins}])
        [{'all': [1, 1, 0, 1], 'context': [1, 1, 0, 1], 'visible': [1, 1, 0, 1]}]
    """

    def __init__(self, columns: Sequence[Column], rows: int | None = None) -> None:
        self.listed = tuple(columns)
        self.columns: Mapping[str, Column] = {c.name: c for c in columns if c.kind != "media"}
        self.rows = rows if rows is not None else columns[0].rows if columns else 0
        self._none = {name: column.empty() for name, column in self.columns.items()}

    def specs(self) -> list[dict[str, Any]]:
        """The columns, as the page's spec lists them."""
        return [column.spec() for column in self.listed]

    def check(self, tree: Tree) -> None:
        """Raises FilterError if the tree cannot be evaluated on this table."""
        evaluate(tree, self._none, 0)

    def mask(self, trees: Sequence[Tree]) -> Mask:
        """The rows ``(N,)`` that all trees keep."""
        kept = np.ones(self.rows, dtype=bool)
        for tree in trees:
            kept &= evaluate(tree, self.columns, self.rows)
        return kept

    def answer(self, state: State, queries: Sequence[Query]) -> list[Answer]:
        """The answers, in order."""
        return [getattr(self, f"_{query['kind']}")(state, query) for query in map(checked, queries)]

    def _scope(self, state: State, query: Query, view: str | None = None) -> Mask:
        """The rows of V, or of the context of a view, that ``where`` keeps too."""
        where = [query["where"]] if "where" in query else []
        return self.mask([*state.predicates(view), *where])

    def _count(self, state: State, query: Query) -> Answer:
        return {"all": self.rows, "visible": int(self._scope(state, query).sum())}

    def _hist(self, state: State, query: Query) -> Answer:
        bins, column = query["bins"], find(query["column"], self.columns)
        place = bin_codes(column, bins)

        def count(kept: Mask | slice) -> list[int]:
            return np.bincount(place[kept], minlength=size(bins) + 2).tolist()

        return {
            "all": count(slice(None)),
            "context": count(self._scope(state, query, query["view"])),
            "visible": count(self._scope(state, query)),
        }

    def _matrix(self, state: State, query: Query) -> Answer:
        kept = self._scope(state, query, query["view"])
        shape = size(query["ybins"]) + 2, size(query["xbins"]) + 2
        value = None if query["value"] is None else find(query["value"], self.columns)
        if value is not None:
            if value.kind not in ("number", "time"):
                raise FilterError(f"a sum needs numbers, and {value.name!r} is {value.kind}")
            kept = kept & ~value.missing
        y = bin_codes(find(query["y"], self.columns), query["ybins"])[kept]
        x = bin_codes(find(query["x"], self.columns), query["xbins"])[kept]
        cell, cells = y * shape[1] + x, shape[0] * shape[1]
        counts = np.bincount(cell, minlength=cells).reshape(shape).tolist()
        if value is None:
            return {"counts": counts, "sum": None}
        with np.errstate(invalid="ignore"):  # both infinities in one cell
            weights = value.values[kept].astype(np.float64)
            sums = np.bincount(cell, weights, minlength=cells).astype(np.float64)
        return {"counts": counts, "sum": [finite(row) for row in sums.reshape(shape)]}

    def _rows(self, state: State, query: Query) -> Answer:
        view = query["view"] if query["scope"] == "context" else None
        found = np.flatnonzero(self._scope(state, query, view))
        for name, down in reversed(query["sort"]):
            rank = ranks(find(name, self.columns), down)
            found = found[np.argsort(rank[found], kind="stable")]
        page = found[query["offset"] :][: query["limit"]]
        cells = [
            self.columns[name].cells(page) if name in self.columns else [None] * len(page)
            for name in query["columns"]
        ]
        rows = [list(row) for row in zip(*cells, strict=True)] if cells else [[] for _ in page]
        return {"rows": rows, "index": page.tolist(), "total": len(found)}

    def _groups(self, state: State, query: Query) -> Answer:
        kept = self._scope(State() if query["scope"] == "all" else state, query)
        by = [find(name, self.columns) for name in query["by"]]
        rows = np.flatnonzero(kept)
        if not by:
            found: list[dict[str, Any]] = [{"key": [], "count": len(rows)}] if len(rows) else []
            return {"groups": found[: query["limit"]], "total": len(found)}
        rank = np.stack([ranks(column)[rows] for column in by], axis=1)  # (n, keys), missing last
        keys, first, counts = np.unique(rank, axis=0, return_index=True, return_counts=True)
        order = np.lexsort([*keys.T[::-1], -counts])[: query["limit"]]
        cells = [column.cells(rows[first[order]]) for column in by]
        groups = [
            {"key": list(key), "count": int(count)}
            for *key, count in zip(*cells, counts[order], strict=True)
        ]
        return {"groups": groups, "total": len(keys)}


def bin_codes(column: Column, bins: Mapping[str, Any]) -> NDArray[np.int64]:
    """The bin of every row ``(N,)``: 0 to n - 1, then n for other, n + 1 for missing."""
    n = size(bins)
    if bins["type"] == "linear":
        if column.kind not in ("number", "time"):
            return np.full(column.rows, n + 1, dtype=np.int64)
        values = column.values.astype(np.float64)
        place = np.clip(np.searchsorted(edges(bins), values, side="right") - 1, 0, n - 1)
        place[~((values >= bins["lo"]) & (values <= bins["hi"]))] = n
        place[column.missing] = n + 1
        return place
    named = levels_of(column.kind, bins["levels"])
    if column.kind == "category":
        table = np.array([*(named.get(label, n) for label in column.labels), n + 1])
        return table[column.values]  # -1 is the last
    if column.kind == "bool":
        return np.array([named.get("false", n), named.get("true", n), n + 1])[column.values]
    values = column.values.tolist() if column.kind in ("number", "time") else column.cells()
    place = np.fromiter((named.get(v, n) for v in values), dtype=np.int64, count=column.rows)
    place[column.missing] = n + 1
    return place


def ranks(column: Column, down: bool = False) -> NDArray[np.int64]:
    """The place of each row's value ``(N,)`` among the values there are; missing is last."""
    here = ~column.missing
    if column.kind == "category":
        order = sorted(range(len(column.labels)), key=column.labels.__getitem__)
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        found, most = place[column.values[here]], len(order)
    else:
        unique, found = np.unique(column.values[here], return_inverse=True)
        most = len(unique)
    out = np.full(column.rows, most, dtype=np.int64)
    out[here] = most - 1 - found if down else found
    return out


def finite(values: NDArray[np.float64]) -> list[Any]:
    """Numbers as JSON holds them: infinities as text, NaN as null."""
    out: list[Any] = values.tolist()
    for k in np.flatnonzero(~np.isfinite(values)):
        out[k] = None if np.isnan(values[k]) else "Infinity" if values[k] > 0 else "-Infinity"
    return out

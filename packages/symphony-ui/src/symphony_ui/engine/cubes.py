"""Counts over a database's rows, remembered, so that a step of a drag asks nothing of it."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from symphony_ui.engine.base import MOST_CELLS, Query, edges, levels_of, size
from symphony_ui.engine.expressions import Field, find, level_code, linear_code, near
from symphony_ui.errors import FilterError
from symphony_ui.evaluate import scalar
from symphony_ui.filter import Tree
from symphony_ui.state import State

KEPT = 200_000_000  # bytes of answers that are remembered
Counts = NDArray[np.float64]
Key = tuple[str, Mapping[str, Any]]  # a column and its bins
T = TypeVar("T")


class Cubes:
    """Counts by the bins of some columns.

    While one brush is dragged they come from cubes: counts by the brush's bins too, asked of the
    database once and then added up here.

    Args:
        table: the rows that some trees keep, as an expression.
        fields: the columns.
    """

    def __init__(self, table: Callable[[Sequence[Tree]], Any], fields: Mapping[str, Field]) -> None:
        self._table = table
        self._fields = fields
        self._kept: OrderedDict[str, Any] = OrderedDict()
        self._bins: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._last: dict[str, Tree] = {}
        self._moving: str | None = None

    def follow(self, state: State, queries: Sequence[Query]) -> None:
        """Notes which brush moves, and the bins of each histogram."""
        for query in queries:
            if query["kind"] == "hist" and query["bins"]["type"] == "linear":
                self._bins[query["view"], query["column"]] = query["bins"]
        brushes = {key: brush.tree for key, brush in state.brushes.items()}
        moved = [key for key, tree in brushes.items() if self._last.get(key) != tree]
        if moved:
            self._moving = moved[-1]
        self._last = brushes

    def remembered(self, key: Any, make: Callable[[], T]) -> T:
        """What ``make`` gives, or gave for the same key."""
        text = repr(key)
        if text not in self._kept:
            self._kept[text] = make()
            while len(self._kept) > 1 and self.weight > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(text)
        return self._kept[text]

    @property
    def weight(self) -> int:
        """About how many bytes the remembered answers hold."""
        return sum(
            answer.nbytes if isinstance(answer, np.ndarray) else 500 * len(answer["groups"])
            for answer in self._kept.values()
        )

    def counted(
        self, keys: Sequence[Key], trees: Sequence[Tree], value: str | None = None
    ) -> Counts:
        """Counts, and sums of a ``value``: ``(1 or 2, bins of the first key + 2, ...)``."""
        key = (keys, trees, value)
        return self.remembered(key, lambda: self._count(keys, trees, value))

    def _count(self, keys: Sequence[Key], trees: Sequence[Tree], value: str | None) -> Counts:
        import ibis

        table, measures = self._table(trees), {"n": ibis._.count()}
        columns: dict[str, Any] = {}
        if value is not None:
            summed = find(value, self._fields)
            if summed.kind not in ("number", "time"):
                raise FilterError(f"a sum needs numbers, and {value!r} is {summed.kind}")
            table = table.filter(summed.value(table).notnull())
            columns["summed"] = summed.value(table)
            measures["s"] = ibis._["summed"].sum()
        out = np.zeros((len(measures), *(size(bins) + 2 for _, bins in keys)))
        if not keys:
            out[0] = table.count().to_pyarrow().as_py()
            return out
        parts = [Part(f"key{k}", find(name, self._fields), b) for k, (name, b) in enumerate(keys)]
        for part in parts:
            columns |= part.columns(table)
        # beside what is never twice the same, Ibis computes a column once, and not in each place
        # where it is used
        table = table.select(**columns, apart=ibis.random())
        by = {part.name: part.code(table) for part in parts}
        found = table.group_by(**by).aggregate(**measures).to_pyarrow()
        at = tuple(part.places(found.column(part.name)) for part in parts)
        for total, name in zip(out, measures, strict=True):
            with np.errstate(invalid="ignore"):  # both infinities
                np.add.at(total, at, found.column(name).to_numpy().astype(np.float64))
        return out

    def counts(
        self,
        keys: Sequence[Key],
        state: State,
        view: str | None,
        where: Sequence[Tree],
        value: str | None = None,
    ) -> Counts:
        """As ``counted``, for a scope of a state, out of a cube where one brush moves."""
        moving = self._moving
        along = None
        if moving is not None and moving in state.brushes and moving != view:
            along = self._along(moving, state.brushes[moving].tree)
        if along is not None:
            key, lo, hi = along
            others = {k: b for k, b in state.brushes.items() if k not in (moving, view)}
            trees = [*State(filter=state.filter, brushes=others).predicates(), *where]
            if list(keys) == [key]:  # its own bins: those that are kept
                kept = np.zeros(size(key[1]) + 2)
                kept[lo:hi] = 1
                return self.counted(keys, trees, value) * kept
            if np.prod([size(bins) + 2.0 for _, bins in (*keys, key)]) <= MOST_CELLS:
                cube = self.counted([*keys, key], trees, value)
                with np.errstate(invalid="ignore"):  # both infinities
                    return cube[..., lo:hi].sum(axis=-1)
        return self.counted(keys, [*state.predicates(view), *where], value)

    def _along(self, moving: str, tree: Tree) -> tuple[Key, int, int] | None:
        """The bins that the moving brush keeps, if it lies along edges of its own histogram."""
        if tree[0] not in ("bin", "between") or None in tree[2:]:
            return None
        bins, field = self._bins.get((moving, tree[1])), self._fields.get(tree[1])
        if bins is None or field is None or field.kind not in ("number", "time"):
            return None
        at = edges(bins).tolist()
        lo, hi = (scalar(field, value) for value in tree[2:])
        if at.count(lo) != 1 or at.count(hi) != 1:
            return None
        first, last = at.index(lo), at.index(hi)
        closed = last == bins["n"]  # the last bin holds its upper edge
        return ((tree[1], bins), first, last) if (tree[0] == "between") == closed else None


@dataclass(frozen=True)
class Part:
    """One of the columns that rows are counted by."""

    name: str
    field: Field
    bins: Mapping[str, Any]

    @property
    def _is_linear(self) -> bool:
        return self.bins["type"] == "linear" and self.field.kind in ("number", "time")

    def columns(self, table: Any) -> dict[str, Any]:
        """What of a row its bin is made from."""
        value = self.field.plain(table)
        if not self._is_linear:
            value = self.field.value(table)
            return {self.name: value.cast("string") if self.field.big else value}
        return {self.name: value, f"near {self.name}": near(value, self.bins)}

    def code(self, table: Any) -> Any:
        """What rows are grouped by: a bin, or the value itself where few differ."""
        value = table[self.name]
        if self._is_linear:
            return linear_code(value, table[f"near {self.name}"], self.bins)
        if self.field.few or self.bins["type"] == "linear":
            return value if self.field.few else value.isnull()
        return level_code(self.field, value, self.bins["levels"])

    def places(self, found: Any) -> NDArray[np.int64]:
        """The bins of what a result is grouped by."""
        n = size(self.bins)
        if self.bins["type"] == "linear" and not self._is_linear:
            return np.full(len(found), n + 1)
        if not self.field.few:
            return found.to_numpy().astype(np.int64)
        named = levels_of(self.field.kind, self.bins["levels"]) | {None: n + 1}
        if self.field.kind == "bool":
            named |= {True: named.get("true", n), False: named.get("false", n)}
        return np.array([named.get(value, n) for value in found.to_pylist()], dtype=np.int64)

"""Counts over a database's rows, remembered, so that a step of a drag asks nothing of it."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from symphony_ui.engine.base import MOST_CELLS, Query, edges, levels_of, size
from symphony_ui.engine.expressions import Field, bin_code, find
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

        table = self._table(trees)
        measures = {"n": ibis._.count()}
        if value is not None:
            field = find(value, self._fields)
            if field.kind not in ("number", "time"):
                raise FilterError(f"a sum needs numbers, and {value!r} is {field.kind}")
            table = table.filter(field.value(table).notnull())
            measures["s"] = field.value(ibis._).sum()
        shape = [size(bins) + 2 for _, bins in keys]
        out = np.zeros((len(measures), *shape))
        if not keys:
            out[0] = table.count().to_pyarrow().as_py()
            return out
        fields = [find(name, self._fields) for name, _ in keys]
        by = {
            f"key{k}": field.value(table) if field.few else bin_code(field, table, bins)
            for k, (field, (_, bins)) in enumerate(zip(fields, keys, strict=True))
        }
        found = table.group_by(**by).aggregate(**measures).to_pyarrow()
        at = tuple(
            _places(field, bins, found.column(f"key{k}"))
            for k, (field, (_, bins)) in enumerate(zip(fields, keys, strict=True))
        )
        for part, name in zip(out, measures, strict=True):
            with np.errstate(invalid="ignore"):  # both infinities
                np.add.at(part, at, found.column(name).to_numpy().astype(np.float64))
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


def _places(field: Field, bins: Mapping[str, Any], found: Any) -> NDArray[np.int64]:
    """The bins of what a result is grouped by."""
    if not field.few:
        return found.to_numpy().astype(np.int64)
    n = size(bins)
    if bins["type"] == "linear":
        return np.full(len(found), n + 1)
    named = levels_of(field.kind, bins["levels"]) | {None: n + 1}
    if field.kind == "bool":
        named |= {True: named.get("true", n), False: named.get("false", n)}
    return np.array([named.get(value, n) for value in found.to_pylist()], dtype=np.int64)

"""Exact search of all close pairs, and of nearest neighbours, by blocked matrix products.

Points are centred, rotated onto their principal axes and sorted along the first one. Two lower
bounds of a distance are then cheap: the difference along the first axis, and the distance of the
leading coordinates together with the norms of the rest. They are never above the true distance,
so that what they reject is rejected rightly; what passes is measured in float64.
"""

import threading
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from symphony_ui.analysis._progress import spread
from symphony_ui.errors import SizeError

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]

BLOCK = 1024  # rows of a tile: 4 MiB of float32 products, about a core's cache
GATHER = 400  # to measure one pair costs as much as a product does for about so many
SAMPLE = 1024  # rows on which the number of leading coordinates is chosen


def principal_axes(centred: Floats) -> Floats:
    """Orthonormal axes ``(D, K)`` of centred points, by falling variance of a sample of rows."""
    sample = centred[:: -(-len(centred) // (4 * SAMPLE))]
    if len(sample) < sample.shape[1]:  # they span no more than their number
        _, _, axes = np.linalg.svd(sample, full_matrices=False)
        return axes.T
    _, axes = np.linalg.eigh(sample.T @ sample)  # rising variance
    return axes[:, ::-1]


def distances(points: Floats, pairs: Ints) -> Floats:
    """The distance of each pair ``(M, 2)`` of rows, in float64: exactly 0 for equal rows."""
    out = np.empty(len(pairs))
    step = max(1, 2**19 // max(1, points.shape[1]))
    for start in range(0, len(pairs), step):
        part = pairs[start : start + step]
        gap = points[part[:, 0]] - points[part[:, 1]]
        out[start : start + step] = np.sqrt(np.einsum("ij,ij->i", gap, gap))
    return out


def pairs_within(
    points: Floats, radius: float, *, most: int, threads: int = 1
) -> tuple[Ints, Floats]:
    """All pairs of rows at most ``radius`` apart, ``(M, 2)`` with i < j, and their distances.

    Args:
        points: rows ``(N, D)``, float64, of magnitude 1 or less.
        radius: the largest distance that counts, not negative.
        most: more pairs than this are refused.
        threads: how many to work on.

    Returns:
        The pairs, sorted, and their distances ``(M,)``. Memory beyond the points and the pairs
        is that of a block.

    Raises:
        SizeError: if there are more than ``most`` pairs.
    """
    if len(points) < 2:
        return np.empty((0, 2), dtype=np.int64), np.empty(0)
    search = _Search(points, radius, most)
    found: list[Ints] = []
    far: list[Floats] = []
    total = 0
    tiles = range(0, len(points), BLOCK)
    for pairs, apart in spread(search.tile, tiles, "near duplicates", threads=threads):
        total += len(pairs)
        if total > most:
            raise _too_many(most)
        found.append(pairs)
        far.append(apart)
    pairs, apart = np.concatenate(found), np.concatenate(far)
    ranked = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return pairs[ranked], apart[ranked]


class _Search:
    """Points sorted along their first axis, as float32 factors to be multiplied block by block."""

    def __init__(self, points: Floats, radius: float, most: int) -> None:
        self.points, self.radius, self.most = points, radius, most
        # a product >= limit is a pair that may be close; the small term is float32's underflow
        self.limit = np.float32(-(radius**2) / 2 * (1 + 1e-6) - 1e-30)
        self.centred = points - points.mean(axis=0)
        axes = principal_axes(self.centred)
        sample = self.centred[:: -(-len(points) // SAMPLE)]
        width = leading(sample @ axes, self.limit)
        turned = self.centred @ axes[:, : max(width, 1)]
        self.order = np.argsort(turned[:, 0], kind="stable")
        turned = turned[self.order]
        self.first = np.ascontiguousarray(turned[:, 0])  # (N,), rising
        self.head: tuple[Singles, Singles] | None = None
        if width < points.shape[1]:
            square = np.einsum("ij,ij->i", self.centred, self.centred)
            self.head = factors(turned, rest=square[self.order])
        self.own = threading.local()  # each thread's buffers: fresh memory is slow to come by

    @cached_property
    def full(self) -> tuple[Singles, Singles]:
        """The factors of all coordinates, for blocks in which the leading ones tell too little."""
        return factors(self.centred[self.order])

    def tile(self, start: int) -> tuple[Ints, Floats]:
        """The pairs i < j within the radius whose first row in the order is in the tile."""
        rows = slice(start, min(start + BLOCK, len(self.first)))
        reach = self.first[rows.stop - 1] + self.radius
        end = int(np.searchsorted(self.first, reach + 1e-9 * (1 + abs(reach)), side="right"))
        found, far, total = [np.empty((0, 2), dtype=np.int64)], [np.empty(0)], 0
        for left in range(start, end, BLOCK):
            columns = slice(left, min(left + BLOCK, end))
            close = self.candidates(rows, columns)
            pairs = np.sort(self.order[close], axis=1)
            apart = distances(self.points, pairs)
            keep = apart <= self.radius
            found.append(pairs[keep])
            far.append(apart[keep])
            total += len(found[-1])
            if total > self.most:
                raise _too_many(self.most)
        return np.concatenate(found), np.concatenate(far)

    def candidates(self, rows: slice, columns: slice) -> Ints:
        """The positions ``(m, 2)`` in a block, above the diagonal, that may be close."""
        size = (rows.stop - rows.start) * (columns.stop - columns.start)
        if self.head is not None:
            close = self.passing(self.head, rows, columns)
            if len(close) * GATHER <= size:
                return close
        return self.passing(self.full, rows, columns)

    def passing(self, pair: tuple[Singles, Singles], rows: slice, columns: slice) -> Ints:
        """The positions in a block whose product reaches the limit."""
        a, b = pair[0][rows], pair[1][columns]
        if not hasattr(self.own, "products"):
            self.own.products = np.empty(BLOCK * BLOCK, dtype=np.float32)
            self.own.mask = np.empty(BLOCK * BLOCK, dtype=bool)
        shape, size = (len(a), len(b)), len(a) * len(b)
        products = np.matmul(a, b.T, out=self.own.products[:size].reshape(shape))
        if rows.start == columns.start:
            np.fill_diagonal(products, -np.inf)
        if products.max() < self.limit:
            return np.empty((0, 2), dtype=np.int64)
        mask = np.greater_equal(products, self.limit, out=self.own.mask[:size].reshape(shape))
        i, j = positions(mask)
        i, j = i + rows.start, j + columns.start
        above = i < j
        return np.stack([i[above], j[above]], axis=1)


def _too_many(most: int) -> SizeError:
    return SizeError(
        f"threshold joins more than {most:,} pairs: choose a stricter one, drop equal rows first, "
        f"or raise max_pairs"
    )


def factors(
    head: Floats, *, rest: Floats | None = None, safe: bool = True
) -> tuple[Singles, Singles]:
    """Two float32 matrices whose product is ``-distance**2 / 2``, or a little above it.

    Coordinates beyond ``head`` are stood for by their norm: the norms of two vectors differ by no
    more than the vectors do. ``-|a|^2 / 2`` and ``-|b|^2 / 2`` are carried along as two more
    columns; ``safe`` shrinks them by more than float32's rounding of the whole product, so that
    the product is never below the truth.

    Args:
        head: coordinates ``(N, K)`` along orthonormal axes.
        rest: the squared norm ``(N,)`` of all coordinates, if there are more than these.
        safe: whether to allow for rounding.
    """
    square = np.einsum("ij,ij->i", head, head)
    if rest is not None:
        beyond = np.maximum(rest - square, 0)
        head, square = np.hstack([head, np.sqrt(beyond)[:, None]]), square + beyond
    slack = 4 * (head.shape[1] + 8) * 2.0**-24 if safe else 0.0
    both = np.empty((2, len(head), head.shape[1] + 2), dtype=np.float32)
    both[:, :, :-2] = head
    both[0, :, -2], both[0, :, -1] = square * (slack - 1) / 2, 1
    both[1, :, -2], both[1, :, -1] = 1, both[0, :, -2]
    return both[0], both[1]


def leading(turned: Floats, limit: np.float32) -> int:
    """How many leading coordinates make the search cheapest, judged on a sample of rows."""
    count, width = turned.shape
    square = np.einsum("ij,ij->i", turned, turned)
    best, cost = width, float(width)
    for tried in (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512):
        if tried >= width:
            break
        left, right = factors(turned[:, :tried], rest=square)
        passing = float(((left @ right.T >= limit).sum() - count) / max(1, count * (count - 1)))
        price = tried + min(passing * GATHER, 1.0) * width
        if price < cost:
            best, cost = tried, price
    return best


def nearest(points: Floats, count: int, *, threads: int = 1) -> Floats:
    """The distances ``(N, count)`` from each row to its nearest other rows, rising.

    Neighbours are chosen by float32 products of the centred points, which are of magnitude 1 or
    less, and measured in float64.
    """
    total = len(points)
    count = max(0, min(count, total - 1))
    if not count:
        return np.empty((total, 0))
    centred = points - points.mean(axis=0)
    left, right = factors(centred, safe=False)
    steps = -(-total // BLOCK)
    order = np.concatenate([np.arange(start, total, steps) for start in range(steps)])
    right = right[order]  # every tile of columns is a sample of all rows
    place = np.argsort(order)
    spare = min(count + 6, total - 1)  # rounding may swap the last of them

    def tile(start: int) -> Floats:
        rows = np.arange(start, min(start + BLOCK, total))
        near = order[_nearest_of(left[rows], right, place[rows], spare)]
        flat = np.stack([np.repeat(rows, spare), near.ravel()], axis=1)
        apart = distances(points, flat).reshape(len(rows), spare)
        return np.sort(apart, axis=1)[:, :count]

    tiles = range(0, total, BLOCK)
    return np.concatenate(list(spread(tile, tiles, "neighbours", threads=threads)))


def _nearest_of(left: Singles, right: Singles, own: Ints, count: int) -> Ints:
    """The columns ``(rows, count)`` of the largest products of each row, but its ``own``."""
    rows = len(left)
    worst = np.full(rows, -np.inf, dtype=np.float32)  # no column below it can be among the best
    kept = _Entries(
        np.empty(0, np.float32), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    )
    for start in range(0, len(right), BLOCK):
        products = left @ right[start : start + BLOCK].T
        here = np.flatnonzero((own >= start) & (own < start + products.shape[1]))
        products[here, own[here] - start] = -np.inf
        if start == 0:
            worst = np.partition(products, -count, axis=1)[:, -count]
        i, j = positions(products >= worst[:, None])
        kept = kept.and_these(products[i, j], i, j + start)
        if len(kept.value) > 64 * count * rows:
            kept = kept.best(count)
            worst = kept.value.reshape(rows, count)[:, -1]
    return kept.best(count).column.reshape(rows, count)


class _Entries(NamedTuple):
    """Some entries of a matrix."""

    value: Singles
    row: Ints
    column: Ints

    def and_these(self, value: Singles, row: Ints, column: Ints) -> "_Entries":
        """These entries and more."""
        return _Entries(
            np.concatenate([self.value, value]),
            np.concatenate([self.row, row]),
            np.concatenate([self.column, column]),
        )

    def best(self, count: int) -> "_Entries":
        """The ``count`` largest of each row, row by row, falling; each row has as many."""
        ranked = np.lexsort((-self.value, self.row))
        first = np.flatnonzero(np.diff(self.row[ranked], prepend=-1))
        ranked = ranked[(first[:, None] + np.arange(count)).ravel()]
        return _Entries(self.value[ranked], self.row[ranked], self.column[ranked])


def positions(mask: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Rows and columns of what is true; many times faster than argwhere where little is."""
    return np.divmod(np.flatnonzero(mask), mask.shape[1])

"""Exact search of all close pairs, and of nearest neighbours, by blocked matrix products.

Points are centred, rotated onto their principal axes and sorted along the first one. Two lower
bounds of a distance are then cheap: the difference along the first axis, and the distance of the
leading coordinates together with the norms of the rest. They are never above the true distance,
so that what they reject is rejected rightly; what passes is measured in float64.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from symphony_ui.analysis._progress import progress
from symphony_ui.errors import SizeError

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]

BLOCK = 1024  # rows of a tile: 4 MiB of float32 products, about a core's cache
GATHER = 400  # to measure one pair costs as much as a product does for about so many
SAMPLE = 1024  # rows on which the number of leading coordinates is chosen


def rotate(points: Floats) -> Floats:
    """The points ``(N, D)`` centred and turned onto their principal axes: distances stay.

    Fewer rows than columns span no more than ``N`` dimensions, and ``(N, N)`` comes back.
    """
    centred = points - points.mean(axis=0)
    if len(centred) < centred.shape[1]:
        centred = np.linalg.qr(centred.T, mode="r").T  # (N, N)
    _, axes = np.linalg.eigh(centred.T @ centred)  # rising variance
    return np.ascontiguousarray(centred @ axes[:, ::-1])


def distances(points: Floats, pairs: Ints) -> Floats:
    """The distance of each pair ``(M, 2)`` of rows, in float64: exactly 0 for equal rows."""
    out = np.empty(len(pairs))
    step = max(1, 2**19 // max(1, points.shape[1]))
    for start in range(0, len(pairs), step):
        part = pairs[start : start + step]
        gap = points[part[:, 0]] - points[part[:, 1]]
        out[start : start + step] = np.sqrt(np.einsum("ij,ij->i", gap, gap))
    return out


def pairs_within(points: Floats, radius: float, *, most: int) -> tuple[Ints, Floats]:
    """All pairs of rows at most ``radius`` apart, ``(M, 2)`` with i < j, and their distances.

    Args:
        points: rows ``(N, D)``, finite, float64.
        radius: the largest distance that counts, not negative.
        most: more pairs than this are refused.

    Returns:
        The pairs, sorted, and their distances ``(M,)``. Memory beyond the points and the pairs
        is that of a block.

    Raises:
        SizeError: if there are more than ``most`` pairs.
    """
    if len(points) < 2:
        return np.empty((0, 2), dtype=np.int64), np.empty(0)
    scale = float(np.abs(points).max()) or 1.0
    turned = rotate(points / scale)
    order = np.argsort(turned[:, 0], kind="stable")
    search = _Search(turned[order], radius / scale)
    found: list[Ints] = []
    far: list[Floats] = []
    total = 0
    for start in progress(range(0, len(points), BLOCK), "near duplicates"):
        for close in search.row_of_blocks(start):
            pairs = np.sort(order[close], axis=1)
            apart = distances(points, pairs)
            keep = apart <= radius
            total += int(keep.sum())
            if total > most:
                raise SizeError(
                    f"threshold joins more than {most:,} pairs: choose a stricter one, drop equal "
                    f"rows first, or raise max_pairs"
                )
            found.append(pairs[keep])
            far.append(apart[keep])
    pairs = np.concatenate(found) if found else np.empty((0, 2), dtype=np.int64)
    apart = np.concatenate(far) if far else np.empty(0)
    ranked = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return pairs[ranked], apart[ranked]


class _Search:
    """Sorted, rotated points and their float32 factors, ready to be multiplied block by block."""

    def __init__(self, turned: Floats, radius: float) -> None:
        self.first = np.ascontiguousarray(turned[:, 0])  # (N,), rising
        self.radius = radius
        # a product >= limit is a pair that may be close; the small term is float32's underflow
        self.limit = np.float32(-(radius**2) / 2 * (1 + 1e-6) - 1e-30)
        self.full = factors(turned, turned.shape[1])
        width = leading(turned, self.limit)
        self.head = factors(turned, width) if width < turned.shape[1] else self.full
        self.buffer = np.empty((BLOCK, BLOCK), dtype=np.float32)

    def row_of_blocks(self, start: int) -> Iterator[Ints]:
        """Candidates ``(m, 2)``, sorted positions i < j, block by block; i in one tile."""
        rows = slice(start, min(start + BLOCK, len(self.first)))
        reach = self.first[rows.stop - 1] + self.radius
        end = int(np.searchsorted(self.first, reach + 1e-12 * abs(reach), side="right"))
        for left in range(start, end, BLOCK):
            columns = slice(left, min(left + BLOCK, end))
            close = self.candidates(self.head, rows, columns)
            size = (rows.stop - rows.start) * (columns.stop - columns.start)
            if self.head is not self.full and len(close) * GATHER > size:
                close = self.candidates(self.full, rows, columns)
            if len(close):
                yield close

    def candidates(self, pair: tuple[Singles, Singles], rows: slice, columns: slice) -> Ints:
        """The positions in a block whose product reaches the limit, above the diagonal."""
        a, b = pair[0][rows], pair[1][columns]
        products = np.matmul(a, b.T, out=self.buffer[: len(a), : len(b)])
        if rows.start == columns.start:
            np.fill_diagonal(products, -np.inf)
        if products.max() < self.limit:
            return np.empty((0, 2), dtype=np.int64)
        i, j = positions(products >= self.limit)
        i, j = i + rows.start, j + columns.start
        above = i < j
        return np.stack([i[above], j[above]], axis=1)


def factors(turned: Floats, width: int, *, safe: bool = True) -> tuple[Singles, Singles]:
    """Two float32 matrices whose product is ``-distance**2 / 2``, or a little above it.

    The first ``width`` coordinates stand as they are, the others by their norm: the norms differ
    by no more than the vectors do. ``-|a|^2 / 2`` and ``-|b|^2 / 2`` are carried along as two more
    columns; ``safe`` shrinks them by more than float32's rounding of the whole product, so that
    the product is never below the truth.
    """
    head, rest = turned[:, :width], turned[:, width:]
    if rest.shape[1]:
        head = np.hstack([head, np.linalg.norm(rest, axis=1)[:, None]])
    slack = 4 * (head.shape[1] + 8) * 2.0**-24 if safe else 0.0
    half = np.einsum("ij,ij->i", head, head)[:, None] * (slack - 1) / 2
    one = np.ones_like(half)
    left = np.hstack([head, half, one]).astype(np.float32)
    right = np.hstack([head, one, half]).astype(np.float32)
    return left, right


def leading(turned: Floats, limit: np.float32) -> int:
    """How many leading coordinates make the search cheapest, judged on a sample of rows."""
    count, width = turned.shape
    rows = np.unique(np.linspace(0, count - 1, min(count, SAMPLE)).astype(np.int64))
    sample = turned[rows]
    above = np.triu_indices(len(rows), 1)
    best, cost = width, float(width)
    tried = 8
    while tried < width:
        left, right = factors(sample, tried)
        passing = float(np.mean((left @ right.T)[above] >= limit))
        price = tried + min(passing * GATHER, 1.0) * width
        if price < cost:
            best, cost = tried, price
        tried *= 2
    return best


def nearest(points: Floats, count: int) -> Floats:
    """The distances ``(N, count)`` from each row to its nearest other rows, rising.

    Neighbours are chosen by float32 products of the centred points and measured in float64.
    """
    total = len(points)
    count = max(0, min(count, total - 1))
    if not count:
        return np.empty((total, 0))
    scale = float(np.abs(points).max()) or 1.0
    centred = points / scale
    centred -= centred.mean(axis=0)
    left, right = factors(centred, points.shape[1], safe=False)
    steps = -(-total // BLOCK)
    order = np.concatenate([np.arange(start, total, steps) for start in range(steps)])
    right = right[order]  # every tile of columns is a sample of all rows
    place = np.argsort(order)
    spare = min(count + 6, total - 1)  # rounding may swap the last of them
    out = np.empty((total, count))
    for start in progress(range(0, total, BLOCK), "neighbours"):
        rows = np.arange(start, min(start + BLOCK, total))
        near = order[_nearest_of(left[rows], right, place[rows], spare)]
        flat = np.stack([np.repeat(rows, spare), near.ravel()], axis=1)
        apart = distances(points, flat).reshape(len(rows), spare)
        out[rows] = np.sort(apart, axis=1)[:, :count]
    return out


def _nearest_of(left: Singles, right: Singles, own: Ints, count: int) -> Ints:
    """The columns ``(rows, count)`` of the largest products of each row, but its ``own``."""
    rows = len(left)
    worst = np.full(rows, -np.inf, dtype=np.float32)  # no column below it can be among the best
    kept = np.empty(0, dtype=np.float32), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    for start in range(0, len(right), BLOCK):
        products = left @ right[start : start + BLOCK].T
        here = np.flatnonzero((own >= start) & (own < start + products.shape[1]))
        products[here, own[here] - start] = -np.inf
        if start == 0:
            worst = np.partition(products, -count, axis=1)[:, -count]
        i, j = positions(products >= worst[:, None])
        kept = tuple(map(np.concatenate, zip(kept, (products[i, j], i, j + start), strict=True)))
        if len(kept[0]) > 64 * count * rows:
            kept = _best(*kept, count)
            worst = kept[0].reshape(rows, count)[:, -1]
    return _best(*kept, count)[2].reshape(rows, count)


def _best(value: Singles, row: Ints, column: Ints, count: int) -> tuple[Singles, Ints, Ints]:
    """The ``count`` largest entries of each row, row by row, falling; each row has as many."""
    ranked = np.lexsort((-value, row))
    first = np.flatnonzero(np.diff(row[ranked], prepend=-1))
    ranked = ranked[(first[:, None] + np.arange(count)).ravel()]
    return value[ranked], row[ranked], column[ranked]


def positions(mask: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Rows and columns of what is true; many times faster than argwhere where little is."""
    return np.divmod(np.flatnonzero(mask), mask.shape[1])

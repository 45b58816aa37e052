"""The optimal coupling of two samples in one dimension, for all columns at once.

In one dimension every convex cost is minimised by the monotone coupling: the u-quantile of one
sample goes to the u-quantile of the other. Between two samples of n and m values it is constant on
at most n + m - 1 intervals of u, the merged grid, so that sums over the grid are exact for unequal
counts and for weights.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

Array = np.ndarray
Samples = Tensor | ArrayLike
Part = TypeVar("Part")


@dataclass(frozen=True)
class Sorted:
    """A sample whose columns are sorted one by one.

    Args:
        values: ``(D, n)``, ascending along the last axis.
        weights: ``(D, n)`` in the order of ``values``, each row adding up to 1; None is 1 / n each.
    """

    values: Array
    weights: Array | None

    @property
    def count(self) -> int:
        """Number of samples, those of weight zero left out."""
        return self.values.shape[1]

    def mean(self, values: Array) -> Array:
        """Mean of something per sample, ``(D, n) -> (D,)``, in float64."""
        if self.weights is None:
            return values @ np.full(self.count, 1 / self.count)
        return np.einsum("dn,dn->d", values, self.weights)

    def quantile(self, level: float) -> Array:
        """The least value with a share ``level`` of the weight at or below it, ``(D,)``."""
        if self.weights is None:
            index = max(int(np.ceil(level * self.count - 1e-9)), 1) - 1
            return self.values[:, index]
        reached = np.cumsum(self.weights, axis=1) >= level - 1e-9
        reached[:, -1] = True
        return np.take_along_axis(self.values, reached.argmax(1)[:, None], 1)[:, 0]


@dataclass(frozen=True)
class Grid:
    """The merged grid: interval g joins ``source[left[g]]`` with ``target[right[g]]``.

    ``left``, ``right`` and ``width`` are ``(G,)`` where all columns share them, else ``(D, G)``;
    the widths add up to 1.
    """

    left: Array
    right: Array
    width: Array

    def source(self, values: Array) -> Array:
        """Values of the source on the intervals, ``(D, n) -> (D, G)``."""
        return _take(values, self.left)

    def target(self, values: Array) -> Array:
        """Values of the target on the intervals, ``(D, m) -> (D, G)``."""
        return _take(values, self.right)

    def integral(self, values: Array) -> Array:
        """Integral over the levels, ``(D, G) -> (D,)``."""
        if self.width.ndim == 1:
            return values @ self.width
        return np.einsum("dg,dg->d", values, self.width)


def sorted_columns(name: str, samples: Samples, weights: Samples | None) -> Sorted:
    """Sort each column of a sample by itself, which forgets which value came with which.

    Args:
        name: what to call the sample in an error.
        samples: ``(n, D)``, any float type; half types are widened to float32.
        weights: ``(n,)``, not negative; rows of weight zero are left out. None weighs all alike.

    Raises:
        ValueError: if the shape is another, there is no row, or a value is not finite.
    """
    rows = _rows(name, samples)
    share = None if weights is None else _shares(name, weights, len(rows))
    if share is not None:
        rows, share = rows[torch.from_numpy(share > 0)], share[share > 0]
    turned = torch.empty(rows.t().shape, dtype=rows.dtype)  # (D, n)
    for start in range(0, len(rows), 64):  # torch transposes faster than numpy, and so yet faster
        turned[:, start : start + 64].copy_(rows[start : start + 64].t())
    columns = turned.numpy()
    plain = share is None or bool((share == share[0]).all())
    if plain:  # and numpy sorts many times as fast as torch
        step = max(1, 2**16 // len(rows))
        slices = [slice(start, start + step) for start in range(0, len(columns), step)]
        on_threads(lambda which: columns[which].sort(axis=1), slices, columns.size)
    if plain or share is None:
        result = Sorted(columns, None)
    else:
        order = columns.argsort(axis=1)
        result = Sorted(np.take_along_axis(columns, order, 1), share[order])
    ends = result.values[:, [0, -1]]  # NaN sorts last, so the ends tell
    if not np.isfinite(ends).all():
        column = int(np.flatnonzero(~np.isfinite(ends).all(1))[0])
        raise ValueError(f"{name} has a value that is NaN or infinite, in column {column}")
    return result


def merged_grid(source: Sorted, target: Sorted) -> Grid | None:
    """The grid on which the coupling is constant; None where it joins rank i with rank i.

    Source:
        Santambrogio 2015, section 2.2: the monotone coupling of two measures on the line.
    """
    n, m = source.count, target.count
    if source.weights is None and target.weights is None:
        if n == m:
            return None
        # in units of 1 / (n m), so that the grid is exact
        ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)
        starts = np.concatenate([[0], ends[:-1]])
        return Grid(starts // m, starts // n, (ends - starts) / (n * m))
    dim = len(source.values)
    ends = np.concatenate([_levels(source, dim), _levels(target, dim)], axis=1)  # (D, n + m)
    order = ends.argsort(axis=1, kind="stable")
    ends = np.take_along_axis(ends, order, 1)
    passed = np.cumsum(order < n, axis=1) - (order < n)  # ends of the source before interval g
    left = np.minimum(passed, n - 1)
    right = np.minimum(np.arange(n + m) - passed, m - 1)
    return Grid(left, right, np.diff(ends, axis=1, prepend=0.0))


def whole_grid(count: int) -> Grid:
    """The grid that joins rank i with rank i, written out."""
    index = np.arange(count)
    return Grid(index, index, np.full(count, 1 / count))


def in_blocks(
    f: Callable[[slice], tuple[Array, ...]], dim: int, per_column: int
) -> tuple[Array, ...]:
    """Run ``f`` on ranges of columns that fit the cache, on all threads, and join the results."""
    step = max(1, 2**16 // max(per_column, 1))
    slices = [slice(start, start + step) for start in range(0, dim, step)]
    parts = on_threads(f, slices, dim * per_column)
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def on_threads(f: Callable[[slice], Part], slices: Sequence[slice], size: int) -> list[Part]:
    """Map over ranges of columns; numpy lets go of the interpreter while it sorts and sums."""
    workers = min(torch.get_num_threads(), size >> 19)  # below, a thread costs more than it saves
    if workers < 2:
        return [f(which) for which in slices]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(f, slices))


def columns_of(grid: Grid | None, which: slice) -> Grid | None:
    """The grid of some columns."""
    if grid is None or grid.width.ndim == 1:
        return grid
    return Grid(grid.left[which], grid.right[which], grid.width[which])


def aligned_rows(
    A: Samples, B: Samples, weights: tuple[Samples | None, Samples | None] | None
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Both samples in float64, unsorted, and their weights, each adding up to 1.

    Raises:
        ValueError: if a shape, value or weight is wrong, or the two have other neurons.
    """
    rows = (_rows("A", A).double(), _rows("B", B).double())
    if rows[0].shape[1] != rows[1].shape[1]:
        widths = f"{rows[0].shape[1]} and {rows[1].shape[1]}"
        raise ValueError(f"A and B must have the same neurons, got {widths} columns")
    if not all(torch.isfinite(each).all() for each in rows):
        raise ValueError("A or B has a value that is NaN or infinite")
    given = weights or (None, None)
    every = [np.ones(len(r)) if w is None else w for r, w in zip(rows, given, strict=True)]
    first, second = (
        torch.from_numpy(_shares(name, w, len(r)))
        for name, w, r in zip("AB", every, rows, strict=True)
    )
    return rows, (first, second)


def _rows(name: str, samples: Samples) -> Tensor:
    """A sample as float32 or float64 on the CPU, its shape checked."""
    rows = samples if isinstance(samples, Tensor) else torch.as_tensor(np.asarray(samples))
    rows = rows.detach().to("cpu")
    if rows.ndim != 2 or 0 in rows.shape or not rows.is_floating_point():
        got = f"{tuple(rows.shape)} of {rows.dtype}"
        raise ValueError(f"{name} must be (samples, neurons), floats, at least one of each: {got}")
    return rows if rows.dtype == torch.float64 else rows.float()


def _take(values: Array, index: Array) -> Array:
    if index.ndim == 1:
        return np.take(values, index, axis=1)
    return np.take_along_axis(values, index, axis=1)


def _levels(sample: Sorted, dim: int) -> Array:
    """Levels at which the quantile function jumps, ``(D, n)``, the last one exactly 1."""
    if sample.weights is None:
        return np.broadcast_to(np.arange(1, sample.count + 1) / sample.count, (dim, sample.count))
    levels = np.cumsum(sample.weights, axis=1)
    levels[:, -1] = 1.0
    return np.minimum(levels, 1.0)


def _shares(name: str, weights: Samples, count: int) -> Array:
    if isinstance(weights, Tensor):
        weights = weights.detach().cpu().numpy()
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (count,) or not np.isfinite(w).all() or (w < 0).any() or not w.sum() > 0:
        raise ValueError(
            f"weights of {name} must be {count} finite numbers, none negative and not all zero;"
            f" got shape {w.shape}"
        )
    return w / w.sum()

"""From pairs to groups: connected components, and how tight each one is."""

import numpy as np
from numpy.typing import NDArray

from symphony_ui.analysis._pairs import Floats, Ints, distances


def components(count: int, pairs: Ints) -> Ints:
    """The group ``(N,)`` of each row: 0 for the largest, -1 for a row in no pair.

    Groups are the transitive closure of the pairs ``(M, 2)``, numbered by falling size, then by
    their first row.
    """
    parent = np.arange(count)
    left, right = pairs[:, 0], pairs[:, 1]
    while True:
        a, b = parent[left], parent[right]
        if (a == b).all():
            break
        np.minimum.at(parent, np.maximum(a, b), np.minimum(a, b))
        while (parent != parent[parent]).any():
            parent = parent[parent]
    roots, member, sizes = np.unique(parent, return_inverse=True, return_counts=True)
    number = np.full(len(roots), -1)
    ranked = np.lexsort((roots, -sizes))
    ranked = ranked[sizes[ranked] > 1]
    number[ranked] = np.arange(len(ranked))
    return number[member]


def members(group: NDArray[np.int64], along: Floats) -> Ints:
    """The grouped rows, group by group, and within a group by ``along`` ``(N,)``."""
    ranked = np.lexsort((along, group))
    return ranked[group[ranked] >= 0]


def widest(points: Floats, group: Ints, pairs: Ints, apart: Floats) -> Floats:
    """The largest distance between any two rows of each group ``(G,)``, linked or not."""
    sizes = np.bincount(group[group >= 0])
    most = np.zeros(len(sizes))
    linked = group[pairs[:, 0]]
    np.maximum.at(most, linked, apart)
    links = np.bincount(linked, minlength=len(sizes))
    open_groups = np.flatnonzero(links < sizes * (sizes - 1) // 2)
    rows = members(group, np.zeros(len(group)))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    for number in open_groups:
        own = rows[starts[number] : starts[number + 1]]
        most[number] = max(most[number], _diameter(points, own))
    return most


def _diameter(points: Floats, rows: Ints, block: int = 1024) -> float:
    """The largest distance among some rows, block by block."""
    own = points[rows] - points[rows].mean(axis=0)
    if not own.any():
        return 0.0
    half = np.einsum("ij,ij->i", own, own) / 2
    most = 0.0
    for start in range(0, len(rows), block):
        here = slice(start, start + block)
        for left in range(start, len(rows), block):
            there = slice(left, left + block)
            product = own[here] @ own[there].T - half[here, None] - half[there]
            i, j = np.unravel_index(product.argmin(), product.shape)
            pair = np.array([[rows[start + i], rows[left + j]]])
            most = max(most, float(distances(points, pair)[0]))
    return most

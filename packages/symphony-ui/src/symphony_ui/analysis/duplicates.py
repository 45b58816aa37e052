"""Near duplicates: every pair of rows closer than a threshold, exactly, and their groups."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from symphony_ui.analysis._checks import matrix
from symphony_ui.analysis._elbow import percentile_threshold, slope_threshold
from symphony_ui.analysis._groups import components, members, widest
from symphony_ui.analysis._pairs import Floats, Ints, distances, nearest, pairs_within
from symphony_ui.analysis._progress import own_threads
from symphony_ui.errors import SymphonyError

Metric = Literal["cosine", "euclidean", "columns"]
Threshold = float | Literal["slope"] | tuple[Literal["percentile"], float]
NEIGHBOURS = 9  # nearest other rows whose distances a threshold is read from


@dataclass(frozen=True)
class Duplicates:
    """Groups of near duplicates, largest first.

    ``similarity`` is the cosine, or minus the distance; larger is more alike. ``threshold`` is in
    the unit of the metric: the smallest cosine, or the largest distance, that counts.
    """

    group: Ints  #: (N,) group of each row, 0 the largest; -1 is none
    pairs: Ints  #: (M, 2) rows i < j that are close enough
    similarity: Floats  #: (M,) of each pair
    sizes: Ints  #: (G,) rows in each group
    min_similarity: Floats  #: (G,) of the least similar two rows, linked or only chained
    threshold: float
    metric: Metric
    members: Ints = field(repr=False)  #: the grouped rows, by group, then along the first PC
    centroid_mean: Floats = field(repr=False)  #: (G,) mean distance to the group's centroid
    centroid_std: Floats = field(repr=False)  #: (G,) its standard deviation
    zero_group: int = -1  #: the group of vectors that are zero; they have no direction
    elbow: bool = True  #: False where "slope" found none and only equal rows are grouped

    def __str__(self) -> str:
        rows = int((self.group >= 0).sum())
        bound = f"cosine >= {self.threshold:.6g}"
        if self.metric != "cosine":
            bound = f"distance <= {self.threshold:.6g}"
        head = f"{len(self.sizes)} groups of near duplicates, {rows} of {len(self.group)} rows"
        lines = [f"{head} ({bound})"]
        if not self.elbow:
            lines[0] += "; no elbow: only equal rows are grouped"
        for number in range(min(5, len(self.sizes))):
            least = self.min_similarity[number]
            worst = f"cosine {least:.4f}" if self.metric == "cosine" else f"distance {-least:.4g}"
            note = ", zero vectors" if number == self.zero_group else ""
            lines.append(f"  group {number}: {self.sizes[number]} rows, least alike {worst}{note}")
        if len(self.sizes) > 5:
            lines.append(f"  and {len(self.sizes) - 5} more")
        return "\n".join(lines)

    def to_table(self) -> dict[str, NDArray[Any]]:
        """One row a grouped row of the data: which, its group, the group's size and tightness."""
        group = self.group[self.members]
        return {
            "row": self.members,
            "group": group,
            "size": self.sizes[group],
            "min_similarity": self.min_similarity[group],
            "centroid_mean": self.centroid_mean[group],
            "centroid_std": self.centroid_std[group],
        }


def duplicates(
    X: ArrayLike,
    *,
    threshold: Threshold | None = None,
    metric: Metric = "cosine",
    neighbours: tuple[ArrayLike, ArrayLike] | None = None,
    max_pairs: int = 10_000_000,
) -> Duplicates:
    """All pairs of rows that are near duplicates, and the groups that they form; exact.

    No pair is missed and none is false: candidates come from float32 products whose rounding is
    allowed for, and each is measured again in float64. The work grows with the square of the
    rows, the memory beyond the data does not. Groups are transitive (a like b and b like c joins
    a and c); ``min_similarity`` says how unlike the members of a group get.

    Args:
        X: embeddings ``(N, D)``, finite.
        threshold: the smallest cosine, or the largest distance, of a near duplicate; ``"slope"``
            reads it off the elbow of the distances between neighbours, ``("percentile", q)``
            takes the closest ``100 - q`` percent of them. By default 0.98 for the cosine and
            ``"slope"`` for a distance.
        metric: ``"cosine"`` of rows, ``"euclidean"`` distance, or ``"columns"``: the distance
            after each column was divided by its norm.
        neighbours: ``(index, distance)``, each ``(N, k)``, of any nearest-neighbour library, for
            data too large for the square; then only these pairs are measured, and those that the
            library missed are missed. A negative index is no neighbour. Distances are measured
            anew: of the second array only the shape is used.
        max_pairs: more pairs than this are refused.

    Returns:
        The groups, their pairs and the similarities. Rows of zeros have no cosine: they are a
        group of their own, named by ``zero_group``, and in no pair.

    Raises:
        SymphonyError: if ``X`` is not a finite matrix or an argument is out of its range.
        SizeError: if there are more than ``max_pairs`` pairs.

    Source:
        Symphony's duplicates component; "slope" and "percentile" are the thresholds of its
        companion library.

    Example:
        >>> import numpy as np
        >>> found = duplicates(np.array([[1, 0], [0, 1], [2, 0.01]]), threshold=0.99)
        >>> found.group.tolist(), found.pairs.tolist()
        ([0, -1, 0], [[0, 2]])
    """
    values = matrix(X)
    points, unit, zero = _space(values, metric)
    given = None if neighbours is None else _given_pairs(neighbours, zero)
    if threshold is None:
        threshold = 0.98 if metric == "cosine" else "slope"
    with own_threads() as threads:
        rows = np.flatnonzero(~zero)
        distance: float | None = None
        read_off = isinstance(threshold, (str, tuple))
        if read_off:
            if given is None:
                near = nearest(points[rows], NEIGHBOURS, threads=threads)
            else:
                near = distances(points, given)
            distance = _read_off(np.sort(near[near > 0]), threshold)
            level = float(_similarity(np.float64(distance or 0.0), metric, unit))
        else:
            level = _checked(threshold, metric) * (1 if metric == "cosine" else -1)
        if given is None:
            radius = _radius(level, metric, unit)
            pairs, apart = pairs_within(points[rows], radius, most=max_pairs, threads=threads)
            pairs = rows[pairs]
        else:
            pairs, apart = given, distances(points, given)
        keep = _similarity(apart, metric, unit) >= level
        return _described(
            points, pairs[keep], apart[keep], np.flatnonzero(zero), unit,
            level=level, metric=metric, elbow=not read_off or distance is not None,
        )  # fmt: skip


def _described(
    points: Floats, pairs: Ints, apart: Floats, zeros: Ints, unit: float, *,
    level: float, metric: Metric, elbow: bool,
) -> Duplicates:  # fmt: skip
    """The groups that the pairs make, and how tight they are."""
    chain = np.stack([zeros[:-1], zeros[1:]], axis=1)  # rows of zeros, joined without being pairs
    links = np.concatenate([pairs, chain])
    group = components(len(points), links)
    wide = widest(points, group, links, np.concatenate([apart, np.zeros(len(chain))]))
    mean, std = _spread(points, group, len(wide), unit)
    return Duplicates(
        group=group,
        pairs=pairs,
        similarity=_similarity(apart, metric, unit),
        sizes=np.bincount(group[group >= 0]),
        min_similarity=_similarity(wide, metric, unit),
        threshold=level if metric == "cosine" else abs(level),
        metric=metric,
        members=members(group, _first_axis(points, group)),
        centroid_mean=mean,
        centroid_std=std,
        zero_group=int(group[zeros[0]]) if len(zeros) > 1 else -1,
        elbow=elbow,
    )


def _space(values: Floats, metric: str) -> tuple[Floats, float, NDArray[np.bool_]]:
    """The points between which Euclidean distances are meant, their unit, and the zero rows.

    Scales are taken out first, so that neither 1e-200 nor 1e200 is lost when squared.
    """
    none = np.zeros(len(values), dtype=bool)
    if metric not in ("cosine", "euclidean", "columns"):
        raise SymphonyError(f"metric must be 'cosine', 'euclidean' or 'columns', got {metric!r}")
    none = np.zeros(len(values), dtype=bool)
    axis = {"cosine": 1, "euclidean": None, "columns": 0}[metric]
    top, bottom = (reach(axis=axis, initial=0, keepdims=True) for reach in (values.max, values.min))
    scale = np.maximum(top, -bottom)
    if metric == "euclidean":
        unit = float(2.0 ** np.clip(np.frexp(scale.item())[1], -1000, 1000))  # divides exactly
        return values / unit, unit, none
    points = values / np.where(scale > 0, scale, 1.0)
    norm = np.sqrt(np.einsum("ij,ij->i" if axis else "ij,ij->j", points, points))
    points /= np.expand_dims(np.where(norm > 0, norm, 1.0), axis or 0)
    return points, 1.0, (scale[:, 0] == 0 if metric == "cosine" else none)


def _similarity(apart: Any, metric: str, unit: float) -> Any:
    """Cosines of unit vectors from their distances, exactly 1 at 0; else minus the distances."""
    return 1 - apart**2 / 2 if metric == "cosine" else -apart * unit


def _radius(level: float, metric: str, unit: float) -> float:
    """The distance between points up to which a search for that similarity has to look."""
    if metric == "cosine":
        return float(np.sqrt(max(0.0, 2 - 2 * level))) * (1 + 1e-9) + 1e-7
    return -level / unit * (1 + 1e-9)


def _checked(threshold: Any, metric: str) -> float:
    """A threshold that was given as a number, in the range of its metric."""
    low, high, kind = 0.0, np.inf, "a distance of at least 0"
    if metric == "cosine":
        low, high, kind = -1.0, 1.0, "a cosine in [-1, 1]"
    number = isinstance(threshold, (int, float, np.number)) and not isinstance(threshold, bool)
    if not number or not low <= threshold <= high or np.isinf(threshold):
        raise SymphonyError(
            f"threshold must be {kind}, 'slope' or ('percentile', q), got {threshold!r}"
        )
    return float(threshold)


def _read_off(apart: Floats, threshold: Any) -> float | None:
    """A distance read off the sorted distances between neighbours; None where there is none."""
    if threshold == "slope":
        return slope_threshold(apart)
    if not isinstance(threshold, tuple) or len(threshold) != 2 or threshold[0] != "percentile":
        raise SymphonyError(
            f"threshold must be a number, 'slope' or ('percentile', q), got {threshold!r}"
        )
    return percentile_threshold(apart, float(threshold[1]))


def _given_pairs(neighbours: tuple[ArrayLike, ArrayLike], zero: NDArray[np.bool_]) -> Ints:
    """The distinct pairs i < j that a neighbour library named, zero rows left out."""
    index, apart = (np.asarray(part) for part in neighbours)
    rows = len(zero)
    if index.ndim != 2 or len(index) != rows or index.shape != apart.shape:
        raise SymphonyError(
            f"neighbours must be (index, distance), each ({rows}, k), got {index.shape} and "
            f"{apart.shape}"
        )
    if index.dtype.kind not in "iu" or (index.size and index.max() >= rows):
        raise SymphonyError(f"neighbours must hold row numbers below {rows}")
    pairs = np.stack([np.repeat(np.arange(rows), index.shape[1]), index.ravel()], axis=1)
    pairs = np.sort(pairs[(pairs[:, 1] >= 0) & (pairs[:, 0] != pairs[:, 1])], axis=1)
    pairs = pairs[~zero[pairs].any(axis=1)]
    return np.unique(pairs, axis=0)


def _spread(points: Floats, group: Ints, groups: int, unit: float) -> tuple[Floats, Floats]:
    """Mean and standard deviation ``(G,)`` of the distance to each group's centroid."""
    rows = np.flatnonzero(group >= 0)
    own = group[rows]
    sizes = np.bincount(own, minlength=groups)
    centroid = np.zeros((groups, points.shape[1]))
    np.add.at(centroid, own, points[rows])
    centroid /= sizes[:, None]
    apart = np.linalg.norm(points[rows] - centroid[own], axis=1)
    mean = np.bincount(own, apart, minlength=groups) / sizes
    variance = np.bincount(own, (apart - mean[own]) ** 2, minlength=groups) / sizes
    return mean * unit, np.sqrt(variance) * unit


def _first_axis(points: Floats, group: Ints) -> Floats:
    """Each row's place ``(N,)`` along the first principal axis of all grouped rows."""
    grouped = points[group >= 0]
    if not len(grouped):
        return np.zeros(len(points))
    centre = grouped.mean(axis=0)
    _, _, axes = np.linalg.svd(np.linalg.qr(grouped - centre, mode="r"), full_matrices=False)
    axis = axes[0] * np.sign(axes[0][np.abs(axes[0]).argmax()] or 1.0)
    return (points - centre) @ axis

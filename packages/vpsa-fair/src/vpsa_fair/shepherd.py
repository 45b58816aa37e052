"""The predecessor's perfect start: a threshold, and the images that it matches without error."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpsa_fair.errors import DataError
from vpsa_fair.scores import Similarity, prepared, tile

__all__ = ["Shepherd", "shepherd"]

MOST = 8192  # images: conflicts are counted on the full matrix, 4 bytes a pair


@dataclass(frozen=True, eq=False)
class Shepherd:
    """A threshold, and the images without a conflict at it.

    Attributes:
        threshold: a pair matches if its score is at least that.
        kept: ``(N,)`` bool.
    """

    threshold: float
    kept: NDArray[np.bool_]

    def __str__(self) -> str:
        dropped = int((~self.kept).sum())
        return f"threshold {self.threshold:.4g}: {dropped} of {len(self.kept)} images dropped"


def shepherd(
    embeddings: NDArray[np.floating],
    identity: NDArray[np.generic],
    *,
    similarity: Similarity = "cosine",
    candidates: int = 256,
) -> Shepherd:
    """Return the threshold that costs the fewest images, and the images that it keeps.

    A conflict is a genuine pair below the threshold or an impostor pair that reaches it. Images are
    sorted once by their conflicts, and the worst are dropped while they still have one.

    Args:
        embeddings: ``(N, d)`` of clean images, at most 8,192.
        identity: ``(N,)`` labels.
        similarity: ``cosine`` or ``euclidean``.
        candidates: how many thresholds are tried in a pass. If there are no more places between
            two scores of different kinds, all are tried; else a pass of equal steps through
            them, then finer passes about the best.

    Returns:
        The threshold that drops the fewest images of those tried, the highest such threshold.

    Raises:
        DataError: if there are too many images, or fewer than two.

    Source:
        RichardWebster et al. 2018 ("shepherd", "preferred view"), whose search over thresholds is
        random; here the scan is of the scores themselves.

    Example:
        >>> clean = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0], [1.0, 0.05]])
        >>> print(shepherd(clean, np.array(["a", "a", "b", "b", "b"])))
        threshold 0.5965: 1 of 5 images dropped
    """
    n = len(embeddings)
    if not 2 <= n <= MOST:
        raise DataError(f"shepherd takes 2 to {MOST} images, got {n}: draw some of them")
    vectors = prepared(embeddings, similarity)
    scores = tile(vectors, vectors, similarity)
    scores = (scores + scores.T) * np.float32(0.5)
    codes = np.unique(identity, return_inverse=True)[1]
    own = codes[:, None] == codes[None]
    np.fill_diagonal(own, True)
    places = _places(scores, own)
    best = (n + 1, 0, places[-1])
    step = max(1, len(places) // candidates)
    tried = set(range(0, len(places), step)) | {len(places) - 1}
    while True:
        for index in sorted(tried):
            dropped = n - int(_kept(scores, own, places[index]).sum())
            best = min(best, (dropped, -index, places[index]))
        if step == 1:
            break
        centre, reach = -best[1], step
        step = max(1, 2 * reach // candidates)
        tried = set(range(max(0, centre - reach), min(len(places), centre + reach + 1), step))
    return Shepherd(float(best[2]), _kept(scores, own, best[2]))


def _places(scores: NDArray[np.float32], own: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Thresholds, ascending, midway between neighbouring scores that are not of one kind."""
    upper = np.triu(np.ones(scores.shape, bool), 1)
    values, where = np.unique(scores[upper], return_inverse=True)
    pairs = np.bincount(where, minlength=len(values))
    genuine = np.bincount(where, own[upper], len(values))
    share = genuine / pairs  # 1: genuine pairs only; 0: impostor pairs only
    alike = (share[1:] == share[:-1]) & np.isin(share[1:], (0, 1))
    low, high = values[:-1][~alike], values[1:][~alike]
    middle = (low + high) / 2
    middle = np.where(middle > low, middle, high)
    ends = [values[0], np.nextafter(values[-1], np.float32(np.inf))]
    return np.unique(np.concatenate([middle, ends]).astype(np.float32))


def _kept(
    scores: NDArray[np.float32], own: NDArray[np.bool_], threshold: np.float32
) -> NDArray[np.bool_]:
    """Images without a conflict, after the worst were dropped one by one."""
    conflicts = (scores >= threshold) != own
    np.fill_diagonal(conflicts, False)
    counts = conflicts.sum(axis=1)
    kept = np.ones(len(counts), bool)
    for image in np.argsort(-counts, kind="stable"):
        if counts[image] > 0:
            kept[image] = False
            counts -= conflicts[image]
    return kept

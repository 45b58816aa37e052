"""Scores between embeddings, in tiles: no matrix of all pairs ever stands in memory."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vpsa_fair.errors import ModelError

__all__ = ["Similarity", "blocks", "prepared", "tile"]

Vectors = NDArray[np.float32]
Similarity = Literal["cosine", "euclidean"]
SIDE = 1024  # of a tile, in images


def prepared(embeddings: NDArray[np.floating], similarity: Similarity) -> Vectors:
    """Return embeddings ready for :func:`tile`: float32, of length one under cosine.

    Args:
        embeddings: ``(N, d)``, finite.
        similarity: ``cosine`` or ``euclidean``.

    Returns:
        ``(N, d)`` float32.

    Raises:
        ModelError: if an embedding is zero under cosine; it names the row.
        ValueError: if ``similarity`` is another word.
    """
    if similarity not in ("cosine", "euclidean"):
        raise ValueError(f"similarity must be 'cosine' or 'euclidean', got {similarity!r}")
    if similarity == "euclidean":
        return np.ascontiguousarray(embeddings, dtype=np.float32)
    norms = np.sqrt(np.einsum("nd,nd->n", embeddings, embeddings, dtype=np.float64))
    if not norms.all():
        row = int(np.flatnonzero(norms == 0)[0])
        raise ModelError(f"the embedding of image {row} is zero, which has no cosine")
    return np.ascontiguousarray(embeddings / norms[:, None], dtype=np.float32)


def tile(a: Vectors, b: Vectors, similarity: Similarity) -> NDArray[np.float32]:
    """Return the score of every pair: the cosine, or the Euclidean distance with a minus.

    Args:
        a: ``(n, d)`` prepared embeddings.
        b: ``(m, d)`` likewise.
        similarity: as they were prepared.

    Returns:
        ``(n, m)`` float32; more is more alike.

    Example:
        >>> x = np.array([[0.0, 3.0], [4.0, 0.0]], np.float32)
        >>> tile(x, x, "euclidean").tolist()
        [[-0.0, -5.0], [-5.0, -0.0]]
    """
    scores = a @ b.T
    if similarity == "cosine":
        return scores
    scores *= -2
    scores += np.einsum("nd,nd->n", a, a)[:, None]
    scores += np.einsum("nd,nd->n", b, b)[None]
    np.maximum(scores, 0, out=scores)
    np.sqrt(scores, out=scores)
    return np.negative(scores, out=scores)


def blocks(count: int, side: int = SIDE) -> Iterator[slice]:
    """Slices that cover ``range(count)``."""
    for start in range(0, count, side):
        yield slice(start, min(start + side, count))

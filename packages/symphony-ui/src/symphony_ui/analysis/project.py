"""Two coordinates for each row, to draw it."""

import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from symphony_ui.analysis._checks import extra, matrix
from symphony_ui.analysis._pairs import Floats
from symphony_ui.analysis._reduce import principal
from symphony_ui.errors import SymphonyError

Method = Literal["pca", "umap", "tsne"] | Callable[[Floats], Any]
REDUCED = 40  # dimensions that UMAP and t-SNE get to see, as in Symphony's companion library


def project(X: ArrayLike, *, method: Method = "pca", seed: int = 0) -> Floats:
    """Two coordinates ``(N, 2)`` for each row of ``X``.

    Args:
        X: embeddings ``(N, D)``, finite.
        method: ``"pca"`` and ``"tsne"`` (scikit-learn, the extra [analysis]), ``"umap"`` (the
            extra [umap]), or a function from ``(N, D)`` to ``(N, 2)``. UMAP and t-SNE see the
            first 40 principal components.
        seed: of whatever the method draws.

    Returns:
        Coordinates, float64. PCA's are centred, the first with the larger variance, and of fixed
        sign; data of a single dimension has zeros as its second coordinate.

    Raises:
        SymphonyError: if ``X`` is not a finite matrix, ``method`` is unknown or gives another
            shape, or an extra is not installed.

    Example:
        >>> import numpy as np
        >>> project(np.array([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]])).round(6)[:, 0].tolist()
        [-5.0, 0.0, 5.0]
    """
    values = matrix(X)
    if callable(method):
        return _checked(method(values), len(values))
    if method not in ("pca", "umap", "tsne"):
        raise SymphonyError(f"method must be 'pca', 'umap', 'tsne' or a function, got {method!r}")
    if method == "pca" or len(values) < 4:  # too few rows to have neighbours
        return _pca(values, 2, seed)
    reduced = values if 2 <= values.shape[1] <= REDUCED else _pca(values, REDUCED, seed)
    if method == "tsne":
        near = min(30.0, (len(values) - 1) / 3)
        model = extra("sklearn.manifold", "method='tsne'").TSNE(perplexity=near, random_state=seed)
        return _checked(model.fit_transform(reduced), len(values))
    umap = extra("umap", "method='umap'", "umap")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that a seed means one thread
        model = umap.UMAP(n_neighbors=min(15, len(values) - 1), random_state=seed)
        return _checked(model.fit_transform(reduced), len(values))


def _pca(values: Floats, count: int, seed: int) -> Floats:
    """The leading principal coordinates, at least two columns."""
    if len(values) < 2:
        return np.zeros((len(values), 2))
    found = principal(values, count, seed, "method='pca'")(values)
    return np.pad(found, ((0, 0), (0, max(0, 2 - found.shape[1]))))


def _checked(found: Any, rows: int) -> Floats:
    """What a method gave, if it is two coordinates a row."""
    points = np.asarray(found, dtype=np.float64)
    if points.shape != (rows, 2):
        raise SymphonyError(f"method must give an array of shape ({rows}, 2), got {points.shape}")
    return points

"""Principal components by scikit-learn, with signs that do not depend on chance."""

from dataclasses import dataclass

import numpy as np

from symphony_ui.analysis._checks import extra
from symphony_ui.analysis._pairs import Floats


@dataclass(frozen=True)
class Principal:
    """The leading principal axes of a data set."""

    centre: Floats  #: (D,)
    axes: Floats  #: (K, D), orthonormal; the largest entry of each is positive
    variance: Floats  #: (K,), falling

    def __call__(self, X: Floats) -> Floats:
        """The coordinates ``(N, K)`` of rows ``(N, D)``."""
        return (X - self.centre) @ self.axes.T


def principal(X: Floats, count: int, seed: int, what: str) -> Principal:
    """The ``count`` leading principal axes of ``X`` ``(N, D)``, as many as there are at most."""
    decomposition = extra("sklearn.decomposition", what)
    count = min(count, *X.shape)
    solver = "covariance_eigh" if X.shape[1] <= min(1000, len(X)) else "auto"
    model = decomposition.PCA(count, svd_solver=solver, random_state=seed).fit(X)
    axes = np.asarray(model.components_)
    largest = axes[np.arange(count), np.abs(axes).argmax(axis=1)]
    axes = axes * np.where(largest < 0, -1.0, 1.0)[:, None]
    return Principal(np.asarray(model.mean_), axes, np.asarray(model.explained_variance_))

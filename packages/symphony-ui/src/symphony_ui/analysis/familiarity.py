"""Familiarity: how usual a row is, by the density of a Gaussian mixture."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from symphony_ui.analysis._checks import column, extra, matrix
from symphony_ui.analysis._labels import encode
from symphony_ui.analysis._pairs import Floats
from symphony_ui.analysis._reduce import Principal, principal
from symphony_ui.errors import SymphonyError


@dataclass(frozen=True)
class Mixture:
    """A Gaussian mixture with diagonal covariances, over principal coordinates if ``reduce``."""

    weights: Floats  #: (K,), sum 1
    means: Floats  #: (K, D)
    variances: Floats  #: (K, D)
    reduce: Principal | None  #: what rows go through first
    converged: bool
    iterations: int

    def score(self, X: ArrayLike) -> Floats:
        """The log-density ``(N,)`` of rows ``(N, D)`` in nats; higher is more familiar."""
        rows = matrix(X)
        if self.reduce is not None:
            rows = self.reduce(rows)
        parts = [  # one Gaussian at a time: differences before squares, so that nothing cancels
            np.log(weight)
            - ((rows - mean) ** 2 @ (1 / variance) + np.log(2 * np.pi * variance).sum()) / 2
            for weight, mean, variance in zip(self.weights, self.means, self.variances, strict=True)
        ]
        logs = np.stack(parts, axis=1)  # (N, K)
        top = logs.max(axis=1)
        return top + np.log(np.exp(logs - top[:, None]).sum(axis=1))


@dataclass(frozen=True)
class Familiarity:
    """Log-densities of rows; the lowest are the least familiar."""

    score: Floats  #: (N,) in nats; NaN where the row's label has no model
    model: Mixture | Mapping[Any, Mixture] = field(repr=False)  #: one, or one a label
    skipped: dict[Any, int] = field(default_factory=dict)  #: labels with too few rows, and how many

    def __str__(self) -> str:
        known = self.score[~np.isnan(self.score)]
        models = f"{len(self.model)} models" if isinstance(self.model, Mapping) else "one model"
        head = f"familiarity of {len(known)} of {len(self.score)} rows, {models}"
        lines = [head]
        if len(known):
            low, mid, high = np.quantile(known, [0, 0.5, 1])
            least = ", ".join(map(str, self.least(5).tolist()))
            lines.append(f"  log-density {low:.2f} to {high:.2f} nats, median {mid:.2f}")
            lines.append(f"  least familiar rows: {least}")
        if self.skipped:
            names = ", ".join(f"{k} ({v})" for k, v in self.skipped.items())
            lines.append(f"  no model for labels with too few rows: {names}")
        unfinished = sum(not m.converged for m in self._models())
        if unfinished:
            lines.append(f"  {unfinished} models had not converged after 200 iterations")
        return "\n".join(lines)

    def _models(self) -> list[Mixture]:
        return list(self.model.values()) if isinstance(self.model, Mapping) else [self.model]

    def least(self, count: int) -> NDArray[np.int64]:
        """The ``count`` least familiar rows, the strangest first."""
        ranked = np.argsort(self.score, kind="stable")  # NaN goes last
        return ranked[: min(count, int((~np.isnan(self.score)).sum()))]

    def to_table(self) -> dict[str, NDArray[Any]]:
        """One row a row of the data: its score, and its rank from the least familiar, 0."""
        rank = np.empty(len(self.score), dtype=np.int64)
        rank[np.argsort(self.score, kind="stable")] = np.arange(len(self.score))
        return {"row": np.arange(len(self.score)), "familiarity": self.score, "rank": rank}


def familiarity(
    X: ArrayLike,
    *,
    components: int = 5,
    reduce: int = 40,
    by: Any = None,
    min_count: int = 50,
    seed: int = 0,
) -> Familiarity:
    """The log-density of each row under a Gaussian mixture that was fitted to all rows.

    Args:
        X: embeddings ``(N, D)``, finite.
        components: Gaussians of the mixture, with diagonal covariances.
        reduce: wider data is reduced to so many principal components first.
        by: a label for each row: every label gets a mixture of its own, and a row is scored by
            that of its label. Rows without a label get NaN.
        min_count: labels with fewer rows get no mixture; their rows get NaN, and ``skipped``
            names them.
        seed: of the k-means that the fit starts from.

    Returns:
        Scores in nats, higher is more familiar, and the fitted mixtures (numpy only).

    Raises:
        SymphonyError: if ``X`` is not a finite matrix, an argument is out of its range, there are
            fewer distinct rows than components, or scikit-learn is missing.

    Source:
        Symphony's familiarity: PCA to 40, 5 diagonal Gaussians, tolerance 1e-3, at most 200
        iterations, 50 rows a label. Ours: variances are raised by 1e-6 of the mean variance, and
        components that hold next to no rows are not part of the mixture.

    Example:
        >>> import numpy as np
        >>> X = np.random.default_rng(0).normal(size=(100, 3))
        >>> X[7] = 9.0
        >>> familiarity(X).least(1).tolist()
        [7]
    """
    values = matrix(X)
    for name, value in (("components", components), ("reduce", reduce), ("min_count", min_count)):
        if value < 1:
            raise SymphonyError(f"{name} must be at least 1, got {value}")
    first = principal(values, reduce, seed, "familiarity") if values.shape[1] > reduce else None
    rows = first(values) if first is not None else values
    if by is None:
        model = _fit(rows, components, seed, first, "X")
        return Familiarity(model.score(values), model)
    names, member = encode(column(by, "by", len(values)))
    score = np.full(len(values), np.nan)
    models: dict[Any, Mixture] = {}
    skipped: dict[Any, int] = {}
    for number, name in enumerate(names):
        own = np.flatnonzero(member == number)
        if len(own) < min_count:
            skipped[name] = len(own)
            continue
        models[name] = _fit(rows[own], components, seed, first, f"label {name!r}")
        score[own] = models[name].score(values[own])
    return Familiarity(score, models, skipped)


def _fit(rows: Floats, components: int, seed: int, first: Principal | None, what: str) -> Mixture:
    """The mixture of the rows ``(N, D)``.

    A component of a few outliers would call them the most familiar rows of all. So the rows of
    components that hold less than an eighth of an equal share are set aside, the rest is fitted
    anew, up to five times, and what is still so small then is dropped.
    """
    distinct = len(np.unique(rows, axis=0))
    if distinct < components:
        raise SymphonyError(
            f"components must be at most the number of distinct rows, got {components} for "
            f"{distinct} in {what}"
        )
    centre = rows.mean(axis=0)
    scale = float(np.sqrt(((rows - centre) ** 2).mean())) or 1.0
    unit = (rows - centre) / scale
    model = gaussian_mixture(unit, components, seed)
    small = model.weights_ < 1 / (8 * components)
    for _ in range(5):
        if not small.any():
            break
        unit = unit[~small[model.predict(unit)]]
        if len(np.unique(unit, axis=0)) < components:
            break
        model = gaussian_mixture(unit, components, seed)
        small = model.weights_ < 1 / (8 * components)
    kept = model.weights_[~small]
    return Mixture(
        weights=kept / kept.sum(),
        means=model.means_[~small] * scale + centre,
        variances=model.covariances_[~small] * scale**2,
        reduce=first,
        converged=bool(model.converged_),
        iterations=int(model.n_iter_),
    )


def gaussian_mixture(unit: Floats, components: int, seed: int, iterations: int = 200) -> Any:
    """scikit-learn's mixture, fitted to rows ``(N, D)`` of about unit scale."""
    mixture = extra("sklearn.mixture", "familiarity")
    model = mixture.GaussianMixture(
        components, covariance_type="diag", tol=1e-3, max_iter=iterations, random_state=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not converged: the result says so
        return model.fit(unit)

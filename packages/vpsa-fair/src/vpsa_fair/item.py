"""The lowest door: whoever has right and wrong answers at levels has curves and intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vpsa_fair.counts import CLEAN, UNKNOWN, Axis, Cell, Counts, positions
from vpsa_fair.errors import DataError
from vpsa_fair.result import Result

__all__ = ["item_response"]


def item_response(
    correct: ArrayLike | Mapping[str, ArrayLike],
    levels: Sequence[float] | Mapping[str, Sequence[float]],
    groups: Sequence[Any] | Mapping[str, Sequence[Any]],
    ids: Sequence[Any] | None = None,
    *,
    axis: str = "linear",
    chance: float = 0.0,
    **settings: Any,
) -> Result:
    """Curves, areas, gaps and intervals of any task, from answers that were right or wrong.

    Args:
        correct: ``(N, L)`` answers of N trials at L levels, 0 or 1 (or any number between); the
            first column is clean. For several perturbations a mapping of their names to such
            arrays, whose clean columns agree.
        levels: ``(L,)`` levels from weak to strong, the first clean; a mapping if ``correct`` is.
        groups: ``(N,)`` labels, or a mapping of attributes to labels. None, NaN and "" are unknown.
        ids: ``(N,)`` what must be resampled together, such as the person; each trial by itself if
            None.
        axis: ``"linear"`` or ``"log"``, of the levels.
        chance: response of a model that guesses.
        settings: as ``Result``: groupings, seed, n_boot, confidence, interval, min_identities.

    Returns:
        The result.

    Raises:
        DataError: if shapes disagree or an identity lies in two groups of one attribute.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> correct = rng.random((400, 3)) < [0.95, 0.9, 0.6]
        >>> res = item_response(correct, [0, 1, 2], groups=["a", "b"] * 200)
        >>> np.asarray(res.matrix()).shape
        (2, 1)
    """
    tables = correct if isinstance(correct, Mapping) else {"perturbation": correct}
    grids = levels if isinstance(levels, Mapping) else dict.fromkeys(tables, levels)
    answers = {str(k): np.asarray(v, dtype=np.float64) for k, v in tables.items()}
    n = _checked(answers, grids)
    identity, inverse = _identities(ids, n)
    attributes = groups if isinstance(groups, Mapping) else {"group": groups}
    labels = {str(k): _group_labels(str(k), v, inverse, n) for k, v in attributes.items()}

    first = next(iter(answers.values()))
    cells, columns = [CLEAN], [first[:, :1]]
    axes: dict[str, Axis] = {}
    for name, table in answers.items():
        grid = [float(s) for s in grids[name]]
        at = positions(grid[1:], clean=grid[0], axis=axis)
        cells += [Cell(name, s, float(u)) for s, u in zip(grid[1:], at, strict=True)]
        columns.append(table[:, 1:])
        axes[name] = Axis(axis, grid[0])
    flat = np.hstack(columns)
    hits = np.zeros((len(identity), flat.shape[1]))
    np.add.at(hits, inverse, flat)
    trials = np.repeat(np.bincount(inverse)[:, None].astype(np.float64), flat.shape[1], axis=1)
    counts = Counts(
        identity=identity,
        groups=labels,
        cells=tuple(cells),
        hits={"correct": np.minimum(hits, trials)},
        trials={"correct": trials},
        chance=chance,
        protocol="item response",
        axes=axes,
    )
    return Result(counts, **settings)


def _checked(answers: Mapping[str, Any], grids: Mapping[str, Sequence[float]]) -> int:
    """Number of trials, after the shapes and values were looked at."""
    if not answers or set(answers) != set(grids):
        got = f"{sorted(answers)} and {sorted(grids)}"
        raise DataError(f"correct and levels must name the same perturbations, got {got}")
    clean = next(iter(answers.values()))[..., :1]
    for name, table in answers.items():
        want = (len(clean), len(grids[name]))
        if table.ndim != 2 or table.shape != want or want[1] < 2:
            raise DataError(f"correct[{name!r}] must be {want}, 2 levels or more: {table.shape}")
        if not ((table >= 0) & (table <= 1)).all():
            raise DataError(f"correct[{name!r}] must lie in [0, 1] and hold no NaN")
        if not np.array_equal(table[:, :1], clean):
            raise DataError(f"the clean column of {name!r} differs from the first perturbation's")
    if not len(clean):
        raise DataError("correct must hold at least one trial")
    return len(clean)


def _identities(ids: Sequence[Any] | None, n: int) -> tuple[Any, Any]:
    if ids is None:
        return np.array([str(i) for i in range(n)]), np.arange(n)
    if len(ids) != n:
        raise DataError(f"ids must be ({n},), got ({len(ids)},)")
    return np.unique(np.array([str(i) for i in ids]), return_inverse=True)


def _group_labels(name: str, labels: Sequence[Any], inverse: Any, n: int) -> Any:
    """Label of each identity, after a look whether its trials agree."""
    if len(labels) != n:
        raise DataError(f"groups[{name!r}] must be ({n},), got ({len(labels)},)")
    text = np.array([_label(v) for v in labels], dtype=np.str_)
    out = np.empty(int(inverse.max()) + 1, dtype=text.dtype)
    out[inverse] = text
    if (wrong := np.flatnonzero(out[inverse] != text)).size:
        i = int(wrong[0])
        got = f"{text[i]!r} and {out[inverse[i]]!r}"
        raise DataError(f"an identity must lie in one group of {name!r}; trial {i} says {got}")
    return out


def _label(value: Any) -> str:
    missing = value is None or value != value or str(value).strip() == ""
    return UNKNOWN if missing else str(value)

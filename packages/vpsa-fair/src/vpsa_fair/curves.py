"""Item-response curves: the area under one, and the level at which it gives way."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from vpsa_fair.counts import Array, positions

__all__ = ["chance_corrected", "normalized_auc", "onset_level", "trapezoid_weights"]


def trapezoid_weights(position: ArrayLike) -> Array:
    """Weights whose product with a curve is its area, so that many curves are one product.

    Args:
        position: ``(L,)`` points, strictly increasing.

    Returns:
        ``(L,)`` weights; they sum to the length of the interval.

    Example:
        >>> trapezoid_weights([0.0, 0.25, 1.0]).tolist()
        [0.125, 0.5, 0.375]
    """
    u = np.asarray(position, dtype=np.float64)
    step = np.diff(u)
    if u.ndim != 1 or len(u) < 2 or not (step > 0).all():
        raise ValueError(f"positions must be two or more, increasing, got {u.tolist()}")
    weights = np.zeros(len(u))
    weights[:-1] += step / 2
    weights[1:] += step / 2
    return weights


def normalized_auc(levels: Sequence[float], response: ArrayLike, *, axis: str = "linear") -> Array:
    """Area under an item-response curve, with the declared axis scaled to [0, 1].

    Exact for a response that is affine between levels; a constant response is its own area.

    Args:
        levels: ``(L,)`` stimulus levels from weak to strong, the first one clean.
        response: ``(..., L)`` responses.
        axis: ``"linear"`` or ``"log"``, as :func:`vpsa_fair.positions`.

    Returns:
        ``(...)`` areas, in the unit of the response.

    Raises:
        ValueError: if the shapes disagree or the levels are not ordered.

    Source:
        Fair SA, abstract (area under the curve of robustness); the trapezoid rule is our choice.

    Example:
        >>> float(normalized_auc([0, 1, 4], [1, 0.5, 0.5]))
        0.5625
    """
    r = np.asarray(response, dtype=np.float64)
    if r.ndim == 0 or r.shape[-1] != len(levels) or len(levels) < 2:
        raise ValueError(f"response must be (..., {len(levels)}) and 2 or more, got {r.shape}")
    u = positions(levels[1:], clean=levels[0], axis=axis)
    return r @ trapezoid_weights([0.0, *u])


def chance_corrected(area: ArrayLike, chance: float) -> Array:
    """Area on a scale where guessing is 0 and perfection 1.

    Args:
        area: ``(...)`` areas or rates.
        chance: response of a model that guesses, in [0, 1).

    Returns:
        ``(area - chance) / (1 - chance)``; negative below chance.

    Example:
        >>> float(chance_corrected(0.75, 0.5))
        0.5
    """
    if not 0 <= chance < 1:
        raise ValueError(f"chance must lie in [0, 1), got {chance}")
    return (np.asarray(area, dtype=np.float64) - chance) / (1 - chance)


def onset_level(
    levels: ArrayLike,
    response: ArrayLike,
    *,
    epsilon: float = 0.05,
    floor: float = 0.0,
) -> float:
    """First level at which a curve falls below its clean value by a share ``epsilon``.

    The curve is made monotone first (running minimum): a later recovery hides no failure. Between
    two levels the crossing is interpolated linearly in the level.

    Args:
        levels: ``(L,)`` levels, the clean one first; increasing or decreasing.
        response: ``(L,)`` responses.
        epsilon: share of what lies above ``floor`` that has to be lost; .5 is half performance.
        floor: the response from which the share counts, such as chance.

    Returns:
        The level, in the unit of ``levels``; NaN if the curve does not fall that far.

    Raises:
        ValueError: if shapes disagree or epsilon is not in (0, 1].

    Source:
        Notes on Fair SA's targeted robustness; interpolation and monotone rule are our choice.

    Example:
        >>> onset_level([0, 2, 4], [1.0, 0.9, 0.5], epsilon=0.3)
        3.0
    """
    s, r = np.asarray(levels, dtype=np.float64), np.asarray(response, dtype=np.float64)
    if s.shape != r.shape or s.ndim != 1 or len(s) < 2:
        raise ValueError(f"levels and response must be (L,), got {s.shape} and {r.shape}")
    if not 0 < epsilon <= 1:
        raise ValueError(f"epsilon must lie in (0, 1], got {epsilon}")
    target = floor + (1 - epsilon) * (r[0] - floor)
    falling = np.minimum.accumulate(r)
    below = np.flatnonzero(falling < target)
    if not np.isfinite(target) or r[0] <= floor or not len(below):
        return float("nan")
    k = int(below[0])
    share = (falling[k - 1] - target) / (falling[k - 1] - falling[k])
    return float(s[k - 1] + share * (s[k] - s[k - 1]))

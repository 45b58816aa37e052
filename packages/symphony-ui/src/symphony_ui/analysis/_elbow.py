"""Thresholds that are read off the distances between neighbours."""

import numpy as np

from symphony_ui.analysis._pairs import Floats
from symphony_ui.errors import SymphonyError


def percentile_threshold(apart: Floats, q: float) -> float | None:
    """The distance that the closest ``100 - q`` percent of the sorted neighbours reach.

    Args:
        apart: sorted distances ``(m,)`` above zero.
        q: percent, above 0, at most 100.

    Returns:
        The distance, or None if there are no distances.

    Source:
        Symphony's duplicates: ``d[m - int(q / 100 * m)]``.
    """
    if not 0 < q <= 100:
        raise SymphonyError(f"the percentile of threshold must lie in (0, 100], got {q}")
    taken = max(1, int(q / 100 * len(apart)))
    return float(apart[-taken]) if len(apart) else None


def slope_threshold(apart: Floats, sensitivity: int = 5) -> float | None:
    """The distance at the elbow of the sorted neighbour distances, or None where there is none.

    Walking down from the median, the elbow is the first place where the next ``m / sensitivity``
    distances rise by more than the middle half of all distances does. That alone finds an elbow
    in almost any data, as a lower tail is the rule. So there has to be a jump as well, a single
    step from one distance to the next: a third as wide as the middle half if four pairs or more
    lie below it, wider in proportion (two thirds for two pairs) below fewer, and raising the
    distance by a quarter at least.

    Args:
        apart: sorted distances ``(m,)`` above zero; each pair counts twice.
        sensitivity: the width of the window is ``m // sensitivity``.

    Returns:
        The largest distance below the jump, or None.

    Source:
        Symphony's duplicates, ``Slope(5)``; the jump is ours, and so is the stride of one.
    """
    m = len(apart)
    window = m // sensitivity
    if window < 1:
        return None
    target = apart[3 * m // 4] - apart[m // 4]
    low = np.arange(min(m // 2, m - 1 - window) + 1)
    steep = np.flatnonzero(apart[low + window] - apart[low] > target)
    if not len(steep):
        return None
    steps = np.diff(apart[: steep[-1] + window + 1])
    weight = steps * np.clip(np.arange(1, len(steps) + 1) / 2, 1, 4)  # pairs below the step
    edge = int(weight.argmax())
    jump = 3 * weight[edge] >= 4 * target and apart[edge + 1] >= 1.25 * apart[edge]
    return float(apart[edge]) if jump else None

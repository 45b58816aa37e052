"""k-alternative forced choice in closed form: no distractor is ever drawn."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["kafc"]

Array = NDArray[np.float64]


def kafc(
    genuine: NDArray[np.floating], impostor: NDArray[np.floating], k: int
) -> NDArray[np.float64]:
    """Probability that a genuine score beats k - 1 distractors drawn without replacement.

    With w impostor scores below the genuine score and t equal to it, the rank among the equal is a
    coin's: P is the mean over j = 0..t of C(w + j, k - 1) / C(n, k - 1).

    Args:
        genuine: ``(T,)`` genuine scores, one a trial.
        impostor: ``(T, n)`` scores of the trial's possible distractors, or ``(n,)`` for all trials.
        k: alternatives, the right one included, from 2 to n + 1.

    Returns:
        ``(T,)`` probabilities. Their mean is the AUROC at k = 2 (equal scores count one half), and
        the rank-1 rate at k = n + 1.

    Raises:
        ValueError: if shapes do not fit, or there are fewer than k - 1 distractors.

    Source:
        Hypergeometric; equal scores are broken at random, by the hockey-stick identity. The
        predecessor draws its distractors, with replacement.

    Example:
        >>> kafc(np.array([0.5, 0.2]), np.array([0.1, 0.2, 0.3]), 3).round(4).tolist()
        [1.0, 0.1667]
    """
    genuine, impostor = np.asarray(genuine), np.asarray(impostor)
    if genuine.ndim != 1 or impostor.ndim not in (1, 2) or (
        impostor.ndim == 2 and len(impostor) != len(genuine)
    ):  # fmt: skip
        got = f"{genuine.shape} and {impostor.shape}"
        raise ValueError(f"genuine and impostor must be (T,) and (T, n) or (n,), got {got}")
    n = impostor.shape[-1]
    if not 2 <= k <= n + 1:
        raise ValueError(f"k must be from 2 to {n + 1}, for {n} distractors, got {k}")
    if impostor.ndim == 1:
        ordered = np.sort(impostor)
        below = np.searchsorted(ordered, genuine, side="left")
        tied = np.searchsorted(ordered, genuine, side="right") - below
    else:
        below = (impostor < genuine[:, None]).sum(axis=1)
        tied = (impostor == genuine[:, None]).sum(axis=1)
    return from_counts(below, tied, n, k)


def from_counts(
    below: NDArray[np.integer], tied: NDArray[np.integer], n: int, k: int
) -> NDArray[np.float64]:
    """Probability of a right choice from how many distractors lie below, and how many are equal.

    Args:
        below: ``(T,)`` whole numbers.
        tied: ``(T,)`` likewise; below + tied is at most n.
        n: distractors there are.
        k: alternatives, at most n + 1.

    Returns:
        ``(T,)`` probabilities.
    """
    chance, running = _tables(n, k)
    several = (running[below + tied + 1] - running[below]) / (tied + 1)
    return np.where(tied == 0, chance[below], several)


@lru_cache(maxsize=64)
def _tables(n: int, k: int) -> tuple[Array, Array]:
    """C(x, k - 1) / C(n, k - 1) for x from 0 to n, and its running sums from 0."""
    x = np.arange(n, 0, -1)
    falling = np.cumprod(np.clip(x - k + 1, 0, None) / x)  # at x - 1, from that at x
    chance = np.concatenate([falling[::-1], [1.0]])
    return chance, np.concatenate([[0.0], np.cumsum(chance)])

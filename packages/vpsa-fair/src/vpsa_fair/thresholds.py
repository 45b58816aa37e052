"""The one threshold of a verification, taken from clean scores and frozen."""

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from vpsa_fair.errors import DataError

__all__ = ["at_fmr", "best_accuracy", "kth_largest"]

Scores = NDArray[np.float32]
Tiles = Callable[[], Iterator[Scores]]
"""Gives the impostor scores anew, in pieces: they are read more than once, and never stored."""


def _keys(scores: Scores) -> NDArray[np.uint32]:
    """Whole numbers in the order of the scores."""
    bits = (scores + np.float32(0)).view(np.uint32)  # the sum makes -0 into 0
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))


def _score(key: int) -> float:
    bits = key & 0x7FFFFFFF if key >> 31 else ~key & 0xFFFFFFFF
    return float(np.array(bits, np.uint32).view(np.float32))


def kth_largest(tiles: Tiles, k: int) -> tuple[float, float]:
    """Return the k-th largest of many scores, and the next larger one that differs.

    Args:
        tiles: gives the scores in pieces, twice.
        k: from 1 to the number of scores.

    Returns:
        The k-th largest score, and the smallest score above it (infinity if none is).

    Example:
        >>> kth_largest(lambda: iter([np.float32([3, 1]), np.float32([2, 2])]), 3)
        (2.0, 3.0)
    """
    coarse = np.zeros(65536, np.int64)
    for scores in tiles():
        coarse += np.bincount(_keys(scores) >> 16, minlength=65536)
    above = np.cumsum(coarse[::-1])[::-1]  # how many lie in this bucket or higher
    bucket = int(np.flatnonzero(above >= k)[-1])
    rest = k - (int(above[bucket + 1]) if bucket < 65535 else 0)
    fine, higher = np.zeros(65536, np.int64), None
    for scores in tiles():
        keys = _keys(scores)
        top = keys >> 16
        fine += np.bincount(keys[top == bucket] & 0xFFFF, minlength=65536)
        if (over := keys[top > bucket]).size:
            higher = min(int(over.min()), higher if higher is not None else 1 << 32)
    low = int(np.flatnonzero(np.cumsum(fine[::-1])[::-1] >= rest)[-1])
    if (more := np.flatnonzero(fine[low + 1 :])).size:
        higher = bucket << 16 | (low + 1 + int(more[0]))
    return _score(bucket << 16 | low), math.inf if higher is None else _score(higher)


def between(low: float, high: float) -> float:
    """A threshold above ``low`` and at most ``high``, midway if float32 has room.

    Midway, so that a last bit that another order of summation changes decides nothing.
    """
    if high == math.inf:
        return float(np.nextafter(np.float32(low), np.float32(np.inf)))
    middle = float(np.float32((low + high) / 2))
    return middle if middle > low else high


def at_fmr(tiles: Tiles, impostors: int, genuine: Scores, fmr: float) -> float:
    """Return the lowest threshold whose false match rate is at most ``fmr``.

    Args:
        tiles: gives the impostor scores in pieces.
        impostors: how many they are.
        genuine: ``(G,)`` genuine scores; the threshold is placed midway to the next score of any
            kind, which changes neither rate.
        fmr: target, from 0 to below 1.

    Returns:
        The threshold: a pair matches if its score is at least that.

    Source:
        ISO/IEC 19795-1: the false match rate is the share of impostor trials that match.

    Example:
        >>> scores = np.float32([0.1, 0.2, 0.3, 0.4])
        >>> round(at_fmr(lambda: iter([scores]), 4, np.float32([0.8]), 0.25), 6)
        0.35
    """
    if impostors == 0:
        raise DataError("there is no impostor pair, so no threshold: two identities are needed")
    allowed = math.floor(fmr * impostors + 1e-9)
    last, following = kth_largest(tiles, allowed + 1)
    over = genuine[genuine > np.float32(last)]
    return between(last, min(following, float(over.min()) if over.size else math.inf))


def best_accuracy(tiles: Tiles, impostors: int, genuine: Scores) -> float:
    """Return the threshold of the highest balanced accuracy, the highest such threshold.

    Args:
        tiles: gives the impostor scores in pieces.
        impostors: how many they are.
        genuine: ``(G,)`` genuine scores; only they can be the lowest score that matches.

    Returns:
        The threshold: a pair matches if its score is at least that.

    Example:
        >>> impostor = np.float32([0.1, 0.2, 0.6])
        >>> round(best_accuracy(lambda: iter([impostor]), 3, np.float32([0.5, 0.7])), 6)
        0.35
    """
    if impostors == 0 or genuine.size == 0:
        got = f"{genuine.size} genuine and {impostors} impostor pairs"
        raise DataError(f"the best accuracy needs pairs of both kinds, got {got}")
    candidates, repeats = np.unique(genuine, return_counts=True)
    matched = np.cumsum(repeats[::-1])[::-1] / genuine.size  # TMR at each candidate
    below = np.zeros(len(candidates) + 1, np.int64)
    for scores in tiles():
        below += np.bincount(
            np.searchsorted(candidates, scores, side="right"), minlength=len(below)
        )
    rejected = np.cumsum(below)[:-1] / impostors  # TNMR at each candidate
    balanced = matched + rejected
    best = int(np.flatnonzero(balanced >= balanced.max() - 1e-12)[-1])
    chosen = candidates[best]
    under = [float(candidates[best - 1])] if best else []
    lower = (scores[scores < chosen] for scores in tiles())
    under += [float(scores.max()) for scores in lower if scores.size]
    return between(max(under), float(chosen)) if under else float(chosen)

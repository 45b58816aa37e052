"""The identity-cluster bootstrap, as a matrix product of weights and counts.

A resample draws identities, not trials: eight images of one person give 28 pairs, and those pairs
succeed or fail together. Since every rate is a ratio of sums over identities, all resamples of all
cells are two products, ``weights @ hits`` and ``weights @ trials``.
"""

import hashlib
from collections.abc import Iterator

import numpy as np

from vpsa_fair.counts import Array

__all__ = ["draw_weights", "group_stream", "ratio", "resampled_rates"]


def group_stream(seed: int, name: str) -> "np.random.Generator":
    """A counter-based generator of its own for each group, so that no group moves another.

    Args:
        seed: the run's seed.
        name: what names the group, attribute included.

    Returns:
        A Philox generator keyed by both.
    """
    digest = hashlib.sha256(name.encode()).digest()
    words = np.frombuffer(digest[:16], dtype="<u4").tolist()
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *words])))


def draw_weights(rng: "np.random.Generator", n: int, resamples: int) -> Array:
    """How often each of ``n`` identities was drawn, in each resample.

    ``n - 1`` are drawn and the weights scaled by ``n / (n - 1)``: the variance of a mean over
    resamples is then ``s^2 / n`` with the unbiased ``s``, where ``n`` draws give ``(n - 1) / n``
    of it. A single identity has weight 1 always: it carries no information on its variance.

    Args:
        rng: generator, moved on.
        n: identities, at least 1.
        resamples: rows.

    Returns:
        ``(resamples, n)``, each row of sum ``n``.

    Source:
        Rao and Wu 1988.
    """
    draws = max(n - 1, 1)
    drawn = rng.integers(0, n, size=(resamples, draws))
    drawn += np.arange(resamples)[:, None] * n
    weights = np.bincount(drawn.ravel(), minlength=resamples * n).reshape(resamples, n)
    return weights * np.float64(n / draws)


def ratio(hits: Array, trials: Array) -> Array:
    """Rates, NaN without trials."""
    return np.divide(hits, trials, out=np.full(hits.shape, np.nan), where=trials > 0)


def resampled_rates(point: Array, hits: Array, trials: Array, order: int) -> Array:
    """Rates of resamples from their sums of hits and trials.

    A trial of order 2 belongs to two identities, and a resample of identities weighs it by
    ``w_i w_j``. To first order around 1 that is ``w_i + w_j - 1``: since the trial is entered at
    both, the deviation of the ratio from its estimate is doubled. Without the doubling the
    interval would be half as wide as it must be.

    Args:
        point: ``(..., C)`` estimates.
        hits: ``(b, ..., C)`` weighted sums.
        trials: ``(b, ..., C)`` weighted sums.
        order: identities of one trial, 1 or 2.

    Returns:
        ``(b, ..., C)`` rates in [0, 1]. A resample without any trial repeats the estimate.

    Source:
        Hajek's projection of a U-statistic of order 2.
    """
    rates = np.divide(hits, trials, out=np.broadcast_to(point, hits.shape).copy(), where=trials > 0)
    return rates if order == 1 else np.clip(order * rates - (order - 1) * point, 0, 1)


def blocks(total: int, size: int) -> Iterator[slice]:
    """Slices of at most ``size`` that cover ``range(total)``."""
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))

"""From a group marginal back to the parameter: the inverse of the targets."""

import math
from functools import lru_cache

import torch
from torch import Tensor

from duet._checks import at_least_float32, check_bins, check_floating, check_sigma
from duet.targets import gaussian_target

STEPS = 4096  # of the table that the finite readout is inverted by


def read_cyclic(probs: Tensor) -> Tensor:
    """The circular mean of a marginal over the circle, in turns.

    Bin i stands at its centre ``(i + 1/2) / G``. On exact von Mises targets of kappa 3 the error
    is at most 4.9 degrees for 4 bins, 0.27 for 6, 0.0095 for 8 and 4e-10 for 16: the bins alias
    harmonic ``G - 1`` onto the first. A uniform marginal has no mean; what comes then is rounding.

    Args:
        probs: probabilities ``(..., G)``.

    Returns:
        Parameters ``(...)`` in ``[0, 1)``, float64 for float64, else float32.

    Raises:
        TypeError: if ``probs`` is not floating.

    Source:
        The mean direction of circular statistics; our choice, the paper's readout is not
        established.

    Example:
        >>> read_cyclic(torch.tensor([0.0, 0.5, 0.5, 0.0]))
        tensor(0.5000)
    """
    check_floating("probs", probs)
    probs = at_least_float32(probs)
    bins = probs.shape[-1]
    angle = 2 * math.pi * (torch.arange(bins, dtype=probs.dtype, device=probs.device) + 0.5) / bins
    sine, cosine = (probs * angle.sin()).sum(-1), (probs * angle.cos()).sum(-1)
    turns = torch.atan2(sine, cosine) / (2 * math.pi)
    turns = turns - turns.floor()
    return torch.where(turns < 1, turns, torch.zeros_like(turns))


def read_finite(probs: Tensor, sigma: float) -> Tensor:
    """The parameter whose target has the mean that ``probs`` has.

    The mean itself is drawn to the middle, because the targets are cut off at both ends: with 8
    bins and sigma 0.2 it is 0.165 where the parameter is 0. The map from parameter to mean rises,
    and a table inverts it.

    Args:
        probs: probabilities ``(..., G)``.
        sigma: standard deviation of the targets, in units of the full range.

    Returns:
        Parameters ``(...)`` in ``[0, 1]``, float64 for float64, else float32. Where the targets
        are so narrow that a whole interval has one mean, its middle.

    Raises:
        TypeError: if ``probs`` is not floating.
        ValueError: if ``sigma`` is out of range.

    Source:
        Ours: the reference has no readout.

    Example:
        >>> target = gaussian_target(torch.tensor([0.0, 0.25]), bins=8, sigma=0.2)
        >>> (target @ ((torch.arange(8) + 0.5) / 8)).round(decimals=3)  # the plain mean
        tensor([0.1650, 0.2920])
        >>> read_finite(target, sigma=0.2).round(decimals=3).abs()
        tensor([0.0000, 0.2500])
    """
    check_floating("probs", probs)
    check_sigma(sigma)
    probs = at_least_float32(probs)
    bins = probs.shape[-1]
    means = mean_table(bins, float(sigma), probs.dtype, probs.device)
    centres = (torch.arange(bins, dtype=probs.dtype, device=probs.device) + 0.5) / bins
    mean = (probs * centres).sum(-1)
    tolerance = 4 * torch.finfo(probs.dtype).eps
    low = _crossing(means, mean - tolerance)
    high = _crossing(means, mean + tolerance)
    return (low + high) / 2


def _crossing(means: Tensor, mean: Tensor) -> Tensor:
    """Where the table reaches ``mean``, between its lines."""
    above = torch.searchsorted(means, mean.contiguous()).clamp(1, STEPS)
    left, right = means[above - 1], means[above]
    part = (mean - left) / (right - left).clamp_min(torch.finfo(mean.dtype).tiny)
    return (above - 1 + part.clamp(0, 1)) / STEPS


@lru_cache(maxsize=64)
def mean_table(bins: int, sigma: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The mean of the target at ``0, 1/STEPS, ..., 1``, rising, ``(STEPS + 1,)``."""
    check_bins(bins)
    with torch.inference_mode(False):  # the table outlives the block that asked first
        p = torch.arange(STEPS + 1, dtype=torch.float64, device="cpu") / STEPS
        centres = (torch.arange(bins, dtype=torch.float64, device="cpu") + 0.5) / bins
        means = gaussian_target(p, bins, sigma) @ centres
        return means.cummax(0).values.to(device, dtype)

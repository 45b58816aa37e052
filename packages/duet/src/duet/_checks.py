"""Checks at the public doors, and the precision that sums and logarithms are taken in."""

import math

import torch
from torch import Tensor

MAX_KAPPA = 1e6
MAX_SIGMA = 1e4
SLACK = 1e-6  # of a parameter that rounding put beside its range


def check_bins(bins: int) -> None:
    """Raise unless there is at least one bin."""
    if not isinstance(bins, int) or bins < 1:
        raise ValueError(f"bins must be an integer of at least 1, got {bins!r}")


def check_kappa(kappa: float) -> None:
    """Raise unless the concentration is in range; 0 is uniform."""
    if not 0 <= kappa <= MAX_KAPPA:
        raise ValueError(
            f"kappa must be 0 (uniform) to {MAX_KAPPA:g} (far narrower than a bin), got {kappa}"
        )


def check_sigma(sigma: float) -> None:
    """Raise unless the standard deviation, in units of the full range, is in range."""
    if not 0 < sigma <= MAX_SIGMA:
        raise ValueError(
            f"sigma must be positive and at most {MAX_SIGMA:g} (uniform to 1e-8), got {sigma}"
        )


def check_parameter(p: Tensor, *, cyclic: bool) -> None:
    """Raise where parameters are not finite or, on a range that is not cyclic, not in [0, 1]."""
    got = p.detach()
    if not got.numel():
        return
    least, most = (float(end) for end in got.aminmax())  # NaN, if there is one
    low, high = (-math.inf, math.inf) if cyclic else (-SLACK, 1 + SLACK)
    if low <= least and most <= high and math.isfinite(least) and math.isfinite(most):
        return
    bad = ~got.isfinite() if cyclic else ~((got >= -SLACK) & (got <= 1 + SLACK))
    first = float(got[bad].flatten()[0])
    rule = "finite" if cyclic else "in [0, 1]: normalise physical values first"
    raise ValueError(f"p must be {rule}; got {first:g} among {int(bad.sum())} such values")


def check_floating(name: str, x: Tensor) -> None:
    """Raise unless ``x`` is a floating tensor."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(x).__name__}")
    if not x.is_floating_point():
        raise TypeError(f"{name} must be a floating tensor, got {x.dtype}: use {name}.float()")


def check_generator(generator: torch.Generator) -> None:
    """Raise unless ``generator`` is one."""
    if not isinstance(generator, torch.Generator):
        raise TypeError(
            f"generator must be a torch.Generator, got {type(generator).__name__}: "
            "torch.Generator().manual_seed(0)"
        )


def check_positive(name: str, value: float) -> None:
    """Raise unless ``value`` is a finite number above zero."""
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {value}")


def at_least_float32(x: Tensor) -> Tensor:
    """Float16 and bfloat16 widened to float32; float32 and float64 as they are."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def full_precision(x: Tensor) -> torch.autocast:
    """A block in which autocast does not narrow products of matrices."""
    return torch.autocast(x.device.type, enabled=False)

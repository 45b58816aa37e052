"""Intervening on a representation: its pose moved or set, its content left as it is."""

import math

import torch
from torch import Tensor

from duet._checks import at_least_float32, check_floating
from duet.factors import Factor
from duet.layer import group_logits

WHOLE = 1e-6  # bins: an amount this near to a whole number of bins is one
LEAST = 1e-12  # probability that a set marginal has at least: its logarithm is finite


def shift(z: Tensor, factor: Factor, amount: float | Tensor) -> Tensor:
    """A matrix moved along its cyclic group axis; positive moves the parameter up.

    A whole number of bins is a roll. Between them the axis is moved as the trigonometric
    polynomial through its bins (by Fourier), which keeps the content and never adds to the norm.
    Moves add up exactly where the number of bins is odd. Where it is even, the Nyquist harmonic
    has no place between bins: moved by k bins it is multiplied by ``cos(pi k)``, so half a bin
    erases it, and two such moves are not one of their sum in this one harmonic.

    Args:
        z: ``(B, G, C)``, one factor's matrix.
        factor: whose axis it is.
        amount: turns: a number, or ``(B,)``, one for each sample.

    Returns:
        ``(B, G, C)``, in the dtype of ``z``.

    Raises:
        ValueError: if the factor is not cyclic, shapes do not fit or an amount is not finite.

    Source:
        Suau et al. 2023, controlled generation, for whole bins; the Fourier shift is ours.

    Example:
        >>> from duet import rotation
        >>> z = torch.arange(8.0).view(1, 8, 1)
        >>> shift(z, rotation(bins=8), 1 / 8).flatten()
        tensor([7., 0., 1., 2., 3., 4., 5., 6.])
        >>> shift(shift(z, rotation(), 1 / 16), rotation(), 1 / 16).flatten().round(decimals=1)
        tensor([6.5000, 0.5000, 0.5000, 2.5000, 2.5000, 4.5000, 4.5000, 6.5000])
    """
    if not factor.cyclic:
        raise ValueError(
            f"{factor.name} has a finite range, whose ends a shift would join: use set_parameter"
        )
    _check_matrix(z, factor)
    bins = factor.bins
    amount = torch.as_tensor(amount, dtype=torch.float64, device="cpu")
    if amount.ndim > 1 or (amount.ndim == 1 and len(amount) != len(z)):
        got = tuple(amount.shape)
        raise ValueError(f"amount must be a number or ({len(z)},), got shape {got}")
    if not bool(amount.isfinite().all()):
        raise ValueError("amount must be finite, got NaN or infinity")
    steps = (amount * bins).expand(len(z))
    whole = (steps - steps.round()).abs() < WHOLE
    source = (torch.arange(bins) - steps.round().long().unsqueeze(1)) % bins  # (B, G)
    rolled = z.gather(1, source.to(z.device).unsqueeze(2).expand_as(z))
    if bool(whole.all()):
        return rolled
    moved = _fourier_shift(at_least_float32(z), steps.to(z.device)).to(z.dtype)
    return torch.where(whole.to(z.device).view(-1, 1, 1), rolled, moved)


def _fourier_shift(z: Tensor, steps: Tensor) -> Tensor:
    """Each sample's axis moved by its own number of bins."""
    bins = z.shape[1]
    waves = torch.fft.rfft(z, dim=1)
    n = torch.arange(waves.shape[1], dtype=torch.float64, device=z.device)
    turns = steps.unsqueeze(1) * n / bins
    angle = -2 * math.pi * (turns - turns.round())  # (B, N)
    phase = torch.polar(torch.ones_like(angle), angle)
    # of the harmonic of Nyquist, irfft takes the real part: cos(pi steps) of it stays
    return torch.fft.irfft(waves * phase.unsqueeze(2).to(waves.dtype), n=bins, dim=1)


def set_parameter(z: Tensor, factor: Factor, p: float | Tensor, pool: str = "mean") -> Tensor:
    """A matrix whose group marginal is exactly the target of ``p``, its content untouched.

    The mean of every group bin over the content is replaced by the logarithm of the target, whose
    own mean is matched to what was there; what a bin holds beyond its mean stays. Right for finite
    ranges, where a shift would join both ends, and possible for cyclic ones.

    Args:
        z: ``(B, G, C)``, one factor's matrix.
        factor: whose axis it is.
        p: parameter in ``[0, 1]``: a number, or ``(B,)``, one for each sample.
        pool: that of the `DuetMatrix`.

    Returns:
        ``(B, G, C)``, in the dtype of ``z``.

    Raises:
        ValueError: if ``p`` is out of range, or shapes do not fit.

    Source:
        Ours, by the additive reading of the matrix: a profile over the group plus content.

    Example:
        >>> from duet import scale
        >>> z = torch.randn(2, 8, 4)
        >>> set_parameter(z, scale(), 0.3).mean(2).softmax(1).allclose(scale().target(
        ...     torch.tensor([0.3, 0.3])))
        True
    """
    _check_matrix(z, factor)
    if pool not in ("mean", "sum"):
        raise ValueError(f"pool must be 'mean' or 'sum', got {pool!r}")
    wide = at_least_float32(z)
    p = torch.as_tensor(p, dtype=wide.dtype, device=z.device)
    if p.ndim > 1 or (p.ndim == 1 and len(p) != len(z)):
        raise ValueError(f"p must be a number or ({len(z)},), got shape {tuple(p.shape)}")
    profile = factor.target(p.expand(len(z))).clamp_min(LEAST).log()  # (B, G)
    profile = profile - profile.mean(1, keepdim=True)
    if pool == "sum":
        profile = profile / z.shape[2]
    present = group_logits(wide)
    wanted = profile + present.mean(1, keepdim=True)
    return (wide + (wanted - present).unsqueeze(2)).to(z.dtype)


def _check_matrix(z: Tensor, factor: Factor) -> None:
    """Raise unless ``z`` is ``(B, bins, C)``."""
    check_floating("z", z)
    if z.ndim != 3 or z.shape[1] != factor.bins:
        got = tuple(z.shape)
        raise ValueError(f"z of {factor.name} must be (B, {factor.bins}, C), got {got}")

"""Densities that score how well one view predicts the other: the reconstruction term."""

import math

import torch
from torch import Tensor

from er_ssl._checks import at_least_float32, check_positive, check_same_shape, unit_rows
from er_ssl.vmf import vmf_log_normalizer


def vmf_log_prob(z: Tensor, mu: Tensor, *, kappa: float | Tensor, normalize: bool = True) -> Tensor:
    """Return the log density of each direction ``z_i`` around the mean direction ``mu_i``.

    Args:
        z: ``(B, D)``.
        mu: ``(B, D)``.
        kappa: concentration, positive; a 0-d tensor receives a gradient.
        normalize: bring rows to length one first; False trusts that they have it.

    Returns:
        ``(B,)``, nats with respect to the sphere's area.

    Raises:
        ValueError: if the shapes differ or ``kappa`` is not positive.
        TypeError: on tensors that are not floating.

    Source:
        ``log q(z|mu) = kappa mu . z + log C_d(kappa)``.

    Example:
        >>> import torch
        >>> z = torch.tensor([[0.0, 0.0, 1.0]])
        >>> vmf_log_prob(z, z, kappa=10.0)
        tensor([0.4647])
    """
    check_same_shape(z=z, mu=mu)
    check_positive("kappa", kappa)
    if normalize:
        z, mu = unit_rows(z), unit_rows(mu)
    cosine = (at_least_float32(z) * at_least_float32(mu)).sum(1)
    return kappa * cosine + vmf_log_normalizer(z.shape[1], kappa).to(cosine)


def gaussian_log_prob(z: Tensor, mu: Tensor, *, std: float) -> Tensor:
    """Return the log density of each ``z_i`` under a round Gaussian at ``mu_i``.

    On unit rows it is the von Mises-Fisher density with ``kappa = 1 / std^2``, up to a constant.

    Args:
        z: ``(B, D)``.
        mu: ``(B, D)``.
        std: standard deviation of every coordinate, positive.

    Returns:
        ``(B,)``, nats with respect to volume.

    Raises:
        ValueError: if the shapes differ or ``std`` is not positive.
        TypeError: on tensors that are not floating.

    Source:
        ``log q(z|mu) = -|z - mu|^2 / (2 std^2) - (d/2) log(2 pi std^2)``.

    Example:
        >>> import torch
        >>> gaussian_log_prob(torch.zeros(1, 2), torch.zeros(1, 2), std=1.0)
        tensor([-1.8379])
    """
    check_same_shape(z=z, mu=mu)
    check_positive("std", std)
    squared = (at_least_float32(z) - at_least_float32(mu)).square().sum(1)
    return -squared / (2 * std**2) - z.shape[1] / 2 * math.log(2 * math.pi * std**2)


def categorical_log_prob(p: Tensor, logits: Tensor) -> Tensor:
    """Return the expected log probability of a soft label under predicted logits.

    Args:
        p: ``(B, M)``, probabilities of the label, rows that sum to 1.
        logits: ``(B, M)``, the prediction before its softmax.

    Returns:
        ``(B,)``, nats, at most 0.

    Raises:
        ValueError: if the shapes differ or ``p`` holds no distributions.
        TypeError: on tensors that are not floating.

    Source:
        ``sum_c p(c) log q(c)``, the discrete reconstruction.

    Example:
        >>> import torch
        >>> categorical_log_prob(torch.eye(2), torch.zeros(2, 2))
        tensor([-0.6931, -0.6931])
    """
    check_same_shape(p=p, logits=logits)
    check_distributions("p", p)
    return (at_least_float32(p) * torch.log_softmax(at_least_float32(logits), 1)).sum(1)


def check_distributions(name: str, p: Tensor) -> None:
    """Raise unless all rows are probabilities that sum to 1 within 1e-4 (1e-2 in half)."""
    tolerance = 1e-4 if p.dtype in (torch.float32, torch.float64) else 1e-2
    p = p.detach()
    off = float((at_least_float32(p).sum(1) - 1).abs().max()) if len(p) else 0.0
    low = float(p.min()) if len(p) else 0.0
    if not (off <= tolerance and low >= 0):
        raise ValueError(
            f"{name} must hold probabilities, rows that sum to 1: a sum is off by {off:.3g} and "
            f"the least entry is {low:.3g}; for logits, apply softmax(1) or pass logits=True"
        )

"""Figures beside the bound that show whether a representation has collapsed, and how."""

import math

import torch
from torch import Tensor

from er_ssl._checks import at_least_float32, check_rows, unit_rows


def effective_rank(z: Tensor) -> Tensor:
    """Return how many directions the rows of ``z`` use, as the exponential of an entropy.

    Args:
        z: ``(B, D)``, as it is: neither centred nor normalised.

    Returns:
        Scalar, from 1 (one direction, or all zeros) to ``min(B, D)``.

    Raises:
        ValueError: if ``z`` is not ``(B, D)``.
        TypeError: if ``z`` is not floating.

    Source:
        Roy and Vetterli 2007; as RankMe has it: ``exp H(sigma / sum sigma)`` over singular values.

    Example:
        >>> import torch
        >>> print(f"{effective_rank(torch.eye(4)):.2f}, {effective_rank(torch.ones(4, 4)):.2f}")
        4.00, 1.00
    """
    check_rows("z", z)
    sigma = torch.linalg.svdvals(at_least_float32(z))  # (min(B, D),)
    share = sigma / sigma.sum().clamp_min(torch.finfo(sigma.dtype).tiny)
    return torch.special.entr(share).sum().exp()


def embedding_std(z: Tensor) -> Tensor:
    """Return the spread of the directions of ``z``: 0 where all are equal, 1 where they are even.

    Args:
        z: ``(B, D)``, any scale: rows are brought to length one.

    Returns:
        Scalar: the coordinates' mean standard deviation over the rows, times ``sqrt(D)``.

    Raises:
        ValueError: if ``z`` is not ``(B, D)``.
        TypeError: if ``z`` is not floating.

    Source:
        Chen and He 2021 (SimSiam), who watch it against ``1 / sqrt(D)``.

    Example:
        >>> import torch
        >>> embedding_std(torch.ones(4, 3))
        tensor(0.)
    """
    check_rows("z", z)
    u = unit_rows(z)
    return u.std(0, correction=0).mean() * math.sqrt(u.shape[1])


def gaussian_entropy(z: Tensor, *, ridge: float = 0.0) -> Tensor:
    """Return the entropy of a Gaussian with the covariance of ``z``: the most it could have.

    Args:
        z: ``(B, D)``, any scale; fewer than ``D + 1`` rows need a ``ridge``.
        ridge: added to every variance, at least 0.

    Returns:
        Scalar, nats with respect to volume; ``-inf`` where the covariance is singular.

    Raises:
        ValueError: if ``z`` has fewer than 2 rows, or ``ridge < 0``.
        TypeError: if ``z`` is not floating.

    Source:
        ``(1/2) log det(2 pi e Cov)``, what VICReg's two terms stand for.

    Example:
        >>> import torch
        >>> z = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> gaussian_entropy(z)  # unit covariance: log(2 pi e)
        tensor(2.8379)
    """
    check_rows("z", z, at_least=2)
    if not ridge >= 0:
        raise ValueError(f"ridge must be at least 0, got {ridge}")
    z = at_least_float32(z)
    centred = z - z.mean(0)
    d = z.shape[1]
    covariance = centred.T @ centred / len(z) + ridge * torch.eye(d).to(z)
    return (d * math.log(2 * math.pi * math.e) + torch.linalg.slogdet(covariance).logabsdet) / 2

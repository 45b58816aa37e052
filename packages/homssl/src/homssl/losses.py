"""Pair objectives for those who bring none: contrastive, and the regression of distillation."""

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(z1: Tensor, z2: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Normalised-temperature cross-entropy between two views, averaged over all 2B rows.

    The negatives of a row are the rows of other images, of both views; never another fiber of
    the same image.

    Args:
        z1: embeddings of the first view, ``(B, D)``, any scale.
        z2: embeddings of the second view; row i is another view of row i of ``z1``.
        temperature: divisor of the cosines, positive.

    Returns:
        Scalar, in nats, float32 or the inputs' float64.

    Raises:
        ValueError: if the shapes differ, there are fewer than 2 rows, or ``temperature <= 0``.

    Source:
        Chen et al. 2020, equation 1.

    Example:
        >>> print(f"{info_nce(torch.eye(4), torch.eye(4), temperature=0.5):.4f}")
        0.5944
    """
    _check_pair(z1, z2)
    if len(z1) < 2:
        raise ValueError(f"info_nce needs at least 2 images, for a negative, got {len(z1)}")
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    z = F.normalize(torch.cat([_wide(z1), _wide(z2)]), dim=1)  # (2B, D)
    logits = z @ z.T / temperature  # (2B, 2B)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    logits = logits.masked_fill(itself, -torch.inf)  # a row is no negative of itself
    positive = torch.arange(len(z), device=z.device).roll(len(z1))
    return F.cross_entropy(logits, positive)


def cosine_regression(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared distance of unit vectors, ``2 - 2 cos``, averaged over rows.

    With a predictor it is SimSiam's objective up to its constant, with a teacher too BYOL's; both
    belong to `HSSL` and `ASSL`, which stop the gradient of the target. On its own it collapses.

    Args:
        prediction: ``(B, D)``, any scale.
        target: ``(B, D)``.

    Returns:
        Scalar between 0 and 4, float32 or the inputs' float64.

    Raises:
        ValueError: if the shapes differ.

    Source:
        Grill et al. 2020, equation 2; Chen & He 2021, equation 1.

    Example:
        >>> cosine_regression(torch.eye(3), 2 * torch.eye(3))
        tensor(0.)
    """
    _check_pair(prediction, target)
    return (2 - 2 * F.cosine_similarity(_wide(prediction), _wide(target), dim=1)).mean()


def _wide(z: Tensor) -> Tensor:
    """At least float32."""
    return z if z.dtype in (torch.float32, torch.float64) else z.float()


def _check_pair(z1: Tensor, z2: Tensor) -> None:
    if z1.shape != z2.shape or z1.ndim != 2:
        got = f"{tuple(z1.shape)} and {tuple(z2.shape)}"
        raise ValueError(f"both views must be (B, D) of one shape, got {got}")

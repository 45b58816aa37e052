"""The contrastive objective that this package uses when none is passed in."""

import torch
import torch.nn.functional as F
from torch import Tensor

from duet._checks import at_least_float32, check_floating, check_positive, full_precision


def nt_xent(z1: Tensor, z2: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Normalised-temperature cross-entropy between two views, averaged over all 2B rows.

    Args:
        z1: embeddings of the first view, ``(B, D)``, any scale.
        z2: embeddings of the second view; row i is another view of row i of ``z1``.
        temperature: divisor of the cosines, positive.

    Returns:
        Scalar, in nats, float64 for float64, else float32: half of what the paper's released
        code returns, which adds the means of both views.

    Raises:
        TypeError: if ``z1`` or ``z2`` is not floating.
        ValueError: if the shapes differ, there are fewer than 2 rows, or ``temperature <= 0``.

    Source:
        Chen et al. 2020, equation 1.

    Example:
        >>> z = torch.eye(4)
        >>> nt_xent(z, z) < nt_xent(z, z.flip(0))
        tensor(True)
    """
    check_floating("z1", z1)
    check_floating("z2", z2)
    if z1.shape != z2.shape or z1.ndim != 2 or len(z1) < 2:
        got = f"{tuple(z1.shape)} and {tuple(z2.shape)}"
        raise ValueError(f"z1 and z2 must be two (B, D) batches with B >= 2, got {got}")
    check_positive("temperature", temperature)
    with full_precision(z1):
        z = F.normalize(torch.cat([at_least_float32(z1), at_least_float32(z2)]), dim=1)  # (2B, D)
        logits = z @ z.T / temperature  # (2B, 2B)
        logits.fill_diagonal_(-torch.inf)  # a row is no negative of itself
        positive = torch.arange(len(z), device=z.device).roll(len(z1))
        return F.cross_entropy(logits, positive)

"""Past rows that carry the kernels, so that a small batch's entropy is a large sample's."""

import torch
from torch import Tensor, nn

from er_ssl._checks import check_rows, unit_rows


class EntropyQueue(nn.Module):
    """The latest rows of past batches, at length one, without gradient.

    Its state is in ``state_dict``. Every process holds its own.

    Args:
        size: rows to keep.
        dim: columns of the rows.

    Raises:
        ValueError: if ``size < 1`` or ``dim < 2``.

    Source:
        Joe's estimator with the density of other rows of the same distribution: no self term, and
        the ceiling is the queue's and not the batch's.

    Example:
        >>> import torch
        >>> from er_ssl import kde_entropy
        >>> queue = EntropyQueue(size=4, dim=3)
        >>> queue.enqueue(torch.eye(3))
        >>> queue.reference.shape
        torch.Size([3, 3])
        >>> kde_entropy(torch.eye(3), kappa=5.0, reference=queue.reference)
        tensor(1.3136)
    """

    rows: Tensor
    seen: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        if size < 1 or dim < 2:
            raise ValueError(f"size must be at least 1 and dim at least 2, got {size} and {dim}")
        self.register_buffer("rows", torch.zeros(size, dim))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def enqueue(self, z: Tensor) -> None:
        """Put the rows of ``z``, ``(B, dim)``, in the place of the oldest."""
        check_rows("z", z)
        size, dim = self.rows.shape
        if z.shape[1] != dim:
            raise ValueError(f"z must have {dim} columns as the queue, got {tuple(z.shape)}")
        kept = unit_rows(z[-size:]).to(self.rows)
        first = self.seen + len(z) - len(kept)
        self.rows[(first + torch.arange(len(kept), device=z.device)) % size] = kept
        self.seen += len(z)

    @property
    def reference(self) -> Tensor:
        """A copy of the rows held, ``(at most size, dim)``, in no order."""
        return self.rows[: int(self.seen)].clone()

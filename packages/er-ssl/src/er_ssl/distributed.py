"""Rows of all ranks, with gradients that add up to those of one process.

Every rank computes the same global loss. Backward sums over the ranks, so a rank's gradient is
that of ``world_size`` equal losses; DistributedDataParallel divides by ``world_size`` again.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from er_ssl._checks import check_rows


def gather_rows(z: Tensor, *, group: "dist.ProcessGroup | None" = None) -> Tensor:
    """Return the rows of all ranks, in the order of the ranks, with gradient to each.

    Ranks may hold different numbers of rows, also none. The gradient of a row is summed over the
    ranks, as each of them used the row.

    Args:
        z: ``(B, D)``, this rank's rows.
        group: process group; None is the default group.

    Returns:
        ``(sum of B, D)``; ``z`` itself where no process group is initialised.

    Raises:
        ValueError: on all ranks, if their D differ.

    Source:
        The densities run over the global batch; so must the gradient.

    Example:
        >>> import torch
        >>> gather_rows(torch.ones(2, 3)).shape  # no process group: one process
        torch.Size([2, 3])
    """
    check_rows("z", z, at_least=0, columns=1)
    return gather_with_start(z, group)[0]


def gather_with_start(z: Tensor, group: "dist.ProcessGroup | None") -> tuple[Tensor, int]:
    """The rows of all ranks, and the place of this rank's first row among them."""
    if world_size(group) == 1:
        return z, 0
    shape = torch.tensor(z.shape, device=z.device)
    shapes = [torch.empty_like(shape) for _ in range(world_size(group))]
    dist.all_gather(shapes, shape, group=group)
    sizes, columns = zip(*(tuple(s.tolist()) for s in shapes), strict=True)
    if len(set(columns)) > 1:
        raise ValueError(f"z must have equal columns on all ranks, got {list(columns)}")
    start = sum(sizes[: dist.get_rank(group)])
    return _Gather.apply(z, sizes, start, group), start


def sum_over_ranks(x: Tensor, group: "dist.ProcessGroup | None") -> Tensor:
    """The sum of ``x`` over the ranks, with summed gradients."""
    return x if world_size(group) == 1 else _Sum.apply(x, group)


def world_size(group: "dist.ProcessGroup | None") -> int:
    """Ranks in the group, 1 where none is initialised."""
    return dist.get_world_size(group) if dist.is_available() and dist.is_initialized() else 1


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(  # pyrefly: ignore
        ctx: Any, z: Tensor, sizes: tuple[int, ...], start: int, group: "dist.ProcessGroup | None"
    ) -> Tensor:
        ctx.rows, ctx.group = slice(start, start + len(z)), group
        padded = z.new_zeros(max(sizes), z.shape[1])  # all_gather wants equal shapes
        padded[: len(z)] = z
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded, group=group)
        return torch.cat([part[:n] for part, n in zip(parts, sizes, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyrefly: ignore
        grad = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(grad, group=ctx.group)
        return grad[ctx.rows], None, None, None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(  # pyrefly: ignore
        ctx: Any, x: Tensor, group: "dist.ProcessGroup | None"
    ) -> Tensor:
        ctx.group = group
        total = x.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyrefly: ignore
        grad = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(grad, group=ctx.group)
        return grad, None

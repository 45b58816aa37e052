"""A chain whose steps lie on several ranks: each solves its own, and the ends are exchanged once.

The solve is exact. A rank sends the product of its blocks and the state that its steps reach from
zero; every rank then knows the state that its own steps start from. The backward does the same
with the adjoint, in the other direction.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from deeppcr.algorithms import apply, compose
from deeppcr.layout import HALF
from deeppcr.scan import outer, scan_values


def sharded_scan(
    A: Tensor,
    b: Tensor,
    z0: Tensor | None,
    reverse: bool,
    method: str,
    group: dist.ProcessGroup,
) -> Tensor:
    """The states of this rank's steps, ``(L_rank, *B, d)``; ranks hold the steps in their order.

    Every rank must run the backward. The gradient of ``z0`` comes out on the rank of the first
    step (of the last, if ``reverse``) and is zero on the others: sum them.

    Args:
        A: this rank's blocks, steps first, with as many batch dimensions as ``b``.
        b: this rank's right-hand sides, ``(L_rank, *B, d)``; ``L_rank`` may be 0.
        z0: the state before the first step of all, the same on every rank, or None.
        reverse: run from the last step of the last rank to the first of the first.
        method: how a rank solves its own steps.
        group: the ranks.
    """
    if b.dtype in HALF:
        start = None if z0 is None else z0.float()
        return sharded_scan(A.float(), b.float(), start, reverse, method, group).to(b.dtype)
    return _Sharded.apply(A, b, z0, reverse, method, group)


class _Sharded(torch.autograd.Function):
    """One exchange forwards, one backwards."""

    @staticmethod
    def forward(  # pyrefly: ignore
        ctx: Any,
        A: Tensor,
        b: Tensor,
        z0: Tensor | None,
        reverse: bool,
        method: str,
        group: dist.ProcessGroup,
    ) -> Tensor:
        rank, last = dist.get_rank(group), dist.get_world_size(group) - 1
        first = rank == (last if reverse else 0)
        zero = b.new_zeros(b.shape[1:])
        start = z0 if first else zero
        z = _solve(A, b, start, reverse, False, method)
        end = z[0 if reverse else -1] if len(b) else zero if start is None else start
        block = _product(A, reverse, A.ndim > b.ndim)
        block = block.expand(*end.shape, *block.shape[end.ndim :])
        # the first rank's end counts z0 already, and its block meets nothing
        ends = _exchange(block, end, reverse, group)
        carry = z0 if first else ends[rank + 1 if reverse else rank - 1]
        if not first:
            z = _solve(A, b, carry, reverse, False, method)
        ctx.save_for_backward(A, z, carry, block)
        ctx.how = reverse, method, group, first, z0 is not None
        return z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:  # pyrefly: ignore
        A, z, carry, block = ctx.saved_tensors
        reverse, method, group, first, started = ctx.how
        rank, ranks = dist.get_rank(group), dist.get_world_size(group)
        dense = A.ndim > z.ndim

        def sent(adjoint: Tensor) -> Tensor:
            """The cotangent of the state before this rank's steps."""
            if not len(adjoint):
                return z.new_zeros(z.shape[1:])
            row = slice(-1, None) if reverse else slice(0, 1)
            return apply(A[row].mH if dense else A[row].conj(), adjoint[row])[0]

        alone = sent(_solve(A, gradient, None, reverse, True, method))
        arrived = _exchange(block.mH if dense else block.conj(), alone, not reverse, group)
        after = rank - 1 if reverse else rank + 1
        if len(z) and 0 <= after < ranks:
            gradient = gradient.clone()
            gradient[0 if reverse else -1] += arrived[after]
        adjoint = _solve(A, gradient, None, reverse, True, method)
        by_A = outer(adjoint, z, carry, reverse, A) if len(z) else torch.zeros_like(A)
        by_start = arrived[rank] if first else torch.zeros_like(arrived[rank])
        return by_A, adjoint, by_start if started else None, None, None, None


def _solve(
    A: Tensor, b: Tensor, start: Tensor | None, reverse: bool, adjoint: bool, method: str
) -> Tensor:
    """The states of this rank's steps, where it has any."""
    return scan_values(A, b, start, reverse, adjoint, method) if len(b) else b.clone()


def _exchange(block: Tensor, end: Tensor, reverse: bool, group: dist.ProcessGroup) -> Tensor:
    """What stands at the end of every rank, ``(ranks, *B, d)``, from all products and ends."""
    blocks, ends = _gathered(block, group), _gathered(end, group)
    return scan_values(blocks, ends, None, reverse, False, "auto")


def _gathered(mine: Tensor, group: dist.ProcessGroup) -> Tensor:
    """Every rank's tensor, ``(ranks, ...)``."""
    mine = mine.contiguous().resolve_conj()
    theirs = [torch.empty_like(mine) for _ in range(dist.get_world_size(group))]
    dist.all_gather(theirs, mine, group=group)
    return torch.stack(theirs)


def _product(A: Tensor, reverse: bool, dense: bool) -> Tensor:
    """The product of all blocks in the order in which they act, halving their number."""
    if not len(A):
        shape = A.shape[1:]
        one = torch.eye(shape[-1], dtype=A.dtype, device=A.device) if dense else A.new_ones(())
        return one.expand(shape)
    A = A.flip(0) if reverse else A
    while len(A) > 1:
        even = len(A) // 2 * 2
        A = torch.cat([compose(A[1:even:2], A[:even:2], dense), A[even:]])
    return A[0]

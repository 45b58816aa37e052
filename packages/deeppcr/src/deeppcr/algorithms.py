"""Four ways to solve ``z_l = A_l z_{l-1} + b_l`` in pure torch; all give the same states.

Here ``z_0 = b_0``, and ``A[l - 1]`` couples row ``l`` to row ``l - 1``: ``A`` is one shorter than
``b``. ``A`` is dense, ``(L - 1, *B, d, d)``, if it has one dimension more than ``b``, and otherwise
diagonal, ``(L - 1, *B, d)`` or ``(L - 1, *B, 1)``. No row is ever multiplied by a padding zero, so
a NaN or an infinity reaches later rows, and only those.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def apply(A: Tensor, x: Tensor) -> Tensor:
    """``A x`` for every row: ``(L, *B, d)``."""
    return A * x if A.ndim == x.ndim else (A @ x.unsqueeze(-1)).squeeze(-1)


def serial(A: Tensor, b: Tensor) -> Tensor:
    """Forward substitution: ``L`` steps, the least work."""
    rights = b.unbind(0)
    states = [rights[0]]
    for block, right in zip(A.unbind(0), rights[1:], strict=True):
        states.append(apply(block, states[-1]) + right)
    return torch.stack(states)


def pcr_sweeps(A: Tensor, b: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """The sweeps of parallel cyclic reduction: ``ceil(log2 L)`` times ``(stride, A, b)``.

    After the sweep of stride ``s`` row ``l`` couples to row ``l - 2s``, by ``A[l - 2s]``, and the
    first ``2s`` rows of ``b`` are solved.
    """
    stride, length, dense = 1, len(b), A.ndim > b.ndim
    while stride < length:
        b = torch.cat([b[:stride], b[stride:] + apply(A, b[:-stride])])
        A = compose(A[stride:], A[:-stride], dense) if 2 * stride < length else A[:0]
        yield stride, A, b
        stride *= 2


def pcr(A: Tensor, b: Tensor) -> Tensor:
    """Parallel cyclic reduction: the fewest sweeps, ``d^3 L log2 L`` work."""
    for _, _, solved in pcr_sweeps(A, b):
        b = solved
    return b


def oddeven(A: Tensor, b: Tensor) -> Tensor:
    """Odd-even reduction: halve the rows, solve, fill the even ones in; ``d^3 L`` work."""
    if len(b) <= 2:
        return serial(A, b)
    halved = b[1::2] + apply(A[::2], b[:-1:2])  # row l = 1, 3, 5, ... couples to row l - 2
    pairs = compose(A[2::2], A[1 : len(b) // 2 * 2 - 2 : 2], A.ndim > b.ndim)
    odd = oddeven(pairs, halved)
    even = A[1::2]  # these couple rows 2, 4, 6, ... to the odd ones
    z = torch.empty_like(b, memory_format=torch.contiguous_format)
    z[0], z[1::2] = b[0], odd
    z[2::2] = b[2::2] + apply(even, odd[: len(even)])
    return z


def chunked(A: Tensor, b: Tensor) -> Tensor:
    """Two passes over ``sqrt(L)`` chunks side by side, and one over their ends."""
    length = len(b)
    size = math.isqrt(length - 1) + 1
    count = -(-length // size)
    blocks = A.new_zeros(count * size, *A.shape[1:])
    blocks[1:length] = A
    rights = b.new_zeros(count * size, *b.shape[1:])
    rights[:length] = b
    steps = list(
        zip(
            blocks.view(count, size, *A.shape[1:]).unbind(1),
            rights.view(count, size, *b.shape[1:]).unbind(1),
            strict=True,
        )
    )
    product, end = steps[0]
    for block, right in steps[1:]:
        product, end = compose(block, product, A.ndim > b.ndim), apply(block, end) + right
    carries = pcr(product[1:], end)  # the state at the end of every chunk
    z = torch.cat([torch.zeros_like(carries[:1]), carries[:-1]])
    states = []
    for block, right in steps:
        z = apply(block, z) + right
        states.append(z)
    return torch.stack(states, 1).flatten(0, 1)[:length]


def compose(later: Tensor, earlier: Tensor, dense: bool) -> Tensor:
    """The product of two rows of blocks; elementwise for diagonals."""
    return later @ earlier if dense else later * earlier


ALGORITHMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "serial": serial,
    "pcr": pcr,
    "oddeven": oddeven,
    "chunked": chunked,
}

"""The linear core: affine recurrences ``z_l = A_l z_{l-1} + b_l``, solved and differentiated."""

from collections.abc import Iterator

import torch
from torch import Tensor


def affine_scan(
    A: Tensor,
    b: Tensor,
    z0: Tensor | None = None,
    *,
    reverse: bool = False,
    method: str = "auto",
    dim: int = 0,
) -> Tensor:
    """All states of ``z_l = A_l z_{l-1} + b_l``, or of ``z_l = A_l z_{l+1} + b_l`` if ``reverse``.

    Args:
        A: dense ``(L, *B, d, d)``; diagonal ``(L, *B, d)``; scalar ``(L, *B, 1)`` or ``(L,)``.
            Batch dimensions may be 1. The first block (the last, if ``reverse``) meets ``z0``
            only, and is ignored where there is none.
        b: ``(L, *B, d)``.
        z0: the state before the first (after the last, if ``reverse``), ``(*B, d)``.
        reverse: run from the last row to the first.
        method: ``"auto"``, ``"serial"``, ``"pcr"``, ``"oddeven"`` or ``"chunked"``.
        dim: the axis of ``A`` and ``b`` that counts the steps.

    Returns:
        The states, with the shape and dtype of ``b``.
    """
    A, b = A.movedim(dim, 0), b.movedim(dim, 0)
    if A.ndim == 1:
        A = A.reshape(-1, *[1] * (b.ndim - 1))
    order = range(len(b) - 1, -1, -1) if reverse else range(len(b))
    z, states = z0, []
    for i in order:
        if z is None:
            z = b[i]
        elif A.ndim == b.ndim:
            z = A[i] * z + b[i]
        else:
            z = (A[i] @ z[..., None])[..., 0] + b[i]
        states.append(z)
    return torch.stack(states[::-1] if reverse else states).movedim(0, dim)


def bidiagonal_solve(J: Tensor, r: Tensor) -> Tensor:
    """The update of one Newton step: ``delta_l = J_l delta_{l-1} + r_l`` with ``delta_0 = 0``."""
    return affine_scan(J, r)


def pcr_steps(J: Tensor, r: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """The sweeps of parallel cyclic reduction, one at a time: ``(stride, A, b)`` after each."""
    A, b, stride = J.clone(), r.clone(), 1
    A[:1] = 0
    while stride < len(b):
        new = b.clone()
        new[stride:] += (A[stride:] @ b[:-stride, ..., None])[..., 0]
        product = torch.zeros_like(A)
        product[2 * stride :] = A[2 * stride :] @ A[stride:-stride]
        A, b = product, new
        yield stride, A, b
        stride *= 2

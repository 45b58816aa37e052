"""Jacobian blocks of all steps at once, and the linear systems that they make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from deeppcr.chain import Chain, StepError, explained
from deeppcr.scan import affine_scan

Blocks = Callable[[Tensor, Any, Any, Tensor], Tensor]
Structure: TypeAlias = Literal["auto", "dense", "diag", "scalar", "identity", "zero"]
STRUCTURES = ("auto", "dense", "diag", "scalar", "identity", "zero")


def jacobian_blocks(chain: Chain, z_prev: Tensor, z: Tensor, *, mode: str = "reverse") -> Tensor:
    """The blocks ``J_l = d step / d z_{l-1}`` of all steps, exact.

    The chain's own Jacobian where it has one; else d directions of automatic differentiation,
    each for all steps and samples at once: samples do not depend on one another.

    Args:
        chain: the recurrence, d features a state.
        z_prev: where each step starts, ``(L, *B, d)``.
        z: where each step ends, ``step(z_prev)``, ``(L, *B, d)``; used by analytic Jacobians.
        mode: ``"reverse"`` or ``"forward"``, the same values; torch's first forward-mode
            derivative in a process takes seconds.

    Returns:
        ``(L, *B, d, d)``, row i the derivative of output i; or ``(L, *B, d)``, the diagonals,
        where an analytic Jacobian says that the rest is zero.

    Raises:
        StepError: where the step cannot be differentiated or batched; it names the remedy.
        ValueError: where an analytic Jacobian has another shape.
    """
    if chain.jacobian is not None:
        return checked_blocks(chain.jacobian(z_prev, chain.xs, chain.params, z), z)
    step = chain.batched()

    def at_once(states: Tensor) -> Tensor:
        return step(states, chain.xs, chain.params)

    directions = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)
    blocks = reverse_blocks if mode == "reverse" else forward_blocks
    try:
        return blocks(at_once, z_prev, directions)
    except NotImplementedError as error:
        raise StepError(f"the step has no {mode} derivative: pass jacobian=. {error}") from error
    except RuntimeError as error:
        raise explained(error) from error


def forward_blocks(
    at_once: Callable[[Tensor], Tensor], z_prev: Tensor, directions: Tensor
) -> Tensor:
    """Columns by forward mode: direction j gives ``J[..., :, j]``."""

    def column(direction: Tensor) -> Tensor:
        return torch.func.jvp(at_once, (z_prev,), (direction.expand_as(z_prev),))[1]

    return torch.func.vmap(column, out_dims=-1)(directions)


def reverse_blocks(
    at_once: Callable[[Tensor], Tensor], z_prev: Tensor, directions: Tensor
) -> Tensor:
    """Rows by reverse mode: direction i gives ``J[..., i, :]``."""
    pullback = torch.func.vjp(at_once, z_prev)[1]

    def row(direction: Tensor) -> Tensor:
        return pullback(direction.expand_as(z_prev))[0].conj()

    return torch.func.vmap(row, out_dims=-2)(directions).resolve_conj()


def checked_blocks(blocks: Tensor, z: Tensor) -> Tensor:
    """The blocks of an analytic Jacobian, broadcast to the states ``z``; raises where they can't."""
    dense = blocks.ndim == z.ndim + 1
    shape = (*z.shape, z.shape[-1]) if dense else tuple(z.shape)
    try:
        return blocks.expand(shape)
    except RuntimeError:
        want = f"{(*z.shape, z.shape[-1])} or {tuple(z.shape)}"
        raise ValueError(f"jacobian must give {want}, got {tuple(blocks.shape)}") from None


def structured(blocks: Tensor, z: Tensor, structure: str) -> Tensor:
    """The part of the exact ``blocks`` at states ``z`` that a structure keeps, the rest left out."""
    if structure in ("auto", "dense"):
        return blocks
    diagonal = blocks if blocks.ndim == z.ndim else blocks.diagonal(dim1=-2, dim2=-1)
    if structure == "scalar":
        return diagonal.mean(-1, keepdim=True).expand_as(diagonal)
    return diagonal


def solve(blocks: Tensor | None, residual: Tensor, *, structure: str = "dense") -> Tensor:
    """The step ``delta`` of ``delta_l = J_l delta_{l-1} + r_l`` with ``delta_0 = 0``.

    ``J_1`` does not enter. With ``structure="identity"`` it is the running sum of the residuals
    (Picard), with ``"zero"`` the residual itself (Jacobi).

    Args:
        blocks: ``(L, *B, d, d)`` or ``(L, *B, d)``; None for ``"identity"`` and ``"zero"``.
        residual: ``(L, *B, d)``.
        structure: one of ``STRUCTURES``.

    Returns:
        ``(L, *B, d)``.
    """
    if structure == "zero":
        return residual
    if structure == "identity":
        return residual.cumsum(0)
    if blocks is None:
        raise ValueError(f'structure "{structure}" needs blocks')
    return affine_scan(blocks, residual)

"""Jacobian blocks of all steps at once, the parts that cheaper iterations keep, and their solve."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from deeppcr.adjoint import jacobians
from deeppcr.cost import linear_method
from deeppcr.problem import Problem
from deeppcr.scan import scan_values

Structure: TypeAlias = Literal["auto", "dense", "diag", "scalar", "identity", "zero"]
STRUCTURES = ("auto", "dense", "diag", "scalar", "identity", "zero")


def jacobian_blocks(problem: Problem, z_prev: Tensor, z: Tensor) -> Tensor:
    """The blocks ``J_l = d step / d z_{l-1}`` of all steps, exact.

    From the closed form that was given, or the step's own ``linearize``; else by d directions of
    automatic differentiation, each for all steps and samples at once: samples do not depend on
    one another.

    Args:
        problem: the recurrence, d features a state.
        z_prev: where each step starts, ``(L, *B, d)``.
        z: where each step ends, ``step(z_prev)``, ``(L, *B, d)``.

    Returns:
        ``(L, *B, d, d)``, row i the derivative of output i; ``(L, *B, d)`` or ``(L, *B, 1)``, the
        diagonals, where a closed form says that the rest is zero.

    Raises:
        StepError: where the step cannot be differentiated or batched; it names the remedy.
        ValueError: where a closed form gives another shape.
    """
    leaves = (problem.inputs, problem.shared)
    if problem.jacobian is None:
        known = problem.chain.linearize(z_prev, z, *leaves)
        if known is not None:
            return problem.chain.hold(known[0], problem.inputs)
    blocks = jacobians(problem.chain, z_prev, *leaves, problem.jacobian)
    width = z.shape[-1]
    if blocks.shape not in [(*z.shape, width), z.shape, (*z.shape[:-1], 1)]:
        got = tuple(blocks.shape[1:])
        raise ValueError(f"jacobian must give (*B, {width}, {width}) or (*B, {width}), got {got}")
    return blocks


def structured(blocks: Tensor, z: Tensor, structure: str) -> Tensor:
    """The part of the exact ``blocks`` at states ``z`` that a structure keeps, the rest left out."""
    if structure in ("auto", "dense"):
        return blocks
    diagonal = blocks if blocks.ndim == z.ndim else blocks.diagonal(dim1=-2, dim2=-1)
    return diagonal.mean(-1, keepdim=True) if structure == "scalar" else diagonal


def solve(blocks: Tensor | None, residual: Tensor, *, structure: str = "dense") -> Tensor:
    """The correction of one iteration: ``delta_l = J_l delta_{l-1} + r_l`` with ``delta_0 = 0``.

    ``J_1`` does not enter. With ``structure="identity"`` it is the running sum of the residuals
    (Picard), with ``"zero"`` the residual itself (Jacobi).

    Args:
        blocks: ``(L, *B, d, d)``, ``(L, *B, d)`` or ``(L, *B, 1)``; None for ``"identity"`` and
            ``"zero"``.
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
        raise ValueError(f"structure {structure!r} needs blocks")
    method = linear_method(blocks, residual)  # an overflow is for the iteration to see
    return scan_values(blocks, residual, None, False, False, method)

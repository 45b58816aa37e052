"""The parts of the Jacobian blocks that an iteration keeps, and the linear solve they make."""

from __future__ import annotations

from typing import Literal, TypeAlias

from torch import Tensor

from deeppcr.blocks import ScaledRows, dense
from deeppcr.cost import linear_method
from deeppcr.scan import scan_values

Structure: TypeAlias = Literal["auto", "dense", "diag", "scalar", "identity", "zero"]
STRUCTURES = ("auto", "dense", "diag", "scalar", "identity", "zero")


def structured(blocks: Tensor | ScaledRows, z: Tensor, structure: str) -> Tensor | ScaledRows:
    """The part of the exact ``blocks`` at states ``z`` that a structure keeps."""
    if structure in ("auto", "dense"):
        return blocks
    blocks = dense(blocks)
    diagonal = blocks if blocks.ndim == z.ndim else blocks.diagonal(dim1=-2, dim2=-1)
    return diagonal.mean(-1, keepdim=True) if structure == "scalar" else diagonal


def solve(
    blocks: Tensor | ScaledRows | None, residual: Tensor, *, structure: str = "dense"
) -> Tensor:
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
    if isinstance(blocks, ScaledRows):
        return blocks.solve(residual, adjoint=False)
    method = linear_method(blocks, residual)  # an overflow is for the iteration to see
    return scan_values(blocks, residual, None, False, False, method)

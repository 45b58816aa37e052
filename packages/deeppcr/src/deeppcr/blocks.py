"""Jacobian blocks that are a matrix with scaled rows: solved without being multiplied out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from deeppcr import cost, kernel
from deeppcr.scan import scan, undisturbed


@dataclass(frozen=True)
class ScaledRows:
    """The blocks ``diag(slope) matrix`` of a layer ``activation(matrix z + ...)``.

    Attributes:
        slope: ``(L, *B, d)``.
        matrix: ``(L, *B, d, d)``, where batch dimensions may be 1, or one ``(d, d)`` for all.
    """

    slope: Tensor
    matrix: Tensor

    def dense(self) -> Tensor:
        """The blocks themselves, ``(L, *B, d, d)``."""
        return scaled_rows(self.slope, self.matrix)

    def first(self) -> Tensor:
        """The first of them, ``(1, *B, d, d)``."""
        matrix = self.matrix[:1] if self.matrix.ndim > 2 else self.matrix
        return scaled_rows(self.slope[:1], matrix)

    def solve(self, right: Tensor, *, adjoint: bool) -> Tensor:
        """The states for right-hand sides ``(L, *B, d)``, as of ``deeppcr.scan.scan`` from zero."""
        fused = right.shape[-1] <= kernel.WIDEST_SCALED and kernel.takes(right)
        if not fused or not undisturbed(self.slope, self.matrix, right):
            return scan(self.dense(), right, None, False, adjoint, "auto")
        matrix = self.matrix.expand(*self.slope.shape, self.slope.shape[-1])

        def solve() -> Tensor:
            return kernel.solve(
                matrix, right, None, reverse=False, adjoint=adjoint, scale=self.slope
            )

        return cost.timed(solve, "serial", matrix, right)


def scaled_rows(slope: Tensor, weight: Tensor) -> Tensor:
    """``diag(slope) W``: ``(..., h)`` and ``(h, k)``, or one matrix a row, give ``(..., h, k)``."""
    width = slope.shape[-1]
    if weight.ndim > 2 or width > 8:
        return slope.unsqueeze(-1) * weight
    # small matrices that all rows share: one matrix product, several times as fast
    spread = torch.eye(width, dtype=weight.dtype, device=weight.device).unsqueeze(-1) * weight
    return (slope @ spread.reshape(width, -1)).reshape(*slope.shape, weight.shape[-1])


def dense(blocks: Tensor | ScaledRows) -> Tensor:
    """The blocks as one tensor."""
    return blocks.dense() if isinstance(blocks, ScaledRows) else blocks

"""How well a map does on any samples, measured by the exact coupling."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from act_steer.coupling import Samples, merged_grid, sorted_columns
from act_steer.transport import Transport


@dataclass(frozen=True, eq=False)
class Quality:
    """Wasserstein-2 distances to the target along the strength.

    Args:
        strengths: the strengths, S of them.
        w2: distance of the moved source from the target, ``(S, D)``, float64.
        coverage: share of the source inside the support, ``(D,)``.
    """

    strengths: tuple[float, ...]
    w2: Tensor
    coverage: Tensor

    def __str__(self) -> str:
        totals = self.w2.square().sum(1).sqrt().tolist()
        steps = ", ".join(f"{s:g}: {w:.4g}" for s, w in zip(self.strengths, totals, strict=True))
        return f"W2 over {self.w2.shape[1]} neurons at strength {steps}"

    def to_table(self) -> dict[str, list[Any]]:
        """A row a strength: the distance over all neurons, and the largest of one neuron."""
        return {
            "strength": list(self.strengths),
            "w2": self.w2.square().sum(1).sqrt().tolist(),
            "w2 of the worst neuron": self.w2.amax(1).tolist(),
        }


def quality(
    transport: Transport,
    A: Samples,
    B: Samples,
    strengths: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
) -> Quality:
    """Measure a map on samples, as those held out; any map, any support.

    Args:
        transport: the map.
        A: source activations, ``(n, D)``.
        B: target activations, ``(m, D)``.
        strengths: where to measure.

    Raises:
        ValueError: if the samples are not as `AffineTransport.fit` takes them.
    """
    rows = A if isinstance(A, Tensor) else torch.as_tensor(np.asarray(A))
    rows = rows.detach().cpu().double()
    moved = [transport(rows, strength) for strength in strengths]
    columns = [wasserstein2(each, B) for each in moved]
    reached = transport.inside(rows).double().mean(0)
    return Quality(tuple(float(s) for s in strengths), torch.stack(columns), reached)


def wasserstein2(A: Samples, B: Samples) -> Tensor:
    """Exact Wasserstein-2 distance of every column by itself, ``(D,)``, float64.

    Args:
        A: ``(n, D)``.
        B: ``(m, D)``.

    Example:
        >>> wasserstein2(torch.zeros(2, 1), torch.tensor([[3.0], [3.0], [3.0]]))
        tensor([3.], dtype=torch.float64)
    """
    a, b = sorted_columns("A", A, None), sorted_columns("B", B, None)
    grid = merged_grid(a, b)
    x, y = a.values.astype(np.float64), b.values.astype(np.float64)
    if grid is None:
        return torch.from_numpy(np.sqrt(((x - y) ** 2).mean(1)))
    return torch.from_numpy(np.sqrt(grid.integral((grid.source(x) - grid.target(y)) ** 2)))

"""Write what a run does at equal samples, so that ``compare`` can judge it later."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ema_scaling import _check
from ema_scaling.ema import ModelEMA
from ema_scaling.files import append_rows


class Recorder:
    """Appends one JSON line a call: your metrics, and where the model and its EMA stand.

    Beside the metrics a line holds the norms of both, their distance, and a few projections of
    both on random directions, the same in every run of equal seed: two trainings match in
    weights only if these curves do.

    Args:
        path: a JSON Lines file; lines are appended.
        ema: the average whose model is recorded.
        projections: how many random directions.
        seed: of the directions.
        tags: values that every line repeats, such as ``{"seed": 3}``.

    Raises:
        ValueError: if ``projections`` is negative.

    Example:
        >>> import tempfile
        >>> ema = ModelEMA(torch.nn.Linear(2, 1), 0.9)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     row = Recorder(f"{folder}/run.jsonl", ema, projections=1).record(loss=0.5)
        >>> sorted(row)
        ['distance', 'ema_0', 'ema_norm', 'loss', 'model_0', 'model_norm', 'samples']
    """

    def __init__(
        self,
        path: str | Path,
        ema: ModelEMA,
        *,
        projections: int = 4,
        seed: int = 0,
        tags: dict[str, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        self.ema = ema
        self.projections = int(_check.nonnegative("projections", projections))
        self.seed = seed
        self.tags = dict(tags or {})

    @torch.no_grad()
    def record(self, **metrics: float) -> dict[str, Any]:
        """Append a line at the average's present count of samples.

        Args:
            **metrics: numbers of your own, such as a test loss.

        Returns:
            The line.
        """
        averaged = self.ema.weights()
        model = {
            name: p.detach() for name, p in self.ema.followed().items() if p.is_floating_point()
        }
        pairs = [(model[name], averaged[name]) for name in sorted(model)]
        row: dict[str, Any] = {**self.tags, "samples": self.ema.samples, **metrics}
        row["model_norm"] = _norm([a for a, _ in pairs])
        row["ema_norm"] = _norm([b for _, b in pairs])
        row["distance"] = _norm([a.double() - b.double() for a, b in pairs])
        for i, (a, b) in enumerate(self._projected(pairs)):
            row[f"model_{i}"], row[f"ema_{i}"] = a, b
        append_rows(self.path, [row])
        return row

    def _projected(self, pairs: list[tuple[Tensor, Tensor]]) -> list[tuple[float, float]]:
        """Both on each random direction of +-1, divided by the root of their size."""
        generator = torch.Generator().manual_seed(self.seed)
        sums = [(0.0, 0.0)] * self.projections
        size = sum(a.numel() for a, _ in pairs)
        for a, b in pairs:
            flat_a, flat_b = a.double().flatten().cpu(), b.double().flatten().cpu()
            for i in range(self.projections):
                drawn = torch.randint(0, 2, flat_a.shape, generator=generator, dtype=torch.int8)
                signs = drawn.double().mul_(2).sub_(1)
                x, y = sums[i]
                sums[i] = x + float(signs @ flat_a), y + float(signs @ flat_b)
        return [(x / math.sqrt(size), y / math.sqrt(size)) for x, y in sums]


def _norm(tensors: list[Tensor]) -> float:
    return math.sqrt(math.fsum(float(t.double().square().sum()) for t in tensors))

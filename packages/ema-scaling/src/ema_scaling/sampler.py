"""A shuffled stream of sample indices in batches whose size follows a schedule, resumable."""

from collections.abc import Iterator

import torch

from ema_scaling import _check
from ema_scaling.batches import BatchSchedule


class SampleStream:
    """Batches of indices for ``DataLoader(batch_sampler=...)``; what comes depends on the clock.

    Epochs follow each other without a partial batch between them, so the clock of samples is
    exact; only at the very end less than a batch is left out. The indices of a step are a
    function of the seed and of the samples before it: to resume, start at that count.

    Args:
        dataset_size: samples of one epoch.
        batches: multiples of the base batch against samples.
        base_batch: samples of a step at kappa = 1, over all processes.
        total: samples of the whole run.
        seed: of the shuffling; every process passes the same.
        start: samples already trained on, where a run is resumed.
        rank: this process.
        world_size: processes that share each batch.

    Raises:
        ValueError: if a number is out of range, or a batch does not split over the processes.

    Example:
        >>> batches = BatchSchedule.parse("1@0, 2@4")
        >>> stream = SampleStream(6, batches, base_batch=2, total=12)
        >>> [len(batch) for batch in stream]
        [2, 2, 4, 4]
    """

    def __init__(
        self,
        dataset_size: int,
        batches: BatchSchedule,
        *,
        base_batch: int,
        total: int,
        seed: int = 0,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.dataset_size = _check.count("dataset_size", dataset_size)
        self.batches = batches
        self.base_batch = _check.count("base_batch", base_batch)
        self.total = _check.count("total", total)
        self.seed = seed
        self.start = int(_check.nonnegative("start", start))
        self.rank = int(_check.nonnegative("rank", rank))
        self.world_size = _check.count("world_size", world_size)
        if self.rank >= self.world_size:
            raise ValueError(f"rank must lie below world_size = {world_size}, got {rank}")
        for stage in batches.stages(self.total, base_batch=self.base_batch):
            if stage.batch % self.world_size:
                raise ValueError(
                    f"a batch of {stage.batch} does not split over {world_size} processes"
                )

    def __len__(self) -> int:
        return sum(1 for _ in self._sizes())

    def __iter__(self) -> Iterator[list[int]]:
        position = self.start
        epoch, order = -1, torch.empty(0, dtype=torch.int64)
        for size in self._sizes():
            parts: list[torch.Tensor] = []
            left = size
            while left:
                now, offset = divmod(position, self.dataset_size)
                if now != epoch:
                    epoch, order = now, self._order(now)
                part = order[offset : offset + left]
                parts.append(part)
                position += len(part)
                left -= len(part)
            yield torch.cat(parts)[self.rank :: self.world_size].tolist()

    def _sizes(self) -> Iterator[int]:
        return self.batches.sizes(self.total, base_batch=self.base_batch, start=self.start)

    def _order(self, epoch: int) -> torch.Tensor:
        """The order of one epoch, ``(dataset_size,)``: a function of the seed and its number."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        return torch.randperm(self.dataset_size, generator=generator)

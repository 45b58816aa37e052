"""In a ``DataLoader``: a whole batch at a time, and the same bytes whatever the workers."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset, default_collate


class Numbered(Dataset[tuple[int, Any]]):
    """A dataset whose items are ``(number, item)``: a ``Collate`` with a seed needs the numbers.

    Args:
        dataset: with ``__len__`` and ``__getitem__``.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[int, Any]:
        return index, self.dataset[index]


class Collate:
    """A ``collate_fn`` that augments the images of a batch together, inside the worker.

    Args:
        aug: an augmenter of this package.
        seed: with one, the images of epoch e are augmented by the key ``(seed, e)`` and their
            numbers in the dataset, wrapped in ``Numbered``: alike for any order, batch size and
            number of workers. Without, by the workers' own seeds.
        collate: makes a batch of samples; of a tuple or list, the first entry is the images.

    Example:
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> from randaug_study import RandAugment
        >>> data = TensorDataset(torch.zeros(6, 1, 8, 8, dtype=torch.uint8), torch.arange(6))
        >>> collate = Collate(RandAugment(), seed=0)
        >>> loader = DataLoader(Numbered(data), batch_size=3, collate_fn=collate)
        >>> collate.set_epoch(1)
        >>> [labels.tolist() for images, labels in loader]
        [[0, 1, 2], [3, 4, 5]]
    """

    def __init__(
        self,
        aug: Callable[..., Any],
        *,
        seed: int | None = None,
        collate: Callable[[list[Any]], Any] = default_collate,
    ) -> None:
        self.aug, self.seed, self.collate = aug, seed, collate
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # workers that stay see it

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch it is, before the loader is iterated over."""
        self._epoch.fill_(epoch)

    def __call__(self, samples: Sequence[Any]) -> Any:
        """A batch of the samples, its images augmented."""
        arguments: dict[str, Any] = {}
        if self.seed is not None:
            pairs = (
                isinstance(s, tuple) and len(s) == 2 and isinstance(s[0], int) for s in samples
            )
            if not all(pairs):
                raise TypeError("a Collate with a seed needs numbered items: wrap in Numbered(...)")
            numbers, samples = zip(*samples, strict=True)
            arguments = {"key": (self.seed, int(self._epoch)), "ids": torch.tensor(numbers)}
        batch = self.collate(list(samples))
        if isinstance(batch, (tuple, list)):
            augmented = [self.aug(batch[0], **arguments), *batch[1:]]
            return augmented if isinstance(batch, list) else tuple(augmented)
        return self.aug(batch, **arguments)


def _numbered(sample: Any) -> bool:
    """Whether it is an item of ``Numbered``."""
    return isinstance(sample, tuple) and len(sample) == 2 and isinstance(sample[0], int)

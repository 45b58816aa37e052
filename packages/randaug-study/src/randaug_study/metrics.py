"""How adversarial, how strong and how varied an augmentation is, in numbers.

The adversarial gap and the histogram of operations look at what a rule chose; affinity and
diversity (Gontijo-Lopes et al. 2021) at what an augmentation does to a trained model.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from randaug_study.keys import Key
from randaug_study.plan import Plan
from randaug_study.pool import Preprocess, check_batch
from randaug_study.sampling import Augmenter, as_tuple
from randaug_study.scoring import Model, as_unit_floats, untouched


def adversarial_gap(losses: Tensor) -> float:
    """Mean over images of the highest loss less the mean loss of their candidates, in nats.

    Args:
        losses: ``(k, B)``, as in `randaug_study.pool.Selected`.

    Raises:
        ValueError: if there are no losses.

    Example:
        >>> adversarial_gap(torch.tensor([[1.0, 0.0], [3.0, 0.0]]))
        0.5
    """
    if losses.ndim != 2 or not losses.numel():
        raise ValueError(f"losses must be (k, B) with k, B >= 1, got {tuple(losses.shape)}")
    return float((losses.amax(0) - losses.mean(0)).mean())


def operation_counts(plan: Plan) -> Tensor:
    """How often each operation of the plan's space was used, int64 ``(operations,)``."""
    return torch.bincount(plan.op.flatten().long(), minlength=len(plan.space.ops))


def entropy(counts: Tensor) -> float:
    """Entropy of the empirical frequencies, in nats; 0 log 0 is 0.

    Args:
        counts: not negative, one at least positive; probabilities will do.

    Raises:
        ValueError: for negative counts, or none.

    Example:
        >>> round(entropy(torch.tensor([5, 5, 0])), 4)
        0.6931
    """
    if bool((counts < 0).any()) or not counts.sum() > 0:
        raise ValueError(f"counts must not be negative, nor all 0, got {counts.tolist()}")
    p = counts.double() / counts.sum()
    return -float(torch.special.xlogy(p, p).sum())


def kl_to_uniform(counts: Tensor) -> float:
    """KL divergence of the frequencies from uniform, in nats: ``log n - entropy``."""
    return math.log(counts.numel()) - entropy(counts)


def mean_bin(plan: Plan) -> float:
    """Effective magnitude: mean bin of the operations that have one; NaN if none has.

    An adversary that is free to choose drives it up; under a curriculum it follows the schedule.
    What operations without a magnitude do, `pixel_change` sees.
    """
    graded = torch.tensor(plan.space.graded)[plan.op.long()]
    return float(plan.bin[graded].double().mean())


def pixel_change(x: Tensor, augmented: Tensor) -> float:
    """Mean absolute change of a pixel, in grey levels: the strength of any augmentation.

    Raises:
        ValueError: unless both are uint8 of one shape.
    """
    if x.shape != augmented.shape or x.dtype != torch.uint8 or augmented.dtype != torch.uint8:
        got = f"{x.dtype} {tuple(x.shape)} and {augmented.dtype} {tuple(augmented.shape)}"
        raise ValueError(f"x and augmented must be uint8 of one shape, got {got}")
    return float((augmented.int() - x.int()).abs().double().mean())


@dataclass
class OperationHistogram:
    """Which operations were chosen, epoch by epoch: the heat map of an adversary.

    Example:
        >>> from randaug_study import RandAugment
        >>> histogram = OperationHistogram()
        >>> for epoch in range(2):
        ...     histogram.add(epoch, RandAugment().sample(100, key=epoch))
        >>> histogram.frequencies().sum(1).tolist()
        [1.0, 1.0]
    """

    names: tuple[str, ...] = ()
    counts: dict[int, Tensor] = field(default_factory=dict)

    def add(self, epoch: int, plan: Plan) -> None:
        """Count a batch's chosen operations.

        Raises:
            ValueError: if the operations are others than before.
        """
        if self.names and self.names != plan.space.ops:
            raise ValueError(f"operations must stay {self.names}, got {plan.space.ops}")
        self.names = plan.space.ops
        self.counts[epoch] = self.counts.get(epoch, 0) + operation_counts(plan)

    def frequencies(self) -> Tensor:
        """Share of each operation, float64 ``(epochs, operations)``, rows in order of epochs."""
        counts = torch.stack([self.counts[epoch] for epoch in sorted(self.counts)]).double()
        return counts / counts.sum(1, keepdim=True)

    def __str__(self) -> str:
        lines = []
        for epoch in sorted(self.counts):
            counts = self.counts[epoch]
            order = counts.argsort(descending=True, stable=True)[:3].tolist()
            most = ", ".join(f"{self.names[i]} {counts[i] / counts.sum():.0%}" for i in order)
            lines.append(f"epoch {epoch}: KL to uniform {kl_to_uniform(counts):.3f} nats; {most}")
        return "\n".join(lines)

    def to_table(self) -> dict[str, list[int] | list[float] | list[str]]:
        """One row an epoch and operation."""
        epochs = sorted(self.counts)
        return {
            "epoch": [epoch for epoch in epochs for _ in self.names],
            "operation": [name for _ in epochs for name in self.names],
            "count": [int(n) for epoch in epochs for n in self.counts[epoch]],
            "share": self.frequencies().flatten().tolist() if epochs else [],
        }


@dataclass(frozen=True)
class Affinity:
    """Accuracy of a model trained without the augmentation, on clean and on augmented images.

    Attributes:
        clean: share of clean validation images that it gets right.
        augmented: share of augmented ones.
    """

    clean: float
    augmented: float

    @property
    def ratio(self) -> float:
        """``augmented / clean``: 1 where the augmentation does not move the data."""
        return self.augmented / self.clean if self.clean else math.nan

    @property
    def difference(self) -> float:
        """``augmented - clean``, at most about 0."""
        return self.augmented - self.clean

    def __str__(self) -> str:
        return f"affinity {self.ratio:.3f} ({self.augmented:.1%} of {self.clean:.1%})"


def affinity(
    model: Model,
    aug: Augmenter,
    x: Tensor,
    y: Tensor,
    *,
    key: Key,
    copies: int = 1,
    preprocess: Preprocess | None = None,
    chunk: int = 1024,
) -> Affinity:
    """How little an augmentation moves validation images for a model trained on clean ones.

    Args:
        model: classifier, ``(n, C, H, W) -> (n, classes)``, left untouched.
        aug: the augmentation.
        x: uint8 validation images, ``(B, C, H, W)``.
        y: class numbers, ``(B,)``.
        key: of the draws.
        copies: augmented copies an image.
        preprocess: uint8 images to the model's input; default division by 255.
        chunk: most images a forward.

    Raises:
        ValueError: for no images or shapes that do not fit.

    Source:
        Gontijo-Lopes et al. 2021, "Tradeoffs in Data Augmentation", affinity.
    """
    check_batch(x, y)
    if not len(x) or copies < 1:
        raise ValueError(f"affinity needs images and copies, got {len(x)} and {copies}")
    preprocess = as_unit_floats if preprocess is None else preprocess

    def right(images: Tensor) -> float:
        parts = zip(images.split(chunk), y.split(chunk), strict=True)
        hits = [(model(preprocess(some)).argmax(1) == label).sum() for some, label in parts]
        return float(sum(hits)) / len(y)

    with untouched(model):
        drawn = [
            right(aug.apply(x, aug.sample(len(x), (*as_tuple(key), copy))))
            for copy in range(copies)
        ]
        return Affinity(clean=right(x), augmented=sum(drawn) / copies)


def diversity(augmented: Sequence[float], clean: Sequence[float]) -> float:
    """Final training loss with the augmentation over that without: how much there is to learn.

    Args:
        augmented: training losses of the last epoch (or steps) of a model trained with it.
        clean: the same of a model trained without, by the same schedule.

    Raises:
        ValueError: if either is empty, or the clean loss is not positive.

    Source:
        Gontijo-Lopes et al. 2021, diversity, there the loss itself; the quotient is our choice, so
        that figures of two data sets compare.

    Example:
        >>> diversity([0.6, 0.4], [0.2, 0.3])
        2.0
    """
    if not len(augmented) or not len(clean):
        raise ValueError(f"diversity needs losses, got {len(augmented)} and {len(clean)}")
    base = sum(clean) / len(clean)
    if not base > 0:
        raise ValueError(f"the mean loss without augmentation must be positive, got {base}")
    return sum(augmented) / len(augmented) / base

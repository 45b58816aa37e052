"""One run of a study: a small network, trained on one arm from one seed, on data in memory."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from randaug_study.arms import Arm
from randaug_study.augment import RandAugment
from randaug_study.data import Data
from randaug_study.pool import Selected
from randaug_study.space import RANDAUGMENT

SPANS = 10  # histograms of operations are kept a tenth of training


@dataclass(frozen=True)
class Recipe:
    """What all arms of a study share.

    Args:
        train: training images, drawn anew by each seed, classes balanced.
        epochs: passes over them.
        batch: images a step, before copies.
        lr: highest learning rate of the one-cycle schedule, SGD.
        weight_decay: of SGD.
        widths: channels of the 3x3 convolutions.
        strides: of the convolutions, as many.
        num_ops: N, operations an image.
        magnitude: M, their bin, or the mean of a curriculum.
        ops: names of the operations, all 14 if empty.
        interpolation: ``nearest`` or ``bilinear``.
        threads: of torch; results are the same only for the same number.

    Raises:
        ValueError: if a number is out of range.
    """

    train: int = 500
    epochs: int = 60
    batch: int = 50
    lr: float = 0.2
    weight_decay: float = 5e-4
    widths: tuple[int, ...] = (32, 64, 128)
    strides: tuple[int, ...] = (2, 2, 2)
    num_ops: int = 2
    magnitude: float = 9
    ops: tuple[str, ...] = ()
    interpolation: str = "nearest"
    threads: int = 1

    def __post_init__(self) -> None:
        for name in ("widths", "strides", "ops"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if min(self.train, self.epochs, self.batch, self.threads) < 1:
            raise ValueError("train, epochs, batch and threads must be at least 1")
        if len(self.widths) != len(self.strides) or not self.widths:
            raise ValueError(
                f"widths and strides must be as many, got {self.widths} and {self.strides}"
            )
        self.augmenter()

    def augmenter(self) -> RandAugment:
        """The augmenter that every arm draws from."""
        return RandAugment(
            self.num_ops,
            self.magnitude,
            interpolation=self.interpolation,
            ops=self.ops or RANDAUGMENT,
        )


@dataclass(frozen=True)
class Run:
    """What a run found: one line of the journal.

    Attributes:
        arm: its name.
        seed: of the subset, the weights, the order and all draws.
        accuracy: on the test images after the last epoch, percent.
        train_loss: mean loss on what was trained on, an epoch, nats.
        train_accuracy: on the clean training images after the last epoch, percent.
        gap: highest less mean loss of the candidates, an epoch, nats; empty without candidates.
        operations: name -> how often each tenth of training was trained on it.
        controller: entropy over its maximum, an epoch; empty without one.
        loss_gap: loss under the controller's policies less that under uniform ones, a tenth.
        scored: images put forward to choose, without a backward.
        trained: images put forward and backward.
        augmented: images augmented.
        cpu_s: processor seconds of training, evaluation not counted.
    """

    arm: str
    seed: int
    accuracy: float
    train_loss: list[float]
    train_accuracy: float
    gap: list[float]
    operations: dict[str, list[int]]
    controller: list[float]
    loss_gap: list[float]
    scored: int
    trained: int
    augmented: int
    cpu_s: float

    def __str__(self) -> str:
        cost = f"{self.trained} trained, {self.scored} scored, {self.cpu_s:.1f} CPU-s"
        return f"{self.arm}, seed {self.seed}: {self.accuracy:.2f} % ({cost})"


def network(
    channels: int, classes: int, widths: tuple[int, ...], strides: tuple[int, ...]
) -> nn.Module:
    """3x3 convolutions with batch norm and ReLU, an average over places, one linear layer."""
    layers: list[nn.Module] = []
    for width, stride in zip(widths, strides, strict=True):
        layers += [
            nn.Conv2d(channels, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        channels = width
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)
    )


def train(
    arm: Arm,
    seed: int,
    recipe: Recipe,
    data: Data,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Run:
    """Train one network on one arm from one seed; evaluate it once, after the last epoch.

    Args:
        arm: what is trained on.
        seed: of the subset, the first weights, the order of images and all draws; two arms of a
            seed share the first three, and the draws of a pool's first copy.
        recipe: what all arms share.
        data: in memory.
        progress: called with epochs done and epochs in all.

    Returns:
        What was found.

    Raises:
        FloatingPointError: if the training loss is not finite.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(recipe.threads)
    try:
        return _Training(arm, seed, recipe, data).run(progress)
    finally:
        torch.set_num_threads(threads)


class _Training:
    """The state of one run."""

    def __init__(self, arm: Arm, seed: int, recipe: Recipe, data: Data) -> None:
        self.arm, self.seed, self.recipe, self.data = arm, seed, recipe, data
        self.x, self.y = data.subset(recipe.train, seed)
        pixels = self.x.float() / 255
        self.mean, self.scale = float(pixels.mean()), float(pixels.std())
        self.epochs = arm.epochs or recipe.epochs
        self.aug = recipe.augmenter()
        self.rule = arm.build(self.aug, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = network(self.x.shape[1], data.classes, recipe.widths, recipe.strides)
        self.net = net.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(
            self.net.parameters(), lr=recipe.lr, momentum=0.9, weight_decay=recipe.weight_decay
        )
        steps = self.epochs * -(-len(self.x) // recipe.batch)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, recipe.lr, total_steps=steps
        )
        self.magnitudes = arm.magnitudes(recipe.magnitude, self.epochs)
        self.counts = torch.zeros(SPANS, len(self.aug.space.ops), dtype=torch.int64)
        self.losses: list[float] = []
        self.gaps: list[float] = []
        self.entropies: list[float] = []
        self.loss_gaps: list[float] = []
        self.scored = self.trained = self.augmented = 0

    def run(self, progress: Callable[[int, int], None]) -> Run:
        start = time.process_time()
        for epoch in range(self.epochs):
            self._epoch(epoch)
            progress(epoch + 1, self.epochs)
        spent = time.process_time() - start
        names = self.aug.space.ops
        columns = self.counts.T.tolist()
        return Run(
            arm=self.arm.name,
            seed=self.seed,
            accuracy=self._accuracy(self.data.test_x, self.data.test_y),
            train_loss=_short(self.losses),
            train_accuracy=self._accuracy(self.x, self.y),
            gap=_short(self.gaps),
            operations=dict(zip(names, columns, strict=True)) if self.rule else {},
            controller=_short(self.entropies),
            loss_gap=_short(self.loss_gaps),
            scored=self.scored,
            trained=self.trained,
            augmented=self.augmented,
            cpu_s=round(spent, 2),
        )

    def _epoch(self, epoch: int) -> None:
        order = self._order(epoch)
        key = (self.seed, epoch)
        controlled = self.arm.rule == "advaa"
        if controlled:
            self.rule.begin_epoch(epoch)
            if epoch % max(1, self.epochs // SPANS) == 0:
                options: dict[str, Any] = {"preprocess": self._prepared, "key": (*key, 1)}
                self.loss_gaps.append(
                    self.rule.probe(self.net, self.x[:200], self.y[:200], **options)
                )
        whole = None if self.arm.needs_model else self._choose(torch.arange(len(self.x)), epoch)
        if self.rule is not None and self.arm.scope == "epoch" and self.arm.needs_model:
            self.scored += self.arm.k * len(self.x)
            self.rule.begin_epoch(
                self.net, self.x, self.y, key=key, preprocess=self._prepared,
                magnitude=self.magnitudes[epoch],
            )  # fmt: skip
        total = 0.0
        gaps: list[float] = []
        self.net.train()
        for step, rows in enumerate(order.split(self.recipe.batch)):
            chosen = (
                self._choose(rows, epoch, step)
                if whole is None
                else _rows(whole, rows, len(self.x))
            )
            losses = self._step(chosen)
            total += float(losses.sum())
            if controlled:
                self.rule.record(chosen, losses)
            if self.arm.needs_model:
                gaps.append(chosen.gap * len(rows))
        count = len(self.x) * self.arm.copies
        self.losses.append(total / count)
        if not total < float("inf"):
            raise FloatingPointError(
                f"{self.arm.name}, seed {self.seed}: training loss {total} in epoch {epoch}; "
                "lower lr"
            )
        if gaps:
            self.gaps.append(sum(gaps) / len(self.x))
        if controlled:
            self.entropies.append(self.rule.end_epoch().relative_entropy)

    def _order(self, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        return torch.randperm(len(self.x), generator=generator)

    def _choose(self, rows: Tensor, epoch: int, step: int = 0) -> Selected:
        """What is trained on for some rows; draws of a row depend on seed, epoch and row alone."""
        x, y = self.x[rows], self.y[rows]
        if self.rule is None:
            plan = self.aug.sample(len(x), key=0, num_ops=0)
            return Selected(x, y, torch.zeros(0, len(x)), torch.zeros(len(x)).long(), plan)
        shared = self.arm.scope == "batch"  # one list of operations a batch, so batches must differ
        key = (self.seed, epoch, step) if shared else (self.seed, epoch)
        options: dict[str, Any] = {"key": key, "ids": rows}
        if self.arm.rule != "advaa":
            options["magnitude"] = self.magnitudes[epoch]
        chosen = self.rule(self.net, x, y, preprocess=self._prepared, **options)
        used = torch.bincount(chosen.plan.op.long().flatten(), minlength=self.counts.shape[1])
        self.counts[epoch * SPANS // self.epochs] += used
        self.augmented += len(x) * self.arm.k
        if self.arm.scope != "epoch":
            self.scored += len(x) * self.arm.scored
        return chosen

    def _step(self, chosen: Selected) -> Tensor:
        losses = F.cross_entropy(self.net(self._prepared(chosen.x)), chosen.y, reduction="none")
        self.optimizer.zero_grad(set_to_none=True)
        losses.mean().backward()
        self.optimizer.step()
        self.schedule.step()
        self.trained += len(chosen.x)
        return losses.detach()

    def _prepared(self, x: Tensor) -> Tensor:
        x = (x.float() / 255 - self.mean) / self.scale
        return x.contiguous(memory_format=torch.channels_last)

    def _accuracy(self, x: Tensor, y: Tensor) -> float:
        self.net.eval()
        with torch.inference_mode():
            right = sum(
                int((self.net(self._prepared(part)).argmax(1) == label).sum())
                for part, label in zip(x.split(500), y.split(500), strict=True)
            )
        return round(100 * right / len(x), 4)


def _rows(whole: Selected, rows: Tensor, n: int) -> Selected:
    """Some rows of a selection of whole epochs, all copies of each."""
    copies = len(whole.x) // n
    at = (torch.arange(copies)[:, None] * n + rows).flatten()
    return Selected(whole.x[at], whole.y[at], whole.losses[:, at], whole.chosen[at], whole.plan[at])


def _short(values: list[float]) -> list[float]:
    return [round(value, 5) for value in values]

"""One training loop at any batch size, on the clock of samples, and averages that ride along."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from ema_scaling import (
    BatchSchedule,
    Constant,
    MatchReport,
    ModelEMA,
    ProgressiveScaler,
    Recipe,
    compare,
)
from torch import Tensor, nn

from tenfold.data.images import Split
from tenfold.station import Series

Curve = dict[str, list[float]]
"""Columns of equal length: ``samples`` and what was measured there."""


@dataclass(frozen=True)
class Training:
    """A recipe at a batch, and where it is measured.

    Attributes:
        recipe: as it was tuned; ``samples`` is its length, ``ema_decay`` its average's decay,
            ``warmup_samples`` a linear rise of the learning rate, which is constant afterwards.
        kappa: the batch in multiples of the recipe's.
        start: samples trained at the recipe's own batch before; progressive scaling if not 0.
        points: measurements after the start, evenly spaced; each must fall on a whole step.
        seed: of the order of the samples, which is the same at every kappa.
    """

    recipe: Recipe
    kappa: int = 1
    start: int = 0
    points: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        samples, batch = self.recipe.samples or 0, self.recipe.batch * self.kappa
        if not samples or samples % (self.points * batch) or self.start % batch:
            raise ValueError(
                f"samples must be a multiple of points * batch = {self.points} * {batch} and start "
                f"one of the batch, got {samples} and {self.start}"
            )

    @property
    def batches(self) -> BatchSchedule:
        """The batch over samples, in multiples of the recipe's."""
        if self.start and self.kappa != 1:
            return BatchSchedule((1.0, self.kappa), (0.0, self.start))
        return BatchSchedule((self.kappa,))

    def optimizer(self, modules: Sequence[nn.Module]) -> torch.optim.Optimizer:
        """SGD or AdamW with the recipe's values, for the recipe's own batch.

        Raises:
            ValueError: if the recipe names another.
        """
        recipe, parameters = self.recipe, [p for module in modules for p in module.parameters()]
        lr, decay = recipe.lr, recipe.weight_decay
        if recipe.optimizer == "sgd":
            momentum = recipe.momentum or 0.0
            return torch.optim.SGD(parameters, lr, momentum=momentum, weight_decay=decay)
        if recipe.optimizer == "adamw":
            first, second = recipe.betas or (0.9, 0.999)
            return torch.optim.AdamW(parameters, lr, betas=(first, second), weight_decay=decay)
        raise ValueError(f"optimizer must be 'sgd' or 'adamw', got {recipe.optimizer!r}")

    def scaler(self, modules: Sequence[nn.Module]) -> ProgressiveScaler:
        """The optimizer, kept at the batch that holds: rate, betas, epsilon and decay scaled."""
        warm_up, batches, base = self.recipe.warmup_samples, self.batches, self.recipe.batch

        def share(samples: float) -> float:
            middle = samples + batches.batch(samples, base_batch=base) / 2  # of the step to come
            return min(1.0, middle / warm_up) if warm_up else 1.0

        return ProgressiveScaler(
            self.optimizer(modules), batches, base_batch=base, lr_schedule=share, form="power"
        )

    def average(self, model: nn.Module, *, rule: bool, corrected: bool = False) -> "Average":
        """The model's average, with the decay on the clock of samples or kept as it was a step.

        Args:
            model: what is averaged.
            rule: whether the decay follows the batch.
            corrected: whether it is read with the gain for straight paths between the steps.

        Raises:
            ValueError: if the recipe has no ``ema_decay``.
        """
        if (decay := self.recipe.ema_decay) is None:
            raise ValueError("the recipe has no ema_decay: set one")
        batch = self.recipe.batch if rule else 1
        ema = ModelEMA(model, Constant(decay, batch=batch), batch=batch, corrected=corrected)
        return Average(ema, counts_samples=rule)


@dataclass(frozen=True)
class Average:
    """A model's average, callable as a teacher.

    Attributes:
        ema: the average.
        counts_samples: whether its clock is that of samples; otherwise it counts updates, so
            the decay is the same whatever the batch.
    """

    ema: ModelEMA
    counts_samples: bool

    def __call__(self, x: Tensor) -> Tensor:
        """The output with the averaged weights, without gradient."""
        return self.ema(x)

    def update(self, samples: int) -> None:
        """Move after a step of so many samples."""
        self.ema.update(samples=samples if self.counts_samples else 1)


def run(
    training: Training,
    modules: Sequence[nn.Module],
    size: int,
    loss: Callable[[Tensor, int], Tensor],
    *,
    averages: Sequence[Average],
    measure: Callable[[], Mapping[str, float]],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Curve:
    """Train and return what was measured, at equal counts of samples whatever the batch.

    Args:
        training: recipe, batch, points.
        modules: whose parameters are trained.
        size: how many samples there are to draw from.
        loss: (numbers of the samples ``(B,)``, samples before them) to the scalar to descend.
        averages: moved after each optimizer step.
        measure: what to record.
        progress: called with samples done and in all.

    Raises:
        FloatingPointError: if the loss is no longer finite.
    """
    scaler, total = training.scaler(modules), training.recipe.samples or 0
    optimizer, every = scaler.optimizer, total // training.points
    curve: Curve = {}

    def record() -> None:
        for name, value in ({"samples": scaler.samples} | dict(measure())).items():
            curve.setdefault(name, []).append(value)

    record()
    for rows in scaler.stream(size, total=total, seed=training.seed):
        value = loss(torch.tensor(rows), scaler.samples)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        scaler.step(samples=len(rows))
        for average in averages:
            average.update(len(rows))
        if scaler.samples % every == 0:
            if not bool(torch.isfinite(value)):
                raise FloatingPointError(f"the loss is {value:g} at {scaler.samples} samples")
            record()
        progress(scaler.samples, total)
    return curve


def supervised(
    training: Training,
    model: nn.Module,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Curve:
    """Train on labels, and return the test loss of the model and of averages on its ONE path.

    The average feeds nothing back here, so one path carries them all: with the rule (``rule``),
    with the decay kept (``kept``), and with the rule and the corrected readout (``corrected``).
    At kappa = 1 the three are one, ``rule``.

    Args:
        training: recipe, batch, points.
        model: inputs to logits, ``(B, classes)`` or ``(B, T, classes)``.
        train: inputs and labels, ``(N, ...)`` and ``(N,)`` or ``(N, T)``.
        test: likewise, for the measurements.
        progress: called with samples done and in all.

    Returns:
        ``samples``; ``target``, ``rule``, ``kept``, ``corrected`` in nats; the same names with
        `` accuracy`` behind, as shares.
    """
    inputs, labels = train
    averages = {"rule": training.average(model, rule=True)}
    if training.kappa != 1:
        averages["kept"] = training.average(model, rule=False)
        averages["corrected"] = training.average(model, rule=True, corrected=True)

    def loss(rows: Tensor, before: int) -> Tensor:
        return cross_entropy(model(inputs[rows]), labels[rows])

    @torch.no_grad()
    def measure() -> dict[str, float]:
        found: dict[str, float] = {}
        for name, answer in {"target": model, **averages}.items():
            found[name], found[f"{name} accuracy"] = score(answer, *test)
        return found

    carried = list(averages.values())
    return run(
        training, [model], len(inputs), loss,
        averages=carried, measure=measure, progress=progress,
    )  # fmt: skip


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean cross-entropy in nats of logits ``(..., classes)`` and labels ``(...)``."""
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten())


@torch.no_grad()
def score(
    answer: Callable[[Tensor], Tensor], inputs: Tensor, labels: Tensor, *, batch: int = 500
) -> tuple[float, float]:
    """Mean cross-entropy in nats and the share of right answers."""
    total = right = 0.0
    for x, y in zip(inputs.split(batch), labels.split(batch), strict=True):
        logits = answer(x)
        total += float(cross_entropy(logits, y)) * y.numel()
        right += int((logits.argmax(-1) == y).sum())
    return total / labels.numel(), right / labels.numel()


def centred(split: Split) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Training and test images less the mean training image, over 90 grey levels, with labels.

    Without the mean the common grey of all images gives the loss one steep direction, and the
    large batch's learning rate must stay below what is stable there.
    """
    mean = torch.tensor(split.train).float().mean(0)

    def pair(images: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
        return (torch.tensor(images) - mean) / 90, torch.tensor(labels)

    return pair(split.train, split.train_labels), pair(split.test, split.test_labels)


def gap(
    base: Sequence[Curve], other: Sequence[Curve], names: tuple[str, str], *, start: float = 0
) -> MatchReport:
    """How far a column of the second group of runs is from one of the first, at equal samples.

    Args:
        base: runs at the recipe's own batch, a seed each.
        other: runs at the larger one.
        names: the columns, of the first and of the second group.
        start: samples until which both trained alike; they are compared after it.
    """
    first = next(n for n in base[0]["samples"] if n > start)

    def rows(curves: Sequence[Curve], name: str) -> list[list[dict[str, float]]]:
        return [
            [{"samples": n, "y": y} for n, y in zip(curve["samples"], curve[name], strict=True)]
            for curve in curves
        ]

    return compare(rows(base, names[0]), rows(other, names[1]), "y", start=first)


def band(label: str, curves: Sequence[Curve], name: str) -> Series:
    """A column's mean over the runs as a line, and its range over them as a band."""
    values = np.array([curve[name] for curve in curves])
    ends = (values.mean(0), values.min(0), values.max(0))
    y, low, high = ([float(f"{v:.5g}") for v in end] for end in ends)
    return Series(label, curves[0]["samples"], y, low, high)


def short(report: MatchReport) -> str:
    """The verdict, the distance in spreads, and the mean gap with its 95 % interval."""
    low, high = report.interval
    return (
        f"{report.verdict}, {report.ratio:.2g} spreads; {report.mean_gap:+.3g} "
        f"({low:+.3g} to {high:+.3g})"
    )

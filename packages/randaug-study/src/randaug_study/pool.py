"""A pool of k augmented copies of each image, scored under the present weights.

``losses[j, i]`` is the loss of copy j of image i; a rule of `randaug_study.select` picks
``chosen[i]``. What is trained on is the very tensor that was scored.

Copy 0 is drawn with the caller's own key, copy j with the key extended by j. So a pool of one
is plain random augmentation bit for bit, and a pool of k holds every smaller pool.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from randaug_study.keys import Key
from randaug_study.plan import Plan
from randaug_study.sampling import Augmenter, copy_key, draw_plan, row_ids
from randaug_study.scoring import Loss, Model, Statistics, score

Scope = Literal["sample", "batch", "epoch"]
Preprocess = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Selected:
    """What to train on, and why.

    Attributes:
        x: uint8 images, ``(B, C, H, W)``; `MeanOfK` gives ``(k * B, C, H, W)``, copy by copy.
        y: their targets, as many rows.
        losses: of all candidates, ``(k, B)``, NaN counted as ``+inf``; ``(0, B)`` where the rule
            needs none.
        chosen: which candidate each row of ``x`` is, int64.
        plan: the operations that made ``x``, row by row: ``aug.apply`` of it and of the clean
            images gives ``x`` again.
    """

    x: Tensor
    y: Tensor
    losses: Tensor
    chosen: Tensor
    plan: Plan

    @property
    def gap(self) -> float:
        """Adversarial gap: mean over images of the highest loss less the mean loss, in nats."""
        if not self.losses.numel():
            return float("nan")
        return float((self.losses.amax(0) - self.losses.mean(0)).mean())

    @property
    def chosen_losses(self) -> Tensor:
        """Loss of the chosen candidate of each image, ``(B,)``."""
        return self.losses.gather(0, self.chosen[None])[0]

    def __str__(self) -> str:
        if not self.losses.numel():
            return f"{len(self.x)} images, chosen without looking at losses"
        k, batch = self.losses.shape
        return (
            f"{batch} of {k} x {batch} candidates: loss {float(self.chosen_losses.mean()):.3f} "
            f"nats chosen, {float(self.losses.mean()):.3f} in the mean, gap {self.gap:.3f}"
        )

    def to_table(self) -> dict[str, list[int] | list[float] | list[str]]:
        """One row an image of ``x``: the candidate, its loss if there is one, its operations."""
        columns: dict[str, list[int] | list[float] | list[str]] = {"chosen": self.chosen.tolist()}
        if self.losses.numel():
            columns["loss"] = self.chosen_losses.tolist()
        columns["operations"] = [" ".join(names) for names in self.plan.names]
        return columns


@dataclass(eq=False)
class Pool:
    """k candidates drawn from ``aug``, scored, and one picked by `_pick`.

    Args:
        aug: the augmenter, with ``sample`` and ``apply``.
        k: candidates an image.
        scope: ``"sample"``: every image has candidates of its own and its own choice.
            ``"batch"``: a candidate is one list of operations for all images of the batch, and
            the choice goes by the mean loss. ``"epoch"``: as batch, chosen once, in
            `begin_epoch`, and kept until the next.
        statistics: ``"running"`` (default) or ``"batch"``, see `randaug_study.scoring.score`.
        chunk: most images augmented, and put through the model, at a time.
        patience: calls in a row with losses that are not finite, after which one raises.
    """

    aug: Augmenter
    k: int = 4
    _: KW_ONLY
    scope: Scope = "sample"
    statistics: Statistics = "running"
    chunk: int = 1024
    patience: int = 3
    _bad_calls: int = field(default=0, init=False, repr=False)
    _held: tuple[Plan, Tensor, int] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be at least 1 candidate, got {self.k}")
        if self.scope not in ("sample", "batch", "epoch"):
            raise ValueError(f"scope must be 'sample', 'batch' or 'epoch', got {self.scope!r}")
        if self.patience < 1:
            raise ValueError(f"patience must be at least 1 call, got {self.patience}")

    @property
    def forwards(self) -> int:
        """Forwards an image of the training batch that scoring costs."""
        return self.k

    @property
    def augmentations(self) -> int:
        """Augmentations an image of the training batch."""
        return self.k

    def __call__(
        self,
        model: Model,
        x: Tensor,
        y: Tensor,
        *,
        key: Key,
        ids: Tensor | None = None,
        preprocess: Preprocess | None = None,
        loss: Loss | None = None,
        magnitude: float | None = None,
        num_ops: float | None = None,
    ) -> Selected:
        """Augment ``x`` k times, score the copies, and pick.

        Args:
            model: maps preprocessed images to predictions; left as it was, mode, buffers and
                random state included.
            x: uint8 images, ``(B, C, H, W)``.
            y: targets, ``(B, ...)``.
            key: an int or tuple of ints, another for every batch, as ``(seed, epoch, step)``.
            ids: int64 ``(B,)``, what the draws of a row depend on besides the key; default the
                row's number.
            preprocess: uint8 images to the model's input; default division by 255.
            loss: losses by row, default cross-entropy; see `randaug_study.scoring.score`.
            magnitude: in place of the augmenter's, fractions included.
            num_ops: in place of the augmenter's, fractions included.

        Raises:
            ValueError: for shapes that do not fit, or for scope "epoch" before `begin_epoch`.
            FloatingPointError: if losses were not finite in ``patience`` calls in a row.
        """
        check_batch(x, y)
        if self.scope == "epoch":
            return self._apply_held(x, y)
        plans = self._candidates(len(x), key, ids, magnitude, num_ops)
        images = apply_all(self.aug, x, plans, self.chunk)
        losses = self._score(model, images, y, preprocess, loss)
        chosen = self._choose(losses, key, ids)
        rows = torch.arange(len(x), device=x.device)
        return Selected(
            x=images[chosen, rows],
            y=y,
            losses=losses,
            chosen=chosen,
            plan=Plan.cat(plans)[(chosen * len(x) + rows).cpu()],
        )

    def begin_epoch(self, model: Model, x: Tensor, y: Tensor, *, key: Key, **options: Any) -> int:
        """Score k lists of operations on ``x``, keep the picked one for the epoch.

        ``x`` may be the training set or a part of it; its k copies are held at once. Options are
        those of a call. Returns the number of the candidate that was picked.

        Raises:
            ValueError: unless the scope is "epoch".
        """
        if self.scope != "epoch":
            raise ValueError(f"begin_epoch is for scope='epoch', this rule has {self.scope!r}")
        self.scope = "batch"
        try:
            found = self(model, x, y, key=key, **options)
        finally:
            self.scope = "epoch"
        index = int(found.chosen[0])
        self._held = found.plan[torch.zeros(1, dtype=torch.int64)], found.losses.mean(1), index
        return index

    def _apply_held(self, x: Tensor, y: Tensor) -> Selected:
        if self._held is None:
            raise ValueError("scope='epoch' needs begin_epoch(model, x, y, key=...) first")
        row, means, index = self._held
        plan = row[torch.zeros(len(x), dtype=torch.int64)]
        losses = means[:, None].expand(-1, len(x))
        chosen = torch.full((len(x),), index, device=x.device)
        return Selected(self.aug.apply(x, plan), y, losses, chosen, plan)

    def _candidates(
        self,
        batch: int,
        key: Key,
        ids: Tensor | None,
        magnitude: float | None,
        num_ops: float | None,
    ) -> list[Plan]:
        shared = self.scope == "batch"
        plans = [
            draw_plan(
                self.aug,
                1 if shared else batch,
                copy_key(key, j),
                ids=None if shared else ids,
                magnitude=magnitude,
                num_ops=num_ops,
            )
            for j in range(self.k)
        ]
        if shared:
            plans = [plan[torch.zeros(batch, dtype=torch.int64)] for plan in plans]
        return plans

    def _score(
        self,
        model: Model,
        images: Tensor,
        y: Tensor,
        preprocess: Preprocess | None,
        loss: Loss | None,
    ) -> Tensor:
        losses = score(
            model,
            images,
            y,
            preprocess=preprocess,
            loss=loss,
            statistics=self.statistics,
            chunk=self.chunk,
        )
        bad = int((~losses.isfinite()).sum())
        self._bad_calls = self._bad_calls + 1 if bad else 0
        if self._bad_calls >= self.patience:
            raise FloatingPointError(
                f"{bad} of {losses.numel()} candidate losses are NaN or infinite, and so it was "
                f"in {self._bad_calls} calls in a row: the weights have likely diverged, lower "
                "the learning rate or resume from an earlier checkpoint"
            )
        return losses

    def _choose(self, losses: Tensor, key: Key, ids: Tensor | None) -> Tensor:
        """Picked candidate of each image, ``(B,)``."""
        batch = losses.shape[1]
        if self.scope == "batch":
            one = torch.zeros(1, dtype=torch.int64)
            return self._pick(losses.mean(1, keepdim=True), key, one).expand(batch)
        return self._pick(losses, key, row_ids(batch, ids))

    def _pick(self, losses: Tensor, key: Key, ids: Tensor) -> Tensor:
        """Picked candidate of each column of ``losses`` ``(k, G)``; ``ids`` are ``(G,)``."""
        raise NotImplementedError


def check_batch(x: Tensor, y: Tensor) -> None:
    """Raise unless ``x`` is a uint8 batch ``(B, C, H, W)`` and ``y`` has as many rows.

    Raises:
        ValueError: naming the shapes and dtype that came.
    """
    if x.ndim != 4 or x.dtype != torch.uint8:
        raise ValueError(f"x must be uint8 (B, C, H, W), got {x.dtype} {tuple(x.shape)}")
    if y.ndim < 1 or len(y) != len(x):
        raise ValueError(f"y must have a row for each of {len(x)} images, got {tuple(y.shape)}")


def apply_all(aug: Augmenter, x: Tensor, plans: list[Plan], chunk: int) -> Tensor:
    """Copies ``(k, B, C, H, W)``: plan j applied to ``x``, about ``chunk`` images at a time."""
    group = max(1, chunk // max(len(x), 1))  # candidates that go through in one call
    parts = [
        aug.apply(x.repeat(len(some), 1, 1, 1), Plan.cat(some))
        for some in (plans[at : at + group] for at in range(0, len(plans), group))
    ]
    return torch.cat(parts).view(len(plans), *x.shape)

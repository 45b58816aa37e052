"""Adversarial AutoAugment in a training loop: M policies an epoch, one controller step after it.

Each epoch the controller draws M policies. Every image of every batch is trained on M times, its
m-th copy made by a random sub-policy of policy m, and the mean training loss under each policy,
normalised over the M, is what REINFORCE raises. The fair control is
`randaug_study.select.MeanOfK` with k = M: random augmentation with the same M-fold batch. Since a
new controller draws all magnitudes alike, an augmenter with ``magnitude=None`` is nearest to it;
against one of a single magnitude, the strength differs too.
"""

import math
import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from randaug_study.controller import Controller, ControllerConfig, Policies
from randaug_study.keys import Key
from randaug_study.plan import Plan
from randaug_study.pool import Preprocess, Selected, apply_all, check_batch
from randaug_study.sampling import Augmenter, as_tuple, copy_key, draw_subpolicies, space_of
from randaug_study.scoring import Loss, Model, Statistics, score

_POLICIES, _PROBE, _UNIFORM = 201, 202, 203  # purposes, which extend the seed


@dataclass(frozen=True)
class EpochLog:
    """What an epoch of AdvAA was, and what its controller learnt from.

    Attributes:
        epoch: its number.
        entropy: of the controller that drew the policies, in nats, a sampled estimate.
        kl_to_uniform: ``H_max - entropy``: 0 is random augmentation.
        losses: mean training loss under each policy, M numbers, in nats.
        advantages: what the controller was trained with.
        loss_gap: loss under policies of the controller less that under uniform ones, in nats,
            if `AdvAA.probe` was called in the epoch, else NaN.
    """

    epoch: int
    entropy: float
    kl_to_uniform: float
    losses: tuple[float, ...]
    advantages: tuple[float, ...]
    loss_gap: float = math.nan

    @property
    def relative_entropy(self) -> float:
        """Entropy over its maximum: 1 is random, 0 a single policy."""
        return self.entropy / (self.entropy + self.kl_to_uniform)

    def __str__(self) -> str:
        gap = "" if math.isnan(self.loss_gap) else f", loss gap {self.loss_gap:+.3f}"
        return (
            f"epoch {self.epoch}: H/H_max {self.relative_entropy:.3f}, KL to uniform "
            f"{self.kl_to_uniform:.2f} nats{gap}, loss {sum(self.losses) / len(self.losses):.3f}"
        )

    def to_table(self) -> dict[str, list[int] | list[float]]:
        """One row a policy."""
        m = len(self.losses)
        return {
            "epoch": [self.epoch] * m,
            "policy": list(range(m)),
            "loss": list(self.losses),
            "advantage": list(self.advantages),
        }


class AdvAA:
    """M-fold batches of a controller's policies; the controller learns once an epoch.

    Args:
        aug: the augmenter whose operations are chosen from, at ``bins`` of its magnitudes.
        policies: M, policies an epoch and copies an image.
        controller: default a new one for the augmenter's operations and 10 magnitudes.
        seed: of the first weights and of all policies.
        chunk: most images augmented at a time.

    Raises:
        ValueError: if the controller chooses from another number of operations.

    Example:
        >>> from randaug_study import RandAugment
        >>> x, y = torch.zeros(5, 3, 8, 8, dtype=torch.uint8), torch.arange(5)
        >>> advaa = AdvAA(RandAugment(), policies=4, seed=0)
        >>> advaa.begin_epoch(0)
        >>> batch = advaa(None, x, y, key=(0, 0, 0))
        >>> batch.x.shape  # train on these, and hand their losses back, one a row
        torch.Size([20, 3, 8, 8])
        >>> advaa.record(batch, torch.rand(20))
        >>> print(str(advaa.end_epoch())[:24])
        epoch 0: H/H_max 1.000,
    """

    forwards = 0

    def __init__(
        self,
        aug: Augmenter,
        *,
        policies: int = 8,
        controller: Controller | None = None,
        seed: int = 0,
        chunk: int = 1024,
    ) -> None:
        if policies < 1:
            raise ValueError(f"policies must be at least 1, got {policies}")
        self.space = space_of(aug)
        count = len(self.space.ops)
        if controller is None:
            controller = Controller(ControllerConfig(ops=count), seed=seed)
        if controller.config.ops != count:
            raise ValueError(
                f"the augmenter has {count} operations, the controller chooses from "
                f"{controller.config.ops}: make it with ControllerConfig(ops={count})"
            )
        self.aug, self.controller, self.seed, self.chunk = aug, controller, seed, chunk
        self.k = policies
        self.epoch: int | None = None
        self._policies: Policies | None = None
        self._sums = torch.zeros(policies, dtype=torch.float64)
        self._rows = torch.zeros(policies, dtype=torch.float64)
        self._gap = math.nan

    @property
    def augmentations(self) -> int:
        """Augmentations an image of the training batch."""
        return self.k

    def begin_epoch(self, epoch: int) -> None:
        """Draw the epoch's policies; they depend on the weights, the seed and ``epoch`` alone."""
        self.epoch = epoch
        self._policies = self.controller.sample(self.k, (self.seed, _POLICIES, epoch))
        self._sums.zero_()
        self._rows.zero_()
        self._gap = math.nan

    @property
    def policies(self) -> Policies:
        """The present epoch's policies.

        Raises:
            ValueError: before `begin_epoch`.
        """
        if self._policies is None:
            raise ValueError("call begin_epoch(epoch) before a batch is drawn or recorded")
        return self._policies

    def __call__(
        self,
        model: Model | None,
        x: Tensor,
        y: Tensor,
        *,
        key: Key,
        ids: Tensor | None = None,
        preprocess: Preprocess | None = None,
        loss: Loss | None = None,
    ) -> Selected:
        """All M copies, ``(M * B, C, H, W)``, copy by copy; the model is not looked at.

        Raises:
            ValueError: before `begin_epoch`, or for shapes that do not fit.
        """
        check_batch(x, y)
        plans = self._plans(self.policies, len(x), key, ids)
        return Selected(
            x=apply_all(self.aug, x, plans, self.chunk).flatten(0, 1),
            y=y.repeat(self.k, *[1] * (y.ndim - 1)),
            losses=torch.zeros(0, self.k * len(x), device=x.device),
            chosen=torch.arange(self.k, device=x.device).repeat_interleave(len(x)),
            plan=Plan.cat(plans),
        )

    def record(self, selected: Selected, losses: Tensor) -> None:
        """Add the training losses of a batch, one a row of ``selected.x``, to their policies.

        Raises:
            ValueError: unless there is one loss a row.
        """
        if losses.shape != selected.chosen.shape:
            raise ValueError(
                f"losses must have one value for each of {len(selected.chosen)} rows, got "
                f"{tuple(losses.shape)}: use reduction='none'"
            )
        rows = selected.chosen.cpu()
        values = losses.detach().cpu().double()
        self._sums.index_add_(0, rows, values)
        self._rows.index_add_(0, rows, torch.ones_like(values))

    def end_epoch(self) -> EpochLog:
        """Take the controller's step; what it learnt from, and how random it was before.

        Raises:
            ValueError: if nothing was recorded, or a policy's mean loss is not finite.
        """
        policies = self.policies
        if self.epoch is None or not bool((self._rows > 0).all()):
            raise ValueError("record(selected, losses) the batches of the epoch before its end")
        losses = self._sums / self._rows
        entropy = self.controller.entropy((self.seed, _PROBE, self.epoch))
        scaled = self.controller.update(policies, losses)
        self._policies = None
        return EpochLog(
            epoch=self.epoch,
            entropy=entropy,
            kl_to_uniform=self.controller.config.max_entropy - entropy,
            losses=tuple(losses.tolist()),
            advantages=tuple(scaled.tolist()),
            loss_gap=self._gap,
        )

    def probe(
        self,
        model: Model,
        x: Tensor,
        y: Tensor,
        *,
        key: Key,
        count: int = 8,
        preprocess: Preprocess | None = None,
        loss: Loss | None = None,
        statistics: Statistics = "running",
    ) -> float:
        """How adversarial the controller is: its loss less that of uniform policies, in nats.

        ``count`` policies of each kind are scored on ``x``, the model left untouched; the
        epoch's log takes the value in.
        """
        check_batch(x, y)
        config = self.controller.config
        drawn = self.controller.sample(count, (*as_tuple(key), _PROBE))
        plain = Policies.uniform(count, config, (*as_tuple(key), _UNIFORM))
        means = []
        for policies in drawn, plain:
            images = apply_all(self.aug, x, self._plans(policies, len(x), key, None), self.chunk)
            found = score(
                model, images, y, preprocess=preprocess, loss=loss, statistics=statistics,
                chunk=self.chunk,
            )  # fmt: skip
            means.append(float(found.mean()))
        self._gap = means[0] - means[1]
        return self._gap

    def _plans(self, policies: Policies, batch: int, key: Key, ids: Tensor | None) -> list[Plan]:
        """Plan m: a random sub-policy of policy m for each row, magnitudes spread over the bins."""
        last = self.controller.config.bins - 1
        bins = (policies.bins * (self.space.bins - 1) / max(last, 1)).round().long()
        return [
            draw_subpolicies(
                self.space, policies.ops[m], bins[m], batch=batch, key=copy_key(key, m), ids=ids
            )
            for m in range(len(policies))
        ]

    def save(self, path: str | os.PathLike[str]) -> None:
        """The controller and the place in training as one JSON file; between or within epochs."""
        self.controller.save(path, extra=self._place())

    def _place(self) -> dict[str, Any]:
        return {
            "policies": self.k,
            "seed": self.seed,
            "epoch": self.epoch,
            "within": self._policies is not None,
            "sums": self._sums.tolist(),
            "rows": self._rows.tolist(),
            "gap": None if math.isnan(self._gap) else self._gap,
        }

    @classmethod
    def load(cls, path: str | os.PathLike[str], aug: Augmenter, *, chunk: int = 1024) -> "AdvAA":
        """Go on where `save` was called: the next policies are the same.

        Raises:
            ValueError: if the file holds no AdvAA, or one of another number of operations.
        """
        controller, place = Controller.load(path)
        if "sums" not in place:
            raise ValueError(f"{path} holds a controller alone: use Controller.load")
        try:
            return cls._parse(controller, place, aug, chunk)
        except (KeyError, TypeError, RuntimeError) as error:
            raise ValueError(f"{path} is not a checkpoint of an AdvAA: {error}") from error

    @classmethod
    def _parse(
        cls, controller: Controller, place: dict[str, Any], aug: Augmenter, chunk: int
    ) -> "AdvAA":
        self = cls(
            aug, policies=place["policies"], controller=controller, seed=place["seed"], chunk=chunk
        )
        if place["within"]:
            self.begin_epoch(place["epoch"])
        self.epoch = place["epoch"]
        self._sums = torch.tensor(place["sums"], dtype=torch.float64)
        self._rows = torch.tensor(place["rows"], dtype=torch.float64)
        self._gap = math.nan if place["gap"] is None else place["gap"]
        return self

"""Training with a batch that changes on the way: hyper-parameters, state and EMA move together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ema_scaling import _check
from ema_scaling.batches import BatchSchedule
from ema_scaling.dialects import family_of
from ema_scaling.ema import ModelEMA
from ema_scaling.optim import read_group, rescale_state_, scaled_group, write_group
from ema_scaling.recipe import LR_RULES
from ema_scaling.sampler import SampleStream
from ema_scaling.scaling import Form


@dataclass(frozen=True)
class StepPlan:
    """The step to come: samples before it, its batch, kappa and learning rate of the first group.

    ``decay`` is what the EMA used at the step just made, 1.0 where it did not move.
    """

    samples: int
    batch: int
    kappa: float
    lr: float
    decay: float

    def __str__(self) -> str:
        return (
            f"at {self.samples} samples: batch {self.batch} (kappa {self.kappa:g}), "
            f"lr {self.lr:.4g}, last decay {self.decay:.6g}"
        )


class ProgressiveScaler:
    """Keeps an optimizer and an EMA at the batch that a schedule asks for.

    Call ``step()`` once after each ``optimizer.step()``; it also updates the EMA. The optimizer
    comes as it was tuned at ``base_batch``. Where kappa jumps, second moments and step counts
    are moved with it.

    Args:
        optimizer: SGD, Adam, AdamW or RMSprop of torch.
        batches: multiples of the base batch against samples.
        base_batch: the batch at kappa = 1.
        ema: the average to update, if there is one.
        lr_schedule: factor of the learning rates, as a function of samples.
        form: "linear", "power" or "exact", as in ``scale``.
        rule: the family whose rules hold, or "auto" for the optimizer's own.
        rescale_state: whether the optimizer's state follows a jump.

    Raises:
        ValueError: if a kappa of the schedule has no legal form, before anything is changed.

    Source:
        Progressive Scaling of Busbridge et al. 2023; the state's rescaling is derived here.

    Example:
        >>> weights = [torch.zeros(2, requires_grad=True)]
        >>> optimizer = torch.optim.SGD(weights, lr=0.1)
        >>> scaler = ProgressiveScaler(optimizer, BatchSchedule.parse("1@0,4@64"), base_batch=32)
        >>> optimizer.step(), optimizer.step()
        (None, None)
        >>> print(scaler.step()); print(scaler.step())
        at 32 samples: batch 32 (kappa 1), lr 0.1, last decay 1
        at 64 samples: batch 128 (kappa 4), lr 0.4, last decay 1
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        batches: BatchSchedule,
        *,
        base_batch: int,
        ema: ModelEMA | None = None,
        lr_schedule: Callable[[float], float] | None = None,
        form: Form = "linear",
        rule: str = "auto",
        rescale_state: bool = True,
    ) -> None:
        self.optimizer = optimizer
        self.batches = batches
        self.base_batch = _check.count("base_batch", base_batch)
        self.ema = ema
        self.lr_schedule = lr_schedule
        self.form: Form = form
        self.rescale_state = rescale_state
        self.family = family_of(optimizer) if rule == "auto" else rule
        _check.one_of("rule", self.family, LR_RULES)
        self.samples = 0
        self._base = [read_group(group) for group in optimizer.param_groups]
        for kappa, start in zip(batches.kappas, batches.starts, strict=True):
            batches.batch(start, base_batch=self.base_batch)
            for group in self._base:
                scaled_group(group, self.family, kappa, form)
        self._kappa = 1.0
        self._apply()

    @property
    def batch(self) -> int:
        """Samples of the step to come."""
        return self.batches.batch(self.samples, base_batch=self.base_batch)

    @property
    def kappa(self) -> float:
        """The multiple of the base batch that holds now."""
        return self._kappa

    def step(self, *, samples: int | None = None) -> StepPlan:
        """Count the step just made, update the EMA, and set everything for the next.

        Args:
            samples: samples of that step, where it was not ``batch``.

        Returns:
            The step to come.
        """
        size = self.batch if samples is None else _check.count("samples", samples)
        decay = 1.0 if self.ema is None else self.ema.update(samples=size)
        self.samples += size
        self._apply()
        lr = float(self.optimizer.param_groups[0]["lr"])
        return StepPlan(self.samples, self.batch, self._kappa, lr, decay)

    def _apply(self) -> None:
        kappa = self.batches.kappa(self.samples)
        factor = 1.0 if self.lr_schedule is None else float(self.lr_schedule(self.samples))
        for group, base in zip(self.optimizer.param_groups, self._base, strict=True):
            moved = {**base, "lr": base["lr"] * factor}
            write_group(group, scaled_group(moved, self.family, kappa, self.form))
        if kappa != self._kappa and self.rescale_state:
            rescale_state_(self.optimizer, kappa / self._kappa)
        self._kappa = kappa

    def stream(
        self, dataset_size: int, *, total: int, seed: int = 0, rank: int = 0, world_size: int = 1
    ) -> SampleStream:
        """The indices of the steps from here to ``total`` samples, in batches of the right size."""
        return SampleStream(
            dataset_size, self.batches, base_batch=self.base_batch, total=total, seed=seed,
            start=self.samples, rank=rank, world_size=world_size,
        )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """The clock and the base values, as plain JSON; optimizer and EMA save themselves."""
        return {
            "samples": self.samples,
            "kappa": self._kappa,
            "base_batch": self.base_batch,
            "base": [dict(group) for group in self._base],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; load the optimizer's first.

        Args:
            state: what ``state_dict`` returned.

        Raises:
            ValueError: if it was saved at another base batch or for other groups.
        """
        if state["base_batch"] != self.base_batch:
            raise ValueError(
                f"the state was saved at base batch {state['base_batch']}, this scaler has "
                f"{self.base_batch}: build it with base_batch={state['base_batch']}"
            )
        if len(state["base"]) != len(self._base):
            raise ValueError(
                f"the state has {len(state['base'])} groups, the optimizer {len(self._base)}"
            )
        self._base = [dict(group) for group in state["base"]]
        self.samples, self._kappa = state["samples"], state["kappa"]
        self._apply()

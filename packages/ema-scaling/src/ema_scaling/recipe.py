"""A training recipe as plain numbers, and the one question: what is it at another batch size?"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from ema_scaling import _check
from ema_scaling.rules import DecayConvention, LrRule

Family = Literal["sgd", "lars", "rmsprop", "adam", "adamw"]
LR_RULES: dict[str, LrRule] = {
    "sgd": "linear", "lars": "linear", "rmsprop": "sqrt", "adam": "sqrt", "adamw": "sqrt",
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """What a batch size touches. Lengths of training are given in one unit; the rest follows.

    Args:
        batch: samples of one optimizer step over all devices and accumulation steps.
        optimizer: "sgd" (with or without momentum), "lars", "rmsprop", "adam" or "adamw".
        lr: peak learning rate.
        min_lr: the rate at which its schedule ends, if that is a number of its own.
        momentum: heavy-ball momentum of SGD; kept at every batch.
        betas: decays of Adam's moments, or ``(alpha,)`` of RMSProp.
        eps: epsilon of Adam or RMSProp.
        weight_decay: coefficient.
        weight_decay_end: the coefficient at the end, where it has a schedule.
        weight_decay_convention: "coupled", "lr-decoupled" or "decoupled" (``rules``).
        ema_decay: decay of the model EMA in one update.
        ema_decay_end: where the decay moves on half a cosine, its last value.
        ema_half_life: instead of a decay, the half-life in samples.
        ema_update_every: optimizer steps between two updates of the EMA.
        bn_momentum: torch's BatchNorm momentum, the weight of the NEW statistics.
        other_decays: further averages by name (a centre, a codebook), old value's weight.
        dataset_size: samples of one epoch.
        epochs, steps, samples: the length of the run, one of the three.
        warmup_epochs, warmup_steps, warmup_samples: the length of the warm-up, at most one.
        intervals: further lengths in steps by name (evaluation, checkpoints, loss scale).
        devices: workers that share the batch, for what depends on one device's part.
        max_lr: the largest stable learning rate, if you know it.
        grad_clip: threshold of the gradient's norm, if it is clipped.
        batchnorm: whether the model has batch normalisation.
        contrastive: whether the loss contrasts samples of a batch with each other.
        extra: whatever else belongs to the recipe; passed through untouched.

    Raises:
        ValueError: if a number is out of range or two fields say the same thing.

    Example:
        >>> recipe = Recipe(batch=256, optimizer="sgd", lr=0.1, ema_decay=0.9999)
        >>> recipe.optimizer
        'sgd'
    """

    batch: int
    optimizer: str
    lr: float
    min_lr: float | None = None
    momentum: float | None = None
    betas: tuple[float, ...] | None = None
    eps: float | None = None
    weight_decay: float = 0.0
    weight_decay_end: float | None = None
    weight_decay_convention: DecayConvention | None = None
    ema_decay: float | None = None
    ema_decay_end: float | None = None
    ema_half_life: float | None = None
    ema_update_every: int = 1
    bn_momentum: float | None = None
    other_decays: Mapping[str, float] = field(default_factory=dict)
    dataset_size: int | None = None
    epochs: float | None = None
    steps: int | None = None
    samples: int | None = None
    warmup_epochs: float | None = None
    warmup_steps: float | None = None
    warmup_samples: float | None = None
    intervals: Mapping[str, float] = field(default_factory=dict)
    devices: int | None = None
    max_lr: float | None = None
    grad_clip: float | None = None
    batchnorm: bool = False
    contrastive: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check.count("batch", self.batch)
        if not isinstance(self.optimizer, str):
            raise TypeError(f"optimizer must be a name, got {self.optimizer!r}")
        _check.positive("lr", self.lr)
        if self.betas is not None:
            object.__setattr__(self, "betas", tuple(self.betas))
        for name in ("min_lr", "eps", "weight_decay", "weight_decay_end", "warmup_epochs",
                     "warmup_steps", "warmup_samples"):  # fmt: skip
            self._each(_check.nonnegative, name)
        for name in ("momentum", "ema_decay", "ema_decay_end", "bn_momentum"):
            self._each(_check.fraction, name)
        for name in ("epochs", "ema_half_life", "max_lr", "grad_clip"):
            self._each(_check.positive, name)
        for name in ("dataset_size", "steps", "samples", "devices", "ema_update_every"):
            self._each(_check.count, name)
        for name, decay in self.other_decays.items():
            _check.fraction(f"other_decays.{name}", decay)
        for name, length in self.intervals.items():
            _check.nonnegative(f"intervals.{name}", length)
        self._at_most_one("epochs", "steps", "samples")
        self._at_most_one("warmup_epochs", "warmup_steps", "warmup_samples")
        self._at_most_one("ema_decay", "ema_half_life")
        if (total := self.total_samples) is not None and total < self.batch:
            raise ValueError(f"the run has {total} samples, fewer than one batch of {self.batch}")

    def _each(self, check: Any, name: str) -> None:
        if (value := getattr(self, name)) is not None:
            check(name, value)

    def _at_most_one(self, *names: str) -> None:
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} say the same thing: give one of them")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Recipe":
        """The recipe of a table of fields; keys that are no field go to ``extra``.

        Args:
            values: fields by name, as a TOML or JSON file holds them.

        Returns:
            The recipe.

        Raises:
            ValueError: if a required field is missing or a value is out of range.

        Example:
            >>> Recipe.from_dict({"batch": 32, "optimizer": "sgd", "lr": 1, "seed": 3}).extra
            {'seed': 3}
        """
        known = {f.name for f in fields(cls)} - {"extra"}
        missing = [name for name in ("batch", "optimizer", "lr") if name not in values]
        if missing:
            raise ValueError(f"the recipe lacks {', '.join(missing)}; it has {sorted(values)}")
        extra = {k: v for k, v in values.items() if k not in known and k != "extra"}
        given = {k: v for k, v in values.items() if k in known}
        for name in ("other_decays", "intervals", "extra"):
            if not isinstance(values.get(name, {}), Mapping):
                raise TypeError(f"{name} must be a table, got {values[name]!r}")
        if "betas" in given and not isinstance(given["betas"], (list, tuple)):
            raise TypeError(f"betas must be a list of numbers, got {given['betas']!r}")
        return cls(**given, extra={**values.get("extra", {}), **extra})

    def to_dict(self) -> dict[str, Any]:
        """The fields that are set, as plain values; ``from_dict`` reads them back."""
        out: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name == "extra" or value is None or value is False or value == {}:
                continue
            if isinstance(value, Mapping):
                value = dict(value)
            out[f.name] = list(value) if isinstance(value, tuple) else value
        return {**out, **self.extra}

    @property
    def lr_rule(self) -> LrRule:
        """The rule of the optimizer's family.

        Raises:
            ValueError: for an optimizer whose rule is not known: it is never guessed.
        """
        if self.optimizer not in LR_RULES:
            raise ValueError(
                f"no batch-size rule is known for optimizer {self.optimizer!r} (known: "
                f"{', '.join(LR_RULES)}); name the family whose rule you want with rule="
            )
        return LR_RULES[self.optimizer]

    @property
    def total_samples(self) -> int | None:
        """Samples of the run that whole batches cover, or None where its length is not known."""
        if self.steps is not None:
            return self.steps * self.batch
        drawn = self.samples
        if drawn is None and self.epochs is not None and self.dataset_size is not None:
            drawn = math.floor(self.epochs * self.dataset_size + 1e-9)
        if drawn is None or drawn < self.batch:
            return drawn
        return drawn // self.batch * self.batch

    def with_(self, **changes: Any) -> "Recipe":
        """The same recipe with other values in some fields."""
        return replace(self, **changes)

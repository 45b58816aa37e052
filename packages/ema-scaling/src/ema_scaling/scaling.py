"""Scale a whole recipe to another batch, with a report of what could not be preserved."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ema_scaling import _check, rules
from ema_scaling.moving import Cosine
from ema_scaling.recipe import LR_RULES, Recipe
from ema_scaling.rules import DecayConvention

Form = Literal["linear", "power", "exact"]
CONVENTIONS: dict[str, DecayConvention] = {
    "sgd": "coupled", "lars": "coupled", "rmsprop": "coupled", "adam": "coupled",
    "adamw": "lr-decoupled",
}  # fmt: skip
FIRST_ORDER = 0.3  # kappa * (1 - decay) above which second-order terms are no longer small


@dataclass(frozen=True)
class Caution:
    """One thing that the scaling did not preserve, or assumed: a code and a sentence."""

    code: str
    text: str

    def __str__(self) -> str:
        return f"[{self.code}] {self.text}"


@dataclass(frozen=True)
class Change:
    """One field before and after, and the rule that moved it."""

    field: str
    before: Any
    after: Any
    rule: str


@dataclass(frozen=True)
class ScaledRecipe:
    """A recipe at its new batch: ``recipe``, what changed, and what to be careful about."""

    base: Recipe
    recipe: Recipe
    kappa: float
    changes: tuple[Change, ...]
    cautions: tuple[Caution, ...]
    total_steps: int | None
    missing_samples: int

    def diff(self) -> dict[str, tuple[Any, Any]]:
        """The fields that changed: name to (before, after)."""
        return {c.field: (c.before, c.after) for c in self.changes if c.before != c.after}

    def __str__(self) -> str:
        lines = [f"batch {self.base.batch} -> {self.recipe.batch} (kappa = {self.kappa:g})"]
        width = max((len(c.field) for c in self.changes), default=0)
        lines += [
            f"  {c.field:<{width}}  {_show(c.before)} -> {_show(c.after)}   {c.rule}"
            for c in self.changes
        ]
        if self.total_steps is not None:
            lines.append(f"  {self.total_steps} steps; {self.missing_samples} samples left out")
        return "\n".join([*lines, *(f"  caution {caution}" for caution in self.cautions)])

    def to_table(self) -> dict[str, list[str]]:
        """Columns ``field``, ``before``, ``after`` and ``rule``, one row a change."""
        return {
            "field": [c.field for c in self.changes],
            "before": [_show(c.before) for c in self.changes],
            "after": [_show(c.after) for c in self.changes],
            "rule": [c.rule for c in self.changes],
        }

    def to_markdown(self) -> str:
        """The table of changes and the cautions, for a report."""
        head = f"Batch {self.base.batch} to {self.recipe.batch}, kappa = {self.kappa:g}.\n\n"
        table = ["| field | before | after | rule |", "|---|---|---|---|"]
        table += [
            f"| {c.field} | {_show(c.before)} | {_show(c.after)} | {c.rule} |" for c in self.changes
        ]
        length: list[str] = []
        if self.total_steps is not None:
            length = ["", f"{self.total_steps} steps; {self.missing_samples} samples left out."]
        cautions = [f"- `{c.code}`: {c.text}" for c in self.cautions]
        return head + "\n".join([*table, *length, *([""] if cautions else []), *cautions]) + "\n"


def _show(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "(" + ", ".join(map(_show, value)) + ")"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def scale(
    recipe: Recipe,
    *,
    to_batch: int | None = None,
    kappa: float | None = None,
    form: Form = "linear",
    rule: str = "auto",
    devices: int | None = None,
) -> ScaledRecipe:
    """The recipe at another batch size, and a report.

    Args:
        recipe: the recipe as it was tuned.
        to_batch: the new batch, in samples; or give ``kappa``.
        kappa: new batch over old batch; the product with the old batch must be whole.
        form: "linear" is as published: linear betas, weight decay to first order. "power" takes
            ``beta ** kappa``; "exact" also matches the weight decay's contraction exactly.
        rule: the family whose rules hold, or "auto" for the recipe's own optimizer.
        devices: workers that share the new batch; the recipe's own number by default.

    Returns:
        The scaled recipe with its changes and cautions.

    Raises:
        ValueError: if neither or both of ``to_batch`` and ``kappa`` are given, the optimizer's
            rule is unknown, the linear form is illegal, or the run is shorter than a batch.

    Source:
        Busbridge et al. 2023 (EMA); Goyal et al. 2017 and Malladi et al. 2022 (optimizers).

    Example:
        >>> base = Recipe(batch=256, optimizer="sgd", lr=0.1, ema_decay=0.9999)
        >>> print(scale(base, to_batch=4096))
        batch 256 -> 4096 (kappa = 16)
          lr         0.1 -> 1.6   linear
          ema_decay  0.9999 -> 0.9984011994   decay ** kappa
    """
    batch = _new_batch(recipe, to_batch, kappa)
    kappa = batch / recipe.batch
    _check.one_of("form", form, ("linear", "power", "exact"))
    family = recipe if rule == "auto" else recipe.with_(optimizer=rule)
    family.lr_rule  # noqa: B018  an unknown optimizer is refused here
    devices = devices or recipe.devices
    changes = (
        *_changes(recipe, family.optimizer, kappa, form),
        *_averages(recipe, kappa, kappa * (recipe.devices or 1) / (devices or 1)),
        *_lengths(recipe, batch),
    )
    new: dict[str, Any] = {"batch": batch, "devices": devices}
    for change in changes:
        table, _, key = change.field.partition(".")
        if key:
            new[table] = {**new.get(table, getattr(recipe, table)), key: change.after}
        else:
            new[table] = change.after
    base_samples = recipe.total_samples
    if base_samples is not None and base_samples < batch:
        raise ValueError(f"the run has {base_samples} samples, fewer than one batch of {batch}")
    steps = None if base_samples is None else base_samples // batch
    missing = 0 if base_samples is None or steps is None else base_samples - steps * batch
    scaled = recipe.with_(**new)
    cautions = tuple(_cautions(recipe, scaled, family.optimizer, kappa, steps, missing))
    return ScaledRecipe(recipe, scaled, kappa, changes, cautions, steps, missing)


def _new_batch(recipe: Recipe, to_batch: int | None, kappa: float | None) -> int:
    if (to_batch is None) == (kappa is None):
        raise ValueError(f"give either to_batch or kappa, got {to_batch} and {kappa}")
    if to_batch is not None:
        return _check.count("to_batch", to_batch)
    batch = recipe.batch * _check.positive("kappa", kappa)
    if round(batch) < 1 or abs(batch - round(batch)) > 1e-9 * batch:
        raise ValueError(f"kappa = {kappa} makes the batch {batch:g}; it must be a whole number")
    return round(batch)


def _changes(recipe: Recipe, family: str, kappa: float, form: Form) -> Iterator[Change]:
    lr_rule = LR_RULES[family]
    for name in ("lr", "min_lr"):
        if (lr := getattr(recipe, name)) is not None:
            yield Change(name, lr, rules.scale_lr(lr, kappa, rule=lr_rule), lr_rule)
    if recipe.betas is not None:
        beta_form = "linear" if form == "linear" else "power"
        betas = rules.scale_betas(recipe.betas, kappa, form=beta_form)
        text = "1 - kappa (1 - beta)" if beta_form == "linear" else "beta ** kappa"
        yield Change("betas", recipe.betas, betas, text)
    if recipe.eps is not None and lr_rule == "sqrt":
        yield Change("eps", recipe.eps, rules.scale_eps(recipe.eps, kappa), "1 / sqrt(kappa)")
    convention = recipe.weight_decay_convention or CONVENTIONS[family]
    for name in ("weight_decay", "weight_decay_end"):
        if decay := getattr(recipe, name):
            after = rules.scale_weight_decay(
                decay, kappa, convention=convention, lr_rule=lr_rule, lr=recipe.lr,
                exact=form == "exact",
            )  # fmt: skip
            yield Change(name, decay, after, f"{convention}, equal shrinkage per sample")


def _averages(recipe: Recipe, kappa: float, per_device: float) -> Iterator[Change]:
    for name in ("ema_decay", "ema_decay_end"):
        if (decay := getattr(recipe, name)) is not None:
            yield Change(name, decay, rules.scale_decay(decay, kappa), "decay ** kappa")
    if (half_life := recipe.ema_half_life) is not None:
        yield Change("ema_half_life", half_life, half_life, "in samples: kept")
    if (weight := recipe.bn_momentum) is not None and per_device != 1:
        text = "1 - (1 - momentum) ** (batch per device, new over old)"
        yield Change("bn_momentum", weight, rules.scale_weight(weight, per_device), text)
    for name, decay in recipe.other_decays.items():
        after = rules.scale_decay(decay, kappa)
        yield Change(f"other_decays.{name}", decay, after, "decay ** kappa")


def _lengths(recipe: Recipe, batch: int) -> Iterator[Change]:
    kappa = batch / recipe.batch
    if recipe.steps is not None:
        after = max(1, recipe.steps * recipe.batch // batch)
        yield Change("steps", recipe.steps, after, "samples")
    if recipe.warmup_steps is not None:
        yield Change("warmup_steps", recipe.warmup_steps, recipe.warmup_steps / kappa, "samples")
    for name, length in recipe.intervals.items():
        after = length if length == 0 else max(1, round(length / kappa))
        yield Change(f"intervals.{name}", length, after, "samples")


def _cautions(
    base: Recipe, new: Recipe, family: str, kappa: float, steps: int | None, missing: int
) -> Iterator[Caution]:
    yield from _of_the_average(base, kappa)
    if new.max_lr is not None and new.lr > new.max_lr:
        yield Caution("stability", f"lr {new.lr:g} is above the largest stable one, {new.max_lr:g}")
    if LR_RULES[family] == "sqrt":
        for i, beta in enumerate(base.betas or ()):
            if kappa * (1 - beta) > FIRST_ORDER:
                text = f"kappa * (1 - beta{i + 1}) = {kappa * (1 - beta):.2g} is not small"
                yield Caution("first-order", f"{text}: the rule is a first-order statement")
        if base.eps is None:
            yield Caution("eps", "eps is not given: divide the one in use by sqrt(kappa)")
    if family == "adamw" and base.weight_decay and base.weight_decay_convention is None:
        yield Caution(
            "wd-convention", "AdamW's weight decay was read as torch's, multiplied by lr; "
            "set weight_decay_convention if yours is decoupled from lr",
        )  # fmt: skip
    per_device = (base.batch / (base.devices or 1), new.batch / (new.devices or 1))
    if (base.batchnorm or base.bn_momentum is not None) and per_device[0] != per_device[1]:
        text = f"BatchNorm sees {per_device[1]:g} samples a device instead of {per_device[0]:g}"
        yield Caution("batchnorm", text + ": the gradient itself depends on it")
    if base.contrastive:
        yield Caution("contrastive", "the objective contains the batch: it changes with kappa")
    if base.grad_clip is not None:
        text = "the clipping threshold is kept: the noise in the norm shrinks by sqrt(kappa)"
        yield Caution("grad-clip", text)
    if base.dataset_size is not None and new.batch > 0.1 * base.dataset_size:
        yield Caution("full-batch", "a batch above a tenth of the data has less noise than 1/batch")
    if steps is not None and missing:
        share = missing / (steps * new.batch + missing)
        yield Caution("rounding", f"{missing} samples ({share:.2%}) of the run fill no batch")
    for name in new.extra:
        if any(word in name.lower() for word in ("step", "iter", "interval", "patience")):
            yield Caution("unscaled", f"{name} may count steps; it was left as it is")


def _of_the_average(base: Recipe, kappa: float) -> Iterator[Caution]:
    decay = base.ema_decay
    if decay is None:
        return
    if (size := kappa * (1 - decay)) > FIRST_ORDER:
        text = f"kappa * (1 - decay) = {size:.2g} is not small: read the average corrected"
        yield Caution("first-order", text)
    if base.ema_decay_end is not None and (total := base.total_samples) is not None:
        update = base.batch * base.ema_update_every
        starts = (decay, base.ema_decay_end)
        ends = tuple(rules.scale_decay(d, kappa) for d in starts)
        if min(*starts, *ends) < 0.01 or min(starts) == 1:
            return
        truth = Cosine(*starts, total=total, batch=update, form="continuous")
        naive = Cosine(*ends, total=total, batch=round(kappa * update), form="continuous")
        off = naive.log_decay(0, total) / truth.log_decay(0, total) - 1
        yield Caution(
            "cosine", f"a cosine from decay ** kappa forgets about {off:+.1%} over the run; "
            f"ema_scaling.Cosine on the clock of samples with batch={update} is exact",
        )  # fmt: skip

"""The same training at another batch size: recipes, and the model's EMA, on the clock of samples.

Names are resolved when they are first used, so rules and recipes never import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ema_scaling.batches import BatchSchedule, Stage
    from ema_scaling.diagnose import MatchReport, compare, load_runs
    from ema_scaling.dialects import from_optimizer
    from ema_scaling.ema import Lag, ModelEMA
    from ema_scaling.moving import Cosine, Warmup
    from ema_scaling.optim import scale_optimizer_
    from ema_scaling.posthoc import PostHocEMA, Synthesis, solve_weights, synthesize
    from ema_scaling.profiles import gamma_to_sigma_rel, mean_time, sigma_rel_to_gamma
    from ema_scaling.progressive import ProgressiveScaler, StepPlan
    from ema_scaling.recipe import Recipe
    from ema_scaling.record import Recorder
    from ema_scaling.rules import (
        decay_from_half_life,
        frozen_gradient_error,
        half_life,
        half_life_from_weight,
        readout_gain,
        scale_betas,
        scale_decay,
        scale_eps,
        scale_lr,
        scale_weight,
        scale_weight_decay,
        weight_from_half_life,
    )
    from ema_scaling.sampler import SampleStream
    from ema_scaling.scaling import Caution, Change, ScaledRecipe, scale
    from ema_scaling.schedule import Constant, HalfLife, PowerFunction, Schedule
    from ema_scaling.toy import Moments, Parabola, RuleGap, rule_gap

_HOMES = {
    "rules": (
        "scale_decay", "scale_weight", "half_life", "decay_from_half_life",
        "half_life_from_weight", "weight_from_half_life", "scale_lr", "scale_betas", "scale_eps",
        "scale_weight_decay", "readout_gain", "frozen_gradient_error",
    ),
    "schedule": ("Schedule", "Constant", "HalfLife", "PowerFunction"),
    "moving": ("Cosine", "Warmup"),
    "recipe": ("Recipe",),
    "scaling": ("scale", "ScaledRecipe", "Change", "Caution"),
    "dialects": ("from_optimizer",),
    "ema": ("ModelEMA", "Lag"),
    "optim": ("scale_optimizer_",),
    "batches": ("BatchSchedule", "Stage"),
    "progressive": ("ProgressiveScaler", "StepPlan"),
    "sampler": ("SampleStream",),
    "profiles": ("gamma_to_sigma_rel", "sigma_rel_to_gamma", "mean_time"),
    "posthoc": ("PostHocEMA", "Synthesis", "solve_weights", "synthesize"),
    "diagnose": ("compare", "MatchReport", "load_runs"),
    "record": ("Recorder",),
    "toy": ("Parabola", "Moments", "RuleGap", "rule_gap"),
}  # fmt: skip
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "BatchSchedule",
    "Caution",
    "Change",
    "Constant",
    "Cosine",
    "HalfLife",
    "Lag",
    "MatchReport",
    "ModelEMA",
    "Moments",
    "Parabola",
    "PostHocEMA",
    "PowerFunction",
    "ProgressiveScaler",
    "Recipe",
    "Recorder",
    "RuleGap",
    "SampleStream",
    "ScaledRecipe",
    "Schedule",
    "Stage",
    "StepPlan",
    "Synthesis",
    "Warmup",
    "compare",
    "decay_from_half_life",
    "from_optimizer",
    "frozen_gradient_error",
    "gamma_to_sigma_rel",
    "half_life",
    "half_life_from_weight",
    "load_runs",
    "mean_time",
    "readout_gain",
    "rule_gap",
    "scale",
    "scale_betas",
    "scale_decay",
    "scale_eps",
    "scale_lr",
    "scale_optimizer_",
    "scale_weight",
    "scale_weight_decay",
    "sigma_rel_to_gamma",
    "solve_weights",
    "synthesize",
    "weight_from_half_life",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

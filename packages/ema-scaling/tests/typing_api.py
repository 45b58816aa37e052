"""The public API as a user's type checker sees it; read by basedpyright, never run."""

from typing import assert_type

import ema_scaling
import torch
from ema_scaling import (
    BatchSchedule,
    Constant,
    Cosine,
    MatchReport,
    ModelEMA,
    Parabola,
    ProgressiveScaler,
    Recipe,
    RuleGap,
    ScaledRecipe,
    compare,
    rule_gap,
    scale,
    scale_betas,
    scale_decay,
)
from torch import Tensor, nn

model = nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
ema = ModelEMA(model, Cosine(0.99, total=1000, batch=8), batch=8, buffers={"*": "average"})

assert_type(scale_decay(0.9, 2), float)
assert_type(scale_betas((0.9, 0.99), 2, form="power"), tuple[float, ...])
assert_type(ema.update(), float)
assert_type(ema.weights(), dict[str, Tensor])
assert_type(ema_scaling.half_life(0.9), float)
with ema.swap() as swapped:
    assert_type(swapped, nn.Module)

recipe = Recipe(batch=8, optimizer="sgd", lr=0.1)
assert_type(scale(recipe, kappa=2), ScaledRecipe)
assert_type(scale(recipe, kappa=2).recipe, Recipe)
assert_type(Constant(0.9).decay(0, 8), float)
assert_type(rule_gap(Parabola(), 8, lr=0.1, decay=0.9, samples=64), RuleGap)
runs = [[{"samples": 0, "loss": 1.0}], [{"samples": 0, "loss": 1.1}]]
assert_type(compare(runs, runs, "loss"), MatchReport)

scaler = ProgressiveScaler(optimizer, BatchSchedule.parse("1@0"), base_batch=8, ema=ema)
assert_type(scaler.step().lr, float)
assert_type([batch for batch in scaler.stream(10, total=100)], list[list[int]])

"""The public API as a user's type checker sees it."""

from typing import assert_type

import torch
from randaug_study import (
    AugMix,
    Collate,
    MixPlan,
    Numbered,
    Plan,
    RandAugment,
    Space,
    TrivialAugmentWide,
    UniformAugment,
    from_config,
    uniforms,
)

aug = RandAugment(2, 9, fill=(1.0, 2.0, 3.0), backend="torch")
plan = aug.sample(8, (0, 1), ids=torch.arange(8), magnitude=3.5)
assert_type(plan, Plan)
assert_type(plan[torch.tensor([0])], Plan)
assert_type(Plan.cat([plan, plan]), Plan)
assert_type(Plan.from_json(plan.to_json()), Plan)
assert_type(plan.names, list[list[str]])
assert_type(plan.space, Space)
assert_type(AugMix(severity=2).sample(3, key=0), MixPlan)
assert_type(from_config("augmix-m3"), RandAugment | AugMix)
assert_type(uniforms(0, torch.arange(3), 1), torch.Tensor)
assert_type(TrivialAugmentWide(31, "bilinear").num_ops, int)
assert_type(UniformAugment(dtype="float").dtype, str)
collate = Collate(aug, seed=0)
collate.set_epoch(1)
assert_type(Numbered([1, 2])[0][0], int)

"""Fast random augmentation on tensors, and an honest study of it."""

from randaug_study.augment import RandAugment, TrivialAugmentWide, UniformAugment
from randaug_study.augmix import AugMix, MixPlan
from randaug_study.config import from_config
from randaug_study.keys import uniforms
from randaug_study.loading import Collate, Numbered
from randaug_study.plan import Plan
from randaug_study.space import Space

__all__ = [
    "AugMix",
    "Collate",
    "MixPlan",
    "Numbered",
    "Plan",
    "RandAugment",
    "Space",
    "TrivialAugmentWide",
    "UniformAugment",
    "from_config",
    "uniforms",
]

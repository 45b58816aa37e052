"""Fast random augmentation on tensors, and an honest study of it."""

from randaug_study.augment import RandAugment
from randaug_study.keys import uniforms
from randaug_study.plan import Plan
from randaug_study.space import Space

__all__ = ["Plan", "RandAugment", "Space", "uniforms"]

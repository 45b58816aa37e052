"""AurA: dampen the neurons that tell the source from the target."""

from typing import ClassVar

import numpy as np

from act_steer.coupling import Sorted
from act_steer.moments import Coupled
from act_steer.transport import AffineTransport, Support

Array = np.ndarray


class AurA(AffineTransport):
    """``T(z) = (1 - gini) z``, ``gini = 2 (auroc - 1/2)`` where it is positive, else the identity.

    ``auroc`` is how well a neuron alone detects the source: the chance that a source activation is
    larger than one of the target, ties counting half. The source is what is to go away. The paper
    pools activations by their maximum (``pool="max"``) and knows no strength or support.

    Source:
        Suau et al. 2024 (Whispering Experts), section 3.
    """

    method: ClassVar[str] = "aura"
    _limited: ClassVar[bool] = False
    default_support: ClassVar[Support] = "all"
    default_pool: ClassVar[str] = "max"

    @staticmethod
    def _scales(sums: Coupled, source: Sorted, target: Sorted) -> Array:
        return np.minimum(1.0, 2.0 - 2.0 * auroc(source, target))

    @staticmethod
    def _shifts(sums: Coupled, scale: Array) -> Array:
        return np.zeros_like(scale)


def auroc(source: Sorted, target: Sorted) -> Array:
    """Chance that a source value exceeds a target value, ties counting half, ``(D,)``.

    Both samples are ranked together, each target value once before and once after the source values
    that equal it; half the sum of the two shares of target below is the share with ties halved.
    """
    ones = np.full((1, 1), 1.0)
    wa = ones / source.count if source.weights is None else source.weights
    wb = ones / target.count if target.weights is None else target.weights
    dim, m = len(source.values), target.count
    wa = np.broadcast_to(wa, (dim, source.count))
    wb = np.broadcast_to(wb, (dim, m))
    total = np.zeros(dim)
    for first, second, strict in ((target, source, False), (source, target, True)):
        both = np.concatenate([first.values, second.values], axis=1)
        order = both.argsort(axis=1, kind="stable")  # of equals, those of `first` come first
        weights = np.concatenate([wa, wb] if strict else [wb, wa], axis=1)
        weights = np.take_along_axis(weights, order, 1)
        is_target = (order >= source.count) if strict else (order < m)
        below = np.cumsum(np.where(is_target, weights, 0.0), axis=1)
        total += np.where(is_target, 0.0, weights * below).sum(1)
    return total / 2

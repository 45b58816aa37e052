"""What a code saves, against the image and against float features; accuracy over bits."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lv_ssl._checks import check_at_least, check_positive


@dataclass(frozen=True)
class CompressionReport:
    """How much smaller a code is than what it stands for.

    Args:
        image_shape: of the input, such as ``(224, 224, 3)``.
        bits_per_channel: of each value of the image.
        code_bits: of a code.
        feature_dim: float32 features that the code takes the place of; None takes ``code_bits``,
            one bit a feature.

    Raises:
        ValueError: on a number that is not positive.

    Source:
        Arithmetic: 224 x 224 x 3 x 8 bits over 2,048 are 588, the abstract's number.

    Example:
        >>> print(CompressionReport((224, 224, 3), 8, 2048))
        256 bytes a code: 588 times less than the image, 32 times less than 2048 float32 features
    """

    image_shape: tuple[int, ...]
    bits_per_channel: int
    code_bits: int
    feature_dim: int | None = None

    def __post_init__(self) -> None:
        if not self.image_shape:
            raise ValueError("image_shape must name at least one size, got ()")
        for n in self.image_shape:
            check_positive("image_shape", n)
        check_positive("bits_per_channel", self.bits_per_channel)
        check_positive("code_bits", self.code_bits)
        check_positive("feature_dim", self.features)

    @property
    def features(self) -> int:
        """Float features that a code stands for."""
        return self.code_bits if self.feature_dim is None else self.feature_dim

    @property
    def ratio(self) -> float:
        """Bits of the image over bits of the code."""
        return math.prod(self.image_shape) * self.bits_per_channel / self.code_bits

    @property
    def feature_ratio(self) -> float:
        """Bits of the float32 features over bits of the code."""
        return 32 * self.features / self.code_bits

    def __str__(self) -> str:
        return (
            f"{math.ceil(self.code_bits / 8)} bytes a code: {self.ratio:g} times less than the "
            f"image, {self.feature_ratio:g} times less than {self.features} float32 features"
        )

    def to_table(self) -> dict[str, list[str] | list[float]]:
        """Columns ``against`` and ``ratio``."""
        names = ["image", f"{self.features} float32 features"]
        return {"against": names, "ratio": [self.ratio, self.feature_ratio]}


@dataclass(frozen=True)
class RateAccuracy:
    """Accuracy over bits kept; ``coded_bits`` is what an ideal coder of single units would need."""

    units: list[int]
    bits: list[float]
    coded_bits: list[float]
    accuracy: list[float]

    def falls(self) -> float:
        """The largest fall of accuracy from fewer bits to more; 0 for a monotone curve."""
        best, worst = -math.inf, 0.0
        for accuracy in self.accuracy:
            worst, best = max(worst, best - accuracy), max(best, accuracy)
        return worst

    def __str__(self) -> str:
        rows = zip(self.bits, self.coded_bits, self.accuracy, strict=True)
        lines = [f"{b:8.0f}{c:12.1f}{100 * a:12.2f}" for b, c, a in rows]
        return "\n".join([f"{'bits':>8}{'ideal bits':>12}{'accuracy %':>12}", *lines])

    def to_table(self) -> dict[str, list[int] | list[float]]:
        """Columns ``units``, ``bits``, ``coded_bits`` and ``accuracy``."""
        table: dict[str, list[int] | list[float]] = {"units": self.units, "bits": self.bits}
        return table | {"coded_bits": self.coded_bits, "accuracy": self.accuracy}


def rate_accuracy_curve(
    bits: np.ndarray,
    rate: np.ndarray,
    accuracy: Callable[[np.ndarray], float],
    *,
    keep: Sequence[int] | None = None,
) -> RateAccuracy:
    """Return the accuracy that is left when only the units of highest rate are kept.

    Args:
        bits: ``(N, U)`` of zeros and ones: training codes, which set the ideal code length.
        rate: ``(U,)``, each unit's mean KL on training inputs.
        accuracy: called with the kept units' numbers ``(n,)``, the highest rate first; returns a
            share, from a probe on those units alone.
        keep: how many units, ascending; None takes powers of two from 8, and all.

    Returns:
        `RateAccuracy`.

    Raises:
        ValueError: if the shapes do not fit, or ``keep`` is not ascending in 1 to U.

    Source:
        Pruning by rate: our choice. Ideal bits are the sum of the kept units' entropies.

    Example:
        >>> bits = np.array([[0, 1], [1, 1]])
        >>> curve = rate_accuracy_curve(bits, np.ones(2), lambda kept: len(kept) / 2, keep=[1, 2])
        >>> curve.coded_bits
        [1.0, 1.0]
    """
    if bits.ndim != 2 or rate.shape != bits.shape[1:]:
        raise ValueError(f"bits must be (N, U) and rate (U,), got {bits.shape} and {rate.shape}")
    units = bits.shape[1]
    chosen = list(keep) if keep is not None else [*_powers(units), units]
    ascending = all(a < b for a, b in pairwise(chosen))
    if not chosen or not ascending or not 1 <= chosen[0] <= chosen[-1] <= units:
        raise ValueError(f"keep must be ascending in 1 to {units}, got {chosen}")
    order = np.argsort(-rate, kind="stable")
    entropy = bit_entropy(bits.mean(0))[order].cumsum()
    return RateAccuracy(
        units=chosen,
        bits=[float(n) for n in chosen],
        coded_bits=[float(entropy[n - 1]) for n in chosen],
        accuracy=[accuracy(order[:n]) for n in chosen],
    )


def bit_entropy(share: np.ndarray) -> np.ndarray:
    """Return the entropy, in bits, of a bit that is one with each probability.

    Args:
        share: probabilities, any shape.

    Returns:
        Values in [0, 1] of the same shape.

    Source:
        ``-p log2 p - (1 - p) log2 (1 - p)``.

    Example:
        >>> bit_entropy(np.array([0.0, 0.5, 1.0]))
        array([0., 1., 0.])
    """
    check_at_least("share", float(np.min(share, initial=0)), 0)
    p = np.stack([share, 1 - np.asarray(share)])
    return -(p * np.log2(np.where(p > 0, p, 1))).sum(0) + 0.0


def _powers(units: int) -> list[int]:
    return [2**n for n in range(3, units.bit_length()) if 2**n < units]

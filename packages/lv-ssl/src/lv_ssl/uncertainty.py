"""Is an uncertainty any good? Against errors, against confidence, against known distortions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray


def ranks(x: Array) -> Array:
    """Return the ranks of numbers, from 1; equal numbers share the mean of theirs.

    Args:
        x: ``(N,)``.

    Returns:
        ``(N,)`` float64.

    Source:
        Mid-ranks.

    Example:
        >>> ranks(np.array([3.0, 1.0, 3.0]))
        array([2.5, 1. , 2.5])
    """
    _, place, count = np.unique(x, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2)[place.reshape(-1)]


def spearman(x: Array, y: Array) -> float:
    """Return the rank correlation of two columns, or NaN where one is constant.

    Args:
        x: ``(N,)``, N at least 2.
        y: ``(N,)``.

    Returns:
        A number in [-1, 1].

    Raises:
        ValueError: on other shapes.

    Source:
        Pearson's correlation of mid-ranks.

    Example:
        >>> spearman(np.array([1, 2, 3]), np.array([2, 4, 9]))
        1.0
    """
    x, y = np.asarray(x), np.asarray(y)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 2:
        raise ValueError(f"x and y must be two (N,) columns, N >= 2, got {x.shape} and {y.shape}")
    a, b = ranks(x) - (len(x) + 1) / 2, ranks(y) - (len(y) + 1) / 2
    spread = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / spread if spread else float("nan")


def r_auroc(uncertainty: Array, wrong: Array) -> float:
    """Return how well the uncertainty tells wrong answers from right ones.

    Args:
        uncertainty: ``(N,)``, higher for the less certain.
        wrong: ``(N,)`` of booleans: is the nearest neighbour of another class, say.

    Returns:
        The chance that a wrong answer has the higher uncertainty: 1/2 if they are unrelated.

    Raises:
        ValueError: if the shapes differ, a value is not finite, or all are right or all wrong.

    Source:
        The area under the ROC curve of Kirchhof et al. 2023, by ranks; a tie counts half.

    Example:
        >>> r_auroc(np.array([0.1, 0.4, 0.3]), np.array([False, True, False]))
        1.0
    """
    u, bad = _pair(uncertainty, wrong)
    n = int(bad.sum())
    if n in (0, len(bad)):
        raise ValueError(f"wrong must have answers of both kinds, got {n} of {len(bad)} wrong")
    return float(ranks(u)[bad].sum() - n * (n + 1) / 2) / (n * (len(bad) - n))


@dataclass(frozen=True, eq=False)
class RiskCurve:
    """The share of wrong answers among the most certain, over how many are answered."""

    coverage: Array
    risk: Array

    @property
    def area(self) -> float:
        """Mean risk over all coverages: lower is better."""
        return float(self.risk.mean())

    def __str__(self) -> str:
        tenth = max(0, round(len(self.risk) / 10) - 1)
        return (
            f"wrong: {100 * self.risk[tenth]:.1f} % of the most certain tenth, "
            f"{100 * self.risk[-1]:.1f} % of all; area {self.area:.4f}"
        )

    def to_table(self) -> dict[str, Array]:
        """Columns ``coverage`` and ``risk``."""
        return {"coverage": self.coverage, "risk": self.risk}


def risk_curve(uncertainty: Array, wrong: Array) -> RiskCurve:
    """Return the risk when only the most certain inputs are answered.

    Args:
        uncertainty: ``(N,)``, higher for the less certain.
        wrong: ``(N,)`` of booleans.

    Returns:
        `RiskCurve` of N points; inputs of equal uncertainty share their wrong answers evenly.

    Raises:
        ValueError: if the shapes differ or a value is not finite.

    Source:
        Selective prediction: risk over coverage.

    Example:
        >>> risk_curve(np.array([3.0, 1.0, 2.0]), np.array([True, False, False])).risk.round(2)
        array([0.  , 0.  , 0.33])
    """
    u, bad = _pair(uncertainty, wrong)
    _, place, count = np.unique(u, return_inverse=True, return_counts=True)
    share = np.bincount(place.reshape(-1), bad) / count  # of each group of equals
    answered = np.arange(1, len(u) + 1)
    return RiskCurve(answered / len(u), np.repeat(share, count).cumsum() / answered)


def _pair(uncertainty: Array, wrong: Array) -> tuple[Array, Array]:
    u, bad = np.asarray(uncertainty), np.asarray(wrong)
    if u.shape != bad.shape or u.ndim != 1 or not len(u):
        raise ValueError(f"uncertainty and wrong must both be (N,), got {u.shape} and {bad.shape}")
    if not np.isfinite(u).all():
        raise ValueError(f"uncertainty must be finite, got {int((~np.isfinite(u)).sum())} others")
    return u, bad.astype(bool)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Confidence against accuracy, by bins of confidence that hold something."""

    confidence: Array
    accuracy: Array
    count: Array

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean gap, weighted by what is in a bin."""
        gap = np.abs(self.confidence - self.accuracy)
        return float((gap * self.count).sum() / self.count.sum())

    def __str__(self) -> str:
        return f"expected calibration error {self.ece:.4f} in {len(self.count)} bins"

    def to_table(self) -> dict[str, Array]:
        """Columns ``confidence``, ``accuracy`` and ``count``."""
        return {"confidence": self.confidence, "accuracy": self.accuracy, "count": self.count}


def calibration(probabilities: Array, labels: Array, *, bins: int = 15) -> Calibration:
    """Return how a classifier's confidence and its accuracy compare.

    Args:
        probabilities: ``(N, C)``, rows that add up to 1.
        labels: ``(N,)`` integers.
        bins: of equal width over [0, 1].

    Returns:
        `Calibration`.

    Raises:
        ValueError: if the shapes do not fit, rows do not add up to 1, or ``bins < 1``.

    Source:
        Guo et al. 2017, the expected calibration error of the likeliest class.

    Example:
        >>> calibration(np.array([[0.75, 0.25]] * 4), np.array([0, 0, 0, 1])).ece
        0.0
    """
    p, y = np.asarray(probabilities), np.asarray(labels)
    if p.ndim != 2 or y.shape != p.shape[:1] or not len(y) or bins < 1:
        got = f"{p.shape}, {y.shape} and {bins}"
        raise ValueError(f"need probabilities (N, C), labels (N,) and bins >= 1, got {got}")
    if not np.allclose(p.sum(1), 1, atol=1e-3):
        raise ValueError("probabilities must have rows that add up to 1: use a softmax")
    best = p.max(1)
    place = np.minimum((best * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    held = count > 0
    confidence, right = (np.bincount(place, x, bins)[held] for x in (best, p.argmax(1) == y))
    return Calibration(confidence / count[held], right / count[held], count[held])


@dataclass(frozen=True, eq=False)
class Monotonicity:
    """Does an uncertainty rise with a distortion?

    Attributes:
        levels: ``(L,)`` of the distortion, ascending.
        mean: ``(L,)`` mean uncertainty at each.
        correlation: Spearman's, of levels and means.
        control: the same with each input's levels shuffled, the mean of many shuffles.
        rises: the share of inputs whose uncertainty is higher at the last level than at the first.
    """

    levels: Array
    mean: Array
    correlation: float
    control: float
    rises: float

    def __str__(self) -> str:
        return (
            f"rank correlation of uncertainty and level {self.correlation:+.2f} (shuffled "
            f"{self.control:+.2f}); higher at the last level for {100 * self.rises:.0f} % of inputs"
        )

    def to_table(self) -> dict[str, Array]:
        """Columns ``level`` and ``uncertainty``."""
        return {"level": self.levels, "uncertainty": self.mean}


def monotonicity(
    levels: Sequence[float], scores: Array, *, shuffles: int = 200, seed: int = 0
) -> Monotonicity:
    """Return how an uncertainty goes with a distortion's levels.

    Args:
        levels: ascending, at least 3.
        scores: ``(L, N)`` uncertainties of the same N inputs at each level.
        shuffles: of the control.
        seed: of the shuffles.

    Returns:
        `Monotonicity`.

    Raises:
        ValueError: if the shapes do not fit, or levels are not ascending.

    Source:
        Kirchhof et al. 2023 crop and compare; level averages and the control are our choice.

    Example:
        >>> rising = np.arange(4.0)[:, None] + np.zeros((4, 50))
        >>> monotonicity([0, 1, 2, 3], rising).correlation
        1.0
    """
    at, u = np.asarray(levels, float), np.asarray(scores)
    if at.ndim != 1 or len(at) < 3 or not (np.diff(at) > 0).all():
        raise ValueError(f"levels must be at least 3 ascending numbers, got {list(levels)}")
    if u.ndim != 2 or len(u) != len(at) or not u.shape[1] or not np.isfinite(u).all():
        raise ValueError(f"scores must be finite ({len(at)}, N), got {u.shape}")
    g = np.random.default_rng(seed)
    mean = u.mean(1)
    control = [spearman(at, g.permuted(u, axis=0).mean(1)) for _ in range(shuffles)]
    return Monotonicity(
        at,
        mean,
        spearman(at, mean),
        float(np.nan_to_num(control).mean()),
        float((u[-1] > u[0]).mean()),
    )


def scores_over(
    levels: Sequence[float],
    images: Tensor,
    distort: Callable[[Tensor, float], Tensor],
    uncertainty: Callable[[Tensor], Tensor],
) -> Array:
    """Return the uncertainty of the same images at each level of a distortion.

    Args:
        levels: of the distortion.
        images: ``(N, C, H, W)``.
        distort: ``distort(images, level) -> images``.
        uncertainty: ``uncertainty(images) -> (N,)``.

    Returns:
        ``(L, N)`` for `monotonicity`.

    Source:
        Ours.

    Example:
        >>> images = torch.ones(2, 1, 4, 4)
        >>> scores_over([1, 2], images, lambda x, level: level * x, lambda x: x.mean((1, 2, 3)))
        array([[1., 1.],
               [2., 2.]], dtype=float32)
    """
    with torch.no_grad():
        each = [uncertainty(distort(images, level)) for level in levels]
    return torch.stack(each).cpu().numpy()

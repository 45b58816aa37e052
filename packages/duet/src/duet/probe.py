"""What frozen features hold: the classes by a linear classifier, the pose by ridge regression."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class ProbeScore:
    """How many of the test rows a linear classifier got right.

    Attributes:
        right: how many.
        n: of how many.
    """

    right: int
    n: int

    @property
    def accuracy(self) -> float:
        """The share, from 0 to 1."""
        return self.right / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % interval by Wilson: the test rows as the sample, nothing of the seeds."""
        z = 1.959964
        centre = self.right + z * z / 2
        half = z * math.sqrt(self.right * (self.n - self.right) / self.n + z * z / 4)
        return (centre - half) / (self.n + z * z), (centre + half) / (self.n + z * z)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.accuracy:.1f} % ({100 * low:.1f} to {100 * high:.1f}, n={self.n})"

    def to_table(self) -> dict[str, list[float]]:
        """One row."""
        low, high = self.interval
        return {"accuracy": [self.accuracy], "low": [low], "high": [high], "n": [self.n]}


def linear_probe(
    train: Tensor,
    labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    *,
    l2: float = 1e-4,
    steps: int = 200,
) -> ProbeScore:
    """Train a linear classifier on frozen features and count what it gets right.

    Args:
        train: ``(N, F)`` floating features; they are standardised.
        labels: ``(N,)`` int64 from 0.
        test: ``(M, F)``.
        test_labels: ``(M,)`` int64.
        l2: weight of half the squared weights, in the mean loss.
        steps: of L-BFGS, at most.

    Returns:
        The score on the test rows.

    Raises:
        ValueError: if the shapes do not fit.

    Source:
        Section 5's linear probe on the whole matrix; L-BFGS is our choice: nothing is drawn.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [4.0], [5.0]])
        >>> y = torch.tensor([0, 0, 1, 1])
        >>> linear_probe(x, y, x, y).accuracy
        1.0
    """
    _check_rows("train", train, labels)
    _check_rows("test", test, test_labels)
    if train.shape[1] != test.shape[1]:
        raise ValueError(f"test must have train's {train.shape[1]} columns, got {test.shape[1]}")
    if int(labels.min()) < 0 or labels.dtype != torch.int64:
        raise ValueError(f"labels must be int64 from 0, got {labels.dtype} from {labels.min()}")
    weight, bias, shift, scale = fit_classifier(train, labels, l2=l2, steps=steps)
    answers = ((_wide(test) - shift) / scale @ weight + bias).argmax(1)
    return ProbeScore(int((answers == test_labels).sum()), len(test))


def fit_classifier(
    x: Tensor, labels: Tensor, *, l2: float, steps: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights ``(F, K)``, bias ``(K,)``, and the mean and deviation of the rows, ``(F,)`` each."""
    x = _wide(x)
    shift, scale = _moments(x)
    z = (x - shift) / scale
    classes = int(labels.max()) + 1
    weight = z.new_zeros(z.shape[1], classes, requires_grad=True)
    bias = z.new_zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=steps, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(z @ weight + bias, labels) + l2 / 2 * weight.square().sum()
        value.backward()
        return value.detach()

    with torch.enable_grad():
        optimizer.step(loss)
    return weight.detach(), bias.detach(), shift, scale


@dataclass(frozen=True)
class PoseErrors:
    """How far a parameter that was read lies from the true one.

    Attributes:
        errors: one a row, in degrees where the parameter is cyclic, else in units of its range.
        cyclic: which of the two.
    """

    errors: tuple[float, ...]
    cyclic: bool

    @property
    def mean(self) -> float:
        """Over the rows."""
        return float(torch.tensor(self.errors, dtype=torch.float64).mean())

    @property
    def median(self) -> float:
        """Over the rows; between the middle two where their number is even."""
        return float(torch.tensor(self.errors, dtype=torch.float64).quantile(0.5))

    @property
    def chance(self) -> float:
        """Mean error of a reading that knows nothing: 90 degrees, or a quarter of the range."""
        return 90.0 if self.cyclic else 0.25

    def __str__(self) -> str:
        unit, digits = ("degrees", 1) if self.cyclic else ("of the range", 3)
        return (
            f"median {self.median:.{digits}f}, mean {self.mean:.{digits}f} {unit} "
            f"(chance {self.chance:g}, n={len(self.errors)})"
        )

    def to_table(self) -> dict[str, list[float]]:
        """One row."""
        return {"median": [self.median], "mean": [self.mean], "chance": [self.chance]}


def pose_errors(found: Tensor, true: Tensor, *, cyclic: bool) -> PoseErrors:
    """Return how far parameters that were read lie from the true ones.

    Args:
        found: ``(N,)``, in turns or in units of the range.
        true: ``(N,)``.
        cyclic: whether 0 and 1 are the same place; errors are then in degrees, 0 to 180.

    Returns:
        Every row's error.

    Raises:
        ValueError: if the shapes differ.

    Source:
        Section 4's distance on the circle; the unit is our choice.

    Example:
        >>> print(pose_errors(torch.tensor([0.95]), torch.tensor([0.05]), cyclic=True))
        median 36.0, mean 36.0 degrees (chance 90, n=1)
    """
    if found.shape != true.shape or found.ndim != 1 or not len(found):
        got = f"{tuple(found.shape)} and {tuple(true.shape)}"
        raise ValueError(f"found and true must be (N,) of one shape, N >= 1, got {got}")
    apart = (found.double() - true.double()).abs()
    if cyclic:
        apart = apart.remainder(1)
        apart = 360 * torch.minimum(apart, 1 - apart)
    return PoseErrors(tuple(apart.tolist()), cyclic)


def pose_probe(
    train: Tensor, p: Tensor, test: Tensor, true: Tensor, *, cyclic: bool, ridge: float = 1e-3
) -> PoseErrors:
    """Read a parameter off features by ridge regression, on its sine and cosine where it is cyclic.

    For representations without an axis of their own for it.

    Args:
        train: ``(N, F)`` floating features; they are standardised.
        p: ``(N,)``, their parameters, in turns or in units of the range.
        test: ``(M, F)``.
        true: ``(M,)``.
        cyclic: whether 0 and 1 are the same place.
        ridge: penalty, as a share of N.

    Returns:
        The errors on the test rows.

    Raises:
        ValueError: if the shapes do not fit.

    Source:
        Ridge regression in closed form, in float64; our yardstick.

    Example:
        >>> p = torch.linspace(0, 1, 50)
        >>> x = torch.stack([torch.cos(math.tau * p), torch.sin(math.tau * p)], 1)
        >>> pose_probe(x, p, x, p, cyclic=True, ridge=0.0).mean < 0.1
        True
    """
    _check_rows("train", train, p)
    _check_rows("test", test, true)
    if train.shape[1] != test.shape[1]:
        raise ValueError(f"test must have train's {train.shape[1]} columns, got {test.shape[1]}")
    x, y = train.detach().double(), _targets(p.double(), cyclic)  # (N, F), (N, 1 or 2)
    shift, scale = _moments(x)
    z = (x - shift) / scale
    penalty = ridge * len(z) * torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    weight = torch.linalg.lstsq(z.T @ z + penalty, z.T @ (y - y.mean(0))).solution
    found = (test.double() - shift) / scale @ weight + y.mean(0)
    if cyclic:
        return pose_errors(torch.atan2(found[:, 1], found[:, 0]) / math.tau, true, cyclic=True)
    return pose_errors(found[:, 0], true, cyclic=False)


def _targets(p: Tensor, cyclic: bool) -> Tensor:
    if not cyclic:
        return p[:, None]
    return torch.stack([torch.cos(math.tau * p), torch.sin(math.tau * p)], dim=1)


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the columns; 1 where a column is constant."""
    mean, std = x.mean(0), x.std(0, correction=0)
    return mean, torch.where(std > 1e-6 * (1 + mean.abs()), std, torch.ones_like(std))


def _wide(x: Tensor) -> Tensor:
    x = x.detach()
    return x if x.dtype == torch.float64 else x.float()


def _check_rows(name: str, x: Tensor, other: Tensor) -> None:
    if x.ndim != 2 or not len(x) or other.shape != x.shape[:1]:
        got = f"{tuple(x.shape)} and {tuple(other.shape)}"
        raise ValueError(f"{name} must be (N, F) with N >= 1 and one value a row, got {got}")

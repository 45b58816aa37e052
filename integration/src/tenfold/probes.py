"""How much of the labels features hold: a linear probe, a neighbour probe, and their intervals."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Accuracy:
    """A share of right answers, with its 95 % Wilson interval.

    Attributes:
        right: how many were right.
        n: of how many.
    """

    right: int
    n: int

    @property
    def value(self) -> float:
        """The share, from 0 to 1."""
        return self.right / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end, from 0 to 1: the test images as the sample, nothing of the seeds."""
        z = 1.959964
        centre = (self.right + z * z / 2) / (self.n + z * z)
        spread = self.right * (self.n - self.right) / self.n + z * z / 4
        half = z * math.sqrt(spread) / (self.n + z * z)
        return centre - half, centre + half

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.value:.1f} % ({100 * low:.1f} to {100 * high:.1f}, n={self.n})"


def probe_answers(train: Tensor, labels: Tensor, test: Tensor, *, ridge: float = 1e-3) -> Tensor:
    """Return the classes ``(M,)`` by ridge regression on one-hot labels, in closed form.

    Args:
        train: ``(N, F)`` features.
        labels: ``(N,)`` int64.
        test: ``(M, F)`` features.
        ridge: penalty on standardised features, as a share of N.
    """
    x, mean, std = _standardise(train.double())
    targets = F.one_hot(labels).double()
    centred = targets - targets.mean(0)
    gram = x.T @ x + ridge * len(x) * torch.eye(x.shape[1], dtype=torch.float64, device=x.device)
    weights = torch.linalg.solve(gram, x.T @ centred)  # (F, classes)
    scores = ((test.double() - mean) / std) @ weights + targets.mean(0)
    return scores.argmax(1)


def linear_probe(
    train: Tensor, labels: Tensor, test: Tensor, test_labels: Tensor, *, ridge: float = 1e-3
) -> Accuracy:
    """Return the test accuracy of `probe_answers`.

    Args:
        train: ``(N, F)`` features.
        labels: ``(N,)`` int64.
        test: ``(M, F)`` features.
        test_labels: ``(M,)`` int64.
        ridge: penalty on standardised features, as a share of N.
    """
    return _accuracy(probe_answers(train, labels, test, ridge=ridge), test_labels)


def knn_probe(
    train: Tensor, labels: Tensor, test: Tensor, test_labels: Tensor, *, k: int = 20
) -> Accuracy:
    """Return the test accuracy of the majority of the k nearest training rows by cosine.

    Args:
        train: ``(N, F)`` features.
        labels: ``(N,)`` int64.
        test: ``(M, F)`` features.
        test_labels: ``(M,)`` int64.
        k: neighbours, at most N.

    Raises:
        ValueError: if k is not between 1 and N.
    """
    if not 1 <= k <= len(train):
        raise ValueError(f"k must be between 1 and {len(train)}, got {k}")
    cosines = F.normalize(test.float(), dim=1) @ F.normalize(train.float(), dim=1).T  # (M, N)
    neighbours = labels[cosines.topk(k, dim=1).indices]  # (M, k)
    votes = F.one_hot(neighbours, int(labels.max()) + 1).sum(1)
    return _accuracy(votes.argmax(1), test_labels)


def _standardise(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    mean, std = x.mean(0), x.std(0, correction=0)
    std = torch.where(std > 1e-9 * (1 + mean.abs()), std, torch.ones_like(std))  # dead features
    return (x - mean) / std, mean, std


def _accuracy(answers: Tensor, labels: Tensor) -> Accuracy:
    return Accuracy(int((answers == labels).sum()), len(labels))

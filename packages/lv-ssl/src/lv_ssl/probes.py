"""What latents are good for: linear classes, neighbours, and regression on known factors."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lv_ssl._checks import check_at_least, check_rows


@dataclass(frozen=True, eq=False)
class LinearProbe:
    """A multinomial logistic regression on standardised features.

    Attributes:
        weight: ``(D, C)``.
        bias: ``(C,)``.
        shift: ``(D,)``, the training features' mean.
        scale: ``(D,)``, their standard deviation; 1 where a feature is constant.
    """

    weight: Tensor
    bias: Tensor
    shift: Tensor
    scale: Tensor

    def log_probs(self, x: Tensor) -> Tensor:
        """``(..., D)`` features to ``(..., C)`` log probabilities."""
        return torch.log_softmax((x - self.shift) / self.scale @ self.weight + self.bias, -1)

    def accuracy(self, x: Tensor, labels: Tensor) -> float:
        """The share of ``(N, D)`` rows whose likeliest class is their label."""
        return float((self.log_probs(x).argmax(-1) == labels).double().mean())

    def marginal(self, samples: Tensor) -> Tensor:
        """``(S, N, D)`` samples of a posterior to ``(N, C)`` probabilities, averaged over S."""
        return self.log_probs(samples).exp().mean(0)


def linear_probe(
    x: Tensor, labels: Tensor, *, classes: int | None = None, l2: float = 1e-4, steps: int = 200
) -> LinearProbe:
    """Return a linear classifier of frozen features.

    Args:
        x: ``(N, D)`` floating features.
        labels: ``(N,)`` int64 from 0.
        classes: how many; None takes the highest label and one.
        l2: weight of half the squared weights, in the mean loss.
        steps: of LBFGS, at most.

    Returns:
        `LinearProbe`, in float32 or the features' float64.

    Raises:
        ValueError: if the shapes do not fit or a label is out of range.
        TypeError: on features that are not floating.

    Source:
        Logistic regression by LBFGS with a line search; nothing is drawn.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
        >>> linear_probe(x, torch.tensor([0, 0, 1, 1])).accuracy(x, torch.tensor([0, 0, 1, 1]))
        1.0
    """
    check_rows("x", x)
    _check_labels(x, labels)
    check_at_least("l2", l2, 0)
    c = int(labels.max()) + 1 if classes is None else classes
    if int(labels.min()) < 0 or int(labels.max()) >= c:
        raise ValueError(f"labels must be in 0 to {c - 1}, got {labels.min()} to {labels.max()}")
    x = x.detach().to(torch.float64 if x.dtype == torch.float64 else torch.float32)
    shift, spread = x.mean(0), x.std(0, correction=0)
    scale = torch.where(spread > 1e-6, spread, torch.ones_like(spread))
    z = (x - shift) / scale
    weight = torch.zeros(x.shape[1], c, dtype=x.dtype, device=x.device, requires_grad=True)
    bias = torch.zeros(c, dtype=x.dtype, device=x.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=steps, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(z @ weight + bias, labels) + l2 / 2 * weight.square().sum()
        value.backward()
        return value.detach()

    with torch.enable_grad():
        optimizer.step(loss)
    return LinearProbe(weight.detach(), bias.detach(), shift, scale)


def cosine_neighbours(
    queries: Tensor, features: Tensor, k: int, *, leave_out_self: bool = False
) -> Tensor:
    """Return the k nearest rows by cosine, for each query.

    Args:
        queries: ``(Q, D)`` floating.
        features: ``(N, D)`` floating.
        k: neighbours of each.
        leave_out_self: row i of the queries is row i of the features, and none of its own.

    Returns:
        ``(Q, k)`` int64, the nearest first.

    Raises:
        ValueError: if the columns differ or k is out of range.

    Source:
        Exact, a block of 512 queries at a time.

    Example:
        >>> cosine_neighbours(torch.eye(2), torch.eye(2) + 0.1, 1)
        tensor([[0],
                [1]])
    """
    check_rows("queries", queries), check_rows("features", features)
    if queries.shape[1] != features.shape[1]:
        got = f"{queries.shape[1]} and {features.shape[1]}"
        raise ValueError(f"queries and features must have equal columns, got {got}")
    if not 1 <= k <= len(features) - leave_out_self:
        raise ValueError(f"k must be in 1 to {len(features) - leave_out_self}, got {k}")
    q, x = F.normalize(queries, dim=1), F.normalize(features, dim=1)
    out = []
    for start in range(0, len(q), 512):
        cosines = q[start : start + 512] @ x.T
        if leave_out_self:
            cosines.diagonal(start).fill_(-2)
        out.append(cosines.topk(k, dim=1).indices)
    return torch.cat(out)


def vote(neighbours: Tensor | np.ndarray, labels: Tensor) -> Tensor:
    """Return the commonest label among the neighbours, the lowest on a tie.

    Args:
        neighbours: ``(Q, k)`` rows of the labelled, from `cosine_neighbours` or `hamming_knn`.
        labels: ``(N,)`` int64 from 0.

    Returns:
        ``(Q,)`` int64.

    Source:
        k nearest neighbours, unweighted.

    Example:
        >>> vote(torch.tensor([[0, 1, 2]]), torch.tensor([4, 7, 7]))
        tensor([7])
    """
    rows = torch.as_tensor(neighbours, device=labels.device).long()
    return F.one_hot(labels[rows]).sum(1).argmax(1)


@dataclass(frozen=True, eq=False)
class RegressionProbe:
    """A ridge regression on standardised features, ``(N, D)`` to ``(N, T)`` targets."""

    weight: Tensor
    shift: Tensor
    scale: Tensor
    mean: Tensor

    def predict(self, x: Tensor) -> Tensor:
        """``(N, D)`` features to ``(N, T)`` targets."""
        return (x.double() - self.shift) / self.scale @ self.weight + self.mean

    def r2(self, x: Tensor, targets: Tensor) -> list[float]:
        """Each target's share of variance explained; below 0 where the mean does better."""
        y = targets.double().view(len(targets), -1)
        left = (y - self.predict(x)).square().sum(0)
        return (1 - left / (y - y.mean(0)).square().sum(0)).tolist()


def regression_probe(x: Tensor, targets: Tensor, *, penalty: float = 1.0) -> RegressionProbe:
    """Return a linear regression of known factors on frozen features.

    Args:
        x: ``(N, D)`` floating features.
        targets: ``(N,)`` or ``(N, T)`` floating.
        penalty: of the squared weights, on the sum of squares.

    Returns:
        `RegressionProbe`, in float64.

    Raises:
        ValueError: if the rows differ or the penalty is below 0.

    Source:
        Ridge regression in closed form.

    Example:
        >>> x = torch.arange(6.0)[:, None]
        >>> [round(r2, 3) for r2 in regression_probe(x, 3 * x, penalty=0.0).r2(x, 3 * x)]
        [1.0]
    """
    check_rows("x", x, at_least=2)
    if len(targets) != len(x) or targets.ndim not in (1, 2):
        got = f"{tuple(x.shape)} and {tuple(targets.shape)}"
        raise ValueError(f"x and targets must have equal rows, got {got}")
    check_at_least("penalty", penalty, 0)
    x, y = x.detach().double(), targets.detach().double().view(len(targets), -1)
    shift, spread = x.mean(0), x.std(0, correction=0)
    scale = torch.where(spread > 1e-6, spread, torch.ones_like(spread))
    z, mean = (x - shift) / scale, y.mean(0)
    gram = z.T @ z + penalty * torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    weight = torch.linalg.lstsq(gram, z.T @ (y - mean)).solution
    return RegressionProbe(weight, shift, scale, mean)


def _check_labels(x: Tensor, labels: Tensor) -> None:
    if labels.shape != x.shape[:1] or labels.dtype != torch.int64:
        got = f"{tuple(labels.shape)} of {labels.dtype}"
        raise ValueError(f"labels must be ({len(x)},) of int64, got {got}")

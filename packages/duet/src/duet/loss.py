"""Content by a pair objective, pose by the divergence of group marginals from their targets."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from duet._checks import at_least_float32, check_floating
from duet.factors import Factor
from duet.layer import DuetOutput, check_factors
from duet.objective import nt_xent

LOWEST = -700.0  # of a log-probability: its exponential is 0 in float32, and no NaN anywhere
Objective = Callable[[Tensor, Tensor], Tensor]


def js_divergence(logits: Tensor, target: Tensor) -> Tensor:
    """Jensen-Shannon divergence of ``softmax(logits)`` from ``target``, in nats.

    Finite, with finite gradients, where either has exact zeros.

    Args:
        logits: ``(..., G)``; float16 and bfloat16 are widened.
        target: probabilities of the same shape.

    Returns:
        ``(...)``, between 0 and ln 2.

    Raises:
        TypeError: if ``logits`` or ``target`` is not floating.
        ValueError: if the shapes differ.

    Source:
        Suau et al. 2023; the reference gives NaN where a target underflows.

    Example:
        >>> js_divergence(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
        tensor([0.2158])
    """
    check_floating("logits", logits)
    check_floating("target", target)
    if logits.shape != target.shape or logits.ndim < 1:
        got = f"{tuple(logits.shape)} and {tuple(target.shape)}"
        raise ValueError(f"logits and target must have the same shape (..., G), got {got}")
    log_p = at_least_float32(logits).log_softmax(-1).clamp_min(LOWEST)
    p, t = log_p.exp(), at_least_float32(target)
    there = t > 0
    log_mean = torch.where(there, ((p + torch.where(there, t, 1.0)) / 2).log(), log_p - math.log(2))
    of_p = p * (log_p - log_mean)
    of_t = torch.xlogy(t, t) - t * log_mean
    return ((of_p + of_t).sum(-1) / 2).clamp_min(0)


def group_loss(
    logits: Tensor, p: Tensor, factor: Factor, *, reduction: str = "mean", check: bool = True
) -> Tensor:
    """How far group marginals are from the targets of the true parameters, in nats.

    Stands alone: any network with ``(B, G)`` logits can be trained with it.

    Args:
        logits: ``(B, G)``.
        p: true parameters in ``[0, 1]``, ``(B,)``.
        factor: whose targets.
        reduction: ``"mean"`` over the batch, or ``"none"``.
        check: refuse parameters out of range, which waits for a GPU.

    Returns:
        Scalar, or ``(B,)`` for ``"none"``.

    Raises:
        ValueError: if shapes do not fit, or a parameter is out of range.

    Source:
        Suau et al. 2023, the group term of the loss.

    Example:
        >>> from duet import rotation
        >>> p = torch.tensor([0.1, 0.6])
        >>> exact = rotation().target(p).log()
        >>> group_loss(exact, p, rotation()) < group_loss(exact.flip(0), p, rotation())
        tensor(True)
    """
    _check_pose(logits, p, factor)
    _check_reduction(reduction)
    divergence = js_divergence(logits, _target(p, factor, logits, check))
    return divergence.mean() if reduction == "mean" else divergence


def relative_group_loss(
    logits1: Tensor,
    logits2: Tensor,
    p1: Tensor,
    p2: Tensor,
    factor: Factor,
    *,
    candidates: int = 8,
    reduction: str = "mean",
    check: bool = True,
) -> Tensor:
    """The group loss where only the difference of the parameters is known.

    Where the data have no upright pose, an instance's own pose is a number that nobody knows: both
    parameters are true up to one common turn. The turn that fits best is taken, out of
    ``candidates`` a bin; so ``p1`` and ``p2`` may both be turned without changing the loss.

    Args:
        logits1: of the first view, ``(B, G)``.
        logits2: of the second view.
        p1: parameters of the first view, ``(B,)``, up to an unknown turn of each row.
        p2: parameters of the second view, up to the same turns.
        factor: cyclic.
        candidates: turns tried for each bin.
        reduction: ``"mean"`` over the batch, or ``"none"``.
        check: refuse parameters that are not finite, which waits for a GPU.

    Returns:
        The mean over both views, scalar or ``(B,)``, in nats.

    Raises:
        ValueError: if the factor is not cyclic, or shapes do not fit.

    Source:
        Ours; the paper assumes a pose that is absolute.

    Example:
        >>> from duet import rotation
        >>> turn, p1, p2 = rotation(), torch.tensor([0.1]), torch.tensor([0.3])
        >>> logits1, logits2 = turn.target(p1 + 0.5).log(), turn.target(p2 + 0.5).log()
        >>> relative_group_loss(logits1, logits2, p1, p2, turn) < 0.001
        tensor(True)
    """
    if not factor.cyclic:
        raise ValueError(
            f"relative targets need a cyclic factor: on a finite range no common turn exists; "
            f"{factor.name} is finite"
        )
    if candidates < 1:
        raise ValueError(f"candidates must be at least 1, got {candidates}")
    for logits, p in ((logits1, p1), (logits2, p2)):
        _check_pose(logits, p, factor)
    _check_reduction(reduction)
    n = candidates * factor.bins
    turns = torch.arange(n, dtype=p1.dtype, device=p1.device) / n
    apart = p2 - p1
    both = torch.stack([logits1, logits2])  # (2, B, G)
    with torch.no_grad():
        tried = torch.stack([turns.expand(len(p1), n), turns + apart.unsqueeze(1)])  # (2, B, n)
        target = _target(tried, factor, logits1, check)
        spread = both.unsqueeze(2).expand(target.shape)
        own = turns[js_divergence(spread, target).mean(0).argmin(1)]  # (B,)
        target = _target(torch.stack([own, own + apart]), factor, logits1, check)
    divergence = js_divergence(both, target).mean(0)  # (B,)
    return divergence.mean() if reduction == "mean" else divergence


def _target(p: Tensor, factor: Factor, logits: Tensor, check: bool) -> Tensor:
    """Targets on the device and in the precision of the logits."""
    return factor.target(p.to(logits.device), check=check).to(at_least_float32(logits).dtype)


def _check_pose(logits: Tensor, p: Tensor, factor: Factor) -> None:
    """Raise unless logits are ``(B, bins)`` and parameters ``(B,)``."""
    check_floating("p", p)
    if logits.ndim != 2 or logits.shape[1] != factor.bins or p.shape != logits.shape[:1]:
        raise ValueError(
            f"logits and p of {factor.name} must be (B, {factor.bins}) and (B,), "
            f"got {tuple(logits.shape)} and {tuple(p.shape)}"
        )


def _check_reduction(reduction: str) -> None:
    """Raise unless it is known."""
    if reduction not in ("mean", "none"):
        raise ValueError(f"reduction must be 'mean' or 'none', got {reduction!r}")


@dataclass(frozen=True)
class DuetLossOutput:
    """The loss and its parts, in nats.

    Args:
        loss: what to differentiate: ``content + sum of weights[name] * group[name]``.
        content: of the pair objective.
        group: mean divergence of each factor, not weighted.
        weights: lambda of each factor.
    """

    loss: Tensor
    content: Tensor
    group: dict[str, Tensor]
    weights: dict[str, float]

    def __str__(self) -> str:
        parts = [f"content {self.content.item():.3f}"]
        parts += [
            f"{name} {v.item():.4f} x {self.weights[name]:g}" for name, v in self.group.items()
        ]
        return f"loss {self.loss.item():.3f} nats ({', '.join(parts)})"

    def to_table(self) -> dict[str, list[str] | list[float]]:
        """Columns ``term``, ``nats`` (not weighted) and ``weight``."""
        return {
            "term": ["content", *self.group],
            "nats": [self.content.item(), *(value.item() for value in self.group.values())],
            "weight": [1.0, *(self.weights[name] for name in self.group)],
        }


class DuetLoss(nn.Module):
    """The loss of DUET: a pair objective on content, and targets for the group marginals.

    Args:
        factors: those of the `DuetMatrix`, in its order.
        objective: any callable of two ``(B, D)`` batches that returns the mean over the 2B rows.
        weights: lambda of the group terms: one for all factors, or one for each name. With
            weight 0 a factor is measured, but not trained. The default is for rotation; the
            paper's code says 1000, because its content term is twice this one.
        relative: names of the cyclic factors of which only the difference between both views is
            known, because the data have no upright pose; True is all factors.
        check: refuse parameters out of range, which waits for a GPU.

    Raises:
        ValueError: if a weight is missing, negative or of no factor, or a relative factor finite.

    Source:
        Suau et al. 2023, the loss of DUET.

    Example:
        >>> from duet import DuetMatrix, rotation
        >>> matrix = DuetMatrix(64, [rotation()])
        >>> a, b = matrix(torch.ones(4, 64)), matrix(torch.ones(4, 64))
        >>> p = {"rotation": torch.tensor([0.0, 0.2, 0.4, 0.6])}
        >>> print(DuetLoss(matrix.factors)(a, b, a.content, b.content, p, p))
        loss 107.830 nats (content 1.946, rotation 0.2118 x 500)
    """

    def __init__(
        self,
        factors: Sequence[Factor],
        objective: Objective = nt_xent,
        *,
        weights: float | Mapping[str, float] = 500.0,
        relative: bool | Sequence[str] = False,
        check: bool = True,
    ) -> None:
        super().__init__()
        self.factors, self.objective, self.check = check_factors(factors), objective, check
        names = [factor.name for factor in self.factors]
        if not isinstance(weights, Mapping):
            weights = dict.fromkeys(names, weights)
        if set(weights) != set(names):
            raise ValueError(f"weights must be for {names}, got {sorted(weights)}")
        for name, weight in weights.items():
            if not 0 <= weight < math.inf:
                raise ValueError(f"the weight of {name} must be 0 or more, got {weight}")
        self.weights = {name: float(weights[name]) for name in names}
        self.relative = frozenset(names if relative is True else relative or ())
        for factor in self.factors:
            if factor.name in self.relative and not factor.cyclic:
                raise ValueError(f"relative targets need a cyclic factor, {factor.name} is finite")
        if unknown := self.relative - set(names):
            raise ValueError(f"relative must be among {names}, got {sorted(unknown)}")

    def __call__(self, *args: Any, **kwargs: Any) -> DuetLossOutput:
        """As `forward`."""
        return super().__call__(*args, **kwargs)

    def forward(
        self,
        out1: DuetOutput,
        out2: DuetOutput,
        proj1: Tensor,
        proj2: Tensor,
        p1: Mapping[str, Tensor],
        p2: Mapping[str, Tensor],
    ) -> DuetLossOutput:
        """The loss of two views.

        Args:
            out1: of the first view, from the `DuetMatrix`.
            out2: of the second view.
            proj1: what the objective takes: the projected content, ``(B, D)``.
            proj2: of the second view.
            p1: recorded parameters of the first view by name, ``(B,)``, as `View.params`; others
                than the factors' are not looked at.
            p2: of the second view.

        Raises:
            ValueError: if a parameter is missing or out of range, or shapes do not fit.
        """
        content = self.objective(proj1, proj2)
        loss = content
        group: dict[str, Tensor] = {}
        for k, factor in enumerate(self.factors):
            weight = self.weights[factor.name]
            with torch.set_grad_enabled(torch.is_grad_enabled() and weight > 0):
                term = self._group(k, factor, out1, out2, p1, p2)
            group[factor.name] = term
            if weight > 0:
                loss = loss + weight * term
        return DuetLossOutput(loss, content, group, self.weights)

    def _group(
        self,
        k: int,
        factor: Factor,
        out1: DuetOutput,
        out2: DuetOutput,
        p1: Mapping[str, Tensor],
        p2: Mapping[str, Tensor],
    ) -> Tensor:
        """The term of one factor, the mean over both views."""
        for params in (p1, p2):
            if factor.name not in params:
                raise ValueError(f"the parameters lack {factor.name}, got {sorted(params)}")
        if max(len(out1.logits), len(out2.logits)) != len(self.factors):
            got = f"{len(out1.logits)} and {len(out2.logits)}"
            raise ValueError(f"outputs must have {len(self.factors)} factors, got {got}")
        a, b = out1.logits[k], out2.logits[k]
        pa, pb = p1[factor.name], p2[factor.name]
        if factor.name in self.relative:
            return relative_group_loss(a, b, pa, pb, factor, check=self.check)
        return group_loss(torch.cat([a, b]), torch.cat([pa, pb]), factor, check=self.check)

"""Selection rules: which of k augmented copies of an image a model is trained on.

Between random augmentation and the worst case: the worst of k (the adversary that the paper
calls optimal, over a finite pool), every single operation, a draw that prefers hard copies, a
quantile, a mixture, and, as the control of methods that multiply the batch, all k copies. The
pool, its scopes and options are `randaug_study.pool.Pool`'s.

Copy 0 is drawn with the caller's own key, copy j with the key extended by j. So a pool of one
is plain random augmentation bit for bit, and a pool of k holds every smaller pool.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from randaug_study.keys import Key, uniforms
from randaug_study.plan import Plan
from randaug_study.pool import Pool, Preprocess, Selected, apply_all, check_batch
from randaug_study.sampling import choice_key, copy_key, draw_plan, every_op
from randaug_study.scoring import Loss, Model


@dataclass(eq=False)
class WorstOfK(Pool):
    """The candidate of the highest loss, the first of equals: MaxUp's adversary.

    The gradient of a maximum is the gradient of the copy that attains it, so a training step on
    what this rule returns is a step of MaxUp (Gong et al. 2021) with m = k.

    Source:
        "Challenges of Adversarial Image Augmentations" (Blaas et al. 2021): the optimal
        adversary, over a finite pool, as the abstract leaves it; the pool is our choice.
    """

    def _pick(self, losses: Tensor, key: Key, ids: Tensor) -> Tensor:
        return losses.argmax(0)


@dataclass(eq=False)
class Exhaustive(Pool):
    """The worst of every single signed operation at one magnitude: the true optimum over them.

    The 14 operations give 23 variants, 9 signed ones twice and 5 unsigned once;
    ``num_ops=2`` takes all 529 ordered pairs. It draws nothing, so ``key`` has no effect. The
    copies are held at once: 23 (or 529) times the batch in uint8.

    Args:
        magnitude: bin of all graded operations; default the augmenter's. A call's own
            ``magnitude`` goes before it; whole numbers only.
        num_ops: operations in a row, 1 or 2.
    """

    k: int = field(default=0, init=False)
    magnitude: int | None = None
    num_ops: int = 1

    def __post_init__(self) -> None:
        self.k = len(every_op(self.aug, self.magnitude, self.num_ops).op)
        super().__post_init__()

    def _candidates(
        self,
        batch: int,
        key: Key,
        ids: Tensor | None,
        magnitude: float | None,
        num_ops: float | None,
    ) -> list[Plan]:
        if num_ops is not None and num_ops != self.num_ops:
            raise ValueError(f"Exhaustive was made for num_ops={self.num_ops}, got {num_ops}")
        magnitude = self.magnitude if magnitude is None else magnitude
        variants = every_op(self.aug, magnitude, self.num_ops)
        return [variants[torch.full((batch,), j)] for j in range(self.k)]

    def _pick(self, losses: Tensor, key: Key, ids: Tensor) -> Tensor:
        return losses.argmax(0)


@dataclass(eq=False)
class Boltzmann(Pool):
    """A draw with probability proportional to ``exp(beta * loss / scale)``.

    ``beta = 0`` is random, ``beta`` to infinity the worst of k, ``beta < 0`` prefers easy copies.
    Adding a constant to all losses of an image changes nothing. Draws by the Gumbel-max trick
    with keyed numbers.

    Args:
        beta: inverse temperature, in 1 / nat; an attribute, so that a schedule may set it.
        standardize: divide by the standard deviation of the image's k losses, so that ``beta``
            means the same while losses shrink; equal losses then give a uniform draw.
    """

    beta: float = 1.0
    standardize: bool = False

    def _pick(self, losses: Tensor, key: Key, ids: Tensor) -> Tensor:
        u = uniforms(choice_key(key), ids[None], torch.arange(len(losses))[:, None])  # (k, G)
        u = u.clamp(2.0**-54)  # log of 0 would be -inf
        gumbel = -torch.log(-torch.log(u))
        logits = boltzmann_logits(losses, self.beta, standardize=self.standardize)
        return (logits + gumbel.to(logits.device)).argmax(0)


@dataclass(eq=False)
class Quantile(Pool):
    """The candidate at quantile ``q`` of an image's losses: 1 the worst, 0 the easiest.

    Args:
        q: in [0, 1]; rank ``round(q * (k - 1))`` of the losses from low to high, so .5 of an
            odd pool is its median.
    """

    q: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.q <= 1:
            raise ValueError(f"q must lie in [0, 1], got {self.q}")

    def _pick(self, losses: Tensor, key: Key, ids: Tensor) -> Tensor:
        rank = round(self.q * (len(losses) - 1))
        return losses.argsort(dim=0, stable=True)[rank]


@dataclass(eq=False)
class Mixture(Pool):
    """With probability ``epsilon`` the worst of k, else the random copy: a draw an image.

    Args:
        epsilon: in [0, 1]; 0 is random bit for bit, 1 is `WorstOfK`.
    """

    epsilon: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.epsilon <= 1:
            raise ValueError(f"epsilon must lie in [0, 1], got {self.epsilon}")

    def _pick(self, losses: Tensor, key: Key, ids: Tensor) -> Tensor:
        adversarial = uniforms(choice_key(key), ids, 0) < self.epsilon  # (G,)
        return torch.where(adversarial.to(losses.device), losses.argmax(0), 0)


@dataclass(eq=False)
class MeanOfK:
    """All k copies, as one batch of ``k * B``: training on the mean of their losses.

    The fair control of AdvAA and of every method that sees an image k times in a step: without
    it, what the policy does and what the larger batch does cannot be told apart. It needs no
    losses, so it costs no forwards; training then costs k times as much.

    Example:
        >>> from randaug_study import RandAugment
        >>> x, y = torch.zeros(5, 3, 8, 8, dtype=torch.uint8), torch.arange(5)
        >>> MeanOfK(RandAugment(), k=4)(None, x, y, key=0).x.shape
        torch.Size([20, 3, 8, 8])
    """

    aug: Any
    k: int = 4
    chunk: int = 1024

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be at least 1 candidate, got {self.k}")

    @property
    def forwards(self) -> int:
        """Forwards an image that scoring costs: none."""
        return 0

    @property
    def augmentations(self) -> int:
        """Augmentations an image of the training batch."""
        return self.k

    def __call__(
        self,
        model: Model | None,
        x: Tensor,
        y: Tensor,
        *,
        key: Key,
        ids: Tensor | None = None,
        preprocess: Preprocess | None = None,
        loss: Loss | None = None,
        magnitude: float | None = None,
        num_ops: float | None = None,
    ) -> Selected:
        """All copies; ``model``, ``preprocess`` and ``loss`` are not used.

        Rows ``j * B`` to ``(j + 1) * B`` are copy j, the same as candidate j of a `WorstOfK`.
        """
        check_batch(x, y)
        plans = [
            draw_plan(
                self.aug, len(x), copy_key(key, j), ids=ids, magnitude=magnitude, num_ops=num_ops
            )
            for j in range(self.k)
        ]
        return Selected(
            x=apply_all(self.aug, x, plans, self.chunk).flatten(0, 1),
            y=y.repeat(self.k, *[1] * (y.ndim - 1)),
            losses=torch.zeros(0, self.k * len(x), device=x.device),
            chosen=torch.arange(self.k, device=x.device).repeat_interleave(len(x)),
            plan=Plan.cat(plans),
        )


@dataclass(eq=False)
class Random(MeanOfK):
    """Plain random augmentation, called as a rule is."""

    k: int = field(default=1, init=False)


def boltzmann_logits(losses: Tensor, beta: float, *, standardize: bool = False) -> Tensor:
    """Log-probabilities, up to a constant, of the candidates of each image.

    Args:
        losses: ``(k, G)``; ``+inf`` is drawn surely where ``beta > 0``, never where
            ``beta < 0`` (unless all are infinite), like any other where ``beta = 0``.
        beta: inverse temperature.
        standardize: divide by the standard deviation over the k finite or equal losses.

    Returns:
        ``(k, G)``, float64, highest 0.

    Raises:
        ValueError: if ``beta`` is not finite.

    Example:
        >>> boltzmann_logits(torch.tensor([[1.0], [3.0]]), 0.5).tolist()
        [[-1.0], [0.0]]
    """
    if not math.isfinite(beta):
        raise ValueError(f"beta must be finite, got {beta}; WorstOfK is its limit")
    wide = losses.double()
    best = wide.amax(0) if beta >= 0 else wide.amin(0)
    off = torch.where(wide == best, 0.0, wide - best)  # inf - inf is a tie, not NaN
    if standardize:
        spread = off.std(0, correction=0)
        off = off / torch.where(spread > 0, spread, 1.0)
    return off * beta if beta else torch.zeros_like(off)

"""The stochastic contrastive loss: a contrastive term on samples, and the posteriors' rate."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from lv_ssl._checks import at_least_float32, check_at_least, check_choice, check_positive
from lv_ssl.posteriors import Posterior

PairObjective = Callable[[Tensor, Tensor], Tensor]
"""``objective(z1, z2) -> scalar``; row i of each ``(B, D)`` is a view of the same instance."""

COLLAPSED_NATS = 1e-3  # KL of every unit below this, over a batch
COLLAPSED_BITS = 1.0, 0.1  # or the rate below one bit, and below a tenth of a bit a unit
COLLAPSED_SCALE = 1e-3  # mean standard deviation of normal latents
PATIENCE = 10  # batches in a row


class CollapseWarning(UserWarning):
    """The posteriors say nothing of their inputs any more, or have lost all their noise."""


def row_log_probs(z1: Tensor, z2: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Return the log probability that each row gives its partner among all other rows.

    Args:
        z1: ``(B, D)``, any scale.
        z2: ``(B, D)``; row i is another view of row i of ``z1``.
        temperature: divisor of the cosines, positive.

    Returns:
        ``(2B,)`` nats, the rows of ``z1`` first; float32 or the inputs' float64.

    Raises:
        ValueError: if the shapes differ, there are fewer than 2 pairs, or ``temperature <= 0``.

    Source:
        Chen et al. 2020, equation 1, with the sign turned.

    Example:
        >>> row_log_probs(torch.eye(2), torch.eye(2), temperature=1.0)
        tensor([-0.5514, -0.5514, -0.5514, -0.5514])
    """
    if z1.shape != z2.shape or z1.ndim != 2 or len(z1) < 2:
        got = f"{tuple(z1.shape)} and {tuple(z2.shape)}"
        raise ValueError(f"z1 and z2 must be two (B, D) batches with B >= 2, got {got}")
    check_positive("temperature", temperature)
    z = F.normalize(at_least_float32(torch.cat([z1, z2])), dim=1)  # (2B, D)
    logits = (z @ z.T / temperature).fill_diagonal_(-torch.inf)  # no row is its own candidate
    positive = torch.arange(len(z), device=z.device).roll(len(z1))
    return -F.cross_entropy(logits, positive, reduction="none")


def nt_xent(z1: Tensor, z2: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Return the contrastive loss that is used when no objective is passed in.

    Args:
        z1: ``(B, D)``, any scale.
        z2: ``(B, D)``; row i is another view of row i of ``z1``.
        temperature: divisor of the cosines, positive.

    Returns:
        Scalar, nats: the mean over the 2B rows.

    Raises:
        ValueError: if the shapes differ, there are fewer than 2 pairs, or ``temperature <= 0``.

    Source:
        Chen et al. 2020, equation 1.

    Example:
        >>> nt_xent(torch.eye(2), torch.eye(2), temperature=1.0)
        tensor(0.5514)
    """
    return -row_log_probs(z1, z2, temperature=temperature).mean()


def mc_infonce(z1: Tensor, z2: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Return the loss of the probability averaged over samples, and not of its logarithm.

    Args:
        z1: ``(S, B, D)`` samples of the first view's posterior.
        z2: ``(S, B, D)`` samples of the second's.
        temperature: divisor of the cosines, positive.

    Returns:
        Scalar, nats: at most the mean over the samples of `nt_xent`, and that at S = 1.

    Raises:
        ValueError: if the shapes differ or there are fewer than 2 pairs.

    Source:
        MCInfoNCE, Kirchhof et al. 2023, with the negatives of NT-Xent.

    Example:
        >>> z = torch.eye(2).expand(3, 2, 2)
        >>> mc_infonce(z, z, temperature=1.0)
        tensor(0.5514)
    """
    if z1.shape != z2.shape or z1.ndim != 3 or not len(z1):
        got = f"{tuple(z1.shape)} and {tuple(z2.shape)}"
        raise ValueError(f"z1 and z2 must be two (S, B, D) stacks of samples, got {got}")
    each = [row_log_probs(a, b, temperature=temperature) for a, b in zip(z1, z2, strict=True)]
    return math.log(len(z1)) - torch.logsumexp(torch.stack(each), 0).mean()


@dataclass(frozen=True)
class LossTerms:
    """A step's loss and what it is made of; ``loss`` carries the gradient."""

    loss: Tensor
    contrastive: Tensor
    kl: Tensor
    beta: float

    @property
    def rate_bits(self) -> Tensor:
        """The KL in bits an input: a bound on what the latents tell of it."""
        return self.kl / math.log(2)

    def __str__(self) -> str:
        return (
            f"loss {float(self.loss.detach()):.4f} = contrastive "
            f"{float(self.contrastive.detach()):.4f} nats + {self.beta:g} x penalty; "
            f"rate {float(self.rate_bits.detach()):.1f} bits"
        )

    def to_table(self) -> dict[str, list[str] | list[float]]:
        """Columns ``term`` and ``value``."""
        names = ["loss", "contrastive", "kl", "rate_bits"]
        values = [float(getattr(self, name).detach()) for name in names]
        return {"term": [*names, "beta"], "value": [*values, self.beta]}


class StochasticContrastiveLoss(nn.Module):
    """A contrastive term on samples of two posteriors, plus beta times their mean KL to the prior.

    In training each view's samples have noise of their own, on each rank of ``torch.distributed``
    another; in eval mode the means take the samples' place, and nothing is drawn.

    Args:
        objective: any callable of two ``(B, D)`` batches; None takes `nt_xent`.
        temperature: of the built-in form.
        beta: weight of the KL, which is summed over the units, in nats; may be changed in training.
        samples: of each posterior, a step.
        estimator: ``mean`` averages the objective over samples; ``mc`` is `mc_infonce`, which
            needs the rows of the built-in form.
        free_bits: bits of each unit, averaged over the batch, that cost nothing.
        seed: of the loss's own stream of noise.

    Raises:
        ValueError: on ``estimator="mc"`` with an objective, or a number outside its range.

    Source:
        ``E NTXent(z1, z2) + beta/2 sum KL(q || p)``: our choice, with beta = 1e-3.

    Example:
        >>> from lv_ssl import StochasticHead
        >>> head = StochasticHead(16, 32)
        >>> loss = StochasticContrastiveLoss(beta=1e-3)
        >>> terms = loss(head(torch.randn(8, 16)), head(torch.randn(8, 16)))
        >>> terms.loss.backward()
    """

    def __init__(
        self,
        objective: PairObjective | None = None,
        *,
        temperature: float = 0.1,
        beta: float = 1e-3,
        samples: int = 1,
        estimator: str = "mean",
        free_bits: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_positive("temperature", temperature)
        check_at_least("beta", beta, 0)
        check_at_least("samples", samples, 1)
        check_at_least("free_bits", free_bits, 0)
        check_choice("estimator", estimator, ("mean", "mc"))
        if estimator == "mc" and objective is not None:
            raise ValueError(
                "estimator='mc' needs the rows of the built-in contrastive form: leave objective "
                "out, or take estimator='mean'"
            )
        self.objective, self.temperature, self.beta = objective, temperature, beta
        self.samples, self.estimator, self.free_bits = samples, estimator, free_bits
        self.seed = seed
        self._generator: torch.Generator | None = None
        self._still: dict[str, int] = {}

    def forward(
        self,
        posterior1: Posterior,
        posterior2: Posterior,
        *,
        projector: Callable[[Tensor], Tensor] | None = None,
        generator: torch.Generator | None = None,
    ) -> LossTerms:
        """Return the terms of one batch.

        Args:
            posterior1: of the first view, B rows.
            posterior2: of the second; row i is another view of the same instance.
            projector: applied to samples ``(B, D)`` before the contrastive term.
            generator: of the noise; None takes the loss's own, by ``seed`` and rank.

        Returns:
            `LossTerms`; call ``.loss.backward()``.

        Raises:
            ValueError: if the posteriors differ in family or in rows.
        """
        if type(posterior1) is not type(posterior2) or len(posterior1) != len(posterior2):
            got = " and ".join(f"{len(q)} of {q.family}" for q in (posterior1, posterior2))
            raise ValueError(f"the posteriors must have one family and as many rows, got {got}")
        stacks = [self._latents(q, generator) for q in (posterior1, posterior2)]
        if projector is not None:
            stacks = [torch.stack([projector(z) for z in stack]) for stack in stacks]
        contrastive = self._contrastive(*stacks)
        units = (posterior1.kl_units().mean(0) + posterior2.kl_units().mean(0)) / 2  # (U,)
        penalty = units.clamp_min(self.free_bits * math.log(2)) if self.free_bits else units
        self._watch(units.detach(), posterior1)
        return LossTerms(
            loss=contrastive + self.beta * penalty.sum(),
            contrastive=contrastive,
            kl=units.sum(),
            beta=self.beta,
        )

    def _latents(self, posterior: Posterior, generator: torch.Generator | None) -> Tensor:
        if not self.training:
            return posterior.mean[None]
        return posterior.rsample(self.samples, generator=generator or self.generator)

    def _contrastive(self, z1: Tensor, z2: Tensor) -> Tensor:
        if self.estimator == "mc":
            return mc_infonce(z1, z2, temperature=self.temperature)
        each = [self._pair(a, b) for a, b in zip(z1, z2, strict=True)]
        return torch.stack(each).mean()

    def _pair(self, z1: Tensor, z2: Tensor) -> Tensor:
        if self.objective is not None:
            return self.objective(z1, z2)
        return nt_xent(z1, z2, temperature=self.temperature)

    @property
    def generator(self) -> torch.Generator:
        """The loss's own stream of noise, by ``seed`` and the rank of this process."""
        if self._generator is None:
            rank = dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
            self._generator = torch.Generator().manual_seed((self.seed << 20) + rank)
        return self._generator

    def _watch(self, units: Tensor, posterior: Posterior) -> None:
        """Warn, once, where the latents have fallen silent or still for some batches."""
        if not self.training:
            return
        scale = getattr(posterior, "scale", None)
        least = math.log(2) * min(COLLAPSED_BITS[0], COLLAPSED_BITS[1] * len(units))
        silent = (units < COLLAPSED_NATS).all() | (units.sum() < least)
        found = {
            "the rate is below 1 bit, or every unit's below 1e-3 nats: the latents say next to "
            "nothing of the input; lower beta, or warm it up": bool(silent),
            "the mean standard deviation is below 1e-3: the latents have lost their noise; "
            "raise beta": scale is not None and bool(scale.detach().mean() < COLLAPSED_SCALE),
        }
        for message, now in found.items():
            self._still[message] = self._still.get(message, 0) + 1 if now else 0
            if self._still[message] == PATIENCE:
                warnings.warn(f"posterior collapse: {message}", CollapseWarning, stacklevel=3)

    def extra_repr(self) -> str:
        """The arguments, for ``print``."""
        return (
            f"temperature={self.temperature}, beta={self.beta}, samples={self.samples}, "
            f"estimator={self.estimator!r}, free_bits={self.free_bits}"
        )

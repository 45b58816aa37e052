"""What is inferred of an input: a distribution over latents, one class a family.

The three here stand on ``torch.distributions``; the two on the sphere are `lv_ssl.directions`.
Everything is computed in float32 at least, and KL and entropy are in nats, summed over latents.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Self

import torch
import torch.distributions as td
import torch.nn.functional as F
from torch import Tensor

from lv_ssl._checks import (
    at_least_float32,
    check_finite,
    check_generator,
    check_positive,
    check_rows,
    normal,
    uniform,
)


@dataclass(frozen=True, eq=False)
class Posterior(ABC):
    """A distribution over latents for each of B inputs; its tensors are ``(B, ...)``."""

    family: ClassVar[str] = ""

    @abstractmethod
    def _draw(self, n: int, generator: torch.Generator) -> Tensor: ...

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """``(B, D)``, the expected latent."""

    @property
    @abstractmethod
    def mode(self) -> Tensor:
        """``(B, D)``, the likeliest latent."""

    @abstractmethod
    def kl_units(self) -> Tensor:
        """``(B, U)`` nats: KL divergence from the prior, for each independent unit."""

    @abstractmethod
    def entropy(self) -> Tensor:
        """``(B,)`` nats."""

    def rsample(self, n: int = 1, *, generator: torch.Generator) -> Tensor:
        """Return ``(n, B, D)`` samples through which gradients flow to the parameters.

        Args:
            n: samples of each input.
            generator: where the noise comes from; on its device, then moved.

        Returns:
            Samples; those of the discrete families are 0 or 1 unless relaxed.

        Raises:
            ValueError: if ``n < 1``.
            TypeError: if ``generator`` is none.

        Example:
            >>> q = Bernoulli(torch.tensor([[9.0, -9.0]]))
            >>> q.rsample(generator=torch.Generator().manual_seed(0))
            tensor([[[1., 0.]]])
        """
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        check_generator(generator)
        return self._draw(n, generator)

    def kl(self) -> Tensor:
        """``(B,)`` nats: KL divergence from the prior, summed over the units."""
        return self.kl_units().sum(1)

    def uncertainty(self) -> Tensor:
        """``(B,)``, higher for the less certain: the entropy; on the sphere ``1 / kappa``."""
        return self.entropy()

    def detach(self) -> Self:
        """The same without gradient."""
        return self._each(Tensor.detach)

    def __getitem__(self, rows: Tensor | slice) -> Self:
        return self._each(lambda x: x[rows])

    def __len__(self) -> int:
        return len(self.mean)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        kept = {f.name: getattr(self, f.name) for f in fields(self)}
        return type(self)(**{k: change(v) if isinstance(v, Tensor) else v for k, v in kept.items()})

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """One posterior of the rows of several."""
        if not parts:
            raise ValueError("parts must hold at least one posterior, got none")
        first = parts[0]
        joined = {f.name: getattr(first, f.name) for f in fields(first)}
        for name, value in joined.items():
            if isinstance(value, Tensor):
                joined[name] = torch.cat([getattr(part, name) for part in parts])
        return type(first)(**joined)


def keep_parameters(posterior: Posterior, **tensors: Tensor) -> None:
    """Check tensors and put them back widened; the dataclass is frozen."""
    for name, value in tensors.items():
        check_rows(name, value, at_least=0)
        check_finite(name, value)
        object.__setattr__(posterior, name, at_least_float32(value))


@dataclass(frozen=True, eq=False)
class Normal(Posterior):
    """Independent normal latents; the prior is standard normal.

    Args:
        loc: ``(B, D)`` means.
        scale: ``(B, D)`` standard deviations, positive.

    Source:
        ``KL = 1/2 sum(mu^2 + sigma^2 - 1 - log sigma^2)``.

    Example:
        >>> Normal(torch.zeros(1, 3), torch.ones(1, 3)).kl()
        tensor([0.])
    """

    family: ClassVar[str] = "normal"
    loc: Tensor
    scale: Tensor

    def __post_init__(self) -> None:
        keep_parameters(self, loc=self.loc, scale=self.scale)
        if self.loc.shape != self.scale.shape or not bool((self.scale > 0).all()):
            got = f"{tuple(self.loc.shape)} and {tuple(self.scale.shape)}"
            raise ValueError(f"loc and scale must have one shape, scale positive, got {got}")

    @property
    def distribution(self) -> td.Normal:
        """The same, of ``torch.distributions``."""
        return td.Normal(self.loc, self.scale, validate_args=False)

    def _draw(self, n: int, generator: torch.Generator) -> Tensor:
        return self.loc + self.scale * normal((n, *self.loc.shape), self.loc, generator)

    @property
    def mean(self) -> Tensor:
        """``(B, D)``."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """``(B, D)``, the mean."""
        return self.loc

    def kl_units(self) -> Tensor:
        """``(B, D)`` nats."""
        ones = torch.ones_like(self.loc)
        prior = td.Normal(torch.zeros_like(ones), ones, validate_args=False)
        return td.kl_divergence(self.distribution, prior)

    def entropy(self) -> Tensor:
        """``(B,)`` nats (a density's: it may be negative)."""
        return self.distribution.entropy().sum(1)


@dataclass(frozen=True, eq=False)
class Bernoulli(Posterior):
    """Independent bits.

    Args:
        logits: ``(B, D)`` log odds of a one.
        prior: probability of a one under the prior.
        relaxation: temperature of the relaxed bits that carry the gradient.
        hard: samples are 0 or 1 (straight-through); else the relaxed bits themselves.

    Source:
        Binary concrete, ``y = sigmoid((l + log u - log(1 - u)) / T)``; straight-through
        ``z = 1[y > 1/2] + y - stop(y)``.

    Example:
        >>> q = Bernoulli(torch.zeros(1, 8))
        >>> bool(q.entropy() - 8 * math.log(2) < 1e-6), q.kl()
        (True, tensor([0.]))
    """

    family: ClassVar[str] = "bernoulli"
    logits: Tensor
    prior: float = 0.5
    relaxation: float = 1.0
    hard: bool = True

    def __post_init__(self) -> None:
        keep_parameters(self, logits=self.logits)
        check_positive("relaxation", self.relaxation)
        if not 0 < self.prior < 1:
            raise ValueError(f"prior must be a probability between 0 and 1, got {self.prior}")

    @property
    def distribution(self) -> td.Bernoulli:
        """The same, of ``torch.distributions``."""
        return td.Bernoulli(logits=self.logits, validate_args=False)

    def _draw(self, n: int, generator: torch.Generator) -> Tensor:
        u = uniform((n, *self.logits.shape), self.logits, generator)
        y = torch.sigmoid((self.logits + u.logit()) / self.relaxation)
        return _straight_through((y > 0.5).to(y), y) if self.hard else y

    @property
    def mean(self) -> Tensor:
        """``(B, D)`` probabilities."""
        return torch.sigmoid(self.logits)

    @property
    def mode(self) -> Tensor:
        """``(B, D)`` of 0 and 1."""
        return (self.logits > 0).to(self.logits)

    def kl_units(self) -> Tensor:
        """``(B, D)`` nats."""
        prior = torch.full_like(self.logits, math.log(self.prior / (1 - self.prior)))
        return td.kl_divergence(self.distribution, td.Bernoulli(logits=prior, validate_args=False))

    def entropy(self) -> Tensor:
        """``(B,)`` nats."""
        return self.distribution.entropy().sum(1)


@dataclass(frozen=True, eq=False)
class Categorical(Posterior):
    """Independent groups of classes, one-hot; the prior is uniform.

    Args:
        logits: ``(B, G * C)``, the C classes of a group side by side.
        classes: C, at least 2.
        relaxation: temperature of the Gumbel softmax.
        hard: samples are one-hot (straight-through); else the relaxed ones themselves.

    Source:
        Gumbel softmax; ``KL = log C - H`` for each group.

    Example:
        >>> Categorical(torch.tensor([[9.0, 0.0, 0.0, 9.0]]), classes=2).mode
        tensor([[1., 0., 0., 1.]])
    """

    family: ClassVar[str] = "categorical"
    logits: Tensor
    classes: int = 8
    relaxation: float = 1.0
    hard: bool = True

    def __post_init__(self) -> None:
        keep_parameters(self, logits=self.logits)
        check_positive("relaxation", self.relaxation)
        if self.classes < 2 or self.logits.shape[1] % self.classes:
            raise ValueError(
                f"classes must be at least 2 and divide the {self.logits.shape[1]} logits, "
                f"got {self.classes}"
            )

    @property
    def distribution(self) -> td.OneHotCategorical:
        """The same, of ``torch.distributions``."""
        return td.OneHotCategorical(logits=self._groups, validate_args=False)

    @property
    def _groups(self) -> Tensor:
        return self.logits.unflatten(1, (-1, self.classes))  # (B, G, C)

    def _draw(self, n: int, generator: torch.Generator) -> Tensor:
        u = uniform((n, *self._groups.shape), self.logits, generator)
        y = torch.softmax((self._groups - torch.log(-torch.log(u))) / self.relaxation, -1)
        return (_straight_through(_one_hot(y), y) if self.hard else y).flatten(2)

    @property
    def mean(self) -> Tensor:
        """``(B, G * C)`` probabilities."""
        return torch.softmax(self._groups, -1).flatten(1)

    @property
    def mode(self) -> Tensor:
        """``(B, G * C)``, one-hot."""
        return _one_hot(self._groups).flatten(1)

    def kl_units(self) -> Tensor:
        """``(B, G)`` nats."""
        prior = td.OneHotCategorical(logits=torch.zeros_like(self._groups), validate_args=False)
        return td.kl_divergence(self.distribution, prior)

    def entropy(self) -> Tensor:
        """``(B,)`` nats."""
        return self.distribution.entropy().sum(1)


def sample_disagreement(
    posterior: Posterior, *, samples: int = 16, generator: torch.Generator
) -> Tensor:
    """Return how far an input's samples point apart: 1 minus their mean resultant length.

    Args:
        posterior: of B inputs.
        samples: drawn of each, at least 2.
        generator: where the noise comes from.

    Returns:
        ``(B,)`` in [0, 1]: 0 where all samples are one direction.

    Raises:
        ValueError: if ``samples < 2``.

    Source:
        Mean resultant length of directions; our choice as an uncertainty of any family.

    Example:
        >>> q = Normal(torch.ones(1, 4), torch.full((1, 4), 1e-6))
        >>> bool(sample_disagreement(q, generator=torch.Generator().manual_seed(0)) < 1e-6)
        True
    """
    if samples < 2:
        raise ValueError(f"samples must be at least 2, got {samples}")
    with torch.no_grad():
        z = F.normalize(posterior.rsample(samples, generator=generator), dim=-1)
        return 1 - z.mean(0).norm(dim=-1)


def _straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """``hard`` in value, exactly; ``soft`` in gradient."""
    return hard + (soft - soft.detach())


def _one_hot(x: Tensor) -> Tensor:
    return F.one_hot(x.argmax(-1), x.shape[-1]).to(x)

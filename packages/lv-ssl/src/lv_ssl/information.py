"""Where the rate goes: what a latent tells of the input, and how far all together are off."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lv_ssl.posteriors import Bernoulli, Categorical, Posterior


@dataclass(frozen=True, eq=False)
class InformationSplit:
    """Each unit's mean KL in two parts, both at least 0.

    Attributes:
        information: ``(U,)`` nats, the mutual information of the unit and the input's number.
        marginal: ``(U,)`` nats, the KL of the unit's mean distribution from the prior.
    """

    information: Tensor
    marginal: Tensor

    @property
    def active(self) -> int:
        """Units that tell more than a hundredth of a bit of the input."""
        return int((self.information > 0.01 * math.log(2)).sum())

    def __str__(self) -> str:
        told, off = (float(x.sum()) / math.log(2) for x in (self.information, self.marginal))
        return (
            f"{told:.1f} bits of information in {self.active} of {len(self.information)} units, "
            f"{off:.1f} bits spent on a mean that is not the prior"
        )

    def to_table(self) -> dict[str, list[int] | list[float]]:
        """Columns ``unit``, ``information`` and ``marginal``."""
        units = list(range(len(self.information)))
        return {
            "unit": units,
            "information": self.information.tolist(),
            "marginal": self.marginal.tolist(),
        }


def information_split(posterior: Posterior) -> InformationSplit:
    """Return how each discrete unit's mean KL splits over a set of inputs.

    Units that all inputs share, however large their KL, tell nothing: a collapse that the rate
    alone does not show.

    Args:
        posterior: bits or classes, of N inputs, at least 1.

    Returns:
        `InformationSplit`; the parts add up to the mean KL.

    Raises:
        ValueError: if there is no input.
        TypeError: on a continuous family, where the mean's KL has no closed form.

    Source:
        ``mean KL(q_i || p) = I(i; z) + KL(mean q_i || p)``, exact for a unit; information is at
        most log N.

    Example:
        >>> split = information_split(Bernoulli(torch.tensor([[30.0, 30.0], [30.0, -30.0]])))
        >>> (split.information / math.log(2)).round()
        tensor([0., 1.], dtype=torch.float64)
    """
    if not isinstance(posterior, Bernoulli | Categorical):
        raise TypeError(f"posterior must be of bits or classes, got {posterior.family!r}")
    if not len(posterior):
        raise ValueError("posterior must have at least 1 input, got 0")
    posterior = posterior.detach()
    mean = posterior.mean.double().mean(0)
    if isinstance(posterior, Bernoulli):
        prior = torch.tensor([1 - posterior.prior, posterior.prior], dtype=torch.float64)
        together = torch.stack([1 - mean, mean], 1)  # (U, 2)
    else:
        together = mean.unflatten(0, (-1, posterior.classes))  # (U, C)
        prior = torch.full((posterior.classes,), 1 / posterior.classes, dtype=torch.float64)
    log_ratio = torch.log(together.clamp_min(1e-300)) - torch.log(prior.to(mean.device))
    marginal = (together * log_ratio).sum(1)
    return InformationSplit(posterior.kl_units().double().mean(0) - marginal, marginal)

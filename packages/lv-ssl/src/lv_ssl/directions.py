"""Posteriors over directions: von Mises-Fisher and power spherical, on `lv_ssl.sphere`."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from lv_ssl import sphere
from lv_ssl._checks import normal
from lv_ssl.posteriors import Posterior, keep_parameters


@dataclass(frozen=True, eq=False)
class PowerSpherical(Posterior):
    """Directions with a density proportional to ``(1 + mu . z)^kappa``; the prior is uniform.

    Args:
        loc: ``(B, D)`` mean directions, normalised here; D at least 2.
        kappa: ``(B, 1)`` concentrations, positive.

    Source:
        De Cao and Aziz 2020; neither Bessel functions nor rejection in the direction.

    Example:
        >>> q = PowerSpherical(torch.tensor([[3.0, 4.0]]), torch.tensor([[1e6]]))
        >>> q.mode
        tensor([[0.6000, 0.8000]])
    """

    family: ClassVar[str] = "power_spherical"
    loc: Tensor
    kappa: Tensor

    def __post_init__(self) -> None:
        keep_parameters(self, loc=self.loc, kappa=self.kappa)
        if self.loc.shape[1] < 2 or self.kappa.shape != (len(self.loc), 1):
            raise ValueError(
                f"loc must be (B, D) with D >= 2 and kappa (B, 1), got {tuple(self.loc.shape)} "
                f"and {tuple(self.kappa.shape)}"
            )
        if not bool((self.kappa > 0).all()):
            raise ValueError(f"kappa must be positive, got {float(self.kappa.min())}")
        object.__setattr__(self, "loc", F.normalize(self.loc, dim=1))

    def _moments(self) -> tuple[Tensor, Tensor]:
        return sphere.power_moments(self.kappa, self.loc.shape[1])

    def _angle(self, kappa: Tensor, generator: torch.Generator) -> Tensor:
        return sphere.draw_power_angle(kappa, self.loc.shape[1], generator)

    def _mean_cosine(self) -> Tensor:
        return self.kappa / (self.loc.shape[1] - 1 + self.kappa)

    def _draw(self, n: int, generator: torch.Generator) -> Tensor:
        angle = self._angle(self.kappa.expand(n, -1, -1), generator)  # (n, B, 1)
        g = normal((n, *self.loc.shape), self.loc, generator)
        aside = F.normalize(g - (g * self.loc).sum(-1, keepdim=True) * self.loc, dim=-1)
        return angle.cos().to(g) * self.loc + angle.sin().to(g) * aside

    @property
    def mean(self) -> Tensor:
        """``(B, D)``, inside the sphere: shorter where less is certain."""
        return self._mean_cosine().to(self.loc) * self.loc

    @property
    def mode(self) -> Tensor:
        """``(B, D)``, on the sphere."""
        return self.loc

    def kl_units(self) -> Tensor:
        """``(B, 1)`` nats: a direction is one unit."""
        log_partition, mean = self._moments()
        return (self.kappa * mean - log_partition).to(self.kappa)

    def entropy(self) -> Tensor:
        """``(B,)`` nats, at most that of uniform directions."""
        return sphere.log_sphere_area(self.loc.shape[1]) - self.kl()

    def uncertainty(self) -> Tensor:
        """``(B,)``, ``1 / kappa``."""
        return 1 / self.kappa[:, 0]


@dataclass(frozen=True, eq=False)
class VonMisesFisher(PowerSpherical):
    """Directions with a density proportional to ``exp(kappa mu . z)``; the prior is uniform.

    Args:
        loc: ``(B, D)`` mean directions, normalised here; D at least 2.
        kappa: ``(B, 1)`` concentrations, positive.

    Source:
        ``KL = kappa A_d(kappa) + log C_d(kappa) + log area``.

    Example:
        >>> q = VonMisesFisher(torch.tensor([[3.0, 4.0]]), torch.tensor([[1e-6]]))
        >>> bool(q.kl().abs() < 1e-6)
        True
    """

    family: ClassVar[str] = "vmf"

    def _moments(self) -> tuple[Tensor, Tensor]:
        return sphere.vmf_moments(self.kappa, self.loc.shape[1])

    def _angle(self, kappa: Tensor, generator: torch.Generator) -> Tensor:
        return sphere.draw_vmf_angle(kappa, self.loc.shape[1], generator)

    def _mean_cosine(self) -> Tensor:
        return sphere.vmf_moments(self.kappa, self.loc.shape[1])[1]

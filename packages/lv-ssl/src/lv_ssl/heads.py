"""From features to a posterior: one linear layer, whose outputs parametrise a family."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lv_ssl._checks import at_least_float32, check_choice, check_positive, check_rows
from lv_ssl.directions import PowerSpherical, VonMisesFisher
from lv_ssl.posteriors import Bernoulli, Categorical, Normal, Posterior

FAMILIES = ("normal", "bernoulli", "categorical", "power_spherical", "vmf")
LEAST_SCALE = 1e-4
LEAST_KAPPA, MOST_KAPPA = 1e-3, 1e6


class StochasticHead(nn.Module):
    """Features of any encoder to a `Posterior` over latents.

    Args:
        in_dim: features of the encoder.
        dim: latents; for ``categorical``, groups times classes.
        family: ``normal``, ``bernoulli``, ``categorical``, ``power_spherical`` or ``vmf``.
        batch_norm: normalise what says where the latents are (logits, means, directions) over the
            batch, without scale and shift; bits need it, see the README. None: for the discrete
            families only.
        gain: multiply the logits of the discrete families by a positive number that one more linear
            layer reads off the input: how sure all its bits are.
        classes: of each group, for ``categorical``.
        relaxation: temperature of the discrete families' gradient; may be changed in training.
        hard: whether samples of the discrete families are 0 or 1.
        prior: probability of a one, for ``bernoulli``.
        start_kappa: about the concentration before training; None takes ``dim``.

    Raises:
        ValueError: on an unknown family, or a number outside its range.

    Source:
        Families, layer and defaults are our choice: the paper's abstract does not say them.

    Example:
        >>> head = StochasticHead(16, 8, family="bernoulli")
        >>> posterior = head(torch.randn(4, 16))
        >>> posterior.kl().shape, posterior.mode.shape
        (torch.Size([4]), torch.Size([4, 8]))
    """

    def __init__(
        self,
        in_dim: int,
        dim: int,
        family: str = "bernoulli",
        *,
        batch_norm: bool | None = None,
        gain: bool = False,
        classes: int = 8,
        relaxation: float = 1.0,
        hard: bool = True,
        prior: float = 0.5,
        start_kappa: float | None = None,
    ) -> None:
        super().__init__()
        check_choice("family", family, FAMILIES)
        check_positive("in_dim", in_dim)
        check_positive("dim", dim)
        discrete = family in ("bernoulli", "categorical")
        self.in_dim, self.dim, self.family = in_dim, dim, family
        self.batch_norm = discrete if batch_norm is None else batch_norm
        self.gain = gain and discrete
        self.classes, self.relaxation, self.hard, self.prior = classes, relaxation, hard, prior
        self.start_kappa = float(dim if start_kappa is None else start_kappa)
        check_positive("start_kappa", self.start_kappa)
        self.location = nn.Linear(in_dim, dim, bias=not self.batch_norm)
        normalise = nn.BatchNorm1d(dim, affine=False) if self.batch_norm else nn.Identity()
        self.normalise: nn.Module = normalise
        width = dim if family == "normal" else 1
        spreads = self.gain or not discrete
        self.spread = nn.Linear(in_dim, width) if spreads else None
        self._posterior(torch.zeros(0, dim), torch.zeros(0, width))  # raises early

    @property
    def options(self) -> dict[str, Any]:
        """The arguments that make a head like this one."""
        names = ("in_dim", "dim", "family", "batch_norm", "gain", "classes")
        names += ("relaxation", "hard", "prior", "start_kappa")
        return {name: getattr(self, name) for name in names}

    def forward(self, features: Tensor) -> Posterior:
        """Return the posterior of each row.

        Args:
            features: ``(B, in_dim)``.

        Returns:
            A posterior of B rows.

        Raises:
            ValueError: on another shape, or where the parameters are not finite.
            TypeError: on a tensor that is not floating.
        """
        check_rows("features", features)
        if features.shape[1] != self.in_dim:
            got = tuple(features.shape)
            raise ValueError(f"features must be (B, {self.in_dim}), got {got}")
        location = self.normalise(self.location(features))
        spread = location.new_zeros(1) if self.spread is None else self.spread(features)
        return self._posterior(location, spread)

    def _posterior(self, location: Tensor, spread: Tensor) -> Posterior:
        soft = {"relaxation": self.relaxation, "hard": self.hard}
        positive = F.softplus(at_least_float32(spread)) / math.log(2)  # 1 at 0
        if self.family == "bernoulli":
            return Bernoulli(positive * location, prior=self.prior, **soft)
        if self.family == "categorical":
            return Categorical(positive * location, classes=self.classes, **soft)
        if self.family == "normal":
            return Normal(location, positive + LEAST_SCALE)
        kappa = (self.start_kappa * positive).clamp(LEAST_KAPPA, MOST_KAPPA)
        sphere = PowerSpherical if self.family == "power_spherical" else VonMisesFisher
        return sphere(location, kappa)

    def extra_repr(self) -> str:
        """The arguments, for ``print``."""
        return f"{self.in_dim}, {self.dim}, family={self.family!r}, batch_norm={self.batch_norm}"

"""The optimal map between two normal laws with full covariances, by POT (extra ``[ot]``)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from act_steer.coupling import Samples, aligned_rows
from act_steer.moments import Moments
from act_steer.transport import Strength, check_width


@dataclass(frozen=True, eq=False)
class FullGaussianTransport:
    """``T(z) = z M + shift``, which matches means and covariances, and mixes neurons.

    That is the map of affine steering, MiMiC, and no part of AcT. It costs D^3, and covariances of
    D neurons need many more than D samples: with fewer, `shrinkage` is what makes them invertible.
    It acts everywhere; a support neuron by neuron would mean little.

    Args:
        matrix: ``(D, D)``, symmetric and positive.
        shift: ``(D,)``.

    Source:
        Peyré and Cuturi 2019, remark 2.31; Singh et al. 2024 (MiMiC) for steering.
    """

    method: ClassVar[str] = "full_gaussian"
    default_pool: ClassVar[str] = "mean"

    matrix: Tensor
    shift: Tensor

    def __post_init__(self) -> None:
        dim = len(self.shift) if self.shift.ndim == 1 else -1
        if self.matrix.shape != (dim, dim):
            got = f"{tuple(self.matrix.shape)} and {tuple(self.shift.shape)}"
            raise ValueError(f"matrix and shift must be (D, D) and (D,), got {got}")
        for tensor in (self.matrix, self.shift):
            if not (tensor.is_floating_point() and torch.isfinite(tensor).all()):
                raise ValueError("matrix and shift must be finite floats")

    @property
    def moments(self) -> Moments | None:
        """None: what is known of the samples one neuron at a time does not describe this map."""
        return None

    @property
    def dim(self) -> int:
        """Number of neurons."""
        return len(self.shift)

    def __call__(self, z: Tensor, strength: Strength = 1.0) -> Tensor:
        """Move activations ``(..., D)``, computing in float32 or wider.

        Raises:
            ShapeMismatch: if the last axis is not D wide.
        """
        check_width(self, z)
        if not isinstance(strength, Tensor) and strength == 0:
            return z
        wide = z if z.dtype == torch.float64 else z.float()
        excess = self.matrix.to(wide.dtype) - torch.eye(self.dim, dtype=wide.dtype, device=z.device)
        return (wide + strength * (wide @ excess + self.shift.to(wide.dtype))).to(z.dtype)

    def inside(self, z: Tensor) -> Tensor:
        """True everywhere."""
        return torch.ones_like(z, dtype=torch.bool)

    def w2(self, strength: float = 1.0) -> Tensor:
        """Not known in closed form, neuron by neuron."""
        raise ValueError("a full_gaussian map has no closed-form report: measure it with quality()")

    def keep(self, neurons: Tensor) -> Self:
        """The same map on some neurons (bool, ``(D,)``), the identity on the others."""
        eye = torch.eye(self.dim, dtype=self.matrix.dtype, device=self.matrix.device)
        matrix = torch.where(neurons[None], self.matrix, eye)
        return replace(self, matrix=matrix, shift=torch.where(neurons, self.shift, 0.0))

    def to(self, device: torch.device | str) -> Self:
        """The same map with its tensors on a device."""
        return replace(self, matrix=self.matrix.to(device), shift=self.shift.to(device))

    def tensors(self) -> dict[str, Tensor]:
        """All that a file must hold, by name."""
        return {"matrix": self.matrix, "shift": self.shift}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], clamp: bool, moments: Moments | None
    ) -> Self:
        """The map that a file held."""
        return cls(tensors["matrix"], tensors["shift"])

    @classmethod
    def fit(
        cls,
        A: Samples,
        B: Samples,
        weights: tuple[Samples | None, Samples | None] | None = None,
        *,
        support: str | None = None,
        shrinkage: float = 0.01,
    ) -> Self:
        """Fit on unpaired samples.

        Args:
            A: source activations, ``(n, D)``.
            B: target activations, ``(m, D)``.
            weights: of the rows of A and of B; None weighs all alike.
            support: None or ``"all"``.
            shrinkage: share of each covariance that is replaced by its mean variance times the
                identity, from 0 to 1.

        Raises:
            ValueError: if shapes, values, weights or ``shrinkage`` are not as said, or there is
                another support.
            ModuleNotFoundError: without POT.
        """
        import ot.gaussian

        if support not in (None, "all"):
            raise ValueError(f"a full_gaussian map acts everywhere, got support={support!r}")
        if not 0 <= shrinkage <= 1:
            raise ValueError(f"shrinkage must be from 0 to 1, got {shrinkage}")
        rows, shares = aligned_rows(A, B, weights)
        pairs = zip(rows, shares, strict=True)
        (ma, ca), (mb, cb) = (_normal(row, share, shrinkage) for row, share in pairs)
        matrix, shift = ot.gaussian.bures_wasserstein_mapping(ma, mb, ca, cb)[:2]
        wide = all(isinstance(s, Tensor) and s.dtype != torch.float64 for s in (A, B))
        dtype = torch.float32 if wide else torch.float64
        return cls(matrix.to(dtype), shift.reshape(-1).to(dtype))


def _normal(rows: Tensor, shares: Tensor, shrinkage: float) -> tuple[Tensor, Tensor]:
    """Mean and shrunk covariance of a weighted sample, ``(D,)`` and ``(D, D)``."""
    mean = shares @ rows
    centred = rows - mean
    covariance = (centred * shares[:, None]).T @ centred
    level = covariance.diagonal().mean()
    return mean, torch.lerp(covariance, level * torch.eye(len(mean), dtype=rows.dtype), shrinkage)

"""Maps of activations, neuron by neuron: the protocol, and the affine maps.

A map ``T`` sends source activations to target activations. With strength ``lam`` it goes a part of
the way, ``T_lam(z) = (1 - lam) z + lam T(z)``, and outside its support it leaves ``z`` as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, Self, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from act_steer.coupling import Samples, Sorted, sorted_columns
from act_steer.errors import ShapeMismatch
from act_steer.moments import Coupled, Moments, coupled
from act_steer.support import Support, resolution_of, result_dtype, support_of

Strength = float | Tensor


@runtime_checkable
class Transport(Protocol):
    """What the rest of the package asks of a map: to move activations, and to be kept in a file."""

    method: ClassVar[str]  # its name in tables and files

    @property
    def moments(self) -> Moments | None:
        """Moments of the samples that it was fitted on."""
        ...

    @property
    def dim(self) -> int:
        """Number of neurons."""
        ...

    def w2(self, strength: float = 1.0) -> Tensor:
        """Wasserstein-2 distance of the moved source from the target, ``(D,)``, by its moments."""
        ...

    def __call__(self, z: Tensor, strength: Strength = 1.0) -> Tensor:
        """Move activations ``(..., D)``; same shape and type, a new tensor unless strength is 0."""
        ...

    def inside(self, z: Tensor) -> Tensor:
        """Which activations ``(..., D)`` are in the support."""
        ...

    def to(self, device: torch.device | str) -> Self:
        """The same map with its tensors on a device."""
        ...

    def keep(self, neurons: Tensor) -> Self:
        """The same map on some neurons (bool, ``(D,)``), the identity on the others."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """All that a file must hold, by name."""
        ...


@dataclass(frozen=True, eq=False)
class AffineTransport:
    """``T(z) = scale * z + shift`` on ``[low, high]``, the identity elsewhere; ``(D,)`` each.

    The interval is closed: the extreme source samples are moved, so that the mean of the moved
    samples is the mean of the target.

    Args:
        scale: factor per neuron.
        shift: added per neuron.
        low: lower end of the support; ``-inf`` where it has none.
        high: upper end of the support; ``inf`` where it has none.
        clamp: outside the support, move as far as the nearest end is moved, instead of not at all.
        moments: of the samples that the map was fitted on.

    Raises:
        ValueError: if the four tensors are not finite floats of one length (ends may be infinite).

    Source:
        Rodriguez et al. 2024, definition 3.1 and section 3.2 (transport support).
    """

    method: ClassVar[str] = "affine"
    default_support: ClassVar[Support] = "minmax"
    default_pool: ClassVar[str] = "mean"

    scale: Tensor
    shift: Tensor
    low: Tensor
    high: Tensor
    clamp: bool = False
    moments: Moments | None = None

    def __post_init__(self) -> None:
        columns = (self.scale, self.shift, self.low, self.high)
        if self.scale.ndim != 1 or any(c.shape != self.scale.shape for c in columns):
            got = ", ".join(str(tuple(c.shape)) for c in columns)
            raise ValueError(f"scale, shift, low and high must be (D,) each, got {got}")
        if not all(c.is_floating_point() for c in columns):
            raise ValueError(
                f"a map's tensors must be floats, got {[str(c.dtype) for c in columns]}"
            )
        finite = torch.isfinite(self.scale).all() and torch.isfinite(self.shift).all()
        if not finite or self.low.isnan().any() or self.high.isnan().any():
            raise ValueError("scale and shift must be finite, low and high must not be NaN")

    @property
    def dim(self) -> int:
        """Number of neurons."""
        return len(self.scale)

    @property
    def bounded(self) -> bool:
        """Whether some activations are out of reach, so that the map is not one affine function."""
        return bool(torch.isfinite(self.low).any() or torch.isfinite(self.high).any())

    def affine(self, strength: Strength = 1.0) -> tuple[Tensor, Tensor]:
        """Scale and shift of the map at a strength: ``1 - lam + lam scale`` and ``lam shift``."""
        return 1 + strength * (self.scale - 1), strength * self.shift

    def __call__(self, z: Tensor, strength: Strength = 1.0) -> Tensor:
        """Move activations ``(..., D)`` of any float type, computing in float32 or wider.

        What is outside the support, and every neuron that the map leaves alone, comes back bit for
        bit; with strength 0 the tensor itself comes back.

        Raises:
            ShapeMismatch: if the last axis is not D wide.
        """
        check_width(self, z)
        if not isinstance(strength, Tensor) and strength == 0:
            return z
        wide = z if z.dtype == torch.float64 else z.float()
        at = wide.clamp(self.low, self.high) if self.clamp else wide
        gain, step = strength * (self.scale - 1), strength * self.shift
        moved = (wide + (gain * at + step)).to(z.dtype)  # the step is added, to round it once
        if self.clamp or not self.bounded:
            return moved
        return torch.where(self.inside(wide), moved, z)

    def inside(self, z: Tensor) -> Tensor:
        """Which activations ``(..., D)`` are in the support, its ends included."""
        return (z >= self.low) & (z <= self.high)

    def w2(self, strength: float = 1.0) -> Tensor:
        """Wasserstein-2 distance of the moved source from the target, ``(D,)``, in closed form.

        Exact where the support holds all source samples, and the scale is not negative at this
        strength; at strength 0 it is the distance before.

        Raises:
            ValueError: if the map came without moments.
        """
        if self.moments is None:
            raise ValueError(f"a {self.method} map without moments has no report: fit one")
        scale, shift = self.affine(strength)
        return self.moments.w2(scale.cpu(), shift.cpu())

    def scaled(self, factor: float) -> "AffineTransport":
        """The map that goes ``factor`` times as far: strength 1 of it is that strength of this."""
        scale, shift = self.affine(factor)
        return AffineTransport(scale, shift, self.low, self.high, self.clamp)

    def inverse(self, min_scale: float = 0.1) -> "AffineTransport":
        """The map back, on the image of the support.

        Args:
            min_scale: neurons scaled by less have no usable inverse, and are left alone.
        """
        good = self.scale >= min_scale
        scale = torch.where(good, 1 / torch.where(good, self.scale, 1.0), 1.0)
        shift = torch.where(good, -self.shift * scale, 0.0)
        low, high = (
            torch.where(good & torch.isfinite(end), self.scale * end + self.shift, end)
            for end in (self.low, self.high)
        )
        slack = 8 * torch.finfo(low.dtype).eps  # a moved end must not be missed by its rounding
        low, high = low - slack * low.abs(), high + slack * high.abs()
        return AffineTransport(scale, shift, low, high, self.clamp)

    def keep(self, neurons: Tensor) -> Self:
        """The same map on some neurons (bool, ``(D,)``), the identity on the others."""
        scale = torch.where(neurons, self.scale, torch.ones_like(self.scale))
        return replace(self, scale=scale, shift=torch.where(neurons, self.shift, 0.0))

    def to(self, device: torch.device | str) -> Self:
        """The same map with its tensors on a device; what it was fitted on stays where it is."""
        return replace(
            self,
            scale=self.scale.to(device),
            shift=self.shift.to(device),
            low=self.low.to(device),
            high=self.high.to(device),
        )

    def tensors(self) -> dict[str, Tensor]:
        """All that a file must hold, by name."""
        return {"scale": self.scale, "shift": self.shift, "low": self.low, "high": self.high}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], clamp: bool, moments: Moments | None
    ) -> Self:
        """The map that a file held."""
        names = ("scale", "shift", "low", "high")
        return cls(*(tensors[name] for name in names), clamp=clamp, moments=moments)

    @classmethod
    def fit(
        cls,
        A: Samples,
        B: Samples,
        weights: tuple[Samples | None, Samples | None] | None = None,
        *,
        support: Support | None = None,
        min_scale: float = 0.0,
        max_scale: float | None = None,
        resolution: float | None = None,
    ) -> Self:
        """Fit every neuron by itself; rows of A and B are not paired, and their number may differ.

        Args:
            A: source activations, ``(n, D)``.
            B: target activations, ``(m, D)``.
            weights: of the rows of A and of B, ``(n,)`` and ``(m,)``; None weighs all alike.
            support: where the map acts: ``"minmax"``, between the least and the largest source
                sample; ``"all"``; two levels such as ``(0.1, 0.9)``, between these quantiles of
                the source; ``"clamp"``, as minmax, and beyond it as far as at its ends. None is
                minmax, and for `AurA` all.
            min_scale: least factor; the shift keeps the means together whatever the factor.
            max_scale: largest factor; None sets no limit.
            resolution: a source neuron that spreads less than this share of its largest value
                counts as constant and is only shifted; None: 8 rounding units of the type.

        Returns:
            A map in float32, or float64 where a sample is.

        Raises:
            ValueError: if shapes, values, weights or the support are not as said.
        """
        wa, wb = weights or (None, None)
        source, target = sorted_columns("A", A, wa), sorted_columns("B", B, wb)
        if len(source.values) != len(target.values):
            widths = f"{len(source.values)} and {len(target.values)}"
            raise ValueError(f"A and B must have the same neurons, got {widths} columns")
        support = cls.default_support if support is None else support
        sums = coupled(source, target, resolution_of(source, resolution))
        scale = cls._scales(sums, source, target)
        if cls._limited:
            scale = np.clip(scale, min_scale, max_scale)
        scale = np.where(sums.equal, 1.0, scale)
        shift = np.where(sums.equal, 0.0, cls._shifts(sums, scale))
        low, high, coverage = support_of(source, support)
        dtype = result_dtype(source, target)
        columns = (torch.from_numpy(column).to(dtype) for column in (scale, shift, low, high))
        moments = sums.moments(source.count, target.count, coverage, dtype)
        return cls(*columns, clamp=support == "clamp", moments=moments)

    _limited: ClassVar[bool] = True

    @staticmethod
    def _scales(sums: Coupled, source: Sorted, target: Sorted) -> np.ndarray:
        raise TypeError("fit one of the named maps, such as LinearTransport")

    @staticmethod
    def _shifts(sums: Coupled, scale: np.ndarray) -> np.ndarray:
        return sums.mean_b - scale * sums.mean_a


class LinearTransport(AffineTransport):
    """Least squares between the sorted samples: Linear-AcT.

    ``scale = cov / var_a`` of the monotone coupling, which is ``rho std_b / std_a``.

    Source:
        Rodriguez et al. 2024, definition 3.1.

    Example:
        >>> a = torch.tensor([[0.0], [1.0], [2.0]])
        >>> t = LinearTransport.fit(a, torch.tensor([[5.0], [1.0], [3.0]]))
        >>> t.scale.item(), t.shift.item()
        (2.0, 1.0)
        >>> t(torch.tensor([[1.0], [2.5]])).flatten()  # 2.5 is outside the support
        tensor([3.0000, 2.5000])
    """

    method: ClassVar[str] = "linear"

    @staticmethod
    def _scales(sums: Coupled, source: Sorted, target: Sorted) -> np.ndarray:
        return _ratio(sums.cov, sums.var_a, sums.degenerate)


class MeanTransport(AffineTransport):
    """Shift by the difference of the means: Mean-AcT, and the direction of CAA.

    Source:
        Rodriguez et al. 2024, table 1.
    """

    method: ClassVar[str] = "mean"
    _limited: ClassVar[bool] = False

    @staticmethod
    def _scales(sums: Coupled, source: Sorted, target: Sorted) -> np.ndarray:
        return np.ones_like(sums.var_a)


class GaussianTransport(AffineTransport):
    """Match mean and standard deviation: optimal between two normal laws.

    Source:
        Peyré and Cuturi 2019, remark 2.31, in one dimension.
    """

    method: ClassVar[str] = "gaussian"

    @staticmethod
    def _scales(sums: Coupled, source: Sorted, target: Sorted) -> np.ndarray:
        return _ratio(np.sqrt(sums.var_b), np.sqrt(sums.var_a), sums.degenerate)


def check_width(transport: Transport, z: Tensor) -> None:
    """Raise where activations are not as wide as a map."""
    if z.shape[-1:] != (transport.dim,):
        raise ShapeMismatch(
            f"a map of {transport.dim} neurons cannot move activations of shape {tuple(z.shape)};"
            " the last axis must hold the neurons"
        )


def _ratio(numerator: np.ndarray, denominator: np.ndarray, besides: np.ndarray) -> np.ndarray:
    """A quotient; 1 where the source is constant, so that the map is the shift of the mean."""
    good = (denominator > 0) & ~besides
    return np.divide(numerator, denominator, out=np.ones_like(numerator), where=good)

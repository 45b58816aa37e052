"""The optimal map itself, piecewise linear between knots."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from act_steer.coupling import Samples, Sorted, merged_grid, sorted_columns, whole_grid
from act_steer.moments import Moments, coupled
from act_steer.support import Support, resolution_of, result_dtype, support_of
from act_steer.transport import Strength, check_width

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class QuantileTransport:
    """The monotone map ``Q_B o F_A``, linear between knots, inside its support.

    A knot is the mean of an equal share of the source and the mean of what the optimal coupling
    joins with it; between two samples of one size, and with a knot a sample, the i-th smallest
    source activation goes to the i-th smallest target activation. Beyond the outermost knots it is
    continued by their shift.

    Args:
        source: knots of the source, ``(D, K)``, ascending.
        target: where they go, ``(D, K)``, ascending.
        low: lower end of the support, ``(D,)``.
        high: upper end of the support, ``(D,)``.
        distances: ``(D, 3)``: Wasserstein-2 distance before, after, and the inner product between
            the two differences, which give the distance at any strength.
        clamp: outside the support, move as far as at the nearest end.
        moments: of the samples that the map was fitted on.

    Source:
        Rodriguez et al. 2024, section 3.1 (the map that Linear-AcT approximates).
    """

    method: ClassVar[str] = "quantile"
    default_support: ClassVar[Support] = "minmax"
    default_pool: ClassVar[str] = "mean"

    source: Tensor
    target: Tensor
    low: Tensor
    high: Tensor
    distances: Tensor
    clamp: bool = False
    moments: Moments | None = None

    def __post_init__(self) -> None:
        knots, dim = self.source.shape, len(self.source)
        shapes = [tuple(t.shape) for t in (self.target, self.low, self.high, self.distances)]
        if len(knots) != 2 or shapes != [tuple(knots), (dim,), (dim,), (dim, 3)]:
            raise ValueError(f"knots must be (D, K), ends (D,), distances (D, 3), got {shapes}")
        tensors = (self.source, self.target, self.distances)
        if not all(t.is_floating_point() and torch.isfinite(t).all() for t in tensors):
            raise ValueError("knots and distances must be finite floats")
        if (self.source.diff(dim=1) < 0).any():
            raise ValueError("knots of the source must ascend")

    @property
    def dim(self) -> int:
        """Number of neurons."""
        return len(self.source)

    def __call__(self, z: Tensor, strength: Strength = 1.0) -> Tensor:
        """Move activations ``(..., D)``, computing in float32 or wider; see `AffineTransport`.

        Raises:
            ShapeMismatch: if the last axis is not D wide.
        """
        check_width(self, z)
        if not isinstance(strength, Tensor) and strength == 0:
            return z
        wide = z if z.dtype == torch.float64 else z.float()
        at = wide.clamp(self.low, self.high) if self.clamp else wide
        columns = at.reshape(-1, self.dim).t().contiguous().to(self.source.dtype)  # (D, N)
        step = (self._map(columns) - columns).t().reshape(z.shape)
        moved = (wide + strength * step).to(z.dtype)
        if self.clamp:
            return moved
        return torch.where(self.inside(wide), moved, z)

    def inside(self, z: Tensor) -> Tensor:
        """Which activations ``(..., D)`` are in the support, its ends included."""
        return (z >= self.low) & (z <= self.high)

    def _map(self, z: Tensor) -> Tensor:
        """Interpolate between knots, ``(D, N) -> (D, N)``."""
        last = self.source.shape[1] - 1
        right = torch.searchsorted(self.source, z).clamp(1, max(last, 1)).clamp(max=last)
        left = (right - 1).clamp(min=0)
        x0, x1 = self.source.gather(1, left), self.source.gather(1, right)
        y0, y1 = self.target.gather(1, left), self.target.gather(1, right)
        inside = z.clamp(self.source[:, :1], self.source[:, -1:])
        share = torch.where(x1 > x0, (inside - x0) / torch.where(x1 > x0, x1 - x0, 1.0), 0.0)
        return y0 + share * (y1 - y0) + (z - inside)

    def w2(self, strength: float = 1.0) -> Tensor:
        """Wasserstein-2 distance of the moved source from the target, ``(D,)``, for 0 to 1."""
        if not 0 <= strength <= 1:
            raise ValueError(f"a quantile map's distance is known for 0 to 1, got {strength}")
        before, after, inner = self.distances.unbind(1)
        left = 1 - strength
        squared = (left * before) ** 2 + (strength * after) ** 2 + 2 * left * strength * inner
        return squared.clamp(min=0).sqrt()

    def keep(self, neurons: Tensor) -> Self:
        """The same map on some neurons (bool, ``(D,)``), the identity on the others."""
        target = torch.where(neurons[:, None], self.target, self.source)
        before = self.distances[:, 0]
        still = torch.stack([before, before, before**2], dim=1)
        return replace(
            self, target=target, distances=torch.where(neurons[:, None], self.distances, still)
        )

    def to(self, device: torch.device | str) -> Self:
        """The same map with its tensors on a device; what it was fitted on stays where it is."""
        return replace(
            self,
            source=self.source.to(device),
            target=self.target.to(device),
            low=self.low.to(device),
            high=self.high.to(device),
        )

    def tensors(self) -> dict[str, Tensor]:
        """All that a file must hold, by name."""
        names = ("source", "target", "low", "high", "distances")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], clamp: bool, moments: Moments | None
    ) -> Self:
        """The map that a file held."""
        names = ("source", "target", "low", "high", "distances")
        return cls(*(tensors[name] for name in names), clamp=clamp, moments=moments)

    @classmethod
    def fit(
        cls,
        A: Samples,
        B: Samples,
        weights: tuple[Samples | None, Samples | None] | None = None,
        *,
        support: Support | None = None,
        knots: int = 64,
        resolution: float | None = None,
    ) -> Self:
        """Fit every neuron by itself; arguments as `AffineTransport.fit`.

        Args:
            A: source activations, ``(n, D)``.
            B: target activations, ``(m, D)``.
            weights: of the rows of A and of B; None weighs all alike.
            support: as `AffineTransport.fit`; None is minmax.
            knots: at most this many, and two for the ends where there are more samples; with n or
                more, and no weights, a knot a source sample.
            resolution: as `AffineTransport.fit`.

        Raises:
            ValueError: if shapes, values, weights, the support or ``knots`` are not as said.
        """
        if knots < 1:
            raise ValueError(f"knots must be at least 1, got {knots}")
        wa, wb = weights or (None, None)
        a, b = sorted_columns("A", A, wa), sorted_columns("B", B, wb)
        if len(a.values) != len(b.values):
            raise ValueError(
                f"A and B must have the same neurons, got {len(a.values)} and"
                f" {len(b.values)} columns"
            )
        low, high, coverage = support_of(a, support or cls.default_support)
        sums = coupled(a, b, resolution_of(a, resolution))
        x, y = _knots(a, b, min(knots, a.count))
        dtype = result_dtype(a, b)
        x, y, low, high = (
            torch.from_numpy(np.ascontiguousarray(c)).to(dtype) for c in (x, y, low, high)
        )
        moments = sums.moments(a.count, b.count, coverage, dtype)
        fitted = cls(x, y, low, high, torch.zeros(len(x), 3, dtype=dtype), moments=moments)
        fitted = replace(fitted, clamp=support == "clamp")
        return replace(fitted, distances=_distances(fitted, a, b).to(dtype))


def _knots(source: Sorted, target: Sorted, count: int) -> tuple[Array, Array]:
    """Means of ``count`` equal shares of the source and of what is coupled with them, ``(D, K)``.

    A knot stands for the levels between k / K and (k + 1) / K; the shares of equal source values
    are joined, so that the map is a function. Where a share holds several samples, the two ends are
    knots as well, ``(D, K + 2)``.
    """
    ends = np.arange(1, count + 1) / count
    shares = Sorted(np.broadcast_to(ends, (len(source.values), count)), None)
    x = _share_means(shares, source, count)
    y = _share_means(shares, target, count)
    if count < source.count:
        x, y = (
            np.hstack([s.values[:, :1], k, s.values[:, -1:]]) for s, k in ((source, x), (target, y))
        )
    same = np.diff(x, axis=1) <= 1e-12 * np.abs(x).max(1, keepdims=True)
    for column in np.flatnonzero(same.any(1)):
        group = np.concatenate([[0], np.cumsum(~same[column])])
        x[column] = np.maximum.accumulate(x[column])
        means = np.bincount(group, y[column]) / np.bincount(group)
        y[column] = means[group]
    return x, y


def _share_means(shares: Sorted, sample: Sorted, count: int) -> Array:
    """Mean of the quantile function over ``count`` equal shares of the levels, ``(D, K)``."""
    values = sample.values.astype(np.float64)
    grid = merged_grid(shares, sample)
    if grid is None:
        return values
    dim = len(values)
    joined = grid.target(values) * grid.width * count
    index = np.broadcast_to(grid.left, joined.shape) + np.arange(dim)[:, None] * count
    return np.bincount(index.ravel(), joined.ravel(), dim * count).reshape(dim, count)


def _distances(fitted: QuantileTransport, source: Sorted, target: Sorted) -> Tensor:
    """Distance before, after and the inner product of both differences, on the merged grid."""
    grid = merged_grid(source, target) or whole_grid(source.count)
    moved = fitted(torch.from_numpy(source.values.astype(np.float64)).t()).t().numpy()
    at = grid.target(target.values.astype(np.float64))
    before = grid.source(source.values.astype(np.float64)) - at
    after = grid.source(np.ascontiguousarray(moved)) - at
    columns = (
        np.sqrt(grid.integral(before**2)),
        np.sqrt(grid.integral(after**2)),
        grid.integral(before * after),
    )
    return torch.from_numpy(np.stack(columns, axis=1))

"""What two samples tell about the map between them: means, deviations and their correlation."""

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from act_steer.coupling import Grid, Sorted, columns_of, in_blocks, merged_grid, whole_grid

Array = np.ndarray
GROUP = 128  # float32 products are summed in float32 by so many, and the sums in float64


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of source and target under the monotone coupling, one number a neuron.

    Args:
        mean_a: mean of the source, ``(D,)``.
        std_a: standard deviation of the source, divisor n.
        mean_b: mean of the target.
        std_b: standard deviation of the target, divisor m.
        rho: correlation of the two quantile functions, in (0, 1]; 0 where one is constant.
        degenerate: true where the source varies by no more than rounding.
        coverage: share of source activations inside the support.
        n: number of source samples.
        m: number of target samples.
    """

    mean_a: Tensor
    std_a: Tensor
    mean_b: Tensor
    std_b: Tensor
    rho: Tensor
    degenerate: Tensor
    coverage: Tensor
    n: int
    m: int

    def tensors(self) -> dict[str, Tensor]:
        """All columns by name."""
        every = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in every.items() if isinstance(value, Tensor)}

    def w2(self, scale: Tensor, shift: Tensor) -> Tensor:
        """Wasserstein-2 distance between ``scale * source + shift`` and the target, ``(D,)``.

        Exact for ``scale >= 0``, where the map keeps the order of the source:
        ``(scale m_a + shift - m_b)^2 + scale^2 s_a^2 + s_b^2 - 2 scale rho s_a s_b``.
        """
        moved, spread = scale * self.mean_a + shift - self.mean_b, scale * self.std_a
        # s_a^2 + s_b^2 - 2 rho s_a s_b, written without cancellation
        inner = (spread - self.rho * self.std_b) ** 2 + self.residual**2
        return (moved**2 + inner).sqrt()

    @property
    def residual(self) -> Tensor:
        """The distance that no affine map goes below: ``s_b sqrt(1 - rho^2)``, ``(D,)``."""
        return self.std_b * ((1 - self.rho) * (1 + self.rho)).clamp(min=0).sqrt()


@dataclass(frozen=True)
class Coupled:
    """Float64 sums of the coupling, ``(D,)`` each, before any map is chosen."""

    mean_a: Array
    var_a: Array
    mean_b: Array
    var_b: Array
    cov: Array
    equal: Array  # bool: the two samples have the same quantiles
    degenerate: Array  # bool

    def moments(self, n: int, m: int, coverage: Array, dtype: torch.dtype) -> Moments:
        """As tensors of a given type, to be kept with a map."""
        std_a, std_b = np.sqrt(self.var_a), np.sqrt(self.var_b)
        product = std_a * std_b
        rho = np.divide(self.cov, product, out=np.zeros_like(product), where=product > 0)
        rho = np.where(self.equal & (product > 0), 1.0, np.clip(rho, 0, 1))

        def tensor(column: Array) -> Tensor:
            return torch.from_numpy(column).to(dtype)

        return Moments(
            mean_a=tensor(self.mean_a),
            std_a=tensor(std_a),
            mean_b=tensor(self.mean_b),
            std_b=tensor(std_b),
            rho=tensor(rho),
            degenerate=torch.from_numpy(self.degenerate),
            coverage=tensor(coverage),
            n=n,
            m=m,
        )


def coupled(source: Sorted, target: Sorted, resolution: float) -> Coupled:
    """Means, variances and the covariance of the monotone coupling, in float64.

    Args:
        source: n samples of D neurons.
        target: m samples of D neurons.
        resolution: relative size of rounding; a source that spreads less than this share of its
            largest value counts as constant.
    """
    grid = merged_grid(source, target)
    width = source.count if grid is None else source.count + target.count

    def block(which: slice) -> tuple[Array, ...]:
        return _block(source, target, columns_of(grid, which), which)

    sums = in_blocks(block, len(source.values), width)
    largest = np.abs(source.values[:, [0, -1]]).max(1).astype(np.float64)
    degenerate = sums[1] <= (resolution * largest) ** 2
    return Coupled(*sums, degenerate=degenerate)


def _block(source: Sorted, target: Sorted, grid: Grid | None, which: slice) -> tuple[Array, ...]:
    """Sums of some columns, about a middle value, so that squares do not cancel."""
    narrow = source.values.dtype == target.values.dtype == np.float32
    plain = grid is None and source.weights is None and target.weights is None
    a, wa, pivot_a = _centred(source, which, grouped=narrow and plain)
    b, wb, pivot_b = _centred(target, which, grouped=narrow and plain)
    if plain:
        n, on_a, on_b = source.count, a, b
        off_a, off_b = _total(a) / n, _total(b) / n
        square_a, square_b, products = (_dot(x, y) / n for x, y in ((a, a), (b, b), (a, b)))
    else:
        grid = grid or whole_grid(source.count)
        on_a, on_b = grid.source(a), grid.target(b)
        products = grid.integral(on_a * on_b)
        (off_a, square_a), (off_b, square_b) = (
            (Sorted(x, w).mean(x), Sorted(x, w).mean(x * x)) for x, w in ((a, wa), (b, wb))
        )
    var_a = _variance(source.values[which], square_a - off_a**2)
    var_b = _variance(target.values[which], square_b - off_b**2)
    cov = products - off_a * off_b
    equal = np.zeros(len(a), dtype=bool)
    near = np.flatnonzero((pivot_a == pivot_b)[:, 0])
    if len(near):  # the exact comparison only where it can succeed
        same = on_a[near] == on_b[near]
        if grid is not None:
            same |= np.broadcast_to(grid.width, on_a.shape)[near] <= 1e-12
        equal[near] = same.all(1)
    return (pivot_a[:, 0] + off_a, var_a, pivot_b[:, 0] + off_b, var_b, cov, equal)


def _centred(sample: Sorted, which: slice, *, grouped: bool) -> tuple[Array, Array | None, Array]:
    """Values less the middle one, their weights, and the middle one, ``(D, 1)``.

    Grouped values stay float32 and are filled up with zeros to a multiple of `GROUP`.
    """
    values = sample.values[which]
    pivot = values[:, values.shape[1] // 2, None]
    weights = None if sample.weights is None else sample.weights[which]
    wide = pivot.astype(np.float64)
    if not grouped:
        return np.subtract(values, wide, dtype=np.float64), weights, wide
    dim, n = values.shape
    filled = np.empty((dim, -(-n // GROUP) * GROUP), dtype=np.float32)  # zeros would fault pages
    np.subtract(values, pivot, out=filled[:, :n])
    filled[:, n:] = 0
    return filled, weights, wide


def _dot(a: Array, b: Array) -> Array:
    """Row by row inner product, ``(D, n), (D, n) -> (D,)``, in float64."""
    if a.dtype == np.float64:
        return np.einsum("dn,dn->d", a, b)
    a, b = (x.reshape(len(x), -1, GROUP) for x in (a, b))
    return np.einsum("dkn,dkn->dk", a, b).sum(axis=1, dtype=np.float64)


def _total(a: Array) -> Array:
    """Row by row sum, ``(D, n) -> (D,)``, in float64."""
    if a.dtype == np.float64:
        return a.sum(axis=1)
    groups = a.reshape(len(a), -1, GROUP) @ np.ones(GROUP, dtype=np.float32)
    return groups.sum(axis=1, dtype=np.float64)


def _variance(values: Array, variance: Array) -> Array:
    return np.where(values[:, 0] == values[:, -1], 0.0, np.maximum(variance, 0.0))

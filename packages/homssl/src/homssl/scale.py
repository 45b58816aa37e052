"""Reductions in scale: half a group, cut off at the top, and approximate."""

from dataclasses import dataclass

import torch
from torch import Tensor

from homssl.groups import Cyclic, Group, PointGroup


@dataclass(frozen=True)
class Scale(Group):
    """Reductions by powers of ``factor``: half a group, cut off at the top, and approximate.

    Element g blurs the image and shrinks it by ``factor ** g`` about its centre; on the torus,
    the small image is repeated to fill the frame. A feature map's level l is what the network
    sees of the image reduced l times, so reducing moves levels down by g. What would come from
    above the last level is not known: only the levels inside are read.

    Args:
        levels: how many levels, at least 2.
        factor: of one level to the next.
        sigma: blur of the first level, in pixels.

    Raises:
        ValueError: if ``levels < 2``, ``factor < 2`` or ``sigma <= 0``.

    Source:
        Scale-spaces as in Worrall & Welling 2019; the torus, the discrete Gaussian and the blur
        are our choice.

    Example:
        >>> group = Scale(3)
        >>> group.exact, group.order
        (False, 3)
        >>> group.pull(torch.tensor(0), torch.tensor([0, 1, 2]))
        tensor([0, 1, 2])
    """

    levels: int = 3
    factor: int = 2
    sigma: float = 1.0

    def __post_init__(self) -> None:
        if self.levels < 2 or self.factor < 2 or not self.sigma > 0:
            raise ValueError(
                "levels and factor must be at least 2 and sigma positive, got "
                f"{self.levels}, {self.factor} and {self.sigma}"
            )

    def __str__(self) -> str:
        return f"S{self.levels}"

    @property
    def exact(self) -> bool:
        """Never: pixels are left out, and levels are cut off."""
        return False

    @property
    def point(self) -> PointGroup:
        """No turns."""
        return Cyclic(1)

    @property
    def order(self) -> int:
        """One element a level."""
        return self.levels

    @property
    def generators(self) -> tuple[int, ...]:
        """Every element."""
        return tuple(range(self.levels))

    def compose(self, a: Tensor, b: Tensor) -> Tensor:
        """Reductions one after the other; beyond the last level there is none."""
        total = a + b
        if bool((total >= self.levels).any()):
            raise ValueError(f"{self} is cut off: a + b must be below {self.levels}")
        return total

    def inverse(self, a: Tensor) -> Tensor:
        """Only nothing can be undone."""
        if bool((a != 0).any()):
            raise ValueError(f"{self} has no inverses: what a reduction blurs is gone")
        return a

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Levels between a and b."""
        return (a - b).abs()

    def pull(self, base: Tensor, g: Tensor) -> Tensor:
        """The level of the whole image that is ``base`` of the reduced one."""
        return base + g

    def base(self, size: int) -> Tensor:
        """The first ``size`` levels."""
        if not 1 <= size <= self.levels:
            raise ValueError(f"base_size of {self} must be 1 to {self.levels}, got {size}")
        return torch.arange(size)

    def admissible(self, base: Tensor) -> Tensor:
        """Reductions that leave ``base`` below the last level."""
        return self.elements() + base.max() < self.levels

    def variance(self, level: int) -> float:
        """The blur of a level, in squared pixels: reductions add up to one another."""
        return self.sigma**2 * (self.factor ** (2 * level) - 1) / (self.factor**2 - 1)

    def blur(self, x: Tensor, level: int) -> Tensor:
        """Images as level ``level`` sees them, not yet shrunk."""
        if level == 0:
            return x
        rows, columns = (self._smoother(side, level, x) for side in x.shape[-2:])
        return rows @ x @ columns

    def _smoother(self, side: int, level: int, like: Tensor) -> Tensor:
        """The discrete Gaussian round a circle of ``side`` pixels, as a symmetric matrix."""
        waves = 2 * torch.pi * torch.arange(side, dtype=torch.float64) / side
        kernel = torch.fft.ifft(torch.exp(-self.variance(level) * (1 - waves.cos()))).real
        there = torch.arange(side)
        matrix = kernel[(there.view(-1, 1) - there) % side]
        return matrix.to(like.device, like.dtype)

    def shrink(self, x: Tensor, g: int) -> Tensor:
        """Every ``factor ** g``-th pixel about the centre, round the torus; no blur."""
        for dim in (-2, -1):
            side = x.shape[dim]
            centre = (side - 1) // 2
            there = torch.arange(side, device=x.device) - centre
            x = x.index_select(dim, (there * self.factor**g + centre) % side)
        return x

    def act(self, x: Tensor, g: int | Tensor) -> Tensor:
        """Images blurred and shrunk."""
        if isinstance(g, int):
            return self.shrink(self.blur(x, g), g)
        return torch.stack([self.act(image, int(e)) for image, e in zip(x, g, strict=True)])

    def act_on_features(self, z: Tensor, g: int) -> Tensor:
        """Levels moved down by ``g`` and shrunk; zeros come in at the top, see `known`."""
        self.check_features(z)
        moved = torch.cat([z[:, :, g:], torch.zeros_like(z[:, :, :g])], dim=2)
        return moved if z.ndim == 3 else self.shrink(moved, g)

    def known(self, g: int, z: Tensor) -> Tensor | None:
        """All but the last ``g`` levels."""
        inside = self.elements().to(z.device) < self.levels - g
        return inside if z.ndim == 3 else inside.view(-1, 1, 1)

    def flat(self, z: Tensor) -> Tensor:
        """The levels; space, if any, is averaged."""
        self.check_features(z)
        return z.mean((-2, -1)) if z.ndim == 5 else z

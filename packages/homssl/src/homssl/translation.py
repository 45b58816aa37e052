"""Translations of the grid of a feature map."""

from dataclasses import dataclass

import torch
from torch import Tensor

from homssl.groups import Cyclic, Group, PointGroup, gather_pixels


@dataclass(frozen=True)
class Translation(Group):
    """Shifts of a feature map's grid; images move by as many pixels as a cell is wide.

    On a torus (``margin=0``) the layers must pad circularly. With a margin the map may have
    borders: places nearer to one than ``margin`` are never read, and it must be at least the
    reach of the network, in cells.

    Args:
        size: ``(h, w)`` of the feature map; images are a whole multiple of it.
        margin: cells at each border that are not read.

    Raises:
        ValueError: if a side is below 1 or nothing is left inside the margin.

    Source:
        The group of the paper's translations; the torus and the margin are our choice.

    Example:
        >>> group = Translation((2, 3))
        >>> group.act(torch.arange(6).view(1, 1, 2, 3), 1).tolist()
        [[[[2, 0, 1], [5, 3, 4]]]]
    """

    size: tuple[int, int]
    margin: int = 0

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f"size must be (h, w), both at least 1, got {self.size}")
        if self.margin < 0 or min(self.size) <= 2 * self.margin:
            raise ValueError(
                f"margin must be 0 to {(min(self.size) - 1) // 2} for a grid of "
                f"{self.size[0]}x{self.size[1]}, got {self.margin}"
            )

    def __str__(self) -> str:
        inside = f", margin {self.margin}" if self.margin else ""
        return f"T({self.size[0]}x{self.size[1]}{inside})"

    @property
    def exact(self) -> bool:
        """A torus has no border; inside a margin none is seen."""
        return True

    @property
    def point(self) -> PointGroup:
        """No turns."""
        return Cyclic(1)

    @property
    def grid(self) -> tuple[int, int]:
        """``(h, w)`` of the feature map."""
        return self.size

    @property
    def order(self) -> int:
        """One element a cell."""
        return self.size[0] * self.size[1]

    @property
    def generators(self) -> tuple[int, ...]:
        """One step down, one step right, and a longer one."""
        height, width = self.size
        far = (height // 2) * width + width // 3
        return tuple(sorted({0, min(1, width - 1), width % self.order, far}))

    def split(self, a: Tensor) -> Tensor:
        """Elements or places as ``(..., 2)`` rows and columns."""
        return torch.stack([a // self.size[1], a % self.size[1]], dim=-1)

    def join(self, yx: Tensor) -> Tensor:
        """``(..., 2)`` rows and columns, taken round the torus, as elements."""
        height, width = self.size
        return (yx[..., 0] % height) * width + yx[..., 1] % width

    def compose(self, a: Tensor, b: Tensor) -> Tensor:
        """The sum of two shifts."""
        return self.join(self.split(a) + self.split(b))

    def inverse(self, a: Tensor) -> Tensor:
        """The shift back."""
        return self.join(-self.split(a))

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """The larger of the offsets along rows and columns; round the torus, if it is one."""
        step = (self.split(a) - self.split(b)).abs()
        if self.margin == 0:
            step = torch.minimum(step, torch.tensor(self.size, device=step.device) - step)
        return step.amax(-1)

    @property
    def diameter(self) -> int:
        """The largest distance between two places that can be read."""
        if self.margin == 0:
            return max(self.size) // 2
        return max(self.size) - 2 * self.margin - 1

    def pull(self, base: Tensor, g: Tensor) -> Tensor:
        """The place that the shift ``g`` brings to ``base``."""
        return self.compose(self.inverse(g), base)

    def base(self, size: int) -> Tensor:
        """A square window at the first corner inside the margin, row by row."""
        room = min(self.size) - 2 * self.margin
        if not 1 <= size <= room:
            raise ValueError(f"base_size of {self} must be 1 to {room}, got {size}")
        side = torch.arange(size) + self.margin
        return self.join(torch.stack(torch.meshgrid(side, side, indexing="ij"), -1)).flatten()

    def admissible(self, base: Tensor) -> Tensor:
        """Shifts that read all of ``base`` from inside the margin."""
        places = self.split(self.pull(base.view(1, -1), self.elements().view(-1, 1)))
        ends = torch.tensor(self.size) - self.margin
        return ((places >= self.margin) & (places < ends)).all(-1).all(-1)

    def cell(self, x: Tensor) -> tuple[int, int]:
        """How many pixels of ``x`` one cell is high and wide."""
        (height, width), (h, w) = x.shape[-2:], self.size
        if height % h or width % w:
            raise ValueError(
                f"the grid of {self} must divide the image or map, got {tuple(x.shape)}: "
                "without padding to the same size, or after a stride, its grid is another"
            )
        return height // h, width // w

    def act(self, x: Tensor, g: int | Tensor) -> Tensor:
        """Images rolled round the torus."""
        down, right = self.cell(x)
        if isinstance(g, int):
            y, z = divmod(g, self.size[1])
            return x.roll((y * down, z * right), (-2, -1))
        step = self.split(g.to(x.device))  # (B, 2)
        rows = (torch.arange(x.shape[-2], device=x.device) - down * step[:, :1]) % x.shape[-2]
        columns = (torch.arange(x.shape[-1], device=x.device) - right * step[:, 1:]) % x.shape[-1]
        pixels = (rows.unsqueeze(2) * x.shape[-1] + columns.unsqueeze(1)).flatten(1)  # (B, H*W)
        return gather_pixels(x, pixels)

    def act_on_features(self, z: Tensor, g: int) -> Tensor:
        """The map rolled by ``g``, on whatever multiple of the grid it has."""
        return self.act(z, g)

    def known(self, g: int, z: Tensor) -> Tensor | None:
        """Inside the margin, before and after."""
        if self.margin == 0:
            return None
        down, right = self.cell(z)
        inside = torch.zeros(z.shape[-2:], dtype=torch.bool, device=z.device)
        y, x = self.margin * down, self.margin * right
        inside[y : z.shape[-2] - y, x : z.shape[-1] - x] = True
        return inside & self.act(inside, g)

    def flat(self, z: Tensor) -> Tensor:
        """The cells; ``(B, C, H, W)`` will do as well."""
        if z.ndim == 4:
            z = z.unsqueeze(2)
        self.check_features(z)
        if z.shape[-2:] != self.size:
            raise ValueError(f"features of {self} must have its grid, got {tuple(z.shape)}")
        return z.flatten(3).squeeze(2)

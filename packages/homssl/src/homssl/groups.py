"""What a group is here, and the point groups: rotations, and rotations with a mirror.

A group's elements are the integers ``0 .. order - 1``, 0 the identity. It acts on images, and on
functions over its base space: ``(act_on_features(z, g))(s) = z(g^-1 s)``.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

EXACT_ORDERS = (1, 2, 4)


class Group(ABC):
    """What the layers, the fibers and the certificate ask of a group.

    Feature maps are ``(B, C, |G|, H, W)``; the group axis holds what does not live on the spatial
    axes, that is the orientations and the levels of scale, in this order.

    With translations, the base space is the grid; a translation's group axis has length 1.
    """

    @property
    @abstractmethod
    def order(self) -> int:
        """How many elements."""

    @property
    @abstractmethod
    def exact(self) -> bool:
        """Whether nothing is interpolated or cut off."""

    @property
    @abstractmethod
    def point(self) -> "PointGroup":
        """The group of the orientations."""

    @property
    @abstractmethod
    def generators(self) -> tuple[int, ...]:
        """Elements that a check must try."""

    @property
    def levels(self) -> int:
        """How many levels of scale."""
        return 1

    @property
    def grid(self) -> tuple[int, int] | None:
        """``(h, w)``, where translations belong to the group."""
        return None

    @property
    def margin(self) -> int:
        """Cells at the border that are not read."""
        return 0

    @property
    def axis(self) -> int:
        """The length of the group axis of a feature map."""
        return self.point.order * self.levels

    @property
    def periodic(self) -> bool:
        """Whether the action takes the image for a torus, so that padding must be circular."""
        return self.levels > 1 or (self.grid is not None and self.margin == 0)

    @property
    def partial(self) -> bool:
        """Whether some elements lead out of the part of the base space that can be read."""
        return self.levels > 1 or self.margin > 0

    def elements(self) -> Tensor:
        """All elements, ``(order,)``."""
        return torch.arange(self.order)

    @property
    def diameter(self) -> int:
        """The largest distance between two places."""
        everywhere = self.elements()
        return int(self.distance(everywhere[:1], everywhere).max())

    @abstractmethod
    def compose(self, a: Tensor, b: Tensor) -> Tensor:
        """``a b``, first b and then a, element by element."""

    @abstractmethod
    def inverse(self, a: Tensor) -> Tensor:
        """The element that undoes ``a``."""

    @abstractmethod
    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """The topographic distance between places of the base space, an integer."""

    @abstractmethod
    def pull(self, base: Tensor, g: Tensor) -> Tensor:
        """``g^-1 base``: where the fiber stands that ``g`` brings to ``base``; broadcasts."""

    @abstractmethod
    def base(self, size: int) -> Tensor:
        """A window of places of side ``size``, from the first that can be read."""

    @abstractmethod
    def act(self, x: Tensor, g: int | Tensor) -> Tensor:
        """Images ``(B, C, H, W)`` moved by ``g``: one element, or one for each image."""

    @abstractmethod
    def act_on_features(self, z: Tensor, g: int) -> Tensor:
        """A feature map ``(B, C, |G|)`` or ``(B, C, |G|, H, W)`` moved by ``g``."""

    @abstractmethod
    def flat(self, z: Tensor) -> Tensor:
        """A feature map as functions on the base space, ``(B, C, order)``."""

    def admissible(self, base: Tensor) -> Tensor:
        """Which elements read ``base`` from places that can be read, bool ``(order,)``."""
        return torch.ones(self.order, dtype=torch.bool)

    def known(self, g: int, z: Tensor) -> Tensor | None:
        """Where ``act_on_features(z, g)`` is defined, a mask that broadcasts; None: everywhere."""
        return None

    def check_features(self, z: Tensor) -> None:
        """Raise unless ``z`` is ``(B, C, |G|)`` or ``(B, C, |G|, H, W)`` of this group."""
        if z.ndim not in (3, 5) or z.shape[2] != self.axis:
            raise ValueError(
                f"features of {self} must be (B, C, {self.axis}) or (B, C, {self.axis}, H, W), "
                f"got {tuple(z.shape)}"
            )


@dataclass(frozen=True)
class PointGroup(Group):
    """Rotations by ``360 / n`` degrees and, with a mirror, reflections; `Cyclic`, `Dihedral`.

    Element ``r + n m`` is: mirror left and right if ``m``, then rotate r times, counterclockwise.
    """

    n: int
    allow_approximate: bool = False
    mirror = False

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n must be at least 1, got {self.n}")
        if not (self.exact or self.allow_approximate):
            raise ValueError(
                f"rotations by {360 / self.n:g} degrees are not exact on a square grid: "
                f"n must be 1, 2 or 4, got {self.n}; allow_approximate=True takes it all the same"
            )

    @property
    def order(self) -> int:
        """``n``, or ``2 n`` with the mirror."""
        return 2 * self.n if self.mirror else self.n

    @property
    def exact(self) -> bool:
        """Whether rotations need no interpolation."""
        return self.n in EXACT_ORDERS

    @property
    def point(self) -> "PointGroup":
        """Itself."""
        return self

    @property
    def generators(self) -> tuple[int, ...]:
        """Every element: there are few."""
        return tuple(range(self.order))

    def compose(self, a: Tensor, b: Tensor) -> Tensor:
        """``R^r M^m R^s M^k = R^(r + (-1)^m s) M^(m + k)``."""
        ma, mb = a // self.n, b // self.n
        r = (a + torch.where(ma == 1, -b, b)) % self.n
        return r + self.n * ((ma + mb) % 2)

    def inverse(self, a: Tensor) -> Tensor:
        """Reflections undo themselves, rotations are turned back."""
        return torch.where(a >= self.n, a, -a % self.n)

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Steps of rotation and of mirroring from a to b, the shorter way round."""
        step = self.compose(self.inverse(a), b)
        r = step % self.n
        return torch.minimum(r, self.n - r) + step // self.n

    def pull(self, base: Tensor, g: Tensor) -> Tensor:
        """``g^-1 base``, by the group's own product."""
        return self.compose(self.inverse(g), base)

    def base(self, size: int) -> Tensor:
        """The first ``size`` elements."""
        if not 1 <= size <= self.order:
            raise ValueError(f"base_size of {self} must be 1 to {self.order}, got {size}")
        return torch.arange(size)

    def linear(self, g: Tensor) -> Tensor:
        """The matrices that move displacements ``(dy, dx)``, integer ``(..., 2, 2)``."""
        if not self.exact:
            raise ValueError(f"{self} does not map the grid to itself")
        quarter = torch.tensor([[0, -1], [1, 0]])  # one turn: (dy, dx) -> (-dx, dy)
        table = [torch.linalg.matrix_power(quarter.double(), r * (4 // self.n)).long()
                 for r in range(self.n)]  # fmt: skip
        if self.mirror:
            table += [turn @ torch.tensor([[1, 0], [0, -1]]) for turn in table]
        return torch.stack(table).to(g.device)[g]

    def turn(self, planes: Tensor, g: int) -> Tensor:
        """Images ``(..., H, W)``, or kernels, moved by one element."""
        r, mirrored = g % self.n, g >= self.n
        if mirrored:
            planes = planes.flip(-1)
        quarters, rest = divmod(4 * r, self.n)
        if rest:
            planes = rotate(planes, math.pi / 2 * rest / self.n)
        return planes.rot90(quarters, (-2, -1))

    def act(self, x: Tensor, g: int | Tensor) -> Tensor:
        """Images moved; without interpolation it is a permutation of the pixels."""
        self.check_image(x)
        if isinstance(g, int):
            return self.turn(x, g)
        if self.exact:
            height, width = x.shape[-2:]
            pixels = torch.arange(height * width, device=x.device).view(height, width)
            table = torch.stack([self.turn(pixels, e).flatten() for e in range(self.order)])
            where = table[g.to(x.device)]  # (B, H*W)
            return gather_pixels(x, where)
        return torch.stack([self.turn(image, int(e)) for image, e in zip(x, g, strict=True)])

    def check_image(self, x: Tensor) -> None:
        """Raise on images that a quarter turn would change the shape of."""
        if self.n > 2 and x.shape[-1] != x.shape[-2]:
            raise ValueError(f"{self} needs square images, got {tuple(x.shape)}")

    def act_on_features(self, z: Tensor, g: int) -> Tensor:
        """Orientations permuted and, where there is space, the image turned."""
        self.check_features(z)
        z = z.index_select(2, self.pull(self.elements(), torch.tensor(g)).to(z.device))
        if z.ndim == 3:
            return z
        self.check_image(z)
        return self.turn(z, g)

    def flat(self, z: Tensor) -> Tensor:
        """The orientations; space, if any, is averaged."""
        self.check_features(z)
        return z.mean((-2, -1)) if z.ndim == 5 else z


@dataclass(frozen=True)
class Cyclic(PointGroup):
    """C_n, the rotations by ``360 / n`` degrees: exact for n = 1, 2 and 4.

    Args:
        n: how many rotations.
        allow_approximate: take an n whose rotations need interpolation; `exact` is then False.

    Raises:
        ValueError: if ``n`` is another number and ``allow_approximate`` is not set.

    Source:
        Cohen & Welling 2016, the group p4 without its translations.

    Example:
        >>> group = Cyclic(4)
        >>> x = torch.arange(4.0).view(1, 1, 2, 2)
        >>> group.act(x, 1).tolist()
        [[[[1.0, 3.0], [0.0, 2.0]]]]
        >>> int(group.distance(torch.tensor(0), torch.tensor(3)))
        1
    """

    def __str__(self) -> str:
        return f"C{self.n}"


@dataclass(frozen=True)
class Dihedral(PointGroup):
    """D_n, rotations and reflections, ``2 n`` elements: exact for n = 1, 2 and 4.

    Args:
        n: how many rotations.
        allow_approximate: take an n whose rotations need interpolation; `exact` is then False.

    Raises:
        ValueError: if ``n`` is another number and ``allow_approximate`` is not set.

    Source:
        Cohen & Welling 2016, the group p4m without its translations.

    Example:
        >>> group = Dihedral(4)
        >>> a, b = torch.tensor(1), torch.tensor(4)  # a turn, the mirror
        >>> int(group.compose(a, b)), int(group.compose(b, a))
        (5, 7)
    """

    mirror = True

    def __str__(self) -> str:
        return f"D{self.n}"


def gather_pixels(x: Tensor, where: Tensor) -> Tensor:
    """Images ``(B, ..., H, W)`` with their pixels taken from ``where``, ``(B, H*W)``."""
    flat = x.flatten(-2)
    where = where.view(len(where), *[1] * (flat.ndim - 2), -1)
    return flat.gather(-1, where.expand(flat.shape)).view(x.shape)


def rotate(planes: Tensor, angle: float) -> Tensor:
    """Planes ``(..., H, H)`` rotated counterclockwise by interpolation, zero outside.

    Args:
        planes: images or kernels, any leading shape.
        angle: in radians.

    Returns:
        The shape of ``planes``; bicubic between pixels.

    Source:
        Bicubic resampling about the centre of the grid.

    Example:
        >>> spot = torch.zeros(5, 5)
        >>> spot[2, 2] = 1.0
        >>> rotate(spot, 0.7)[2, 2].item()
        1.0
    """
    cos, sin = math.cos(angle), math.sin(angle)
    theta = torch.tensor([[[cos, -sin, 0.0], [sin, cos, 0.0]]], dtype=planes.dtype)
    stack = planes.reshape(1, -1, *planes.shape[-2:])
    where = F.affine_grid(theta.to(planes.device), list(stack.shape), align_corners=False)
    turned = F.grid_sample(stack, where, mode="bicubic", padding_mode="zeros", align_corners=False)
    return turned.view(planes.shape)

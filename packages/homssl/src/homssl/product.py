"""A point group with translations, or with levels of scale; and groups from words."""

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from homssl.groups import Cyclic, Dihedral, Group, PointGroup
from homssl.scale import Scale
from homssl.translation import Translation


@dataclass(frozen=True)
class Product(Group):
    """Rotations (and mirrors) with translations, or with levels of scale.

    Element ``g * second.order + t`` is: first g, then t. With translations the product is the
    crystallographic one (p4, p4m): a turn also turns the direction of a shift.

    Args:
        first: `Cyclic` or `Dihedral`; exact, if ``second`` is a `Translation`.
        second: `Translation` or `Scale`.

    Raises:
        ValueError: if the two do not make a product that this package carries.

    Source:
        Cohen & Welling 2016 for p4 and p4m; the product with scale is our choice.

    Example:
        >>> group = Product(Cyclic(4), Translation((6, 6)))
        >>> print(group, group.order, group.axis)
        C4*T(6x6) 144 4
    """

    first: PointGroup
    second: Translation | Scale

    def __post_init__(self) -> None:
        if not (
            isinstance(self.first, PointGroup) and isinstance(self.second, Translation | Scale)
        ):
            raise ValueError(
                "a product is a Cyclic or Dihedral, then a Translation or Scale, got "
                f"{self.first} and {self.second}"
            )
        if isinstance(self.second, Translation):
            if not self.first.exact:
                raise ValueError(f"{self.first} does not map the grid of {self.second} to itself")
            if self.first.n > 2 and self.second.size[0] != self.second.size[1]:
                raise ValueError(f"{self.first} needs a square grid, got {self.second}")

    def __str__(self) -> str:
        return f"{self.first}*{self.second}"

    @property
    def order(self) -> int:
        """The product of the orders."""
        return self.first.order * self.second.order

    @property
    def exact(self) -> bool:
        """Whether both are."""
        return self.first.exact and self.second.exact

    @property
    def point(self) -> PointGroup:
        """The first."""
        return self.first

    @property
    def levels(self) -> int:
        """The levels of the second."""
        return self.second.levels

    @property
    def grid(self) -> tuple[int, int] | None:
        """The grid of the second."""
        return self.second.grid

    @property
    def margin(self) -> int:
        """The margin of the second."""
        return self.second.margin

    @property
    def generators(self) -> tuple[int, ...]:
        """Those of the first, those of the second, and two together."""
        turns = [g * self.second.order for g in self.first.generators]
        both = turns[-1] + self.second.generators[-1]
        return tuple(sorted({*turns, *self.second.generators, both}))

    @property
    def diameter(self) -> int:
        """The larger of the two."""
        return max(self.first.diameter, self.second.diameter)

    def split(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """The parts of elements, or of places."""
        return a // self.second.order, a % self.second.order

    def join(self, g: Tensor, t: Tensor) -> Tensor:
        """Elements, or places, from their parts."""
        return g * self.second.order + t

    def _carried(self, g: Tensor, t: Tensor) -> Tensor:
        """``g t g^-1``: the shift as it looks after the turn."""
        if isinstance(self.second, Scale):
            return t
        moved = (self.first.linear(g) * self.second.split(t).unsqueeze(-2)).sum(-1)
        return self.second.join(moved)

    def _placed(self, g: Tensor, place: Tensor) -> Tensor:
        """Where a turn about the middle of the grid takes a cell."""
        if isinstance(self.second, Scale):
            return place
        middle = torch.tensor(self.second.size, device=place.device) - 1  # doubled
        offset = 2 * self.second.split(place) - middle
        turned = (self.first.linear(g) * offset.unsqueeze(-2)).sum(-1)
        return self.second.join((turned + middle) // 2)

    def compose(self, a: Tensor, b: Tensor) -> Tensor:
        """``(t g)(u h) = t (g u g^-1) g h``."""
        (g, t), (h, u) = self.split(a), self.split(b)
        return self.join(self.first.compose(g, h), self.second.compose(t, self._carried(g, u)))

    def inverse(self, a: Tensor) -> Tensor:
        """``(t g)^-1 = (g^-1 t^-1 g) g^-1``."""
        g, t = self.split(a)
        back = self.first.inverse(g)
        return self.join(back, self._carried(back, self.second.inverse(t)))

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """The larger of the two distances."""
        (g, t), (h, u) = self.split(a), self.split(b)
        return torch.maximum(self.first.distance(g, h), self.second.distance(t, u))

    def pull(self, base: Tensor, g: Tensor) -> Tensor:
        """The place whose fiber ``g`` brings to ``base``: back by the shift, then by the turn."""
        (turn, t), (s, place) = self.split(g), self.split(base)
        there = self._placed(self.first.inverse(turn), self.second.pull(place, t))
        s, there = torch.broadcast_tensors(self.first.pull(s, turn), there)
        return self.join(s, there)

    def base(self, size: int) -> Tensor:
        """The window of the second, upright."""
        return self.second.base(size)

    def admissible(self, base: Tensor) -> Tensor:
        """Elements whose second part reads what can be read; turns keep inside inside."""
        _, t = self.split(self.elements())
        return self.second.admissible(self.split(base)[1])[t]

    def act(self, x: Tensor, g: int | Tensor) -> Tensor:
        """First the turn, then the shift or the reduction."""
        if isinstance(g, int):
            turn, t = divmod(g, self.second.order)
            return self.second.act(self.first.act(x, turn), t)
        turns, shifts = self.split(g)
        return self.second.act(self.first.act(x, turns), shifts)

    def act_on_features(self, z: Tensor, g: int) -> Tensor:
        """As on images, and the group axis permuted."""
        self.check_features(z)
        turn, t = divmod(g, self.second.order)
        z = z.unflatten(2, (self.first.order, self.second.levels))  # (B, C, N, L, ...)
        source = self.first.pull(self.first.elements(), torch.tensor(turn))
        moved = z.index_select(2, source.to(z.device))
        if moved.ndim > 4:
            self.first.check_image(moved)
            moved = self.first.turn(moved, turn)
        moved = self.second.act_on_features(moved.flatten(1, 2), t)  # (B, C N, L, ...)
        return moved.unflatten(1, (-1, self.first.order)).flatten(2, 3)

    def known(self, g: int, z: Tensor) -> Tensor | None:
        """Where the second's action is known."""
        _, t = divmod(g, self.second.order)
        known = self.second.known(t, z)
        if known is None or isinstance(self.second, Translation):
            return known
        return known.repeat(self.first.order, *[1] * (known.ndim - 1))

    def flat(self, z: Tensor) -> Tensor:
        """The places, orientation by orientation."""
        self.check_features(z)
        if isinstance(self.second, Scale):
            return z.mean((-2, -1)) if z.ndim == 5 else z
        if z.ndim != 5 or z.shape[-2:] != self.second.size:
            raise ValueError(f"features of {self} must have its grid, got {tuple(z.shape)}")
        return z.flatten(2)


def parse_group(text: str) -> Group:
    """The group that a word names: ``c4``, ``d4``, ``t14x14``, ``s3``, ``c4*t7x7``.

    Args:
        text: a letter and a number; a star between the parts of a product. ``t14x14m3`` has a
            margin of 3. Orders that are only approximate are taken, and marked.

    Returns:
        The group.

    Raises:
        ValueError: if the word names none.

    Example:
        >>> print(parse_group("c4*t7x7"))
        C4*T(7x7)
    """
    parts = [_parse_one(part) for part in text.lower().split("*")]
    if len(parts) == 1:
        return parts[0]
    if len(parts) == 2:
        return Product(*parts)  # type: ignore[arg-type]
    raise ValueError(f"a product has two parts, got {text!r}")


def _parse_one(text: str) -> Group:
    if found := re.fullmatch(r"([cds])(\d+)", text):
        letter, n = found[1], int(found[2])
        if letter == "s":
            return Scale(n)
        return (Cyclic if letter == "c" else Dihedral)(n, allow_approximate=True)
    if found := re.fullmatch(r"t(\d+)x(\d+)(?:m(\d+))?", text):
        return Translation((int(found[1]), int(found[2])), margin=int(found[3] or 0))
    raise ValueError(f"a group is c4, d4, t14x14, s3 or a product c4*t7x7, got {text!r}")

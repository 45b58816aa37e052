"""The operations, their ranges, and what a bin of a magnitude means in them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache

import torch

SIGNED = frozenset({
    "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate",
    "Brightness", "Color", "Contrast", "Sharpness",
})  # fmt: skip
UNGRADED = frozenset({"Identity", "AutoContrast", "Equalize", "Invert"})
RANDAUGMENT = (
    "Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color",
    "Contrast", "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize",
)  # fmt: skip
Values = Callable[[int, int, int], list[float]]  # of bins, height and width
ENHANCE = ("Brightness", "Color", "Contrast", "Sharpness")
NAMES = (*RANDAUGMENT, "Invert", "SolarizeAdd")


def _up_to(end: float) -> Values:
    """Bins from 0 to ``end``, whatever the size of the image."""
    return lambda bins, height, width: torch.linspace(0.0, end, bins).tolist()


def _down(bins: int, height: int, width: int) -> list[float]:
    """Bins from 1 to 0."""
    return torch.linspace(1.0, 0.0, bins).tolist()


def _bits(first: int, cut: int) -> Values:
    """Bits kept: ``first`` at bin 0, ``cut`` fewer at the last."""

    def values(bins: int, height: int, width: int) -> list[float]:
        return (first - torch.arange(bins) / ((bins - 1) / cut)).round().tolist()

    return values


def _share(share: float, axis: str) -> Values:
    """Pixels: from 0 to a share of the width or the height."""

    def values(bins: int, height: int, width: int) -> list[float]:
        return torch.linspace(0.0, share * (width if axis == "x" else height), bins).tolist()

    return values


def _ranges(shear: float, rotate: float, enhance: float, **others: Values) -> dict[str, Values]:
    """The ranges of one published table."""
    ends = dict.fromkeys(ENHANCE, enhance) | dict.fromkeys(("ShearX", "ShearY"), shear)
    ends |= {"Rotate": rotate, "SolarizeAdd": 110.0}
    rising = {name: _up_to(end) for name, end in ends.items()}
    return rising | {"Solarize": _down} | others


RANGES: dict[str, dict[str, Values]] = {
    "randaugment": _ranges(
        0.3, 30.0, 0.9, Posterize=_bits(8, 4),
        TranslateX=_share(150.0 / 331.0, "x"), TranslateY=_share(150.0 / 331.0, "y"),
    ),
    "wide": _ranges(
        0.99, 135.0, 0.99, Posterize=_bits(8, 6),
        TranslateX=_up_to(32.0), TranslateY=_up_to(32.0),
    ),
    "augmix": _ranges(
        0.3, 30.0, 0.9, Posterize=_bits(4, 4),
        TranslateX=_share(1.0 / 3.0, "x"), TranslateY=_share(1.0 / 3.0, "y"),
    ),
    "timm": _ranges(
        0.3, 30.0, 0.9, Posterize=_bits(4, 4),
        TranslateX=_share(0.45, "x"), TranslateY=_share(0.45, "y"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Space:
    """A list of operations, the number of bins of a magnitude, and the ranges that the bins span.

    Args:
        ops: names, in the order in which a plan numbers them; see ``NAMES``.
        bins: number of magnitudes, at least 2; bin 0 is the weakest.
        ranges: ``"randaugment"``, ``"wide"`` (TrivialAugment), ``"augmix"`` or ``"timm"``
            (timm's, with ``inc1``).
        identity_at_zero: makes Solarize at bin 0 the identity. torchvision's inverts what is 255.

    Raises:
        ValueError: if a name is not known, there is no operation, or there are fewer than 2 bins.

    Source:
        Cubuk et al. 2020; Müller and Hutter 2021, table of the wide space; Hendrycks et al. 2020.
        Values as torchvision's.

    Example:
        >>> space = Space()
        >>> space.ops[5], round(space.values("Rotate", 32, 32)[9], 3), space.signed[5]
        ('Rotate', 9.0, True)
    """

    ops: tuple[str, ...] = RANDAUGMENT
    bins: int = 31
    ranges: str = "randaugment"
    identity_at_zero: bool = False
    signed: tuple[bool, ...] = field(init=False, repr=False, compare=False)
    graded: tuple[bool, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ops", _checked(self.ops))
        if not isinstance(self.bins, int) or not 2 <= self.bins <= 32767:
            raise ValueError(f"bins must be an integer from 2 to 32767, got {self.bins!r}")
        if self.ranges not in RANGES:
            raise ValueError(f"ranges must be one of {', '.join(RANGES)}, got {self.ranges!r}")
        object.__setattr__(self, "signed", tuple(name in SIGNED for name in self.ops))
        object.__setattr__(self, "graded", tuple(name not in UNGRADED for name in self.ops))

    def values(self, op: str, height: int, width: int) -> tuple[float, ...]:
        """The value of each bin: a slope, pixels, degrees, an offset of a factor, bits, a share.

        Args:
            op: a name of ``ops``.
            height: of the image, in pixels; only translations ask.
            width: likewise.

        Returns:
            ``bins`` numbers, without sign; none for an operation without a magnitude.
        """
        return _values(self.ranges, op, self.bins, height, width)


@lru_cache(maxsize=1024)
def _values(ranges: str, op: str, bins: int, height: int, width: int) -> tuple[float, ...]:
    if op in UNGRADED:
        return ()
    return tuple(RANGES[ranges][op](bins, height, width))


def _checked(ops: Iterable[str]) -> tuple[str, ...]:
    """The names as a tuple, all of them known and no name twice."""
    names = (ops,) if isinstance(ops, str) else tuple(ops)
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise ValueError(f"ops has {unknown[0]!r}: choose from {', '.join(NAMES)}")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"ops must name at least one operation, and none twice, got {names}")
    return names

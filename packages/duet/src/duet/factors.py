"""What is structured: a parameter, its direction, range and identity, and how it is read."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from duet import changes
from duet._checks import check_bins, check_floating, check_generator, check_kappa, check_sigma
from duet.readout import read_cyclic, read_finite
from duet.targets import gaussian_target, von_mises_target

Transform = Callable[[Tensor, Tensor], Tensor]
Affine = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Factor:
    """One transformation and its parameter, in its own unit (value) and in ``[0, 1]`` (p).

    Make yours by giving ``affine``, if it moves pixels, or ``act``, if it changes them.

    Args:
        name: under which views record it and losses find it.
        bins: length of its axis.
        cyclic: whether p = 0 and p = 1 are the same.
        width: of the targets: kappa if cyclic (larger is narrower), else sigma (in units of p).
        start: value at p = 0.
        end: value at p = 1, above or below ``start``: the direction in which p grows.
        identity: value that leaves an image as it is.
        unit: of the values, for prints.
        values: the only values drawn; none means all of the range, uniformly.
        probability: with which a value is drawn; otherwise it is the identity.
        affine: ``values (B,) -> (B, 2, 2)``: where the content of an output pixel comes from, as a
            matrix on offsets (right, down) from the centre, in pixels.
        act: ``(images (B, C, H, W), values (B,)) -> images``.

    Raises:
        ValueError: if ``bins``, ``width``, the range, ``probability`` or ``values`` do not fit.

    Source:
        Suau et al. 2023, section 3; one convention for each transformation is ours.

    Example:
        >>> turn = rotation(bins=8)
        >>> p = turn.normalise(torch.tensor([-90.0, 0.0, 90.0]))
        >>> p
        tensor([0.2500, 0.5000, 0.7500])
        >>> turn.denormalise(turn.readout(turn.target(p))).round()
        tensor([-90.,   0.,  90.])
    """

    name: str
    bins: int
    cyclic: bool
    width: float
    start: float = 0.0
    end: float = 1.0
    identity: float = 0.0
    unit: str = ""
    values: tuple[float, ...] | None = None
    probability: float = 1.0
    affine: Affine | None = None
    act: Transform | None = None

    def __post_init__(self) -> None:
        check_bins(self.bins)
        (check_kappa if self.cyclic else check_sigma)(self.width)
        if not 0 < abs(self.end - self.start) < math.inf:
            got = f"{self.start} and {self.end}"
            raise ValueError(f"start and end must be finite and differ, got {got}")
        for value in (self.identity, *(self.values or ())):
            if not 0 <= (value - self.start) / (self.end - self.start) <= 1:
                raise ValueError(
                    f"identity and values of {self.name} must be in "
                    f"{self.start:g} to {self.end:g}, got {value:g}"
                )
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability must be 0 to 1, got {self.probability}")

    def __str__(self) -> str:
        kind, width = ("cyclic", "kappa") if self.cyclic else ("finite", "sigma")
        unit = f" {self.unit}" if self.unit else ""
        where = f"{self.start:g} to {self.end:g}{unit}"
        return f"{self.name}: {self.bins} bins, {where}, {kind}, {width} {self.width:g}"

    @property
    def identity_p(self) -> float:
        """The parameter in ``[0, 1]`` that leaves an image as it is."""
        return (self.identity - self.start) / (self.end - self.start)

    def normalise(self, value: Tensor) -> Tensor:
        """Values in ``unit`` to p; a cyclic factor wraps into ``[0, 1)``."""
        check_floating("value", value)
        p = (value - self.start) / (self.end - self.start)
        return p - p.floor() if self.cyclic else p

    def denormalise(self, p: Tensor) -> Tensor:
        """Parameters p to values in ``unit``; a cyclic factor wraps first."""
        check_floating("p", p)
        p = p - p.floor() if self.cyclic else p
        return self.start + p * (self.end - self.start)

    def target(self, p: Tensor, *, check: bool = True) -> Tensor:
        """The exact target of parameters ``(...)``, probabilities ``(..., bins)``."""
        if self.cyclic:
            return von_mises_target(p, self.bins, self.width, check=check)
        return gaussian_target(p, self.bins, self.width, check=check)

    def readout(self, probs: Tensor) -> Tensor:
        """The parameter that a marginal ``(..., bins)`` says, calibrated, ``(...)``."""
        if probs.shape[-1] != self.bins:
            got = tuple(probs.shape)
            raise ValueError(f"probs of {self.name} must be (..., {self.bins}), got {got}")
        return read_cyclic(probs) if self.cyclic else read_finite(probs, self.width)

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """How far two parameters are apart, in units of p; the shorter way round if cyclic."""
        apart = (a - b).abs()
        if not self.cyclic:
            return apart
        apart = apart - apart.floor()
        return torch.minimum(apart, 1 - apart)

    def draw(self, count: int, *, generator: torch.Generator) -> Tensor:
        """``count`` parameters p, float32, where the generator is."""
        check_generator(generator)
        device = generator.device
        if self.values is None:
            p = torch.rand(count, generator=generator, device=device)
        else:
            levels = self.normalise(torch.tensor(self.values, device=device))
            which = torch.randint(len(levels), (count,), generator=generator, device=device)
            p = levels[which]
        if self.probability < 1:
            drawn = torch.rand(count, generator=generator, device=device) < self.probability
            p = torch.where(drawn, p, self.identity_p)
        return p

    def to_config(self) -> dict[str, Any]:
        """All that JSON can hold: everything but functions of your own."""
        mine = (self.affine, self.act)
        kind = next((name for name, pair in BUILT_IN.items() if pair == mine), "yours")
        plain = {name: getattr(self, name) for name in PLAIN}
        return {**plain, "values": self.values and list(self.values), "transform": kind}

    @staticmethod
    def from_config(
        config: Mapping[str, Any], *, affine: Affine | None = None, act: Transform | None = None
    ) -> "Factor":
        """The factor of a config; give ``affine`` or ``act`` again if they were yours."""
        missing = {*PLAIN, "values", "transform"} - set(config)
        if missing:
            raise ValueError(f"a factor's config lacks {', '.join(sorted(missing))}")
        kind = config["transform"]
        if kind != "yours" and kind not in BUILT_IN:
            known = ", ".join(BUILT_IN)
            raise ValueError(f"transform must be yours or one of {known}, got {kind!r}")
        affine, act = BUILT_IN.get(kind, (affine, act))
        values = config["values"]
        plain = {name: config[name] for name in PLAIN}
        return Factor(**plain, values=values and tuple(values), affine=affine, act=act)


PLAIN = ("name", "bins", "cyclic", "width", "start", "end", "identity", "unit", "probability")
BUILT_IN: dict[str, tuple[Affine | None, Transform | None]] = {
    "rotation": (changes.rotate, None),
    "rotation4": (changes.quarter, None),
    "hflip": (changes.mirror, None),
    "vflip": (changes.topple, None),
    "scale": (changes.zoom, None),
    "brightness": (None, changes.brighten),
    "contrast": (None, changes.stretch),
    "saturation": (None, changes.saturate),
    "hue": (None, changes.recolour),
}


def rotation(bins: int = 8, *, kappa: float = 3.0) -> Factor:
    """Any angle, degrees counterclockwise as displayed, -180 to 180; p = 0.5 is upright."""
    return Factor("rotation", bins, True, kappa, -180.0, 180.0, 0.0, "degrees",
                  affine=changes.rotate)  # fmt: skip


def rotation4(bins: int = 4, *, kappa: float = 3.0) -> Factor:
    """Quarter turns, degrees counterclockwise: 0, 90, 180, 270, in the middle of 4 bins."""
    return Factor("rotation4", bins, True, kappa, -45.0, 315.0, 0.0, "degrees",
                  (0.0, 90.0, 180.0, 270.0), affine=changes.quarter)  # fmt: skip


def hflip(bins: int = 2, *, sigma: float = 0.2) -> Factor:
    """Left and right exchanged (1) or not (0): p = 0.75 or 0.25, in the middle of 2 bins."""
    return Factor("hflip", bins, False, sigma, -0.5, 1.5, 0.0, "", (0.0, 1.0),
                  affine=changes.mirror)  # fmt: skip


def vflip(bins: int = 2, *, sigma: float = 0.2) -> Factor:
    """Top and bottom exchanged (1) or not (0): p = 0.75 or 0.25, in the middle of 2 bins."""
    return replace(hflip(bins, sigma=sigma), name="vflip", affine=changes.topple)


def scale(bins: int = 8, *, sigma: float = 0.2, low: float = 0.2) -> Factor:
    """Area of the crop over that of the image, 1 down to ``low``; p = 0 is all, p = 1 closest."""
    return Factor("scale", bins, False, sigma, 1.0, low, 1.0, "of the area",
                  affine=changes.zoom)  # fmt: skip


def brightness(bins: int = 8, *, sigma: float = 0.2, strength: float = 0.4) -> Factor:
    """Pixels times ``1 - strength`` to ``1 + strength``; p = 0 is darkest, 0.5 as it is."""
    return _jitter("brightness", bins, sigma, strength, changes.brighten)


def contrast(bins: int = 8, *, sigma: float = 0.2, strength: float = 0.4) -> Factor:
    """Distance from the mean grey times ``1 - strength`` to ``1 + strength``; p = 0 is flattest."""
    return _jitter("contrast", bins, sigma, strength, changes.stretch)


def saturation(bins: int = 8, *, sigma: float = 0.2, strength: float = 0.4) -> Factor:
    """Distance from a pixel's grey times ``1 - strength`` to ``1 + strength``; p = 0 is greyest."""
    return _jitter("saturation", bins, sigma, strength, changes.saturate)


def _jitter(name: str, bins: int, sigma: float, strength: float, act: Transform) -> Factor:
    """A factor about one."""
    if not 0 < strength <= 1:
        raise ValueError(f"strength of {name} must be above 0 and at most 1, got {strength}")
    return Factor(name, bins, False, sigma, 1 - strength, 1 + strength, 1.0, "times", act=act)


def hue(bins: int = 8, *, sigma: float = 0.2, kappa: float = 3.0, strength: float = 0.1) -> Factor:
    """Turns of the colour circle, red to yellow to green, ``-strength`` to ``strength``.

    The whole circle, ``strength=0.5``, is cyclic with ``kappa``; less is finite with ``sigma``.
    """
    if not 0 < strength <= 0.5:
        raise ValueError(f"strength of hue must be above 0 and at most 0.5, got {strength}")
    cyclic = strength == 0.5
    width = kappa if cyclic else sigma
    return Factor("hue", bins, cyclic, width, -strength, strength, 0.0, "turns",
                  act=changes.recolour)  # fmt: skip

"""Parameters that kornia recorded, as those of this package; kornia itself is not imported."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from duet._checks import SLACK
from duet.factors import Factor
from duet.layer import check_factors

Data = Mapping[str, Tensor]
COLOURS = ("brightness", "contrast", "saturation", "hue")
JITTERS = ("ColorJitter", "ColorJiggle")


def read_kornia(recorded: Any, factors: Iterable[Factor]) -> dict[str, Tensor]:
    """What `DuetLoss` and `ParamView.apply` take, from what kornia's augmentations recorded.

    Read are RandomRotation, RandomRotation90, RandomAffine (its angle, whose direction is the
    other one), RandomHorizontalFlip, RandomVerticalFlip, RandomResizedCrop, ColorJitter,
    ColorJiggle and the four of their parts; others are passed over. The angle is the one that the
    finished view shows: a flip after a rotation turns its sign. Samples that a probability passed
    over get the identity.

    Args:
        recorded: ``AugmentationSequential._params``, or for single augmentations a mapping from
            the name of kornia's class to its ``_params``, in the order in which they acted.
        factors: which parameters are wanted.

    Returns:
        p by the name of the factor, ``(B,)``, float32, as `View.params`; with a crop also
        ``crop_x``, ``crop_y`` and ``crop_ratio``.

    Raises:
        ValueError: if nothing recorded says a factor, two say the same, or a value is outside its
            range.

    Source:
        kornia 0.9: corners from the upper left, clockwise, the last pixel inclusive; positive
        degrees are counterclockwise in RandomRotation, clockwise in RandomAffine.

    Example:
        >>> from duet import rotation
        >>> recorded = {"RandomRotation": {"degrees": torch.tensor([90.0, 30.0]),
        ...                                "batch_prob": torch.tensor([1.0, 0.0])}}
        >>> read_kornia(recorded, [rotation()])
        {'rotation': tensor([0.7500, 0.5000])}
    """
    factors = check_factors(tuple(factors))
    values: dict[str, Tensor] = {}
    for name, data in _items(recorded):
        applied = data["batch_prob"].bool() if "batch_prob" in data else None
        for factor, value in _read(name, data).items():
            if factor in values:
                raise ValueError(f"{factor} was recorded twice: one parameter cannot say both")
            neutral = torch.full_like(value, NEUTRAL.get(factor, 0.0))
            values[factor] = value if applied is None else torch.where(applied, value, neutral)
        if name in ("RandomHorizontalFlip", "RandomVerticalFlip") and applied is not None:
            for angle in ("rotation", "rotation4"):
                if angle in values:
                    values[angle] = torch.where(applied, -values[angle], values[angle])
    params = {factor.name: _parameter(factor, values) for factor in factors}
    if "scale" in params:
        params |= {name: values[name] for name in ("crop_x", "crop_y", "crop_ratio")}
    return params


NEUTRAL = {
    "scale": 1.0,
    "brightness": 1.0,
    "contrast": 1.0,
    "saturation": 1.0,
    "crop_x": 0.5,
    "crop_y": 0.5,
    "crop_ratio": 1.0,
}


def _items(recorded: Any) -> Iterator[tuple[str, Data]]:
    """Names of kornia's classes and what they recorded, in order, out of any nesting."""
    pairs = recorded.items() if isinstance(recorded, Mapping) else (
        (item.name, item.data) for item in recorded
    )  # fmt: skip
    for name, data in pairs:
        if isinstance(data, Mapping):
            yield name.split("_")[0], data
        elif data is not None:
            yield from _items(data)


def _read(name: str, data: Data) -> dict[str, Tensor]:
    """Values, in the factors' units, that one augmentation recorded."""
    if name == "RandomRotation":
        return {"rotation": data["degrees"].float()}
    if name == "RandomAffine":
        return {"rotation": -data["angle"].float()}
    if name == "RandomRotation90":
        return {"rotation4": 90 * data["times"].float().round()}
    if name in ("RandomHorizontalFlip", "RandomVerticalFlip"):
        flip = "hflip" if name == "RandomHorizontalFlip" else "vflip"
        return {flip: torch.ones_like(data["batch_prob"], dtype=torch.float32)}
    if name == "RandomResizedCrop":
        return _crop(data)
    if name in JITTERS or name in {f"Random{colour.title()}" for colour in COLOURS}:
        keys = {colour: f"{colour}_factor" for colour in COLOURS}
        return {colour: data[key].float() for colour, key in keys.items() if key in data}
    return {}


def _crop(data: Data) -> dict[str, Tensor]:
    """Area, place and shape of a crop from its corners, whose last pixels are inside it."""
    corners = data["src"].float()  # (B, 4, 2): upper left, upper right, lower right, lower left
    full = data["input_size"].float().flip(1)  # (B, 2): width, height
    window = corners[:, 2] - corners[:, 0] + 1
    part, free = window / full, full - window
    place = torch.where(free > 0, corners[:, 0] / free.clamp_min(1), 0.5)
    return {
        "scale": part.prod(1),
        "crop_x": place[:, 0],
        "crop_y": place[:, 1],
        "crop_ratio": part[:, 0] / part[:, 1],
    }


def _parameter(factor: Factor, values: Mapping[str, Tensor]) -> Tensor:
    """The parameter p of a factor, checked against its range."""
    if factor.name not in values:
        raise ValueError(f"kornia recorded no {factor.name}, got {sorted(values)}")
    value = values[factor.name]
    p = factor.normalise(value)
    outside = (p < -SLACK) | (p > 1 + SLACK)
    if bool(outside.any()):
        raise ValueError(
            f"kornia recorded {factor.name} {float(value[outside][0]):g}, outside of "
            f"{factor.start:g} to {factor.end:g}: give the factor kornia's range"
        )
    return p

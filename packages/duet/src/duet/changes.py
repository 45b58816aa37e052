"""What the built-in factors do to images: matrices for those that move pixels, maps of colour.

A matrix maps the offset (right, down) of an output pixel from the centre to the offset, in the
input, that its content comes from: the inverse of the motion that one sees.
"""

import torch
from torch import Tensor

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601, as torchvision and kornia


def rotate(values: Tensor) -> Tensor:
    """Counterclockwise by degrees."""
    angle = torch.deg2rad(values)
    cos, sin = angle.cos(), angle.sin()
    return _matrix(cos, -sin, sin, cos)


def quarter(values: Tensor) -> Tensor:
    """Counterclockwise by the nearest multiple of 90 degrees, in whole numbers."""
    turns = (values / 90).round().long() % 4
    cos = torch.tensor([1, 0, -1, 0], dtype=values.dtype, device=values.device)
    sin = torch.tensor([0, 1, 0, -1], dtype=values.dtype, device=values.device)
    return _matrix(cos[turns], -sin[turns], sin[turns], cos[turns])


def mirror(values: Tensor) -> Tensor:
    """Left and right exchanged where the value is above a half."""
    zero, one = torch.zeros_like(values), torch.ones_like(values)
    return _matrix(torch.where(values > 0.5, -one, one), zero, zero, one)


def topple(values: Tensor) -> Tensor:
    """Top and bottom exchanged where the value is above a half."""
    zero, one = torch.zeros_like(values), torch.ones_like(values)
    return _matrix(one, zero, zero, torch.where(values > 0.5, -one, one))


def zoom(values: Tensor) -> Tensor:
    """A window of this part of the area fills the frame."""
    side, zero = values.sqrt(), torch.zeros_like(values)
    return _matrix(side, zero, zero, side)


def brighten(x: Tensor, values: Tensor) -> Tensor:
    """Pixels times the value, within [0, 1]."""
    return (x * values.view(-1, 1, 1, 1)).clamp(0, 1)


def stretch(x: Tensor, values: Tensor) -> Tensor:
    """Away from the mean grey of the image, within [0, 1]."""
    mean = grey(x).mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, x, values.view(-1, 1, 1, 1)).clamp(0, 1)


def saturate(x: Tensor, values: Tensor) -> Tensor:
    """Away from each pixel's grey, within [0, 1]."""
    check_colour(x, "saturation")
    return torch.lerp(grey(x), x, values.view(-1, 1, 1, 1)).clamp(0, 1)


def recolour(x: Tensor, values: Tensor) -> Tensor:
    """Round the colour circle by turns, red to yellow to green."""
    check_colour(x, "hue")
    value, _ = x.max(1)  # (B, H, W)
    chroma = value - x.min(1).values
    red, green, blue = x.unbind(1)
    safe = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    sixth = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )  # the hue, in sixths of a turn
    sixth = sixth + 6 * values.view(-1, 1, 1)
    offsets = torch.tensor([5.0, 3.0, 1.0], dtype=x.dtype, device=x.device).view(3, 1, 1)
    k = (offsets + sixth.unsqueeze(1)) % 6  # (B, 3, H, W)
    return value.unsqueeze(1) - chroma.unsqueeze(1) * torch.minimum(k, 4 - k).clamp(0, 1)


def grey(x: Tensor) -> Tensor:
    """Luma of colour images, the mean of others, ``(B, 1, H, W)``."""
    if x.shape[1] != 3:
        return x.mean(1, keepdim=True)
    weights = torch.tensor(GREY, dtype=x.dtype, device=x.device).view(3, 1, 1)
    return (x * weights).sum(1, keepdim=True)


def check_colour(x: Tensor, name: str) -> None:
    """Raise unless there are three channels."""
    if x.shape[1] != 3:
        raise ValueError(f"{name} needs images of 3 channels, got {x.shape[1]}")


def _matrix(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Matrices ``[[a, b], [c, d]]``, ``(B, 2, 2)``."""
    return torch.stack([torch.stack([a, b], -1), torch.stack([c, d], -1)], -2)

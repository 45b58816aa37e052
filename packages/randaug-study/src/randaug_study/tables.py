"""Operations on single grey levels: 256 entries a channel, built once an image, looked up once.

The functions return tables of uint8, ``(n, C, 256)`` or less: what becomes of each grey level. The
steps of the arithmetic, and with them the rounding, are torchvision's.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from randaug_study.space import Space

FIXED = ("Brightness", "Posterize", "Solarize", "SolarizeAdd", "Invert")  # whatever the image


def lookup_(x: Tensor, tables: Tensor) -> None:
    """Replace each grey level of ``x``, uint8 ``(n, C, H, W)``, by its entry, in place."""
    n, channels, height, width = x.shape
    flat = x.view(n * channels, height * width)
    torch.gather(tables.view(n * channels, 256), 1, flat.long(), out=flat)


@lru_cache(maxsize=32)
def levels(device: torch.device, dtype: torch.dtype = torch.uint8) -> Tensor:
    """All grey levels in order, ``(256,)``."""
    return torch.arange(256, dtype=dtype, device=device)


def fixed(space: Space, op: str) -> Tensor:
    """The tables of one of ``FIXED``, for each sign (+, -) and bin, ``(2, bins, 256)``."""
    same = torch.arange(256, dtype=torch.uint8)
    if op == "Invert":
        return (255 - same).expand(2, space.bins, 256)
    values = torch.tensor(space.values(op, 1, 1), dtype=torch.float64)[:, None]
    if op == "Brightness":
        factor = torch.stack([1.0 + values, 1.0 - values]).float()
        return (same * factor).clamp_(0, 255).to(torch.uint8)
    if op == "Posterize":
        kept = (255 << 8 - values.long()) % 256
        return (same & kept.to(torch.uint8)).expand(2, space.bins, 256)
    if op == "SolarizeAdd":
        raised = (same + values.long()).clamp_(max=255).to(torch.uint8)
        return torch.where(same < 128, raised, same).expand(2, space.bins, 256)
    inverted = same >= (255.0 * values).float()
    if space.identity_at_zero:
        inverted[0] = False
    return torch.where(inverted, 255 - same, same).expand(2, space.bins, 256)


def contrast(x: Tensor, factor: Tensor, rest: Tensor) -> Tensor:
    """Away from, or to, the mean of the image in grey, ``(n, 1, 256)``.

    Args:
        x: uint8 ``(n, C, H, W)``.
        factor: ``1 + magnitude``, float32 ``(n,)``; 0 is grey, 1 the image itself.
        rest: ``1 - factor``, rounded by itself, float32 ``(n,)``.
    """
    if x.shape[1] == 1:
        total = x.flatten(1).sum(1, dtype=torch.int64)
    else:
        total = grayscale(x).flatten(1).sum(1, dtype=_exact(x))  # of whole numbers
    mean = (total / (x.shape[2] * x.shape[3]))[:, None]
    scaled = levels(x.device) * factor[:, None]
    blended = torch.addcmul(scaled, mean.float(), rest[:, None])
    return blended.clamp_(0, 255).to(torch.uint8)[:, None]


def _exact(x: Tensor) -> torch.dtype:
    """A type in which the sum of an image's grey levels is exact in any order."""
    return torch.float32 if x.shape[2] * x.shape[3] <= 2**16 else torch.float64


def grayscale(x: Tensor) -> Tensor:
    """Luma in whole numbers, rounded down, float32 ``(n, H, W)``."""
    red, green, blue = x.unbind(1)
    return red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114).floor_()


def autocontrast(x: Tensor) -> Tensor:
    """The darkest level of each channel to 0, the brightest to 255; a flat channel stays."""
    flat = x.flatten(2)  # amin and amax of bytes are many times as fast as aminmax
    low, high = flat.amin(2, keepdim=True).float(), flat.amax(2, keepdim=True).float()
    scale = (high - low).mul_(1.0 / 255)
    shifted = levels(x.device, torch.float32) - low
    stretched = shifted.div_(scale).clamp_(0, 255).to(torch.uint8)
    return torch.where(scale == 0, levels(x.device), stretched)


def histogram(x: Tensor) -> Tensor:
    """How many pixels of each channel have each grey level, int64 ``(n, C, 256)``."""
    n, channels = x.shape[:2]
    if x.device.type == "cpu":  # numpy's is several times as fast
        counts = np.empty((n * channels, 256), dtype=np.int64)
        for row, pixels in zip(counts, x.view(n * channels, -1).numpy(), strict=True):
            row[:] = np.bincount(pixels, minlength=256)
        return torch.from_numpy(counts).view(n, channels, 256)
    offsets = torch.arange(0, n * channels * 256, 256, device=x.device)[:, None]
    numbers = x.view(n * channels, -1) + offsets  # int64
    counts = torch.bincount(numbers.view(-1), minlength=n * channels * 256)
    return counts.view(n, channels, 256)


def equalize(x: Tensor) -> Tensor:
    """Ranks spread over 0 to 255, by the whole numbers that PIL uses; a flat channel stays."""
    counts = histogram(x)
    upto = counts.cumsum(2)
    under = upto - counts  # how many pixels are darker
    darker = under.gather(2, upto.argmax(2, keepdim=True))  # than the brightest
    step = darker.div_(255, rounding_mode="floor")
    raised = under.add_(step // 2).div_(step.clamp(min=1), rounding_mode="floor").clamp_(max=255)
    return torch.where(step == 0, levels(x.device), raised.to(torch.uint8))

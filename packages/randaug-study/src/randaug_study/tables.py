"""Operations on single grey levels: 256 entries a channel, built once an image, looked up once.

Every function returns tables ``(n, C, 256)`` of uint8: what becomes of each grey level. The steps
of the arithmetic, and with them the rounding, are torchvision's.
"""

from functools import lru_cache

import torch
from torch import Tensor

from randaug_study.space import Space

FIXED = ("Brightness", "Posterize", "Solarize", "Invert")  # tables that no image changes


def lookup(x: Tensor, tables: Tensor) -> Tensor:
    """Each grey level replaced by its entry, ``(n, C, H, W)``.

    Args:
        x: uint8 ``(n, C, H, W)``, contiguous.
        tables: uint8 ``(n, C, 256)``.
    """
    n, channels, height, width = x.shape
    levels = x.view(n * channels, height * width).long()
    return tables.view(n * channels, 256).gather(1, levels).view(x.shape)


@lru_cache(maxsize=64)
def fixed(space: Space, op: str) -> Tensor:
    """The tables of one of ``FIXED``, for each sign (+, -) and bin, ``(2, bins, 256)``."""
    levels = torch.arange(256, dtype=torch.uint8)
    if op == "Invert":
        return levels.bitwise_not().expand(2, space.bins, 256).contiguous()
    tables = torch.empty(2, space.bins, 256, dtype=torch.uint8)
    for bin, value in enumerate(space.values(op, 1, 1)):
        for row, sign in enumerate((1, -1)):
            if op == "Brightness":
                bright = levels.mul(1.0 + sign * value).clamp_(0, 255)
                tables[row, bin] = bright.to(torch.uint8)
            elif op == "Posterize":
                tables[row, bin] = levels & (255 << 8 - int(value)) % 256
            else:
                inverted = levels >= 255.0 * value
                if bin == 0 and space.identity_at_zero:
                    inverted = torch.zeros_like(inverted)
                tables[row, bin] = torch.where(inverted, levels.bitwise_not(), levels)
    return tables


def contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Away from, or to, the mean of the image in grey.

    Args:
        x: uint8 ``(n, C, H, W)``.
        factor: ``1 + magnitude``, float64 ``(n,)``; 0 is grey, 1 the image itself.
    """
    n, channels, height, width = x.shape
    gray = x[:, 0] if channels == 1 else grayscale(x)
    total = gray.sum(dim=(1, 2), dtype=torch.int64) if channels == 1 else whole_sum(gray)
    mean = total.float() / (height * width)
    levels = torch.arange(256, dtype=torch.uint8, device=x.device)
    scaled = levels * factor.float()[:, None]  # (n, 256)
    blended = torch.addcmul(scaled, mean[:, None], (1.0 - factor).float()[:, None])
    tables = blended.clamp_(0, 255).to(torch.uint8)
    return tables[:, None].expand(n, channels, 256)


def whole_sum(gray: Tensor) -> Tensor:
    """Sums of whole numbers held as float32 ``(n, H, W)``, exact in any order."""
    if gray[0].numel() <= 2**16:
        return gray.sum(dim=(1, 2))  # below 2**24: no rounding
    return gray.sum(dim=(1, 2), dtype=torch.float64)


def grayscale(x: Tensor) -> Tensor:
    """Luma in whole numbers, rounded down, float32 ``(n, H, W)``."""
    red, green, blue = x.unbind(1)
    return red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114).floor_()


def autocontrast(x: Tensor) -> Tensor:
    """The darkest level of each channel to 0, the brightest to 255; a flat channel stays."""
    least, most = x.flatten(2).aminmax(dim=2)  # (n, C) each
    low, high = least.float(), most.float()
    flat = low == high
    scale = (high - low).mul_(1.0 / 255).masked_fill_(flat, 1.0)
    levels = torch.arange(256, dtype=torch.float32, device=x.device)
    shifted = levels - low.masked_fill(flat, 0.0)[..., None]
    return shifted.div_(scale[..., None]).clamp_(0, 255).to(torch.uint8)


def equalize(x: Tensor) -> Tensor:
    """Ranks spread over 0 to 255, by the whole numbers that PIL uses; a flat channel stays."""
    n, channels, height, width = x.shape
    offsets = torch.arange(n * channels, device=x.device)[:, None] * 256
    levels = x.view(n * channels, height * width) + offsets  # int64
    counts = torch.bincount(levels.flatten(), minlength=n * channels * 256)
    counts = counts.view(n, channels, 256).to(torch.int32)
    below = counts.cumsum(2, dtype=torch.int32)
    last = counts.gather(2, below.argmax(2, keepdim=True))  # how many have the brightest level
    step = (height * width - last).div_(255, rounding_mode="floor")
    raised = (below + step // 2).div_(step.clamp(min=1), rounding_mode="floor").clamp_(0, 255)
    tables = torch.zeros(n, channels, 256, dtype=torch.uint8, device=x.device)
    tables[..., 1:] = raised[..., :-1]
    same = torch.arange(256, dtype=torch.uint8, device=x.device)
    return torch.where(step == 0, same, tables)

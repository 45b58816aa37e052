"""What may come in, and how it goes out again: tensors of several kinds, PIL images."""

from typing import Any

import numpy as np
import torch
from torch import Tensor


def to_batch(x: Any, dtype: str) -> Tensor:
    """The images as a contiguous uint8 batch ``(B, C, H, W)``.

    Args:
        x: a tensor ``(B, C, H, W)`` or ``(C, H, W)``, or a PIL image of mode L or RGB.
        dtype: ``"uint8"``, or ``"float"`` for floats from 0 to 1, which are rounded to 256 levels.

    Raises:
        TypeError: if it is neither, or of another dtype.
        ValueError: if the shape, the channels or the range are others, or it requires a gradient.
    """
    if is_pil(x):
        if x.mode not in ("L", "RGB"):
            raise ValueError(f"a PIL image must be of mode L or RGB, got {x.mode}: convert it")
        pixels = torch.from_numpy(np.array(x))
        return (pixels[None] if x.mode == "L" else pixels.permute(2, 0, 1))[None].contiguous()
    if not isinstance(x, Tensor):
        raise TypeError(f"x must be a tensor or a PIL image, got {type(x).__name__}")
    x = x.as_subclass(Tensor)
    if x.ndim not in (3, 4):
        raise ValueError(f"x must be (B, C, H, W) or (C, H, W), got {tuple(x.shape)}")
    if x.shape[-3] not in (1, 3):
        hint = ": leave alpha aside, and put it back after" if x.shape[-3] == 4 else ""
        got = tuple(x.shape)
        raise ValueError(f"x must have 1 or 3 channels before height and width, got {got}{hint}")
    if dtype == "float" and x.is_floating_point():
        x = _quantise(x)
    elif x.dtype != torch.uint8:
        hint = "give dtype='float' for floats from 0 to 1" if x.is_floating_point() else "convert"
        raise TypeError(f"x must be uint8, got {x.dtype}: {hint}")
    return (x if x.ndim == 4 else x[None]).contiguous()


def like(out: Tensor, x: Any) -> Any:
    """A batch in the form in which ``x`` came: its class, rank, dtype and memory format."""
    if is_pil(x):
        from PIL import Image

        pixels = out[0, 0] if x.mode == "L" else out[0].permute(1, 2, 0)
        return Image.fromarray(pixels.numpy())
    if x.is_floating_point():
        out = (out.to(torch.float32) / 255).to(x.dtype)
    if x.ndim == 3:
        return out[0].as_subclass(type(x))
    if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        out = out.contiguous(memory_format=torch.channels_last)
    return out.as_subclass(type(x))


def rows(x: Any) -> int:
    """How many images: a single one counts as one."""
    return len(x) if isinstance(x, Tensor) and x.ndim == 4 else 1


def is_pil(x: Any) -> bool:
    """Whether it is a PIL image; PIL itself is not imported."""
    return any(base.__module__ == "PIL.Image" for base in type(x).__mro__)


def _quantise(x: Tensor) -> Tensor:
    """Floats from 0 to 1 to the nearest of 256 levels."""
    if x.requires_grad:
        raise ValueError("x requires a gradient, and none passes through here: detach it")
    if x.numel():
        least, most = (float(end) for end in x.aminmax())
        if not (least >= 0.0 and most <= 1.0):
            raise ValueError(f"floats must be from 0 to 1, got {least:g} to {most:g}")
    return (x.float() * 255).round_().to(torch.uint8)

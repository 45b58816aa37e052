"""The two operations that look at more than one number of a pixel: colour and sharpness."""

import torch
from torch import Tensor

from randaug_study.tables import grayscale


def color_(x: Tensor, factor: Tensor, rest: Tensor) -> None:
    """Away from, or to, the image in grey, in place.

    Args:
        x: uint8 ``(n, 3, H, W)``.
        factor: ``1 + magnitude``, float32 ``(n,)``; 0 is grey, 1 the image itself.
        rest: ``1 - factor``, rounded by itself, float32 ``(n,)``.
    """
    scaled = x.flatten(2).float().mul_(factor.view(-1, 1, 1))
    gray = grayscale(x).view(len(x), 1, -1)
    x.flatten(2).copy_(scaled.addcmul_(gray, rest.view(-1, 1, 1)).clamp_(0, 255))


def sharpness_(x: Tensor, factor: Tensor, rest: Tensor) -> None:
    """Away from, or to, a 3 x 3 mean whose middle counts five times, in place; the rim stays.

    Args:
        x: uint8 ``(n, C, H, W)``.
        factor: not needed; beside ``rest``, as in ``color_``.
        rest: ``-magnitude``, float32 ``(n,)``; 1 is blurred, 0 the image itself.
    """
    if x.shape[2] <= 2 or x.shape[3] <= 2:
        return
    width = x.shape[3]
    whole = x.view(len(x), -1).to(torch.int16)  # in one row: what wraps around lands on the rim
    rows = whole[:, : -2 * width] + whole[:, width:-width]
    rows += whole[:, 2 * width :]
    box = rows[:, :-2] + rows[:, 1:-1]
    box += rows[:, 2:]
    middle = whole[:, width + 1 : -width - 1]
    box.add_(middle, alpha=4)  # at most 13 * 255
    base = middle.float()
    away = box.float().mul_(1.0 / 13.0).round_().sub_(base)  # k / 13 is never half way
    mixed = base.addcmul_(away, rest[:, None]).clamp_(0, 255)
    out = torch.empty_like(x)
    out.view(len(x), -1)[:, width + 1 : -width - 1] = mixed
    x[..., 1:-1, 1:-1] = out[..., 1:-1, 1:-1]

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
    scaled = x * factor.view(-1, 1, 1, 1)
    blended = scaled.addcmul_(grayscale(x)[:, None], rest.view(-1, 1, 1, 1))
    x.copy_(blended.clamp_(0, 255))


def sharpness_(x: Tensor, factor: Tensor, rest: Tensor) -> None:
    """Away from, or to, a 3 x 3 mean whose middle counts five times, in place; the rim stays.

    Args:
        x: uint8 ``(n, C, H, W)``.
        factor: ``1 + magnitude``, float32 ``(n,)``; 0 is blurred, 1 the image itself.
        rest: ``1 - factor``, rounded by itself, float32 ``(n,)``.
    """
    if x.shape[2] <= 2 or x.shape[3] <= 2:
        return
    whole = x.to(torch.int16)
    rows = whole[..., :-2, :] + whole[..., 1:-1, :]
    rows += whole[..., 2:, :]
    box = rows[..., :-2] + rows[..., 1:-1]
    box += rows[..., 2:]
    middle = whole[..., 1:-1, 1:-1]
    total = box.add_(middle, alpha=4)  # at most 13 * 255
    blurred = (total * (1.0 / 13.0)).round_()  # k / 13 is never half way
    mixed = torch.addcmul(middle, blurred.sub_(middle), rest.view(-1, 1, 1, 1))
    x[..., 1:-1, 1:-1] = mixed.clamp_(0, 255)

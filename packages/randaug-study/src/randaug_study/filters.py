"""The two operations that look at more than one number of a pixel: colour and sharpness."""

import torch
from torch import Tensor

from randaug_study.tables import grayscale


def color(x: Tensor, factor: Tensor) -> Tensor:
    """Away from, or to, the image in grey, ``(n, C, H, W)``; a grey image stays.

    Args:
        x: uint8 ``(n, C, H, W)``, C of 1 or 3.
        factor: ``1 + magnitude``, float64 ``(n,)``; 0 is grey, 1 the image itself.
    """
    if x.shape[1] == 1:
        return x
    ratio = factor.view(-1, 1, 1, 1)
    scaled = x * ratio.float()
    blended = torch.addcmul(scaled, grayscale(x)[:, None], (1.0 - ratio).float())
    return blended.clamp_(0, 255).to(torch.uint8)


def sharpness(x: Tensor, factor: Tensor) -> Tensor:
    """Away from, or to, a 3 x 3 mean whose middle counts five times; the rim stays.

    Args:
        x: uint8 ``(n, C, H, W)``.
        factor: ``1 + magnitude``, float64 ``(n,)``; 0 is blurred, 1 the image itself.
    """
    if x.shape[2] <= 2 or x.shape[3] <= 2:
        return x
    whole = x.to(torch.int16)
    rows = whole[..., :-2, :] + whole[..., 1:-1, :] + whole[..., 2:, :]
    box = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    middle = whole[..., 1:-1, 1:-1]
    total = box.add_(middle, alpha=4)  # at most 13 * 255
    blurred = total.float().mul_(1.0 / 13.0).round_()  # k / 13 is never half way
    base = middle.float()
    away = (1.0 - factor).float().view(-1, 1, 1, 1)
    out = x.clone()
    mixed = torch.addcmul(base, blurred.sub_(base), away)
    out[..., 1:-1, 1:-1] = mixed.clamp_(0, 255).to(torch.uint8)
    return out

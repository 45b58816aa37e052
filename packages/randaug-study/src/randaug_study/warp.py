"""Shears, translations and rotations: where each pixel comes from, worked out once and kept.

A magnitude is a bin, so few maps are ever needed: for one magnitude and one size of image, ten.
A map is made by the very steps of torchvision, on the number of each pixel in place of its grey
level; to warp is then to look up, and the result is torchvision's to the bit.
"""

import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor

from randaug_study.space import Space

WARPS = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
CACHE_BYTES = 64 * 2**20
_maps: OrderedDict[tuple, Tensor] = OrderedDict()


def inverse_matrix(op: str, value: float, height: int, width: int) -> list[float]:
    """Row by row the 2 x 3 matrix from a pixel of the result to its source.

    Coordinates are in pixels from the middle of the image. Rotations and translations keep the
    middle, shears keep the corner at the top left; a translation is cut to whole pixels.

    Args:
        op: one of ``WARPS``.
        value: with its sign: slope, pixels or degrees against the clock.
        height: of the image, in pixels.
        width: likewise.
    """
    if op == "Rotate":
        turn = math.radians(-(value % 360))
        cos, sin = math.cos(turn), math.sin(turn)
        return [cos, sin, 0.0, -sin, cos, 0.0]
    if op in ("TranslateX", "TranslateY"):
        by = -float(int(value))
        return [1.0, 0.0, by, 0.0, 1.0, 0.0] if op[-1] == "X" else [1.0, 0.0, 0.0, 0.0, 1.0, by]
    x, y = -0.5 * width, -0.5 * height  # the corner that stays
    angle = math.radians(math.degrees(math.atan(value)))
    if op == "ShearX":
        slope = math.tan(angle)
        return [1.0, slope, x - x - slope * y, 0.0, 1.0, 0.0]
    slope = math.sin(angle) / math.cos(angle)
    return [1.0, 0.0, 0.0, slope, 1.0, y - slope * x - y]


def sampling_grid(op: str, value: float, height: int, width: int) -> Tensor:
    """Where each pixel comes from, as ``grid_sample`` wants it, float32 ``(1, H, W, 2)``."""
    theta = torch.tensor(inverse_matrix(op, value, height, width)).view(1, 2, 3).transpose(1, 2)
    theta = theta.div(torch.tensor([0.5 * width, 0.5 * height]))
    grid = torch.ones(1, height, width, 3)
    grid[..., 0] = torch.linspace((1.0 - width) * 0.5, (width - 1.0) * 0.5, width)
    grid[..., 1] = torch.linspace((1.0 - height) * 0.5, (height - 1.0) * 0.5, height)[:, None]
    return grid.view(1, height * width, 3).bmm(theta).view(1, height, width, 2)


def source_map(op: str, value: float, height: int, width: int) -> Tensor:
    """The number of the pixel that each pixel copies, int64 ``(H * W,)``; H * W where none is."""
    numbers = torch.arange(height * width).view(height, width)
    if op == "Rotate" and value % 90 == 0 and (value % 180 == 0 or height == width):
        return torch.rot90(numbers, int(value % 360) // 90).flatten()
    rows, columns = numbers // width + 1.0, numbers % width + 1.0  # 0 is left for outside
    grid = sampling_grid(op, value, height, width)
    places = F.grid_sample(
        torch.stack([rows, columns])[None], grid, mode="nearest", align_corners=False
    )[0].long()  # (2, H, W)
    source = (places[0] - 1) * width + places[1] - 1
    return torch.where(places[0] > 0, source, height * width).flatten()


def _kept(kind: str, space: Space, op: str, code: int, x: Tensor) -> Tensor:
    """The map or the grid of one signed bin (``code`` is the bin, or -1 - bin), from the cache."""
    height, width = x.shape[-2:]
    key = (kind, space.ranges, space.bins, op, code, height, width, x.device)
    found = _maps.get(key)
    if found is None:
        value = space.values(op, height, width)[code if code >= 0 else -1 - code]
        make = source_map if kind == "nearest" else sampling_grid
        found = make(op, value if code >= 0 else -value, height, width).to(x.device)
        _maps[key] = found
        while len(_maps) > 1 and sum(m.nbytes for m in _maps.values()) > CACHE_BYTES:
            _maps.popitem(last=False)
    return found


def warp(
    x: Tensor, space: Space, ops: list[str], codes: list[int], mode: str, fill: Tensor | None
) -> Tensor:
    """Each image by its own map, uint8 ``(n, C, H, W)``.

    Args:
        x: uint8 ``(n, C, H, W)``.
        space: gives the bins their values.
        ops: the name of each image's operation, n of them.
        codes: the bin of each, or -1 - bin where the sign is negative.
        mode: ``"nearest"`` or ``"bilinear"``.
        fill: grey levels of what comes from outside, float32 ``(C,)``; None is black.
    """
    n, channels, height, width = x.shape
    kinds = list(zip(ops, codes, strict=True))
    distinct = {kind: row for row, kind in enumerate(dict.fromkeys(kinds))}
    which = torch.tensor([distinct[kind] for kind in kinds], device=x.device)
    maps = torch.stack([_kept(mode, space, op, code, x) for op, code in distinct])
    if mode == "bilinear":
        return _bilinear(x, maps[:, 0].index_select(0, which), fill)
    padded = x.new_empty(n, channels, height * width + 1)
    padded[..., :-1] = x.flatten(2)
    padded[..., -1] = 0 if fill is None else fill.round().to(torch.uint8)
    index = maps.index_select(0, which)[:, None].expand(n, channels, height * width)
    return padded.gather(2, index).view(x.shape)


def _bilinear(x: Tensor, grid: Tensor, fill: Tensor | None) -> Tensor:
    """Four neighbours by their distances; outside is black, or mixes with the fill.

    A rim pixel that is half outside is darkened before it is mixed, as torchvision's is: with a
    fill, it holds less of the image than without.
    """
    if fill is None:
        image = F.grid_sample(x.float(), grid, mode="bilinear", align_corners=False)
        return image.round_().to(torch.uint8)
    both = torch.cat([x, x.new_ones(len(x), 1, *x.shape[2:])], 1).float()
    both = F.grid_sample(both, grid, mode="bilinear", align_corners=False)
    image, mask = both[:, :-1], both[:, -1:]
    level = fill.view(1, -1, 1, 1)
    return image.sub_(level).mul_(mask).add_(level).round_().to(torch.uint8)

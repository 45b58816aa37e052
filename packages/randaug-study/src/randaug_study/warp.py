"""Shears, translations and rotations: where each pixel comes from, worked out once and kept.

A magnitude is a bin, so few maps are ever needed: for one magnitude and one size of image, ten.
A map is made by the very steps of torchvision, on the number of each pixel in place of its grey
level; to warp is then to look up, and the result is torchvision's to the bit.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from randaug_study.space import Space

WARPS = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
WHOLE_BYTES = 32 * 2**20  # up to here, the maps of a size are rows of one tensor
CACHE_BYTES = 64 * 2**20  # beyond, this much is kept of a size


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


def map_of_code(
    space: Space, code: int, height: int, width: int, *, mode: str = "nearest"
) -> Tensor:
    """The ``source_map``, or else the ``sampling_grid``, of one code; see ``run.Bank``."""
    op, signed_bin = divmod(code, 2 * space.bins)
    negative, bin = divmod(signed_bin, space.bins)
    name = space.ops[op]
    value = space.values(name, height, width)[bin] * (-1 if negative else 1)
    if mode == "nearest":
        return source_map(name, value, height, width)
    return sampling_grid(name, value, height, width)[0]


def shift_of_code(space: Space, code: int, height: int, width: int) -> tuple[int, int] | None:
    """Whole pixels to the right and down, if the code is of a translation; else None."""
    op, signed_bin = divmod(code, 2 * space.bins)
    negative, bin = divmod(signed_bin, space.bins)
    name = space.ops[op]
    if name not in ("TranslateX", "TranslateY"):
        return None
    by = int(space.values(name, height, width)[bin]) * (-1 if negative else 1)
    return (by, 0) if name == "TranslateX" else (0, by)


def shift_(x: Any, shift: tuple[int, int], fill: Any) -> None:
    """Move the last two axes of a tensor, or an array, in place; what is left gets the fill."""
    moved = x.clone() if isinstance(x, Tensor) else x.copy()
    to: list[slice] = []
    source: list[slice] = []
    for by, size in zip(reversed(shift), x.shape[-2:], strict=True):
        by = max(-size, min(size, by))
        to.append(slice(max(by, 0), size + min(by, 0)))
        source.append(slice(max(-by, 0), size + min(-by, 0)))
    x[...] = fill
    x[..., to[0], to[1]] = moved[..., source[0], source[1]]


class Maps:
    """The maps, or the grids, of a space at one size: made when first needed, then kept.

    Small images keep all of theirs in one tensor, so that a batch takes its rows in one call.
    """

    def __init__(
        self, space: Space, mode: str, height: int, width: int, device: torch.device
    ) -> None:
        self.space, self.mode, self.size, self.device = space, mode, (height, width), device
        self.kept: OrderedDict[int, Tensor] = OrderedDict()
        self.lock = threading.Lock()
        count = len(space.ops) * 2 * space.bins
        shape = (height * width,) if mode == "nearest" else (height, width, 2)
        self.whole: Tensor | None = None
        if count * height * width * 8 <= WHOLE_BYTES:
            dtype = torch.int64 if mode == "nearest" else torch.float32
            with torch.inference_mode(False):
                self.whole = torch.zeros(count, *shape, dtype=dtype, device=device)
            self.done: set[int] = set()

    def make(self, code: int) -> Tensor:
        """The map of one code."""
        with torch.inference_mode(False):  # what is kept must serve in any mode
            return map_of_code(self.space, code, *self.size, mode=self.mode)

    def pieces(self, codes: np.ndarray) -> Iterator[tuple[slice, Tensor | tuple[int, int]]]:
        """Rows and their maps, one for each row or one for all, or their shift in large images."""
        if self.whole is not None:
            for code in set(codes.tolist()) - self.done:
                with torch.inference_mode(False):
                    self.whole[code] = self.make(code)
                self.done.add(code)
            rows = torch.from_numpy(codes).to(self.device)
            yield slice(0, len(codes)), self.whole.index_select(0, rows)
            return
        ends = [*(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]
        for start, end in zip([0, *ends], ends, strict=False):
            code = int(codes[start])
            shift = shift_of_code(self.space, code, *self.size)
            yield slice(start, end), self.one(code)[None] if shift is None else shift

    def one(self, code: int) -> Tensor:
        """The map of one code of a large image, the latest used ones kept."""
        with self.lock:
            found = self.kept.pop(code, None)
            if found is None:
                dtype = torch.int32 if self.mode == "nearest" else torch.float32
                with torch.inference_mode(False):
                    found = self.make(code).to(self.device, dtype)
            self.kept[code] = found
            if len(self.kept) * found.nbytes > CACHE_BYTES:
                self.kept.popitem(last=False)
        return found.long() if self.mode == "nearest" else found


maps = lru_cache(maxsize=4)(Maps)


def warp_(x: Tensor, space: Space, codes: np.ndarray, mode: str, fill: Tensor | None) -> None:
    """Each image by its own map, in place.

    Args:
        x: uint8 ``(n, C, H, W)``, contiguous.
        space: what the codes mean.
        codes: int64 ``(n,)``, see ``run.Bank``; equal ones stand together.
        mode: ``"nearest"`` or ``"bilinear"``.
        fill: grey levels of what comes from outside, float32 ``(C,)``; None is black.
    """
    height, width = x.shape[2:]
    for rows, index in maps(space, mode, height, width, x.device).pieces(codes):
        part = x[rows]
        if isinstance(index, tuple):
            shift_(part, index, 0 if fill is None else fill.round().to(torch.uint8)[:, None, None])
        elif mode == "nearest":
            _nearest_(part.view(*part.shape[:2], -1), index, fill)
        else:
            part.copy_(_bilinear(part, index.expand(len(part), -1, -1, -1), fill))


def _nearest_(x: Tensor, index: Tensor, fill: Tensor | None) -> None:
    """Look up the pixels of ``(n, C, H * W)`` by numbers, of which the last is outside."""
    outside = 0 if fill is None else fill.round()[:, None]
    padded = x.new_empty(*x.shape[:2], x.shape[2] + 1)
    padded[..., :-1] = x
    padded[..., -1:] = outside
    torch.gather(padded, 2, index[:, None].expand(x.shape), out=x)


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

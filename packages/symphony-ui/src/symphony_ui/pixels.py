"""Arrays as images."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from symphony_ui.errors import MediaError


def picture(array: NDArray[Any]) -> Pillow.Image:
    """The image of an array ``(H, W)``, ``(H, W, 1 | 3 | 4)`` or ``(1 | 3 | 4, H, W)``.

    Raises:
        MediaError: if it has another shape, or floats outside 0 to 1.
    """
    if array.ndim == 3 and array.shape[0] in (1, 3, 4) and array.shape[2] not in (1, 3, 4):
        array = np.moveaxis(array, 0, 2)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    good = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if not good or 0 in array.shape:
        raise MediaError(f"its shape is {array.shape}: expected (H, W) or (H, W, 3)")
    if array.dtype == bool:
        array = array * np.uint8(255)
    elif array.dtype.kind == "f":
        if not ((array >= 0) & (array <= 1)).all():
            raise MediaError("its floats leave 0 to 1: scale them, or pass uint8")
        array = np.rint(array * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise MediaError(f"its dtype is {array.dtype}: expected uint8, bool or floats of 0 to 1")
    return Pillow.fromarray(np.ascontiguousarray(array))


def eight_bits(array: NDArray[Any]) -> NDArray[Any]:
    """Grey values of 16 bits as 8; floats stay."""
    if array.dtype.kind == "f":
        return array
    return (np.clip(array, 0, 65535).astype(np.uint32) // 257).astype(np.uint8)

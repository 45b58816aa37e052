"""One rule for turning any image file into uint8 RGB."""

import os
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from vpsa_fair.errors import DataError

__all__ = ["MAX_PIXELS", "read_image"]

MAX_PIXELS = 50_000_000
DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N")


def read_image(
    path: str | os.PathLike[str], *, size: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """Return an image file as uint8 RGB.

    The rule: the EXIF orientation is applied; 16-bit grey is scaled to 8 bits; transparent pixels
    are blended over black; palettes, grey and CMYK become RGB as Pillow converts them, without
    colour profiles; of an animation the first frame counts. Nothing is cropped.

    Args:
        path: of the file.
        size: ``(H, W)`` to resize to (bilinear, with antialiasing), or None for the file's own.

    Returns:
        ``(H, W, 3)`` uint8.

    Raises:
        DataError: if the file is missing, truncated, no image, of an unknown colour mode, or larger
            than 50 million pixels; it names the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                if image.width * image.height > MAX_PIXELS:
                    got = f"{image.width} x {image.height} pixels"
                    raise DataError(f"{Path(path)}: {got} are more than {MAX_PIXELS}: shrink it")
                return _pixels(ImageOps.exif_transpose(image), path, size)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{Path(path)} cannot be read as an image: {error}") from error


def _pixels(
    image: Image.Image, path: str | os.PathLike[str], size: tuple[int, int] | None
) -> NDArray[np.uint8]:
    if image.mode in DEEP:
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise DataError(f"{Path(path)}: grey values must be of 16 bits, got {values.max()}")
        image = Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in image.info:
        clear = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", clear.size, (0, 0, 0, 255)), clear)
    if image.mode not in ("1", "L", "P", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"):
        raise DataError(f"{Path(path)}: images of mode {image.mode} are not read: save it as RGB")
    image = image.convert("RGB")
    if size is not None and image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.uint8)

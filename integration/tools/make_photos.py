"""Make the five colour photographs from scikit-image's, 400 pixels on the longer side, as JPEG.

    uv run --package tenfold --with scikit-image==0.26.0 python integration/tools/make_photos.py

The bytes depend on Pillow's version; the committed files are what `tenfold.data.photos` reads.
"""

import os
import sys

from PIL import Image
from tenfold.data.photos import FOLDER, PHOTOS

SIDE, QUALITY = 400, 90


def main() -> int:
    """Write the files, or say what is missing."""
    try:
        from skimage import data
    except ImportError as error:
        print(f"the photographs come with scikit-image: {error}", file=sys.stderr)
        return 2
    for name in PHOTOS:
        photo = Image.fromarray(getattr(data, name)()[..., :3])
        photo.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        part = FOLDER / f"{name}.part"
        photo.save(part, "JPEG", quality=QUALITY, optimize=True)
        os.replace(part, FOLDER / f"{name}.jpg")
        print(f"{name}.jpg: {photo.width}x{photo.height}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

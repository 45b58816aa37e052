"""Small colour images: crops of five photographs, labelled by photograph."""

from pathlib import Path

import numpy as np
from PIL import Image

from tenfold.data.images import Split

FOLDER = Path(__file__).parent / "photos"
PHOTOS = ("astronaut", "chelsea", "coffee", "rocket", "hubble_deep_field")


def photo(name: str) -> np.ndarray:
    """Return one photograph, ``(3, H, W)`` uint8.

    Args:
        name: one of `PHOTOS`.

    Raises:
        ValueError: if there is none of that name.
    """
    if name not in PHOTOS:
        raise ValueError(f"photograph must be one of {', '.join(PHOTOS)}, got {name!r}")
    with Image.open(FOLDER / f"{name}.jpg") as file:
        return np.moveaxis(np.asarray(file.convert("RGB")), 2, 0).copy()


def photo_crops(train: int = 4000, test: int = 1000, *, size: int = 32, seed: int = 0) -> Split:
    """Return square crops at random places, the label being the photograph.

    Training crops lie in the left two thirds of a photograph and test crops in the right third, so
    no pixel is in both.

    Args:
        train: crops to train on, spread evenly over the photographs.
        test: crops to test on.
        size: side in pixels.
        seed: of the places.

    Raises:
        ValueError: if the crop does not fit a third of a photograph, or a number is below 1.
    """
    photos = [photo(name) for name in PHOTOS]
    most = min(min(p.shape[1], p.shape[2] // 3) for p in photos)
    if not 1 <= size <= most or min(train, test) < 1:
        got = f"size {size}, train {train}, test {test}"
        raise ValueError(f"size must be 1 to {most}, and train and test at least 1, got {got}")
    draw = np.random.default_rng(seed)
    images: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for count, right in ((train, False), (test, True)):
        kinds = np.arange(count, dtype=np.int64) % len(photos)
        draw.shuffle(kinds)
        images.append(np.stack([_crop(photos[kind], size, right, draw) for kind in kinds]))
        labels.append(kinds)
    name = f"{size}x{size} crops of five photographs"
    return Split(name, images[0], labels[0], images[1], labels[1], PHOTOS)


def _crop(image: np.ndarray, size: int, right: bool, draw: np.random.Generator) -> np.ndarray:
    height, width = image.shape[1:]
    cut = 2 * width // 3
    first, last = (cut, width - size) if right else (0, cut - size)
    top, left = draw.integers(0, height - size + 1), draw.integers(first, last + 1)
    return image[:, top : top + size, left : left + size]

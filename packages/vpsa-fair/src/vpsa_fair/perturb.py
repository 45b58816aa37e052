"""The perturbations: each a function that takes a grid of levels and returns a `Perturbation`.

All work on uint8 ``(N, H, W, C)`` batches, image by image, and level 0 is the identity. What is
declared as the level is chosen so that a larger one always does more.
"""

import io
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vpsa_fair import kernels
from vpsa_fair.draws import GENERATOR, normal_quantiles
from vpsa_fair.levels import linear, log
from vpsa_fair.perturbation import Draws, Grid, Perturbation, need_channels, or_default
from vpsa_fair.tones import contrast, exposure, hue, saturation

__all__ = [
    "contrast",
    "downscale",
    "exposure",
    "gaussian_blur",
    "gaussian_noise",
    "hue",
    "jpeg",
    "motion_blur",
    "occlusion",
    "rotation",
    "salt_and_pepper",
    "saturation",
    "standard",
]

Pixels = NDArray[np.uint8]


def gaussian_blur(levels: Grid | None = None) -> Perturbation:
    """Blur with a Gaussian; the level is its standard deviation in pixels.

    Args:
        levels: grid of standard deviations, up to 256 pixels.

    Returns:
        The perturbation, equal to ``scipy.ndimage.gaussian_filter(mode="nearest")`` within 1.
    """

    def apply(images: Pixels, sigma: float, _: Draws) -> Pixels:
        _, height, width, _ = images.shape
        rows, cols = kernels.gaussian_bands(height, sigma), kernels.gaussian_bands(width, sigma)
        return kernels.separable(images, rows, cols)

    return Perturbation(
        "gaussian_blur", or_default(levels, log(0.5, 8, 10)), apply, (0.05, 256.0), "px"
    )


def motion_blur(levels: Grid | None = None, *, angle: float = 0.0) -> Perturbation:
    """Blur along a straight motion; the level is its length in pixels.

    Args:
        levels: grid of lengths, up to 512 pixels; longer than the image is allowed.
        angle: of the motion in degrees, 0 horizontal, counter-clockwise.

    Returns:
        The perturbation.

    Example:
        >>> stripe = np.zeros((1, 1, 9, 1), np.uint8); stripe[0, 0, 4] = 240
        >>> motion_blur([2.0])(stripe, 2.0).ravel().tolist()
        [0, 0, 0, 60, 120, 60, 0, 0, 0]
    """

    def apply(images: Pixels, length: float, _: Draws) -> Pixels:
        return kernels.convolve(images, kernels.motion_taps(length, float(angle)))

    settings = f"angle={float(angle)!r}"
    return Perturbation(
        "motion_blur", or_default(levels, log(2, 32, 10)), apply, (0.05, 512.0), "px", settings
    )


def gaussian_noise(levels: Grid | None = None) -> Perturbation:
    """Add normal noise to every value and clip; the level is its standard deviation.

    Args:
        levels: grid of standard deviations in grey values, up to 1024.

    Returns:
        The perturbation; an image's noise is the same at all levels but for its scale.
    """

    def apply(images: Pixels, deviation: float, draws: Draws) -> Pixels:
        table = _noise_table(deviation)
        out = np.empty(images.shape, np.uint8)
        noisy = np.empty(out[0].size, np.int16)
        flat = out.reshape(len(out), -1)
        for image, codes, result in zip(images, draws.uniform16(noisy.size), flat, strict=True):
            table.take(codes, out=noisy, mode="clip")
            np.add(noisy, image.reshape(-1), out=noisy)
            noisy.clip(0, 255, out=noisy)
            np.copyto(result, noisy, casting="unsafe")
        return out

    return Perturbation(
        "gaussian_noise",
        or_default(levels, linear(8, 80, 10)),
        apply,
        (0.0, 1024.0),
        "grey values",
        GENERATOR,
    )


@lru_cache(maxsize=32)
def _noise_table(deviation: float) -> NDArray[np.int16]:
    return np.rint(deviation * normal_quantiles()).astype(np.int16)


def salt_and_pepper(levels: Grid | None = None) -> Perturbation:
    """Turn pixels black or white; the level is the share of them.

    Args:
        levels: grid of shares, up to 1.

    Returns:
        The perturbation; a pixel that fell at one level keeps its colour at all higher ones.
    """

    def apply(images: Pixels, share: float, draws: Draws) -> Pixels:
        out = images.copy()
        size = out.shape[1] * out.shape[2]
        for index, codes in enumerate(draws.uniform16(2 * size)):
            fallen = codes[:size] < round(share * 65536)
            flat = out[index].reshape(size, -1)
            flat[fallen] = np.where(codes[size:][fallen] < 32768, 0, 255)[:, None]
        return out

    return Perturbation(
        "salt_and_pepper",
        or_default(levels, linear(0.05, 0.5, 10)),
        apply,
        (0.0, 1.0),
        "share of pixels",
        GENERATOR,
    )


def jpeg(levels: Grid | None = None) -> Perturbation:
    """Encode as JPEG and decode, in memory; the level is 100 minus the quality.

    Args:
        levels: grid from 1 to 99; the quality is rounded to a whole number.

    Returns:
        The perturbation; at 0 nothing is encoded. Bytes depend on the JPEG library of Pillow.
    """

    def apply(images: Pixels, level: float, _: Draws) -> Pixels:
        need_channels(images, (1, 3), "jpeg")
        out = np.empty(images.shape, np.uint8)
        for index, image in enumerate(images):
            memory = io.BytesIO()
            grey = image.shape[2] == 1
            Image.fromarray(image[:, :, 0] if grey else image).save(
                memory, "JPEG", quality=round(100 - level)
            )
            with Image.open(memory) as decoded:
                out[index] = np.asarray(decoded).reshape(out.shape[1:])
        return out

    return Perturbation(
        "jpeg", or_default(levels, linear(10, 95, 10)), apply, (1.0, 99.0), "100 - quality"
    )


def occlusion(levels: Grid | None = None, *, fill: int = 0) -> Perturbation:
    """Cover a rectangle with one grey; the level is the share of the area.

    Args:
        levels: grid of shares, up to 1.
        fill: the grey value, 0 to 255.

    Returns:
        The perturbation. The rectangle has the image's proportions and a place of its own in each
        image, and the rectangle of a level lies inside those of all higher levels.
    """
    if not 0 <= fill <= 255:
        raise ValueError(f"fill must be a grey value from 0 to 255, got {fill}")

    def apply(images: Pixels, share: float, draws: Draws) -> Pixels:
        out = images.copy()
        _, height, width, _ = out.shape
        side = np.sqrt(share)
        for image, (down, right) in zip(out, draws.uniform16(2), strict=True):
            y = np.rint(np.array([0, side]) * height + (1 - side) * height * (down / 65536))
            x = np.rint(np.array([0, side]) * width + (1 - side) * width * (right / 65536))
            image[int(y[0]) : int(y[1]), int(x[0]) : int(x[1])] = fill
        return out

    return Perturbation(
        "occlusion",
        or_default(levels, linear(0.1, 1, 10)),
        apply,
        (0.0, 1.0),
        "share of area",
        f"{fill=} {GENERATOR}",
    )


def rotation(levels: Grid | None = None, *, clockwise: bool = False) -> Perturbation:
    """Rotate about the centre, with linear interpolation; the level is in degrees.

    Args:
        levels: grid of degrees, up to 180.
        clockwise: the other way.

    Returns:
        The perturbation; the border pixels repeat outside of the image.
    """
    sign = -1.0 if clockwise else 1.0

    def apply(images: Pixels, degrees: float, _: Draws) -> Pixels:
        return kernels.rotate(images, sign * degrees)

    return Perturbation(
        "rotation",
        or_default(levels, linear(9, 90, 10)),
        apply,
        (0.0, 180.0),
        "degrees",
        f"{clockwise=}",
    )


def downscale(levels: Grid | None = None) -> Perturbation:
    """Shrink by area and stretch back linearly; the level is in octaves.

    Args:
        levels: grid of octaves: at 3, an image of 160x160 has passed through 20x20. Up to 12.

    Returns:
        The perturbation.
    """

    def apply(images: Pixels, octaves: float, _: Draws) -> Pixels:
        bands = [
            kernels.resize_bands(size, max(1, round(size * 2.0**-octaves)))
            for size in images.shape[1:3]
        ]
        return kernels.separable(images, bands[0], bands[1])

    return Perturbation(
        "downscale", or_default(levels, linear(0.5, 5, 10)), apply, (0.0, 12.0), "octaves"
    )


def standard() -> list[Perturbation]:
    """Return one of each kind on its default grid, for colour images.

    Returns:
        Twelve perturbations of ten levels.

    Example:
        >>> len(standard()), sum(len(one.levels) for one in standard())
        (12, 120)
    """
    return [
        gaussian_blur(),
        motion_blur(),
        exposure("up"),
        exposure("down"),
        contrast("down"),
        gaussian_noise(),
        salt_and_pepper(),
        jpeg(),
        occlusion(),
        rotation(),
        downscale(),
        saturation("down"),
    ]

"""The perturbations: each a function that takes a grid of levels and returns a `Perturbation`.

All work on uint8 ``(N, H, W, C)`` batches, image by image, and level 0 is the identity. What is
declared as the level is chosen so that a larger one always does more.
"""

import io
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vpsa_fair import kernels
from vpsa_fair.draws import normal_quantiles
from vpsa_fair.levels import Levels, as_levels, linear, log
from vpsa_fair.perturbation import Draws, Perturbation

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
Grid = Levels | Sequence[float]
LUMA = np.array([0.299, 0.587, 0.114])  # Rec. 601


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

    return Perturbation("gaussian_blur", _grid(levels, log(0.5, 8, 10)), apply, (0.05, 256.0), "px")


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
        "motion_blur", _grid(levels, log(2, 32, 10)), apply, (0.05, 512.0), "px", settings
    )


def exposure(direction: Literal["up", "down"], levels: Grid | None = None) -> Perturbation:
    """Multiply the light by a power of two, in linear light, and clip; the level is in stops.

    Args:
        direction: ``up`` or ``down``.
        levels: grid of stops, up to 16.

    Returns:
        The perturbation, named ``exposure_up`` or ``exposure_down``.

    Source:
        The transfer curve of sRGB, IEC 61966-2-1.
    """
    sign = _sign(direction)

    def apply(images: Pixels, stops: float, _: Draws) -> Pixels:
        return _mapped(images, exposed(sign * stops))

    return Perturbation(
        f"exposure_{direction}", _grid(levels, linear(0.5, 5, 10)), apply, (0.0, 16.0), "stops"
    )


@lru_cache(maxsize=64)
def exposed(stops: float) -> bytes:
    """The 256 values of sRGB after the light was multiplied by ``2 ** stops``."""
    value = np.arange(256) / 255
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    light = np.clip(light * 2.0**stops, 0, 1)
    out = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(out * 255).astype(np.uint8).tobytes()


def contrast(direction: Literal["up", "down"], levels: Grid | None = None) -> Perturbation:
    """Scale the distance of every pixel from the mean of its channel and image.

    Args:
        direction: ``down``: the factor is 1 - level; ``up``: it is 1 + level.
        levels: grid, up to 1 for ``down`` (a flat image) and up to 64 for ``up``.

    Returns:
        The perturbation, named ``contrast_up`` or ``contrast_down``.
    """
    sign = _sign(direction)
    grid = _grid(levels, linear(0.1, 1, 10) if sign < 0 else linear(0.5, 5, 10))

    def apply(images: Pixels, level: float, _: Draws) -> Pixels:
        factor = np.float32(1 + sign * level)
        n, height, width, channels = images.shape
        out = np.empty(images.shape, np.uint8)
        scaled = np.empty((height, width * channels), np.float32)
        for index in range(n):
            lines = images[index].reshape(height, width * channels)
            total = lines.sum(axis=0, dtype=np.uint32).reshape(width, channels).sum(axis=0)
            shift = (1.0 - float(factor)) * total / (height * width) + 0.5  # half: round, not cut
            np.multiply(lines, factor, out=scaled)
            np.add(scaled, np.tile(shift.astype(np.float32), width), out=scaled)
            if sign > 0:
                np.clip(scaled, 0, 255, out=scaled)
            out[index] = scaled.reshape(height, width, channels)
        return out

    bounds = (0.0, 1.0) if sign < 0 else (0.0, 64.0)
    return Perturbation(f"contrast_{direction}", grid, apply, bounds)


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
        size = out[0].size
        noisy = np.empty(size, np.int16)
        for index, codes in enumerate(draws.uniform16(size)):
            np.take(table, codes, out=noisy, mode="clip")
            np.add(noisy, images[index].reshape(-1), out=noisy)
            out[index] = np.clip(noisy, 0, 255, out=noisy).reshape(out.shape[1:])
        return out

    return Perturbation(
        "gaussian_noise", _grid(levels, linear(8, 80, 10)), apply, (0.0, 1024.0), "grey values"
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
        _grid(levels, linear(0.05, 0.5, 10)),
        apply,
        (0.0, 1.0),
        "share of pixels",
    )


def jpeg(levels: Grid | None = None) -> Perturbation:
    """Encode as JPEG and decode, in memory; the level is 100 minus the quality.

    Args:
        levels: grid from 1 to 99; the quality is rounded to a whole number.

    Returns:
        The perturbation; at 0 nothing is encoded. Bytes depend on the JPEG library of Pillow.
    """

    def apply(images: Pixels, level: float, _: Draws) -> Pixels:
        _channels(images, (1, 3), "jpeg")
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
        "jpeg", _grid(levels, linear(10, 95, 10)), apply, (1.0, 99.0), "100 - quality"
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
        _grid(levels, linear(0.1, 1, 10)),
        apply,
        (0.0, 1.0),
        "share of area",
        f"{fill=}",
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
        _grid(levels, linear(9, 90, 10)),
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
        "downscale", _grid(levels, linear(0.5, 5, 10)), apply, (0.0, 12.0), "octaves"
    )


def saturation(direction: Literal["up", "down"], levels: Grid | None = None) -> Perturbation:
    """Scale the distance of every pixel from its own grey (Rec. 601).

    Args:
        direction: ``down``: the factor is 1 - level; ``up``: it is 1 + level.
        levels: grid, up to 1 for ``down`` (a grey image) and up to 16 for ``up``.

    Returns:
        The perturbation, for images of three channels.
    """
    sign = _sign(direction)
    grid = _grid(levels, linear(0.1, 1, 10) if sign < 0 else linear(0.5, 5, 10))

    def apply(images: Pixels, level: float, _: Draws) -> Pixels:
        _channels(images, (3,), "saturation")
        factor = 1 + sign * level
        return kernels.colour_mix(images, factor * np.eye(3) + (1 - factor) * LUMA)

    bounds = (0.0, 1.0) if sign < 0 else (0.0, 16.0)
    return Perturbation(f"saturation_{direction}", grid, apply, bounds)


def hue(levels: Grid | None = None) -> Perturbation:
    """Turn the colours about the grey axis; the level is in degrees.

    Args:
        levels: grid of degrees, up to 180.

    Returns:
        The perturbation, for images of three channels; greys stay as they are.
    """

    def apply(images: Pixels, degrees: float, _: Draws) -> Pixels:
        _channels(images, (3,), "hue")
        turn = np.radians(degrees)
        cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
        grey = np.full((3, 3), 1 / 3)
        matrix = np.cos(turn) * np.eye(3) + (1 - np.cos(turn)) * grey + np.sin(turn) * cross
        return kernels.colour_mix(images, matrix)

    return Perturbation("hue", _grid(levels, linear(18, 180, 10)), apply, (0.0, 180.0), "degrees")


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


def _grid(levels: Grid | None, default: Levels) -> Levels:
    return default if levels is None else as_levels(levels)


def _sign(direction: str) -> int:
    if direction not in ("up", "down"):
        raise ValueError(f"direction must be 'up' or 'down', got {direction!r}")
    return 1 if direction == "up" else -1


def _channels(images: Pixels, allowed: tuple[int, ...], name: str) -> None:
    if images.shape[3] not in allowed:
        need = " or ".join(map(str, allowed))
        raise ValueError(f"{name} needs images of {need} channels, got {images.shape[3]}")


def _mapped(images: Pixels, table: bytes) -> Pixels:
    """Every byte looked up in a table of 256."""
    mapped = bytearray(images.tobytes()).translate(table)
    return np.frombuffer(mapped, np.uint8).reshape(images.shape)

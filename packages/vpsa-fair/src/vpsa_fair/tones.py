"""Perturbations of light and colour: every pixel by itself, or against its image's mean."""

from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vpsa_fair import kernels
from vpsa_fair.levels import linear
from vpsa_fair.perturbation import Draws, Grid, Perturbation, need_channels, or_default, sign_of

__all__ = ["contrast", "exposed", "exposure", "hue", "saturation"]

Pixels = NDArray[np.uint8]
LUMA = np.array([0.299, 0.587, 0.114])  # Rec. 601


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
    sign = sign_of(direction)

    def apply(images: Pixels, stops: float, _: Draws) -> Pixels:
        return _mapped(images, exposed(sign * stops))

    return Perturbation(
        f"exposure_{direction}", or_default(levels, linear(0.5, 5, 10)), apply, (0.0, 16.0), "stops"
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
    sign = sign_of(direction)
    grid = or_default(levels, linear(0.1, 1, 10) if sign < 0 else linear(0.5, 5, 10))

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


def saturation(direction: Literal["up", "down"], levels: Grid | None = None) -> Perturbation:
    """Scale the distance of every pixel from its own grey (Rec. 601).

    Args:
        direction: ``down``: the factor is 1 - level; ``up``: it is 1 + level.
        levels: grid, up to 1 for ``down`` (a grey image) and up to 16 for ``up``.

    Returns:
        The perturbation, for images of three channels.
    """
    sign = sign_of(direction)
    grid = or_default(levels, linear(0.1, 1, 10) if sign < 0 else linear(0.5, 5, 10))

    def apply(images: Pixels, level: float, _: Draws) -> Pixels:
        need_channels(images, (3,), "saturation")
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
        need_channels(images, (3,), "hue")
        turn = np.radians(degrees)
        cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
        grey = np.full((3, 3), 1 / 3)
        matrix = np.cos(turn) * np.eye(3) + (1 - np.cos(turn)) * grey + np.sin(turn) * cross
        return kernels.colour_mix(images, matrix)

    return Perturbation(
        "hue", or_default(levels, linear(18, 180, 10)), apply, (0.0, 180.0), "degrees"
    )


def _mapped(images: Pixels, table: bytes) -> Pixels:
    """Every byte looked up in a table of 256."""
    mapped = bytearray(images.tobytes()).translate(table)
    return np.frombuffer(mapped, np.uint8).reshape(images.shape)

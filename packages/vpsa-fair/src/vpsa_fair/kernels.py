"""Linear filters on uint8 batches, in whole numbers: the same bytes on every machine.

Weights are integers with a fixed sum, and every sum of products stays below 2**24. So float32
matrix products are exact whatever order a BLAS adds in, and batch size, threads and hardware
change no pixel.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "colour_mix",
    "convolve",
    "gaussian_bands",
    "motion_taps",
    "resize_bands",
    "rotate",
    "separable",
]

Pixels = NDArray[np.uint8]
ONE = 4096  # the sum of the weights of one pass: 8 bits of pixel, 12 of weight
FINE = 65536  # the sum of the weights where there is one pass only
BLOCK = 16  # rows of a band; more wastes zeros, fewer wastes calls


@dataclass(frozen=True, eq=False)
class Band:
    """Rows ``start:stop`` of a matrix, of which only columns ``low:high`` are not zero."""

    start: int
    stop: int
    low: int
    high: int
    weights: NDArray[np.float32]  # (stop - start, high - low), whole numbers


def _quantised(weights: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Integers with the sum ``total`` that follow ``weights``: steps of rounded running sums."""
    running = np.rint(np.cumsum(weights) / weights.sum() * total)
    return np.diff(running, prepend=0).astype(np.int64)


def gaussian_taps(sigma: float) -> NDArray[np.int64]:
    """Symmetric integer weights of a Gaussian, cut at 4 sigma, with the sum 4096; ``(2r + 1,)``."""
    radius = max(1, math.ceil(4 * sigma))
    x = np.arange(-radius, radius + 1)
    exact = np.exp(-0.5 * (x / sigma) ** 2)
    left = np.rint(np.cumsum(exact[:radius]) / exact.sum() * ONE)  # from outside inwards
    half = np.diff(left, prepend=0)
    return np.concatenate([half, [ONE - 2 * half.sum()], half[::-1]]).astype(np.int64)


def _bands(matrix: NDArray[np.int64]) -> tuple[Band, ...]:
    """A matrix as blocks of rows without the zeros at their ends."""
    found = []
    for start in range(0, len(matrix), BLOCK):
        rows = matrix[start : start + BLOCK]
        used = np.flatnonzero(rows.any(axis=0))
        low, high = int(used[0]), int(used[-1]) + 1
        weights = np.ascontiguousarray(rows[:, low:high], dtype=np.float32)
        found.append(Band(start, start + len(rows), low, high, weights))
    return tuple(found)


@lru_cache(maxsize=64)
def gaussian_bands(size: int, sigma: float) -> tuple[Band, ...]:
    """Return the Gaussian blur of a line of ``size`` pixels, whose ends repeat, as a matrix.

    Args:
        size: pixels of the line.
        sigma: standard deviation in pixels, positive.

    Returns:
        Blocks of a ``(size, size)`` matrix of integers; every row has the sum 4096.

    Source:
        The sampled Gaussian cut at 4 sigma, as in ``scipy.ndimage`` with mode ``nearest``.
    """
    taps = gaussian_taps(sigma)
    radius = len(taps) // 2
    matrix = np.zeros((size, size), np.int64)
    rows = np.arange(size)
    for shift, weight in zip(range(-radius, radius + 1), taps, strict=True):
        np.add.at(matrix, (rows, np.clip(rows + shift, 0, size - 1)), weight)
    return _bands(matrix)


@lru_cache(maxsize=64)
def resize_bands(size: int, small: int) -> tuple[Band, ...]:
    """Return a line shrunk to ``small`` pixels by area and stretched back linearly, as a matrix.

    Args:
        size: pixels of the line.
        small: pixels after shrinking, 1 to ``size``.

    Returns:
        Blocks of a ``(size, size)`` matrix of integers; every row has the sum 4096.
    """
    ratio = size / small
    edges = np.arange(size + 1)
    starts = np.arange(small)[:, None] * ratio  # (small, 1)
    overlap = np.minimum(edges[1:], starts + ratio) - np.maximum(edges[:-1], starts)
    down = np.clip(overlap, 0, None) / ratio  # (small, size)
    centre = np.clip((np.arange(size) + 0.5) / ratio - 0.5, 0, small - 1)
    left = np.minimum(centre.astype(np.int64), max(small - 2, 0))
    part = (centre - left)[:, None]  # (size, 1)
    exact = (1 - part) * down[left] + part * down[np.minimum(left + 1, small - 1)]
    return _bands(np.stack([_quantised(row, ONE) for row in exact]))


def separable(images: Pixels, rows: tuple[Band, ...], cols: tuple[Band, ...]) -> Pixels:
    """Return every image multiplied by one matrix along its height and one along its width.

    The first pass writes its result transposed. So the second one is a product of matrices too, for
    all rows and channels of an image at once, and only bytes are transposed back.

    Args:
        images: ``(N, H, W, C)`` uint8.
        rows: bands of an ``(H, H)`` matrix; rows of it have the sum 4096.
        cols: bands of a ``(W, W)`` matrix, likewise.

    Returns:
        ``(N, H, W, C)`` uint8, rounded half up; between the passes four binary places are kept.
    """
    n, height, width, channels = images.shape
    down, across = _scaled(rows, 2.0**-8), _scaled(cols, 2.0**-16)
    half = np.float32(0.5)  # goes through both passes, so that the cut to bytes rounds
    pixels = np.empty((height, width * channels), np.float32)
    turned = np.empty((width * channels, height), np.float32)
    lines = turned.reshape(width, channels * height)
    blurred = np.empty((BLOCK, channels * height), np.float32)
    cut = np.empty(lines.shape, np.uint8)
    out = np.empty(images.shape, np.uint8)
    for image, result in zip(images, out.reshape(n, height, width * channels), strict=True):
        np.add(image.reshape(height, width * channels), half, out=pixels)
        for band in down:
            part = turned[:, band.start : band.stop]
            np.matmul(pixels[band.low : band.high].T, band.weights.T, out=part)
        np.rint(turned, out=turned)  # at most 255 * 16 + 8
        for band in across:
            part = blurred[: band.stop - band.start]
            np.matmul(band.weights, lines[band.low : band.high], out=part)
            np.copyto(cut[band.start : band.stop], part, casting="unsafe")
        np.copyto(result, cut.reshape(turned.shape).T)
    return out


@lru_cache(maxsize=64)
def _scaled(bands: tuple[Band, ...], factor: float) -> tuple[Band, ...]:
    """Bands whose weights are multiplied by a power of two, which rounds nothing."""
    return tuple(replace(band, weights=band.weights * np.float32(factor)) for band in bands)


@lru_cache(maxsize=64)
def motion_taps(length: float, angle: float) -> tuple[tuple[int, int, int], ...]:
    """Return the kernel of a straight motion that is centred on the pixel.

    Args:
        length: pixels travelled, positive.
        angle: direction in degrees, 0 to the right, counter-clockwise.

    Returns:
        ``(down, right, weight)`` of every tap; integer weights with the sum 65536.

    Source:
        Our choice: points along the segment, each shared by its four pixels linearly.
    """
    count = 16 * math.ceil(length)
    points = ((np.arange(count) + 0.5) / count - 0.5) * length
    down = -points * math.sin(math.radians(angle))
    right = points * math.cos(math.radians(angle))
    radius = math.ceil(length / 2) + 1
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1))
    top, left = np.floor(down).astype(np.int64), np.floor(right).astype(np.int64)
    for i in (0, 1):
        for j in (0, 1):
            share = abs(1 - i - (down - top)) * abs(1 - j - (right - left))
            np.add.at(kernel, (radius + top + i, radius + left + j), share)
    kernel = (kernel + kernel[::-1, ::-1]) / 2  # symmetric in spite of rounding
    weights = _quantised(kernel.ravel(), FINE).reshape(kernel.shape)
    return tuple(
        (int(i) - radius, int(j) - radius, int(weights[i, j])) for i, j in np.argwhere(weights)
    )


def convolve(images: Pixels, taps: tuple[tuple[int, int, int], ...]) -> Pixels:
    """Return the weighted sum of shifted copies of every image, whose border pixels repeat.

    Args:
        images: ``(N, H, W, C)`` uint8.
        taps: ``(down, right, weight)``; integer weights with the sum 65536.

    Returns:
        ``(N, H, W, C)`` uint8, rounded half up.
    """
    n, height, width, channels = images.shape
    reach_down = max(abs(down) for down, _, _ in taps)
    reach_right = max(abs(right) for _, right, _ in taps)
    tall = np.clip(np.arange(-reach_down, height + reach_down), 0, height - 1)
    wide = np.clip(np.arange(-reach_right, width + reach_right), 0, width - 1)
    out = np.empty_like(images, order="C")
    total = np.empty((height, width, channels), np.float32)
    part = np.empty_like(total)
    for index in range(n):
        padded = images[index][tall][:, wide].astype(np.float32)
        total.fill(FINE / 2)
        for down, right, weight in taps:
            y, x = reach_down + down, reach_right + right
            np.multiply(padded[y : y + height, x : x + width], np.float32(weight), out=part)
            np.add(total, part, out=total)
        np.multiply(total, 1 / FINE, out=total)
        out[index] = total
    return out


def colour_mix(images: Pixels, matrix: NDArray[np.float64]) -> Pixels:
    """Return images whose pixels are multiplied by a colour matrix and clipped.

    Args:
        images: ``(N, H, W, 3)`` uint8, RGB.
        matrix: ``(3, 3)``; row i makes channel i; used to a precision of 1/4096.

    Returns:
        ``(N, H, W, 3)`` uint8, rounded half up.
    """
    weights = np.rint(matrix * ONE)
    weights[np.diag_indices(3)] += np.rint(matrix.sum(axis=1) * ONE) - weights.sum(axis=1)
    mixed = np.empty(images.shape[1:], np.float32)
    out = np.empty_like(images, order="C")
    turned = np.ascontiguousarray(weights.T, dtype=np.float32)
    for index, image in enumerate(images):
        np.matmul(image.reshape(-1, 3).astype(np.float32), turned, out=mixed.reshape(-1, 3))
        np.add(mixed, ONE / 2, out=mixed)
        np.multiply(mixed, 1 / ONE, out=mixed)
        np.floor(mixed, out=mixed)
        out[index] = np.clip(mixed, 0, 255)
    return out


def rotate(images: Pixels, degrees: float) -> Pixels:
    """Return every image turned counter-clockwise about its centre, whose border pixels repeat.

    Args:
        images: ``(N, H, W, C)`` uint8.
        degrees: any angle.

    Returns:
        ``(N, H, W, C)`` uint8, interpolated linearly between 256ths of a pixel, rounded half up.
    """
    n, height, width, channels = images.shape
    places, weights = _turned(height, width, degrees)
    out = np.empty(images.shape, np.uint8)
    for index in range(n):
        pixels = images[index].reshape(height * width, channels).astype(np.float32)
        total = np.full_like(pixels, FINE / 2)
        for place, weight in zip(places, weights, strict=True):
            total += weight * np.take(pixels, place, axis=0)
        total *= 1 / FINE
        out[index] = total.reshape(height, width, channels)
    return out


@lru_cache(maxsize=32)
def _turned(
    height: int, width: int, degrees: float
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Where pixels come from: four places ``(4, H * W)`` and their weights ``(4, H * W, 1)``."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    down = np.arange(height)[:, None] - (height - 1) / 2
    right = np.arange(width)[None] - (width - 1) / 2
    y = np.rint((sin * right + cos * down + (height - 1) / 2) * 256).astype(np.int64)
    x = np.rint((cos * right - sin * down + (width - 1) / 2) * 256).astype(np.int64)
    places: list[NDArray[np.int64]] = []
    weights: list[NDArray[np.int64]] = []
    for i in (0, 1):
        for j in (0, 1):
            row = np.clip((y >> 8) + i, 0, height - 1)
            col = np.clip((x >> 8) + j, 0, width - 1)
            places.append((row * width + col).ravel())
            share = ((y & 255) if i else 256 - (y & 255)) * ((x & 255) if j else 256 - (x & 255))
            weights.append(share.reshape(-1, 1))
    return np.array(places, np.intp), np.array(weights, np.float32)

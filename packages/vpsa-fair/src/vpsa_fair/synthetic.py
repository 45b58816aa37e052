"""Drawn faces: identity is shape, nuisance is pose and light, attributes are how one is drawn.

No real person is needed to try an audit, and what is planted is known. The faces say nothing about
people: their groups are names for drawing options.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpsa_fair.data import Faces
from vpsa_fair.errors import DataError
from vpsa_fair.tones import exposed

__all__ = ["FisherModel", "fisher_model", "synthetic_faces"]

Array = NDArray[np.floating]
SHAPE = 16  # numbers that make an identity
POSE = 8  # numbers that make an image of it
EDGE = 0.02  # softness of outlines, in half image widths
CHUNK = 32


def synthetic_faces(
    identities: int = 48,
    images: int = 4,
    *,
    size: int = 48,
    seed: int = 0,
    plant: float | None = None,
) -> Faces:
    """Return drawn faces whose attributes are balanced over the identities.

    Attributes: ``camera`` (a, b), ``tone`` (light, dark) and ``accessory`` (none, glasses).

    Args:
        identities: how many; identity i is the same however many there are.
        images: of each, with other pose and light.
        size: side in pixels, at least 16.
        seed: of shapes, poses and light.
        plant: stops by which the images of camera b are darker; None plants nothing. Darkening is
            by less light before rounding to 8 bits, so a model that normalises its input barely
            notices it while nothing else disturbs the image.

    Returns:
        The data, ``(identities * images, size, size, 3)``.

    Raises:
        DataError: if there would be no face.

    Example:
        >>> synthetic_faces(4, 2)
        8 images of 4 identities; camera: a 2, b 2; tone: dark 2, light 2; accessory: none 4
    """
    if identities < 2 or images < 1 or size < 16:
        got = f"{identities}, {images} and {size}"
        raise DataError(f"identities >= 2, images >= 1 and size >= 16 are needed, got {got}")
    who = np.repeat(np.arange(identities), images)
    shape = _uniform(seed, "shape", [f"{i}" for i in range(identities)], SHAPE)[who]
    names = [f"{i}/{j}" for i in range(identities) for j in range(images)]
    pose = _uniform(seed, "pose", names, POSE)
    camera, tone, glasses = who % 2, who // 2 % 2, who // 4 % 2
    parts = [
        _drawn(shape[i : i + CHUNK], pose[i : i + CHUNK], tone[i : i + CHUNK],
               glasses[i : i + CHUNK], size)
        for i in range(0, len(who), CHUNK)
    ]  # fmt: skip
    pixels = np.concatenate(parts)
    if plant is not None:
        table = np.frombuffer(exposed(-float(plant)), np.uint8)
        pixels[camera == 1] = table[pixels[camera == 1]]
    return Faces.from_arrays(
        pixels,
        [f"id{i:04d}" for i in who],
        {
            "camera": np.array(["a", "b"])[camera],
            "tone": np.array(["light", "dark"])[tone],
            "accessory": np.array(["none", "glasses"])[glasses],
        },
    )


def _uniform(seed: int, name: str, keys: list[str], count: int) -> Array:
    """``(len(keys), count)`` numbers from -1 to 1 that belong to the keys."""
    found = []
    for key in keys:
        hashed = hashlib.sha256(f"{seed}\0{name}\0{key}".encode()).digest()
        stream = np.random.Philox(key=int.from_bytes(hashed[:16], "little"))
        words = stream.random_raw(-(-count // 4)).astype("<u8", copy=False)
        found.append(words.view("<u2")[:count])
    return np.stack(found) / 32767.5 - 1


def _inside(x: Array, y: Array, cx: Array, cy: Array, rx: Array, ry: Array) -> Array:
    """How much of every pixel lies in an ellipse: ``(N, S, S)`` from 0 to 1."""
    far = np.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2) - 1
    return np.clip(0.5 - far * (np.minimum(rx, ry) / (2 * EDGE)), 0, 1)


def _over(canvas: Array, cover: Array, colour: Array) -> None:
    """Paint a colour ``(N, 3)`` over a canvas ``(N, S, S, 3)`` where it covers."""
    canvas += cover[..., None] * (colour.astype(np.float32)[:, None, None, :] - canvas)


def _drawn(
    shape: Array, pose: Array, tone: NDArray[np.int64], glasses: NDArray[np.int64], size: int
) -> NDArray[np.uint8]:
    """``(N, size, size, 3)`` faces."""
    s = [column[:, None, None] for column in shape.T.astype(np.float32)]
    p = [column[:, None, None] for column in pose.T.astype(np.float32)]
    line = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
    turn, zoom = 0.05 * p[0], 1 + 0.03 * p[1]
    right = (line[None, None, :] - 0.025 * p[2]) * zoom
    down = (line[None, :, None] - 0.025 * p[3]) * zoom
    x = np.cos(turn) * right + np.sin(turn) * down
    y = np.cos(turn) * down - np.sin(turn) * right
    yaw = 0.03 * p[4]  # features move, the head does not

    n = len(shape)
    skin = np.array([[0.86, 0.70, 0.60], [0.52, 0.38, 0.30]])[tone]
    skin = skin + 0.03 * shape[:, 13:14]
    hair = 0.25 + 0.2 * shape[:, 14:15] * np.array([1.0, 0.9, 0.7])
    ink = np.full((n, 3), 0.12)
    white = np.full((n, 3), 0.92)
    lips = skin * np.array([0.85, 0.55, 0.55])
    canvas = np.full((n, size, size, 3), 0.55, np.float32) + 0.1 * p[5][..., None]

    one = np.ones_like(s[0])
    head_x, head_y = 0.58 + 0.10 * s[0], 0.78 + 0.08 * s[1]
    _over(canvas, _inside(x, y, 0 * one, -0.12 * one, head_x + 0.10, head_y + 0.06), hair)
    _over(canvas, _inside(x, y, 0 * one, 0.06 + 0.08 * s[2], head_x, head_y), skin)
    apart, level, eye = 0.26 + 0.07 * s[3], -0.12 + 0.08 * s[4], 0.10 + 0.03 * s[5]
    for side in (-1, 1):
        cx = side * apart + yaw
        _over(canvas, _inside(x, y, cx, level, eye * 1.3, eye * (0.8 + 0.25 * s[6])), white)
        _over(canvas, _inside(x, y, cx + 0.3 * yaw, level, eye * 0.55, eye * 0.55), ink)
        tilt = 0.35 * s[7] * side * (x - cx)
        raised = level - 0.17 - 0.05 * s[8]
        _over(canvas, _inside(x, y + tilt, cx, raised, 0.16 * one, 0.035 + 0.02 * s[9]), hair)
        rim = _inside(x, y, cx, level, 0.20 * one, 0.17 * one)
        rim = (rim - _inside(x, y, cx, level, 0.165 * one, 0.135 * one)) * glasses[:, None, None]
        _over(canvas, rim, ink)
    nose = 0.14 + 0.05 * s[10]
    _over(canvas, _inside(x, y, yaw, level + 0.16 + nose, 0.05 + 0.03 * s[11], nose), skin * 0.8)
    mouth = 0.44 + 0.06 * s[12]
    bend = 0.5 * s[15] * (x - yaw) ** 2
    _over(canvas, _inside(x, y + bend, yaw, mouth, 0.24 + 0.06 * s[11], 0.06 + 0.02 * s[2]), lips)

    light = 1 + 0.15 * p[5] + 0.2 * p[6] * x + 0.15 * p[7] * y
    return np.rint(np.clip(canvas * light[..., None], 0, 1) * 255).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class FisherModel:
    """A small recogniser in numpy: normalised pixels, then Fisher's discriminant directions.

    Attributes:
        side: of the grey image that it looks at.
        centre: ``(side * side,)``.
        directions: ``(side * side, d)``.
    """

    side: int
    centre: Array
    directions: Array

    def __call__(self, images: NDArray[np.uint8]) -> Array:
        """``(n, d)`` embeddings of ``(n, H, W, C)`` uint8 images."""
        return (_normalised(images, self.side) - self.centre) @ self.directions


def _normalised(images: NDArray[np.uint8], side: int) -> Array:
    """``(n, side * side)`` grey pixels of mean 0 and deviation 1, averaged over areas."""
    n, height, width, _ = images.shape
    rows = np.arange(side + 1) * height // side
    cols = np.arange(side + 1) * width // side
    grey = images.astype(np.float64).mean(axis=3)
    sums = np.add.reduceat(np.add.reduceat(grey, rows[:-1], axis=1), cols[:-1], axis=2)
    small = (sums / (np.diff(rows)[:, None] * np.diff(cols)[None])).reshape(n, -1)
    small -= small.mean(axis=1, keepdims=True)
    return small / np.maximum(small.std(axis=1, keepdims=True), 1e-3)


def fisher_model(data: Faces, *, side: int = 24, width: int = 24) -> FisherModel:
    """Return a recogniser that learnt from labelled images; use other identities to audit it.

    Args:
        data: images and identities; several of each.
        side: of the grey image that it looks at, at most the images'.
        width: d of the embeddings, below the number of identities.

    Returns:
        The model, a callable as an audit takes it.

    Raises:
        DataError: if there are too few identities or pixels.

    Source:
        Fisher's linear discriminant, with the within-class covariance shrunk by a tenth.

    Example:
        >>> model = fisher_model(synthetic_faces(30, 3, seed=1), width=8)
        >>> model(synthetic_faces(2, 1).pixels).shape
        (2, 8)
    """
    codes = data.population.identity
    identities = len(data.population.names)
    if identities <= width or min(data.shape[:2]) < side:
        got = f"{identities} identities of {data.shape[0]} x {data.shape[1]} pixels"
        raise DataError(f"more than {width} identities and {side} pixels are needed, got {got}")
    x = _normalised(data.batch(slice(0, len(data))), side)
    centre = x.mean(axis=0)
    means = np.stack([x[codes == i].mean(axis=0) for i in range(identities)])
    within = x - means[codes]
    cover = within.T @ within / len(x)
    cover = 0.9 * cover + 0.1 * np.trace(cover) / len(cover) * np.eye(len(cover))
    values, vectors = np.linalg.eigh(cover)
    whiten = vectors / np.sqrt(values)
    _, _, between = np.linalg.svd((means - centre) @ whiten, full_matrices=False)
    return FisherModel(side, centre, whiten @ between[:width].T)

"""Images from a file or a folder: idx as MNIST's, npz, npy, or pictures sorted by class."""

import gzip
import struct
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError

import numpy as np
import torch
from torch import Tensor

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
Data = tuple[Tensor, Tensor | None]
_NO_ARRAY = (  # what numpy and zipfile raise on files that hold none
    ValueError, TypeError, KeyError, SyntaxError, EOFError, OverflowError, MemoryError,
    RuntimeError, TokenError, struct.error, zlib.error, zipfile.BadZipFile,
)  # fmt: skip


def read_images(path: str | Path, *, size: int | None = None) -> Data:
    """Read images, and their classes where they stand beside them.

    Args:
        path: an ``.npz`` with ``images`` and perhaps ``labels``; an ``.npy`` of images; an idx
            file (``...images-idx3-ubyte``, packed with gzip or not), whose labels are looked for
            beside it; a folder with one of those; or a folder with a folder of pictures for each
            class (needs Pillow: ``duet[vision]``).
        size: side that pictures in folders are cropped and resized to; None takes them as they are.

    Returns:
        Images in 0 to 1, float32 ``(N, C, H, W)``, and classes, int64 ``(N,)``, or None.

    Raises:
        ValueError: if there are no images, or something else than images is there.
        OSError: if a file cannot be read.

    Source:
        Formats of the data sets; nothing is downloaded and nothing unpickled.

    Example:
        >>> read_images("nowhere.npz")
        Traceback (most recent call last):
        FileNotFoundError: nowhere.npz is not there
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there")
    if path.is_dir():
        return _folder(path, size)
    if path.suffix in (".npz", ".npy"):
        images, labels = _numpy(path)
    elif "idx3" in path.name:
        images, labels = _idx_pair(path)
    else:
        raise ValueError(f"{path} must be .npz, .npy, ...idx3-ubyte(.gz) or a folder")
    return _checked(path, images, labels)


def _folder(path: Path, size: int | None) -> Data:
    files = sorted(path.glob("*idx3-ubyte*")) + sorted(path.glob("*.npz"))
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise ValueError(f"{path} holds several data sets: name one of {names}")
    if files:
        return read_images(files[0])
    kinds = sorted(kind for kind in path.iterdir() if kind.is_dir())
    found = [
        (file, n)
        for n, kind in enumerate(kinds)
        for file in sorted(kind.iterdir())
        if file.suffix.lower() in SUFFIXES
    ]
    if not found:
        raise ValueError(f"{path} holds no idx3 or npz file, and no folders of pictures")
    pictures = [_picture(file, size) for file, _ in found]
    shapes = {picture.shape for picture in pictures}
    if len(shapes) > 1:
        some = ", ".join(map(str, sorted(shapes)[:3]))
        raise ValueError(f"pictures in {path} must be of one size, got {some}: give --size")
    return _checked(path, np.stack(pictures), np.array([n for _, n in found]))


def _picture(path: Path, size: int | None) -> np.ndarray:
    """``(C, H, W)`` uint8, grey or in colour as the file is."""
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ValueError("pictures in folders need Pillow: pip install 'duet[vision]'") from error
    try:
        with Image.open(path) as file:
            picture = file.convert("L" if file.mode in ("1", "L", "LA", "I;16") else "RGB")
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is no picture: {error}") from error
    if size is not None:
        picture = ImageOps.fit(picture, (size, size))
    array = np.asarray(picture)
    return array[None] if array.ndim == 2 else np.moveaxis(array, 2, 0)


def _numpy(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded, None
            if "images" not in loaded:
                raise ValueError(f"it holds {', '.join(loaded) or 'nothing'}, and no 'images'")
            return loaded["images"], loaded.get("labels")
    except _NO_ARRAY as error:
        raise ValueError(f"{path} is no file of images: {error}") from error


def _idx_pair(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    beside = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    labels = _idx(beside, 1) if beside != path and beside.is_file() else None
    return _idx(path, 3), labels


def _idx(path: Path, axes: int) -> np.ndarray:
    """An array of bytes in the idx format: a magic number, the sizes, the data."""
    data = path.read_bytes()
    try:
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError) as error:
        raise ValueError(f"{path} is no gzip file: {error}") from error
    head = 4 + 4 * axes
    if data[:4] != bytes([0, 0, 8, axes]) or len(data) < head:
        raise ValueError(f"{path} must be an idx file of bytes in {axes} axes")
    sizes = np.frombuffer(data, ">u4", axes, offset=4).astype(np.int64)
    if len(data) - head != sizes.prod():
        got = f"{len(data) - head} bytes for {'x'.join(map(str, sizes))}"
        raise ValueError(f"{path} is cut off or too long: {got}")
    return np.frombuffer(data, np.uint8, offset=head).reshape(sizes)


def _checked(path: Path, x: np.ndarray, y: np.ndarray | None) -> Data:
    if x.ndim == 3:
        x = x[:, None]
    if x.ndim != 4 or not x.size or x.shape[1] not in (1, 3):
        raise ValueError(f"{path} must hold (N, H, W), (N, 1, H, W) or (N, 3, H, W), got {x.shape}")
    if x.dtype == np.uint8:
        x = x.astype(np.float32) / 255
    elif x.dtype.kind != "f":
        raise ValueError(f"{path} must hold uint8 or floating images, got {x.dtype}")
    low, high = x.min(), x.max()
    if not (low >= 0 and high <= 1):
        raise ValueError(f"{path} must hold floats in 0 to 1, got {low:g} to {high:g}")
    images = torch.tensor(x, dtype=torch.float32)
    if y is None:
        return images, None
    if y.shape != x.shape[:1] or y.dtype.kind not in "iu" or y.min() < 0:
        raise ValueError(f"{path} must hold ({len(x)},) labels from 0, got {y.dtype} {y.shape}")
    return images, torch.tensor(y.astype(np.int64))

"""Images and labels in memory: read from a folder of idx files, or handed over as arrays."""

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

NAMES = {
    "train_x": "train-images-idx3-ubyte",
    "train_y": "train-labels-idx1-ubyte",
    "test_x": "t10k-images-idx3-ubyte",
    "test_y": "t10k-labels-idx1-ubyte",
}


@dataclass(frozen=True, eq=False)
class Data:
    """A training set and a test set, in memory.

    Args:
        train_x: uint8 ``(N, C, H, W)``; arrays are taken too, and ``(N, H, W)`` gets a channel.
        train_y: classes from 0, ``(N,)``.
        test_x: as ``train_x``.
        test_y: as ``train_y``.

    Raises:
        ValueError: if a shape, a dtype or a number of rows does not fit.

    Example:
        >>> x, y = torch.zeros(6, 8, 8, dtype=torch.uint8), torch.arange(6) % 2
        >>> print(Data(x, y, x, y))
        6 training and 6 test images of (1, 8, 8), 2 classes
    """

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            x = torch.as_tensor(getattr(self, f"{part}_x"))
            y = torch.as_tensor(getattr(self, f"{part}_y")).long()
            x = x[:, None] if x.ndim == 3 else x
            if x.ndim != 4 or x.dtype != torch.uint8:
                got = f"{x.dtype} {tuple(np.shape(getattr(self, f'{part}_x')))}"
                raise ValueError(f"{part}_x must be uint8 (N, C, H, W) or (N, H, W), got {got}")
            if y.shape != (len(x),) or not len(x) or int(y.min()) < 0:
                raise ValueError(
                    f"{part}_y must hold a class from 0 for each of {len(x)} images, "
                    f"got {tuple(y.shape)}"
                )
            object.__setattr__(self, f"{part}_x", x)
            object.__setattr__(self, f"{part}_y", y)

    @property
    def classes(self) -> int:
        """Number of classes: the highest label and one."""
        return int(torch.cat([self.train_y, self.test_y]).max()) + 1

    def __str__(self) -> str:
        shape = tuple(self.train_x.shape[1:])
        sizes = f"{len(self.train_x)} training and {len(self.test_x)} test images"
        return f"{sizes} of {shape}, {self.classes} classes"

    def subset(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """``n`` training images, as many of each class as the count allows, drawn by ``seed``.

        Raises:
            ValueError: if there are not ``n``, or a class has too few.
        """
        classes = self.classes
        generator = torch.Generator().manual_seed(seed)
        taken = []
        for c in range(classes):
            rows = (self.train_y == c).nonzero()[:, 0]
            want = n // classes + (c < n % classes)
            if len(rows) < want:
                raise ValueError(
                    f"{n} training images need {want} of class {c}, there are {len(rows)}"
                )
            taken.append(rows[torch.randperm(len(rows), generator=generator)[:want]])
        rows = torch.cat(taken)
        rows = rows[torch.randperm(len(rows), generator=generator)]
        return self.train_x[rows].contiguous(), self.train_y[rows]


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array of an idx file, gzipped or not.

    Args:
        path: its place.

    Returns:
        An array of the shape that the header gives.

    Raises:
        ValueError: if the file is no idx file of bytes, or is cut off.

    Source:
        The idx format of the MNIST database: two zero bytes, type 8, number of axes, sizes.
    """
    raw = path.read_bytes()
    try:
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path} is cut off or damaged: {error}") from error
    if len(raw) < 4 or raw[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path} is no idx file of bytes: it starts with {raw[:4].hex(' ')}")
    axes, start = raw[3], 4 + 4 * raw[3]
    shape = tuple(np.frombuffer(raw, ">i4", axes, 4).tolist()) if len(raw) >= start else ()
    if len(raw) - start != math.prod(shape) or len(shape) != axes:
        raise ValueError(
            f"{path} announces {shape}, {math.prod(shape)} bytes, and holds {len(raw) - start}"
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape).copy()


def read_folder(folder: Path) -> Data:
    """The data of a folder in MNIST's layout: four idx files, gzipped or not.

    Raises:
        ValueError: if a file is missing or damaged; the message says where to get them.
    """
    parts = {}
    for part, name in NAMES.items():
        found = [p for p in (folder / f"{name}.gz", folder / name) if p.is_file()]
        if not found:
            raise ValueError(
                f"{folder} has no {name}[.gz]; Fashion-MNIST's four files are in the Debian "
                "package dataset-fashion-mnist: apt-get download dataset-fashion-mnist && "
                "dpkg -x dataset-fashion-mnist*.deb data"
            )
        parts[part] = torch.from_numpy(read_idx(found[0]))
    return Data(**parts)

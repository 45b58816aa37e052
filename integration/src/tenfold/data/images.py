"""Labelled uint8 images: the Fashion-MNIST split inside, CIFAR-10 from a user's folder."""

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "fashion_mnist"
CLASSES = (
    "T-shirt", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


@dataclass(frozen=True)
class Split:
    """Images to train on and images to test on.

    Attributes:
        name: how figures call it.
        train: ``(N, C, H, W)`` uint8.
        train_labels: ``(N,)`` int64.
        test: ``(M, C, H, W)`` uint8.
        test_labels: ``(M,)`` int64.
        classes: name of each label.
    """

    name: str
    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]

    def validation(self, size: int) -> "Split":
        """The last ``size`` training rows in the place of the test rows: for choosing settings."""
        if not 0 < size < len(self.train):
            raise ValueError(f"size must be between 1 and {len(self.train) - 1}, got {size}")
        return Split(
            f"{self.name}, validation rows",
            self.train[:-size],
            self.train_labels[:-size],
            self.train[-size:],
            self.train_labels[-size:],
            self.classes,
        )


def fashion_mnist(train: int = 8000) -> Split:
    """Return the embedded 10,000 images, rows 0 to 7,999 for training, 8,000 to 9,999 for testing.

    Args:
        train: how many of the 8,000 training rows to keep, from the first.

    Raises:
        ValueError: if ``train`` is not between 1 and 8,000.
    """
    if not 1 <= train <= 8000:
        raise ValueError(f"train must be between 1 and 8000, got {train}")
    images = _idx("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)
    labels = _idx("t10k-labels-idx1-ubyte.gz", 8).astype(np.int64)
    name = "Fashion-MNIST (10,000 images of its test set, our split)"
    return Split(name, images[:train], labels[:train], images[8000:], labels[8000:], CLASSES)


def _idx(name: str, header: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress((FOLDER / name).read_bytes()), np.uint8, offset=header)


def cifar10(root: Path) -> Split:
    """Return CIFAR-10 from the files of its binary version, ``cifar-10-batches-bin``.

    Args:
        root: the folder that holds ``cifar-10-batches-bin``, as torchvision's ``root`` holds its
            own; the Python version of the data set is pickled, and is not read.

    Raises:
        ValueError: if the folder is missing, or a file is no whole number of records.
    """
    folder = Path(root) / "cifar-10-batches-bin"
    if not folder.is_dir():
        raise ValueError(f"{folder} is not there: unpack CIFAR-10's binary version into {root}")
    parts = [_records(folder / f"data_batch_{n}.bin") for n in range(1, 6)]
    train, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
    test, test_labels = _records(folder / "test_batch.bin")
    meta = folder / "batches.meta.txt"
    names = meta.read_text().split() if meta.exists() else [str(n) for n in range(10)]
    return Split("CIFAR-10", train, labels, test, test_labels, tuple(names))


def at_scale(scale: str, root: Path | None) -> Split:
    """Return the images of the tour's scale: Fashion-MNIST, or CIFAR-10 for ``paper``.

    Args:
        scale: ``small`` or ``paper``.
        root: the folder that holds ``cifar-10-batches-bin``, for ``paper``.

    Raises:
        ValueError: if the scale is another, or ``paper`` comes without a folder.
    """
    if scale not in ("small", "paper"):
        raise ValueError(f"scale must be small or paper, got {scale!r}")
    if scale == "small":
        return fashion_mnist()
    if root is None:
        raise ValueError("--scale paper needs --data-root DIR, where CIFAR-10 is")
    return cifar10(root)


def _records(path: Path) -> tuple[np.ndarray, np.ndarray]:
    size = 1 + 3 * 32 * 32
    if not path.is_file():
        raise ValueError(f"{path} is not there")
    data = np.fromfile(path, np.uint8)
    if not len(data) or len(data) % size:
        raise ValueError(f"{path} holds {len(data)} bytes, not a multiple of {size}")
    records = data.reshape(-1, size)
    labels = records[:, 0].astype(np.int64)
    if labels.max() > 9:
        raise ValueError(f"{path} holds the label {labels.max()}; CIFAR-10's are 0 to 9")
    return records[:, 1:].reshape(-1, 3, 32, 32), labels

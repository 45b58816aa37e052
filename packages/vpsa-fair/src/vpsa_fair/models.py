"""What an audit takes as a model, and the checks of what a model returns."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpsa_fair.errors import SPOILT, DataError, ModelError

__all__ = ["Embed", "Precomputed", "embedded", "self_test"]

Pixels = NDArray[np.uint8]
Vectors = NDArray[np.float32]
Embed = Callable[[Pixels], object]
"""``(n, H, W, C)`` uint8, read-only, to ``(n, d)`` of any float type."""


def embedded(
    embed: Embed, images: Pixels, names: Sequence[str], *, width: int | None, nonzero: bool
) -> Vectors:
    """Return a model's embeddings of one batch, after all checks.

    Args:
        embed: the model.
        images: ``(n, H, W, C)`` uint8; the model gets a read-only view.
        names: n names of the images, for messages.
        width: the d of earlier batches, or None.
        nonzero: whether a zero vector is an error.

    Returns:
        ``(n, d)`` float32.

    Raises:
        ModelError: if the answer is no such array, or holds NaN, infinity or a zero vector.
    """
    view = images.view()
    view.flags.writeable = False
    out = np.asarray(embed(view))
    if out.ndim != 2 or len(out) != len(images) or not out.shape[1]:
        raise ModelError(f"the model must return ({len(images)}, d) for a batch, got {out.shape}")
    if not np.issubdtype(out.dtype, np.floating):
        raise ModelError(f"the model must return floating point numbers, got {out.dtype}")
    if width is not None and out.shape[1] != width:
        raise ModelError(
            f"the model returned {out.shape[1]} numbers for {names[0]}, and {width} before"
        )
    with np.errstate(over="ignore"):
        vectors = np.array(out, dtype=np.float32)
    bad = ~np.isfinite(vectors).all(axis=1)
    if bad.any():
        name = names[int(np.flatnonzero(bad)[0])]
        raise ModelError(f"the embedding of image {name} holds NaN or infinity")
    if nonzero and not (alive := vectors.any(axis=1)).all():
        name = names[int(np.flatnonzero(~alive)[0])]
        raise ModelError(
            f"the embedding of image {name} is zero, which has no cosine: "
            "use similarity='euclidean', or see what the model does there"
        )
    return vectors


def self_test(
    embed: Embed, images: Pixels, names: Sequence[str], *, nonzero: bool = True
) -> Vectors:
    """Compare a model's answers for two batch sizes.

    Args:
        embed: the model.
        images: ``(n, H, W, C)`` uint8; each goes through the model twice.
        names: n names of the images, for messages.
        nonzero: whether a zero vector is an error.

    Returns:
        ``(n, d)`` float32 embeddings.

    Raises:
        ModelError: if the answers differ by more than 1 % of the largest norm.

    Example:
        >>> images = np.arange(48, dtype=np.uint8).reshape(4, 2, 2, 3)
        >>> self_test(lambda x: x.reshape(len(x), -1) / 255, images, list("abcd")).shape
        (4, 12)
    """
    whole = embedded(embed, images, names, width=None, nonzero=nonzero)
    size = max(1, len(images) // 3)
    parts = [
        embedded(
            embed, images[i : i + size], names[i : i + size], width=whole.shape[1], nonzero=nonzero
        )
        for i in range(0, len(images), size)
    ]
    off = np.linalg.norm(np.concatenate(parts) - whole, axis=1)
    scale = float(np.linalg.norm(whole, axis=1).max()) or 1.0
    if off.max() > 0.01 * scale:
        raise ModelError(
            f"batches of {len(images)} and {size} give other embeddings of image "
            f"{names[int(off.argmax())]} (by {off.max() / scale:.2g} of the norm): is the network "
            "in training mode? selftest=False turns this check off"
        )
    return whole


class Precomputed:
    """Embeddings made elsewhere, so that a private model never leaves its site.

    Args:
        source: a folder of ``.npy`` files named ``clean.npy`` and ``NAME@LEVEL.npy``, such as
            ``gaussian_blur@2.0.npy``; or a mapping of these names, without the ending, to arrays.
            A level is written as Python prints the float.

    Example:
        >>> source = Precomputed({"clean": np.ones((2, 3)), "blur@2.0": np.zeros((2, 3))})
        >>> source.embeddings("blur", 2.0).shape
        (2, 3)
    """

    def __init__(self, source: str | os.PathLike[str] | Mapping[str, NDArray[np.floating]]) -> None:
        self.source = source if isinstance(source, Mapping) else Path(source)

    @staticmethod
    def name(perturbation: str, level: float) -> str:
        """What the embeddings of a cell are called; the clean cell has no perturbation."""
        return f"{perturbation}@{float(level)!r}" if perturbation else "clean"

    def embeddings(self, perturbation: str, level: float) -> NDArray[np.floating]:
        """``(N, d)`` embeddings of a cell.

        Raises:
            DataError: if there are none.
        """
        name = self.name(perturbation, level)
        if isinstance(self.source, Mapping):
            if name not in self.source:
                raise DataError(f"there are no embeddings {name!r}; there are {list(self.source)}")
            return np.asarray(self.source[name])
        path = self.source / f"{name}.npy"
        try:
            vectors = np.load(path, allow_pickle=False)
        except (OSError, *SPOILT) as error:
            raise DataError(f"{path} cannot be read as embeddings: {error}") from error
        if not isinstance(vectors, np.ndarray):
            raise DataError(f"{path} is an archive, not one array of embeddings")
        return vectors

    def __call__(self, images: Pixels) -> NDArray[np.floating]:
        """Refuse: there is no model here."""
        raise ModelError("pre-computed embeddings cannot embed other images")

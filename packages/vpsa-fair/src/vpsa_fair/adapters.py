"""Models of other libraries as callables on uint8 batches; each library is imported when used."""

import importlib
import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vpsa_fair.errors import ModelError

if TYPE_CHECKING:
    import torch

__all__ = ["dlib_embedder", "onnx_embedder", "torch_embedder"]

Pixels = NDArray[np.uint8]
Vectors = NDArray[np.float32]
Channels = Literal["rgb", "bgr"]
DLIB_SIDE = 150


def planes(
    images: Pixels,
    *,
    mean: float | Sequence[float],
    std: float | Sequence[float],
    channels: Channels,
    size: tuple[int, int] | None = None,
) -> Vectors:
    """Return images as networks take them: (x / 255 - mean) / std, channels first.

    Args:
        images: ``(n, H, W, C)`` uint8 RGB.
        mean: one number, or one a channel in the order of ``channels``.
        std: likewise.
        channels: the order that the network learnt.
        size: ``(H, W)`` to resize to (bilinear, with antialiasing), or None.

    Returns:
        ``(n, C, H, W)`` float32, contiguous.
    """
    if channels not in ("rgb", "bgr"):
        raise ValueError(f"channels must be 'rgb' or 'bgr', got {channels!r}")
    if size is not None and images.shape[1:3] != size:
        images = np.stack([_resized(image, size) for image in images])
    ordered = images[..., ::-1] if channels == "bgr" else images
    scaled = (ordered / np.float32(255) - np.asarray(mean, np.float32)) / np.asarray(
        std, np.float32
    )
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), dtype=np.float32)


def _resized(image: Pixels, size: tuple[int, int]) -> Pixels:
    grey = image.shape[2] == 1
    picture = Image.fromarray(image[:, :, 0] if grey else image)
    small = np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR))
    return small[..., None] if grey else small


def torch_embedder(
    module: "torch.nn.Module",
    *,
    mean: float | Sequence[float] = 0.5,
    std: float | Sequence[float] = 0.5,
    channels: Channels = "rgb",
    size: tuple[int, int] | None = None,
    device: "str | torch.device | None" = None,
) -> Callable[[Pixels], Vectors]:
    """Return a torch module as a model for an audit; needs ``vpsa-fair[torch]``.

    Args:
        module: ``(n, C, H, W)`` float32 to ``(n, d)``; it is put into evaluation mode.
        mean: subtracted after division by 255; one number or one a channel.
        std: divided by; likewise.
        channels: the order that the network learnt.
        size: ``(H, W)`` that it takes, or None for that of the images.
        device: where it runs; None is where its parameters are.

    Returns:
        ``(n, H, W, C)`` uint8 to ``(n, d)`` float32.

    Raises:
        ModelError: if the module returns no tensor.
    """
    import torch

    module.eval()
    if device is not None:
        module.to(device)
    held = next(iter([*module.parameters(), *module.buffers()]), None)
    place = torch.device("cpu") if held is None else held.device
    if held is None and device is not None:
        place = torch.device(device)

    def embed(images: Pixels) -> Vectors:
        x = planes(images, mean=mean, std=std, channels=channels, size=size)
        with torch.inference_mode():
            out = module(torch.from_numpy(x).to(place))
        if not isinstance(out, torch.Tensor):
            raise ModelError(f"the module must return a tensor, got {type(out).__name__}")
        return out.float().cpu().numpy()

    return embed


def onnx_embedder(
    path: str | os.PathLike[str],
    *,
    mean: float | Sequence[float] = 0.5,
    std: float | Sequence[float] = 0.5,
    channels: Channels = "rgb",
    size: tuple[int, int] | None = None,
    providers: Sequence[str] = ("CPUExecutionProvider",),
) -> Callable[[Pixels], Vectors]:
    """Return an ONNX file as a model for an audit; needs ``vpsa-fair[onnx]``.

    Args:
        path: of the file; its first input is ``(n, C, H, W)`` float32, its first output ``(n, d)``.
        mean: subtracted after division by 255; one number or one a channel.
        std: divided by; likewise.
        channels: the order that the network learnt.
        size: ``(H, W)`` that it takes, or None for that of the images.
        providers: of onnxruntime, by preference.

    Returns:
        ``(n, H, W, C)`` uint8 to ``(n, d)`` float32. A file made for batches of one is fed one by
        one.

    Raises:
        ModelError: if onnxruntime is missing, or cannot read the file.
    """
    runtime = _needed("onnxruntime", "onnx")
    try:
        session = runtime.InferenceSession(os.fspath(path), providers=list(providers))
    except Exception as error:  # onnxruntime has its own kinds, not all public
        raise ModelError(f"{Path(path)} cannot be read as an ONNX model: {error}") from error
    taken = session.get_inputs()[0]
    single = taken.shape[0] == 1

    def embed(images: Pixels) -> Vectors:
        x = planes(images, mean=mean, std=std, channels=channels, size=size)
        parts = np.split(x, len(x)) if single else [x]
        return np.concatenate([session.run(None, {taken.name: part})[0] for part in parts])

    return embed


def dlib_embedder(weights: str | os.PathLike[str] | None = None) -> Callable[[Pixels], Vectors]:
    """Return dlib's face network as a model for an audit; needs ``vpsa-fair[dlib]``.

    It takes aligned faces, which are resized to 150 x 150, and returns 128 numbers. Use it with
    ``similarity="euclidean"``; its authors' threshold is 0.6. Detection and alignment are not part
    of it: perturb aligned faces, so that recognition alone is measured.

    Args:
        weights: file of the network; None takes that of ``face-recognition-models``, of which only
            the file is used.

    Returns:
        ``(n, H, W, 3)`` uint8 to ``(n, 128)`` float32.

    Raises:
        ModelError: if dlib or the weights are missing.
    """
    dlib = _needed("dlib", "dlib")
    if weights is None:
        found = importlib.util.find_spec("face_recognition_models")
        if found is None or not found.submodule_search_locations:
            raise ModelError("face_recognition_models is missing: install vpsa-fair[dlib]")
        folder = Path(found.submodule_search_locations[0]) / "models"
        weights = folder / "dlib_face_recognition_resnet_model_v1.dat"
    if not Path(weights).is_file():
        raise ModelError(f"there are no weights {Path(weights)}")
    network = dlib.face_recognition_model_v1(os.fspath(weights))

    def embed(images: Pixels) -> Vectors:
        side = (DLIB_SIDE, DLIB_SIDE)
        chips = [image if image.shape[:2] == side else _resized(image, side) for image in images]
        if chips[0].shape[2] == 1:
            chips = [np.repeat(chip, 3, axis=2) for chip in chips]
        copies = [np.array(chip, order="C") for chip in chips]  # dlib takes no read-only array
        return np.array(network.compute_face_descriptor(copies), dtype=np.float32)

    return embed


def _needed(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ModelError(f"{module} is missing: install vpsa-fair[{extra}]") from error

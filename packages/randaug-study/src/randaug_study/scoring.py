"""Losses of candidate images under the present weights, with the model left as it was found."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Statistics = Literal["running", "batch"]
Model = Callable[[Tensor], Tensor]
Loss = Callable[..., Tensor]


def as_unit_floats(x: Tensor) -> Tensor:
    """Pixels as float32 in [0, 1]: the preprocessing when none is given."""
    return x.float() / 255


@contextmanager
def untouched(model: Model, statistics: Statistics = "running") -> Iterator[None]:
    """Put ``model`` into the mode for scoring; restore modes, buffers and random state after.

    Args:
        model: an `nn.Module`, or any callable, which is then left alone.
        statistics: ``"running"``: all of the model in evaluation mode. ``"batch"``: batch norms
            take the statistics of the images at hand, all the rest is in evaluation mode.

    Raises:
        ValueError: for another ``statistics``.
    """
    if statistics not in ("running", "batch"):
        raise ValueError(f"statistics must be 'running' or 'batch', got {statistics!r}")
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    modes = [module.training for module in modules]
    kept = [
        (module, name, buffer, buffer.clone())
        for module in modules
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    devices = sorted({t.device.index or 0 for t in _tensors(modules) if t.is_cuda})
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        try:
            for module in modules:
                module.training = statistics == "batch" and isinstance(module, _BatchNorm)
            yield
        finally:
            for module, mode in zip(modules, modes, strict=True):
                module.training = mode
            for module, name, buffer, before in kept:
                module._buffers[name] = buffer  # a forward may have put another in its place
                buffer.copy_(before)


def score(
    model: Model,
    images: Tensor,
    y: Tensor,
    *,
    preprocess: Callable[[Tensor], Tensor] | None = None,
    loss: Loss | None = None,
    statistics: Statistics = "running",
    chunk: int = 1024,
) -> Tensor:
    """Loss of every candidate of every image, without gradients.

    Args:
        model: maps preprocessed images to predictions.
        images: candidates, ``(k, B, C, H, W)``; row j holds the j-th copy of each image.
        y: targets, ``(B, ...)``, the same for all candidates.
        preprocess: maps uint8 images to the model's input; default `as_unit_floats`.
        loss: ``loss(predictions, y) -> (B,)``, one value a row; a function that has a
            ``reduction`` argument, as `torch.nn.functional.cross_entropy`, gets ``"none"``.
            Default: cross-entropy in nats.
        statistics: which statistics batch norms use. ``"running"`` (evaluation mode), the
            default, makes a loss a function of its own copy alone: it depends neither on the
            other candidates nor on ``chunk``, and dropout's noise is not mistaken for hardness.
            ``"batch"`` is nearer to the training step, early on above all while running
            averages lag behind; each candidate then goes through in a forward of its own.
        chunk: most images a forward with running statistics; the k*B go through in one where
            they fit.

    Returns:
        Losses ``(k, B)``, float32 or float64; never NaN, which counts as ``+inf``.

    Raises:
        ValueError: if ``loss`` does not give one value a row, or ``chunk`` is below 1.
    """
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1 image, got {chunk}")
    preprocess = as_unit_floats if preprocess is None else preprocess
    k, batch = images.shape[:2]
    size = batch if statistics == "batch" else chunk
    flat = images.flatten(0, 1)  # (k * B, C, H, W)
    rows = torch.arange(len(flat), device=y.device) % max(batch, 1)
    losses = []
    with untouched(model, statistics):
        for start in range(0, len(flat), max(size, 1)):
            part = slice(start, start + size)
            predictions = model(preprocess(flat[part]))
            losses.append(losses_by_row(predictions, y[rows[part]], loss))
    if not losses:
        return torch.zeros(k, batch)
    return torch.nan_to_num(torch.cat(losses), nan=torch.inf, posinf=torch.inf).view(k, batch)


def losses_by_row(predictions: Tensor, y: Tensor, loss: Loss | None = None) -> Tensor:
    """One loss a row, ``(B,)``, in float32 or wider; see `score` for what ``loss`` may be.

    Raises:
        ValueError: if ``loss`` gives anything else than one value a row.

    Example:
        >>> losses_by_row(torch.zeros(3, 2), torch.tensor([0, 1, 0]))
        tensor([0.6931, 0.6931, 0.6931])
    """
    loss = F.cross_entropy if loss is None else loss
    wide = predictions if predictions.dtype == torch.float64 else predictions.float()
    values = loss(wide, y, reduction="none") if _has_reduction(loss) else loss(wide, y)
    if values.shape != (len(y),):
        raise ValueError(
            f"loss must give one value a row, ({len(y)},), got {tuple(values.shape)}: pass a "
            "function with reduction='none', and average any further axes"
        )
    return values if values.dtype == torch.float64 else values.float()


def _has_reduction(loss: Loss) -> bool:
    if isinstance(loss, nn.Module):
        return False  # its reduction was set when it was made
    try:
        return "reduction" in inspect.signature(loss).parameters
    except (TypeError, ValueError):  # a builtin without a signature
        return False


def _tensors(modules: list[nn.Module]) -> Iterator[Tensor]:
    for module in modules:
        held = (*module._parameters.values(), *module._buffers.values())
        yield from (tensor for tensor in held if tensor is not None)

"""A hook into accelerate: an average that follows real optimizer steps and saves itself."""

from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from ema_scaling import _check
from ema_scaling.ema import ModelEMA
from ema_scaling.schedule import Schedule


def follow(
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    decay: Schedule | float,
    *,
    batch_per_device: int,
    name: str = "ema",
    kappa: float | None = None,
    **options: Any,
) -> ModelEMA:
    """An average of a prepared model that updates itself after each real optimizer step.

    Steps that gradient accumulation or a gradient scaler leave out do not count. The batch is
    that of one device times processes times accumulation steps. ``save_state`` also writes
    ``<name>.safetensors``, and ``load_state`` reads it.

    Args:
        accelerator: the accelerator that prepared the model and the optimizer.
        model: the prepared model.
        optimizer: the prepared optimizer.
        decay: as in ``ModelEMA``, at the batch described above where it is a bare number.
        batch_per_device: samples of one forward pass of one process.
        name: of the file.
        kappa: this batch over that of the state to load, if they differ on purpose.
        **options: further arguments of ``ModelEMA``.

    Returns:
        The average.

    Raises:
        ValueError: as ``ModelEMA`` does.

    Example:
        >>> accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
        >>> model = nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> model, optimizer = accelerator.prepare(model, optimizer)
        >>> follow(accelerator, model, optimizer, 0.99, batch_per_device=16).batch
        32
    """
    accumulation = accelerator.gradient_accumulation_steps
    batch = _check.count("batch_per_device", batch_per_device) * accelerator.num_processes
    ema = ModelEMA(accelerator.unwrap_model(model), decay, batch=batch * accumulation, **options)
    ema.attach(getattr(optimizer, "optimizer", optimizer))

    def save(_models: list[nn.Module], _weights: list[Any], folder: str) -> None:
        if accelerator.is_main_process:
            ema.save_safetensors(Path(folder) / f"{name}.safetensors")

    def load(_models: list[nn.Module], folder: str) -> None:
        ema.load_safetensors(Path(folder) / f"{name}.safetensors", kappa=kappa)

    accelerator.register_save_state_pre_hook(save)
    accelerator.register_load_state_pre_hook(load)
    return ema

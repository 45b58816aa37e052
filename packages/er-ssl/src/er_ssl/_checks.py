"""Checks at the public doors, and the unit rows that every formula on the sphere starts from."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def check_rows(name: str, z: Tensor, *, at_least: int = 1, columns: int = 2) -> None:
    """Raise unless ``z`` is a floating ``(B, D)``, ``B >= at_least`` and ``D >= columns``."""
    if not isinstance(z, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(z).__name__}")
    if not z.is_floating_point():
        raise TypeError(f"{name} must be a floating tensor, got {z.dtype}: use {name}.float()")
    if z.ndim != 2 or len(z) < at_least or z.shape[1] < columns:
        raise ValueError(
            f"{name} must be (B, D) with B >= {at_least} and D >= {columns}, got {tuple(z.shape)}"
        )


def check_same_shape(**tensors: Tensor) -> None:
    """Raise unless all ``(B, D)`` tensors have one shape and stand on one device."""
    for name, z in tensors.items():
        check_rows(name, z, at_least=0)
    if len({z.shape for z in tensors.values()}) > 1:
        got = ", ".join(f"{name} {tuple(z.shape)}" for name, z in tensors.items())
        raise ValueError(f"all must have one shape (row i is one instance), got {got}")
    if len({z.device for z in tensors.values()}) > 1:
        got = ", ".join(f"{name} on {z.device}" for name, z in tensors.items())
        raise ValueError(f"all must be on one device, got {got}")


def check_positive(name: str, value: float | Tensor) -> None:
    """Raise unless ``value`` is a finite number above zero, or a 0-d tensor (not looked into)."""
    if isinstance(value, Tensor):
        if value.ndim:
            raise ValueError(f"{name} must be a number or 0-d, got shape {tuple(value.shape)}")
    elif not (0 < value < math.inf):
        raise ValueError(f"{name} must be positive and finite, got {value}")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def at_least_float32(z: Tensor) -> Tensor:
    """Float16 and bfloat16 widened to float32; float32 and float64 as they are."""
    return z if z.dtype in (torch.float32, torch.float64) else z.float()


def unit_rows(z: Tensor) -> Tensor:
    """Rows of ``z`` at length one, in float32 at least; a row of zeros stays zero."""
    return F.normalize(at_least_float32(z), dim=1)

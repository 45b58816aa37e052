"""Checks at the public doors, and the noise that every sample starts from."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def check_rows(name: str, z: Tensor, *, at_least: int = 1) -> None:
    """Raise unless ``z`` is a floating ``(B, D)`` with ``B >= at_least`` and ``D >= 1``."""
    if not isinstance(z, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(z).__name__}")
    if not z.is_floating_point():
        raise TypeError(f"{name} must be a floating tensor, got {z.dtype}: use {name}.float()")
    if z.ndim != 2 or len(z) < at_least or z.shape[1] < 1:
        got = tuple(z.shape)
        raise ValueError(f"{name} must be (B, D) with B >= {at_least} and D >= 1, got {got}")


def check_finite(name: str, z: Tensor) -> None:
    """Raise where ``z`` holds NaN or infinity."""
    if not bool(z.detach().isfinite().all()):
        bad = int((~z.detach().isfinite()).sum())
        raise ValueError(f"{name} must be finite, got {bad} of {z.numel()} values that are not")


def check_positive(name: str, value: float) -> None:
    """Raise unless ``value`` is a finite number above zero."""
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {value}")


def check_at_least(name: str, value: float, least: float) -> None:
    """Raise unless ``value`` is a finite number of at least ``least``."""
    if not least <= value < math.inf:
        raise ValueError(f"{name} must be at least {least} and finite, got {value}")


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def at_least_float32(z: Tensor) -> Tensor:
    """Float16 and bfloat16 widened to float32; float32 and float64 as they are."""
    return z if z.dtype in (torch.float32, torch.float64) else z.float()


def uniform(shape: Sequence[int], like: Tensor, generator: torch.Generator) -> Tensor:
    """Draws strictly between 0 and 1, made where the generator is, as ``like``."""
    u = torch.rand(tuple(shape), generator=generator, dtype=like.dtype, device=generator.device)
    tiny = torch.finfo(u.dtype).eps / 2
    return u.clamp_(tiny, 1 - tiny).to(like.device)


def normal(shape: Sequence[int], like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal draws, made where the generator is, as ``like``."""
    z = torch.randn(tuple(shape), generator=generator, dtype=like.dtype, device=generator.device)
    return z.to(like.device)


def check_generator(generator: torch.Generator) -> None:
    """Raise unless ``generator`` is one."""
    if not isinstance(generator, torch.Generator):
        raise TypeError(
            f"generator must be a torch.Generator, got {type(generator).__name__}: "
            "torch.Generator().manual_seed(0), or torch.default_generator for the global one"
        )

"""Pictures with an upright pose, for the demonstration, which needs no files."""

import math

import torch
from torch import Tensor


def synthetic_images(
    n: int, *, generator: torch.Generator, classes: int = 6, size: int = 28
) -> tuple[Tensor, Tensor]:
    """Draw small grey pictures that stand upright, and their classes.

    A class is four strokes at places of its own, which no turn or mirror maps on themselves;
    every image moves, turns and weighs its strokes a little.

    Args:
        n: how many.
        generator: of the images; the classes are always the same.
        classes: how many kinds.
        size: side in pixels.

    Returns:
        Images in 0 to 1, float32 ``(n, 1, size, size)``, and classes, int64 ``(n,)``.

    Raises:
        ValueError: if a number is below 1.

    Source:
        Made for the demonstration, which needs no files.

    Example:
        >>> x, y = synthetic_images(5, generator=torch.Generator().manual_seed(0))
        >>> x.shape, y.shape
        (torch.Size([5, 1, 28, 28]), torch.Size([5]))
    """
    if min(n, classes, size) < 1:
        raise ValueError(f"n, classes and size must be at least 1, got {n}, {classes} and {size}")
    kinds = torch.rand(classes, 4, 5, generator=torch.Generator().manual_seed(3))
    labels = torch.randint(classes, (n,), generator=generator)
    stroke = kinds[labels] + 0.05 * torch.randn(n, 4, 5, generator=generator)  # (n, strokes, 5)
    y, x, angle, length, weight = stroke.unbind(-1)
    cell = (torch.arange(size) + 0.5) / size
    down = cell.view(1, 1, -1, 1) - (0.25 + 0.5 * y)[..., None, None]  # (n, strokes, size, 1)
    across = cell.view(1, 1, 1, -1) - (0.25 + 0.5 * x)[..., None, None]
    cos, sin = (f(math.pi * angle)[..., None, None] for f in (torch.cos, torch.sin))
    long = (0.06 + 0.12 * length.abs())[..., None, None]
    thick = 0.035
    ink = ((across * cos + down * sin) / long) ** 2 + ((down * cos - across * sin) / thick) ** 2
    strokes = torch.exp(-ink / 2) * (0.4 + weight.abs())[..., None, None]
    return strokes.sum(1, keepdim=True).clamp(max=1), labels

"""Pictures for the demonstration, which needs no files."""

import math

import torch
from torch import Tensor


def synthetic_images(
    n: int, *, generator: torch.Generator, classes: int = 10, size: int = 28
) -> tuple[Tensor, Tensor]:
    """Draw small grey pictures of a few strokes, and their classes.

    A class is five strokes at places of its own; every image moves, turns and weighs them anew.

    Args:
        n: how many.
        generator: of the images; the classes are always the same.
        classes: how many kinds.
        size: side.

    Returns:
        Images in 0 to 1, float32 ``(n, 1, size, size)``, and classes, int64 ``(n,)``.

    Source:
        Made for the demonstration, which needs no files.

    Example:
        >>> x, y = synthetic_images(5, generator=torch.Generator().manual_seed(0))
        >>> x.shape, y.shape
        (torch.Size([5, 1, 28, 28]), torch.Size([5]))
    """
    kinds = torch.rand(classes, 5, 5, generator=torch.Generator().manual_seed(7))
    labels = torch.randint(classes, (n,), generator=generator)
    stroke = kinds[labels] + 0.06 * torch.randn(n, 5, 5, generator=generator)  # (n, strokes, 5)
    y, x, angle, length, weight = stroke.unbind(-1)
    grid = (torch.arange(size) + 0.5) / size
    dy = grid.view(1, 1, -1, 1) - (0.2 + 0.6 * y)[..., None, None]  # (n, strokes, size, 1)
    dx = grid.view(1, 1, 1, -1) - (0.2 + 0.6 * x)[..., None, None]
    cos, sin = torch.cos(math.tau * angle), torch.sin(math.tau * angle)
    along = dx * cos[..., None, None] + dy * sin[..., None, None]
    across = dy * cos[..., None, None] - dx * sin[..., None, None]
    long = (0.05 + 0.15 * length.abs())[..., None, None]
    ink = torch.exp(-((along / long) ** 2 + (across / 0.04) ** 2) / 2)
    picture = (ink * (0.3 + weight.abs())[..., None, None]).sum(1, keepdim=True)
    return picture.clamp(max=1), labels

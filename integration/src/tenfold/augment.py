"""Random views of image batches, one draw a sample, from a generator that is passed in."""

import torch
import torch.nn.functional as F
from torch import Tensor


def views(images: Tensor, generator: torch.Generator, *, least_area: float = 0.3) -> Tensor:
    """Return one random view of each image: crop and resize, mirror, brightness and contrast.

    Args:
        images: ``(B, C, H, W)`` uint8.
        generator: where the draws come from, on the CPU.
        least_area: smallest share of the image that a crop keeps, in (0, 1].

    Returns:
        ``(B, C, H, W)`` float32, about -1 to 1.

    Raises:
        TypeError: if the images are not uint8.

    Example:
        >>> import torch
        >>> images = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)
        >>> views(images, torch.Generator().manual_seed(0)).shape
        torch.Size([2, 1, 28, 28])
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"images must be uint8, got {images.dtype}")
    n = len(images)
    u = torch.rand(7, n, generator=generator)
    side = (least_area + (1 - least_area) * u[0]).sqrt()  # of the crop, as a share of the image
    ratio = torch.exp((u[1] - 0.5) * 0.575)  # from 3/4 to 4/3
    width, height = (side * ratio.sqrt()).clamp_max(1), (side / ratio.sqrt()).clamp_max(1)
    mirror = torch.where(u[2] < 0.5, -1.0, 1.0)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 0, 2] = width * mirror, (1 - width) * (2 * u[3] - 1)
    theta[:, 1, 1], theta[:, 1, 2] = height, (1 - height) * (2 * u[4] - 1)
    x = images.float() / 127.5 - 1
    grid = F.affine_grid(theta.to(x.device), list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    contrast, brightness = 0.6 + 0.8 * u[5], 0.8 * (u[6] - 0.5)
    shape = (n, 1, 1, 1)
    return x * contrast.to(x.device).view(shape) + brightness.to(x.device).view(shape)


def plain(images: Tensor) -> Tensor:
    """Return uint8 images as the float32 that `views` would make of them, without a draw."""
    return images.float() / 127.5 - 1

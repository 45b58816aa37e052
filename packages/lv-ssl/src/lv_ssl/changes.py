"""Changes of images whose size is known: blur, crop, and three factors to regress on."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lv_ssl._checks import check_at_least, uniform


def blur(images: Tensor, sigma: float) -> Tensor:
    """Return images blurred by a Gaussian.

    Args:
        images: ``(N, C, H, W)`` uint8 or floating.
        sigma: standard deviation in pixels, at least 0; 0 changes nothing.

    Returns:
        The same shape and dtype; uint8 is rounded.

    Raises:
        ValueError: on another shape, or a sigma below 0.

    Source:
        A separable kernel out to 3 sigma, edges repeated.

    Example:
        >>> blur(torch.ones(1, 1, 8, 8), 2.0).std() < 1e-6
        tensor(True)
    """
    _check_images(images)
    check_at_least("sigma", sigma, 0)
    if sigma == 0:
        return images
    reach = math.ceil(3 * sigma)
    at = torch.arange(-reach, reach + 1, dtype=torch.float32, device=images.device)
    kernel = torch.softmax(-(at**2) / (2 * sigma**2), 0)
    n, c, h, w = images.shape
    x = images.float().reshape(n * c, 1, h, w)
    x = F.conv2d(F.pad(x, (reach, reach, 0, 0), "replicate"), kernel.view(1, 1, 1, -1))
    x = F.conv2d(F.pad(x, (0, 0, reach, reach), "replicate"), kernel.view(1, 1, -1, 1))
    return _as(images, x.reshape(n, c, h, w))


def crop(images: Tensor, share: float, *, generator: torch.Generator | None = None) -> Tensor:
    """Return square-ish crops of the images, at the images' own size again.

    Args:
        images: ``(N, C, H, W)`` uint8 or floating.
        share: of the area that is kept, in (0, 1]; 1 changes nothing.
        generator: where each image's place is drawn from; None takes the middle.

    Returns:
        The same shape and dtype; uint8 is rounded.

    Raises:
        ValueError: on another shape, or a share outside (0, 1].

    Source:
        Bilinear, the same zoom for both axes.

    Example:
        >>> crop(torch.arange(16.0).view(1, 1, 4, 4), 0.25).shape
        torch.Size([1, 1, 4, 4])
    """
    _check_images(images)
    if not 0 < share <= 1:
        raise ValueError(f"share must be in (0, 1], got {share}")
    if share == 1:
        return images
    side, n = math.sqrt(share), len(images)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = side
    if generator is not None:
        theta[:, :, 2] = (1 - side) * (2 * uniform((n, 2), theta, generator) - 1)
    return _warp(images, theta)


@dataclass(frozen=True, eq=False)
class Factors:
    """Images that were changed by known amounts: ``angle`` in radians, ``scale``, ``brightness``.

    Attributes:
        images: ``(N, C, H, W)``, of the dtype that came.
        angle: ``(N,)``, anticlockwise.
        scale: ``(N,)``, above 1 for larger.
        brightness: ``(N,)``, a factor.
    """

    images: Tensor
    angle: Tensor
    scale: Tensor
    brightness: Tensor

    def to_table(self) -> dict[str, list[float]]:
        """Columns ``angle``, ``scale`` and ``brightness``."""
        return {name: getattr(self, name).tolist() for name in ("angle", "scale", "brightness")}


def with_factors(
    images: Tensor,
    *,
    generator: torch.Generator,
    degrees: float = 30.0,
    zoom: float = 1.4,
    light: float = 1.5,
) -> Factors:
    """Return the images turned, scaled and lit by amounts that are drawn and returned.

    Args:
        images: ``(N, C, H, W)`` uint8 or floating, black at 0.
        generator: where the amounts come from.
        degrees: largest turn to either side.
        zoom: largest scale; the smallest is its inverse.
        light: largest brightness factor; the smallest is its inverse.

    Returns:
        `Factors`.

    Raises:
        ValueError: on another shape, or a range that is none.

    Source:
        Ours: labels for regression that need no annotator.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> with_factors(torch.ones(5, 1, 8, 8), generator=g).angle.shape
        torch.Size([5])
    """
    _check_images(images)
    for name, value, least in (("degrees", degrees, 0), ("zoom", zoom, 1), ("light", light, 1)):
        check_at_least(name, value, least)
    u = 2 * uniform((3, len(images)), torch.zeros(()), generator) - 1
    angle = u[0] * math.radians(degrees)
    scale, brightness = (torch.exp(x * math.log(m)) for x, m in ((u[1], zoom), (u[2], light)))
    theta = torch.zeros(len(images), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = angle.cos() / scale
    theta[:, 0, 1] = -angle.sin() / scale
    theta[:, 1, 0] = angle.sin() / scale
    turned = _warp(images.float(), theta, padding="zeros")
    lit = turned * brightness.to(images.device).view(-1, 1, 1, 1)
    return Factors(_as(images, lit), angle, scale, brightness)


def _warp(images: Tensor, theta: Tensor, padding: str = "reflection") -> Tensor:
    x = images.float()
    grid = F.affine_grid(theta.to(x.device), list(x.shape), align_corners=False)
    return _as(images, F.grid_sample(x, grid, padding_mode=padding, align_corners=False))


def _as(images: Tensor, x: Tensor) -> Tensor:
    """``x`` as ``images`` came."""
    return x.to(images.dtype) if images.is_floating_point() else x.round().clamp(0, 255).byte()


def _check_images(images: Tensor) -> None:
    good = images.ndim == 4 and (images.dtype == torch.uint8 or images.is_floating_point())
    if not good:
        got = f"{tuple(images.shape)} of {images.dtype}"
        raise ValueError(f"images must be (N, C, H, W), uint8 or floating, got {got}")

"""Convolutions over a group: plain tensors ``(B, C, |G|, H, W)``, one plain convolution inside."""

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from homssl._checks import check_channels, check_grid, check_same_grid
from homssl.groups import Group
from homssl.kernels import expand_kernel, turned_kernels
from homssl.product import Product
from homssl.scale import Scale

PaddingMode = Literal["zeros", "circular"]


class _GroupConv(nn.Module):
    """What lifting and group convolution share: the weight, its expansion, the grid."""

    turns: Tensor
    relative: Tensor | None
    lifting: bool

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        group: Group,
        *,
        stride: int = 1,
        padding: int | None = None,
        padding_mode: PaddingMode | None = None,
        bias: bool = True,
        size: int | None = None,
        allow_approximate: bool = False,
    ) -> None:
        super().__init__()
        for name, value in {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "kernel_size": kernel_size,
            "stride": stride,
        }.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride = kernel_size, stride
        self.group = group
        self.padding = (kernel_size - 1) // 2 if padding is None else padding
        self.padding_mode: PaddingMode = padding_mode or ("circular" if group.periodic else "zeros")
        self.allow_approximate = allow_approximate
        if not allow_approximate:
            check_same_grid(group, kernel_size, self.padding, self.padding_mode)
            if stride > 1 and group.point.order > 1 and size is None:
                raise ValueError(
                    f"size must be given with stride {stride}: whether the grid stays symmetric "
                    f"under {group.point} depends on the side of the input"
                )
            if size is not None:
                self._check_grid(size, size)
        point = group.point
        places = 1 if self.lifting else point.order
        self.register_buffer("turns", turned_kernels(point, kernel_size), persistent=False)
        relative = None
        if not self.lifting:
            every = point.elements()
            relative = point.pull(every.view(1, -1), every.view(-1, 1))  # r^-1 s at (r, s)
        self.register_buffer("relative", relative, persistent=False)
        shape = (out_channels, in_channels, places, kernel_size, kernel_size)
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()
        self._kept: tuple[Tensor, int, Tensor] | None = None

    def reset_parameters(self) -> None:
        """Draw the weights as `torch.nn.Conv2d` does, for the channels that a sum runs over."""
        nn.init.kaiming_uniform_(self.weight.flatten(2, 3), a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.weight[0].numel())
            nn.init.uniform_(self.bias, -bound, bound)

    def _check_grid(self, height: int, width: int) -> None:
        check_grid(
            self.group, height, width, reach=self.kernel_size - 2 * self.padding, stride=self.stride
        )

    def kernel(self) -> Tensor:
        """The plain kernel ``(O |G|, I S, k, k)``; in eval mode without gradient it is kept.

        What is kept is dropped when the weight is changed in place, replaced or moved, and when
        the mode changes.
        """
        keep = not (self.training or torch.is_grad_enabled() or torch.compiler.is_compiling())
        if not keep:
            return expand_kernel(self.weight, self.turns, self.relative)
        if self._kept is not None:
            weight, version, kernel = self._kept
            same = weight is self.weight and version == weight._version
            if same and (kernel.device, kernel.dtype) == (weight.device, weight.dtype):
                return kernel
        kernel = expand_kernel(self.weight, self.turns, self.relative)
        self._kept = (self.weight, self.weight._version, kernel)
        return kernel

    def train(self, mode: bool = True) -> "_GroupConv":
        """Set the mode, and forget the kernel that was kept."""
        self._kept = None
        super().train(mode)
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}

    def _convolve(self, planes: Tensor, kernel: Tensor, dilation: int = 1) -> Tensor:
        """One level: ``(B, I S, H, W)`` to ``(B, O, N, H', W')``."""
        n = self.group.point.order
        bias = None if self.bias is None else self.bias.repeat_interleave(n)
        padding = self.padding * dilation
        if padding and self.padding_mode == "circular":
            planes, padding = pad_around(planes, padding), 0
        out = F.conv2d(planes, kernel, bias, self.stride, padding, dilation)
        return out.unflatten(1, (self.out_channels, n))

    def extra_repr(self) -> str:
        """The arguments, for ``print``."""
        text = f"{self.in_channels}, {self.out_channels}, {self.kernel_size}, {self.group}"
        text += f", stride={self.stride}, padding={self.padding}"
        return text + f", padding_mode={self.padding_mode!r}"


class LiftConv2d(_GroupConv):
    """The first convolution: from images to functions on the group.

    Args:
        in_channels: channels of the images.
        out_channels: C, the channels of a fiber.
        kernel_size: side of the square kernel.
        group: what the output is a function of.
        stride: as in `torch.nn.Conv2d`.
        padding: cells added at each border; by default what keeps the size.
        padding_mode: ``"zeros"`` or ``"circular"``; by default what keeps equivariance.
        bias: one number a channel, the same for all orientations.
        size: side of the input; needed with a stride, whose symmetry depends on it.
        allow_approximate: take what breaks equivariance all the same.

    Raises:
        ValueError: on settings that break equivariance, or sizes below 1.

    Source:
        Cohen & Welling 2016, equation 10: orientation r is the convolution with the kernel
        turned by r.

    Example:
        >>> from homssl import Cyclic
        >>> LiftConv2d(3, 8, 5, Cyclic(4))(torch.randn(2, 3, 16, 16)).shape
        torch.Size([2, 8, 4, 16, 16])
    """

    lifting = True

    def forward(self, x: Tensor) -> Tensor:
        """Return the features.

        Args:
            x: images, ``(B, in_channels, H, W)``.

        Returns:
            ``(B, out_channels, |G|, H', W')``.

        Raises:
            ValueError: if the shape is another, or the stride breaks the symmetry of the grid.
        """
        check_channels("x", x, ("B", self.in_channels, "H", "W"))
        if not self.allow_approximate:
            self._check_grid(x.shape[2], x.shape[3])
        scale = scale_of(self.group)
        kernel = self.kernel()
        if scale is None:
            return self._convolve(x, kernel)
        levels = [
            self._convolve(scale.blur(x, level), kernel, scale.factor**level)
            for level in range(scale.levels)
        ]
        return torch.stack(levels, dim=3).flatten(2, 3)


class GroupConv2d(_GroupConv):
    """A convolution from functions on the group to functions on the group.

    Orientations are mixed, by the weight of their relative orientation; levels of scale are not.

    Args:
        in_channels: channels of a fiber of the input.
        out_channels: channels of a fiber of the output.
        kernel_size: side of the square kernel.
        group: that of the input.
        stride: as in `torch.nn.Conv2d`.
        padding: cells added at each border; by default what keeps the size.
        padding_mode: ``"zeros"`` or ``"circular"``; by default what keeps equivariance.
        bias: one number a channel, the same for all orientations.
        size: side of the input; needed with a stride, whose symmetry depends on it.
        allow_approximate: take what breaks equivariance all the same.

    Raises:
        ValueError: on settings that break equivariance, or sizes below 1.

    Source:
        Cohen & Welling 2016, equation 11.

    Example:
        >>> from homssl import Cyclic
        >>> layer = GroupConv2d(8, 6, 3, Cyclic(4))
        >>> layer(torch.randn(2, 8, 4, 16, 16)).shape, layer.weight.shape
        (torch.Size([2, 6, 4, 16, 16]), torch.Size([6, 8, 4, 3, 3]))
    """

    lifting = False

    def forward(self, z: Tensor) -> Tensor:
        """Return the features.

        Args:
            z: ``(B, in_channels, |G|, H, W)``.

        Returns:
            ``(B, out_channels, |G|, H', W')``.

        Raises:
            ValueError: if the shape is another, or the stride breaks the symmetry of the grid.
        """
        check_channels("z", z, ("B", self.in_channels, self.group.axis, "H", "W"))
        if not self.allow_approximate:
            self._check_grid(z.shape[3], z.shape[4])
        scale = scale_of(self.group)
        kernel = self.kernel()
        if scale is None:
            return self._convolve(z.flatten(1, 2), kernel)
        levels = z.unflatten(2, (-1, scale.levels)).unbind(3)
        out = [
            self._convolve(level.flatten(1, 2), kernel, scale.factor**i)
            for i, level in enumerate(levels)
        ]
        return torch.stack(out, dim=3).flatten(2, 3)


def scale_of(group: Group) -> Scale | None:
    """The part of a group that reduces, if it has one."""
    part = group.second if isinstance(group, Product) else group
    return part if isinstance(part, Scale) else None


def pad_around(planes: Tensor, padding: int) -> Tensor:
    """Planes ``(B, C, H, W)`` continued round the torus, as far as is wanted."""
    if padding <= min(planes.shape[2:]):
        return F.pad(planes, [padding] * 4, mode="circular")
    for dim in (2, 3):  # more than once round
        side = planes.shape[dim]
        there = torch.arange(-padding, side + padding, device=planes.device) % side
        planes = planes.index_select(dim, there)
    return planes

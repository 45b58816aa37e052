"""Small networks over any group, and the same network with its structure removed."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from homssl._checks import check_channels
from homssl.groups import Group
from homssl.layers import GroupConv2d, LiftConv2d
from homssl.pooling import GroupBatchNorm2d, GroupPool2d


def group_convnet(
    group: Group, *, widths: Sequence[int] = (5, 10, 20), in_channels: int = 1, kernel_size: int = 3
) -> nn.Sequential:
    """A plain stack: convolution, batch normalisation, ReLU, and halving after each but the last.

    Args:
        group: what the features are a function of.
        widths: channels of the fibers, one a layer.
        in_channels: channels of the images.
        kernel_size: side of all kernels.

    Returns:
        ``(B, in_channels, H, W)`` to ``(B, widths[-1], |G|, H', W')``; levels of scale are not
        halved, so there ``H' = H``.

    Raises:
        ValueError: if there are no widths.

    Source:
        Our choice; Cohen & Welling's networks are of this kind.

    Example:
        >>> from homssl import Cyclic
        >>> group_convnet(Cyclic(4))(torch.randn(2, 1, 28, 28)).shape
        torch.Size([2, 20, 4, 7, 7])
    """
    if not widths:
        raise ValueError("widths must hold at least one number of channels, got none")
    layers: list[nn.Module] = []
    for i, width in enumerate(widths):
        convolution = GroupConv2d if i else LiftConv2d
        layers.append(convolution(widths[i - 1] if i else in_channels, width, kernel_size, group))
        layers += [GroupBatchNorm2d(width, group), nn.ReLU()]
        if i < len(widths) - 1 and group.levels == 1:
            layers.append(GroupPool2d(2, group))
    return nn.Sequential(*layers)


class _Residual(nn.Module):
    """Two convolutions around which the input is added."""

    def __init__(self, channels: int, group: Group) -> None:
        super().__init__()
        self.body = nn.Sequential(
            GroupConv2d(channels, channels, 3, group, bias=False),
            GroupBatchNorm2d(channels, group),
            nn.ReLU(),
            GroupConv2d(channels, channels, 3, group, bias=False),
            GroupBatchNorm2d(channels, group),
        )

    def forward(self, z: Tensor) -> Tensor:
        """Return ``relu(z + body(z))``."""
        return torch.relu(z + self.body(z))


def group_resnet(
    group: Group, *, widths: Sequence[int] = (8, 16, 32), blocks: int = 1, in_channels: int = 3
) -> nn.Sequential:
    """A residual network: lifting, then for each width so many blocks; halving in between.

    Args:
        group: what the features are a function of.
        widths: channels of the fibers, one a stage.
        blocks: residual blocks a stage.
        in_channels: channels of the images.

    Returns:
        ``(B, in_channels, H, W)`` to ``(B, widths[-1], |G|, H', W')``.

    Raises:
        ValueError: if there are no widths or blocks.

    Source:
        He et al. 2016, with the convolutions of Cohen & Welling 2016.

    Example:
        >>> from homssl import Dihedral
        >>> group_resnet(Dihedral(4), widths=(4, 8))(torch.randn(2, 3, 16, 16)).shape
        torch.Size([2, 8, 8, 8, 8])
    """
    if not widths or blocks < 1:
        raise ValueError(f"widths and blocks must not be empty, got {widths} and {blocks}")
    layers: list[nn.Module] = []
    for i, width in enumerate(widths):
        if i:
            if group.levels == 1:
                layers.append(GroupPool2d(2, group))
            layers.append(GroupConv2d(widths[i - 1], width, 1, group, bias=False))
        else:
            layers.append(LiftConv2d(in_channels, width, 3, group, bias=False))
        layers += [GroupBatchNorm2d(width, group), nn.ReLU()]
        layers += [_Residual(width, group) for _ in range(blocks)]
    return nn.Sequential(*layers)


class _Free(nn.Module):
    """A plain layer on ``(B, C N, H, W)`` in the place of one on ``(B, C, N, H, W)``."""

    def __init__(self, inner: nn.Module, channels: int, group: Group) -> None:
        super().__init__()
        self.inner, self.channels, self.axis = inner, channels, group.axis

    def forward(self, z: Tensor) -> Tensor:
        """Return features of the same shape as the layer that was replaced."""
        out = self.inner(z.flatten(1, 2) if z.ndim == 5 else z)
        check_channels("features", out, ("B", self.channels * self.axis, "H", "W"))
        return out.unflatten(1, (self.channels, self.axis))


def unstructured(model: nn.Module) -> nn.Module:
    """The twin of a network without its structure: same tensors throughout, no weight is shared.

    Every group convolution becomes a plain one from all input orientations to all output
    orientations, freshly drawn, and every batch normalisation one of each orientation by itself.

    Args:
        model: a network of this package's layers, without levels of scale; stays as it is.

    Returns:
        A new network. It has ``|G|`` times the weights of the convolutions.

    Raises:
        ValueError: if a layer has levels of scale.

    Source:
        The paper's "when representational structure is removed"; how is our choice.

    Example:
        >>> from homssl import Cyclic
        >>> plain = unstructured(group_convnet(Cyclic(4)))
        >>> plain(torch.randn(2, 1, 28, 28)).shape
        torch.Size([2, 20, 4, 7, 7])
    """
    twin = copy.deepcopy(model)
    for parent in list(twin.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LiftConv2d | GroupConv2d):
                setattr(parent, name, _free_convolution(child))
            elif isinstance(child, GroupBatchNorm2d):
                axis = child.group.axis
                norm = nn.BatchNorm2d(
                    child.num_features * axis, eps=child.eps, momentum=child.momentum
                ).to(child.weight)
                setattr(parent, name, _Free(norm, child.num_features, child.group))
    return twin


def _free_convolution(layer: LiftConv2d | GroupConv2d) -> _Free:
    group = layer.group
    if group.levels > 1:
        raise ValueError(f"unstructured takes no levels of scale, got a layer of {group}")
    into = layer.in_channels * (1 if layer.lifting else group.axis)
    plain = nn.Conv2d(
        into, layer.out_channels * group.axis, layer.kernel_size, layer.stride, layer.padding,
        bias=layer.bias is not None, padding_mode=layer.padding_mode,
    ).to(layer.weight)  # fmt: skip
    return _Free(plain, layer.out_channels, group)

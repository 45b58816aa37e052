"""Small encoders that train in seconds, a ResNet for real scale, and the heads above them."""

from itertools import pairwise

import torch
from torch import Tensor, nn


def small_encoder(channels: int = 1) -> nn.Sequential:
    """Return three strided convolutions, 32-64-128: ``(B, C, H, W) -> (B, 128)``, 93,000 weights.

    Example:
        >>> import torch
        >>> small_encoder()(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 128])
    """
    widths = (channels, 32, 64, 128)
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    encoder = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return encoder.to(memory_format=torch.channels_last)  # a fifth faster on a CPU


def mlp(before: int, hidden: int, after: int) -> nn.Sequential:
    """Return a projector or predictor: linear, batch norm, ReLU, linear."""
    return nn.Sequential(
        nn.Linear(before, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, after),
    )


class _Block(nn.Module):
    """A residual block of two convolutions."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        shortcut: list[nn.Module] = []
        if stride != 1 or before != after:
            shortcut = [nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)]
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        return (self.body(x) + self.shortcut(x)).relu_()


def resnet18(channels: int = 3) -> nn.Sequential:
    """Return ResNet-18 with the stem for 32x32 images: ``(B, C, H, W) -> (B, 512)``."""
    layers: list[nn.Module] = [
        nn.Conv2d(channels, 64, 3, 1, 1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
    ]
    before = 64
    for after, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [_Block(before, after, stride), _Block(after, after, 1)]
        before = after
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())

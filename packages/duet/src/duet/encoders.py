"""A small encoder that trains in minutes on a CPU, and the projection head."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class ConvNet(nn.Module):
    """Four convolutions, a linear layer and a batch norm: images to features.

    The last layer's batch norm stands before the features are seen as a matrix, as the paper's
    code has it. Any side from 8 pixels on will do, so ESSL's half-size images pass too.

    Args:
        channels: of the images.
        features: how many come out: bins times content channels, summed over the factors.
        widths: channels of the four convolutions; the first three halve the image's side.

    Raises:
        ValueError: if a number is below 1 or there are not four widths.

    Example:
        >>> ConvNet(1, features=64)(torch.rand(5, 1, 28, 28)).shape
        torch.Size([5, 64])
    """

    def __init__(
        self, channels: int = 1, *, features: int = 256, widths: Sequence[int] = (16, 32, 64, 64)
    ) -> None:
        super().__init__()
        if len(widths) != 4 or min(channels, features, *widths) < 1:
            got = f"channels {channels}, features {features}, widths {tuple(widths)}"
            raise ValueError(f"ConvNet needs numbers of at least 1 and four widths, got {got}")
        self.options = {"channels": channels, "features": features, "widths": list(widths)}
        self.num_features = features
        layers: list[nn.Module] = []
        for n, (before, after) in enumerate(pairwise((channels, *widths))):
            layers += [nn.Conv2d(before, after, 3, stride=2 if n < 3 else 1, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.last = nn.Sequential(nn.Linear(4 * widths[-1], features), nn.BatchNorm1d(features))
        self.to(memory_format=torch.channels_last)  # a quarter faster on a CPU

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` images in 0 to 1 to ``(B, features)``."""
        return self.last(self.body(x - 0.5))


class ProjectionHead(nn.Sequential):
    """The head between content and objective: three linear layers, each with a batch norm.

    The last batch norm stands there too, as in the paper's code.

    Args:
        before: content channels.
        hidden: width of both hidden layers (the paper's code has 2,048).
        after: width of the embeddings (the paper's code has 128).

    Raises:
        ValueError: if a number is below 1.

    Source:
        apple/ml-duet's projection head; our default widths are smaller.

    Example:
        >>> ProjectionHead(32)(torch.rand(5, 32)).shape
        torch.Size([5, 64])
    """

    def __init__(self, before: int, *, hidden: int = 256, after: int = 64) -> None:
        if min(before, hidden, after) < 1:
            raise ValueError(f"widths must be at least 1, got {before}, {hidden} and {after}")
        super().__init__(
            nn.Linear(before, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, after, bias=False),
            nn.BatchNorm1d(after),
        )
        self.options = {"before": before, "hidden": hidden, "after": after}

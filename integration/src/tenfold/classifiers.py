"""Three small networks without batch statistics: what a batch size may not touch by itself.

Batch normalisation would make the gradient's mean depend on the batch, and no rule of scaling
could hold; these use layer or group normalisation, or none.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_features(channels: int = 1, width: int = 16, *, norm: bool = False) -> nn.Sequential:
    """Return three strided convolutions, width to 4 width: ``(B, C, H, W)`` to a feature map.

    Args:
        channels: of the images.
        width: of the first convolution; the others have twice and four times as many.
        norm: whether each image is standardised, and a group normalisation of 8 groups stands
            after each convolution.

    Example:
        >>> import torch
        >>> conv_features()(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 64, 4, 4])
    """
    widths = (channels, width, 2 * width, 4 * width)
    layers: list[nn.Module] = [nn.GroupNorm(1, channels, affine=False)] if norm else []
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1)]
        layers += [nn.GroupNorm(8, after)] if norm else []
        layers += [nn.ReLU()]
    for layer in layers:
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


def conv_classifier(
    classes: int = 10, *, channels: int = 1, size: int = 28, width: int = 16, norm: bool = False
) -> nn.Sequential:
    """Return the convolutions above and one linear layer: ``(B, C, H, W) -> (B, classes)`` logits.

    Example:
        >>> import torch
        >>> conv_classifier()(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 10])
    """
    side = (size + 7) // 8
    head = nn.Linear(4 * width * side * side, classes)
    return nn.Sequential(*conv_features(channels, width, norm=norm), nn.Flatten(), head)


class GhostNorm(nn.Module):
    """Batch normalisation over groups of ``rows`` rows, whatever the batch: ``(B, F)`` to the same.

    The expected gradient then does not depend on the batch, as it does with the usual kind; the
    groups' own statistics are used always.

    Args:
        features: how many.
        rows: of a group; batches must be multiples of it.

    Raises:
        ValueError: in the forward pass, if a batch is no multiple.

    Example:
        >>> import torch
        >>> GhostNorm(1, rows=2)(torch.tensor([[1.0], [3.0], [5.0], [9.0]])).flatten().round()
        tensor([-1.,  1., -1.,  1.], grad_fn=<RoundBackward0>)
    """

    def __init__(self, features: int, *, rows: int = 32) -> None:
        super().__init__()
        self.rows = rows
        self.weight, self.bias = (
            nn.Parameter(torch.ones(features)),
            nn.Parameter(torch.zeros(features)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same shape."""
        if len(x) % self.rows:
            raise ValueError(f"a batch must be a multiple of {self.rows} rows, got {len(x)}")
        groups = x.view(-1, self.rows, x.shape[1])
        spread, mean = torch.var_mean(groups, 1, correction=0, keepdim=True)
        return ((groups - mean) * (spread + 1e-5).rsqrt() * self.weight + self.bias).view_as(x)


class Block(nn.Module):
    """A transformer block with the normalisation before each branch.

    Args:
        width: of the tokens, a multiple of ``heads``.
        heads: of the attention.
        causal: whether a token sees only those before it.
    """

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``(B, T, W)`` to tokens of the same shape."""
        b, t, w = x.shape
        qkv = self.qkv(self.before_attention(x)).view(b, t, 3, self.heads, w // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, T, W / heads) each
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.project(mixed.transpose(1, 2).reshape(b, t, w))
        return x + self.mlp(self.before_mlp(x))


class ImageTransformer(nn.Module):
    """A small ViT: ``(B, C, H, W)`` images to ``(B, classes)`` logits, by the mean of its tokens.

    Args:
        classes: how many logits.
        channels: of the images.
        size: height and width of the images, a multiple of ``patch``.
        patch: side of a patch.
        width: of the tokens.
        depth: blocks.
        heads: of each attention.

    Example:
        >>> import torch
        >>> ImageTransformer()(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 10])
    """

    def __init__(
        self,
        classes: int = 10,
        *,
        channels: int = 1,
        size: int = 28,
        patch: int = 7,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, width, patch, stride=patch)
        self.places = nn.Parameter(0.02 * torch.randn((size // patch) ** 2, width))
        self.blocks = nn.Sequential(*(Block(width, heads, causal=False) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, classes)``."""
        tokens = self.patches(images).flatten(2).transpose(1, 2) + self.places  # (B, T, W)
        return self.head(self.norm(self.blocks(tokens)).mean(1))


class CausalTransformer(nn.Module):
    """A small language model: ``(B, T)`` int64 symbols to ``(B, T, vocabulary)`` logits.

    Args:
        vocabulary: how many symbols there are.
        context: longest T.
        width: of the tokens.
        depth: blocks.
        heads: of each attention.

    Example:
        >>> import torch
        >>> CausalTransformer(60, context=32)(torch.zeros(5, 32, dtype=torch.int64)).shape
        torch.Size([5, 32, 60])
    """

    def __init__(
        self, vocabulary: int, *, context: int, width: int = 64, depth: int = 2, heads: int = 4
    ) -> None:
        super().__init__()
        self.symbols = nn.Embedding(vocabulary, width)
        self.places = nn.Parameter(0.02 * torch.randn(context, width))
        self.blocks = nn.Sequential(*(Block(width, heads, causal=True) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)

    def forward(self, symbols: Tensor) -> Tensor:
        """Return the logits of each next symbol, ``(B, T, vocabulary)``."""
        tokens = self.symbols(symbols) + self.places[: symbols.shape[1]]
        return self.head(self.norm(self.blocks(tokens)))

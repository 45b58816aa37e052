"""Controlled generation: from the matrix of a frozen encoder back to an image, after a shift."""

import math
import os
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from duet.store import fill, read_tensors, write_tensors

Encode = Callable[[Tensor], Tensor]
"""Images ``(B, C, H, W)`` to flat features ``(B, F)``."""
FORMAT = "duet decoder"
Draw = Callable[[Tensor, torch.Generator], Tensor]
"""Images and a generator to views of them, ``(B, C, H, W)`` both."""


class Decoder(nn.Module):
    """The flat matrix of an encoder to an image of a given size.

    Args:
        features: of the encoder.
        channels: of the image.
        size: its height and width, or one number for both.
        width: channels of the widest map, at least 4.

    Raises:
        ValueError: if a number is too small.

    Source:
        "Controlled generation" (abstract); no decoder was published, so this one is ours.

    Example:
        >>> Decoder(256, 1, 28)(torch.zeros(2, 256)).shape
        torch.Size([2, 1, 28, 28])
    """

    def __init__(
        self, features: int, channels: int = 1, size: int | Sequence[int] = 28, *, width: int = 64
    ) -> None:
        super().__init__()
        height, breadth = (size, size) if isinstance(size, int) else size
        if min(features, channels, height, breadth) < 1 or width < 4:
            got = f"features {features}, channels {channels}, size {height}x{breadth}"
            raise ValueError(f"numbers must be at least 1 and width at least 4, got {got}, {width}")
        self.options = {
            "features": features,
            "channels": channels,
            "size": [height, breadth],
            "width": width,
        }
        self.size = height, breadth
        self.start = -(-height // 4), -(-breadth // 4)  # a quarter of each side, rounded up
        first = width * math.prod(self.start)
        self.spread = nn.Sequential(
            nn.Linear(features, first, bias=False), nn.BatchNorm1d(first), nn.ReLU(inplace=True)
        )
        self.maps = nn.Sequential(
            nn.ConvTranspose2d(width, width // 2, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width // 2),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(width // 2, width // 4, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width // 4),
            nn.ReLU(inplace=True),
            nn.Conv2d(width // 4, channels, 3, padding=1),
        )

    def forward(self, z: Tensor) -> Tensor:
        """``(B, F)`` features to ``(B, C, H, W)`` images in 0 to 1."""
        x = self.spread(z).unflatten(1, (-1, *self.start))
        height, breadth = self.size
        return torch.sigmoid(self.maps(x)[..., :height, :breadth])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write weights and sizes to a safetensors file, there as a whole or not at all.

        Args:
            path: where.

        Raises:
            OSError: if it cannot be written.
        """
        write_tensors(path, self.state_dict(), format=FORMAT, options=self.options)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Decoder":
        """Return the decoder of a file, in eval mode.

        Args:
            path: what `save` wrote.

        Raises:
            ValueError: if it is a pickle or no such file, or its weights do not fit its sizes.
            OSError: if it cannot be read.
        """
        tensors, header = read_tensors(path, format=FORMAT)
        try:
            with torch.random.fork_rng(devices=[]):  # weights that the file replaces
                decoder = cls(**header["options"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error
        fill(decoder, tensors, path)
        return decoder.eval()


def fit_decoder(
    encode: Encode,
    images: Tensor,
    *,
    draw: Draw,
    steps: int = 420,
    batch: int = 128,
    lr: float = 2e-3,
    noise: float = 0.75,
    generator: torch.Generator,
    decoder: Decoder | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Decoder:
    """Train a decoder on what a frozen encoder makes of transformed images, by squared error.

    Args:
        encode: the frozen encoder, in eval mode; called without gradient.
        images: ``(N, C, H, W)`` in 0 to 1.
        draw: a view of each image, given the images and the generator; what is decoded.
        steps: optimizer steps.
        batch: images a step.
        lr: highest learning rate of AdamW, on one cycle.
        noise: standard deviation of the normal noise on the features, as a part of their own; so
            the decoder reads what an approximate shift leaves, too. 0 decodes sharpest what the
            encoder itself returns.
        generator: of the batches, the views and the noise, on the CPU.
        decoder: to be trained on; None makes one whose weights torch draws.
        progress: called with steps done and steps in all, in the place of a bar.

    Returns:
        The decoder, in eval mode, on the images' device.

    Raises:
        ValueError: if there are fewer images than a batch, an image is outside 0 to 1, or the
            noise is negative.
        FloatingPointError: if the error is no longer finite.

    Source:
        "Controlled generation" (abstract); squared error and noise are our choice.

    Example:
        >>> def encode(x):
        ...     return x.flatten(1)
        >>> def draw(x, generator):
        ...     return x
        >>> g = torch.Generator().manual_seed(0)
        >>> x = torch.rand(8, 1, 8, 8, generator=g)
        >>> made = fit_decoder(encode, x, draw=draw, steps=2, batch=4, generator=g)
        >>> made(encode(x)).shape
        torch.Size([8, 1, 8, 8])
    """
    if images.ndim != 4 or not 2 <= batch <= len(images) or steps < 1:
        got = f"{tuple(images.shape)}, batch {batch}, steps {steps}"
        raise ValueError(
            f"images must be (N, C, H, W) with N >= batch >= 2 and steps >= 1, got {got}"
        )
    if not 0 <= noise < math.inf:
        raise ValueError(f"noise must be at least 0 and finite, got {noise}")
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 1):
        raise ValueError(f"images must be in 0 to 1, as the decoder's, got {low:g} to {high:g}")
    with torch.no_grad():
        features = encode(images[:2]).shape[1]
    if decoder is None:
        decoder = Decoder(features, images.shape[1], images.shape[-2:])
    decoder.to(images.device).train()
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=lr, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    bar = tqdm(range(steps), desc="decoder", disable=True if progress else None)
    for step in bar:
        rows = torch.randint(len(images), (batch,), generator=generator).to(images.device)
        with torch.no_grad():
            view = draw(images[rows], generator)
            z = _noisy(encode(view), noise, generator)
        loss = F.mse_loss(decoder(z), view)
        if not bool(loss.detach().isfinite()):
            raise FloatingPointError(
                f"the decoder's error is {float(loss.detach())} at step {step + 1}"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if progress:
            progress(step + 1, steps)
    return decoder.eval()


def _noisy(z: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """Features with normal noise on each, in units of its standard deviation over the batch."""
    if not noise:
        return z
    drawn = torch.randn(z.shape, generator=generator, dtype=torch.float32).to(z)
    return z + noise * z.std(0, correction=0) * drawn

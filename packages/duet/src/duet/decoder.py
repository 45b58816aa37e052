"""Controlled generation: from the matrix of a frozen encoder back to an image, after a shift."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from duet.factors import Factor
from duet.harness import embed
from duet.layer import DuetMatrix
from duet.model import steer
from duet.views import ParamView

Encode = Callable[[Tensor], Tensor]
"""Images ``(B, C, H, W)`` to flat features ``(B, F)``."""
Draw = Callable[[Tensor, torch.Generator | None], Tensor]
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


def fit_decoder(
    encode: Encode,
    images: Tensor,
    *,
    draw: Draw,
    steps: int = 420,
    batch: int = 128,
    lr: float = 2e-3,
    generator: torch.Generator | None = None,
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
        generator: of the batches and the views.
        decoder: to be trained on; None makes one whose weights torch draws.
        progress: called with steps done and steps in all, in the place of a bar.

    Returns:
        The decoder, in eval mode, on the images' device.

    Raises:
        ValueError: if there are fewer images than a batch, or an image is outside 0 to 1.
        FloatingPointError: if the error is no longer finite.

    Source:
        "Controlled generation" (abstract); squared error is our choice.

    Example:
        >>> def encode(x):
        ...     return x.flatten(1)
        >>> x = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> made = fit_decoder(encode, x, draw=lambda x, generator: x, steps=2, batch=4)
        >>> made(encode(x)).shape
        torch.Size([8, 1, 8, 8])
    """
    if images.ndim != 4 or not 2 <= batch <= len(images) or steps < 1:
        got = f"{tuple(images.shape)}, batch {batch}, steps {steps}"
        raise ValueError(
            f"images must be (N, C, H, W) with N >= batch >= 2 and steps >= 1, got {got}"
        )
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
            z = encode(view)
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


@dataclass(frozen=True)
class ControlledGrid:
    """Images made by moving a factor in the representation, and the truth beneath.

    Attributes:
        factor: which.
        values: of the moves, in the factor's unit, K of them.
        starts: what was encoded, ``(N, C, H, W)``.
        made: decoded after each move, ``(N, K, C, H, W)``.
        truth: the images really moved, ``(N, K, C, H, W)``.
    """

    factor: Factor
    values: tuple[float, ...]
    starts: Tensor
    made: Tensor
    truth: Tensor

    @property
    def errors(self) -> Tensor:
        """Mean squared error of every image made, ``(N, K)``."""
        return (self.made - self.truth).square().flatten(2).mean(2)

    def picture(self) -> np.ndarray:
        """All as one image: for each start a row of what was made, and the truth beneath.

        The first column is the start in both rows. uint8, ``(2NH, (K+1)W)`` or with a last axis
        of 3 colours.
        """
        rows = []
        for start, made, truth in zip(self.starts, self.made, self.truth, strict=True):
            rows += [torch.cat([start, *line], dim=2) for line in (made, truth)]
        return to_pixels(torch.cat(rows, dim=1))

    def __str__(self) -> str:
        n, k = self.errors.shape
        per = ", ".join(
            f"{value:g}: {error:.4f}"
            for value, error in zip(self.values, self.errors.mean(0).tolist(), strict=True)
        )
        return f"{n} images, {k} moves of {self.factor.name}; mean squared error by move: {per}"

    def to_table(self) -> dict[str, list]:
        """One row an image and move: what was made, the truth, the error."""
        n, k = self.errors.shape
        return {
            "image": [i for i in range(n) for _ in range(k)],
            "moved by": list(self.values) * n,
            "made": [to_pixels(x) for x in self.made.flatten(0, 1)],
            "truth": [to_pixels(x) for x in self.truth.flatten(0, 1)],
            "error": self.errors.flatten().tolist(),
        }


def controlled_grid(
    model: nn.Module,
    decoder: Decoder,
    images: Tensor,
    factor: Factor,
    *,
    amounts: Sequence[float] | None = None,
    start: float | None = None,
    matrix: DuetMatrix | None = None,
) -> ControlledGrid:
    """Move a factor in the representation of each image, decode, and put the truth beside it.

    Args:
        model: with ``features(x) -> (B, F)``; `Duet`, or another read by a ``matrix``.
        decoder: features to images.
        images: ``(N, C, H, W)`` in 0 to 1, as they are at the identity.
        factor: which.
        amounts: moves in units of p; None takes one bin after the other.
        start: parameter at which the images are encoded; None takes the identity, or the lower end
            of a finite range.
        matrix: how the features are read; None takes the model's.

    Returns:
        The grid.

    Raises:
        ValueError: if the model has no matrix, or a move leaves a finite range.

    Source:
        "Controlled generation" (abstract).

    Example:
        >>> from duet import rotation
        >>> from duet.encoders import ConvNet
        >>> from duet.model import Duet
        >>> model = Duet(ConvNet(1, features=64), [rotation()]).eval()
        >>> x = torch.rand(2, 1, 28, 28)
        >>> controlled_grid(model, Decoder(64, 1, 28), x, rotation()).made.shape
        torch.Size([2, 8, 1, 28, 28])
    """
    read = getattr(model, "matrix", None) if matrix is None else matrix
    if not isinstance(read, DuetMatrix):
        raise ValueError(f"{type(model).__name__} has no matrix of its own: give matrix=")
    if start is None:
        start = factor.identity_p if factor.cyclic else min(factor.identity_p, 0.5 / factor.bins)
    if amounts is None:
        steps = factor.bins if factor.cyclic else int(factor.bins * (1 - start) + 1e-6)
        amounts = [k / factor.bins for k in range(steps)]
    place = ParamView([factor])
    at = torch.full((len(images),), start, device=images.device)

    def seen(amount: float) -> Tensor:
        return place.apply(images, {factor.name: at + amount})

    starts = seen(0.0)
    z = embed(model, starts)
    with torch.no_grad():
        was_training = decoder.training
        decoder.eval()
        made = [decoder(steer(read, z, factor.name, amount)) for amount in amounts]
        decoder.train(was_training)
    values = tuple(amount * (factor.end - factor.start) for amount in amounts)
    truth = torch.stack([seen(amount) for amount in amounts], dim=1)
    return ControlledGrid(factor, values, starts, torch.stack(made, dim=1), truth)


def to_pixels(image: Tensor) -> np.ndarray:
    """An image ``(C, H, W)`` in 0 to 1 as uint8, ``(H, W)`` or ``(H, W, 3)``.

    Args:
        image: of one channel or three.
    """
    shown = (image.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    return shown[0] if len(shown) == 1 else np.ascontiguousarray(np.moveaxis(shown, 0, 2))

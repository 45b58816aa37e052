"""A factor moved in the representation, decoded, and the truth beneath."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from duet.decoder import Decoder
from duet.evaluate import matrix_of
from duet.factors import Factor
from duet.harness import embed
from duet.layer import DuetMatrix
from duet.model import steer
from duet.views import ParamView


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
        rows: list[Tensor] = []
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

    def to_table(self) -> dict[str, list[Any]]:
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
    read = matrix_of(model, matrix)
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

"""Networks trained on fibers or on moved images, with their structure and without: what they find.

The station and the study of homssl share these.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from homssl import ASSL, HSSL, Cyclic, Group, group_convnet, group_resnet, unstructured
from homssl.measures import embeddings, top1
from torch import Tensor, nn

from tenfold.augment import plain
from tenfold.data.images import Split
from tenfold.encoders import mlp
from tenfold.methods import seeded
from tenfold.probes import Accuracy, linear_probe
from tenfold.training import Schedule, train

ANGLES = (0, 90, 180, 270)
GALLERY = 1000  # images among which one is to be found
Framework = HSSL | ASSL


@dataclass(frozen=True)
class Arm:
    """One training of the failure experiment.

    Attributes:
        net: equivariant to quarter turns, or its twin of the same tensors without structure.
        loss: ``"fibers"`` of one pass (H-SSL), or ``"images"`` that are turned (A-SSL).
    """

    net: Literal["C4", "plain"]
    loss: Literal["fibers", "images"]

    def __str__(self) -> str:
        return f"{self.net} net, {'H' if self.loss == 'fibers' else 'A'}-SSL"


STRUCTURED, REMOVED, AUGMENTED = Arm("C4", "fibers"), Arm("plain", "fibers"), Arm("plain", "images")
ARMS = (STRUCTURED, REMOVED, AUGMENTED)


def framework_of(arm: Arm, seed: int, *, channels: int = 1, large: bool = False) -> Framework:
    """Return an arm before its training; arms of one net and seed begin with the same weights.

    Args:
        arm: net and loss.
        seed: of the weights.
        channels: of the images.
        large: a residual network instead of three convolutions.
    """
    group = Cyclic(4)
    width = 32 if large else 20

    def build() -> Framework:
        encoder: nn.Module = group_convnet(group, in_channels=channels)
        if large:
            encoder = group_resnet(group, widths=(8, 16, width), in_channels=channels)
        if arm.net == "plain":
            encoder = unstructured(encoder)
        kind = HSSL if arm.loss == "fibers" else ASSL
        return kind(encoder, group, head=mlp(width, 128, 64))

    return seeded(seed, build)


def fit_framework(
    framework: Framework,
    images: Tensor,
    *,
    schedule: Schedule,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[float]:
    """Train in place on plain images, and return the loss of every step.

    Args:
        framework: either loss; left in eval mode.
        images: ``(N, C, H, W)`` uint8.
        schedule: epochs, batch, learning rate.
        seed: of the order and of the elements.
        progress: called with steps done and steps in all.
    """
    generator = torch.Generator().manual_seed(seed)
    total = schedule.steps(len(images))

    def step(view: Tensor, _again: Tensor, _rows: Tensor) -> Tensor:
        return framework(view, generator=generator).loss

    losses = train(
        [framework], images, step, schedule=schedule, seed=seed,
        after_step=lambda done: progress(done, total),
        augment=lambda batch, _generator: plain(batch),
    )  # fmt: skip
    framework.eval()
    return losses


@dataclass(frozen=True)
class Found:
    """How often one of `GALLERY` images was found again.

    Attributes:
        turned: by angle, from the fiber at the base of the turned image.
        pretext: by element, from another fiber of the same pass: what H-SSL asks for.
    """

    turned: dict[int, Accuracy]
    pretext: dict[int, Accuracy]


def retrieve(framework: Framework, images: Tensor) -> Found:
    """Return both kinds of retrieval, top 1 by cosine, of embeddings in eval mode.

    Args:
        framework: trained or not.
        images: ``(N, C, H, H)`` uint8, upright.
    """
    x = plain(images)
    upright = embeddings(framework, x)

    def share(queries: Tensor) -> Accuracy:
        return Accuracy(round(top1(queries, upright) * len(x)), len(x))

    turned = {a: share(embeddings(framework, x.rot90(a // 90, (-2, -1)))) for a in ANGLES}
    pretext = {g: share(embeddings(framework, x, g)) for g in range(1, framework.group.order)}
    return Found(turned, pretext)

"""Networks trained on fibers or on moved images, with their structure and without: what they find.

The station and the study of homssl share these.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from homssl import ASSL, HSSL, Cyclic, Translation, group_convnet, group_resnet, unstructured
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
GRID, CELL, FIELD = 14, 2, 14  # of the translations: cells a side, pixels a cell, pixels seen
Framework = HSSL | ASSL
Loss = Literal["fibers", "images"]


@dataclass(frozen=True)
class Arm:
    """One training of the failure experiment.

    Attributes:
        net: equivariant to quarter turns, or its twin of the same tensors without structure.
        loss: on ``"fibers"`` of one pass (H-SSL), or on ``"images"`` that are turned (A-SSL).
    """

    net: Literal["C4", "plain"]
    loss: Loss

    def __str__(self) -> str:
        return f"{self.net} net, {'H' if self.loss == 'fibers' else 'A'}-SSL"


STRUCTURED, REMOVED, AUGMENTED = Arm("C4", "fibers"), Arm("plain", "fibers"), Arm("plain", "images")
ARMS = (STRUCTURED, REMOVED, AUGMENTED)


def framework_of(
    arm: Arm,
    seed: int,
    *,
    channels: int = 1,
    large: bool = False,
    base_size: int = 1,
    distance: int | None = None,
) -> Framework:
    """Return an arm before its training; arms of one net and seed begin with the same weights.

    Args:
        arm: net and loss.
        seed: of the weights.
        channels: of the images.
        large: a residual network instead of three convolutions.
        base_size: orientations that the head sees.
        distance: quarter turns between two views at most; None: no limit.
    """
    group = Cyclic(4)
    width = 32 if large else 20

    def build() -> Framework:
        encoder: nn.Module = group_convnet(group, in_channels=channels)
        if large:
            encoder = group_resnet(group, widths=(8, 16, width), in_channels=channels)
        if arm.net == "plain":
            encoder = unstructured(encoder)
        head = mlp(base_size * width, 128, 64)
        return _kind(arm.loss)(
            encoder, group, head=head, base_size=base_size, max_distance=distance
        )

    return seeded(seed, build)


def shift_framework(loss: Loss, seed: int, *, base_size: int, distance: int) -> Framework:
    """Return a loss over translations of a torus of 14 x 14 cells, two pixels each.

    A cell sees `FIELD` x `FIELD` pixels, so a window of m x m of them is a crop of `crop(m)`.

    Args:
        loss: on fibers, or on shifted images.
        seed: of the weights.
        base_size: side of the head's window, in cells.
        distance: cells between two views at most, along either axis.
    """
    group, width = Translation((GRID, GRID)), 32

    def build() -> Framework:
        encoder = group_convnet(group, widths=(16, width), kernel_size=5)
        head = mlp(base_size**2 * width, 128, 64)
        return _kind(loss)(encoder, group, head=head, base_size=base_size, max_distance=distance)

    return seeded(seed, build)


def _kind(loss: Loss) -> type[Framework]:
    return HSSL if loss == "fibers" else ASSL


def crop(base_size: int) -> int:
    """Side of what a window sees, in pixels."""
    return FIELD + CELL * (base_size - 1)


def overlap(base_size: int, distance: int) -> float:
    """Share of one view's pixels that the other sees too, on average over the draw.

    Args:
        base_size: side of the head's window, in cells.
        distance: cells between two views at most; every place within it is equally likely.
    """
    side, image = crop(base_size), GRID * CELL
    offsets = range(-((GRID - 1) // 2), GRID // 2 + 1)  # the shorter way round the torus
    common = {o: max(0, side - CELL * abs(o)) + max(0, side + CELL * abs(o) - image)
              for o in offsets}  # fmt: skip
    near = [o for o in offsets if abs(o) <= distance]
    shares = [common[a] * common[b] / side**2 for a in near for b in near if (a, b) != (0, 0)]
    return sum(shares) / len(shares)


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
    """How often one image was found again among many, top 1 by cosine.

    Attributes:
        turned: by angle, from the fiber at the base of the turned image.
        pretext: by element, from another fiber of the same pass: what H-SSL asks for.
    """

    turned: dict[int, Accuracy]
    pretext: dict[int, Accuracy]


def retrieve(framework: Framework, images: Tensor) -> Found:
    """Return both kinds of retrieval, over quarter turns.

    Args:
        framework: trained or not.
        images: ``(N, C, H, H)`` uint8, upright.
    """
    x = plain(images)
    upright = _embedded(framework, x)
    turned = {a: _share(_embedded(framework, _turned(x, a)), upright) for a in ANGLES}
    return Found(turned, reach(framework, images, range(1, framework.group.order)))


def reach(framework: Framework, images: Tensor, elements: Iterable[int]) -> dict[int, Accuracy]:
    """Return how often the fibers at an element's inverse find those of the same image at the base.

    Args:
        framework: trained or not.
        images: ``(N, C, H, W)`` uint8.
        elements: those to try.
    """
    x = plain(images)
    gallery = _embedded(framework, x)
    return {g: _share(_embedded(framework, x, g), gallery) for g in elements}


def nearest(framework: Framework, images: Tensor, angle: int) -> Tensor:
    """Return which upright image is nearest to each turned one, ``(N,)`` on the CPU.

    Args:
        framework: trained or not.
        images: ``(N, C, H, H)`` uint8, upright.
        angle: degrees, counterclockwise.
    """
    x = plain(images)
    return (_embedded(framework, _turned(x, angle)) @ _embedded(framework, x).T).argmax(1)


def _turned(x: Tensor, angle: int) -> Tensor:
    return x.rot90(angle // 90, (-2, -1))


def _embedded(framework: Framework, x: Tensor, element: int = 0) -> Tensor:
    return embeddings(framework, x, element).cpu()


def _share(queries: Tensor, gallery: Tensor) -> Accuracy:
    return Accuracy(round(top1(queries, gallery) * len(gallery)), len(gallery))


def class_probes(framework: Framework, split: Split, *, device: str = "cpu") -> dict[str, Accuracy]:
    """Return linear probes of the classes, of quarter turns drawn for every image or none.

    ``fiber, upright`` and ``fiber, turned`` train and test on the fiber at the base; ``pooled,
    turned`` trains on upright images and tests on turned ones, on the mean over the group.

    Args:
        framework: over quarter turns.
        split: images and labels.
        device: where the encoder is.
    """
    parts: list[Tensor] = []
    for images in (split.train, split.test):
        x = plain(torch.tensor(images))
        turns = torch.randint(4, (len(x),), generator=torch.Generator().manual_seed(0))
        parts += [features(framework, v.to(device)) for v in (x, framework.group.act(x, turns))]
    upright, turned, upright_test, turned_test = parts  # (N, C, |G|) each
    labels = torch.tensor(split.train_labels), torch.tensor(split.test_labels)

    def probe(train_rows: Tensor, test_rows: Tensor) -> Accuracy:
        return linear_probe(train_rows, labels[0], test_rows, labels[1])

    return {
        "fiber, upright": probe(upright[:, :, 0], upright_test[:, :, 0]),
        "fiber, turned": probe(turned[:, :, 0], turned_test[:, :, 0]),
        "pooled, turned": probe(upright.mean(2), turned_test.mean(2)),
    }


def pooled_probe(framework: Framework, split: Split) -> Accuracy:
    """Return the linear probe of the classes on features averaged over the base space.

    Args:
        framework: over any group.
        split: images and labels.
    """
    rows = [features(framework, plain(torch.tensor(x))).mean(2) for x in (split.train, split.test)]
    labels = torch.tensor(split.train_labels), torch.tensor(split.test_labels)
    return linear_probe(rows[0], labels[0], rows[1], labels[1])


@torch.no_grad()
def features(framework: Framework, x: Tensor) -> Tensor:
    """The encoder's features as functions on the base space, ``(N, C, order)``, in eval mode."""
    mode = framework.training
    framework.eval()
    branch = framework.branch
    rows = [framework.group.flat(branch.encoder(part)).cpu() for part in x.split(500)]
    framework.train(mode)
    return torch.cat(rows)

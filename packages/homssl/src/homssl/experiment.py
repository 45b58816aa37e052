"""What the framework needs structure for, and what its two parameters do: small trainings."""

from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from homssl.framework import ASSL, HSSL
from homssl.groups import Cyclic
from homssl.measures import (
    ANGLES,
    Framework,
    fiber_probe,
    fiber_retrieval,
    pooled_probe,
    turned_retrieval,
)
from homssl.models import group_convnet, unstructured
from homssl.translation import Translation

Net = Literal["c4", "plain"]
Loss = Literal["h", "a"]
ARMS: tuple[tuple[Net, Loss], ...] = (("c4", "h"), ("plain", "h"), ("plain", "a"))


@dataclass(frozen=True)
class FailureCell:
    """One training of the failure experiment, and what it learned; shares of 1.

    Attributes:
        net: ``"c4"``, equivariant, or ``"plain"``, its unstructured twin.
        loss: ``"h"``: fibers of one pass; ``"a"``: moved images.
        seed: of weights, batches and draws.
        before: retrieval of the image turned by 90, 180 and 270 degrees, before training.
        after: the same, after training.
        pretext: retrieval of another fiber of the same pass, after training: what H-SSL asks for.
        final_loss: mean over the last ten steps, nats.
        probes: share right of a linear probe on one fiber of upright images, before and after;
            empty without labels.
    """

    net: Net
    loss: Loss
    seed: int
    before: tuple[float, ...]
    after: tuple[float, ...]
    pretext: float
    final_loss: float
    probes: tuple[float, ...] = ()

    def __str__(self) -> str:
        name = f"{'C4' if self.net == 'c4' else 'plain'} net, {self.loss.upper()}-SSL"
        turned = ", ".join(f"{share:.3f}" for share in self.after)
        return f"{name}, seed {self.seed}: turned image {turned}; pretext {self.pretext:.3f}"

    def to_table(self) -> dict[str, list[float] | list[int]]:
        """One row an angle."""
        return {"angle": list(ANGLES), "before": list(self.before), "after": list(self.after)}


def run_failure_cell(
    images: Tensor,
    gallery: Tensor,
    *,
    net: Net,
    loss: Loss,
    seed: int,
    labels: tuple[Tensor, Tensor] | None = None,
    steps: int = 150,
    batch: int = 96,
    lr: float = 3e-3,
) -> FailureCell:
    """Train one arm and measure whether it finds an image again when it is turned.

    Args:
        images: to train on, floating ``(N, C, H, H)``.
        gallery: to retrieve from, ``(M, C, H, H)``.
        net: equivariant, or its twin of the same tensors without structure.
        loss: on fibers of one pass, or on moved images.
        seed: of weights, batches and draws.
        labels: classes of ``images`` and of ``gallery``, for the linear probes.
        steps: optimizer steps.
        batch: images a step.
        lr: Adam's learning rate.

    Returns:
        The retrieval rates, and the probes.

    Raises:
        ValueError: if ``net`` or ``loss`` is another word, or the images are not square.

    Source:
        "How the framework fails when representational structure is removed" (abstract); this
        retrieval is our measure.

    Example:
        >>> from homssl.synthetic import synthetic_images
        >>> x = synthetic_images(64, generator=torch.Generator().manual_seed(0))[0]
        >>> run_failure_cell(x, x, net="c4", loss="h", seed=0, steps=2, batch=16).net
        'c4'
    """
    if net not in ("c4", "plain") or loss not in ("h", "a"):
        raise ValueError(f"net is 'c4' or 'plain' and loss 'h' or 'a', got {net!r} and {loss!r}")
    group = Cyclic(4)
    group.check_image(images)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = group_convnet(group, in_channels=images.shape[1])
        if net == "plain":
            encoder = unstructured(encoder)
        head = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 32))
        framework = (HSSL if loss == "h" else ASSL)(encoder, group, head=head)
        framework.to(images.dtype)
    before = turned_retrieval(framework, gallery)
    probes = [] if labels is None else [_probe(framework, images, gallery, labels)]
    losses = train(framework, images, steps=steps, batch=batch, lr=lr, seed=seed)
    if labels is not None:
        probes.append(_probe(framework, images, gallery, labels))
    return FailureCell(
        net=net,
        loss=loss,
        seed=seed,
        before=before,
        after=turned_retrieval(framework, gallery),
        pretext=fiber_retrieval(framework, gallery),
        final_loss=sum(losses[-10:]) / len(losses[-10:]),
        probes=tuple(probes),
    )


def _probe(
    framework: Framework, images: Tensor, gallery: Tensor, labels: tuple[Tensor, Tensor]
) -> float:
    return fiber_probe(framework, (images, labels[0]), (gallery, labels[1]))


@dataclass(frozen=True)
class SweepCell:
    """One training of the sweep over base size and topographic distance.

    Attributes:
        base_size: side of the window of fibers.
        distance: topographic distance at most, in cells.
        seed: of weights, batches and draws.
        start_loss: H-SSL's loss before training, nats.
        final_loss: mean over the last ten steps, nats.
        gap: A-SSL and H-SSL apart on one draw after training, nats: a distance is a shift.
        probe: share right of a linear classifier on the features averaged over space.
    """

    base_size: int
    distance: int
    seed: int
    start_loss: float
    final_loss: float
    gap: float
    probe: float

    def __str__(self) -> str:
        return (
            f"base {self.base_size}, distance {self.distance}, seed {self.seed}: "
            f"loss {self.start_loss:.3f} to {self.final_loss:.3f}, probe {self.probe:.3f}"
        )

    def to_table(self) -> dict[str, list[float]]:
        """One row."""
        return {name: [value] for name, value in asdict(self).items()}


def run_sweep_cell(
    train_set: tuple[Tensor, Tensor],
    test_set: tuple[Tensor, Tensor],
    *,
    base_size: int,
    distance: int,
    seed: int,
    steps: int = 100,
    batch: int = 64,
    lr: float = 3e-3,
) -> SweepCell:
    """Train H-SSL over translations at one base size and distance, and probe it.

    Args:
        train_set: images ``(N, C, H, W)`` with sides a multiple of 2, and classes ``(N,)``.
        test_set: likewise.
        base_size: side of the window that the head sees: the crop, of the same loss on images.
        distance: topographic distance at most: the shift, of the same loss on images.
        seed: of weights, batches and draws.
        steps: optimizer steps.
        batch: images a step.
        lr: Adam's learning rate.

    Returns:
        Losses and probe.

    Raises:
        ValueError: if base size or distance do not fit the grid.

    Source:
        "How the parameters of this framework relate to those of traditional augmentation-based
        self-supervised learning" (abstract); network and probe are our choice.

    Example:
        >>> from homssl.synthetic import synthetic_images
        >>> data = synthetic_images(64, generator=torch.Generator().manual_seed(0))
        >>> cell = run_sweep_cell(data, data, base_size=1, distance=2, seed=0, steps=2, batch=16)
        >>> cell.gap < 1e-4
        True
    """
    images, labels = train_set
    height, width = images.shape[-2:]
    group = Translation((height // 2, width // 2))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = group_convnet(group, widths=(8, 16), in_channels=images.shape[1], kernel_size=5)
        head = nn.Sequential(nn.Linear(16 * base_size**2, 64), nn.ReLU(), nn.Linear(64, 32))
        options = {"head": head, "base_size": base_size, "max_distance": distance}
        h = HSSL(encoder, group, **options).to(images.dtype)
        a = ASSL(encoder, group, **options).to(images.dtype)
    generator = torch.Generator().manual_seed(seed)
    batch_0 = images[torch.randint(len(images), (batch,), generator=generator)]
    with torch.no_grad():
        start = float(h(batch_0, generator=generator).loss)
    losses = train(h, images, steps=steps, batch=batch, lr=lr, seed=seed)
    with torch.no_grad():
        out = h(batch_0, generator=generator)
        gap = float((a(batch_0, elements=out.elements).loss - out.loss).abs())
    probe = pooled_probe(h, (images, labels), test_set)
    final = sum(losses[-10:]) / len(losses[-10:])
    return SweepCell(base_size, distance, seed, start, final, gap, probe)


def train(
    framework: Framework, images: Tensor, *, steps: int, batch: int, lr: float, seed: int
) -> list[float]:
    """Train with Adam; the loss of every step. Batches are drawn with replacement."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(framework.parameters(), lr=lr)
    framework.train()
    losses = []
    for _ in range(steps):
        x = images[torch.randint(len(images), (batch,), generator=generator)]
        out = framework(x, generator=generator)
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        losses.append(float(out.loss.detach()))
    return losses

"""One training loop for every self-supervised objective, and the teacher that some of them need."""

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tenfold.augment import plain, views

Step = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``step(view1, view2, rows) -> loss``, rows the images' numbers ``(B,)``."""


class EMATeacher:
    """A moving average of a module, callable without gradient; `update` once an optimizer step.

    Args:
        module: what is averaged; buffers are copied.
        decay: weight of the old average, in [0, 1]; 0 copies.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        if not 0 <= decay <= 1:
            raise ValueError(f"decay must be in [0, 1], got {decay}")
        self.source, self.module, self.decay = module, deepcopy(module), decay
        self.module.requires_grad_(False)

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """The averaged module's output."""
        return self.module(x)

    @torch.no_grad()
    def update(self) -> None:
        """Move towards the source."""
        mine: list[Tensor] = list(self.module.parameters())
        theirs: list[Tensor] = list(self.source.parameters())
        torch._foreach_lerp_(mine, theirs, 1 - self.decay)
        for mine_, theirs_ in zip(self.module.buffers(), self.source.buffers(), strict=True):
            mine_.copy_(theirs_)


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train: AdamW on a cosine after a short warm-up.

    Attributes:
        epochs: passes over the images.
        batch: images a step; an uneven rest is left out.
        lr: highest learning rate.
        weight_decay: decoupled, times the learning rate.
    """

    epochs: int = 3
    batch: int = 256
    lr: float = 1e-3
    weight_decay: float = 1e-4

    def steps(self, images: int) -> int:
        """Optimizer steps over that many images."""
        if images < self.batch:
            raise ValueError(f"a batch of {self.batch} needs as many images, got {images}")
        return self.epochs * (images // self.batch)


def pair_step(model: nn.Module, objective: Callable[[Tensor, Tensor], Tensor]) -> Step:
    """Return a step that hands the model's embeddings of both views to a pair objective."""

    def step(view1: Tensor, view2: Tensor, rows: Tensor) -> Tensor:
        z1, z2 = model(torch.cat([view1, view2])).chunk(2)
        return objective(z1, z2)

    return step


def train(
    modules: Iterable[nn.Module],
    images: Tensor,
    step: Step,
    *,
    schedule: Schedule,
    seed: int,
    after_step: Callable[[int], None] = lambda done: None,
    before_epoch: Callable[[int], None] = lambda epoch: None,
    augment: Callable[[Tensor, torch.Generator], Tensor] = views,
) -> list[float]:
    """Train and return the loss of every step.

    Args:
        modules: whose parameters are trained, in train mode throughout.
        images: ``(N, C, H, W)`` uint8, on the device of the modules.
        step: loss of a batch, see `Step`.
        schedule: epochs, batch, learning rate.
        seed: of the order of the images and of their views.
        after_step: called with the number of steps done; where teachers are updated.
        before_epoch: called with the number of epochs done; where clusters are found anew.
        augment: draws a view of each image.

    Raises:
        ValueError: if there are fewer images than a batch.
        FloatingPointError: if the loss is no longer finite.
    """
    modules = list(modules)
    total, generator = schedule.steps(len(images)), torch.Generator().manual_seed(seed)
    parameters = [p for module in modules for p in module.parameters()]
    decay, lr = schedule.weight_decay, schedule.lr
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=decay)
    warm_up = min(total // 10, 50)
    losses: list[float] = []
    for module in modules:
        module.train()
    for epoch in range(schedule.epochs):
        before_epoch(epoch)
        for rows in _batches(len(images), schedule.batch, generator):
            optimizer.param_groups[0]["lr"] = schedule.lr * _cosine(len(losses), total, warm_up)
            batch = images[rows.to(images.device)]
            loss = step(augment(batch, generator), augment(batch, generator), rows)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
            if losses[-1] - losses[-1] != 0:
                raise FloatingPointError(f"the loss is {losses[-1]} at step {len(losses)}")
            after_step(len(losses))
    return losses


def _batches(n: int, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    order = torch.randperm(n, generator=generator)
    return iter(order[: n // batch * batch].split(batch))


def _cosine(step: int, total: int, warm_up: int) -> float:
    if step < warm_up:
        return (step + 1) / warm_up
    progress = (step - warm_up) / max(total - warm_up, 1)
    return float(torch.cos(torch.tensor(progress * torch.pi)) + 1) / 2


@torch.no_grad()
def embed(encoder: nn.Module, images: Tensor, *, batch: int = 1000) -> Tensor:
    """Return features ``(N, F)`` float32 of uint8 images, in eval mode; the mode is given back."""
    was_training = encoder.training
    encoder.eval()
    parts = [encoder(plain(part)) for part in images.split(batch)]
    encoder.train(was_training)
    return torch.cat(parts)

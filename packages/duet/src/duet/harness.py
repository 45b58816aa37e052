"""One training loop for every method, which a kill interrupts and a second start goes on with."""

import hashlib
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from tqdm import tqdm

from duet.store import read_tensors, write_tensors

FORMAT = "duet training"


class Terms(Protocol):
    """What a step returns: the loss, and its parts to be watched."""

    @property
    def loss(self) -> Tensor:
        """The scalar that is minimised."""
        ...

    @property
    def content(self) -> Tensor:
        """The pair objective's part of it."""
        ...

    @property
    def group(self) -> Mapping[str, Tensor]:
        """The other parts by name, before their weights."""
        ...


class Method(Protocol):
    """A module with a `step`: `Duet`, `SimCLR`, `ESSL`, or yours."""

    def step(self, images: Tensor, *, generator: torch.Generator | None = None) -> Terms:
        """Draw views of the images and return the loss on them."""
        ...


@dataclass(frozen=True)
class Trace:
    """The terms of every step of a training.

    Attributes:
        terms: ``loss``, ``content`` and each of the group's, one number a step.
    """

    terms: dict[str, tuple[float, ...]]

    def __str__(self) -> str:
        steps = len(self.terms["loss"])
        first = {name: _mean(values[:10]) for name, values in self.terms.items()}
        last = {name: _mean(values[-10:]) for name, values in self.terms.items()}
        parts = ", ".join(f"{name} {first[name]:.3f} to {last[name]:.3f}" for name in first)
        return f"{steps} steps: {parts}"

    def to_table(self) -> dict[str, list[float]]:
        """One row a step."""
        steps = [float(n) for n in range(1, len(self.terms["loss"]) + 1)]
        return {"step": steps} | {name: list(values) for name, values in self.terms.items()}


def _mean(values: tuple[float, ...]) -> float:
    return sum(values) / max(len(values), 1)


def fit(
    method: nn.Module,
    images: Tensor,
    *,
    steps: int = 700,
    batch: int = 128,
    lr: float = 2e-3,
    weight_decay: float = 1e-4,
    generator: torch.Generator,
    checkpoint: str | os.PathLike[str] | None = None,
    save_every: int = 50,
    progress: Callable[[int, int], None] | None = None,
) -> Trace:
    """Train a method in place, with AdamW on one cycle of the learning rate.

    Args:
        method: a module with ``step(images, generator=...)``; see `Method`.
        images: ``(N, C, H, W)``, on the method's device.
        steps: optimizer steps.
        batch: images a step; the rest of a pass is left out.
        lr: highest learning rate.
        weight_decay: decoupled.
        generator: of the order of the images and of their views, on the CPU.
        checkpoint: file of the training's state; with one there the training goes on from it, and
            ends at the same weights as one that was never stopped.
        save_every: steps between two saves.
        progress: called with steps done and steps in all, in the place of a bar.

    Returns:
        The terms of all steps, those before an interruption too. The method is left in eval mode.

    Raises:
        ValueError: if there are fewer images than a batch, or the checkpoint is of another
            training.
        TypeError: if the method has no ``step``.
        FloatingPointError: if the loss is no longer finite.

    Source:
        Optimizer and betas of apple/ml-duet; the schedule is one cycle of OneCycleLR's shape.

    Example:
        >>> class Mean(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.at = nn.Parameter(torch.zeros(()))
        ...     def step(self, images, *, generator=None):
        ...         loss = (self.at - images.mean()).square()
        ...         return SimpleNamespace(loss=loss, content=loss, group={})
        >>> from types import SimpleNamespace
        >>> found = Mean()
        >>> draws = torch.Generator().manual_seed(0)
        >>> trace = fit(found, torch.ones(8, 1, 2, 2), steps=60, batch=4, lr=0.1, generator=draws)
        >>> bool(found.at > 0.8)
        True
    """
    if not callable(getattr(method, "step", None)):
        raise TypeError(
            f"method must have step(images, generator=...), got {type(method).__name__}"
        )
    if not 2 <= batch <= len(images) or min(steps, save_every) < 1:
        got = f"{len(images)} images, batch {batch}, steps {steps}, save_every {save_every}"
        raise ValueError(f"needs images >= batch >= 2, steps and save_every >= 1, got {got}")
    state = _State(method, images, steps, batch, lr, weight_decay, generator)
    if checkpoint is not None and Path(checkpoint).exists():
        state.load(checkpoint)
    method.train()
    bar = tqdm(total=steps, initial=state.done, desc=type(method).__name__,
               disable=True if progress else None)  # fmt: skip
    with bar:
        while state.done < steps:
            terms = state.advance(images)
            bar.set_postfix({name: f"{value:.3f}" for name, value in terms.items()}, refresh=False)
            bar.update()
            if checkpoint is not None and (state.done % save_every == 0 or state.done == steps):
                state.save(checkpoint)
            if progress:
                progress(state.done, steps)
    method.eval()
    return Trace({name: tuple(values) for name, values in state.terms.items()})


class _State:
    """All that a training goes on from."""

    def __init__(
        self,
        method: nn.Module,
        images: Tensor,
        steps: int,
        batch: int,
        lr: float,
        weight_decay: float,
        generator: torch.Generator,
    ) -> None:
        self.method, self.generator = method, generator
        self.steps, self.batch, self.lr, self.done = steps, batch, lr, 0
        self.named = [(n, p) for n, p in method.named_parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            [p for _, p in self.named], lr=lr, betas=(0.9, 0.95), weight_decay=weight_decay
        )
        self.order = torch.empty(0, dtype=torch.int64)  # rows of this pass that are still to come
        self.terms: dict[str, list[float]] = {}
        self.settings: dict[str, Any] = {
            "method": type(method).__name__,
            "structure": hashlib.sha256(repr(method).encode()).hexdigest()[:8],
            "images": list(images.shape),
            "first images": float(images[:16].double().sum()),
            "steps": steps,
            "batch": batch,
            "lr": lr,
            "weight_decay": weight_decay,
        }

    def advance(self, images: Tensor) -> dict[str, float]:
        """Take one step."""
        if len(self.order) < self.batch:
            self.order = torch.randperm(len(images), generator=self.generator)
        rows, self.order = self.order[: self.batch], self.order[self.batch :]
        self.optimizer.param_groups[0]["lr"] = self.lr * one_cycle(self.done, self.steps)
        batch = images[rows.to(images.device)]
        found = cast(Method, self.method).step(batch, generator=self.generator)
        terms = {"loss": found.loss, "content": found.content, **found.group}
        values = {name: float(value.detach()) for name, value in terms.items()}
        if not math.isfinite(values["loss"]):
            raise FloatingPointError(f"the loss is {values['loss']} at step {self.done + 1}")
        self.optimizer.zero_grad(set_to_none=True)
        found.loss.backward()
        self.optimizer.step()
        self.done += 1
        for name, value in values.items():
            self.terms.setdefault(name, []).append(value)
        return values

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one file."""
        tensors = {f"model.{n}": x for n, x in self.method.state_dict().items()}
        for name, p in self.named:
            for key, value in self.optimizer.state[p].items():
                tensors[f"optimizer.{key}.{name}"] = value
        tensors["generator"] = self.generator.get_state()
        tensors["order"] = self.order
        for name, values in self.terms.items():
            tensors[f"terms.{name}"] = torch.tensor(values, dtype=torch.float64)
        settings = self.settings
        write_tensors(path, tensors, format=FORMAT, settings=settings, names=list(self.terms))

    def load(self, path: str | os.PathLike[str]) -> None:
        """Read it back."""
        tensors, header = read_tensors(path, format=FORMAT)
        for name, value in self.settings.items():
            if (got := header["settings"].get(name)) != value:
                raise ValueError(
                    f"{path} is of another training: {name} {got}, not {value}; "
                    "remove it to begin anew"
                )
        self.method.load_state_dict(
            {n[6:]: x for n, x in tensors.items() if n.startswith("model.")}
        )
        for name, p in self.named:
            for key in ("step", "exp_avg", "exp_avg_sq"):
                value = tensors.get(f"optimizer.{key}.{name}")
                if value is not None:
                    self.optimizer.state[p][key] = value if key == "step" else value.to(p)
        self.generator.set_state(tensors["generator"])
        self.order = tensors["order"]
        self.terms = {name: tensors[f"terms.{name}"].tolist() for name in header["names"]}
        self.done = len(self.terms["loss"])


def one_cycle(step: int, total: int, *, warm_up: float = 0.3, start: float = 0.04) -> float:
    """Return the learning rate of a step as a share of the highest: up by a cosine, and down.

    Args:
        step: from 0.
        total: steps in all.
        warm_up: share of the steps on the way up.
        start: where it begins.

    Example:
        >>> [round(one_cycle(n, 11), 2) for n in (0, 3, 10)]
        [0.04, 1.0, 0.0]
    """
    x, top = step / max(total - 1, 1), warm_up
    if x < top:
        return start + (1 - start) * (1 - math.cos(math.pi * x / top)) / 2
    return (1 + math.cos(math.pi * (x - top) / (1 - top))) / 2


@torch.no_grad()
def embed(module: nn.Module, images: Tensor, *, batch: int = 500) -> Tensor:
    """Return what a module makes of many images, in eval mode; its mode is given back.

    Args:
        module: its ``features(x)`` is called if it has one, as methods do, else the module.
        images: ``(N, C, H, W)``.
        batch: images at a time.

    Returns:
        ``(N, F)``.

    Raises:
        ValueError: without images.

    Source:
        Ours.

    Example:
        >>> embed(nn.Flatten(), torch.zeros(3, 1, 2, 2)).shape
        torch.Size([3, 4])
    """
    if not len(images):
        raise ValueError("images must hold at least one, got none")
    features: Callable[[Tensor], Tensor] = getattr(module, "features", module)
    mode = module.training
    module.eval()
    try:
        return torch.cat([features(part) for part in images.split(batch)])
    finally:
        module.train(mode)

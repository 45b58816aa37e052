"""A deep residual stack on images, trained with autograd's walk backwards or with one solve."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from deeppcr import sequential_forward
from torch import Tensor, nn

BACKWARDS = ("loop", "modules", "parallel", "any step")


@dataclass(frozen=True)
class ResidualStep:
    """The block ``z + scale * tanh(weight z + bias)``, with its derivative in closed form.

    Args:
        scale: of what the block adds; ``1 / sqrt(depth)`` keeps a stack of any depth alike.
    """

    scale: float

    def __call__(self, z: Tensor, x: None, params: tuple[Tensor, Tensor]) -> Tensor:
        """The next state, ``(B, d)``."""
        weight, bias = params
        return torch.add(z, torch.addmm(bias, z, weight.mT).tanh(), alpha=self.scale)

    def linearize(
        self, before: Tensor, after: Tensor, x: None, params: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Callable[[Tensor], Any]]:
        """The Jacobians ``(L, B, d, d)`` of all blocks, and their pullback."""
        weight, bias = params
        inner = torch.baddbmm(bias.unsqueeze(1), before, weight.mT).tanh()  # (L, B, d)
        slope = self.scale * (1 - inner * inner)
        blocks = slope.unsqueeze(-1) * weight.unsqueeze(1)
        blocks.diagonal(dim1=-2, dim2=-1).add_(1)

        def pull(cotangent: Tensor) -> tuple[None, tuple[Tensor, Tensor]]:
            felt = slope * cotangent
            return None, (felt.mT @ before, felt.sum(1))

        return blocks, pull


class Block(nn.Module):
    """The same block as a module of its own, as a network is usually written."""

    def __init__(self, weight: Tensor, bias: Tensor, scale: float) -> None:
        super().__init__()
        self.linear = nn.Linear(weight.shape[1], weight.shape[0])
        self.linear.weight.data, self.linear.bias.data = weight.clone(), bias.clone()
        self.scale = scale

    def forward(self, z: Tensor) -> Tensor:
        """The next state, ``(B, d)``."""
        return z + self.scale * torch.tanh(self.linear(z))


class Stack(nn.Module):
    """A linear stem, ``depth`` residual blocks and a linear head: ``(B, ...) -> (B, classes)``.

    Args:
        depth: number of blocks.
        width: of the state between them.
        inputs: numbers of an image.
        classes: of the head.
        backward: how the blocks are differentiated: ``"loop"``, autograd behind a loop over
            unbound weights; ``"modules"``, autograd behind a module a block; ``"parallel"``, one
            linear solve, the block's derivative in closed form; ``"any step"``, one linear solve,
            the derivative by automatic differentiation. The forward is a plain loop in all.

    Raises:
        ValueError: if ``backward`` is another.
    """

    def __init__(
        self, depth: int, width: int, *, inputs: int = 784, classes: int = 10, backward: str
    ) -> None:
        super().__init__()
        if backward not in BACKWARDS:
            raise ValueError(f"backward must be one of {', '.join(BACKWARDS)}; got {backward!r}")
        self.backward = backward
        self.step = ResidualStep(depth**-0.5)
        self.stem, self.head = nn.Linear(inputs, width), nn.Linear(width, classes)
        weights = torch.randn(depth, width, width) * width**-0.5
        if backward == "modules":
            zero = torch.zeros(width)
            self.blocks = nn.Sequential(*(Block(w, zero, self.step.scale) for w in weights))
        else:
            self.weights = nn.Parameter(weights)
            self.biases = nn.Parameter(torch.zeros(depth, width))

    def forward(self, x: Tensor) -> Tensor:
        """The logits of images ``(B, ...)``."""
        return self.head(self.last_state(self.stem(x.flatten(1))))

    def last_state(self, z: Tensor) -> Tensor:
        """What the blocks make of ``(B, d)``."""
        if self.backward == "modules":
            return self.blocks(z)
        params = self.weights, self.biases
        if self.backward == "loop":
            for pair in zip(*(leaf.unbind(0) for leaf in params), strict=True):
                z = self.step(z, None, pair)
            return z
        step: Any = self.step if self.backward == "parallel" else self.step.__call__
        return sequential_forward(step, z, None, params, per_layer_params=True)[-1]


@dataclass(frozen=True)
class Training:
    """What a training run gave.

    Attributes:
        losses: of every step's batch, in nats.
        test_loss: in nats.
        accuracy: share of test images.
        seconds: forward, backward and optimizer, all steps together.
    """

    losses: list[float] = field(repr=False)
    test_loss: float
    accuracy: float
    seconds: float


Rows = tuple[Tensor, Tensor]


def train(
    stack: Stack,
    train_rows: Rows,
    test_rows: Rows,
    *,
    steps: int,
    batch: int,
    seed: int,
    lr: float = 1e-3,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Training:
    """Train by Adam on batches whose order the seed fixes, and return the curve.

    Args:
        stack: the model; it is changed.
        train_rows: images and labels to train on.
        test_rows: images and labels to test on.
        steps: of the optimizer.
        batch: images a step.
        seed: of the order.
        lr: learning rate.
        progress: called with steps done and in all.
    """
    images, labels = train_rows
    order = torch.Generator().manual_seed(seed)
    passes = -(-steps * batch // len(images))
    rows = torch.cat([torch.randperm(len(images), generator=order) for _ in range(passes)])
    optimizer = torch.optim.Adam(stack.parameters(), lr)
    losses: list[float] = []
    seconds = 0.0
    for n, chosen in enumerate(rows[: steps * batch].split(batch)):
        x, y = images[chosen], labels[chosen]
        start = time.perf_counter()
        loss = F.cross_entropy(stack(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds += time.perf_counter() - start
        losses.append(loss.item())
        progress(n + 1, steps)
    with torch.no_grad():
        logits = stack(test_rows[0])
        test_loss = F.cross_entropy(logits, test_rows[1]).item()
        accuracy = float((logits.argmax(1) == test_rows[1]).double().mean())
    return Training(losses, test_loss, accuracy, seconds)

"""What a framework has learned, and what a step costs."""

import time
from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor

from homssl.fibers import fibers
from homssl.framework import ASSL, HSSL

ANGLES = (90, 180, 270)
Framework = HSSL | ASSL
Labelled = tuple[Tensor, Tensor]


@torch.no_grad()
def embeddings(framework: Framework, images: Tensor, element: int = 0) -> Tensor:
    """Unit embeddings ``(N, D)`` of one fiber, in eval mode, which is left as it was."""
    branch, mode = framework.branch, framework.training
    framework.eval()
    rows = []
    for part in images.split(500):
        g = torch.full((len(part),), element)
        z = branch.encoder(part)
        rows.append(F.normalize(branch.head(fibers(z, framework.group, branch.base, g)), dim=1))
    framework.train(mode)
    return torch.cat(rows)


def top1(queries: Tensor, gallery: Tensor) -> float:
    """The share of queries whose nearest row of the gallery is the one of the same index."""
    nearest = (queries @ gallery.T).argmax(1)
    return float((nearest == torch.arange(len(queries), device=queries.device)).double().mean())


def turned_retrieval(framework: Framework, images: Tensor) -> tuple[float, ...]:
    """How often a turned image finds its upright self, for 90, 180 and 270 degrees."""
    upright = embeddings(framework, images)
    turns = (images.rot90(angle // 90, (-2, -1)) for angle in ANGLES)
    return tuple(top1(embeddings(framework, turned), upright) for turned in turns)


def fiber_retrieval(framework: Framework, images: Tensor) -> float:
    """How often a fiber finds the next one of the same pass."""
    return top1(embeddings(framework, images), embeddings(framework, images, element=1))


def fiber_probe(framework: Framework, train_set: Labelled, test_set: Labelled) -> float:
    """The share right of a linear classifier on one fiber, before the head."""

    def one_fiber(x: Tensor) -> Tensor:
        identity = torch.zeros(len(x), dtype=torch.int64)
        return fibers(framework.branch.encoder(x), framework.group, framework.branch.base, identity)

    return linear_probe(framework, one_fiber, train_set, test_set)


def pooled_probe(framework: Framework, train_set: Labelled, test_set: Labelled) -> float:
    """The share right of a linear classifier on the mean over the base space."""

    def mean(x: Tensor) -> Tensor:
        return framework.group.flat(framework.branch.encoder(x)).mean(2)

    return linear_probe(framework, mean, train_set, test_set)


@torch.no_grad()
def linear_probe(
    framework: Framework,
    features: Callable[[Tensor], Tensor],
    train_set: Labelled,
    test_set: Labelled,
) -> float:
    """The share right of ridge regression on standardised features, in eval mode."""
    mode = framework.training
    framework.eval()
    z, at_test = (
        torch.cat([features(x) for x in images.split(500)]).double()
        for images, _ in (train_set, test_set)
    )
    framework.train(mode)
    centre, scale = z.mean(0), z.std(0) + 1e-12
    z, at_test = (
        torch.cat([(part - centre) / scale, part.new_ones(len(part), 1)], dim=1)
        for part in (z, at_test)
    )
    wanted = F.one_hot(train_set[1]).double()
    ridge = 1e-3 * len(z) * torch.eye(z.shape[1], dtype=z.dtype)
    weights = torch.linalg.solve(z.T @ z + ridge, z.T @ wanted)
    return float(((at_test @ weights).argmax(1) == test_set[1]).double().mean())


def step_seconds(
    frameworks: dict[str, Framework], x: Tensor, *, turns: int, seed: int = 0
) -> dict[str, float]:
    """Median seconds of a forward and backward pass of each, taken in turns on one draw.

    Args:
        frameworks: by name; all with the same number of views.
        x: images ``(B, C, H, W)``.
        turns: how often each is timed, after one to warm up.
        seed: of the draw.

    Returns:
        Process time in seconds, by name.

    Source:
        `time.process_time`.

    Example:
        >>> from homssl import ASSL, HSSL, Cyclic, group_convnet
        >>> encoder, x = group_convnet(Cyclic(4)), torch.randn(8, 1, 28, 28)
        >>> both = {"h": HSSL(encoder, Cyclic(4)), "a": ASSL(encoder, Cyclic(4))}
        >>> sorted(step_seconds(both, x, turns=1))
        ['a', 'h']
    """
    first = next(iter(frameworks.values()))
    elements = first.sample(len(x), generator=torch.Generator().manual_seed(seed))
    taken: dict[str, list[float]] = {name: [] for name in frameworks}
    for turn in range(turns + 1):
        for name, framework in frameworks.items():
            framework.zero_grad()
            start = time.process_time()
            framework(x, elements=elements).loss.backward()
            if turn:
                taken[name].append(time.process_time() - start)
    return {name: median(times) for name, times in taken.items()}

"""What a framework has learned, and what a step costs."""

import time
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from homssl.fibers import fibers
from homssl.framework import ASSL, HSSL

ANGLES = (90, 180, 270)
Framework = HSSL | ASSL


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
    return float((nearest == torch.arange(len(queries))).double().mean())


def turned_retrieval(framework: Framework, images: Tensor) -> tuple[float, ...]:
    """How often a turned image finds its upright self, for 90, 180 and 270 degrees."""
    upright = embeddings(framework, images)
    turns = (images.rot90(angle // 90, (-2, -1)) for angle in ANGLES)
    return tuple(top1(embeddings(framework, turned), upright) for turned in turns)


def fiber_retrieval(framework: Framework, images: Tensor) -> float:
    """How often a fiber finds the next one of the same pass."""
    return top1(embeddings(framework, images), embeddings(framework, images, element=1))


@torch.no_grad()
def linear_probe(
    encoder: nn.Module, train_set: tuple[Tensor, Tensor], test_set: tuple[Tensor, Tensor]
) -> float:
    """Share right of ridge regression on features averaged over the base space, eval mode."""
    mode = encoder.training
    encoder.eval()
    parts = []
    for images, _ in (train_set, test_set):
        z = torch.cat([encoder(x).flatten(2).mean(2) for x in images.split(500)]).double()
        parts.append(torch.cat([z, z.new_ones(len(z), 1)], dim=1))
    encoder.train(mode)
    wanted = F.one_hot(train_set[1]).double()
    gram = parts[0].T @ parts[0]
    gram += 1e-6 * gram.trace() * torch.eye(len(gram), dtype=gram.dtype)
    weights = torch.linalg.solve(gram, parts[0].T @ wanted)
    return float(((parts[1] @ weights).argmax(1) == test_set[1]).double().mean())


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

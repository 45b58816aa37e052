"""The tiny diffusion model steered from one style of digits to another, by degrees."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from act_steer import Steering
from act_steer.apply import apply
from act_steer.diffusion import fit_denoiser
from torch import Tensor

from tenfold.data import diffusion

TASKS = {"plain to striped": ("plain", "striped"), "dot to plain": ("dot", "plain")}
"""Inducing a style, and negating a concept."""
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
STEPS = 10
FITTED, TESTED = 64, 64
FIT_SEED, TEST_SEED = 1, 99
BRIGHT = np.arange(diffusion.SIDE) // 2 % 2 == 0  # rows that stripes make bright


@dataclass(frozen=True)
class Sweep:
    """Samples at several strengths, and what a measure says of them.

    Attributes:
        task: of ``TASKS``.
        maps: how the maps were fitted, in words.
        strengths: 0 is the model as it is.
        target_share: share of samples in the target style, by the class of the nearest image.
        digit_kept: share of samples that show the digit that was asked for.
        stripes: mean brightness of the rows that stripes make bright, less that of the others;
            images are in [-1, 1].
        dot: mean brightness of the corner where the dot is.
        images: uint8 ``(strengths, samples, 16, 16)``.
    """

    task: str
    maps: str
    strengths: tuple[float, ...]
    target_share: tuple[float, ...]
    digit_kept: tuple[float, ...]
    stripes: tuple[float, ...]
    dot: tuple[float, ...]
    images: np.ndarray

    def __str__(self) -> str:
        """A line a strength."""
        rows = zip(self.strengths, self.target_share, self.digit_kept, strict=True)
        lines = [f"{s:4.2f}  {share:.2f} in the style, {kept:.2f} kept" for s, share, kept in rows]
        return "\n".join([f"{self.task}, {self.maps}", *lines])

    def to_table(self) -> dict[str, list[Any]]:
        """A row a strength."""
        n = len(self.strengths)
        return {
            "task": [self.task] * n,
            "maps": [self.maps] * n,
            "strength": list(self.strengths),
            "target share": list(self.target_share),
            "digit kept": list(self.digit_kept),
            "stripe contrast": list(self.stripes),
            "corner brightness": list(self.dot),
        }

    def picture(self, columns: int = 12) -> np.ndarray:
        """Return one uint8 image: a row a strength, the first samples side by side."""
        framed = np.pad(self.images[:, :columns], ((0, 0), (0, 0), (1, 1), (1, 1)))
        return np.concatenate([np.concatenate(row, axis=1) for row in framed])


def fit(
    task: str,
    *,
    steps: Literal["each", "first"] = "each",
    fitted: int = FITTED,
    seed: int = FIT_SEED,
    sampler_steps: int = STEPS,
    shuffled: bool = False,
    **options: Any,
) -> Steering:
    """Fit maps on the norms, from samples of one style to samples of the other.

    Args:
        task: of ``TASKS``.
        steps: ``"each"``, maps for every timestep; ``"first"``, those of the first timestep for
            all, as the paper's release has it.
        fitted: samples of each style; both start from the same noise.
        seed: of the noise.
        sampler_steps: of DDIM.
        shuffled: the control: what is source and what is target is drawn by lot.
        **options: as for `act_steer.diffusion.fit_denoiser`.

    Raises:
        ValueError: if the task is unknown.
    """
    noise = noise_of(fitted, seed)
    classes = torch.cat([classes_of(style, fitted) for style in styles_of(task)])
    rows = torch.arange(2 * fitted)
    if shuffled:
        rows = torch.randperm(2 * fitted, generator=torch.Generator().manual_seed(seed))
    model: Any = diffusion.load()

    def sampler(rows: Tensor) -> Callable[[], Tensor]:
        denoise = diffusion.conditioned(model, classes[rows])
        return lambda: diffusion.sample(
            denoise, diffusion.scheduler("ddim", sampler_steps), noise[rows % fitted]
        )

    halves = sampler(rows[:fitted]), sampler(rows[fitted:])
    return fit_denoiser(model, *halves, steps=steps, progress=False, **options)


def sweep(
    task: str,
    steering: Steering,
    *,
    maps: str = "a map for every timestep",
    strengths: Sequence[float] = STRENGTHS,
    tested: int = TESTED,
    seed: int = TEST_SEED,
    sampler_steps: int = STEPS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Sweep:
    """Sample the source style at every strength, from noise that was not fitted on.

    Args:
        task: of ``TASKS``.
        steering: from `fit`.
        maps: how they were fitted, in words.
        strengths: in the order of the rows.
        tested: samples a strength.
        seed: of their noise.
        sampler_steps: of DDIM.
        progress: called with strengths done and in all.
    """
    source, target = styles_of(task)
    asked = classes_of(source, tested)
    wanted = (asked - asked[0] + classes_of(target, 1)[0]).numpy()
    model, noise = diffusion.load(), noise_of(tested, seed)
    denoise = diffusion.conditioned(model, asked)
    columns: list[tuple[float, float, float, float]] = []
    images = []
    for n, strength in enumerate(strengths):
        with apply(steering, model, strength=strength):
            drawn = diffusion.sample(denoise, diffusion.scheduler("ddim", sampler_steps), noise)
        kept, share = diffusion.recognised(drawn.numpy(), wanted)
        columns.append((share, kept, stripe_contrast(drawn), corner_brightness(drawn)))
        images.append(diffusion.pictures(drawn))
        progress(n + 1, len(strengths))
    shares, kepts, stripes, dots = zip(*columns, strict=True)
    at = tuple(strengths)
    return Sweep(task, maps, at, shares, kepts, stripes, dots, np.stack(images))


def stripe_contrast(samples: Tensor) -> float:
    """Return how much brighter the rows of stripes are than the others, of ``(B, 1, 16, 16)``."""
    rows = samples[:, 0].mean((0, 2)).numpy()
    return float(rows[BRIGHT].mean() - rows[~BRIGHT].mean())


def corner_brightness(samples: Tensor) -> float:
    """Return the mean of the corner where the dot is, of ``(B, 1, 16, 16)``."""
    return float(samples[:, 0, :3, :3].mean())


def styles_of(task: str) -> tuple[str, str]:
    """Return the source style and the target style of a task.

    Raises:
        ValueError: if it is unknown.
    """
    if task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}; got {task!r}")
    return TASKS[task]


def classes_of(style: str, n: int) -> Tensor:
    """Return classes ``(n,)`` of that style, the digits in turn."""
    return diffusion.STYLES.index(style) * len(diffusion.DIGITS) + torch.arange(n) % len(
        diffusion.DIGITS
    )


def noise_of(n: int, seed: int) -> Tensor:
    """Return noise ``(n, 1, 16, 16)``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 1, diffusion.SIDE, diffusion.SIDE, generator=generator)

"""Encoders under a stochastic head on real images: how they are trained, and what is measured."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lv_ssl import (
    CollapseWarning,
    Monotonicity,
    Posterior,
    RateAccuracy,
    StochasticContrastiveLoss,
    StochasticHead,
    blur,
    cosine_neighbours,
    crop,
    monotonicity,
    nt_xent,
    r_auroc,
    rate_accuracy_curve,
    sample_disagreement,
    scores_over,
    warm_up,
)
from torch import Tensor, nn

from tenfold.augment import plain, views
from tenfold.data.images import Split
from tenfold.probes import Accuracy
from tenfold.training import Schedule, train

BLURS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)  # pixels
CROPS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9)  # share of the area that is lost
RIDGES = (1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True)
class Recipe:
    """How a head is trained; ``family`` may be ``none``: the same layer, and no noise.

    Attributes:
        family: of the head.
        dim: latents.
        gain: of the discrete families.
        beta: weight of the KL, after a warm-up over a fifth of the steps.
        samples: a step.
        estimator: ``mean`` or ``mc``.
        augment: ``views``, or ``degraded``: crops down to 8 % and half of the views blurred.
    """

    family: str = "bernoulli"
    dim: int = 256
    gain: bool = True
    beta: float = 1e-3
    samples: int = 1
    estimator: str = "mean"
    augment: str = "views"


@dataclass(frozen=True)
class Latents:
    """A trained encoder and head.

    Attributes:
        encoder: in eval mode.
        head: in eval mode.
        collapsed: whether the loss warned of it.
    """

    encoder: nn.Module
    head: StochasticHead
    collapsed: bool

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """``(N, C, H, W)`` uint8 to ``(N, F)``, a thousand at a time."""
        return torch.cat([self.encoder(plain(part)) for part in images.split(1000)])

    @torch.no_grad()
    def posterior(self, images: Tensor) -> Posterior:
        """The posterior of ``(N, C, H, W)`` uint8 images."""
        parts = [self.head(self.encoder(plain(part))) for part in images.split(1000)]
        return type(parts[0]).cat(parts)


def fit_latents(
    recipe: Recipe,
    encoder: nn.Module,
    images: Tensor,
    *,
    features: int,
    schedule: Schedule,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Latents:
    """Train encoder and head together, and return them in eval mode.

    Args:
        recipe: family and loss.
        encoder: trained in place.
        images: ``(N, C, H, W)`` uint8, on the encoder's device.
        features: width of the encoder's output.
        schedule: 0 epochs leave both as they were drawn.
        seed: of head, order, views and noise.
        progress: called with steps done and steps in all.
    """
    free = recipe.family == "none"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        family = "bernoulli" if free else recipe.family
        head = StochasticHead(features, recipe.dim, family, gain=recipe.gain and not free)
    head.to(images.device)
    loss = StochasticContrastiveLoss(
        beta=recipe.beta, samples=recipe.samples, estimator=recipe.estimator, seed=seed
    )
    total = schedule.steps(len(images))
    done = 0
    signs = _signs if head.family in ("bernoulli", "categorical") else None

    def step(view1: Tensor, view2: Tensor, rows: Tensor) -> Tensor:
        z = encoder(torch.cat([view1, view2]))
        n = len(view1)
        if free:
            location = head.normalise(head.location(z))
            return nt_xent(location[:n], location[n:])
        posterior = head(z)
        loss.beta = warm_up(done, target=recipe.beta, steps=total // 5)
        return loss(posterior[:n], posterior[n:], projector=signs).loss

    def after_step(steps: int) -> None:
        nonlocal done
        done = steps
        progress(steps, total)

    augment = {"views": views, "degraded": degraded}[recipe.augment]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(
            [encoder, head], images, step,
            schedule=schedule, seed=seed, after_step=after_step, augment=augment,
        )  # fmt: skip
    collapsed = any(issubclass(warning.category, CollapseWarning) for warning in caught)
    return Latents(encoder.eval(), head.eval(), collapsed)


def _signs(z: Tensor) -> Tensor:
    """Zeros and ones to -1 and 1: unrelated codes are then orthogonal."""
    return 2 * z - 1


def degraded(images: Tensor, generator: torch.Generator) -> Tensor:
    """Views of which some hold little: crops down to 8 % of the area, half of them blurred."""
    x = views(images, generator, least_area=0.08)
    kind = torch.randint(0, 8, (len(x),), generator=generator)
    for n, sigma in enumerate(BLURS[1:4] + BLURS[5:]):
        x[kind == n] = blur(x[kind == n], sigma)
    return x


def probe(
    x: Tensor, labels: Tensor, test: Tensor, test_labels: Tensor, *, ridge: float | None = None
) -> tuple[Accuracy, float]:
    """Return the linear probe's test accuracy, and its ridge.

    Args:
        x: ``(N, F)`` training rows.
        labels: ``(N,)`` int64.
        test: ``(M, F)`` rows.
        test_labels: ``(M,)`` int64.
        ridge: penalty on standardised features, as a share of N; None chooses one of `RIDGES` on
            the last eighth of the training rows.
    """
    mean, spread = x.mean(0), x.std(0, correction=0)
    scale = torch.where(spread > 1e-6, spread, torch.ones_like(spread))
    z, z_test = (x - mean) / scale, (test - mean) / scale
    y = F.one_hot(labels).to(z)
    kept = len(z) * 7 // 8
    grams = [part.T @ part for part in (z[:kept], z[kept:])]
    sides = [part.T @ target for part, target in ((z[:kept], y[:kept]), (z[kept:], y[kept:]))]
    eye = torch.eye(z.shape[1], device=z.device)

    def right(gram: Tensor, side: Tensor, n: int, r: float, rows: Tensor, truth: Tensor) -> int:
        weight = torch.linalg.solve(gram + r * n * eye, side)
        return int((((rows @ weight) + y.mean(0)).argmax(1) == truth).sum())

    if ridge is None:
        inner = (z[kept:], labels[kept:])
        ridge = max(RIDGES, key=lambda r: right(grams[0], sides[0], kept, r, *inner))
    (a, b), (c, d) = grams, sides
    found = right(a + b, c + d, len(z), ridge, z_test, test_labels)
    return Accuracy(found, len(test)), ridge


def scores(family: str) -> dict[str, Callable[[Posterior], Tensor]]:
    """What might serve as an uncertainty: names to posterior -> ``(N,)``, higher for less sure."""

    def disagreement(posterior: Posterior) -> Tensor:
        return sample_disagreement(posterior, generator=torch.Generator().manual_seed(0))

    found: dict[str, Callable[[Posterior], Tensor]] = {
        "entropy": lambda posterior: posterior.entropy(),
        "minus rate": lambda posterior: -posterior.kl(),
        "disagreement of 16 samples": disagreement,
    }
    if family in ("power_spherical", "vmf"):
        found["1 / kappa"] = lambda posterior: posterior.uncertainty()
    return found


def rises(
    latents: Latents, images: Tensor, score: Callable[[Posterior], Tensor]
) -> dict[str, Monotonicity]:
    """How one uncertainty goes with blur and with cropping, over the same images."""

    def cropped(x: Tensor, lost: float) -> Tensor:
        return crop(x, 1 - lost, generator=torch.Generator().manual_seed(1))

    changes = {"blur": (BLURS, blur), "crop": (CROPS, cropped)}
    return {
        name: monotonicity(
            levels,
            scores_over(levels, images, change, lambda x: score(latents.posterior(x))),
        )
        for name, (levels, change) in changes.items()
    }


@dataclass(frozen=True)
class Measured:
    """What a run's latents are worth on the test images.

    Attributes:
        probes: linear probes of ``features``, ``mean`` and, where there are bits, ``bits``.
        rate: mean KL on the test images, bits.
        auroc: of each score, of its telling wrong nearest neighbours (by the mean's cosine).
        rises: of each score, over blur and crop, on the first 1,000 test images.
    """

    probes: dict[str, Accuracy]
    rate: float
    auroc: dict[str, float]
    rises: dict[str, dict[str, Monotonicity]]


def measure_latents(
    latents: Latents, split: Split, *, device: str = "cpu", only: str | None = None
) -> Measured:
    """Return what the latents are worth.

    Args:
        latents: trained or not.
        split: labels are the probes' and the neighbours'.
        device: where the images go.
        only: the one score that is looked at; None looks at all.
    """
    here = [torch.tensor(x, device=device) for x in (split.train, split.test)]
    labels = [torch.tensor(x, device=device) for x in (split.train_labels, split.test_labels)]
    both = [latents.posterior(x) for x in here]
    kinds: dict[str, list[Tensor]] = {
        "features": [latents.features(x) for x in here],
        "mean": [q.mean for q in both],
    }
    if latents.head.family == "bernoulli":
        kinds["bits"] = [q.mode for q in both]
    nearest = cosine_neighbours(both[1].mean, both[0].mean, 1)[:, 0]
    wrong = (labels[0][nearest] != labels[1]).cpu().numpy()
    listed = scores(latents.head.family)
    used = listed if only is None else {only: listed[only]}
    return Measured(
        probes={k: probe(x[0], labels[0], x[1], labels[1])[0] for k, x in kinds.items()},
        rate=float(both[1].kl().mean()) / math.log(2),
        auroc={name: r_auroc(score(both[1]).cpu().numpy(), wrong) for name, score in used.items()},
        rises={name: rises(latents, here[1][:1000], score) for name, score in used.items()},
    )


def curve_of(
    latents: Latents, split: Split, keep: list[int], *, device: str = "cpu"
) -> RateAccuracy:
    """Linear probes on the hard bits of highest rate; the ridge is that of all bits.

    Args:
        latents: with a head of bits.
        split: images and labels.
        keep: how many bits, ascending, the last all.
        device: where the images go.
    """
    both = [latents.posterior(torch.tensor(x, device=device)) for x in (split.train, split.test)]
    labels = [torch.tensor(y, device=device) for y in (split.train_labels, split.test_labels)]
    x, test = (q.mode for q in both)
    _, ridge = probe(x, labels[0], test, labels[1])

    def accuracy(kept: np.ndarray) -> float:
        units = torch.from_numpy(kept).to(device)
        return probe(x[:, units], labels[0], test[:, units], labels[1], ridge=ridge)[0].value

    rate = both[0].kl_units().mean(0).cpu().numpy()
    return rate_accuracy_curve(x.cpu().numpy(), rate, accuracy, keep=keep)


def as_numbers(measured: Measured) -> dict[str, Any]:
    """What JSON holds of it."""
    return {
        "probes": {name: [found.right, found.n] for name, found in measured.probes.items()},
        "rate": round(measured.rate, 4),
        "auroc": {name: round(value, 5) for name, value in measured.auroc.items()},
        "rises": {
            score: {
                change: {
                    "correlation": round(m.correlation, 4),
                    "control": round(m.control, 4),
                    "rises": round(m.rises, 4),
                    "mean": [float(f"{u:.6g}") for u in m.mean],
                }
                for change, m in changes.items()
            }
            for score, changes in measured.rises.items()
        },
    }

"""The noisy parabola: SGD and its EMA with exact moments, with and without feedback.

The gradient is ``a * (theta - feedback * zeta) + noise``: at feedback 0 a plain parabola, above
it the linear caricature of a loss that pulls the model towards its own average, the teacher.
Noise of one sample has variance ``noise + noise_slope * theta ** 2``; a batch of kappa divides
it by kappa. Means and covariances then follow a linear recursion: nothing is sampled.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ema_scaling import _check
from ema_scaling.rules import readout_gain, scale_decay, scale_lr

if TYPE_CHECKING:
    import torch

Vector = tuple[float, ...]


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of the model and its EMA at each count of samples."""

    samples: Vector
    mean_theta: Vector
    mean_zeta: Vector
    var_theta: Vector
    var_zeta: Vector
    covariance: Vector

    def __str__(self) -> str:
        theta = f"model {self.mean_theta[-1]:.4g} +- {math.sqrt(self.var_theta[-1]):.2g}"
        zeta = f"EMA {self.mean_zeta[-1]:.4g} +- {math.sqrt(self.var_zeta[-1]):.2g}"
        return f"after {self.samples[-1]:g} samples: {theta}, {zeta}"

    def to_table(self) -> dict[str, Vector]:
        """One column a moment, one row a step."""
        return {
            "samples": self.samples,
            "mean_theta": self.mean_theta,
            "mean_zeta": self.mean_zeta,
            "sd_theta": tuple(map(math.sqrt, self.var_theta)),
            "sd_zeta": tuple(map(math.sqrt, self.var_zeta)),
        }


@dataclass(frozen=True)
class Parabola:
    """A noisy parabola in one dimension, trained by SGD, with the EMA of its parameter.

    Args:
        curvature: second derivative a of the loss, positive.
        noise: variance of one sample's gradient noise.
        noise_slope: further variance per ``theta ** 2``.
        feedback: how far the loss's minimum follows the EMA, in [0, 1].
        theta0: the model's start.
        zeta0: the EMA's start.

    Raises:
        ValueError: if a number is out of range.

    Source:
        The noisy parabola of Busbridge et al. 2023; exact moments and feedback form are ours.

    Example:
        >>> run = Parabola().moments(lr=0.001, decay=0.999, samples=8192)
        >>> print(run)
        after 8192 samples: model 0.0002757 +- 0.022, EMA 0.002259 +- 0.016
    """

    curvature: float = 1.0
    noise: float = 1.0
    noise_slope: float = 0.0
    feedback: float = 0.0
    theta0: float = 1.0
    zeta0: float = 0.0

    def __post_init__(self) -> None:
        _check.positive("curvature", self.curvature)
        _check.nonnegative("noise", self.noise)
        _check.nonnegative("noise_slope", self.noise_slope)
        _check.fraction("feedback", self.feedback)
        _check.number("theta0", self.theta0)
        _check.number("zeta0", self.zeta0)

    def moments(self, *, lr: float, decay: float, samples: int, kappa: int = 1) -> Moments:
        """The exact moments of a run, step by step.

        Args:
            lr: learning rate as it is used (scale it yourself).
            decay: EMA decay of one step as it is used.
            samples: length of the run; whole steps of it are taken.
            kappa: samples of one step.

        Returns:
            Moments at 0, kappa, 2 kappa, ... samples.

        Raises:
            ValueError: if a number is out of range.

        Source:
            The post-step order ``zeta' = decay zeta + (1 - decay) theta'``.
        """
        keep, pull, w, kick, steps = self._step(lr, decay, samples, kappa)
        m, z, vm, vz, c = self.theta0, self.zeta0, 0.0, 0.0, 0.0
        rows = [(0.0, m, z, vm, vz, c)]
        for step in range(1, steps + 1):
            noise = kick * (self.noise + self.noise_slope * (m * m + vm))
            m1 = keep * m + pull * z
            vm1 = keep**2 * vm + 2 * keep * pull * c + pull**2 * vz + noise
            cross = keep * c + pull * vz  # covariance of the new theta with the old zeta
            z, vz, c = (
                (1 - w) * z + w * m1,
                (1 - w) ** 2 * vz + 2 * w * (1 - w) * cross + w**2 * vm1,
                (1 - w) * cross + w * vm1,
            )
            m, vm = m1, vm1
            rows.append((float(step * kappa), m, z, vm, vz, c))
        return Moments(*(tuple(column) for column in zip(*rows, strict=True)))

    def _step(
        self, lr: float, decay: float, samples: int, kappa: int
    ) -> tuple[float, float, float, float, int]:
        """Coefficients of one step: of theta, of zeta, the EMA's weight, of the noise; steps."""
        move = _check.positive("lr", lr) * self.curvature
        weight = 1 - _check.fraction("decay", decay)
        steps = _check.count("samples", samples) // _check.count("kappa", kappa)
        if not steps:
            raise ValueError(f"{samples} samples make no step of kappa = {kappa}")
        return 1 - move, move * self.feedback, weight, lr**2 / kappa, steps

    def simulate(
        self,
        *,
        lr: float,
        decay: float,
        samples: int,
        kappa: int = 1,
        runs: int = 1,
        generator: "torch.Generator | None" = None,
    ) -> "tuple[torch.Tensor, torch.Tensor]":
        """Sampled paths of the model and its EMA, each ``(steps + 1, runs)`` in float64.

        Args:
            lr: learning rate as it is used.
            decay: EMA decay of one step as it is used.
            samples: length of a run.
            kappa: samples of one step.
            runs: independent runs.
            generator: source of the noise; one seeded with 0 by default.

        Returns:
            Paths of theta and of zeta.

        Raises:
            ValueError: if a number is out of range.
        """
        import torch

        keep, pull, weight, kick, steps = self._step(lr, decay, samples, kappa)
        generator = generator or torch.Generator().manual_seed(0)
        theta = torch.full((_check.count("runs", runs),), self.theta0, dtype=torch.float64)
        zeta = torch.full_like(theta, self.zeta0)
        paths = [(theta, zeta)]
        for _ in range(steps):
            scale = (kick * (self.noise + self.noise_slope * theta**2)).sqrt()
            noise = torch.randn(runs, dtype=torch.float64, generator=generator)
            theta = keep * theta + pull * zeta + scale * noise
            zeta = torch.lerp(zeta, theta, weight)
            paths.append((theta, zeta))
        return torch.stack([t for t, _ in paths]), torch.stack([z for _, z in paths])


@dataclass(frozen=True)
class RuleGap:
    """How far a run at batch kappa is from the base run at equal samples.

    ``theta`` and ``zeta`` are the largest distances of the means, ``spread`` the ratio of the
    EMA's final standard deviations, large batch over base.
    """

    kappa: int
    scaled: bool
    theta: float
    zeta: float
    spread: float

    def __str__(self) -> str:
        rule = "with the rule" if self.scaled else "decay kept"
        parts = f"model {self.theta:.4f}, EMA {self.zeta:.4f}, spread x {self.spread:.3f}"
        return f"kappa {self.kappa:>4}, {rule:<13}  {parts}"


def rule_gap(
    parabola: Parabola, kappa: int, *, lr: float, decay: float, samples: int, scaled: bool = True
) -> RuleGap:
    """How far the parabola's run at batch kappa is from its base run at equal samples.

    Args:
        parabola: the problem.
        kappa: batch of the second run; the base run has batch 1.
        lr: learning rate of the base run; the other one's is scaled linearly.
        decay: EMA decay of the base run.
        samples: length of both runs.
        scaled: whether the EMA's decay follows the rule, or is kept.

    Returns:
        The distances.

    Raises:
        ValueError: if a number is out of range.

    Example:
        >>> print(rule_gap(Parabola(), 64, lr=0.001, decay=0.999, samples=8192))
        kappa   64, with the rule  model 0.0119, EMA 0.0186, spread x 1.008
        >>> print(rule_gap(Parabola(), 64, lr=0.001, decay=0.999, samples=8192, scaled=False))
        kappa   64, decay kept     model 0.0119, EMA 0.3583, spread x 0.077
    """
    base = parabola.moments(lr=lr, decay=decay, samples=samples)
    large = parabola.moments(
        lr=scale_lr(lr, kappa, rule="linear"),
        decay=scale_decay(decay, kappa) if scaled else decay,
        samples=samples,
        kappa=kappa,
    )
    every = range(0, len(large.samples) * kappa, kappa)

    def distance(a: Sequence[float], b: Sequence[float]) -> float:
        return max(abs(a[i] - y) for i, y in zip(every, b, strict=True))

    return RuleGap(
        kappa,
        scaled,
        distance(base.mean_theta, large.mean_theta),
        distance(base.mean_zeta, large.mean_zeta),
        math.sqrt(large.var_zeta[-1] / base.var_zeta[every[-1]]) if base.var_zeta[-1] else 1.0,
    )


def table(
    kappas: Sequence[int],
    parabola: Parabola | None = None,
    *,
    lr: float = 1e-3,
    decay: float = 0.999,
    samples: int = 8192,
) -> dict[str, list[float | int | bool]]:
    """``rule_gap`` for several kappas, with and without the rule: one row each.

    Args:
        kappas: batches, as multiples of the base batch.
        parabola: the problem; the plain one by default.
        lr: learning rate of the base run.
        decay: EMA decay of the base run.
        samples: length of the runs.

    Returns:
        Columns ``kappa``, ``scaled``, ``theta``, ``zeta`` and ``spread``.

    Raises:
        ValueError: if a number is out of range.

    Example:
        >>> [round(spread, 3) for spread in table([64])["spread"]]
        [1.008, 0.077]
    """
    problem = parabola or Parabola()
    gaps = [
        rule_gap(problem, kappa, lr=lr, decay=decay, samples=samples, scaled=scaled)
        for scaled in (True, False)
        for kappa in kappas
    ]
    names = ("kappa", "scaled", "theta", "zeta", "spread")
    return {name: [getattr(gap, name) for gap in gaps] for name in names}


def readout_errors(
    kappa: int, *, lr: float = 1e-3, decay: float = 0.999, samples: int = 8192
) -> tuple[float, float]:
    """Largest error of the plain and of the corrected EMA on one noiseless parabola's path.

    Args:
        kappa: small updates that one large one replaces.
        lr: learning rate of the path, curvature 1, start 1.
        decay: EMA decay of a small update.
        samples: length of the path.

    Returns:
        The plain rule's error and the corrected readout's, against all small updates.

    Raises:
        ValueError: if a number is out of range.

    Source:
        ``rules.readout_gain``.

    Example:
        >>> plain, corrected = readout_errors(64)
        >>> plain > 50 * corrected
        True
    """
    _check.count("kappa", kappa)
    kept, gain = scale_decay(decay, kappa), readout_gain(decay, kappa)
    theta = small = large = 1.0
    errors = [(0.0, 0.0)]
    for step in range(1, samples + 1):
        theta -= lr * theta
        small = decay * small + (1 - decay) * theta
        if step % kappa == 0:
            large = kept * large + (1 - kept) * theta
            errors.append((abs(large - small), abs(theta + gain * (large - theta) - small)))
    return max(e for e, _ in errors), max(e for _, e in errors)


def stationary_ratio(decay: float, persistence: float) -> float:
    """Variance of the EMA over the variance of the model, long after the start.

    Args:
        decay: EMA decay of one step, in [0, 1].
        persistence: ``1 - lr * curvature``, the model's own autocorrelation, in (-1, 1).

    Returns:
        ``(1 - decay) / (1 + decay) * (1 + decay * p) / (1 - decay * p)``.

    Raises:
        ValueError: if a number is out of range.

    Source:
        The stationary covariance of the two linear recursions; derived here.

    Example:
        >>> stationary_ratio(0.0, 0.5), stationary_ratio(1.0, 0.5)
        (1.0, 0.0)
    """
    decay = _check.fraction("decay", decay)
    if not -1 < _check.number("persistence", persistence) < 1:
        raise ValueError(f"persistence must lie in (-1, 1), got {persistence}")
    joint = decay * persistence
    return (1 - decay) / (1 + decay) * (1 + joint) / (1 - joint)

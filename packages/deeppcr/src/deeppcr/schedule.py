"""The steps of a diffusion scheduler on copies of it, with their linear parts."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

PROBE = 1e-3  # small, so that a scheduler that clips does not clip it


@dataclass(frozen=True)
class SchedulerStep:
    """One step of a scheduler, on a copy that has come to its place, always with the same noise.

    Attributes:
        scheduler: the copy; never changed.
        time: the timestep.
        options: more arguments of ``step``.
        generator: a generator of ours for the noise, None where ``step`` takes none.
        state: its state before the step.
    """

    scheduler: Any
    time: Any
    options: dict[str, Any]
    generator: torch.Generator | None
    state: Tensor

    def __call__(self, output: Tensor, sample: Tensor) -> Tensor:
        """The next sample."""
        noise: dict[str, Any] = {} if self.generator is None else {"generator": self.generator}
        if self.generator is not None:
            self.generator.set_state(self.state)
        used = copy.copy(self.scheduler)
        return used.step(output, self.time, sample, **noise, **self.options).prev_sample

    def model_input(self, sample: Tensor) -> Tensor:
        """What the model sees of the sample."""
        used = copy.copy(self.scheduler)
        scale = getattr(used, "scale_model_input", None)
        return sample if scale is None else scale(sample, self.time)


@dataclass(frozen=True)
class Plan:
    """The steps of a scheduler, and their derivatives as scalars, one a time.

    Attributes:
        steps: the steps.
        times: the timesteps, for the model.
        noises: the next sample where sample and output are zero, ``(L, B, D)``.
        slopes: d next sample / d sample.
        gains: d next sample / d model output.
        scales: d model input / d sample.
        linear: d next sample / d sample where the model's velocity stays what it is.
    """

    steps: Sequence[SchedulerStep]
    times: Tensor
    noises: Tensor
    slopes: Tensor
    gains: Tensor
    scales: Tensor
    linear: Tensor

    def part(self, start: int, stop: int) -> Plan:
        """The steps ``start + 1`` to ``stop``."""
        return Plan(*(getattr(self, f.name)[start:stop] for f in fields(self)))


def plan_steps(
    scheduler: Any, x: Tensor, generator: torch.Generator | None, options: dict[str, Any]
) -> Plan:
    """The plan of all steps; draws their noise, in order, from ``generator``.

    Raises:
        ValueError: for schedulers that cannot be planned; see ``parallel_sample``.
    """
    times = getattr(scheduler, "timesteps", None)
    if times is None or getattr(scheduler, "num_inference_steps", 0) is None or len(times) == 0:
        raise ValueError("scheduler must have timesteps: call its set_timesteps first")
    takes = "generator" in inspect.signature(scheduler.step).parameters
    own = torch.Generator(x.device if generator is None else generator.device)
    drawn = own if generator is None else generator
    walker, other = copy.deepcopy(scheduler), copy.deepcopy(scheduler)
    zero = torch.zeros_like(x)
    steps: list[SchedulerStep] = []
    probes: list[tuple[Tensor, ...]] = []
    for t in times:
        for each in (walker, other):
            if hasattr(each, "scale_model_input"):
                each.scale_model_input(zero, t)  # some schedulers want it before their step
        state = drawn.get_state()
        noise = own if takes else None
        steps.append(SchedulerStep(copy.deepcopy(walker), t, options, noise, state))
        past = SchedulerStep(copy.deepcopy(other), t, options, noise, state)
        probes.append(probe(steps[-1], past, x))
        walker.step(zero, t, zero, **({"generator": drawn} if takes else {}), **options)
        if generator is None and not torch.equal(own.get_state(), state):
            raise ValueError(f"{type(scheduler).__name__} draws noise: pass generator=")
        other.step(zero + 1, t, zero, **({"generator": own} if takes else {}), **options)
    noises, slopes, gains, scales = map(torch.stack, zip(*probes, strict=True))
    times = torch.as_tensor(times).to(x.device)
    linear = slopes + gains * scales * output_slopes(scheduler, times, scales)
    return Plan(steps, times, noises, slopes, gains, scales, linear)


def output_slopes(scheduler: Any, times: Tensor, scales: Tensor) -> Tensor:
    """D model output / d model input, ``(L,)``, where the velocity stays what it is.

    With ``x = sqrt(a) x0 + sqrt(1-a) noise`` and the velocity ``v = sqrt(a) noise - sqrt(1-a) x0``
    the noise is ``sqrt(1-a) x + sqrt(a) v``, and x0 is ``sqrt(a) x - sqrt(1-a) v``.
    """
    kind = getattr(scheduler.config, "prediction_type", "epsilon")
    if hasattr(scheduler, "sigmas"):  # scales its samples to variance one by sqrt(a)
        a = scales.square()
    else:
        a = scheduler.alphas_cumprod.to(scales)[times.long()]
    slopes = {"epsilon": (1 - a).clamp_min(0).sqrt(), "sample": a.sqrt()}
    return slopes.get(kind, torch.zeros_like(a))


def probe(
    step: SchedulerStep, past: SchedulerStep, x: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Noise, slope, gain and input scale of one step; ``past`` is the same after another history.

    Raises:
        ValueError: where the step depends on earlier outputs of the model.
    """
    zero, small = torch.zeros_like(x), torch.full_like(x, PROBE)
    base, moved = step(zero, zero), step(zero, small)
    if not torch.allclose(past(zero, small), moved, rtol=1e-4, atol=1e-6):
        raise ValueError(
            f"{type(step.scheduler).__name__} keeps earlier outputs of the model: use a one-step "
            "scheduler such as DDIM, DDPM, Euler or Euler ancestral"
        )
    gain = (step(small, zero) - base).mean() / PROBE
    slope, scale = (moved - base).mean() / PROBE, step.model_input(small).mean() / PROBE
    return base.flatten(1), slope, gain, scale

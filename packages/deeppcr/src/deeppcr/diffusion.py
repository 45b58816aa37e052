"""Diffusion sampling with the steps of a scheduler solved together.

A scheduler of diffusers maps a sample and the model's output to the next sample. Here that map is
its own ``step``, on copies, so every spacing, prediction type and clipping is the scheduler's; its
linear part in the sample, read off with two probes, is the Jacobian.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from deeppcr.newton import Newton, Solution, newton
from deeppcr.report import ConvergenceError, Report
from deeppcr.scan import affine_scan
from deeppcr.schedule import Plan, plan_steps

JACOBIANS = ("scheduler", "identity", "dense")


@dataclass(frozen=True)
class Sample:
    """A sample and what it cost.

    Attributes:
        sample: the last state, of the shape of ``x_T``.
        rounds: calls of the model that had to wait for one another.
        steps: what the sequential sampler needs of them.
        model_rows: samples that the model was evaluated on, over all rounds.
        report: the iteration's report.
    """

    sample: Tensor
    rounds: int
    steps: int
    model_rows: int
    report: Report

    def __str__(self) -> str:
        """One line: rounds against steps, and the report."""
        return f"{self.rounds} rounds for {self.steps} steps, {self.model_rows} rows; {self.report}"

    def to_table(self) -> dict[str, Sequence[float]]:
        """Columns of the report: ``iteration``, ``residual``, ``step``."""
        return self.report.to_table()


def parallel_sample(
    model: Callable[..., Any],
    scheduler: Any,
    x_T: Tensor,
    *,
    window: int | None = None,
    jacobian: str = "scheduler",
    anderson: int = 0,
    tol: float = 1e-3,
    max_rounds: int | None = None,
    generator: torch.Generator | None = None,
    model_batch: int | None = None,
    on_failure: str = "sequential",
    **step_options: Any,
) -> Sample:
    """The sample that ``scheduler`` and ``model`` give from ``x_T``, its steps solved together.

    Args:
        model: ``(x, t) -> output`` for samples ``(N, ...)`` and times ``(N,)``; a diffusers model
            whose result has ``.sample`` does as well. The rows come step by step: row i belongs
            to sample ``i % B``, so conditions are repeated ``N // B`` times.
        scheduler: an ordinary one-step scheduler of diffusers, after ``set_timesteps``: DDIM,
            DDPM, Euler, Euler ancestral. It is copied, never changed.
        x_T: first sample ``(B, ...)``, already multiplied by ``init_noise_sigma``.
        window: steps that are solved together, one window after the other; None for all.
        jacobian: ``"scheduler"``, its linear part, which costs nothing; ``"identity"``, Picard's
            iteration; ``"dense"``, the model's derivative too, D directions a round.
        anderson: earlier corrections that Anderson's mixing uses; 0 for none.
        tol: largest residual and last correction, in the units of the sample; on top of rounding.
        max_rounds: most rounds of a window; None for as many as it has steps, which always do.
        generator: source of the noise of DDPM and of other ancestral samplers. It is drawn once,
            in the order of the sequential sampler, and ends where that one leaves it.
        model_batch: most rows of one call of the model, at least B, as a call has whole steps;
            None for all at once.
        on_failure: ``"sequential"`` runs the sequential sampler, ``"raise"`` raises.
        **step_options: more arguments of ``scheduler.step``, for example ``eta=1.0``.

    Returns:
        The sample, its rounds, and the report.

    Raises:
        ValueError: for a scheduler without timesteps, one that keeps earlier outputs of the model,
            or one that draws noise without a ``generator``.
        ConvergenceError: no convergence and ``on_failure="raise"``.

    Source:
        Danieli et al. 2023 solve the denoising steps together; the scheduler's linear part as the
        Jacobian is ours.

    Example:
        >>> from diffusers import DDIMScheduler
        >>> scheduler = DDIMScheduler(clip_sample=False)
        >>> scheduler.set_timesteps(50)
        >>> x = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
        >>> result = parallel_sample(lambda x, t: 0.5 * torch.tanh(x), scheduler, x)
        >>> result.steps, result.rounds < 25, result.report.converged
        (50, True, True)
    """
    if jacobian not in JACOBIANS:
        raise ValueError(f"jacobian must be one of {', '.join(JACOBIANS)}, got {jacobian!r}")
    if on_failure not in ("sequential", "raise"):
        raise ValueError(f'on_failure must be "sequential" or "raise", got {on_failure!r}')
    for name, value in (
        ("window", window),
        ("max_rounds", max_rounds),
        ("model_batch", model_batch),
    ):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be >= 1 or None, got {value}")
    if model_batch is not None and model_batch < len(x_T):
        raise ValueError(
            f"model_batch must be at least the {len(x_T)} samples of x_T, got {model_batch}: "
            "sample fewer at a time"
        )
    if not tol > 0:
        raise ValueError(f"tol must be positive, got {tol}")
    with torch.no_grad():
        plan = plan_steps(scheduler, x_T, generator, step_options)
        sampler = Sampler(model, plan, x_T.flatten(1), x_T.shape, jacobian, model_batch, Count())
        rounding = 16 * torch.finfo(x_T.dtype).eps
        settings = Newton(max_rounds or len(plan.steps), tol, rounding, anderson=anderson)
        structure = "identity" if jacobian == "identity" else "auto"
        solution = in_windows(sampler, settings, structure, window or len(plan.steps))
        report = Report(
            solution.converged,
            solution.reason,
            solution.iterations,
            solution.residuals,
            solution.step_norms,
            solution.exact_prefix,
            tuple(solution.sample_iterations.tolist()),
        )
        rounds = sampler.count.rounds
        final = solution.states[-1].reshape(x_T.shape)
        if not solution.converged:
            if on_failure == "raise":
                raise ConvergenceError(report)
            final, rounds = sampler.run(), rounds + len(plan.steps)
            report = replace(report, converged=True, method="sequential", fell_back=True)
    return Sample(final, rounds, len(plan.steps), sampler.count.rows, report)


class Count:
    """Calls of the model that had to wait for one another, and the rows of all."""

    rounds = rows = 0


@dataclass(frozen=True)
class Sampler:
    """The chain of samples as Newton's iteration takes it: states ``(B, D)``, one a time.

    Attributes:
        model: the model.
        plan: the scheduler's steps.
        z0: the sample that the steps begin with, ``(B, D)``.
        shape: its shape as the model knows it.
        jacobian: ``"scheduler"``, ``"identity"`` or ``"dense"``.
        model_batch: most rows of one call, at least B, or None.
        count: what the model was called for.
    """

    model: Callable[..., Any]
    plan: Plan
    z0: Tensor
    shape: torch.Size
    jacobian: str
    model_batch: int | None
    count: Count

    @property
    def length(self) -> int:
        """The number of steps."""
        return len(self.plan.steps)

    def previous(self, states: Tensor) -> Tensor:
        """The states that the steps start from, ``(L, B, D)``."""
        return torch.cat([self.z0.unsqueeze(0), states[:-1]])

    def at_once(self, z_prev: Tensor) -> Tensor:
        """All steps, each from its row of ``z_prev`` ``(L, B, D)``: one round of the model."""
        samples = z_prev.unflatten(-1, self.shape[1:])
        steps = list(zip(self.plan.steps, samples, strict=True))
        seen = torch.stack([step.model_input(sample) for step, sample in steps])
        times = self.plan.times.repeat_interleave(self.shape[0])
        rows = seen.flatten(0, 1)
        batch = self.shape[0]
        size = len(rows) if self.model_batch is None else self.model_batch // batch * batch
        parts = zip(rows.split(size), times.split(size), strict=True)
        outputs = torch.cat([answer(self.model, *part) for part in parts]).reshape(seen.shape)
        self.count.rounds += 1
        self.count.rows += len(rows)
        after = [step(out, x) for (step, x), out in zip(steps, outputs, strict=True)]
        return torch.stack(after).flatten(2)

    def blocks(self, z_prev: Tensor, z: Tensor) -> Tensor:
        """The linear part ``(L, B, 1)``, or with the model's derivative ``(L, B, D, D)``."""
        if self.jacobian != "dense":
            return self.plan.linear.reshape(-1, 1, 1).to(z).expand(*z.shape[:-1], 1)
        slopes = self.plan.slopes.reshape(-1, 1, 1).to(z)
        times = self.plan.times.repeat_interleave(self.shape[0])
        scales = self.plan.scales.reshape(-1, 1, 1).to(z)

        def output(states: Tensor) -> Tensor:
            seen = (scales * states).unflatten(-1, self.shape[1:]).flatten(0, 1)
            return answer(self.model, seen, times).reshape(z.shape)

        pull = torch.func.vjp(output, z_prev)[1]
        basis = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)

        def row(direction: Tensor) -> Tensor:
            return pull(direction.expand_as(z))[0]

        rows = torch.func.vmap(row, out_dims=-2)(basis)
        gains = self.plan.gains.reshape(-1, 1, 1, 1).to(z)
        return gains * rows + torch.diag_embed(slopes.expand_as(z))

    def window(self, start: int, stop: int, z0: Tensor) -> Sampler:
        """The steps ``start + 1`` to ``stop``, begun at ``z0``."""
        return replace(self, plan=self.plan.part(start, stop), z0=z0)

    def guess(self) -> Tensor:
        """The states ``(L, B, D)`` of a model whose velocity is zero, with the noise."""
        return affine_scan(self.plan.linear.to(self.z0), self.plan.noises, self.z0)

    def run(self) -> Tensor:
        """The last sample by the sequential sampler, of the shape of ``x_T``."""
        x = self.z0.reshape(self.shape)
        for step, t in zip(self.plan.steps, self.plan.times, strict=True):
            x = step(answer(self.model, step.model_input(x), t), x)
        self.count.rows += self.length * len(x)
        return x


def answer(model: Callable[..., Any], x: Tensor, t: Tensor) -> Tensor:
    """The model's output as a tensor."""
    output = model(x, t)
    output = output if isinstance(output, Tensor) else output.sample
    if output.shape != x.shape:
        got = f"{tuple(output.shape)} for {tuple(x.shape)}"
        raise ValueError(
            f"model must return a tensor like its input (no learned variance), got {got}"
        )
    return output


def in_windows(sampler: Sampler, settings: Newton, structure: str, width: int) -> Solution:
    """The solution window after window, each of ``width`` steps."""
    parts: list[Solution] = []
    z0 = sampler.z0
    for start in range(0, sampler.length, width):
        part = sampler.window(start, min(start + width, sampler.length), z0)
        parts.append(newton(part, part.guess(), settings, structure=structure))
        z0 = parts[-1].states[-1]
        if not parts[-1].converged:
            break
    return Solution(
        torch.cat([part.states for part in parts]),
        parts[-1].reason,
        sum(part.iterations for part in parts),
        sum((part.residuals for part in parts), ()),
        sum((part.step_norms for part in parts), ()),
        sum(part.exact_prefix for part in parts),
        sum(
            (part.sample_iterations for part in parts), torch.zeros_like(parts[0].sample_iterations)
        ),
    )

"""Whether a chain can be solved in parallel, from a short stretch of it: before you pay."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from deeppcr.blocks import dense
from deeppcr.chain import Step
from deeppcr.choice import choose
from deeppcr.problem import Problem, make_problem

OVERFLOW = {torch.float64: 700.0, torch.complex128: 700.0}  # log of the largest number; else 88


@dataclass(frozen=True)
class Diagnosis:
    """What a stretch of a chain says about all of it.

    Attributes:
        lyapunov: mean growth of a perturbation along the states, nats a step, of the worst
            sample; below zero the chain forgets its past and Newton converges fast.
        guess_lyapunov: the same along the first guess (each step applied to zeros), where Newton's
            first correction is computed.
        predicted_iterations: Newton's, by our fit; None where none is expected to do.
        recommended: ``"newton"``, ``"window"`` (``Newton(window=...)``) or ``"sequential"``.
        why: the reason for it.
        steps: length of the stretch.
    """

    lyapunov: float
    guess_lyapunov: float
    predicted_iterations: int | None
    recommended: str
    why: str
    steps: int

    def __str__(self) -> str:
        """One line: the exponents and the advice."""
        count = "" if self.predicted_iterations is None else f", {self.predicted_iterations} its."
        return (
            f"Lyapunov {self.lyapunov:+.3f} nats/step (guess {self.guess_lyapunov:+.3f}, "
            f"{self.steps} steps){count}: {self.recommended}, {self.why}"
        )

    def to_table(self) -> dict[str, list[Any]]:
        """Columns ``quantity`` and ``value``."""
        names = ["lyapunov", "guess_lyapunov", "predicted_iterations", "steps"]
        values = [getattr(self, name) for name in names]
        return {"quantity": names, "value": [math.nan if v is None else float(v) for v in values]}


def diagnose(
    step: Step,
    z0: Any,
    xs: Any = None,
    params: Any = None,
    *,
    length: int | None = None,
    steps: int = 64,
    generator: torch.Generator | None = None,
    **options: Any,
) -> Diagnosis:
    """The Lyapunov exponent of a chain from its first steps, and the method to use.

    Args:
        step: as in ``parallel_forward``.
        z0: as in ``parallel_forward``.
        xs: as in ``parallel_forward``.
        params: as in ``parallel_forward``.
        length: as in ``parallel_forward``.
        steps: length of the stretch that is run in a loop.
        generator: source of the perturbation's direction; None for one of seed 0.
        **options: ``per_layer_params``, ``vectorized``, ``lengths`` and ``jacobian``, as there.

    Returns:
        The exponents and the recommendation.

    Raises:
        ValueError: if the chain has no steps, or ``steps < 1``.
        StepError: if the step cannot be differentiated at all times at once.

    Source:
        Gonzalez et al. 2025 tie Newton's convergence to the sign of the largest Lyapunov
        exponent. The fit of the iterations is ours.

    Example:
        >>> xs = torch.zeros(1000, 1)
        >>> diagnosis = diagnose(lambda z, x, p: 0.5 * torch.tanh(z) + x, torch.ones(1), xs)
        >>> diagnosis.lyapunov < 0, diagnosis.predicted_iterations
        (True, 3)
    """
    problem = make_problem(step, z0, xs, params, length=length, **options)
    if problem.length == 0 or steps < 1:
        raise ValueError(f"steps and the chain need a length >= 1, got {steps}, {problem.length}")
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    direction = torch.randn(problem.z0.shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        problem = problem.widened()
        part = problem.window(0, min(steps, problem.length), problem.z0)
        states = part.run()
        guess = part.at_once(torch.zeros_like(states))
        along = growth(part, states, direction)
        at_guess = growth(part, guess, direction)
        iterations, method, why = advice(problem, along, at_guess)
    return Diagnosis(along, at_guess, iterations, method, why, part.length)


def growth(problem: Problem, states: Tensor, direction: Tensor) -> float:
    """Mean log growth of ``direction`` through the blocks at ``states``, of the worst sample."""
    z_prev = problem.previous(states)
    blocks = dense(problem.blocks(z_prev, problem.at_once(z_prev)))
    v = direction.to(states)
    total = torch.zeros(v.shape[:-1], dtype=torch.float64, device=v.device)
    for block in blocks:
        v = block * v if block.ndim == v.ndim else (block @ v.unsqueeze(-1)).squeeze(-1)
        norm = v.norm(dim=-1)
        total += norm.double().log()
        v = v / norm.clamp_min(torch.finfo(norm.dtype).tiny).unsqueeze(-1)
    return float((total - direction.norm(dim=-1).to(total).log()).max()) / problem.length


def advice(problem: Problem, along: float, at_guess: float) -> tuple[int | None, str, str]:
    """Predicted iterations, the method, and why."""
    limit = OVERFLOW.get(problem.z0.dtype, 88.0)
    if along >= 0 or (not math.isfinite(along) and along > 0):
        return None, "sequential", "perturbations grow along the states"
    if at_guess * problem.length > limit:
        return None, "window", "the blocks at the guess multiply up to an overflow"
    forgets = 1 / -math.expm1(along)  # steps that the chain remembers
    iterations = 2 + round(math.log2(min(problem.length, forgets)))
    choice = choose(replace(problem), "auto")
    if choice.method == "sequential":
        return iterations, "sequential", f"{choice}"
    return iterations, "newton", f"{choice}"

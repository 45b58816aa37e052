"""Newton's iteration on a whole trajectory, and its cheaper relatives.

The residual of step l is ``r_l = step(z_{l-1}) - z_l``; one linear solve turns all residuals into
a correction of all states. Exact blocks make it Newton's, their diagonal quasi-Newton, the
identity Picard's, zero Jacobi's. After k full corrections the first k states are exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from deeppcr.blocks import ScaledRows
from deeppcr.jacobian import solve, structured
from deeppcr.report import Reason

GROWTH = 10.0  # with a budget: a residual this many times its start has diverged
DECAY = 0.1  # with a budget: an iteration that does less for the residual is not worth going on


class Solvable(Protocol):
    """What the iteration needs of a recurrence; ``Problem`` and ``Sampler`` have it."""

    @property
    def z0(self) -> Tensor:
        """First state, ``(*B, d)``."""
        ...

    @property
    def length(self) -> int:
        """The number of steps, L."""
        ...

    def previous(self, states: Tensor) -> Tensor:
        """The states that the steps start from, ``(L, *B, d)``."""
        ...

    def at_once(self, z_prev: Tensor) -> Tensor:
        """All steps in one call, each from its row of ``z_prev``."""
        ...

    def blocks(self, z_prev: Tensor, z: Tensor) -> Tensor | ScaledRows:
        """The Jacobians of all steps."""
        ...

    def window(self, start: int, stop: int, z0: Tensor) -> Any:
        """The steps ``start + 1`` to ``stop``, begun at ``z0``."""
        ...


@dataclass(frozen=True)
class Newton:
    """Settings of the iteration; the tolerance is ``atol + rtol * max|z|``, for each sample.

    Args:
        max_iter: most iterations, of each window where there are windows.
        atol: absolute tolerance; None for 1e-5, in float64 1e-10.
        rtol: relative tolerance, the same defaults.
        damping: the share of each correction that is taken, in (0, 1].
        window: number of steps that are solved first; doubled after a window that converged,
            halved after one that did not. None for all steps at once.
        anderson: number of earlier corrections that Anderson's mixing uses; 0 for none.

    Raises:
        ValueError: for settings outside these ranges.

    Example:
        >>> Newton(max_iter=10, rtol=1e-4).tolerances(torch.float32)
        (1e-05, 0.0001)
    """

    max_iter: int = 30
    atol: float | None = None
    rtol: float | None = None
    damping: float = 1.0
    window: int | None = None
    anderson: int = 0

    def __post_init__(self) -> None:
        if self.max_iter < 0:
            raise ValueError(f"max_iter must be >= 0, got {self.max_iter}")
        if not 0 < self.damping <= 1:
            raise ValueError(f"damping must be in (0, 1], got {self.damping}")
        if self.window is not None and self.window < 1:
            raise ValueError(f"window must be >= 1 or None, got {self.window}")
        if self.anderson < 0:
            raise ValueError(f"anderson must be >= 0, got {self.anderson}")
        for name, value in (("atol", self.atol), ("rtol", self.rtol)):
            if value is not None and not value >= 0:
                raise ValueError(f"{name} must be >= 0 or None, got {value}")

    def tolerances(self, dtype: torch.dtype) -> tuple[float, float]:
        """``(atol, rtol)`` for states of this dtype."""
        usual = 1e-10 if dtype in (torch.float64, torch.complex128) else 1e-5
        atol = usual if self.atol is None else self.atol
        return atol, usual if self.rtol is None else self.rtol


@dataclass(frozen=True)
class Solution:
    """A trajectory and how the iteration came to it; fields as in ``Report``."""

    states: Tensor
    reason: Reason
    iterations: int
    residuals: tuple[float, ...]
    step_norms: tuple[float, ...]
    exact_prefix: int
    sample_iterations: Tensor

    @property
    def converged(self) -> bool:
        """True where residual and step are within the tolerance, or every state is exact."""
        return self.reason in ("residual", "exact")


def newton(
    problem: Solvable,
    guess: Tensor,
    settings: Newton,
    *,
    structure: str = "auto",
    budget: int | None = None,
) -> Solution:
    """The trajectory of ``problem`` by Newton's iteration from ``guess``, with its history.

    Args:
        problem: the recurrence.
        guess: first trajectory, ``(L, *B, d)``.
        settings: tolerances and variants.
        structure: the part of the Jacobian that is used, one of ``deeppcr.jacobian.STRUCTURES``.
        budget: iterations that are free; later ones must cut the residual to a tenth. Given a
            budget, a residual that grew tenfold ends the iteration too.

    Returns:
        The solution; whether it converged is its ``reason``.
    """
    if settings.window is not None and settings.window < problem.length:
        return windowed(problem, guess, settings, structure, budget)
    return iterate(problem, guess, settings, structure, budget)


def iterate(
    problem: Solvable, guess: Tensor, settings: Newton, structure: str, budget: int | None
) -> Solution:
    """The iteration on all steps of ``problem`` at once.

    The correction that shows convergence is within the tolerance, and is made too: it is at hand.
    """
    atol, rtol = settings.tolerances(guess.dtype)
    mixing = Anderson(settings.anderson) if settings.anderson else None
    z, blocks, count = guess, None, 0
    done = torch.zeros(guess.shape[1:-1], dtype=torch.bool, device=guess.device)  # (*B)
    taken = torch.zeros_like(done, dtype=torch.long)
    residuals: list[float] = []
    steps: list[float] = []
    reason: Reason
    while True:
        z_prev = problem.previous(z)
        after = problem.at_once(z_prev)
        r = after - z
        size, scale = largest(r), largest(z)
        tol = atol + rtol * scale  # (*B)
        residuals.append(float(size.max()))
        if problem.length == 1:  # its start is given, so its end is exact
            z, reason = after, "exact" if math.isfinite(residuals[-1]) else "nonfinite"
            count, taken = 1, taken + 1
            break
        if not math.isfinite(residuals[-1]):
            reason = "nonfinite"
            break
        ready = size <= tol
        settled = bool(ready.all())
        if structure not in ("identity", "zero") and (blocks is None or not settled):
            blocks = structured(problem.blocks(z_prev, after), after, structure)
        delta = solve(blocks, r, structure=structure)
        moved = largest(delta)  # with exact blocks, the error of z to first order
        free = ~done  # a sample that passed the test stays
        done = done | (ready & (moved <= tol))
        steps.append(float(moved.max()))
        stop = verdict(residuals, steps[-1], done, count, settings, budget)
        if stop is None and steps[-1] <= torch.finfo(guess.dtype).eps * float(scale.max()):
            stop = "stalled"
        if stop is not None:
            reason = stop
            if stop == "residual":
                z = moved_by(z, delta, free)
            break
        if mixing is not None:
            delta = mixing(z, delta, free=count + 1)
        if settings.damping != 1:
            delta = settings.damping * delta
        z = moved_by(z, delta, free)
        taken += ~done
        count += 1
    whole = reason in ("exact", "residual")
    prefix = problem.length if whole else leading(r.abs().amax(-1) <= tol)
    return Solution(z, reason, count, tuple(residuals), tuple(steps), prefix, taken)


def verdict(
    residuals: list[float],
    step: float,
    done: Tensor,
    count: int,
    settings: Newton,
    budget: int | None,
) -> Reason | None:
    """Why the iteration ends after ``count`` updates, or None where it goes on."""
    if done.all():
        return "residual"
    if not math.isfinite(step):
        return "nonfinite"
    if budget is not None and residuals[-1] > GROWTH * residuals[0]:
        return "diverged"
    if budget is not None and count >= budget and residuals[-1] > DECAY * residuals[-2]:
        return "budget"
    return "max_iter" if count >= settings.max_iter else None


def windowed(
    problem: Solvable, guess: Tensor, settings: Newton, structure: str, budget: int | None
) -> Solution:
    """Window after window, each begun at the last state of the one before.

    A window of one step converges in one iteration, so the last state is always reached unless a
    step itself gives a NaN or an infinity.
    """
    states, start, width, spent = guess, 0, settings.window or problem.length, 0
    taken = torch.zeros(guess.shape[1:-1], dtype=torch.long, device=guess.device)
    residuals: list[float] = []
    steps: list[float] = []
    reason: Reason = "residual"
    while start < problem.length:
        stop = min(start + width, problem.length)
        z0 = problem.z0 if start == 0 else states[start - 1]
        left = None if budget is None else max(budget - spent, 0)
        part = iterate(
            problem.window(start, stop, z0), states[start:stop], settings, structure, left
        )
        spent, taken = spent + part.iterations, taken + part.sample_iterations
        residuals += part.residuals
        steps += part.step_norms
        fits = part.converged
        keep = stop - start if fits else part.exact_prefix
        states = torch.cat([states[:start], part.states[:keep], states[start + keep :]])
        start += keep
        if fits:
            width *= 2
        elif part.reason == "budget" or width == 1:
            reason = part.reason
            break
        else:
            width = max(1, width // 2)
    return Solution(states, reason, spent, tuple(residuals), tuple(steps), start, taken)


class Anderson:
    """Anderson's mixing of the last corrections, for each sample over its whole trajectory.

    The first ``free`` states keep the plain correction, so that the exact prefix goes on growing
    by one state an iteration.
    """

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.history: list[tuple[Tensor, Tensor]] = []

    def __call__(self, z: Tensor, delta: Tensor, *, free: int) -> Tensor:
        """The mixed correction of ``z``, both ``(L, *B, d)``."""
        self.history = [*self.history[-self.depth :], (z, delta)]
        if len(self.history) == 1:
            return delta
        pairs = list(zip(self.history, self.history[1:], strict=False))
        dz = torch.stack([new[0] - old[0] for old, new in pairs])  # (m, L, *B, d)
        df = torch.stack([new[1] - old[1] for old, new in pairs])
        flat = df.movedim((1, -1), (-2, -1)).flatten(-2)  # (m, *B, L d)
        flat = flat.movedim(0, -2)  # (*B, m, L d)
        target = delta.movedim(0, -2).flatten(-2)  # (*B, L d)
        gram = flat.conj() @ flat.mT
        floor = torch.finfo(gram.dtype).eps * gram.diagonal(dim1=-2, dim2=-1).sum(-1).real
        ridge = floor.clamp_min(torch.finfo(gram.dtype).tiny)[..., None, None]
        gram = gram + ridge * torch.eye(len(pairs), dtype=gram.dtype, device=gram.device)
        weights = torch.linalg.solve(gram, flat.conj() @ target.unsqueeze(-1))  # (*B, m, 1)
        weights = weights.movedim(-2, 0).unsqueeze(1)  # (m, 1, *B, 1)
        mixed = delta - (weights * (dz + df)).sum(0)
        return torch.cat([delta[:free], mixed[free:]])


def moved_by(z: Tensor, delta: Tensor, free: Tensor) -> Tensor:
    """``z + delta`` in the samples that are ``free``; the others stay, even where delta is NaN."""
    if bool(free.all()):
        return z + delta
    return z + torch.where(free.unsqueeze(-1), delta, torch.zeros_like(delta))


def largest(t: Tensor) -> Tensor:
    """The largest magnitude of each sample: ``(L, *B, d) -> (*B)``; NaN where one is NaN."""
    return t.abs().amax((0, -1))


def leading(rows: Tensor) -> int:
    """How many leading rows of ``(L, *B)`` hold in every sample."""
    if bool(rows.all()):
        return len(rows)
    return int(rows.reshape(len(rows), -1).all(1).long().cumprod(0).sum())

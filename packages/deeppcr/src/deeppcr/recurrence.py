"""``parallel_forward``: the states of any recurrence, by Newton or by the loop."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from deeppcr.adjoint import StepJacobian, refuse_hidden_gradients
from deeppcr.chain import Step, StepError
from deeppcr.choice import BUDGET, Choice, choose, choose_backward
from deeppcr.jacobian import STRUCTURES
from deeppcr.newton import Newton, Solution, newton
from deeppcr.problem import Problem, attach, make_problem
from deeppcr.report import ConvergenceError, ConvergenceWarning, Report

METHODS = ("auto", "newton", "sequential")
FAILURES = ("sequential", "raise", "warn")
BACKWARDS = ("auto", "implicit", "autograd")


@dataclass(frozen=True)
class Trajectory:
    """States of a recurrence and how they came about.

    Attributes:
        states: z_1 to z_L, ``(L, *B, d)``, or a tree of such like z0.
        final: the last state, ``(*B, d)``; of each sample's own length where lengths were given.
        report: method, reason, iterations, residuals.
    """

    states: Any
    final: Any
    report: Report

    def __str__(self) -> str:
        """The report's line."""
        return str(self.report)


def parallel_forward(
    step: Step,
    z0: Any,
    xs: Any = None,
    params: Any = None,
    *,
    length: int | None = None,
    lengths: Tensor | None = None,
    jacobian: str | StepJacobian = "auto",
    guess: Any = "step0",
    solver: Newton | None = None,
    method: str = "auto",
    on_failure: str = "sequential",
    backward: str = "auto",
    per_layer_params: bool = False,
    vectorized: bool = False,
    check: bool = False,
) -> Trajectory:
    """The states ``z_l = step(z_{l-1}, x_l, params)`` of all steps, solved together.

    Args:
        step: pure function ``(z, x, params) -> z``. The last axis of a state is its features, the
            axes before it a batch whose samples do not depend on one another. A method
            ``step.linearize`` (see ``deeppcr.steps``) is used where there is one.
        z0: first state ``(*B, d)``, or a tree of such with the same batch.
        xs: tree of inputs, every tensor ``(L, ...)``.
        params: tree of parameters. What requires a gradient must come in here, not by closure.
        length: L, where neither ``xs`` nor per-layer parameters tell it.
        lengths: ``(*B)`` integers, each at most L: samples keep their state after their last step.
        jacobian: ``"auto"`` and ``"dense"`` for exact blocks, ``"diag"`` and ``"scalar"`` for a
            part of them, ``"identity"`` for Picard's iteration, ``"zero"`` for Jacobi's; or the
            exact derivative of one step, ``jacobian(z, x, params)``, ``(*B, d, d)`` or, where it
            is diagonal, ``(*B, d)``.
        guess: first trajectory: ``"step0"`` (each step applied to zeros), ``"zeros"``, ``"hold"``
            (z0 everywhere), a trajectory like ``states``, or a function ``(z0, xs, params)``.
        solver: tolerances, damping, windows, Anderson's mixing; None for ``Newton()``.
        method: ``"newton"``, ``"sequential"`` (the plain loop), or ``"auto"``: the cheaper one by
            the constants of ``deeppcr.choice``.
        on_failure: after an iteration that did not converge: ``"sequential"`` runs the plain
            loop, ``"raise"`` raises, ``"warn"`` returns the last iterate with a warning.
        backward: ``"implicit"`` solves one linear system for the gradient, exact for these
            states; ``"autograd"`` always runs the loop, and differentiates through it; ``"auto"``
            is implicit after Newton, and after the loop the cheaper one.
        per_layer_params: every tensor of ``params`` has a leading axis of length L.
        vectorized: ``step`` also takes all its arguments with a leading time axis.
        check: run the step a few times first, to see that it is deterministic, takes all times at
            once, and does not mix samples.

    Returns:
        States, final state and report. States from the loop are bitwise those of
        ``for x in xs: z = step(z, x, params)``, and then ``report.fell_back`` is True.

    Raises:
        ConvergenceError: no convergence and ``on_failure="raise"``.
        StepError: the step cannot be run at all times at once, or hides parameters.
        ValueError: for an unknown option, shapes or lengths that do not fit.
        TypeError: for states that are no floating-point tensors.

    Source:
        Danieli et al. 2023 (DeepPCR): Newton's iteration on the residuals of all steps. The
        choice, the budget and the fall-back to the loop are ours.

    Example:
        >>> xs = torch.linspace(-1, 1, 500).reshape(500, 1)
        >>> run = parallel_forward(
        ...     lambda z, x, w: torch.tanh(z @ w + x), torch.zeros(1), xs, torch.tensor([[0.5]]),
        ...     method="newton",
        ... )
        >>> run.states.shape, run.report.converged
        (torch.Size([500, 1]), True)
    """
    for name, value, allowed in (
        ("method", method, METHODS),
        ("on_failure", on_failure, FAILURES),
        ("backward", backward, BACKWARDS),
    ):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    structure = "auto" if callable(jacobian) else jacobian
    if structure not in STRUCTURES:
        raise ValueError(f"jacobian must be callable or one of {STRUCTURES}, got {jacobian!r}")
    began = time.perf_counter()
    problem = make_problem(
        step,
        z0,
        xs,
        params,
        length=length,
        lengths=lengths,
        per_layer_params=per_layer_params,
        vectorized=vectorized,
        jacobian=jacobian if callable(jacobian) else None,
    )
    if check:
        with torch.no_grad():
            check_step(problem)
    if backward == "autograd":
        if method == "newton":
            raise ValueError('backward="autograd" runs the loop: use method="auto"')
        states = problem.run()
        report = chosen_loop(problem, 'backward="autograd"')
    else:
        refuse_hidden_gradients(problem.chain, problem.z0, problem.inputs, problem.shared)
        tracked = torch.is_grad_enabled() and backward == "auto" and problem.requires_grad
        with torch.no_grad():
            states, report = compute(problem, guess, solver, structure, method, on_failure, tracked)
        if torch.is_grad_enabled() and not states.requires_grad:
            states = attach(problem, states)
    report = replace(report, seconds=time.perf_counter() - began)
    final = states[-1] if problem.length else problem.z0
    unpack = problem.chain.unpack
    return Trajectory(unpack(states), unpack(final), report)


def compute(
    problem: Problem,
    guess: Any,
    solver: Newton | None,
    structure: str,
    method: str,
    on_failure: str,
    tracked: bool,
) -> tuple[Tensor, Report]:
    """The states and what was done for them.

    They have no gradient, except where ``tracked`` and autograd's walk is the cheaper backward.
    """
    automatic = method == "auto"
    choice = choose(problem, structure) if automatic else Choice(method)
    explanation = str(choice) if automatic else ""
    if choice.method == "sequential" or problem.length == 0:
        walk = tracked and problem.length > 0 and choose_backward(problem) == "autograd"
        with torch.set_grad_enabled(walk):
            return problem.run(), chosen_loop(problem, explanation)
    wide, settings = problem.widened(), Newton() if solver is None else solver
    budget = BUDGET if automatic else None
    try:
        first = first_guess(wide, guess)
        solution = newton(wide, first, settings, structure=structure, budget=budget)
    except StepError as error:
        if not automatic:
            raise
        return problem.run(), chosen_loop(problem, str(error))
    report = reported(solution, explanation)
    if not solution.converged:
        if on_failure == "raise":
            raise ConvergenceError(report)
        if on_failure == "sequential":
            report = replace(
                report,
                converged=True,
                exact_prefix=problem.length,
                method="sequential",
                fell_back=True,
            )
            return problem.run(), report
        warnings.warn(f"no convergence: {report}", ConvergenceWarning, stacklevel=4)
    return solution.states.to(problem.z0.dtype), report


def chosen_loop(problem: Problem, explanation: str) -> Report:
    """The report of the loop where nothing else was tried."""
    return Report(
        True,
        "sequential",
        exact_prefix=problem.length,
        method="sequential",
        fell_back=True,
        explanation=explanation,
    )


def reported(solution: Solution, explanation: str) -> Report:
    """The report of Newton's solution, before what follows a failure."""
    return Report(
        solution.converged,
        solution.reason,
        solution.iterations,
        solution.residuals,
        solution.step_norms,
        solution.exact_prefix,
        tuple(solution.sample_iterations.flatten().tolist()),
        explanation=explanation,
    )


def first_guess(problem: Problem, guess: Any) -> Tensor:
    """The trajectory ``(L, *B, d)`` that the iteration starts from."""
    shape = (problem.length, *problem.z0.shape)
    if callable(guess):
        given = problem.chain.on_leaves(guess)
        guess = given(problem.z0, problem.inputs, problem.shared)
    if isinstance(guess, str):
        if guess == "step0":
            return problem.at_once(problem.z0.new_zeros(shape))
        if guess == "zeros":
            return problem.z0.new_zeros(shape)
        if guess == "hold":
            return problem.z0.expand(shape)
        raise ValueError(f'guess must be "step0", "zeros", "hold" or states, got {guess!r}')
    leaves = pytree.tree_leaves(guess)
    flat = torch.cat(leaves, dim=-1) if all(isinstance(t, Tensor) for t in leaves) else None
    if flat is None or flat.shape != shape:
        got = type(guess).__name__ if flat is None else tuple(flat.shape)
        raise ValueError(f"guess must hold a trajectory {shape}, got {got}")
    return flat.to(problem.z0)


def check_step(problem: Problem) -> None:
    """Raises ``StepError`` where the first step is random, mixes samples or can't be batched."""
    if problem.length == 0:
        return
    one = problem.window(0, 1, problem.z0)
    once = one.run()[0]
    if not torch.equal(once, one.run()[0]):
        raise StepError("two calls of step on the same state differ: draw its noise beforehand")
    held = problem.z0.expand(problem.length, *problem.z0.shape)
    if not torch.allclose(problem.at_once(held)[0], once, rtol=1e-3, atol=1e-5):
        raise StepError("step gives other values with a leading time axis than for one state")
    if problem.z0.ndim > 1 and problem.z0.shape[:-1].numel() > 1:
        moved = problem.z0.clone()
        moved.view(-1, moved.shape[-1])[0] += 1
        after = problem.window(0, 1, moved).run()[0]
        rows = (after, once)
        apart = [row.reshape(-1, row.shape[-1])[1:] for row in rows]
        if not torch.allclose(*apart, rtol=1e-4, atol=1e-6):
            raise StepError("step mixes the samples of a batch: give it one sample at a time")

"""A chain with its tensors: what the parallel forward solves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from deeppcr.adjoint import StepJacobian, jacobians, pullback, run_loop
from deeppcr.blocks import ScaledRows
from deeppcr.chain import Chain, Leaves, make_chain

HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Problem:
    """``z_l = step(z_{l-1}, x_l, params)`` from ``z_0`` on, with all tensors at hand.

    Attributes:
        chain: the step and the forms of its arguments.
        z0: first state, ``(*B, d)``.
        inputs: tensors with the steps on axis 0.
        shared: tensors that all steps share.
        jacobian: the step's derivative in closed form, or None.
        layers: what the loop calls in place of the step with its parameters, or None.
    """

    chain: Chain
    z0: Tensor
    inputs: Leaves
    shared: Leaves
    jacobian: StepJacobian | None = None
    layers: Sequence[Callable[[Tensor], Tensor]] | None = None

    @property
    def length(self) -> int:
        """The number of steps, L."""
        return self.chain.length

    @property
    def requires_grad(self) -> bool:
        """Whether a tensor of the problem requires a gradient."""
        leaves = (self.z0, *self.inputs, *self.shared)
        return any(leaf.requires_grad for leaf in leaves)

    def run(self) -> Tensor:
        """The states ``(L, *B, d)`` by the plain loop."""
        if not self.layers:
            return run_loop(self.chain, self.z0, self.inputs, self.shared)
        z = self.z0
        states: list[Tensor] = []
        for layer in self.layers:
            z = layer(z)
            states.append(z)
        return torch.stack(states)

    def first(self) -> Tensor:
        """The state after the first step alone, ``(*B, d)``."""
        return self.chain.step(self.z0, tuple(leaf[0] for leaf in self.inputs), self.shared)

    def previous(self, states: Tensor) -> Tensor:
        """The states that the steps start from: ``z_0`` to ``z_{L-1}``, ``(L, *B, d)``."""
        return torch.cat([self.z0.unsqueeze(0), states[:-1]])

    def at_once(self, z_prev: Tensor) -> Tensor:
        """All steps in one call, each from its row of ``z_prev`` ``(L, *B, d)``."""
        return self.chain.all(z_prev, self.inputs, self.shared)

    def blocks(self, z_prev: Tensor, z: Tensor) -> Tensor | ScaledRows:
        """The blocks ``J_l = d step / d z_{l-1}`` of all steps, exact.

        From the closed form that was given, or the step's own ``linearize``; else by d directions
        of automatic differentiation, each for all steps and samples at once: samples do not
        depend on one another.

        Args:
            z_prev: where each step starts, ``(L, *B, d)``.
            z: where each step ends, ``step(z_prev)``, ``(L, *B, d)``.

        Returns:
            ``(L, *B, d, d)``, row i the derivative of output i; ``(L, *B, d)`` or ``(L, *B, 1)``,
            the diagonals, where a closed form says that the rest is zero; or scaled rows.

        Raises:
            StepError: where the step cannot be differentiated or batched; it names the remedy.
            ValueError: where a closed form gives another shape.
        """
        if self.jacobian is None:
            known = self.chain.linearize(z_prev, z, self.inputs, self.shared)
            if known is not None:
                return self.chain.hold(known[0], self.inputs)
        blocks = jacobians(self.chain, z_prev, self.inputs, self.shared, self.jacobian)
        width = z.shape[-1]
        if blocks.shape not in [(*z.shape, width), z.shape, (*z.shape[:-1], 1)]:
            want, got = f"(*B, {width}, {width}) or (*B, {width})", tuple(blocks.shape[1:])
            raise ValueError(f"jacobian must give {want}, got {got}")
        return blocks

    def window(self, start: int, stop: int, z0: Tensor) -> Problem:
        """The steps ``start + 1`` to ``stop``, begun at ``z0``."""
        chain = replace(self.chain, length=stop - start)
        inputs = tuple(leaf[start:stop] for leaf in self.inputs)
        layers = None if self.layers is None else self.layers[start:stop]
        return replace(self, chain=chain, z0=z0, inputs=inputs, layers=layers)

    def widened(self) -> Problem:
        """The problem with half-precision numbers in float32, others as they are."""
        if self.z0.dtype not in HALF:
            return self
        inputs, shared = (tuple(map(wide, leaves)) for leaves in (self.inputs, self.shared))
        return replace(self, z0=self.z0.float(), inputs=inputs, shared=shared, layers=None)


def wide(t: Tensor) -> Tensor:
    """A half-precision tensor in float32, another as it is."""
    return t.float() if t.dtype in HALF else t


def make_problem(
    step: Any, *args: Any, jacobian: StepJacobian | None = None, **options: Any
) -> Problem:
    """The problem of a step function; arguments as of ``deeppcr.chain.make_chain``."""
    chain, z0, inputs, shared = make_chain(step, *args, **options)
    return Problem(chain, z0, inputs, shared, jacobian, getattr(step, "layers", None))


def attach(problem: Problem, states: Tensor) -> Tensor:
    """The states with their gradient: one linear solve, exact for these states."""
    if not problem.requires_grad:
        return states
    wider = problem.widened()
    leaves = (wider.z0, *wider.inputs, *wider.shared)
    solved = _Solved.apply(wider, states.to(wider.z0.dtype), *leaves)
    return solved.to(states.dtype)


class _Solved(torch.autograd.Function):
    """States that are known already, with the adjoint of the chain as their backward."""

    @staticmethod
    def forward(  # pyrefly: ignore
        problem: Problem, states: Tensor, *leaves: Tensor
    ) -> Tensor:
        return states.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.problem, _, *leaves = inputs
        ctx.save_for_backward(output, *leaves)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:  # pyrefly: ignore
        states, z0, *leaves = ctx.saved_tensors
        problem, count = ctx.problem, len(ctx.problem.inputs)
        inputs, shared = tuple(leaves[:count]), tuple(leaves[count:])
        first, by_step, common = pullback(
            problem.chain, z0, states, inputs, shared, gradient, jacobian=problem.jacobian
        )
        return None, None, first, *by_step, *common

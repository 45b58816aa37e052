"""A chain with its tensors: what the parallel forward solves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from deeppcr.adjoint import pullback
from deeppcr.chain import Chain, Leaves, make_chain

Blocks: TypeAlias = Callable[[Tensor, Any, Any, Tensor], Tensor]
HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Problem:
    """``z_l = step(z_{l-1}, x_l, params)`` from ``z_0`` on, with all tensors at hand.

    Attributes:
        chain: the step and the forms of its arguments.
        z0: first state, ``(*B, d)``.
        inputs: tensors with the steps on axis 0.
        shared: tensors that all steps share.
        jacobian: exact blocks of all steps at once, ``(z_prev, xs, params, z)``; None for
            automatic differentiation.
        layers: what the loop calls in place of the step with its parameters, or None.
    """

    chain: Chain
    z0: Tensor
    inputs: Leaves
    shared: Leaves
    jacobian: Blocks | None = None
    layers: Sequence[Callable[[Tensor], Tensor]] | None = None

    @property
    def length(self) -> int:
        """The number of steps, L."""
        return self.chain.length

    def run(self) -> Tensor:
        """The states ``(L, *B, d)`` by the plain loop."""
        if not self.layers:
            return self.chain.run(self.z0, self.inputs, self.shared)
        z, states = self.z0, []
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


def make_problem(step: Any, *args: Any, jacobian: Blocks | None = None, **options: Any) -> Problem:
    """The problem of a step function; arguments as of ``deeppcr.chain.make_chain``.

    A method ``step.jacobian`` gives the blocks where ``jacobian`` is None.
    """
    chain, z0, inputs, shared = make_chain(step, *args, **options)
    blocks = getattr(step, "jacobian", None) if jacobian is None else jacobian
    return Problem(chain, z0, inputs, shared, blocks, getattr(step, "layers", None))


def analytic_blocks(
    problem: Problem, z_prev: Tensor, inputs: Leaves, shared: Leaves, z: Tensor
) -> Tensor:
    """The blocks by the problem's own Jacobian: ``(L, *B, d, d)`` or ``(L, *B, d)``.

    Raises:
        ValueError: where it gives another shape.
    """
    if problem.jacobian is None:
        raise ValueError("the problem has no Jacobian of its own")
    xs, params, runs = problem.chain.trees(inputs, shared)
    blocks = problem.jacobian(z_prev, xs, params, z)
    dense = blocks.ndim == z.ndim + 1
    try:
        blocks = blocks.expand((*z.shape, z.shape[-1]) if dense else z.shape)
    except RuntimeError:
        want = f"{(*z.shape, z.shape[-1])} or {tuple(z.shape)}"
        raise ValueError(f"jacobian must give {want}, got {tuple(blocks.shape)}") from None
    if runs is None:
        return blocks
    ones = torch.ones_like(z)  # a sample that has ended keeps its state
    keep = torch.diag_embed(ones) if dense else ones
    return torch.where(runs[(...,) + (None,) * (1 + dense)], blocks, keep)


def attach(problem: Problem, states: Tensor) -> Tensor:
    """The states with their gradient: one linear solve, exact for these states."""
    wider = problem.widened()
    leaves = (wider.z0, *wider.inputs, *wider.shared)
    if not any(leaf.requires_grad for leaf in leaves):
        return states
    solved = _Solved.apply(wider, states.to(wider.z0.dtype), *leaves)
    return solved.to(states.dtype)


class _Solved(torch.autograd.Function):
    """States that are known already, with the adjoint of the chain as their backward."""

    @staticmethod
    def forward(problem: Problem, states: Tensor, *leaves: Tensor) -> Tensor:
        return states.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.problem, _, *leaves = inputs
        ctx.save_for_backward(output, *leaves)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        states, z0, *leaves = ctx.saved_tensors
        problem, count = ctx.problem, len(ctx.problem.inputs)

        def blocks(z_prev: Tensor, inputs: Leaves, shared: Leaves) -> Tensor:
            return analytic_blocks(problem, z_prev, inputs, shared, states)

        first, by_step, common = pullback(
            problem.chain,
            z0,
            states,
            tuple(leaves[:count]),
            tuple(leaves[count:]),
            gradient,
            jacobian=None if problem.jacobian is None else blocks,
        )
        return None, None, first, *by_step, *common

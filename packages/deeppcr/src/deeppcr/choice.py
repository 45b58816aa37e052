"""The automatic choice between the loop and Newton, from what one step costs.

The step is counted, not timed: the same input always gives the same choice, and the same bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from deeppcr import kernel
from deeppcr.cost import linear_method
from deeppcr.problem import Problem

OP = 1.4e-6  # s, one torch operation from Python, without its arithmetic
FLOP = 5.0e-11  # s, one multiply-add of a small matrix product on one core
BATCHED = 6.0e-10  # s, one multiply-add of the same products for all steps at once
ELEMENT = 1.0e-9  # s, one number written by an elementwise operation
VMAP = 60.0e-6  # s, entering torch.func.vmap once
KERNEL = 6.0e-10  # s, one multiply-add of the kernel's substitution
ROW = 1.0e-8  # s, one row of it
ROW_WORK = 8  # multiply-adds that the rest of a row costs in torch's sweeps
ITERATIONS = 6  # of a contracting chain: 4 or 5 to 1e-4, and one for the check
MARGIN = 0.7  # Newton must promise this share of the loop's time
BUDGET = 0.3  # share of the loop's time that is spent before the residual must fall tenfold
SHORT = 2.0e-3  # s, a loop that is not worth counting
MEMORY = 2**30  # bytes of blocks beyond which the loop runs


@dataclass(frozen=True)
class Work:
    """What one call of a step did: operations, multiply-adds, numbers written."""

    operations: int
    multiply_adds: int
    elements: int


@dataclass(frozen=True)
class Choice:
    """The method, what it and the loop should cost, and the iterations that are free."""

    method: str
    loop_seconds: float
    newton_seconds: float
    budget: int

    def __str__(self) -> str:
        """The two costs that were compared."""
        loop, newton = 1e3 * self.loop_seconds, 1e3 * self.newton_seconds
        if newton == 0:
            return f"loop about {loop:.2g} ms: too short for anything else"
        return f"loop about {loop:.2g} ms, Newton about {newton:.2g} ms"


def choose(problem: Problem, structure: str) -> Choice:
    """The cheaper way to the states of ``problem`` by the constants of this module.

    Args:
        problem: the recurrence; its first step is run once, under counting, where the loop is long.
        structure: the Jacobian's structure that Newton would use.
    """
    size = problem.z0.numel()  # B d
    least = problem.length * (2 * OP + size * ELEMENT)
    if least < SHORT or not fits(problem, structure):
        return Choice("sequential", least, 0.0, 0)
    work = count_step(problem)
    each = OP * work.operations + FLOP * work.multiply_adds + ELEMENT * work.elements
    loop = problem.length * each
    iteration = newton_iteration(problem, work, structure)
    budget = max(1, int(BUDGET * loop / iteration))
    total = ITERATIONS * iteration
    method = "newton" if total <= MARGIN * loop else "sequential"
    return Choice(method, loop, total, budget)


def newton_iteration(problem: Problem, work: Work, structure: str) -> float:
    """Predicted seconds of one iteration: all steps at once, their Jacobians, one solve."""
    length, features = problem.length, problem.z0.shape[-1]
    dense = structure in ("auto", "dense")
    once = length * (BATCHED * work.multiply_adds + ELEMENT * work.elements)
    enter = 0.0 if problem.chain.vectorized else VMAP
    evaluate = enter + OP * work.operations + once
    entries = length * problem.z0.numel() * (features if dense else 1)
    if structure in ("identity", "zero"):
        jacobian = 0.0
    elif problem.jacobian or hasattr(problem.chain.user_step, "linearize"):
        jacobian = 2 * OP * work.operations + ELEMENT * entries
    else:
        jacobian = 3 * evaluate + features * once * 2
    solve = solve_seconds(problem, dense=dense)
    return evaluate + jacobian + solve + 12 * OP + 6 * ELEMENT * length * problem.z0.numel()


def solve_seconds(problem: Problem, *, dense: bool) -> float:
    """Predicted seconds of the linear solve of one iteration."""
    length, width = problem.length, problem.z0.shape[-1]
    batch = problem.z0.numel() // width
    b = problem.z0.expand(length, *problem.z0.shape)
    if kernel.takes(b):
        return 8 * OP + length * batch * (ROW + width * (width if dense else 1) * KERNEL)
    method = linear_method(b.unsqueeze(-1) if dense else b, b)
    if method == "serial":
        return length * (6 * OP + batch * width * (width if dense else 1) * FLOP)
    sweeps, products = math.log2(length), width**3 if dense else width
    passes = sweeps if method == "pcr" else 2
    return 12 * OP * sweeps + BATCHED * length * batch * passes * (products + 2 * ROW_WORK)


def fits(problem: Problem, structure: str) -> bool:
    """Whether the blocks of all steps stay within ``MEMORY`` bytes."""
    features = problem.z0.shape[-1] if structure in ("auto", "dense") else 1
    entries = problem.length * problem.z0.numel() * features
    return entries * problem.z0.element_size() <= MEMORY


class Counting(TorchDispatchMode):
    """Counts the operations under it, and the arithmetic of matrix products and convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.multiply_adds = self.elements = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Runs the operation and adds it up."""
        out = func(*args, **(kwargs or {}))
        self.operations += 1
        for result in pytree.tree_leaves(out):
            if isinstance(result, Tensor):
                self.elements += result.numel()
                self.multiply_adds += result.numel() * inner_size(func.__name__, args)
        return out


def inner_size(name: str, args: tuple[Any, ...]) -> int:
    """Multiply-adds for each number that the operation writes; 0 for elementwise ones."""
    kind = name.split(".")[0]
    if kind in ("mm", "bmm", "mv", "dot"):
        return args[0].shape[-1]
    if kind in ("addmm", "baddbmm", "addmv"):
        return args[1].shape[-1]
    return args[1][0].numel() if kind == "convolution" else 0


def count_step(problem: Problem) -> Work:
    """What the first step of ``problem`` does; it is run once."""
    with torch.no_grad(), Counting() as count:
        problem.first()
    return Work(count.operations, count.multiply_adds, count.elements)

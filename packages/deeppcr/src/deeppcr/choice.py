"""The automatic choice between the loop and Newton, from what one step costs.

The step is counted, not timed: the same input always gives the same choice, and the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from deeppcr import kernel
from deeppcr.blocks import ScaledRows
from deeppcr.cost import Decision, note, predictions
from deeppcr.problem import Problem

OP = 1.1e-6  # s, one torch operation from Python, without its arithmetic
ELEMENT = 1.3e-9  # s, one number that an elementwise operation writes
FLOP = 5.0e-11  # s, one multiply-add of a matrix product
BATCHED = 5.0e-10  # s, the same where every step has a matrix of its own
VMAP = 9.0e-5  # s, entering torch.func.vmap
DERIVE = 8.0e-4  # s, entering automatic differentiation for the blocks
ENTRY = 5.0e-9  # s, one number of a block by automatic differentiation
KNOWN = 2.0e-9  # s, one number of a block in closed form
ROWS = 3.0e-10  # s, the same where it is a matrix with scaled rows, and is not written
NODE = 4.5e-6  # s, one operation's way back through autograd
PULL = (1.4e-3, 7.0e-9)  # s, the backward by one solve: entering it, one number of a block
PULL_KNOWN = (3.0e-4, 1.2e-9)  # s, the same with derivatives in closed form
ITERATIONS = 6  # of a contracting chain: 4 or 5 to 1e-4, and one for the check
MARGIN = 0.5  # Newton must promise this share of the loop's time
BUDGET = 4  # iterations, at most a third of the loop's time, before each must pay
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
    """The method, and what it and the loop should cost; 0 where that was not asked."""

    method: str
    loop_seconds: float = 0.0
    newton_seconds: float = 0.0

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
        return Choice("sequential", least)
    work = count_step(problem)
    each = OP * work.operations + FLOP * work.multiply_adds + ELEMENT * work.elements
    loop = problem.length * each
    total = ITERATIONS * newton_iteration(problem, work, structure)
    method = "newton" if total <= MARGIN * loop else "sequential"
    note(Decision(f"forward, L={problem.length}", method, {"sequential": loop, "newton": total}))
    return Choice(method, loop, total)


def choose_backward(problem: Problem) -> str:
    """``"implicit"``, or ``"autograd"`` where the blocks are too large or the walk is cheaper."""
    if not fits(problem, "dense"):
        return "autograd"
    work = count_step(problem)
    arithmetic = 2 * FLOP * work.multiply_adds + ELEMENT * work.elements
    walk = problem.length * (NODE * work.operations + arithmetic)
    enter, each = PULL_KNOWN if known(problem) else PULL
    entries = problem.length * problem.z0.numel() * problem.z0.shape[-1]
    solve = enter + each * entries + solve_seconds(problem, dense=True)
    predicted = {"implicit": solve, "autograd": walk}
    method = min(predicted, key=predicted.__getitem__)
    note(Decision(f"backward, L={problem.length}", method, predicted))
    return method


def known(problem: Problem) -> bool:
    """Whether the step's derivative is there in closed form."""
    return problem.jacobian is not None or hasattr(problem.chain.user_step, "linearize")


def newton_iteration(problem: Problem, work: Work, structure: str) -> float:
    """Predicted seconds of one iteration: all steps at once, their Jacobians, one solve."""
    length, width, numbers = problem.length, problem.z0.shape[-1], problem.z0.numel()
    flop = BATCHED if problem.chain.per_layer else FLOP
    evaluate = OP * work.operations
    evaluate += length * (flop * work.multiply_adds + ELEMENT * work.elements)
    evaluate += 0.0 if problem.chain.vectorized else VMAP
    update = 12 * (OP + ELEMENT * length * numbers)
    if structure in ("identity", "zero"):
        return evaluate + update
    entries = length * numbers * width
    solve = solve_seconds(problem, dense=structure in ("auto", "dense"))
    derive = DERIVE + ENTRY * entries
    if known(problem):
        rows = problem.jacobian is None and scaled(problem)
        derive = 20 * OP + (ROWS if rows else KNOWN) * entries
    return evaluate + update + derive + solve


def scaled(problem: Problem) -> bool:
    """Whether the step's blocks are ``ScaledRows``, which the kernel takes as they are."""
    fused = kernel.takes(problem.z0) and problem.z0.shape[-1] <= kernel.WIDEST_SCALED
    return fused and getattr(problem.chain.user_step, "block_type", None) is ScaledRows


def solve_seconds(problem: Problem, *, dense: bool) -> float:
    """Predicted seconds of the linear solve of one iteration."""
    length, width = problem.length, problem.z0.shape[-1]
    batch, device = problem.z0.numel() // width, problem.z0.device.type
    costs = predictions(length, batch, width, dense=dense, device=device)
    with_kernel = costs.pop("kernel", None)
    if kernel.takes(problem.z0) and with_kernel is not None:
        return with_kernel
    return min(costs.values())


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

"""Races of this package against the plain loop, and the constants of the cost model.

Contenders take turns within one process and are checked first to compute the same thing. The loop
is a fair one: its weights are unbound before it starts, as indexing a stacked tensor in every step
costs autograd time that grows with the square of the depth.
"""

import itertools
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from deeppcr import algorithms, cost, kernel
from deeppcr.adjoint import sequential_forward
from deeppcr.scan import affine_scan
from deeppcr.steps import DenseStep

GRIDS = {
    "small": [(256, 4), (256, 8), (1024, 4), (1024, 8)],
    "full": [(n, d) for n in (64, 256, 1024, 4096) for d in (1, 2, 4, 8, 16, 32)],
}
LENGTHS = (16, 64, 256, 1024, 4096)  # of the chains that calibrate the costs
Run = Callable[[], Any]


@dataclass(frozen=True)
class Race:
    """One race: median seconds by contender; the first one is what the others are compared to."""

    title: str
    length: int
    width: int
    seconds: Mapping[str, float]

    def speedup(self, name: str) -> float:
        """How many times as fast as the first contender."""
        return self.seconds[next(iter(self.seconds))] / self.seconds[name]

    def __str__(self) -> str:
        """A line for a person."""
        first, *others = self.seconds
        each = ", ".join(f"{name} x{self.speedup(name):.1f}" for name in others)
        took = f"{first} {1e3 * self.seconds[first]:.2f} ms"
        return f"{self.title}, L={self.length}, d={self.width}: {took}; {each}"


def race(runs: Mapping[str, Run], *, rounds: int = 7, device: str = "cpu") -> dict[str, float]:
    """Median seconds of every run. They take turns of at least 5 ms each; the first warms up."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    calls = dict.fromkeys(runs, 1)
    for turn in range(rounds + 2):
        for name, run in runs.items():
            _wait(device)
            start = time.perf_counter()
            for _ in range(calls[name]):
                run()
            _wait(device)
            seconds = (time.perf_counter() - start) / calls[name]
            if turn > 1:
                taken[name].append(seconds)
            else:
                calls[name] = max(1, math.ceil(5e-3 / seconds))
    return {name: statistics.median(times) for name, times in taken.items()}


def tanh_stack(length: int, width: int, device: str = "cpu") -> tuple[Tensor, Tensor, Tensor]:
    """First state, weights and biases of a deep tanh network that neither dies nor explodes."""
    g = torch.Generator().manual_seed(0)
    z0 = torch.randn(width, generator=g)
    weights = 0.9 * torch.linalg.qr(torch.randn(length, width, width, generator=g))[0]
    biases = 0.1 * torch.randn(length, width, generator=g)
    return tuple(x.to(device).requires_grad_() for x in (z0, weights, biases))  # type: ignore


def unbound_loop(z: Tensor, weights: Tensor, biases: Tensor) -> Tensor:
    """The states of the stack by a loop that autograd follows, with few nodes."""
    states = []
    for weight, bias in zip(weights.unbind(0), biases.unbind(0), strict=True):
        z = torch.tanh(torch.addmv(bias, weight, z))
        states.append(z)
    return torch.stack(states)


def backward_race(length: int, width: int, *, rounds: int = 7, device: str = "cpu") -> Race:
    """The backward of a tanh stack by autograd, and by one solve with and without a closed form."""
    leaves = tanh_stack(length, width, device)
    z0, weights, biases = leaves
    cotangent = torch.randn(length, width, generator=torch.Generator().manual_seed(1)).to(device)

    def any_step(z: Tensor, x: Any, params: tuple[Tensor, Tensor]) -> Tensor:
        return torch.tanh(params[0] @ z + params[1])

    stacks = {
        "autograd": unbound_loop(*leaves),
        "parallel": sequential_forward(
            DenseStep(), z0, None, (weights, biases), per_layer_params=True
        ),
        "parallel, any step": sequential_forward(
            any_step, z0, None, (weights, biases), per_layer_params=True
        ),
    }

    def backward(states: Tensor) -> Run:
        return lambda: torch.autograd.grad(states, leaves, cotangent, retain_graph=True)

    runs = {name: backward(states) for name, states in stacks.items()}
    check_alike({name: run() for name, run in runs.items()})
    return Race("backward", length, width, race(runs, rounds=rounds, device=device))


def solve_race(length: int, width: int, *, rounds: int = 7, device: str = "cpu") -> Race:
    """One dense linear solve by a loop, by ``auto``, and by the algorithms in torch."""
    A, b = chain(length, width, device=device)
    runs: dict[str, Run] = {
        "loop": lambda: algorithms.serial(A[1:], b),
        "auto": lambda: affine_scan(A, b),
    }
    for method in ("pcr", "oddeven", "chunked"):
        runs[method] = lambda method=method: affine_scan(A, b, method=method)
    check_alike({name: (run(),) for name, run in runs.items()})
    return Race("solve", length, width, race(runs, rounds=rounds, device=device))


def chain(
    length: int, width: int, batch: int = 1, *, dense: bool = True, device: str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Contracting blocks and right-hand sides, ``(L, B, d, d)`` or ``(L, B, d)``; no B if 1."""
    g = torch.Generator().manual_seed(0)
    between = (batch,) if batch > 1 else ()
    A = torch.rand(length, *between, width, *((width,) if dense else ()), generator=g)
    A = 0.9 * A / width if dense else 0.9 * A
    return A.to(device), torch.randn(length, *between, width, generator=g).to(device)


def calibrate(device: str = "cpu", *, seconds: float = 60.0) -> dict[str, tuple[float, ...]]:
    """The constants of `deeppcr.cost` for this machine, fitted to short runs.

    Args:
        device: a device of torch.
        seconds: about how long it may take.

    Returns:
        For every method and structure the seconds of a round, a number, a multiply-add.
    """
    cells = [
        (n, b, d, dense)
        for n in LENGTHS
        for b in (1, 16, 256)
        for d in (1, 4, 16, 64)
        for dense in (True, False)
        if n * b * d * (d if dense else 1) <= 4_000_000
    ]
    measured: dict[str, list[tuple[tuple[float, ...], float]]] = {}
    until = time.perf_counter() + seconds
    for number, (n, b, d, dense) in enumerate(cells):
        A, right = chain(n, d, b, dense=dense, device=device)
        share = (until - time.perf_counter()) / (len(cells) - number) / 4
        for method in cost.METHODS:
            products = cost.work(method, n, b, d, dense=dense)[2]
            if (method == "kernel" and not kernel.takes(right)) or products > 3e8:
                continue
            took = _quickest(_solver(method, A, right), share, device)
            amounts = cost.work(method, n, b, d, dense=dense)
            name = f"{method} {'dense' if dense else 'diagonal'}"
            measured.setdefault(name, []).append((amounts, took))
    return {name: _fit(points) for name, points in measured.items()}


def _solver(method: str, A: Tensor, b: Tensor) -> Run:
    if method == "kernel":
        return lambda: kernel.solve(A, b, None, reverse=False, adjoint=False)
    return lambda: algorithms.ALGORITHMS[method](A[1:], b)


def _quickest(run: Run, seconds: float, device: str) -> float:
    """The shortest of some runs, at least two."""
    best, until = float("inf"), time.perf_counter() + seconds
    run()
    while time.perf_counter() < until or best == float("inf"):
        _wait(device)
        start = time.perf_counter()
        run()
        _wait(device)
        best = min(best, time.perf_counter() - start)
    return best


def _fit(points: list[tuple[tuple[float, ...], float]]) -> tuple[float, ...]:
    """Rates, none negative, with the least squares of relative errors: the best subset's."""
    rows = torch.tensor([[a / took for a in amounts] for amounts, took in points]).double()
    count, best, error = rows.shape[1], torch.zeros(rows.shape[1]).double(), math.inf
    for chosen in itertools.product((False, True), repeat=count):
        used = [i for i in range(count) if chosen[i]]
        if not used:
            continue
        scale = rows[:, used].norm(dim=0).clamp_min(1e-300)
        found = torch.linalg.lstsq(rows[:, used] / scale, torch.ones(len(rows), 1).double())
        rates = found.solution.squeeze(1) / scale
        left = float((rows[:, used] @ rates - 1).square().sum())
        if bool((rates >= 0).all()) and left < error - 1e-12:
            best, error = torch.zeros(count).double().index_put((torch.tensor(used),), rates), left
    return tuple(best.tolist())


def _wait(device: str) -> None:
    """Until the device has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def check_alike(results: Mapping[str, Any]) -> None:
    """Raise where contenders differ by more than rounding.

    Raises:
        RuntimeError: naming the contender.
    """
    first, *others = results.items()
    for name, tensors in others:
        for mine, theirs in zip(tensors, first[1], strict=True):
            error = float((mine - theirs).detach().norm() / theirs.detach().norm())
            if not error < 1e-3:
                raise RuntimeError(f"{name} and {first[0]} differ by {error:.1e}: no race")

"""What is measured of long chains solved together: gradients, times, sweeps, sampled images."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import deeppcr
import numpy as np
import torch
from deeppcr import DenseStep, Newton, bench, parallel_forward, pcr_steps, sequential_forward
from deeppcr.diffusion import parallel_sample
from torch import Tensor

from tenfold.data.diffusion import SIDE, conditioned, load, pictures, sample, scheduler


@dataclass(frozen=True)
class Race:
    """One depth and width: how far the gradients differ, and what the backward takes.

    Attributes:
        depth: layers.
        width: of the state.
        error: of the gradients, relative to their length, in single precision.
        exact: the same in double precision.
        loop: median seconds of autograd's backward through the loop.
        parallel: of the solve.
    """

    depth: int
    width: int
    error: float
    exact: float
    loop: float
    parallel: float

    @property
    def gain(self) -> float:
        """How many times as fast the solve is."""
        return self.loop / self.parallel


@dataclass(frozen=True)
class Sampled:
    """One sampler: its images by the loop and together, and what the latter took.

    Attributes:
        name: of the sampler.
        rounds: calls of the model that wait for one another.
        rows: samples that the model was evaluated on.
        loop_rows: the same of the loop.
        error: largest difference of a pixel, in units of [-1, 1].
        residuals: of every round.
        loop: images ``(B, 16, 16)`` uint8.
        parallel: the same, sampled together.
    """

    name: str
    rounds: int
    rows: int
    loop_rows: int
    error: float
    residuals: tuple[float, ...]
    loop: np.ndarray
    parallel: np.ndarray


def race(depth: int, width: int, *, device: str = "cpu", rounds: int = 5) -> Race:
    """Compare the gradients of one tanh network in both precisions, and race their backward."""
    runs: dict[str, bench.Run] = {}
    errors: dict[str, float] = {}
    for kind in (torch.float64, torch.float32):  # the last is raced
        made = bench.tanh_stack(depth, width)
        z0, weights, biases = leaves = [x.detach().to(device, kind).requires_grad_() for x in made]
        g = torch.Generator().manual_seed(1)
        cotangent = torch.randn(depth, width, generator=g).to(z0)
        stacks = {
            "loop": bench.unbound_loop(*leaves),
            "parallel": sequential_forward(
                DenseStep(), z0, None, (weights, biases), per_layer_params=True
            ),
        }
        for name, states in stacks.items():
            runs[name] = _gradient(states, leaves, cotangent)
        errors[str(kind)] = difference(runs["parallel"](), runs["loop"]())
    with one_thread():
        taken = bench.race(runs, rounds=rounds, device=device)
    error, exact = errors["torch.float32"], errors["torch.float64"]
    return Race(depth, width, error, exact, taken["loop"], taken["parallel"])


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread of torch, so that a race says the same whatever else the other cores do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _gradient(states: Tensor, leaves: Sequence[Tensor], cotangent: Tensor) -> bench.Run:
    return lambda: torch.autograd.grad(states, leaves, cotangent, retain_graph=True)


def difference(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """The largest distance of a tensor from the wanted one, relative to the latter's length."""
    pairs = zip(found, wanted, strict=True)
    return max(float((one - other).norm() / other.norm()) for one, other in pairs)


def forward_race(depth: int, width: int, *, device: str = "cpu") -> dict[str, float]:
    """A contracting tanh recurrence by its loop and by Newton's iteration, without gradients."""
    g = torch.Generator().manual_seed(0)
    weight = (0.9 * torch.linalg.qr(torch.randn(width, width, generator=g))[0]).to(device)
    xs = (0.1 * torch.randn(depth, width, generator=g)).to(device)
    z0 = torch.zeros(width, device=device)

    def loop() -> Tensor:
        z = z0
        states: list[Tensor] = []
        for x in xs.unbind(0):
            z = torch.tanh(torch.addmv(x, weight, z))
            states.append(z)
        return torch.stack(states)

    solver = Newton(atol=1e-4, rtol=1e-4)

    def together() -> Any:
        return parallel_forward(DenseStep(), z0, xs, weight, method="newton", solver=solver)

    with torch.no_grad(), one_thread():
        found = together()
        error = float((found.states - loop()).abs().max())
        taken = bench.race({"loop": loop, "newton": together}, rounds=3, device=device)
    return {"error": error, "iterations": found.report.iterations, **taken}


def cell_race(name: str, steps: int, width: int, *, device: str = "cpu") -> dict[str, float]:
    """The backward of torch's recurrent module and of ours, with the same weights."""
    g = torch.Generator().manual_seed(0)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        peer = getattr(torch.nn, name)(width, width).to(device)
    ours = getattr(deeppcr, name).from_torch(peer)
    x, cotangent = (torch.randn(steps, 1, width, generator=g) for _ in range(2))
    runs = {}
    for who, module in (("torch", peer), ("deeppcr", ours)):
        states = module(x.to(device))[0]
        runs[who] = _gradient(states, list(module.parameters()), cotangent.to(device))
    error = difference(runs["deeppcr"](), runs["torch"]())
    with one_thread():
        return {"error": error, **bench.race(runs, rounds=3, device=device)}


def sweeps(lengths: Sequence[int]) -> dict[int, int]:
    """How many sweeps cyclic reduction takes, by the length of the chain."""
    g = torch.Generator().manual_seed(0)
    counts = {}
    for length in lengths:
        J, r = (torch.randn(length, *shape, generator=g) / 2 for shape in ((2, 2), (2,)))
        counts[length] = len(list(pcr_steps(J, r)))
    return counts


def sampler(
    name: str, steps: int, classes: Sequence[int], *, tol: float, device: str = "cpu"
) -> Sampled:
    """The same noise by the loop and with all steps together."""
    model: Any = load()
    denoise = conditioned(model.to(device), torch.tensor(classes))
    shape = (len(classes), 1, SIDE, SIDE)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(device)
    draws = [torch.Generator().manual_seed(2) for _ in range(2)]  # of DDPM, the same for both
    together = scheduler(name, steps)
    looped = sample(denoise, scheduler(name, steps), noise, generator=draws[0])
    found = parallel_sample(
        denoise, together, noise * together.init_noise_sigma, tol=tol, generator=draws[1]
    )
    return Sampled(
        name,
        found.rounds,
        found.model_rows,
        steps * len(classes),
        float((found.sample - looped).abs().max()),
        tuple(found.report.residuals),
        pictures(looped),
        pictures(found.sample),
    )

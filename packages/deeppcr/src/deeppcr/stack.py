"""``DeepPCR``: a ``Sequential`` whose runs of like blocks are solved together."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from deeppcr.blocks import ScaledRows
from deeppcr.newton import Newton
from deeppcr.recurrence import parallel_forward
from deeppcr.report import Report
from deeppcr.steps import DenseStep, Pull

LONGEST_PERIOD = 8  # modules of one block in a flat Sequential
SHORTEST_RUN = 4  # blocks; below, a run is not worth stacking parameters for
POINTWISE: dict[type[nn.Module], str] = {
    nn.Tanh: "tanh",
    nn.Sigmoid: "sigmoid",
    nn.ReLU: "relu",
    nn.Identity: "identity",
}


@dataclass(frozen=True)
class Run:
    """``count`` like blocks of ``period`` modules each, from module ``start`` on."""

    start: int
    period: int
    count: int

    @property
    def stop(self) -> int:
        """The module after the last."""
        return self.start + self.period * self.count


class BlockStep:
    """Like blocks as one step; the parameters of a block come in as a dict by name."""

    def __init__(self, blocks: Sequence[nn.Sequential], shape: torch.Size | None) -> None:
        self.block, self.shape = blocks[0], shape
        self.layers = [self.flat(block) for block in blocks]  # what the loop calls

    def flat(self, block: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """The block on flat states ``(B, d)`` where its own have the axes ``shape``."""
        if self.shape is None:
            return block
        return lambda z: block(z.unflatten(-1, self.shape)).flatten(1)

    def __call__(self, z: Tensor, x: None, params: dict[str, Tensor]) -> Tensor:
        """The output of the block with these parameters."""
        return self.flat(lambda z: functional_call(self.block, params, (z,)))(z)


class DenseBlockStep(BlockStep):
    """Blocks ``Linear`` then a pointwise function: their derivatives are known."""

    block_type = ScaledRows

    def __init__(self, blocks: Sequence[nn.Sequential], shape: torch.Size | None) -> None:
        super().__init__(blocks, shape)
        self.dense = DenseStep(POINTWISE[type(blocks[0][1])])

    def at_once(self, before: Tensor, xs: None, params: dict[str, Tensor]) -> Tensor:
        """The outputs of all blocks."""
        return self.dense.at_once(before, None, self.weights(params))

    def weights(self, params: dict[str, Tensor]) -> Any:
        """Weight and bias as the dense step takes them."""
        bias = params.get("0.bias")
        return params["0.weight"] if bias is None else (params["0.weight"], bias)

    def linearize(
        self, before: Tensor, after: Tensor, xs: None, params: dict[str, Tensor]
    ) -> tuple[ScaledRows, Pull]:
        """What the dense step says, its gradients by the names of the parameters."""
        blocks, pull = self.dense.linearize(before, after, None, self.weights(params))

        def by_name(cotangent: Tensor) -> tuple[None, dict[str, Tensor]]:
            grads = pull(cotangent)[1]
            found = (grads,) if isinstance(grads, Tensor) else grads
            return None, dict(zip(params, found, strict=True))

        return blocks, by_name


class DeepPCR(nn.Sequential):
    """The same ``Sequential`` and ``state_dict`` keys, with long runs of blocks solved at once.

    A run is a stretch of at least ``SHORTEST_RUN`` blocks of the same modules, settings and shapes
    that keeps the shape of its input: ``Linear, Tanh, Linear, Tanh, ...`` or residual blocks.
    Modules with buffers (BatchNorm) or with noise (dropout) are never part of one. The last axis
    of the input is the state, the axes before it are the batch.

    Args:
        layers: the model; its modules are shared, not copied.
        method: as in ``parallel_forward``.
        solver: as in ``parallel_forward``.

    Attributes:
        runs: the stretches that are solved together.
        last_reports: one report a run, of the last forward.

    Raises:
        TypeError: if ``layers`` is no ``Sequential``.

    Example:
        >>> blocks = [m for _ in range(64) for m in (nn.Linear(4, 4), nn.Tanh())]
        >>> plain = nn.Sequential(nn.Linear(2, 4), *blocks, nn.Linear(4, 1))
        >>> model = DeepPCR(plain)
        >>> model.runs
        (Run(start=1, period=2, count=64),)
        >>> x = torch.randn(5, 2)
        >>> torch.allclose(model(x), plain(x), atol=1e-4)
        True
    """

    def __init__(
        self, layers: nn.Sequential, *, method: str = "auto", solver: Newton | None = None
    ) -> None:
        if not isinstance(layers, nn.Sequential):
            raise TypeError(f"layers must be a torch.nn.Sequential, got {type(layers).__name__}")
        super().__init__(OrderedDict(layers.named_children()))
        self.method, self.solver = method, solver
        self.runs = find_runs([signature(module) for module in layers])
        self.last_reports: tuple[Report, ...] = ()
        self.train(layers.training)

    @property
    def last_report(self) -> Report | None:
        """The report of the last run in the last forward, None if there was none."""
        return self.last_reports[-1] if self.last_reports else None

    def forward(self, input: Tensor) -> Tensor:
        """The model's output, ``(*B, d)`` in a run."""
        modules, at, z = list(self), 0, input
        reports: list[Report] = []
        for run in self.runs:
            for module in modules[at : run.start]:
                z = module(z)
            z, report = self.solve(modules, run, z)
            reports.append(report)
            at = run.stop
        for module in modules[at:]:
            z = module(z)
        self.last_reports = tuple(reports)
        return z

    def solve(self, modules: Sequence[nn.Module], run: Run, z: Tensor) -> tuple[Tensor, Report]:
        """The last state of a run, and the report."""
        starts = range(run.start, run.stop, run.period)
        blocks = [nn.Sequential(*modules[i : i + run.period]) for i in starts]
        named = [dict(block.named_parameters()) for block in blocks]
        params = {key: torch.stack([each[key] for each in named]) for key in named[0]}
        wide = z.ndim > 2 and not rowwise(blocks[0])  # such blocks mix more than the last axis
        step = block_step(blocks, z.shape[1:] if wide else None)
        result = parallel_forward(
            step,
            z.flatten(1) if wide else z,
            None,
            params,
            length=run.count,
            method=self.method,
            solver=self.solver,
            per_layer_params=True,
        )
        return result.final.reshape(z.shape), result.report


def block_step(blocks: Sequence[nn.Sequential], shape: torch.Size | None) -> BlockStep:
    """The blocks as a step, with its Jacobian where that is known."""
    first = blocks[0]
    dense = len(first) == 2 and type(first[0]) is nn.Linear and type(first[1]) in POINTWISE
    return DenseBlockStep(blocks, shape) if dense else BlockStep(blocks, shape)


def rowwise(block: nn.Module) -> bool:
    """Whether every part of the block is known to act on the last axis alone."""
    return all(type(part) in (nn.Sequential, nn.Linear, *POINTWISE) for part in block.modules())


def signature(module: nn.Module) -> Any:
    """What two modules must share to be steps of one run; None for one that cannot be part."""
    parts = list(module.modules())
    if any(isinstance(part, (nn.modules.dropout._DropoutNd, nn.RReLU)) for part in parts):
        return None
    if any(part._forward_hooks or part._forward_pre_hooks for part in parts):
        return None  # one block's hooks would run for all
    if next(module.buffers(), None) is not None:
        return None
    shapes = tuple((name, tuple(p.shape), p.dtype) for name, p in module.named_parameters())
    return tuple((type(part), settings(part)) for part in parts), shapes


def settings(module: nn.Module) -> tuple[Any, ...]:
    """The attributes of a module: plain values as they are, others by identity."""
    plain = (bool, int, float, str, tuple, type(None))
    held = {k: v for k, v in vars(module).items() if not k.startswith("_")}
    return tuple((k, v if isinstance(v, plain) else id(v)) for k, v in sorted(held.items()))


def find_runs(signatures: Sequence[Any]) -> tuple[Run, ...]:
    """Stretches of repeated blocks, from the left, each the longest that starts there."""
    runs: list[Run] = []
    at = 0
    while at < len(signatures):
        best = Run(at, 1, 1)
        for period in range(1, LONGEST_PERIOD + 1):
            count = repeats(signatures, at, period)
            if count >= SHORTEST_RUN and count * period > best.period * best.count:
                best = Run(at, period, count)
        if best.count >= SHORTEST_RUN:
            runs.append(best)
        at = best.stop
    return tuple(runs)


def repeats(signatures: Sequence[Any], start: int, period: int) -> int:
    """How often the ``period`` signatures from ``start`` on come one after the other."""
    block = list(signatures[start : start + period])
    if len(block) < period or None in block:
        return 0
    count = 1
    while list(signatures[start + count * period : start + (count + 1) * period]) == block:
        count += 1
    return count

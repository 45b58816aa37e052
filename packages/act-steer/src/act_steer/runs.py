"""Fit maps while a model runs: one pass of everything, in the order of execution."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from act_steer.aura import AurA
from act_steer.collect import pooled_part
from act_steer.errors import NoModuleMatched
from act_steer.hooks import replaced
from act_steer.lockstep import Lockstep
from act_steer.modules import StopForward, by_module, output_part
from act_steer.move import Move, Spatial
from act_steer.pooling import Pool, as_tokens, axis_of
from act_steer.quantile import QuantileTransport
from act_steer.sites import Site
from act_steer.transport import (
    GaussianTransport,
    LinearTransport,
    MeanTransport,
    Support,
    Transport,
)

Order = Literal["causal", "simultaneous"]
TargetPath = Literal["clean", "steered"]
Method = str | Callable[..., Transport] | type[Any]

METHODS: dict[str, type[Any]] = {
    kind.method: kind
    for kind in (LinearTransport, MeanTransport, GaussianTransport, QuantileTransport, AurA)
}


@dataclass(frozen=True, eq=False)
class Run:
    """Something that calls the model with source or with target inputs.

    Args:
        call: calls it. Runs of one fit must give the same outputs in the same order, and bring
            their own random generators.
        source: whether the inputs are of the source, else of the target.
        mask: ``(B, K)``, the tokens that count; None counts all.
        rows: what to call the inputs in errors.
    """

    call: Callable[[], object]
    source: bool
    mask: Tensor | None = None
    rows: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Recipe:
    """How a map is fitted and used while fitting.

    Args:
        method: ``"linear"``, ``"mean"``, ``"gaussian"``, ``"quantile"``, ``"aura"``; a class with
            a ``fit`` of this kind; or a function ``(A, B) -> Transport``.
        order: ``"causal"``, a map is fitted on what the maps before it leave; ``"simultaneous"``,
            all on the model as it is.
        target_path: whether target inputs run through the model as it is, ``"clean"``, or through
            the steered one as well, ``"steered"``.
        support: where maps act, as `AffineTransport.fit`; None is the method's own.
        pool: how a row becomes one number a neuron; None is the method's own.
        spatial: rule for outputs ``(B, C, H, W)``, as `apply`.
        options: more arguments for the ``fit`` of the method.
    """

    method: Method = "linear"
    order: Order = "causal"
    target_path: TargetPath = "clean"
    support: Support | None = None
    pool: Pool | None = None
    spatial: Spatial = "pooled"
    options: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        _one_of("order", self.order, ("causal", "simultaneous"))
        _one_of("target_path", self.target_path, ("clean", "steered"))
        if isinstance(self.method, str):
            _one_of("method", self.method, tuple(METHODS))

    @property
    def kind(self) -> Any:
        """The class of the method, or the function."""
        return METHODS[self.method] if isinstance(self.method, str) else self.method

    @property
    def pooling(self) -> Pool:
        """How to pool."""
        return getattr(self.kind, "default_pool", "mean") if self.pool is None else self.pool

    @property
    def name(self) -> str:
        """The method in words."""
        return getattr(self.kind, "method", getattr(self.kind, "__name__", "custom"))

    def fit(self, source: Tensor, target: Tensor, dtype: torch.dtype) -> Transport:
        """Fit one map on pooled activations that were computed in some type."""
        options = dict(self.options or {})
        if self.kind in METHODS.values():
            options.setdefault("support", self.support)
            if dtype not in (torch.float32, torch.float64):  # what a half type cannot tell apart
                options.setdefault("resolution", torch.finfo(dtype).eps)
            return self.kind.fit(source, target, **options)
        if hasattr(self.kind, "fit"):
            return self.kind.fit(source, target, support=self.support, **options)
        return self.kind(source, target, **options)


def fit_runs(
    model: nn.Module,
    runs: Sequence[Run],
    outputs: Sequence[str],
    recipe: Recipe | None = None,
    *,
    key: Callable[[str], str] | None = None,
    stop: bool = False,
    progress: bool | None = None,
) -> dict[str, Transport]:
    """Fit the maps of some outputs while runs of the model go on together, each of them once.

    At every output all runs meet; the map is fitted on what they bring; then source runs, or all,
    go on with moved activations. So the causal order costs one pass, in any number of runs.

    Args:
        model: is left as it was, whatever happens.
        runs: at least one of the source and one of the target.
        outputs: names, ``path`` or ``path:index``.
        recipe: how to fit; None is the default one.
        key: what to call the map of an output's present call, as where it depends on a timestep;
            each key may come once. None takes the output's name.
        stop: end the runs when all outputs have been given.
        progress: show a bar; None shows it on a terminal.

    Returns:
        Maps by key, in the order of execution.

    Raises:
        NoModuleMatched: if an output is never given, or given twice under one key.
        ValueError: if activations cannot be pooled, or are not finite.
        RuntimeError: if the runs give different outputs.

    Source:
        Rodriguez et al. 2024, section 3.3 (sequential estimation); the single pass is ours.
    """
    recipe = recipe or Recipe()
    if {run.source for run in runs} != {True, False}:
        raise ValueError("runs must hold at least one of the source and one of the target")
    with tqdm(
        total=len(outputs),
        desc="fit",
        unit="map",
        disable=None if progress is None else not progress,
    ) as bar:
        session = _Session(model, runs, outputs, recipe, key or (lambda name: name), stop, bar)
        session.go()
    return session.result()


class _Session:
    """What the hooks of one fit share."""

    def __init__(
        self,
        model: nn.Module,
        runs: Sequence[Run],
        outputs: Sequence[str],
        recipe: Recipe,
        key: Callable[[str], str],
        stop: bool,
        bar: Any,
    ) -> None:
        self.model, self.runs, self.outputs = model, runs, outputs
        self.recipe, self.key, self.stop, self.bar = recipe, key, stop, bar
        self.together: Lockstep[_Brought, Move] = Lockstep(self.meet)
        self.maps: dict[str, Transport] = {}
        self.seen: set[str] = set()
        self.inside: dict[str, tuple[Tensor, int]] = {}
        self.passed = [0] * len(runs)

    def go(self) -> None:
        """Run everything with hooks on, and take them off."""
        handles = []
        try:
            for path, names in by_module(self.outputs).items():
                module = self.model.get_submodule(path)

                def hook(m: nn.Module, _: Any, output: Any, names: list[str] = names) -> Any:
                    return self.on_output(m, output, names)

                handles.append(module.register_forward_hook(hook))
            self.together.run([lambda run=run: self.job(run) for run in self.runs])
        finally:
            for handle in handles:
                handle.remove()

    def job(self, run: Run) -> None:
        """One run, which may end early."""
        with contextlib.suppress(StopForward):
            run.call()

    def on_output(self, module: nn.Module, output: Any, names: list[str]) -> Any:
        """Bring activations to the meeting, and go on with what it gives."""
        index = self.together.index
        run = self.runs[index]
        for name in names:
            x = output_part(output, name)
            rows = pooled_part(output, name, self.recipe.pooling, run.mask, module, run.rows)
            key = self.key(name)
            move = self.together.arrive(key, _Brought(rows, x.dtype, name, module))
            if run.source:
                self.count_inside(key, x, run.mask, module)
            if self.recipe.order == "causal" and (
                run.source or self.recipe.target_path == "steered"
            ):
                output = replaced(output, Site.parse(name).index, move(x))
            self.passed[index] += 1
        if self.stop and self.passed[index] >= len(self.outputs):
            raise StopForward
        return output

    def meet(self, key: str, brought: list["_Brought"]) -> Move:
        """Fit the map of one output."""
        if key in self.maps:
            raise NoModuleMatched(
                f"{key} is called more than once in a run, and which call is meant cannot be said:"
                " name other modules"
            )
        first = brought[0]
        rows: dict[bool, list[Tensor]] = {True: [], False: []}
        for each, run in zip(brought, self.runs, strict=True):
            rows[run.source].append(each.rows)
        transport = self.recipe.fit(torch.cat(rows[True]), torch.cat(rows[False]), first.dtype)
        self.maps[key] = transport
        self.seen.add(first.name)
        self.bar.update()
        return Move([transport], spatial=self.recipe.spatial, module=first.module, name=first.name)

    def count_inside(self, key: str, x: Tensor, mask: Tensor | None, module: nn.Module) -> None:
        """Count the source activations that a map reaches, by neuron."""
        transport = self.maps[key]
        if transport.moments is None:
            return
        tokens = as_tokens(x.detach(), module)
        if axis_of(x, module) == 1 and self.recipe.spatial == "pooled":
            tokens, mask = tokens.float().mean(1), None
        flat = tokens[mask.to(x.device)] if mask is not None and tokens.ndim == 3 else tokens
        flat = flat.flatten(0, -2)
        reached = transport.to(x.device).inside(flat).sum(0).cpu()
        count, total = self.inside.get(key, (torch.zeros_like(reached), 0))
        self.inside[key] = (count + reached, total + len(flat))

    def result(self) -> dict[str, Transport]:
        """The maps, with the coverage of the source's tokens."""
        missing = [name for name in self.outputs if name not in self.seen]
        if missing:
            raise NoModuleMatched(
                f"{', '.join(missing[:3])} gave nothing: the model does not call it"
            )
        return {key: self.covered(key, transport) for key, transport in self.maps.items()}

    def covered(self, key: str, transport: Any) -> Transport:
        """A map that knows which share of the tokens it reaches."""
        if key not in self.inside:
            return transport
        count, total = self.inside[key]
        coverage = (count / total).to(transport.moments.coverage.dtype)
        return replace(transport, moments=replace(transport.moments, coverage=coverage))


@dataclass(frozen=True, eq=False)
class _Brought:
    """What a run brings to a meeting."""

    rows: Tensor
    dtype: torch.dtype
    name: str
    module: nn.Module


def _one_of(name: str, got: object, known: Sequence[str]) -> None:
    if got not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {got!r}")

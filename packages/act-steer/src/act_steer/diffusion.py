"""Maps for diffusion models: one for every module and timestep, fitted while the sampler runs.

A sampler with many steps sees other activations at every step, so every timestep has its own map.
They are keyed by the denoiser's ``timestep`` argument and looked up row by row: another sampler,
another number of steps, or a batch of several timesteps takes the nearest one that was fitted.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from act_steer.fit import _quiet
from act_steer.hooks import Clock
from act_steer.modules import StopForward, by_module, select
from act_steer.move import Spatial
from act_steer.runs import Method, Order, Recipe, Run, TargetPath, fit_runs
from act_steer.sites import Site, network_of, refuse_compiled
from act_steer.steering import Steering
from act_steer.transport import Support

Steps = Literal["each", "first"]
Half = Literal["last", "first"]
Sampler = Callable[[], object]


def fit_denoiser(
    denoiser: nn.Module,
    source: Sampler | Sequence[Sampler],
    target: Sampler | Sequence[Sampler],
    *,
    modules: str | Sequence[str] = "norms",
    method: Method = "linear",
    steps: Steps = "each",
    order: Order = "causal",
    target_path: TargetPath = "clean",
    support: Support | None = None,
    spatial: Spatial = "pooled",
    conditional: Half | None = None,
    progress: bool | None = None,
    **options: Any,
) -> Steering:
    """Fit maps from what some samplers make a denoiser give to what others make it give.

    A module's output is averaged over its positions, one number a row and channel. The samplers
    run side by side, each once; when all have come to a module at a timestep, its map is fitted.

    Args:
        denoiser: takes an argument ``timestep``, one for all rows of a call or as many alike.
        source: runs a sampler, all its steps, with the denoiser; or several that do, for batches.
            Each starts afresh when it is called, with its own scheduler and noise; the first one
            is called a second time, for a step.
        target: the same, for what the source is to become like.
        modules: what to steer, as `act_steer.select`: ``"norms"``, ``"blocks"``, a pattern, or a
            list. A module that gives several tensors gets a map for each, unless one is named, as
            ``"transformer_blocks.3:1"``.
        method: ``"linear"``, ``"mean"`` or ``"gaussian"``, as `act_steer.fit`.
        steps: ``"each"``, a map for every timestep; ``"first"``, maps from the first call of the
            denoiser, to be used at all timesteps, as the paper's release has it.
        order: ``"causal"``, the source goes on as moved by the maps fitted so far, over modules
            and timesteps; ``"simultaneous"``, it goes on as it is.
        target_path: ``"clean"``, the target goes on as it is; ``"steered"``, as the source.
        support: where maps act, as for their ``fit``; None is the method's own.
        spatial: the rule for outputs with channels in front, as for `apply`.
        conditional: for batches doubled by classifier-free guidance, the half with the condition,
            which alone is fitted on; both are moved. None: batches are not doubled.
        progress: show a bar; None shows it on a terminal.
        **options: more arguments for the ``fit`` of the method.

    Returns:
        Maps by ``"module@timestep"``, or by module for ``steps="first"``.

    Raises:
        NoModuleMatched: if no module is meant, or one does not run, or twice for a timestep.
        ValueError: if a call mixes timesteps, or an option is unknown.

    Source:
        Rodriguez et al. 2024, section 3.3 for the causal order; maps by timestep are ours.

    Example:
        >>> class Net(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.norm = nn.GroupNorm(1, 2)
        ...     def forward(self, x, timestep):
        ...         return self.norm(x)
        >>> net, x, y = Net(), torch.randn(9, 2, 4, 4), torch.randn(9, 2, 4, 4) + 1
        >>> def sampler(x):
        ...     return lambda: [net(x, t) for t in (9, 3)]
        >>> list(fit_denoiser(net, sampler(x), sampler(y), modules=["norm"]))
        ['norm@9', 'norm@3']
    """
    half = None if conditional is None else _Halves(conditional)
    runs = [
        Run(sampler, side == "source")
        for side, samplers in (("source", source), ("target", target))
        for sampler in ([samplers] if callable(samplers) else samplers)
    ]
    recipe = Recipe(method, order, target_path, support, half, spatial, options)
    return _fit(denoiser, runs, recipe, modules, steps, conditional, progress)


def fit_pipeline(
    pipe: Any,
    source: Sequence[Any],
    target: Sequence[Any],
    *,
    argument: str = "prompt",
    batch_size: int = 8,
    seed: int = 0,
    call: Mapping[str, Any] | None = None,
    modules: str | Sequence[str] = "norms",
    method: Method = "linear",
    steps: Steps = "each",
    order: Order = "causal",
    target_path: TargetPath = "clean",
    support: Support | None = None,
    spatial: Spatial = "pooled",
    conditional: Half | None = None,
    progress: bool | None = None,
    **options: Any,
) -> Steering:
    """Fit maps on a pipeline of diffusers: what it does for some prompts, to become like others.

    Classifier-free guidance is seen by the number of rows: then the conditional half is fitted on.

    Args:
        pipe: has a ``unet`` or a ``transformer``, a ``scheduler``, and takes a list of generators.
        source: prompts, a row each.
        target: prompts, a row each; their number may differ.
        argument: of the pipeline that takes them: ``"prompt"``, or ``"class_labels"``.
        batch_size: prompts a call; all calls go on side by side, so memory grows with their number.
        seed: of the noise: row i of either list starts from the noise of ``seed + i``.
        call: more arguments of the pipeline, as ``num_inference_steps`` and ``guidance_scale``.
        modules: as for `fit_denoiser`, in the denoiser.
        method: as for `fit_denoiser`.
        steps: as for `fit_denoiser`.
        order: as for `fit_denoiser`.
        target_path: as for `fit_denoiser`.
        support: as for `fit_denoiser`.
        spatial: as for `fit_denoiser`.
        conditional: half of a doubled batch that has the condition; None: the first of a
            ``DiTPipeline``, the last of all others.
        progress: as for `fit_denoiser`.
        **options: as for `fit_denoiser`.

    Returns:
        Maps that `apply` takes for the pipeline and for its denoiser.

    Raises:
        ValueError: as `fit_denoiser`, or if a list is empty.
        TypeError: if the pipeline has no denoiser.

    Source:
        Rodriguez et al. 2024, section 5; row i of both lists starting from one noise is ours.
    """
    if not len(source) or not len(target) or batch_size < 1:
        got = f"{len(source)} and {len(target)} prompts and batch_size={batch_size}"
        raise ValueError(f"both lists need prompts and batch_size must be at least 1, got {got}")
    if conditional is None:
        conditional = "first" if type(pipe).__name__ == "DiTPipeline" else "last"
    half = _Halves(conditional, known=threading.local())

    def sampler(prompts: Sequence[Any], first: int) -> Sampler:
        def run() -> object:
            half.known.rows = len(prompts)
            own = copy.copy(pipe)  # the scheduler keeps count of its steps
            own.scheduler = copy.deepcopy(pipe.scheduler)
            own.set_progress_bar_config(disable=True)
            noise = [torch.Generator().manual_seed(seed + first + n) for n in range(len(prompts))]
            return own(**{argument: list(prompts), "generator": noise, **(call or {})})

        return run

    runs = [
        Run(sampler(prompts[first : first + batch_size], first), side == "source")
        for side, prompts in (("source", source), ("target", target))
        for first in range(0, len(prompts), batch_size)
    ]
    recipe = Recipe(method, order, target_path, support, half, spatial, options)
    return _fit(network_of(pipe), runs, recipe, modules, steps, conditional, progress)


class _Halves:
    """Averages over positions; of a doubled batch, both halves count as the conditional one.

    Every sample then counts twice, which changes no map.

    Args:
        conditional: which half that is.
        known: holds the rows that this thread's batch has undoubled; None: all are doubled.
    """

    def __init__(self, conditional: Half, known: Any = None) -> None:
        if conditional not in ("last", "first"):
            raise ValueError(f'conditional must be "last" or "first", got {conditional!r}')
        self.conditional, self.known = conditional, known

    def __call__(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Pool ``(B, K, D)`` to ``(B, D)``."""
        pooled = tokens.mean(1)
        if self.known is not None and len(tokens) != 2 * self.known.rows:
            return pooled
        halves = pooled.chunk(2)
        return torch.cat([halves[0 if self.conditional == "first" else 1]] * 2)


def _fit(
    denoiser: nn.Module,
    runs: list[Run],
    recipe: Recipe,
    modules: str | Sequence[str],
    steps: Steps,
    conditional: Half | None,
    progress: bool | None,
) -> Steering:
    if steps not in ("each", "first"):
        raise ValueError(f'steps must be "each" or "first", got {steps!r}')
    if recipe.spatial not in ("pooled", "pointwise"):
        raise ValueError(f'spatial must be "pooled" or "pointwise", got {recipe.spatial!r}')
    refuse_compiled(denoiser)
    with _quiet(denoiser, None):
        maps = _timed(denoiser, runs, recipe, modules, steps, progress)
    support = recipe.support
    return Steering(
        maps,
        {
            "method": recipe.name,
            "steps": steps,
            "order": recipe.order,
            "target_path": recipe.target_path,
            "support": list(support) if isinstance(support, tuple) else support,
            "spatial": recipe.spatial,
            "conditional": conditional,
            "model": type(denoiser).__name__,
        },
    )


def _timed(
    denoiser: nn.Module,
    runs: list[Run],
    recipe: Recipe,
    modules: str | Sequence[str],
    steps: Steps,
    progress: bool | None,
) -> dict[str, Any]:
    outputs = tensors_of(denoiser, select(denoiser, modules), runs[0].call)
    clock, seen = Clock(denoiser), set[float]()
    handle = denoiser.register_forward_pre_hook(clock, with_kwargs=True)
    hidden = None if progress is None else not progress
    with tqdm(desc="fit", unit="timestep", disable=hidden) as bar:

        def key(output: str) -> str:
            timestep = clock.only()
            if timestep not in seen:
                seen.add(timestep)
                bar.update()
            site = Site.parse(output)
            return str(Site(site.path, site.index, timestep if steps == "each" else None))

        try:
            first = steps == "first"
            return fit_runs(denoiser, runs, outputs, recipe, key=key, stop=first, progress=False)
        finally:
            handle.remove()


def tensors_of(denoiser: nn.Module, outputs: Sequence[str], sampler: Sampler) -> list[str]:
    """Return the outputs with an index for every tensor of those that are tuples.

    Args:
        denoiser: the model.
        outputs: ``path`` or ``path:index``.
        sampler: is run until the denoiser has been called once.

    Source:
        Ours.
    """
    found: dict[str, list[str]] = {}

    def note(path: str, names: list[str], output: Any) -> None:
        items = list(output.values()) if isinstance(output, Mapping) else output
        if isinstance(items, (tuple, list)) and names == [path]:
            names = [f"{path}:{n}" for n, item in enumerate(items) if isinstance(item, Tensor)]
        found[path] = names

    def stop(*_: object) -> None:
        raise StopForward

    handles = [denoiser.register_forward_hook(stop)]
    paths = by_module(outputs)
    for path, names in paths.items():

        def hook(
            _m: nn.Module, _a: Any, output: Any, path: str = path, names: list[str] = names
        ) -> None:
            note(path, names, output)

        handles.append(denoiser.get_submodule(path).register_forward_hook(hook))
    try:
        with torch.no_grad():
            sampler()
    except StopForward:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return [name for path, names in paths.items() for name in found.get(path, names)]

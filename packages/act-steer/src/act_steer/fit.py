"""Fit the maps of a model from two sets of prompts."""

import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from act_steer.batches import Batch, Prompts, batches_of
from act_steer.errors import DegenerateWarning, SmallSampleWarning, UnboundedWarning
from act_steer.modules import execution_order, select
from act_steer.move import Spatial
from act_steer.pooling import Pool
from act_steer.runs import Method, Order, Recipe, Run, TargetPath, fit_runs
from act_steer.sites import Site
from act_steer.steering import Steering
from act_steer.transport import Support

FEW = 8  # prompts of a side; fewer say little about a scale


def fit(
    model: nn.Module,
    source: Prompts,
    target: Prompts,
    *,
    tokenizer: Callable[..., Any] | None = None,
    modules: str | Sequence[str] = "norms",
    method: Method = "linear",
    order: Order = "causal",
    target_path: TargetPath = "clean",
    support: Support | None = None,
    pool: Pool | None = None,
    spatial: Spatial = "pooled",
    batch_size: int = 32,
    max_length: int = 128,
    seed: int | None = 0,
    progress: bool | None = None,
    **options: Any,
) -> Steering:
    """Fit maps that carry the activations of ``source`` to those of ``target``.

    The prompts need not be paired, nor as many. All run through the model once, whatever the order
    and the size of micro-batches, and stop at the last module.

    Args:
        model: any module; it is left as it was, and run in eval mode.
        source: texts, or batches as `batches_of` takes them.
        target: the same.
        tokenizer: for texts.
        modules: preset, pattern or list, as `select`.
        method: ``"linear"``, ``"mean"``, ``"gaussian"``, ``"quantile"``, ``"aura"``, or a class or
            function as `Recipe` takes them.
        order: ``"causal"``: each map is fitted on what those before it leave of the source;
            ``"simultaneous"``: all on the model as it is.
        target_path: ``"clean"``: target activations are those of the model as it is;
            ``"steered"``: those of the steered model, as in the published code.
        support: where maps act, as `AffineTransport.fit`; None is the method's own: the range of
            the source, but everything for AurA.
        pool: how tokens or pixels become one number a neuron; None is the method's own: the mean,
            but the maximum for AurA.
        spatial: rule for outputs with channels in front, as `apply`.
        batch_size: texts a micro-batch.
        max_length: longer texts are cut.
        seed: for a model that draws while it runs; the global generator is left as it was.
        progress: show a bar; None shows it on a terminal.
        **options: more arguments for the ``fit`` of the method, as ``max_scale``.

    Returns:
        The maps, in the order of execution.

    Raises:
        NoModuleMatched: if no module is meant, or one is not called, or called twice.
        ValueError: if a side is empty, or activations are not finite.
        TypeError: if an output is no tensor.

    Warns:
        SmallSampleWarning: fewer than 8 prompts on a side.
        DegenerateWarning: some neurons do not vary over the source.
        UnboundedWarning: scales without limits on norms or MLPs.

    Source:
        Rodriguez et al. 2024, sections 3.1 to 3.3.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
        >>> batches = [torch.randn(16, 3)], [torch.randn(9, 3) + 1]
        >>> print(fit(net, *batches, modules=["0"]))
        linear maps of 1 modules, 4 neurons
    """
    recipe = Recipe(method, order, target_path, support, pool, spatial, options)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    sides = {
        side: [
            batch.to(device)
            for batch in batches_of(
                side, prompts, tokenizer, batch_size=batch_size, max_length=max_length
            )
        ]
        for side, prompts in (("source", source), ("target", target))
    }
    counts = {side: sum(len(batch.rows) for batch in batches) for side, batches in sides.items()}
    outputs = select(model, modules)
    with _quiet(model, seed), torch.no_grad():
        probe = sides["source"][0].first()
        outputs = execution_order(
            lambda: _call(model, probe), model, outputs, unpack=modules == "blocks"
        )
        runs = [
            Run(lambda batch=batch: _call(model, batch), side == "source", batch.mask, batch.rows)
            for side, batches in sides.items()
            for batch in batches
        ]
        maps = fit_runs(model, runs, outputs, recipe, stop=True, progress=progress)
    metadata: dict[str, Any] = {
        "method": recipe.name,
        "order": order,
        "target_path": target_path,
        "support": list(support) if isinstance(support, tuple) else support,
        "pool": recipe.pooling if isinstance(recipe.pooling, str) else "custom",
        "spatial": spatial,
        "source_prompts": counts["source"],
        "target_prompts": counts["target"],
        "model": type(model).__name__,
    }
    _warn(maps, counts, recipe)
    return Steering(maps, metadata)


def _call(model: nn.Module, batch: Batch) -> object:
    """Call a model with a batch, past its cache and with the positions of unpadded text."""
    if isinstance(batch.inputs, Tensor):
        return model(batch.inputs)
    inputs: dict[str, Any] = dict(batch.inputs)
    known = inspect.signature(model.forward).parameters
    attention = inputs.get("attention_mask")
    if attention is not None and attention.ndim == 2 and "position_ids" in known:
        inputs.setdefault("position_ids", (attention.long().cumsum(1) - 1).clamp(min=0))
    if "use_cache" in known:
        inputs.setdefault("use_cache", False)
    return model(**inputs)


@contextmanager
def _quiet(model: nn.Module, seed: int | None) -> Iterator[None]:
    """Eval mode and a seed, for a while."""
    training = [module for module in model.modules() if module.training]
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    try:
        model.eval()
        with torch.random.fork_rng(devices, enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            yield
    finally:
        for module in training:
            module.training = True


def _warn(maps: dict[str, Any], counts: dict[str, int], recipe: Recipe) -> None:
    few = {side: count for side, count in counts.items() if count < FEW}
    if few:
        said = " and ".join(f"{count} {side}" for side, count in few.items())
        error = min(few.values()) ** -0.5
        warnings.warn(
            f"only {said} prompts: the relative standard error of a scale is about {error:.0%}",
            SmallSampleWarning,
            stacklevel=3,
        )
    constant = sum(int(t.moments.degenerate.sum()) for t in maps.values() if t.moments is not None)
    if constant:
        total = sum(transport.dim for transport in maps.values())
        warnings.warn(
            f"{constant} of {total} neurons do not vary over the source prompts and are only"
            " shifted; `report()` counts them by module",
            DegenerateWarning,
            stacklevel=3,
        )
    unbounded = [name for name in maps if recipe.support == "all" and _amplifies(name)]
    if unbounded and recipe.name in ("linear", "gaussian", "quantile"):
        warnings.warn(
            f"scales without limits on {unbounded[0]} and others like it can amplify what no prompt"
            " showed, layer after layer: prefer support='minmax', or modules='attention'",
            UnboundedWarning,
            stacklevel=3,
        )


def _amplifies(name: str) -> bool:
    last = Site.parse(name).path.lower()
    return any(part in last for part in ("norm", "ln_", "mlp", "fc2", ".ff."))

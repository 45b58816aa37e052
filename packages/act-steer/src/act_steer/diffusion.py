"""Maps for diffusion models: one for every module and timestep, fitted while the sampler runs.

A sampler with many steps sees other activations at every step, so every timestep has its own map.
They are keyed by the denoiser's ``timestep`` argument and looked up row by row: another sampler,
another number of steps, or a batch of several timesteps takes the nearest one that was fitted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from act_steer.errors import NoModuleMatched
from act_steer.hooks import Clock, part, replaced
from act_steer.move import CHANNELS_FIRST, Move, Spatial, channel_axis
from act_steer.sites import Site, module_at, network_of, refuse_compiled, width_of
from act_steer.steering import Steering
from act_steer.transport import (
    AffineTransport,
    GaussianTransport,
    LinearTransport,
    MeanTransport,
    Support,
)

Steps = Literal["each", "first"]
Half = Literal["last", "first"]
METHODS: dict[str, type[AffineTransport]] = {
    kind.method: kind for kind in (LinearTransport, MeanTransport, GaussianTransport)
}
PRESETS = {
    "norms": r"norm\w*(\.\d+)?$",
    "blocks": r"(^|\.)(transformer_blocks|single_transformer_blocks|resnets|attentions)\.\d+$",
}


def fit_denoiser(
    denoiser: nn.Module,
    sample: Callable[[], object],
    is_source: Tensor,
    *,
    modules: str | Sequence[str] = "norms",
    method: str = "linear",
    steps: Steps = "each",
    order: Literal["causal", "simultaneous"] = "causal",
    target_path: Literal["clean", "steered"] = "clean",
    support: Support = "minmax",
    spatial: Spatial = "pooled",
    cfg: Literal["both", "cond"] = "both",
    conditional: Half = "last",
) -> Steering:
    """Fit maps from the source rows of a sampled batch to its target rows, in one run.

    Every module's output is averaged over its positions, one number a row and channel; the map of
    a module and a timestep is fitted when the sampler comes by.

    Args:
        denoiser: takes an argument ``timestep``, one for all rows or one a row.
        sample: runs a sampler with the denoiser on B rows; what it returns is dropped.
        is_source: bool ``(B,)``, the rows that are to become like the others. Batches of 2 B
            rows are taken for classifier-free guidance: the conditional half is fitted on.
        modules: ``"norms"``, ``"blocks"`` (the blocks of transformers, the resnets and attentions
            of a UNet), a regular expression that is searched in the names, or a list of names. A
            module that gives several tensors gets a map for each, unless a list names one, as
            ``"transformer_blocks.3:1"``.
        method: ``"linear"``, ``"mean"`` or ``"gaussian"``.
        steps: ``"each"``, a map for every timestep; ``"first"``, maps from the first call of the
            denoiser, to be used at all timesteps, as the paper's release has it.
        order: ``"causal"``, source rows go on as they were moved by the maps fitted so far, over
            modules and timesteps; ``"simultaneous"``, they go on as they are.
        target_path: ``"clean"``, target rows go on as they are; ``"steered"``, as source rows.
        support: of the maps, as for their ``fit``; pooled numbers make the interval.
        spatial: the rule for channels in front that the maps are fitted and applied with.
        cfg: ``"cond"`` moves only the conditional half, in the fit and when applied.
        conditional: which half of a doubled batch that is.

    Returns:
        Maps by ``"module@timestep"``, or by module for ``steps="first"``.

    Raises:
        NoModuleMatched: if no module of that name ran.
        ValueError: if a call mixes timesteps, or has another number of rows.

    Source:
        Section 3.3 for the causal order; a map for every timestep is ours.

    Example:
        >>> class Net(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.norm = nn.GroupNorm(1, 2)
        ...     def forward(self, x, timestep):
        ...         return self.norm(x)
        >>> net, x = Net(), torch.randn(8, 2, 4, 4)
        >>> steering = fit_denoiser(net, lambda: [net(x, t) for t in (9, 3)], torch.arange(8) < 4)
        >>> list(steering)
        ['norm@9', 'norm@3']
    """
    for name, value, known in (
        ("method", method, tuple(METHODS)),
        ("steps", steps, ("each", "first")),
        ("order", order, ("causal", "simultaneous")),
        ("target_path", target_path, ("clean", "steered")),
        ("spatial", spatial, ("pooled", "pointwise")),
        ("cfg", cfg, ("both", "cond")),
        ("conditional", conditional, ("last", "first")),
    ):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    is_source = torch.as_tensor(is_source)
    if is_source.dtype != torch.bool or is_source.ndim != 1:
        got = f"{is_source.dtype} of shape {tuple(is_source.shape)}"
        raise ValueError(f"is_source must be bool (B,), got {got}")
    if bool(is_source.all()) or not bool(is_source.any()):
        raise ValueError("is_source must name some rows and not all: both sets need samples")
    refuse_compiled(denoiser)
    sites = chosen(denoiser, modules)
    fitter = Fitter(
        denoiser,
        is_source,
        lambda a, b: METHODS[method].fit(a, b, support=support),
        moved={"causal": is_source if target_path == "clean" else torch.ones_like(is_source)}.get(
            order
        ),
        first=steps == "first",
        spatial=spatial,
        both=cfg == "both",
        conditional=conditional,
    )
    maps = fitter.run(sample, sites)
    if not maps:
        raise NoModuleMatched(f"none of {', '.join(list(sites)[:5])} ran in the denoiser")
    return Steering(
        maps,
        {
            "method": method,
            "modules": modules if isinstance(modules, str) else list(modules),
            "steps": steps,
            "order": order,
            "target_path": target_path,
            "support": support if isinstance(support, str) else list(support),
            "spatial": spatial,
            "cfg": cfg,
            "conditional": conditional,
            "n": int(is_source.sum()),
            "m": int((~is_source).sum()),
        },
    )


def fit_pipeline(
    pipe: Any,
    source: Sequence[Any],
    target: Sequence[Any],
    *,
    argument: str = "prompt",
    seed: int = 0,
    call: Mapping[str, Any] | None = None,
    **options: Any,
) -> Steering:
    """Fit maps on a pipeline of diffusers: what it does for some prompts, to become like others.

    Args:
        pipe: has a ``unet`` or a ``transformer``, and takes a list of generators.
        source: prompts, a row each.
        target: prompts, a row each; their number may differ.
        argument: of the pipeline that takes them: ``"prompt"``, or ``"class_labels"``.
        seed: of the noise: row i of either list starts from the noise of ``seed + i``.
        call: more arguments of the pipeline, as ``num_inference_steps`` and ``guidance_scale``.
        **options: as for `fit_denoiser`.

    Returns:
        Maps that `apply` takes for the pipeline and for its denoiser.

    Raises:
        ValueError: as `fit_denoiser`, or if a list is empty.
        TypeError: if the pipeline has no denoiser.

    Source:
        Row i of both lists starting from one noise is ours.
    """
    if not len(source) or not len(target):
        raise ValueError(f"both lists need prompts, got {len(source)} and {len(target)}")
    denoiser = network_of(pipe)
    rows = [*range(len(source)), *range(len(target))]
    arguments = {
        argument: [*source, *target],
        "generator": [torch.Generator().manual_seed(seed + row) for row in rows],
        **(call or {}),
    }
    is_source = torch.arange(len(rows)) < len(source)
    if type(pipe).__name__ == "DiTPipeline":  # it puts the conditional rows first
        options = {"conditional": "first", **options}
    return fit_denoiser(denoiser, lambda: pipe(**arguments), is_source, **options)


class _Enough(Exception):  # noqa: N818
    """The first call of the denoiser is over, and no more is needed."""


class Fitter:
    """Fits maps as their modules run, and moves the rows that go on moved.

    Args:
        denoiser: the model.
        is_source: bool ``(B,)``.
        fit: ``(source (n, D), target (m, D)) -> map``.
        moved: bool ``(B,)``, the rows that go on moved; None for none.
        first: stop after the denoiser's first call.
        spatial: rule of outputs with channels in front.
        both: move both halves of a doubled batch.
        conditional: which half of it is fitted on.
    """

    def __init__(
        self,
        denoiser: nn.Module,
        is_source: Tensor,
        fit: Callable[[Tensor, Tensor], Any],
        *,
        moved: Tensor | None,
        first: bool,
        spatial: Spatial,
        both: bool,
        conditional: Half,
    ) -> None:
        self.denoiser, self.is_source, self.fit = denoiser, is_source, fit
        self.row_moved, self.first, self.spatial = moved, first, spatial
        self.both, self.conditional = both, conditional
        self.clock = Clock(denoiser)
        self.maps: dict[str, Any] = {}

    def run(self, sample: Callable[[], object], sites: Mapping[str, Site]) -> dict[str, Any]:
        """Run the sampler with hooks on the modules, and return the maps."""
        undo = [self.denoiser.register_forward_pre_hook(self.clock, with_kwargs=True)]
        try:
            for site in sites.values():
                module = module_at(self.denoiser, site.path)
                undo.append(module.register_forward_hook(self.hook(site)))
            if self.first:
                undo.append(self.denoiser.register_forward_hook(_stop))
            with torch.no_grad():
                sample()
        except _Enough:
            pass
        finally:
            for handle in undo:
                handle.remove()
        return self.maps

    def hook(self, site: Site) -> Callable[[nn.Module, Any, Any], Any]:
        """Return the forward hook of one module."""

        def fit_and_move(module: nn.Module, args: Any, output: Any) -> Any:
            for index in indices(output, site.index):
                output_site = Site(site.path, index, self.timestep())
                z = part(output, index, output_site.output)
                output = replaced(output, index, self.step(module, output_site, z))
            return output

        return fit_and_move

    def timestep(self) -> float | None:
        """The timestep of this call, None where maps are for all of them."""
        t = self.clock.timestep
        if t is None:
            raise ValueError("a module ran outside the denoiser: its timestep is not known")
        if bool((t != t.reshape(-1)[0]).any()):
            raise ValueError(f"the rows of one call must have one timestep, got {t.tolist()}")
        return None if self.first else float(t.reshape(-1)[0])

    def step(self, module: nn.Module, site: Site, z: Tensor) -> Tensor:
        """Fit the map of this module and timestep, unless it is there; return what goes on."""
        halves, fitted = self.halves(z, site)
        if str(site) not in self.maps:
            pooled = positions_mean(z[fitted], module)  # (B, D)
            source = self.is_source.to(z.device)
            transport = self.fit(pooled[source].cpu(), pooled[~source].cpu())
            self.maps[str(site)] = transport
        if self.row_moved is None:
            return z
        rows = self.row_moved.to(z.device).nonzero().flatten()
        rows = torch.cat([rows + half.start for half in halves])
        move = Move([self.maps[str(site)]], spatial=self.spatial, module=module, name=str(site))
        return z.index_copy(0, rows, move(z[rows]))

    def halves(self, z: Tensor, site: Site) -> tuple[list[slice], slice]:
        """Return the parts of the batch that are moved, and the one that is fitted on."""
        n = len(self.is_source)
        if len(z) == n:
            return [slice(0, n)], slice(0, n)
        if len(z) != 2 * n:
            raise ValueError(
                f"{site.output} gives {len(z)} rows for {n} samples; {n}, or {2 * n} with "
                "classifier-free guidance, can be told apart"
            )
        fitted = slice(0, n) if self.conditional == "first" else slice(n, 2 * n)
        return ([slice(0, n), slice(n, 2 * n)] if self.both else [fitted]), fitted


def chosen(denoiser: nn.Module, modules: str | Sequence[str]) -> dict[str, Site]:
    """Return the sites that are asked for, by name; whether they run is not known yet.

    Args:
        denoiser: the model.
        modules: as for `fit_denoiser`.

    Raises:
        NoModuleMatched: if a regular expression fits no module, or a list is empty.
        ValueError: if a list names a module that is not there.

    Example:
        >>> list(chosen(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), "0"))
        ['0']
    """
    if isinstance(modules, str):
        pattern = re.compile(PRESETS.get(modules, modules))
        names = [name for name, _ in denoiser.named_modules() if name and pattern.search(name)]
    else:
        names = list(modules)
    if not names:
        kinds = ", ".join(name for name, _ in list(denoiser.named_modules())[1:6])
        raise NoModuleMatched(f"{modules!r} fits no module; the first are {kinds}")
    sites = {name: Site.parse(name) for name in names}
    for site in sites.values():
        module_at(denoiser, site.path)
    return sites


def indices(output: Any, index: int | None) -> Iterable[int | None]:
    """Return which tensors of an output get a map: the one that is named, or every one."""
    if index is not None or isinstance(output, Tensor):
        return [index]
    items = list(output.values()) if isinstance(output, Mapping) else output
    if not isinstance(items, tuple | list):
        return [None]
    return [n for n, item in enumerate(items) if isinstance(item, Tensor)]


def positions_mean(z: Tensor, module: nn.Module | None = None) -> Tensor:
    """Return activations averaged over all axes but rows and channels, ``(B, D)``, in float32.

    Example:
        >>> positions_mean(torch.arange(8.0).reshape(1, 2, 2, 2))
        tensor([[1.5000, 5.5000]])
    """
    z = z if z.dtype == torch.float64 else z.float()
    if z.ndim < 3:
        return z
    width = None if module is None else width_of(module)
    axis = channel_axis(z.shape, isinstance(module, CHANNELS_FIRST), width)
    return z.flatten(2).mean(2) if axis == 1 else z.flatten(1, -2).mean(1)


def _stop(module: nn.Module, args: Any, output: Any) -> None:
    raise _Enough

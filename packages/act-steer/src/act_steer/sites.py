"""Where a map acts: keys, the modules that they name, and what those are good for."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from act_steer.errors import ShapeMismatch


@dataclass(frozen=True)
class Site:
    """Where a map acts, as a key of a steering says it: ``path[:index][@timestep]``.

    Attributes:
        path: of a module in the model.
        index: of the module's output, where that is a tuple.
        timestep: of the denoiser that the map belongs to.
    """

    path: str
    index: int | None = None
    timestep: float | None = None

    @classmethod
    def parse(cls, key: str) -> Site:
        """Return the site that a key names.

        Raises:
            ValueError: if it is no such key.

        Example:
            >>> Site.parse("blocks.3:1@0.25")
            Site(path='blocks.3', index=1, timestep=0.25)
        """
        found = re.fullmatch(r"([^:@]*)(?::(\d+))?(?:@([-+.\de]+))?", key)
        if found is None:
            raise ValueError(f"a key must be path, path:index or path@timestep, got {key!r}")
        path, index, timestep = found.groups()
        return cls(
            path,
            None if index is None else int(index),
            None if timestep is None else float(timestep),
        )

    @property
    def output(self) -> str:
        """The key without its timestep."""
        return self.path if self.index is None else f"{self.path}:{self.index}"

    def __str__(self) -> str:
        """The key."""
        return self.output if self.timestep is None else f"{self.output}@{self.timestep:.9g}"


def grouped(keys: Iterable[str]) -> dict[str, list[tuple[Site, str]]]:
    """Return the keys of each output, with their sites, the timesteps increasing.

    Raises:
        ValueError: if an output has a map for all timesteps and one for a single one.

    Example:
        >>> {output: len(sites) for output, sites in grouped(["a@1", "b", "a@0"]).items()}
        {'a': 2, 'b': 1}
    """
    groups: dict[str, list[tuple[Site, str]]] = {}
    for key in keys:
        site = Site.parse(key)
        groups.setdefault(site.output, []).append((site, key))
    for output, sites in groups.items():
        times = [site.timestep for site, _ in sites if site.timestep is not None]
        if len(sites) > 1 and len(set(times)) < len(sites):
            raise ValueError(f"{output} has two maps for one timestep, or one for all and others")
        sites.sort(key=lambda pair: pair[0].timestep or 0.0)
    return groups


def network_of(model: Any) -> nn.Module:
    """Return the module itself, or the denoiser of a pipeline of diffusers.

    Raises:
        TypeError: if there is none.
    """
    if isinstance(model, nn.Module):
        return model
    for name in ("unet", "transformer"):
        if isinstance(found := getattr(model, name, None), nn.Module):
            return found
    raise TypeError(
        f"model must be a torch.nn.Module or a pipeline with a unet or a transformer, "
        f"got {type(model).__name__}"
    )


def module_at(net: nn.Module, path: str) -> nn.Module:
    """Return the module of that path.

    Raises:
        ValueError: if there is none; the message names what is close.
    """
    try:
        return net.get_submodule(path)
    except AttributeError:
        names = [name for name, _ in net.named_modules() if name]
        close = difflib.get_close_matches(path, names, n=3, cutoff=0.4)
        hint = f"; close are {', '.join(close)}" if close else ""
        raise ValueError(
            f"{type(net).__name__} has no module {path!r}{hint}: was the steering fitted on "
            "another model?"
        ) from None


def refuse_compiled(net: nn.Module) -> None:
    """Raise where ``torch.compile`` was there first: it would pass the maps by without a word.

    Raises:
        ValueError: if the model or a part of it is compiled.
    """
    for name, module in net.named_modules():
        compiled = type(module).__name__ == "OptimizedModule"
        if compiled or getattr(module, "_compiled_call_impl", None) is not None:
            raise ValueError(
                f"{name or type(module).__name__} is compiled already and would ignore the maps: "
                'attach them first, with mode="module", then compile'
            )


def width_of(module: nn.Module) -> int | None:
    """Return the channels of a module's output where its weights tell, else None.

    Example:
        >>> width_of(nn.Linear(3, 5)), width_of(nn.GroupNorm(2, 4)), width_of(nn.ReLU())
        (5, 4, None)
    """
    for name in ("out_features", "out_channels", "num_channels", "num_features"):
        if isinstance(width := getattr(module, name, None), int):
            return width
    weight = module._parameters.get("weight")
    norm = "norm" in type(module).__name__.lower() and not module._modules
    return len(weight) if norm and isinstance(weight, Tensor) and weight.ndim == 1 else None


def check_width(module: nn.Module, output: str, transports: Mapping[str, Any]) -> None:
    """Raise where a map cannot fit the module, before the model is touched.

    Raises:
        ShapeMismatch: if the widths differ.
    """
    known = width_of(module)
    for key, transport in transports.items():
        scale = getattr(transport, "scale", None)
        width = len(scale) if isinstance(scale, Tensor) and scale.ndim == 1 else known
        if known is not None and width != known:
            raise ShapeMismatch(
                f"the map of {key} is {width} wide, and {output} ({type(module).__name__}) "
                f"gives {known}: was it fitted on another model?"
            )

"""All maps of a model together: to restrict, negate, compose, report and keep."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from act_steer.absorb import Undo
from act_steer.apply import Attachment, Guidance, Mode, Strength, apply, attach
from act_steer.chain import ChainTransport
from act_steer.files import Setting, read_maps, write_maps
from act_steer.fold import fold
from act_steer.move import Spatial
from act_steer.report import Report
from act_steer.transport import AffineTransport, Transport


@dataclass(frozen=True, eq=False)
class Steering(Mapping[str, Transport]):
    """Maps by the name of the module whose output they move, in the order of execution.

    Args:
        maps: ``{module: map}``; ``"name:1"`` is the second element of an output that is a tuple,
            and ``"name@801"`` is the map for one timestep of a diffusion model.
        metadata: how they were made: numbers, strings, truth values, None, and lists of these.

    Example:
        >>> from act_steer import MeanTransport
        >>> shift = MeanTransport.fit(torch.zeros(4, 3), torch.ones(5, 3), support="all")
        >>> steering = Steering({"layers.0": shift})
        >>> steering.negate()["layers.0"](torch.ones(1, 3))
        tensor([[0., 0., 0.]])
    """

    maps: Mapping[str, Transport]
    metadata: Mapping[str, Setting] = field(default_factory=dict)

    __hash__ = object.__hash__

    def __post_init__(self) -> None:
        if not self.maps:
            raise ValueError("a Steering needs at least one map, got none")
        object.__setattr__(self, "maps", MappingProxyType(dict(self.maps)))
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))

    @property
    def modules(self) -> list[str]:
        """Names of the steered modules, in the order of execution."""
        return list(self.maps)

    def __len__(self) -> int:
        return len(self.maps)

    def __iter__(self) -> Iterator[str]:
        return iter(self.maps)

    def __getitem__(self, module: str) -> Transport:
        if module not in self.maps:
            raise KeyError(f"no map for {module!r}; there are {', '.join(self.maps)}")
        return self.maps[module]

    def __str__(self) -> str:
        methods = "/".join(sorted({t.method for t in self.maps.values()}))
        neurons = sum(t.dim for t in self.maps.values())
        return f"{methods} maps of {len(self)} modules, {neurons} neurons"

    def apply(
        self,
        model: Any,
        *,
        strength: Strength = 1.0,
        mode: Mode = "hook",
        spatial: Spatial | None = None,
        cfg: Guidance = "both",
    ) -> AbstractContextManager[Attachment]:
        """Steer a model inside a ``with`` block; see `act_steer.apply`."""
        return apply(self, model, strength=strength, mode=mode, spatial=spatial, cfg=cfg)

    def attach(
        self,
        model: Any,
        *,
        strength: Strength = 1.0,
        mode: Mode = "hook",
        spatial: Spatial | None = None,
        cfg: Guidance = "both",
    ) -> Attachment:
        """Steer a model until ``remove()``; see `act_steer.attach`."""
        return attach(self, model, strength=strength, mode=mode, spatial=spatial, cfg=cfg)

    def fold(
        self,
        model: Any,
        *,
        strength: Strength = 1.0,
        spatial: Spatial | None = None,
        example: Mapping[str, Any] | None = None,
        checkpoint: bool = True,
    ) -> Undo:
        """Work the maps into the weights of a model; see `act_steer.fold`."""
        return fold(
            self, model, strength=strength, spatial=spatial, example=example, checkpoint=checkpoint
        )

    def restrict(self, *, top: float | int) -> "Steering":
        """Keep the neurons that gain most, and leave the others alone.

        A neuron's gain is what the map takes off its Wasserstein-2 distance, relative to the spread
        of the samples, so that modules of different scale compare; all neurons are ranked together.

        Args:
            top: share of all neurons, a float in (0, 1], or their number, an int.

        Raises:
            ValueError: if there are fewer neurons, or a map has no moments.
        """
        gains = torch.cat([_gain(transport) for transport in self.maps.values()])
        total = len(gains)
        count = top if isinstance(top, int) else max(1, round(top * total))
        if not 0 < count <= total or (isinstance(top, float) and not 0 < top <= 1):
            raise ValueError(f"top must be a share in (0, 1] or 1 to {total} neurons, got {top}")
        best = torch.zeros(total, dtype=torch.bool)
        best[gains.argsort(descending=True, stable=True)[:count]] = True
        parts = best.split([transport.dim for transport in self.maps.values()])
        pairs = zip(self.maps.items(), parts, strict=True)
        maps = {name: transport.keep(part) for (name, transport), part in pairs}
        return self._with(maps, restricted=count)

    def negate(self, *, min_scale: float = 0.1) -> "Steering":
        """The inverse maps: steered by them, what was moved comes back.

        That is another thing than fitting with source and target exchanged, and than a negative
        strength, which goes as far in the opposite direction from where an activation is.

        Args:
            min_scale: neurons that a map scales by less have no usable inverse and are left alone.

        Raises:
            TypeError: if a map has no inverse in closed form.
        """
        return self._each(lambda transport: _affine(transport).inverse(min_scale), negated=True)

    def scaled(self, factor: float) -> "Steering":
        """Maps of which strength 1 is strength ``factor`` of these.

        Raises:
            TypeError: if a map is not affine.
        """
        return self._each(lambda transport: _affine(transport).scaled(factor), scaled=factor)

    def then(self, other: "Steering") -> "Steering":
        """Both, this one first: where both move a module, the second moves what the first gives.

        Strength holds for each of the two by itself: at strength ``lam`` the result is
        ``T2_lam(T1_lam(z))``. The order matters, as the maps and their supports do not commute.
        """
        maps: dict[str, Transport] = dict(self.maps)
        for name, second in other.maps.items():
            first = maps.get(name)
            maps[name] = second if first is None else ChainTransport.of(first, second)
        return Steering(maps, {"composed": [str(self), str(other)]})

    def report(self) -> Report:
        """What the maps do to the samples that they were fitted on, in closed form.

        Raises:
            ValueError: if a map has no moments, as a composed one.
        """
        return Report.of(self.maps)

    def to_table(self) -> dict[str, list[Any]]:
        """The report's table: a row a module."""
        return self.report().to_table()

    def to(self, device: torch.device | str) -> "Steering":
        """The same maps with their tensors on a device."""
        return self._with({name: transport.to(device) for name, transport in self.maps.items()})

    def save(self, path: str | Path, *, moments: bool = True) -> None:
        """Write a safetensors file; the same maps always give the same bytes.

        Args:
            path: where to write; an old file is replaced in one step.
            moments: also write what `report` and `restrict` need, about twice the size.

        Raises:
            TypeError: if a map is of a class that is not from this package.
        """
        write_maps(Path(path), self.maps, self.metadata, moments=moments)

    @classmethod
    def load(cls, path: str | Path) -> "Steering":
        """Read a file that `save` wrote; nothing in it is executed.

        Raises:
            SteeringFileError: if the file is damaged, of another format or version, or holds values
                that no map can hold.
            OSError: if it cannot be read.
        """
        return cls(*read_maps(Path(path)))

    def _each(self, f: Callable[[Transport], Transport], **metadata: Setting) -> "Steering":
        return self._with({name: f(transport) for name, transport in self.maps.items()}, **metadata)

    def _with(self, maps: Mapping[str, Transport], **metadata: Setting) -> "Steering":
        return replace(self, maps=maps, metadata={**self.metadata, **metadata})


def load(path: str | Path) -> Steering:
    """Read a file that `Steering.save` wrote; see `Steering.load`."""
    return Steering.load(path)


def _affine(transport: Transport) -> AffineTransport:
    if not isinstance(transport, AffineTransport):
        raise TypeError(
            f"a {transport.method} map has no closed form for this: fit source and target"
            " exchanged, or use method='linear', 'mean' or 'gaussian'"
        )
    return transport


def _gain(transport: Transport) -> Tensor:
    """What a map takes off the distance, from 0 to 1 as it is nothing or all of what differs."""
    moments = transport.moments
    if moments is None:
        raise ValueError(f"a {transport.method} map without moments cannot be ranked: fit one")
    gain = (transport.w2(0.0) - transport.w2(1.0)).clamp(min=0).double()
    spread = moments.std_a.double() ** 2 + moments.std_b.double() ** 2
    return gain / (gain**2 + spread).sqrt().clamp(min=torch.finfo(torch.float64).tiny)

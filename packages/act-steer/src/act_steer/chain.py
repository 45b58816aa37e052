"""Several maps of one module, one after the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from act_steer.moments import Moments
from act_steer.transport import Strength, Transport


@dataclass(frozen=True, eq=False)
class ChainTransport:
    """``T_lam = P_lam o ... o N_lam``: each part moves what the one before it gave.

    The strength holds for each part by itself. Interpolating the composed map would be something
    else, as interpolation and composition do not commute.

    Args:
        parts: two maps or more of the same width, the first to act first.
    """

    method: ClassVar[str] = "chain"
    parts: tuple[Transport, ...]

    def __post_init__(self) -> None:
        widths = [part.dim for part in self.parts]
        if len(widths) < 2 or len(set(widths)) > 1:
            raise ValueError(f"a chain needs two maps or more of one width, got widths {widths}")

    @classmethod
    def of(cls, *maps: Transport) -> "ChainTransport":
        """A chain of maps; chains among them are taken apart."""
        parts: list[Transport] = []
        for each in maps:
            parts.extend(each.parts if isinstance(each, ChainTransport) else [each])
        return cls(tuple(parts))

    @property
    def dim(self) -> int:
        """Number of neurons."""
        return self.parts[0].dim

    @property
    def moments(self) -> Moments | None:
        """None: the parts were fitted on different samples."""
        return None

    def __call__(self, z: Tensor, strength: Strength = 1.0) -> Tensor:
        """Move activations ``(..., D)`` by one part after the other."""
        for part in self.parts:
            z = part(z, strength)
        return z

    def inside(self, z: Tensor) -> Tensor:
        """Which activations the first part moves."""
        return self.parts[0].inside(z)

    def w2(self, strength: float = 1.0) -> Tensor:
        """Not known in closed form."""
        raise ValueError("a composed map has no closed-form report: report its parts")

    def to(self, device: torch.device | str) -> "ChainTransport":
        """The same maps with their tensors on a device."""
        return ChainTransport(tuple(part.to(device) for part in self.parts))

    def keep(self, neurons: Tensor) -> "ChainTransport":
        """The same maps on some neurons (bool, ``(D,)``), the identity on the others."""
        return ChainTransport(tuple(part.keep(neurons) for part in self.parts))

    def tensors(self) -> dict[str, Tensor]:
        """All tensors of all parts, numbered."""
        named = (
            (f"{i}.{name}", tensor)
            for i, part in enumerate(self.parts)
            for name, tensor in part.tensors().items()
        )
        return dict(named)

    @staticmethod
    def part_of(tensors: Mapping[str, Tensor], i: int) -> dict[str, Tensor]:
        """The tensors of one part, their number taken off."""
        start = f"{i}."
        return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}


def flatten(transport: Transport) -> Sequence[Transport]:
    """The maps that a transport applies one after the other."""
    return transport.parts if isinstance(transport, ChainTransport) else (transport,)

"""What a transport does to an activation, at any strength, on tokens or on pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from act_steer.errors import ShapeMismatch

Spatial = Literal["pooled", "pointwise"]
CHANNELS_FIRST = (
    nn.GroupNorm,
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.modules.conv._ConvNd,
)


def is_affine(transport: Any) -> bool:
    """Whether a transport is given by four vectors: ``scale * z + shift`` on an interval."""
    parts = [getattr(transport, name, None) for name in ("scale", "shift", "low", "high")]
    return all(isinstance(part, Tensor) and part.ndim == 1 for part in parts)


def channel_axis(shape: Sequence[int], first: bool, width: int | None = None) -> int:
    """Return 1 where an output has its channels in front, else -1.

    Norms over channels and convolutions have them in front, as has whatever has four axes or
    more; but where only one of the two axes is ``width`` long, it is that one.

    Args:
        shape: of the output, ``(B, ..., D)`` or ``(B, C, ...)``.
        first: whether it came from one of ``CHANNELS_FIRST``.
        width: number of channels, where it is known.

    Example:
        >>> channel_axis((2, 8, 4, 4), False, 8), channel_axis((2, 7, 8), False, 8)
        (1, -1)
    """
    if len(shape) < 3:
        return -1
    if width is not None and (shape[1] == width) != (shape[-1] == width):
        return 1 if shape[1] == width else -1
    return 1 if first or len(shape) > 3 else -1


class Move(nn.Module):
    """``z + 1[low <= z <= high] * strength * ((scale - 1) z + shift)``, nothing in place.

    A map with ``clamp`` moves what is outside ``[low, high]`` as far as the nearest end instead.

    It is computed in float32 (float64 for float64) and rounded once. A strength that is a number
    is worked into two vectors when it is set, so that a call costs one fused operation, or four
    where the support is bounded; one that is a tensor is read at every call, with its gradient.

    Args:
        transports: one map, or one for each of ``timesteps``; all of one width. A map that is not
            affine is called as ``transport(z, strength=...)``.
        strength: 0 leaves the activation alone, 1 transports it; a tensor ``(B,)`` has one a row.
        timesteps: of the maps, increasing; None for a map that does not depend on it.
        spatial: for outputs with channels in front, ``"pooled"`` moves the mean over positions
            and shifts every position by as much; ``"pointwise"`` moves every position.
        module: what gives the activations.
        like: a tensor of the device and type that they will probably have; None: a weight of
            ``module``. Others cost a copy once.
        name: of the module, for errors.
    """

    def __init__(
        self,
        transports: Sequence[Any],
        strength: float | Tensor = 1.0,
        *,
        timesteps: Sequence[float] | None = None,
        spatial: Spatial = "pooled",
        module: nn.Module | None = None,
        like: Tensor | None = None,
        name: str = "",
    ) -> None:
        super().__init__()
        self.called: Callable[..., Tensor] | None = None
        self.spatial, self.name = spatial, name
        self.first_axis = isinstance(module, CHANNELS_FIRST)
        self.live: Tensor | None = None
        self.idle = False
        if not all(is_affine(transport) for transport in transports):
            if len(transports) > 1:
                raise ValueError(f"{name}: only affine maps can depend on the timestep")
            self.called, self.width = transports[0], None
            self.masters: tuple[Tensor, ...] = ()
        else:
            stacked = [
                torch.stack([getattr(t, part).detach().cpu().double() for t in transports])
                for part in ("scale", "shift", "low", "high")
            ]  # each (S, D)
            scale, shift, low, high = (s[0] if timesteps is None else s for s in stacked)
            self.masters = (scale - 1, shift, low, high)
            self.width = scale.shape[-1]
            self.scaled = bool((scale != 1).any())
            self.bounded = bool(low.isfinite().any() or high.isfinite().any())
            clamps = {bool(getattr(transport, "clamp", False)) for transport in transports}
            if len(clamps) > 1:
                raise ValueError(f"{name}: the maps of all timesteps must clamp, or none")
            self.clamp = clamps.pop() and self.bounded
        self.grid: Tensor | None
        self.excess: Tensor
        self.shift: Tensor
        self.low: Tensor
        self.high: Tensor
        self.weight: Tensor
        self.bias: Tensor
        self.timed = timesteps is not None
        grid = None if timesteps is None else torch.tensor(list(timesteps), dtype=torch.float64)
        self.register_buffer("grid", grid, persistent=False)
        for part in ("excess", "shift", "low", "high", "weight", "bias"):
            self.register_buffer(part, None, persistent=False)
        self.number: float = 0.0
        self.set_strength(strength)
        if self.called is None:
            own = None if module is None else next(module.parameters(), None)
            like = like if own is None else own
            self.place(torch.device("cpu") if like is None else like.device, _precision(like))

    def set_strength(self, strength: float | Tensor) -> None:
        """Take another strength, in the tensors that are there: nothing is compiled anew."""
        if isinstance(strength, Tensor):
            self.live = strength
            self.idle = False
            return
        self.live, self.number = None, float(strength)
        self.idle = self.number == 0
        if self.weight is not None:
            with torch.no_grad():
                self.weight.copy_(1 + self.number * self.masters[0])
                self.bias.copy_(self.number * self.masters[1])

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        """Make the vectors for a device and a precision."""
        with torch.inference_mode(False), torch.no_grad():  # they may be changed outside it
            for part, master in zip(("excess", "shift", "low", "high"), self.masters, strict=True):
                setattr(self, part, master.to(device, dtype))
            self.weight = (1 + self.number * self.masters[0]).to(device, dtype)
            self.bias = (self.number * self.masters[1]).to(device, dtype)
            if self.grid is not None:
                self.grid = self.grid.to(device)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Move:
        """Follow the model to its device, but never to half precision."""
        if self.called is None:
            placed = fn(torch.empty(0, device=self.weight.device))
            self.place(placed.device, _precision(placed))
        return self

    def forward(self, z: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return the moved activation, of the shape and dtype of ``z``.

        Args:
            z: ``(B, ..., D)`` or ``(B, C, ...)``.
            rows: ``(B,)``, which of the timesteps' maps each row takes.

        Raises:
            ShapeMismatch: if the activation has another width than the map.
        """
        if not torch.compiler.is_compiling() and self.idle:
            return z
        axis = self.axis_of(z)
        x = z if z.dtype in (torch.float32, torch.float64) else z.float()
        if axis != 1:
            moved = self.points(x, rows)
        elif self.spatial == "pooled":
            pooled = x.flatten(2).mean(2)  # (B, C)
            change = self.points(pooled, rows) - pooled
            moved = x + change.reshape(*pooled.shape, *[1] * (x.ndim - 2))
        else:
            moved = self.points(x.movedim(1, -1), rows).movedim(-1, 1)
        return moved.to(z.dtype)

    def axis_of(self, z: Tensor) -> int:
        """Return the axis of the channels, and check that they are as many as the map's."""
        if not z.is_floating_point():
            raise TypeError(f"{self.name} gives {z.dtype}, which no map moves")
        axis = channel_axis(z.shape, self.first_axis, self.width)
        if self.width is not None and z.shape[axis] != self.width:
            raise ShapeMismatch(
                f"{self.name} gives {tuple(z.shape)}, and its map is {self.width} wide: "
                "was it fitted on another model?"
            )
        return axis

    def points(self, x: Tensor, rows: Tensor | None) -> Tensor:
        """Return ``x`` ``(B, ..., D)`` with every vector moved."""
        if self.called is not None:
            return self.called(x, strength=self.number if self.live is None else self.at(x))
        dtype, weight = _precision(x), self.weight
        if weight.device != x.device or weight.dtype != dtype:
            self.place(x.device, dtype)
            weight = self.weight
        live = self.live is not None
        parts = self.excess if live else weight, self.shift if live else self.bias
        parts = *parts, self.low, self.high
        if rows is not None:
            shape = (len(rows), *[1] * (x.ndim - 2), x.shape[-1])
            parts = tuple(part[rows].reshape(shape) for part in parts)
        weight, bias, low, high = parts
        if live:
            strength = self.at(x)
            weight, bias = 1 + strength * weight, strength * bias
        if not self.bounded:
            return torch.addcmul(bias, x, weight) if self.scaled else x + bias
        if self.clamp:
            return x + torch.addcmul(bias, x.clamp(low, high), weight - 1)
        return torch.where(x.clamp(low, high) == x, torch.addcmul(bias, x, weight), x)

    def at(self, x: Tensor) -> Tensor:
        """Return the strength that is a tensor, to be multiplied with ``x`` ``(B, ..., D)``.

        Raises:
            ShapeMismatch: if it has a strength a row, and not as many as there are rows.
        """
        if self.live is None:
            raise ValueError(f"{self.name} has a number for its strength")
        strength = self.live.to(x.device, _precision(x))
        if strength.ndim == 0:
            return strength
        if len(strength) != len(x):
            raise ShapeMismatch(
                f"{self.name} moves {len(x)} rows, and there are {len(strength)} strengths: "
                "give one a row, or one for all"
            )
        return strength.reshape(-1, *[1] * (x.ndim - 1))

    def rows_of(self, timestep: Tensor, batch: int) -> Tensor:
        """Return ``(batch,)``, the fitted timestep nearest to that of each row.

        Args:
            timestep: of the rows: one for all, or ``(B,)``; ``batch`` may be a multiple of B
                where all are alike.
            batch: rows of the activation.

        Raises:
            ValueError: if rows of different timesteps cannot be told apart.
        """
        if self.grid is None:
            raise ValueError(f"{self.name} has one map for all timesteps")
        t = timestep.reshape(-1).to(self.grid.device, torch.float64)
        if len(t) not in (1, batch):
            if batch % len(t) or bool((t != t[0]).any()):
                raise ValueError(
                    f"{self.name} gives {batch} rows, and there are {len(t)} timesteps: which "
                    "row belongs to which cannot be told"
                )
            t = t[:1]
        nearest = (t[:, None] - self.grid).abs().argmin(1)
        return nearest.expand(batch)


def _precision(x: Tensor | None) -> torch.dtype:
    return torch.float64 if x is not None and x.dtype == torch.float64 else torch.float32

"""What stands behind a steered module: a forward hook, or a module around it."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from act_steer.move import Move


class Clock:
    """Reads the denoiser's timestep before its forward; a pre-hook with keyword arguments.

    Args:
        net: the denoiser; the name of its argument must be ``timestep``, ``t``, ``timesteps`` or
            ``sigma``.

    Raises:
        ValueError: if it has none of them.
    """

    NAMES = ("timestep", "t", "timesteps", "sigma")

    def __init__(self, net: nn.Module) -> None:
        names = list(inspect.signature(net.forward).parameters)
        found = [name for name in self.NAMES if name in names]
        if not found:
            raise ValueError(
                f"{type(net).__name__}.forward must take one of {', '.join(self.NAMES)} for maps "
                f"that depend on the timestep, got {', '.join(names)}"
            )
        self.name, self.position = found[0], names.index(found[0])
        self.timestep: Tensor | None = None

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keep the timestep of this call."""
        value = kwargs.get(self.name, args[self.position] if self.position < len(args) else None)
        if value is None:
            raise ValueError(f"the denoiser was called without {self.name}")
        self.timestep = torch.as_tensor(value).detach()

    def only(self) -> float:
        """Return the timestep that all rows of the call have.

        Raises:
            ValueError: if they differ, or the denoiser was not called.
        """
        if self.timestep is None:
            raise ValueError("a module ran outside the denoiser: its timestep is not known")
        t = self.timestep.reshape(-1)
        if bool((t != t[0]).any()):
            raise ValueError(f"the rows of one call must have one timestep, got {t.tolist()}")
        return float(f"{float(t[0]):.7g}")  # float32's 0.8 is 0.8


class Change:
    """Moves the outputs of one module; called as a forward hook is.

    Args:
        owner: the steering that the maps belong to.
        moves: by index of the output; None stands for an output that is a tensor.
        clock: what knows the timestep, where a map depends on it.
        half: move only this half of the rows, ``"last"`` or ``"first"``; None moves all.
    """

    def __init__(
        self,
        owner: object,
        moves: Mapping[int | None, Move],
        clock: Clock | None,
        half: str | None = None,
    ) -> None:
        self.owner, self.moves = owner, dict(moves)
        self.clock, self.half = clock, half

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Any:
        """Return the output with what is steered of it moved; nothing is written in place."""
        for index, move in self.moves.items():
            output = replaced(output, index, self.moved(part(output, index, move.name), move))
        return output

    def moved(self, z: Tensor, move: Move) -> Tensor:
        """Return ``z`` ``(B, ...)`` moved as this call asks for."""
        rows = None
        if move.timed:
            if self.clock is None or self.clock.timestep is None:
                raise ValueError(f"{move.name} ran outside the denoiser: its timestep is not known")
            rows = move.rows_of(self.clock.timestep, len(z))
        if self.half is None:
            return move.forward(z, rows)  # past the hooks that a module may have
        if len(z) % 2:
            raise ValueError(f'cfg="cond" needs batches of two halves, {move.name} gave {len(z)}')
        n = len(z) // 2
        part = slice(n, None) if self.half == "last" else slice(n)
        moved = move(z[part], None if rows is None else rows[part])
        return torch.cat([z[:n], moved] if self.half == "last" else [moved, z[n:]])


class SteeredModule(nn.Module):
    """A module and the maps on its outputs, in its place; its state dict is the module's own.

    Args:
        inner: the module.
        change: what moves its outputs.
    """

    def __init__(self, inner: nn.Module, change: Change) -> None:
        super().__init__()
        self.inner, self.change = inner, change
        self.moves = nn.ModuleList(change.moves.values())
        self.train(inner.training)
        self.register_state_dict_post_hook(_without_inner)
        self.register_load_state_dict_pre_hook(_with_inner)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's output, moved."""
        inner: Any = self._modules["inner"]  # past __getattr__, which is slow
        return self.change(inner, args, inner(*args, **kwargs))

    def __getattr__(self, name: str) -> Any:
        """What this module lacks is the inner one's, as its ``weight``."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)


def _without_inner(
    module: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any]
) -> None:
    for key in [key for key in state if key.startswith(f"{prefix}inner.")]:
        state[prefix + key.removeprefix(f"{prefix}inner.")] = state.pop(key)


def _with_inner(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for key in [key for key in state if key.startswith(prefix)]:
        state[f"{prefix}inner.{key.removeprefix(prefix)}"] = state.pop(key)


def part(output: Any, index: int | None, name: str) -> Tensor:
    """Return the tensor that is meant of a module's output.

    Raises:
        TypeError: if there is none; the message says what there is.
    """
    if isinstance(output, Tensor) and index in (None, 0):
        return output
    items = list(output.values()) if isinstance(output, Mapping) else output
    several = isinstance(items, (tuple, list))
    if (
        several
        and index is not None
        and isinstance(found := dict(enumerate(items)).get(index), Tensor)
    ):
        return found
    kind = type(output).__name__
    if several:
        kind += f" of {', '.join(type(item).__name__ for item in items)}"
    path = name.partition(":")[0]
    raise TypeError(f"{path} gives {kind}: name a tensor of it, as {path}:0, got {name!r}")


def replaced(output: Any, index: int | None, value: Tensor) -> Any:
    """Return the output, of its own type, with another tensor at ``index``."""
    if isinstance(output, Tensor):
        return value
    if isinstance(output, Mapping):
        fresh: Any = copy.copy(output)
        fresh[list(output)[index or 0]] = value
        return fresh
    items = [*output[:index], value, *output[(index or 0) + 1 :]]
    return output._make(items) if hasattr(output, "_make") else type(output)(items)

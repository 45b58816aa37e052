"""Steer a model: put maps on its modules, for a while, and take them off without a trace."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, cast

from torch import Tensor, nn

from act_steer.hooks import Change, Clock, SteeredModule
from act_steer.move import Move, Spatial
from act_steer.sites import check_width, grouped, module_at, network_of, refuse_compiled

Strength = float | Tensor | Mapping[str, float | Tensor]
Mode = Literal["hook", "module"]
Guidance = Literal["both", "cond"]


class StrengthWarning(UserWarning):
    """A strength below 0 or above 1 goes beyond what was fitted."""


@contextmanager
def apply(
    steering: Mapping[str, Any],
    model: Any,
    *,
    strength: Strength = 1.0,
    mode: Mode = "hook",
    spatial: Spatial | None = None,
    cfg: Guidance = "both",
) -> Iterator[Attachment]:
    """Steer ``model`` inside a ``with`` block; it comes out as it went in, whatever happens.

    Two blocks, one in the other, compose: the inner one's maps move what the outer one's moved.

    Args:
        steering: maps by key, ``path[:index][@timestep]``.
        model: a module, or a pipeline of diffusers, whose denoiser is meant.
        strength: 0 is the model as it is, 1 full transport, between them the way there, beyond
            them extrapolation, which warns (it is not the inverse map). A number; a tensor, read
            at every call, 0-d for all or ``(B,)`` for the rows of the batch that are moved; or
            any of these by pattern, a regular expression that is searched in ``path[:index]``:
            the first that fits counts, and what none fits stays as it is.
        mode: as for `attach`.
        spatial: the rule of outputs with channels in front: ``"pooled"`` shifts a whole channel
            by what its mean is moved by, ``"pointwise"`` moves every pixel. None takes what the
            steering was fitted with.
        cfg: ``"cond"`` moves only the conditional half of a batch that classifier-free guidance
            doubled: the last one, or what the steering was fitted with.

    Yields:
        The attachment, whose ``strength`` can be set anew. A key-value cache that is filled
        already keeps the strength that it was filled with.

    Raises:
        ValueError: if a module is missing, is compiled already or is steered by the same maps.
        ShapeMismatch: if a map has another width than its module's output.

    Source:
        The paper's interpolated map, ``(1 - strength) z + strength T(z)``.

    Example:
        >>> import torch
        >>> from types import SimpleNamespace as Map
        >>> net, inf = nn.Sequential(nn.Identity()), torch.full((2,), torch.inf)
        >>> double = Map(scale=torch.full((2,), 2.0), shift=torch.ones(2), low=-inf, high=inf)
        >>> with apply({"0": double}, net, strength=0.5):
        ...     net(torch.tensor([[1.0, 2.0]]))
        tensor([[2.0000, 3.5000]])
        >>> net(torch.tensor([[1.0, 2.0]]))
        tensor([[1., 2.]])
    """
    attachment = attach(steering, model, strength=strength, mode=mode, spatial=spatial, cfg=cfg)
    try:
        yield attachment
    finally:
        attachment.remove()


def attach(
    steering: Mapping[str, Any],
    model: Any,
    *,
    strength: Strength = 1.0,
    mode: Mode = "hook",
    spatial: Spatial | None = None,
    cfg: Guidance = "both",
) -> Attachment:
    """Steer ``model`` until ``remove()``; the arguments are those of `apply`.

    Args:
        steering: as for `apply`.
        model: as for `apply`.
        strength: as for `apply`.
        mode: ``"hook"``, forward hooks; ``"module"``, a module around each that is steered, which
            ``torch.compile`` traces through: another strength compiles nothing anew.
        spatial: as for `apply`.
        cfg: as for `apply`.

    Returns:
        What sets the strength, and takes the maps off again.

    Raises:
        ValueError: as `apply`.
        ShapeMismatch: as `apply`.

    Source:
        Module mode is ours.

    Example:
        >>> import torch
        >>> from types import SimpleNamespace as Map
        >>> net, inf = nn.Sequential(nn.Identity()), torch.full((2,), torch.inf)
        >>> shift = Map(scale=torch.ones(2), shift=torch.ones(2), low=-inf, high=inf)
        >>> handle = attach({"0": shift}, net, mode="module")
        >>> handle.strength = 0.25
        >>> net(torch.zeros(1, 2))
        tensor([[0.2500, 0.2500]])
        >>> handle.remove()
    """
    if mode not in ("hook", "module"):
        raise ValueError(f'mode must be "hook" or "module", got {mode!r}')
    if cfg not in ("both", "cond"):
        raise ValueError(f'cfg must be "both" or "cond", got {cfg!r}')
    if spatial is None:
        spatial = getattr(steering, "metadata", {}).get("spatial", "pooled")
    if spatial not in ("pooled", "pointwise"):
        raise ValueError(f'spatial must be "pooled" or "pointwise", got {spatial!r}')
    net = network_of(model)
    refuse_compiled(net)
    moves = moves_for(steering, net, cast("Spatial", spatial))
    timed = any(move.timed for move in moves.values())
    clock = Clock(net) if timed else None
    by_path: dict[str, dict[int | None, Move]] = {}
    for output, move in moves.items():
        path, _, index = output.partition(":")
        by_path.setdefault(path, {})[int(index) if index else None] = move
    known = getattr(steering, "metadata", {}).get("conditional")
    half = None if cfg == "both" else known or "last"
    changes = {path: Change(steering, parts, clock, half) for path, parts in by_path.items()}
    for path in changes:
        refuse_twice(module_at(net, path), steering, path)
    attachment = Attachment(moves, strength)
    if clock is not None:
        attachment.undo.append(net.register_forward_pre_hook(clock, with_kwargs=True).remove)
    for path, change in changes.items():
        module = module_at(net, path)
        if mode == "hook":
            attachment.undo.append(module.register_forward_hook(change).remove)
        else:
            attachment.undo.append(put(net, path, SteeredModule(module, change)))
    return attachment


class Attachment:
    """Maps on a model.

    Args:
        moves: by output, ``path[:index]``.
        strength: as for `apply`.
    """

    def __init__(self, moves: Mapping[str, Move], strength: Strength) -> None:
        self.moves = moves
        self.undo: list[Callable[[], object]] = []
        self.strength = strength

    @property
    def strength(self) -> Strength:
        """What was set last; setting it changes what the next call of the model does."""
        return self._strength

    @strength.setter
    def strength(self, value: Strength) -> None:
        for output, number in resolve(value, self.moves).items():
            self.moves[output].set_strength(number)
        self._strength = value

    def remove(self) -> None:
        """Take the maps off; a second time does nothing."""
        while self.undo:
            self.undo.pop()()

    def __enter__(self) -> Attachment:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def moves_for(steering: Mapping[str, Any], net: nn.Module, spatial: Spatial) -> dict[str, Move]:
    """Return what each output, ``path[:index]``, is moved by; the model is not touched.

    Raises:
        ValueError: if there is no map, or no module of that name.
        ShapeMismatch: if a map has another width than its module's output.
    """
    if not steering:
        raise ValueError("the steering holds no map")
    moves = {}
    for output, sites in grouped(steering).items():
        module = module_at(net, sites[0][0].path)
        check_width(module, output, {key: steering[key] for _, key in sites})
        times = [site.timestep for site, _ in sites if site.timestep is not None]
        moves[output] = Move(
            [steering[key] for _, key in sites],
            timesteps=times or None,
            spatial=spatial,
            module=module,
            like=next(net.parameters(), None),
            name=output,
        )
    return moves


def resolve(strength: Strength, outputs: Iterable[str]) -> dict[str, float | Tensor]:
    """Return the strength of every output.

    Args:
        strength: as for `apply`.
        outputs: ``path[:index]``.

    Raises:
        ValueError: if a number is not finite, a tensor has two axes, or a pattern fits nothing.

    Example:
        >>> resolve({"mlp": 0.5, "": 1.0}, ["0.mlp", "0.norm"])
        {'0.mlp': 0.5, '0.norm': 1.0}
    """
    outputs = list(outputs)
    table = strength if isinstance(strength, Mapping) else {"": strength}
    for pattern, value in table.items():
        if isinstance(value, Tensor):
            if value.ndim > 1 or not value.is_floating_point():
                got = f"{value.dtype} of shape {tuple(value.shape)}"
                raise ValueError(
                    f"a strength that is a tensor must be floating, 0-d or (batch,), got {got}"
                )
        elif isinstance(value, bool) or not isinstance(value, int | float):
            got = type(value).__name__
            raise TypeError(f"strength must be a number, a tensor or a mapping, got {got}")
        elif not math.isfinite(value):
            raise ValueError(f"strength must be finite, got {value}")
        elif not 0 <= value <= 1:
            warnings.warn(
                f"strength {value:g} is outside 0 to 1: the maps were fitted for the way between",
                StrengthWarning,
                stacklevel=4,
            )
        if not any(re.search(pattern, output) for output in outputs):
            raise ValueError(f"the pattern {pattern!r} fits none of {', '.join(outputs[:5])}")
    fitting = {
        output: [value for pattern, value in table.items() if re.search(pattern, output)]
        for output in outputs
    }
    return {output: values[0] if values else 0.0 for output, values in fitting.items()}


def refuse_twice(module: nn.Module, steering: object, path: str) -> None:
    """Raise where the same maps are on a module already, hooked or as a module around it.

    Raises:
        ValueError: if they are.
    """
    changes: list[Any] = list(module._forward_hooks.values())
    while isinstance(module, SteeredModule):
        changes.append(module.change)
        module = module.inner
        changes += module._forward_hooks.values()
    if any(isinstance(change, Change) and change.owner is steering for change in changes):
        raise ValueError(f"{path} is steered by these maps already: remove them first")


def put(net: nn.Module, path: str, module: SteeredModule) -> Callable[[], None]:
    """Set a module around the one at ``path``, and return what takes it out again.

    Raises:
        ValueError: if that is the model itself, which stands in nothing.
    """
    if not path:
        raise ValueError('the model itself cannot be put into a module: use mode="hook"')
    parent_path, _, name = path.rpartition(".")

    def slot() -> tuple[nn.Module, str]:
        parent = net.get_submodule(parent_path)
        while isinstance(parent, SteeredModule):
            parent = parent.inner
        return parent, name

    parent, name = slot()
    parent._modules[name] = module

    def take_out() -> None:
        holder, key = slot()
        while (found := holder._modules[key]) is not module:  # another one was set around it
            if not isinstance(found, SteeredModule):
                return
            holder, key = found, "inner"
        holder._modules[key] = module.inner

    return take_out

"""What an EMA follows in a model: every tensor once, under a name that no wrapper changes."""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import groupby
from typing import Any, Literal

import torch
from torch import Tensor, nn

Policy = Literal["average", "copy", "skip"]
POLICIES = ("copy", "average", "skip")
_WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}


def canonical_name(name: str) -> str:
    """The name of a parameter without what torch.compile, DDP, FSDP and checkpointing put in it.

    Args:
        name: a name as ``named_parameters`` gives it.

    Returns:
        The same name on the bare model.

    Example:
        >>> canonical_name("module._orig_mod.0._checkpoint_wrapped_module.weight")
        '0.weight'
    """
    parts = [part for part in name.split(".") if part not in _WRAPPERS]
    while len(parts) > 1 and parts[0] == "module":
        parts = parts[1:]
    return ".".join(parts)


def unwrap(model: nn.Module) -> nn.Module:
    """The bare model inside torch.compile, DistributedDataParallel or DataParallel."""
    parallel = (nn.parallel.DistributedDataParallel, nn.DataParallel)
    while True:
        if isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        elif isinstance(model, parallel):
            model = model.module
        else:
            return model


def local(tensor: Tensor) -> Tensor:
    """This process's part of a sharded tensor; any other tensor itself."""
    return tensor.to_local() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]


def is_sharded(tensor: Tensor) -> bool:
    """Whether it is a DTensor, told without importing torch.distributed."""
    return type(tensor).__name__ == "DTensor"


@dataclass(frozen=True)
class Slot:
    """Where a tensor lives: looked up anew each time, since modules may replace it."""

    name: str
    raw_name: str
    home: dict[str, Tensor | None]
    key: str
    policy: Policy
    is_buffer: bool

    def tensor(self) -> Tensor:
        """The tensor that the model holds there now."""
        found = self.home.get(self.key)
        if found is None:
            raise ValueError(f"the model has no {self.name} any more: build a new ModelEMA")
        return found


@dataclass(frozen=True)
class Tracked:
    """The slots of a model: each tensor once; ``aliases`` are further names of tied ones."""

    slots: tuple[Slot, ...]
    aliases: Mapping[str, str]  # raw name -> canonical name of the slot that holds it
    getters: tuple[tuple[Callable[[Any], Any], dict[str, Tensor | None]], ...]

    def names(self) -> set[str]:
        """The canonical names."""
        return {slot.name for slot in self.slots}


def track(model: nn.Module, buffers: Policy | Mapping[str, Policy]) -> Tracked:
    """The tensors of a bare model: parameters, and persistent buffers by their policy.

    Args:
        model: the unwrapped model.
        buffers: one policy, or patterns (``fnmatch``, first match holds) to policies.

    Returns:
        What is to be followed; buffers of policy "skip" are absent.

    Raises:
        ValueError: if there is no parameter, one has no storage, or a policy is unknown.
        TypeError: if a parameter is quantised.
    """
    for policy in [buffers] if isinstance(buffers, str) else buffers.values():
        if policy not in POLICIES:
            raise ValueError(f"buffers must be one of {', '.join(POLICIES)}; got {policy!r}")
    slots: dict[object, Slot] = {}
    aliases: dict[str, str] = {}
    taken: set[str] = set()
    for raw, home, key, tensor, is_buffer in _tensors(model):
        if tensor.is_meta:
            raise ValueError(f"{raw} is on the meta device: give the model its weights first")
        if tensor.is_quantized:
            raise TypeError(f"{raw} is quantised and cannot be averaged: dequantise the model")
        identity = _identity(tensor)
        if identity in slots:
            aliases[raw] = slots[identity].name
            continue
        name = canonical_name(raw)
        name = raw if name in taken else name
        taken.add(name)
        policy = _policy(name, buffers if is_buffer else "average")
        if policy != "skip":
            slots[identity] = Slot(name, raw, home, key, policy, is_buffer)
    if not any(not slot.is_buffer for slot in slots.values()):
        raise ValueError(f"{type(model).__name__} has no parameters to average")
    found = tuple(slots.values())
    return Tracked(found, aliases, tuple(_getters(found)))


def _getters(
    slots: Sequence[Slot],
) -> Iterator[tuple[Callable[[Any], Any], dict[str, Tensor | None]]]:
    """For each run of slots in one home, a function that looks them all up at once."""
    for _, run in groupby(slots, key=lambda slot: id(slot.home)):
        group = list(run)
        keys = [slot.key for slot in group]
        yield operator.itemgetter(*keys, keys[0]), group[0].home


def _tensors(
    model: nn.Module,
) -> Iterator[tuple[str, dict[str, Tensor | None], str, Tensor, bool]]:
    """Parameters first, then persistent buffers: raw name, where it lives, tensor, is a buffer."""
    modules = list(model.named_modules(remove_duplicate=False))
    for is_buffer in (False, True):
        for prefix, module in modules:
            home = module._buffers if is_buffer else module._parameters
            for key, tensor in home.items():
                if tensor is None or (is_buffer and key in module._non_persistent_buffers_set):
                    continue
                raw = f"{prefix}.{key}" if prefix else key
                yield raw, home, key, tensor, is_buffer  # type: ignore[misc]


def _identity(tensor: Tensor) -> object:
    """Equal for tensors that share all of their storage."""
    part = local(tensor)
    if is_sharded(tensor) or part.numel() == 0:
        return id(tensor)
    return part.data_ptr(), part.dtype, tuple(part.shape), part.stride()


def _policy(name: str, rule: Policy | Mapping[str, Policy]) -> Policy:
    if isinstance(rule, str):
        return rule
    return next((p for pattern, p in rule.items() if fnmatchcase(name, pattern)), "copy")


def sources(tracked: Tracked, before: list[Tensor] | None) -> list[Tensor]:
    """The model's tensors as they are now, in the order of the slots.

    A sharded model that is gathered for a forward pass still answers with its shards.
    """
    live: list[Any] = []
    try:
        for get, home in tracked.getters:
            live += get(home)[:-1]  # the last one only makes it a tuple
    except KeyError:
        live = [slot.home.get(slot.key) for slot in tracked.slots]
    if before is not None and all(map(operator.is_, live, before)):
        return live
    if before is None:
        before = live
    return [
        old if is_sharded(old) and (new is None or not is_sharded(new)) else slot.tensor()
        for slot, new, old in zip(tracked.slots, live, before, strict=True)
    ]


def check_same(shapes: Mapping[str, torch.Size], tracked: Tracked, now: Tracked) -> None:
    """Say by name what was added, removed or reshaped since the EMA was made.

    Raises:
        ValueError: naming up to five tensors of each kind.
    """
    current = {slot.name: slot.tensor().shape for slot in now.slots}
    added = sorted(current.keys() - shapes.keys())
    removed = sorted(shapes.keys() - current.keys())
    reshaped = [
        f"{name} {tuple(shapes[name])} -> {tuple(current[name])}"
        for name in sorted(shapes.keys() & current.keys())
        if shapes[name] != current[name]
    ]
    kinds = {"added": added, "removed": removed, "reshaped": reshaped}
    parts = [f"{kind}: {', '.join(names[:5])}" for kind, names in kinds.items() if names]
    if parts:
        raise ValueError(f"the model changed ({'; '.join(parts)}): build a new ModelEMA for it")

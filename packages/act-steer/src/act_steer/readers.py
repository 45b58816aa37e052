"""Who reads a module's output, found by watching one forward."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

ALIASES = ("view", "reshape", "contiguous", "to", "__getitem__", "flatten", "unsqueeze", "float")
"""What hands a tensor on with its channels last, as they were."""


class Watch(TorchFunctionMode):
    """Notes which functions take the outputs of some modules, and with which weights.

    Args:
        paths: of the modules, by the module.
    """

    def __init__(self, paths: Mapping[nn.Module, str]) -> None:
        super().__init__()
        self.paths = paths
        self.seen: dict[int, tuple[str, Tensor]] = {}  # the tensors are kept, so ids stay theirs
        self.readers: dict[str, list[tuple[str, list[Tensor]]]] = {p: [] for p in paths.values()}

    def hook(self, module: nn.Module, args: Any, output: Any) -> None:
        """Forward hook of the modules."""
        if isinstance(output, Tensor):
            self.seen[id(output)] = (self.paths[module], output)

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call the function, and note it where it reads what is watched."""
        result = func(*args, **(kwargs or {}))
        given = [x for x in tree_leaves((args, dict(kwargs or {}))) if isinstance(x, Tensor)]
        found = [self.seen[id(x)] for x in given if id(x) in self.seen]
        if found and any(isinstance(x, Tensor) for x in tree_leaves(result)):
            name = getattr(func, "__name__", str(func))
            for path, tensor in found:
                same = isinstance(result, Tensor) and result.shape[-1:] == tensor.shape[-1:]
                if name in ALIASES and same:
                    self.seen[id(result)] = (path, result)
                else:
                    self.readers[path].append((name, [x for x in given if x is not tensor]))
        return result


def readers_of(
    net: nn.Module, paths: Iterable[str], example: Mapping[str, Any]
) -> dict[str, list[tuple[str, nn.Module | None]]]:
    """Return who reads the outputs of some modules: functions, and the modules of their weights.

    Args:
        net: the model.
        paths: of the modules.
        example: keyword arguments of one forward.

    Returns:
        By path, ``(function, module)``; the module is None where no weight tells.
    """
    modules = {net.get_submodule(path): path for path in paths}
    watch = Watch(modules)
    handles = [module.register_forward_hook(watch.hook) for module in modules]
    try:
        with watch:
            quietly(net, example)
    finally:
        for handle in handles:
            handle.remove()
    owners: dict[int, nn.Module] = {}
    for module in net.modules():
        weight = module._parameters.get("weight")
        if weight is not None:
            owners[id(weight)] = module
    found: dict[str, list[tuple[str, nn.Module | None]]] = {}
    for path, read in watch.readers.items():
        whose = [
            (name, next((owners[id(x)] for x in beside if id(x) in owners), None))
            for name, beside in read
        ]
        found[path] = list(dict.fromkeys(whose))
    return found


def last_linear(net: nn.Module, path: str, example: Mapping[str, Any]) -> nn.Module | None:
    """Return the linear module inside the one at ``path`` that ran last, None if there is none."""
    ran: list[nn.Module] = []

    def note(module: nn.Module, args: Any, output: Any) -> None:
        ran.append(module)

    handles = [
        module.register_forward_hook(note)
        for module in net.get_submodule(path).modules()
        if is_linear(module)
    ]
    try:
        quietly(net, example)
    finally:
        for handle in handles:
            handle.remove()
    return ran[-1] if ran else None


def output_of(net: nn.Module, path: str, example: Mapping[str, Any]) -> Tensor | None:
    """Return the output of a module in one forward, or the first of a tuple."""
    seen: list[Any] = []

    def note(module: nn.Module, args: Any, output: Any) -> None:
        seen.append(output)

    handle = net.get_submodule(path).register_forward_hook(note)
    try:
        quietly(net, example)
    finally:
        handle.remove()
    found = next(iter(tree_leaves(seen)), None)
    return found if isinstance(found, Tensor) else None


def quietly(net: nn.Module, example: Mapping[str, Any]) -> None:
    """Run the model once without gradient or dropout; it stays in the mode that it is in."""
    training = {module for module in net.modules() if module.training}
    try:
        with torch.no_grad():
            net.eval()(**example)
    finally:
        for module in training:
            module.training = True


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a plain Linear, or transformers' Conv1D, its transpose."""
    plain = type(module).forward is nn.Linear.forward
    transposed = type(module).__name__ == "Conv1D" and hasattr(module, "nf")
    return plain or transposed

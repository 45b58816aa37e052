"""How each kind of module takes an affine map of its output into weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from act_steer.readers import is_linear, last_linear, output_of

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)
CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class NotFoldable(ValueError):
    """A map that no weight can hold.

    Args:
        reason: why.
        module: whose map it is.
    """

    def __init__(self, reason: str, module: str) -> None:
        super().__init__(f"the map of {module} cannot be folded: {reason}")
        self.reason, self.module = reason, module


class Undo:
    """Puts the weights back that were there before a fold, bit for bit; once.

    Attributes:
        changed: names of the parameters that were made anew.
        made: those parameters, and the module whose map each was made for, by their id.
        path: of the module whose map is being folded.
    """

    def __init__(self) -> None:
        self.changed: list[str] = []
        self.made: dict[int, tuple[nn.Parameter, str]] = {}
        self.path = ""
        self._steps: list[Callable[[], None]] = []

    def __call__(self) -> None:
        """Put them back."""
        while self._steps:
            self._steps.pop()()

    def set(self, module: nn.Module, name: str, value: Tensor) -> None:
        """Give a module another parameter, of the old one's type."""
        old, known = module._parameters.get(name), name in module._parameters
        like = next(p for p in module.parameters(recurse=False)) if old is None else old
        fresh = nn.Parameter(value.to(like), requires_grad=like.requires_grad)

        def put_back() -> None:
            if not known:
                module._parameters.pop(name)
                return
            if old is not None:
                old.data = old.data.to(fresh.device)  # the model may have moved
            module._parameters[name] = old

        self.made[id(fresh)] = (fresh, self.path)
        self._steps.append(put_back)
        module._parameters[name] = fresh

    def configure(self, config: Any, name: str, value: object) -> None:
        """Change a setting."""
        old = getattr(config, name)
        self._steps.append(lambda: setattr(config, name, old))
        setattr(config, name, value)


@dataclass(frozen=True)
class Affine:
    """What is to be folded: ``weight * z + bias``, float64 ``(D,)`` each.

    Attributes:
        path: of the module.
        weight: factor.
        bias: what is added.
    """

    path: str
    weight: Tensor
    bias: Tensor

    @property
    def scales(self) -> bool:
        """Whether any factor is not 1."""
        return bool((self.weight != 1).any())

    @property
    def shifts(self) -> bool:
        """Whether anything is added."""
        return bool((self.bias != 0).any())


def fold_norm(net: nn.Module, module: nn.Module, affine: Affine, undo: Undo) -> None:
    """``gamma' = w gamma``, ``bias' = w bias + b``; a norm without them gets them."""
    one = torch.ones_like(affine.weight)
    weight, bias = module._parameters.get("weight"), module._parameters.get("bias")
    if weight is None:
        reason = "its norm has neither weight nor bias"
        raise NotFoldable(reason, affine.path)
    if weight.ndim != 1:
        raise NotFoldable(f"its weight has {weight.ndim} axes", affine.path)
    if affine.scales:
        require(net, module, affine, "weight")
        undo.set(module, "weight", affine.weight * weight.double())
    old = 0 * one if bias is None else bias.double()
    if affine.shifts or (affine.scales and bias is not None):
        if bias is not None:
            require(net, module, affine, "bias")
        undo.set(module, "bias", affine.weight * old + affine.bias)


def fold_output(net: nn.Module, module: nn.Module, affine: Affine, undo: Undo) -> None:
    """``W' = diag(w) W``, ``bias' = w bias + b``."""
    bias = module._parameters.get("bias")
    if affine.scales:
        weight = require(net, module, affine, "weight").double()
        shape = [-1] if is_transposed(module) else [-1, *[1] * (weight.ndim - 1)]
        undo.set(module, "weight", affine.weight.reshape(shape) * weight)
    else:
        floating(module, affine)
    if bias is None:
        if affine.shifts:
            undo.set(module, "bias", affine.bias)
        return
    if affine.shifts or affine.scales:
        old = require(net, module, affine, "bias").double()
        undo.set(module, "bias", affine.weight * old + affine.bias)


def fold_readers(
    net: nn.Module,
    affine: Affine,
    readers: list[tuple[str, nn.Module | None]],
    undo: Undo,
) -> None:
    """``W' = W diag(w)``, ``bias' = bias + W b`` for every module that reads the output."""
    others = [name for name, module in readers if module is None or not readable(module)]
    if others or not readers:
        whom = f"{', '.join(sorted(set(others)))} reads it" if others else "nothing reads it"
        raise NotFoldable(f"its shift needs Linears that read it, and {whom}", affine.path)
    for _, module in readers:
        if module is None:
            continue
        if (
            isinstance(module, CONVS)
            and affine.shifts
            and module.padding not in ("valid", (0,) * len(module.kernel_size))
        ):
            raise NotFoldable("a convolution with padding reads it: borders differ", affine.path)
        weight = floating(module, affine).double()
        if affine.scales:
            require(net, module, affine, "weight")
            along = [-1, 1] if is_transposed(module) else [1, -1, *[1] * (weight.ndim - 2)]
            undo.set(module, "weight", weight * affine.weight.reshape(along))
        if affine.shifts:
            matrix = weight.mT if is_transposed(module) else weight
            if matrix.ndim > 2:  # all taps of a convolution see the shift
                matrix = matrix.flatten(2).sum(2)
            bias = module._parameters.get("bias")
            old = 0.0 if bias is None else bias.double()
            undo.set(module, "bias", old + matrix @ affine.bias)


def fold_last(net: nn.Module, affine: Affine, example: Mapping[str, Any], undo: Undo) -> None:
    """Fold into the Linear that ends a larger module, if that gives the same on one forward."""
    linear, plain = last_linear(net, affine.path, example), output_of(net, affine.path, example)
    if linear is None or plain is None or plain.shape[-1] != len(affine.weight):
        raise NotFoldable("no Linear ends it", affine.path)
    shape = floating(linear, affine).shape
    width = shape[1] if is_transposed(linear) else shape[0]
    if width != len(affine.weight):
        raise NotFoldable("no Linear ends it", affine.path)
    want = plain.double() * affine.weight + affine.bias
    fold_output(net, linear, affine, undo)
    got = output_of(net, affine.path, example)
    tolerance = 1e-4 if plain.dtype in (torch.float32, torch.float64) else 3e-2
    if got is None or (got.double() - want).abs().max() > tolerance * want.abs().max():
        reason = "what ends it is not one Linear (a residual sum takes a shift, but no factor)"
        raise NotFoldable(reason, affine.path)


def is_rms_norm(module: nn.Module) -> bool:
    """Whether a module looks like an RMS norm: a weight ``(D,)``, nothing else, and the name."""
    own = {name: p for name, p in module._parameters.items() if p is not None}
    named = "rmsnorm" in type(module).__name__.lower()
    return named and not module._modules and set(own) == {"weight"} and own["weight"].ndim == 1


def gamma_offset(module: nn.Module, affine: Affine) -> float:
    """Return 0 for an RMS norm that multiplies by its weight, 1 for one plus its weight.

    Raises:
        NotFoldable: if it does neither.
    """
    weight = floating(module, affine)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, len(weight), generator=generator).to(weight)
    with torch.no_grad():
        got = type(module).forward(module, x).double()
    normal = x.double() * x.double().square().mean(1, keepdim=True).rsqrt()
    tolerance = 1e-3 if weight.dtype in (torch.float32, torch.float64) else 3e-2
    for offset in (0.0, 1.0):
        want = normal * (offset + weight.double())
        if bool((got - want).abs().max() <= tolerance * (1 + want.abs().max())):
            return offset
    raise NotFoldable(f"a {type(module).__name__} is no RMS norm times a weight", affine.path)


def is_transposed(module: nn.Module) -> bool:
    """Whether a linear module keeps its weight as ``(in, out)``, as transformers' Conv1D."""
    return type(module).__name__ == "Conv1D"


def readable(module: nn.Module) -> bool:
    """Whether a factor and a shift of a module's input can go into its weights."""
    return is_linear(module) or (isinstance(module, CONVS) and module.groups == 1)


def floating(module: nn.Module, affine: Affine) -> Tensor:
    """Return a module's weight, which must be an ordinary tensor of numbers.

    Raises:
        NotFoldable: if it is quantised, or packed in a way of its own.
    """
    weight = module._parameters.get("weight")
    if weight is None or type(weight) is not nn.Parameter or not weight.is_floating_point():
        raise NotFoldable(f"the weights of {type(module).__name__} are quantised", affine.path)
    return weight


def require(net: nn.Module, module: nn.Module, affine: Affine, name: str) -> Tensor:
    """Return a parameter that may be changed: an ordinary one that no other module has too.

    Raises:
        NotFoldable: if it is quantised or tied.
    """
    floating(module, affine)
    parameter = module._parameters[name]
    if parameter is None:
        raise NotFoldable(f"its module has no {name}", affine.path)
    holders = [
        f"{path}.{key}"
        for path, other in net.named_modules(remove_duplicate=False)
        for key, value in other._parameters.items()
        if value is parameter
    ]
    if len(holders) > 1:
        raise NotFoldable(f"its weight is shared: {' and '.join(holders)} are one", affine.path)
    return parameter

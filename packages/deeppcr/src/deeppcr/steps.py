"""Steps whose derivatives are known in closed form: dense layers, and recurrences of that form.

Any object with a method ``linearize(before, after, xs, params)`` is treated so: for all steps at
once it returns their Jacobians, ``(L, *B, d, d)`` or ``deeppcr.blocks.ScaledRows``, and the
pullback of cotangents ``(L, *B, d)`` to gradients in the form of ``xs`` and ``params``. A method
``at_once(before, xs, params)``, the states after all steps from those before them, takes the place
of ``torch.vmap``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from deeppcr.blocks import ScaledRows
from deeppcr.scan import scan

Pull = Callable[[Tensor], tuple[Any, Any]]
ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "tanh": (torch.tanh, lambda y: 1 - y * y),
    "sigmoid": (torch.sigmoid, lambda y: y * (1 - y)),
    "relu": (torch.relu, lambda y: (y > 0).to(y.dtype)),
    "identity": (lambda y: y, torch.ones_like),
}  # each with its slope, as a function of its output


@dataclass(frozen=True)
class DenseStep:
    """The step ``activation(weight z + bias + x)``: a layer of a stack, or a recurrent cell.

    ``params`` is ``(weight, bias)`` or ``weight``, one for all steps or one a step; ``x`` is
    ``(*B, d)`` or None. Its Jacobian is the weight with its rows scaled by the slope.

    Args:
        activation: ``"tanh"``, ``"sigmoid"``, ``"relu"`` or ``"identity"``.

    Raises:
        ValueError: if the activation is another.

    Example:
        >>> from deeppcr import sequential_forward
        >>> layers = torch.eye(2).expand(3, 2, 2), torch.zeros(3, 2)
        >>> stack = DenseStep("relu")
        >>> sequential_forward(stack, torch.ones(2), None, layers, per_layer_params=True)[-1]
        tensor([1., 1.])
    """

    activation: str = "tanh"
    block_type: ClassVar[type] = ScaledRows  # for the choice, which does not call linearize

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise ValueError(f"activation must be one of {known}; got {self.activation!r}")

    def __call__(self, z: Tensor, x: Tensor | None, params: Any) -> Tensor:
        """The next state, ``(*B, d)``."""
        weight, bias = params if isinstance(params, (tuple, list)) else (params, None)
        before = F.linear(z, weight, bias)
        return ACTIVATIONS[self.activation][0](before if x is None else before + x)

    def at_once(self, before: Tensor, xs: Tensor | None, params: Any) -> Tensor:
        """The states after all steps, ``(L, *B, d)``."""
        weight, bias = params if isinstance(params, (tuple, list)) else (params, None)
        added = [] if xs is None else [_aligned(xs, before)]
        if bias is not None:
            added.append(bias if weight.ndim == 2 else _aligned(bias, before))
        if weight.ndim == 2:
            inner = before @ weight.mT
        elif before.ndim == 2:  # one row a matrix: the kernel calls no library for each
            first = added.pop() if added else torch.zeros_like(before)
            inner = scan(weight[None], first[None], before, False, False, "serial")[0]
        else:
            rows = before.reshape(len(before), -1, before.shape[-1])
            inner = (rows @ weight.mT).reshape(before.shape)
        for term in added:
            inner = inner + term
        return ACTIVATIONS[self.activation][0](inner)

    def linearize(
        self, before: Tensor, after: Tensor, xs: Tensor | None, params: Any
    ) -> tuple[ScaledRows, Pull]:
        """The Jacobians of all steps, and their pullback."""
        slope = ACTIVATIONS[self.activation][1](after)
        weight, bias = params if isinstance(params, (tuple, list)) else (params, None)
        own = weight.ndim == 3  # one matrix a step
        batch = [1] * (after.ndim - 2)
        matrix = weight.reshape(-1, *batch, *weight.shape[1:]) if own else weight

        def pull(cotangent: Tensor) -> tuple[Any, Any]:
            inner, states = slope.conj() * cotangent, before.conj()
            if own and not batch:  # a product with one term: no call of a matrix library
                grad = inner.unsqueeze(-1) * states.unsqueeze(-2)
            else:
                shape = (*weight.shape[:-2], -1, inner.shape[-1])
                grad = inner.reshape(shape).mT @ states.reshape(shape)
            by_xs = None if xs is None else _summed_to(inner, xs, by_step=True)
            if bias is None:
                return by_xs, grad
            by_bias = _summed_to(inner, bias, by_step=own)
            return by_xs, (grad, by_bias)

        return ScaledRows(slope, matrix), pull


def _aligned(leaf: Tensor, states: Tensor) -> Tensor:
    """A leaf with the steps on axis 0, and an axis of 1 for every axis of a batch it lacks."""
    return leaf.reshape(len(leaf), *[1] * (states.ndim - leaf.ndim), *leaf.shape[1:])


def _summed_to(inner: Tensor, leaf: Tensor, *, by_step: bool) -> Tensor:
    """The sum of ``(L, *B, d)`` over the axes that the leaf does not have."""
    shape = _aligned(leaf, inner).shape if by_step else leaf.shape
    return inner.sum_to_size(shape).reshape(leaf.shape)

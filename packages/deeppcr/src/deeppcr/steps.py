"""Steps whose derivatives are known in closed form: dense layers, and recurrences of that form.

Any object with a method ``linearize(before, after, xs, params)`` is treated so: for all steps at
once it returns their Jacobians, and the pullback of cotangents ``(L, *B, d)`` to gradients in the
form of ``xs`` and ``params``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

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

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise ValueError(f"activation must be one of {known}; got {self.activation!r}")

    def __call__(self, z: Tensor, x: Tensor | None, params: Any) -> Tensor:
        """The next state, ``(*B, d)``."""
        weight, bias = params if isinstance(params, (tuple, list)) else (params, None)
        before = F.linear(z, weight, bias)
        return ACTIVATIONS[self.activation][0](before if x is None else before + x)

    def linearize(
        self, before: Tensor, after: Tensor, xs: Tensor | None, params: Any
    ) -> tuple[Tensor, Pull]:
        """The Jacobians ``(L, *B, d, d)`` of all steps, and their pullback."""
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
            by_xs = None if xs is None else _summed_to(inner, xs, len(batch))
            if bias is None:
                return by_xs, grad
            by_bias = _summed_to(inner, bias, len(batch) if own else None)
            return by_xs, (grad, by_bias)

        return scaled_rows(slope, matrix), pull


def scaled_rows(slope: Tensor, weight: Tensor) -> Tensor:
    """``diag(slope) W``: ``(..., h)`` and ``(h, k)``, or one matrix a row, give ``(..., h, k)``."""
    width = slope.shape[-1]
    if weight.ndim > 2 or width > 8:
        return slope.unsqueeze(-1) * weight
    # small matrices that all rows share: one matrix product, several times as fast
    spread = torch.eye(width, dtype=weight.dtype, device=weight.device).unsqueeze(-1) * weight
    return (slope @ spread.reshape(width, -1)).reshape(*slope.shape, weight.shape[-1])


def _summed_to(inner: Tensor, leaf: Tensor, batch: int | None) -> Tensor:
    """The sum of ``(L, *B, d)`` over the axes that the leaf does not have."""
    if batch is None:  # shared by all steps
        return inner.sum_to_size(leaf.shape)
    missing = batch + 2 - leaf.ndim
    aligned = (len(leaf), *[1] * missing, *leaf.shape[1:])
    return inner.sum_to_size(aligned).reshape(leaf.shape)

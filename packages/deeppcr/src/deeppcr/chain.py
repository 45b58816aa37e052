"""A recurrence and its data: one place that runs the steps in a loop, or all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

Step = Callable[[Any, Any, Any], Any]


class StepError(RuntimeError):
    """A step function that cannot be evaluated at all times at once; the message has the remedy."""


@dataclass(frozen=True)
class Chain:
    """``z_l = step(z_{l-1}, x_l, params_l)`` for l = 1 to ``length``, with the state as one tensor.

    Attributes:
        step: the step on flat states, ``(*B, d), x_l, params_l -> (*B, d)``.
        z0: first state, ``(*B, d)``.
        xs: pytree of inputs, every tensor ``(L, ...)``; None where the step takes none.
        params: pytree, shared by all steps, or with a leading axis of length L.
        length: L, the number of steps.
        per_layer_params: True where ``params`` has the leading axis.
        vectorized: True where ``step`` also takes all its arguments with a leading time axis.
        jacobian: blocks of all steps at once, ``(z_prev, xs, params, z) -> (L, *B, d, d)`` or
            ``(L, *B, d)``, with ``z = step(z_prev, xs, params)`` already computed; None for
            automatic differentiation.
        layers: what the loop calls in place of ``step`` with the parameters of each layer, or None.
        sizes: number of features of each leaf of the state.
        spec: the state's tree, None where it is a plain tensor.
    """

    step: Step
    z0: Tensor
    xs: Any
    params: Any
    length: int
    per_layer_params: bool = False
    vectorized: bool = False
    jacobian: Callable[[Tensor, Any, Any, Tensor], Tensor] | None = None
    layers: Sequence[Callable[[Tensor], Tensor]] | None = None
    sizes: tuple[int, ...] = ()
    spec: Any = None

    def run(self) -> Tensor:
        """The states ``(L, *B, d)`` by the plain loop, one step after the other."""
        if self.length == 0:
            return self.z0.new_empty((0, *self.z0.shape))
        step, z, states = self.step, self.z0, []
        if self.layers is not None:
            for layer in self.layers:
                z = layer(z)
                states.append(z)
        else:
            shared = [self.params] * self.length
            params = unbind(self.params, self.length) if self.per_layer_params else shared
            for x, each in zip(unbind(self.xs, self.length), params, strict=True):
                z = step(z, x, each)
                states.append(z)
        if states[0].shape != self.z0.shape or states[0].dtype != self.z0.dtype:
            want = f"{tuple(self.z0.shape)} and {self.z0.dtype} like z0"
            got = f"{tuple(states[0].shape)} and {states[0].dtype}"
            raise ValueError(f"step must keep the state's shape and dtype: {want}, got {got}")
        return torch.stack(states)

    def previous(self, states: Tensor) -> Tensor:
        """The states that the steps start from: ``z_0`` to ``z_{L-1}``, ``(L, *B, d)``."""
        return torch.cat([self.z0.unsqueeze(0), states[:-1]])

    def at_once(self, z_prev: Tensor) -> Tensor:
        """All steps evaluated in one call, each from its row of ``z_prev`` ``(L, *B, d)``."""
        after = self.batched()(z_prev, self.xs, self.params)
        if after.shape != z_prev.shape or after.dtype != z_prev.dtype:
            want, got = tuple(z_prev.shape[1:]), tuple(after.shape[1:])
            text = f"{want} and {z_prev.dtype} like z0, got {got} and {after.dtype}"
            raise ValueError(f"step must keep the state's shape and dtype: {text}")
        return after

    def batched(self) -> Step:
        """The step over a leading time axis of states, inputs and parameters."""
        if self.vectorized:
            return self.step
        axes = (0, time_axes(self.xs), time_axes(self.params) if self.per_layer_params else None)

        def batched(z_prev: Tensor, xs: Any, params: Any) -> Tensor:
            try:
                return torch.func.vmap(self.step, in_dims=axes)(z_prev, xs, params)
            except RuntimeError as error:
                raise explained(error) from error

        return batched

    def window(self, start: int, stop: int, z0: Tensor) -> Chain:
        """The steps ``start + 1`` to ``stop``, begun at ``z0``."""
        xs = pytree.tree_map_only(Tensor, lambda t: t[start:stop], self.xs)
        params = self.params
        if self.per_layer_params:
            params = pytree.tree_map_only(Tensor, lambda t: t[start:stop], params)
        layers = None if self.layers is None else self.layers[start:stop]
        return replace(self, z0=z0, xs=xs, params=params, length=stop - start, layers=layers)

    def restore(self, states: Tensor) -> Any:
        """The flat ``states`` ``(..., d)`` as the caller's tree, leaves ``(..., d_i)``."""
        if self.spec is None:
            return states
        return pytree.tree_unflatten(list(states.split(self.sizes, dim=-1)), self.spec)


def make_chain(
    step: Step,
    z0: Any,
    xs: Any = None,
    params: Any = None,
    *,
    length: int | None = None,
    per_layer_params: bool = False,
    vectorized: bool = False,
) -> Chain:
    """The chain of ``length`` steps, its arguments checked and its state flattened.

    Args:
        step: ``(z, x, params) -> z``, pure; z is a tensor ``(*B, d)`` or a tree of such.
        z0: first state.
        xs: tree of inputs, every tensor ``(L, ...)``, or None.
        params: tree of parameters, or None.
        length: L; needed where neither ``xs`` nor per-layer ``params`` tell it.
        per_layer_params: every tensor of ``params`` has a leading axis of length L.
        vectorized: ``step`` also takes all its arguments with a leading time axis.

    Returns:
        The chain on flat states. A ``jacobian`` method of ``step`` becomes its Jacobian.

    Raises:
        ValueError: for states without features, or lengths that contradict each other.
        TypeError: for a state that is no floating-point or complex tensor, or of mixed dtypes.
    """
    leaves, spec = pytree.tree_flatten(z0)
    check_state(leaves)
    steps = chain_length(xs, params if per_layer_params else None, length)
    jacobian = getattr(step, "jacobian", None)
    if isinstance(z0, Tensor):
        layers = getattr(step, "layers", None)
        return Chain(step, z0, xs, params, steps, per_layer_params, vectorized, jacobian, layers)
    sizes = tuple(leaf.shape[-1] for leaf in leaves)

    def flat_step(z: Tensor, x: Any, params: Any) -> Tensor:
        tree = pytree.tree_unflatten(list(z.split(sizes, dim=-1)), spec)
        after, after_spec = pytree.tree_flatten(step(tree, x, params))
        if after_spec != spec:
            raise ValueError(f"step must return a state like z0 ({spec}), got {after_spec}")
        return torch.cat(after, dim=-1)

    first = torch.cat(leaves, dim=-1)
    data = (first, xs, params, steps, per_layer_params, vectorized, jacobian)
    return Chain(flat_step, *data, sizes=sizes, spec=spec)


def check_state(leaves: Sequence[Any]) -> None:
    """Raises where the leaves of a state are no tensors ``(*B, d_i)`` that fit together."""
    if not leaves:
        raise ValueError("z0 must hold at least one tensor (*B, d), got an empty tree")
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise TypeError(f"z0 must hold tensors (*B, d), got {type(leaf).__name__}")
        if not (leaf.is_floating_point() or leaf.is_complex()):
            raise TypeError(f"z0 must be floating point or complex, got {leaf.dtype}")
        if leaf.ndim == 0 or leaf.shape[-1] == 0:
            raise ValueError(f"z0 must be (*B, d) with d >= 1, got shape {tuple(leaf.shape)}")
        if leaf.shape[:-1] != leaves[0].shape[:-1]:
            got = f"{tuple(leaves[0].shape)} and {tuple(leaf.shape)}"
            raise ValueError(f"the leaves of z0 must share their batch axes, got {got}")
        if leaf.dtype != leaves[0].dtype:
            got = f"{leaves[0].dtype} and {leaf.dtype}"
            raise TypeError(f"the leaves of z0 must share one dtype, got {got}")


def chain_length(xs: Any, layers: Any, length: int | None) -> int:
    """The number of steps that the inputs, the per-layer parameters and ``length`` agree on."""
    found = {} if length is None else {"length": length}
    for name, tree in (("xs", xs), ("params", layers)):
        for leaf in pytree.tree_leaves(tree):
            if isinstance(leaf, Tensor):
                if leaf.ndim == 0:
                    raise ValueError(f"every tensor of {name} needs a leading time axis, got ()")
                steps = found.setdefault(name, len(leaf))
                if steps != len(leaf):
                    raise ValueError(f"tensors of {name} disagree on L: {steps} and {len(leaf)}")
    if not found:
        raise ValueError("length is needed where neither xs nor per-layer params tell it")
    if len(set(found.values())) > 1 or min(found.values()) < 0:
        raise ValueError(f"the number of steps must be one number >= 0, got {found}")
    return next(iter(found.values()))


def unbind(tree: Any, length: int) -> Sequence[Any]:
    """The tree at each time: ``length`` trees without the leading axis, as views."""
    if tree is None:
        return [None] * length
    if isinstance(tree, Tensor):
        return tree.unbind(0)
    leaves, spec = pytree.tree_flatten(tree)
    columns = [
        leaf.unbind(0) if isinstance(leaf, Tensor) else [leaf] * length for leaf in leaves
    ]
    return [pytree.tree_unflatten(list(row), spec) for row in zip(*columns, strict=True)]


def time_axes(tree: Any) -> Any:
    """``in_dims`` of a tree whose tensors all have the time axis in front."""
    return pytree.tree_map(lambda leaf: 0 if isinstance(leaf, Tensor) else None, tree)


def explained(error: RuntimeError) -> RuntimeError:
    """The error as a ``StepError`` with its remedy where vmap refused the step, else itself."""
    text = str(error)
    if isinstance(error, StepError) or not any(w in text for w in ("vmap", "functorch")):
        return error
    return StepError(
        "the step cannot be evaluated at all times at once: write it without in-place changes, "
        ".item(), random draws and branches on values; or pass vectorized=True with a step that "
        f'takes a leading time axis; or method="sequential". torch says: {text.splitlines()[0]}'
    )

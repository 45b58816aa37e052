"""A chain of steps ``z_l = step(z_{l-1}, x_l, params)`` in one layout: flat states, flat leaves."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from deeppcr.blocks import ScaledRows, dense
from deeppcr.layout import hold

Step = Callable[[Any, Any, Any], Any]
Leaves = tuple[Tensor, ...]
Columns = Sequence[Sequence[Tensor]]
LeafStep = Callable[[Tensor, Leaves, Leaves], Any]


class StepError(ValueError):
    """The step cannot be used: its output has another form, or it cannot be run for all rows."""


@dataclass(frozen=True)
class Chain:
    """A step function and the forms of its arguments; the tensors themselves are passed in.

    ``z`` is one tensor ``(*B, d)``: the leaves of the state side by side. ``inputs`` are leaves
    with the steps on axis 0 (those of ``xs``, and of ``params`` if every step has its own);
    ``shared`` are the leaves of parameters that all steps share.
    """

    user_step: Step
    length: int
    state_spec: Any
    widths: tuple[int, ...]
    xs_spec: Any
    params_spec: Any
    per_layer: bool
    vectorized: bool
    ragged: bool

    def on_leaves(self, function: Step) -> LeafStep:
        """A function of the user's ``(z, x, params)`` as one of ``(z, inputs, shared)``."""

        def flat(z: Tensor, inputs: Leaves, shared: Leaves) -> Any:
            inputs = inputs[1:] if self.ragged else inputs
            count = 0 if self.xs_spec is None else self.xs_spec.num_leaves
            params = inputs[count:] if self.per_layer else shared
            xs = _tree(inputs[:count], self.xs_spec)
            return function(self.unpack(z), xs, _tree(params, self.params_spec))

        return flat

    def step(self, z: Tensor, inputs: Leaves, shared: Leaves) -> Tensor:
        """One step, ``(*B, d) -> (*B, d)``."""
        return self.packed(self.on_leaves(self.user_step)(z, inputs, shared), z, inputs)

    def packed(self, after: Any, z: Tensor, inputs: Leaves) -> Tensor:
        """What a step returned for ``z``, as one tensor; samples that have ended keep ``z``."""
        out, spec = pytree.tree_flatten(after)
        if spec != self.state_spec or any(
            not isinstance(o, Tensor) or o.shape != (*z.shape[:-1], n) or o.dtype != z.dtype
            for o, n in zip(out, self.widths, strict=True)
        ):
            got = [(tuple(o.shape), o.dtype) if isinstance(o, Tensor) else type(o) for o in out]
            want = [(*z.shape[:-1], n) for n in self.widths]
            raise StepError(
                f"step must return a state like the one it takes: {want} of {z.dtype}; got {got}"
            )
        flat = out[0] if len(out) == 1 else torch.cat(out, -1)
        return torch.where(inputs[0].unsqueeze(-1), flat, z) if self.ragged else flat

    @property
    def plain(self) -> bool:
        """Whether a state is one tensor that the user's step can be given as it is."""
        return self.state_spec.is_leaf() and not self.ragged

    def arguments(self, columns: Columns, shared: Leaves) -> Iterator[tuple[Any, Any]]:
        """``(x, params)`` of one step after another, from the leaves of ``inputs`` unbound."""
        count = 0 if self.xs_spec is None else self.xs_spec.num_leaves
        steps = len(columns[0]) if columns else self.length
        xs = _column(columns[:count], self.xs_spec, steps)
        if self.per_layer:
            return zip(xs, _column(columns[count:], self.params_spec, steps), strict=True)
        return zip(xs, repeat(_tree(shared, self.params_spec), steps), strict=True)

    def all(self, before: Tensor, inputs: Leaves, shared: Leaves) -> Tensor:
        """Every step at once, from the states before them: ``(L, *B, d) -> (L, *B, d)``."""
        known = getattr(self.user_step, "at_once", None)
        if known is None:
            return self.run(self.step, before, inputs, shared)
        return self.packed(self.on_leaves(known)(before, inputs, shared), before, inputs)

    def run(self, function: LeafStep, before: Tensor, inputs: Leaves, shared: Leaves) -> Tensor:
        """A function of one step's arguments, for all steps at once."""
        if self.vectorized:
            return function(before, inputs, shared)
        try:
            return torch.vmap(function, in_dims=(0, 0, None))(before, inputs, shared)
        except StepError:
            raise
        except RuntimeError as error:
            raise StepError(
                f"step cannot be run for all rows by torch.vmap ({str(error).splitlines()[0]}): "
                "write it without .item(), in-place writes and branches on values, or let it take "
                "a leading axis of steps and pass vectorized=True, or use the plain loop"
            ) from error

    def hold(self, J: Tensor | ScaledRows, inputs: Leaves) -> Tensor | ScaledRows:
        """The Jacobians, with the identity where a sample of a ragged batch has ended."""
        if not self.ragged:
            return J
        J = dense(J)
        return hold(J, inputs[0], J.ndim > inputs[0].ndim + 1)

    def linearize(self, before: Tensor, after: Tensor, inputs: Leaves, shared: Leaves) -> Any:
        """What the step's own ``linearize`` says of all steps, on leaves; None if it has none."""
        known = getattr(self.user_step, "linearize", None)
        if known is None:
            return None

        def at_states(z: Any, xs: Any, params: Any) -> Any:
            return known(z, self.unpack(after), xs, params)

        J, pull = self.on_leaves(at_states)(before, inputs, shared)

        def pull_leaves(cotangent: Tensor) -> tuple[Tensor | None, ...]:
            by_xs, by_params = (pytree.tree_leaves(tree) for tree in pull(cotangent))
            given = [
                *([None] if self.ragged else []),
                *by_xs[: 0 if self.xs_spec is None else None],
            ]
            return (*given, *by_params[: 0 if self.params_spec is None else None])

        return J, pull_leaves

    def unpack(self, z: Tensor) -> Any:
        """The user's state, from ``(..., d)``."""
        leaves = [z] if len(self.widths) == 1 else list(z.split(self.widths, -1))
        return pytree.tree_unflatten(leaves, self.state_spec)


def make_chain(
    step: Step,
    z0: Any,
    xs: Any = None,
    params: Any = None,
    *,
    length: int | None = None,
    per_layer_params: bool = False,
    vectorized: bool = False,
    lengths: Tensor | None = None,
) -> tuple[Chain, Tensor, Leaves, Leaves]:
    """The chain, and its tensors: the packed ``z0``, the leaves by step, the shared leaves.

    Raises:
        ValueError: if the lengths do not agree or none is known, or a state has no last axis.
        TypeError: if a leaf is not a tensor, or the state's leaves have several dtypes.
    """
    state, state_spec = pytree.tree_flatten(z0)
    x_leaves, xs_spec = pytree.tree_flatten(xs) if xs is not None else ([], None)
    p_leaves, params_spec = pytree.tree_flatten(params) if params is not None else ([], None)
    for name, leaves in (("z0", state), ("xs", x_leaves), ("params", p_leaves)):
        for leaf in leaves:
            if not isinstance(leaf, Tensor):
                raise TypeError(f"{name} must hold tensors only, got {type(leaf).__name__}")
    if not state or any(leaf.ndim < 1 or leaf.shape[-1] == 0 for leaf in state):
        raise ValueError("z0 must be a tensor (*B, d) with d >= 1, or several in a pytree")
    if len({leaf.dtype for leaf in state}) > 1 or len({leaf.shape[:-1] for leaf in state}) > 1:
        got = [(tuple(leaf.shape), leaf.dtype) for leaf in state]
        raise TypeError(f"the leaves of z0 must agree in dtype and in all axes but the last: {got}")
    inputs = (*x_leaves, *(p_leaves if per_layer_params else ()))
    known = {len(leaf) if leaf.ndim else -1 for leaf in inputs}
    known |= set() if length is None else {length}
    if len(known) != 1 or min(known) < 0:
        raise ValueError(
            "the number of steps must be given by length=, or by the first axis of every leaf of "
            f"xs (of params, if per_layer_params), and be one: got {sorted(known)}"
        )
    packed = state[0] if len(state) == 1 else torch.cat(state, -1)
    if lengths is not None:
        inputs = (_runs(lengths, min(known), packed), *inputs)
    chain = Chain(
        step, min(known), state_spec, tuple(leaf.shape[-1] for leaf in state), xs_spec,
        params_spec, per_layer_params, vectorized, lengths is not None,
    )  # fmt: skip
    return chain, packed, inputs, () if per_layer_params else tuple(p_leaves)


def _runs(lengths: Tensor, length: int, z0: Tensor) -> Tensor:
    """Which samples still run, ``(L, *B)``."""
    if lengths.shape != z0.shape[:-1] or lengths.is_floating_point():
        raise ValueError(
            f"lengths must be integers of shape {tuple(z0.shape[:-1])}, one a sample; "
            f"got {lengths.dtype} of shape {tuple(lengths.shape)}"
        )
    steps = torch.arange(length, device=z0.device)
    return steps.view(-1, *[1] * lengths.ndim) < lengths


def _tree(leaves: Leaves, spec: Any) -> Any:
    """The user's pytree again; None where none was given."""
    return None if spec is None else pytree.tree_unflatten(list(leaves), spec)


def _column(columns: Columns, spec: Any, steps: int) -> Iterable[Any]:
    """The user's pytree at one step after another; the commonest forms cost nothing a step."""
    if spec is None:
        return repeat(None, steps)
    if spec.is_leaf():
        return columns[0]
    rows = zip(*columns, strict=True)
    if spec == pytree.tree_flatten((0,) * spec.num_leaves)[1]:
        return rows
    return (_tree(row, spec) for row in rows)

"""The exact parallel backward of a chain: one linear solve and one batched pullback of the step.

For states ``z_l = f_l(z_{l-1})`` with cotangents ``g_l`` the adjoint is
``lambda_l = g_l + J_{l+1}^H lambda_{l+1}``, which is linear whatever ``f`` is: nothing has to
converge. The gradient of whatever enters step ``l`` is the pullback of ``lambda_l`` through it.
"""

from collections.abc import Callable, Sequence
from itertools import islice, repeat
from typing import Any

import torch
from torch import Tensor

from deeppcr.algorithms import apply
from deeppcr.blocks import ScaledRows, dense
from deeppcr.chain import Chain, Leaves, Step, StepError, make_chain
from deeppcr.scan import refuse_nested_forward_mode, scan

Gradients = tuple[Tensor | None, ...]
StepJacobian = Callable[[Any, Any, Any], Tensor]


def sequential_forward(
    step: Step,
    z0: Any,
    xs: Any = None,
    params: Any = None,
    *,
    length: int | None = None,
    per_layer_params: bool = False,
    backward: str = "parallel",
    jacobian: StepJacobian | None = None,
    vectorized: bool = False,
    lengths: Tensor | None = None,
) -> Any:
    """All states of the plain loop ``z = step(z, x, params)``, with a backward in parallel.

    The states are those of the loop, bit for bit. The gradient is the one that autograd would
    give, to rounding, but takes no walk over the steps: see `deeppcr.adjoint`.

    Args:
        step: ``step(z, x, params) -> z``, pure: the next state from this one. Samples of a batch
            must not mix. Tensors that need a gradient come in by ``z0``, ``xs`` and ``params``.
        z0: the state before the first step: a tensor ``(*B, d)``, or a pytree of such tensors.
        xs: pytree of tensors whose first axis counts the steps; step ``l`` gets row ``l``.
        params: pytree of tensors that every step gets.
        length: number of steps, needed where neither ``xs`` nor ``params`` tells it.
        per_layer_params: the first axis of ``params`` counts the steps, too.
        backward: ``"parallel"``, or ``"autograd"`` for the ordinary walk.
        jacobian: ``jacobian(z, x, params)``, the step's derivative by ``z`` in closed form:
            ``(*B, d, d)``, or ``(*B, d)`` or ``(*B, 1)`` where it is diagonal or scalar; by
            default it is found by automatic differentiation.
        vectorized: ``step`` also takes all steps at once, with a leading axis on every argument
            (on all but ``params``, if they are shared); without it, ``torch.vmap`` runs it so.
        lengths: number of steps of each sample, integers ``(*B,)``; later rows hold its last state.

    Returns:
        The states after every step, ``(L, *B, d)``, in the form of ``z0``.

    Raises:
        ValueError: if ``backward`` is unknown or the lengths do not agree.
        TypeError: if a leaf is not a tensor, or the state's dtypes differ.
        StepError: if ``step`` returns another form, hides tensors that need a gradient, or (in
            the backward) cannot be run for all rows at once.

    Source:
        Danieli et al. 2023: the backward pass as one bidiagonal solve.

    Example:
        >>> w = torch.tensor([0.5], requires_grad=True)
        >>> z0, xs = torch.zeros(1), torch.ones(3, 1)
        >>> states = sequential_forward(lambda z, x, w: w * z + x, z0, xs, w)
        >>> states[-1].backward()
        >>> states.flatten().tolist(), w.grad
        ([1.0, 1.5, 1.75], tensor([2.]))
    """
    if backward not in ("parallel", "autograd"):
        raise ValueError(f'backward must be "parallel" or "autograd", got {backward!r}')
    chain, start, inputs, shared = make_chain(
        step, z0, xs, params, length=length, per_layer_params=per_layer_params,
        vectorized=vectorized, lengths=lengths,
    )  # fmt: skip
    if backward == "autograd":
        return chain.unpack(run_loop(chain, start, inputs, shared))
    if chain.length == 0:
        return chain.unpack(start.new_empty(0, *start.shape))
    refuse_hidden_gradients(chain, start, inputs, shared)
    states = _Sequential.apply(chain, jacobian, len(inputs), start, *inputs, *shared)
    return chain.unpack(states)


def run_loop(chain: Chain, z0: Tensor, inputs: Leaves, shared: Leaves) -> Tensor:
    """The plain loop: ``(L, *B, d)``."""
    if chain.length == 0:
        return z0.new_empty(0, *z0.shape)
    columns = [leaf.unbind(0) for leaf in inputs]
    first = tuple(column[0] for column in columns)
    z = chain.step(z0, first, shared)  # this one checks what the user's step returns
    states = [z]
    if chain.plain:
        arguments = chain.arguments(columns, shared)
        next(arguments)
        step, keep = chain.user_step, states.append  # looked up once: the loop is what auto is for
        for x, params in arguments:
            z = step(z, x, params)
            keep(z)
    else:
        rows = zip(*columns, strict=True) if columns else repeat((), chain.length)
        for row in islice(rows, 1, None):
            z = chain.step(z, row, shared)
            states.append(z)
    return torch.stack(states)


def refuse_hidden_gradients(chain: Chain, z0: Tensor, inputs: Leaves, shared: Leaves) -> None:
    """Raise where ``step`` holds tensors of its own that need a gradient: it would be lost."""
    if chain.length == 0 or not torch.is_grad_enabled():
        return
    with torch.enable_grad():
        first = tuple(leaf[0].detach() for leaf in inputs)
        after = chain.step(z0.detach(), first, tuple(leaf.detach() for leaf in shared))
    if after.requires_grad:
        raise StepError(
            "step uses tensors that need a gradient but are not among its arguments: pass them in "
            'params (for a module, by torch.func.functional_call), or use backward="autograd"'
        )


def pullback(
    chain: Chain,
    z0: Tensor,
    states: Tensor,
    inputs: Leaves,
    shared: Leaves,
    cotangents: Tensor,
    *,
    jacobian: StepJacobian | None = None,
    wanted: Sequence[bool] | None = None,
) -> tuple[Tensor, Gradients, Gradients]:
    """The gradients of ``z0``, of the leaves by step and of the shared leaves.

    Args:
        chain: the steps.
        z0: ``(*B, d)``.
        states: the states of the chain, ``(L, *B, d)``: where the Jacobians are taken.
        inputs: leaves with the steps on axis 0.
        shared: leaves that all steps share.
        cotangents: ``(L, *B, d)``, gradients of the loss by the states.
        jacobian: the step's derivative in closed form, as in `sequential_forward`.
        wanted: which of the leaves need a gradient; the others' may be None.
    """
    before = torch.cat([z0.unsqueeze(0), states[:-1]])
    known = chain.linearize(before, states, inputs, shared) if jacobian is None else None
    if known is None:
        J = jacobians(chain, before, inputs, shared, jacobian)
        pull = pull_by_autograd(chain, before, inputs, shared, wanted)
    else:
        J, pull = chain.hold(known[0], inputs), known[1]
    if isinstance(J, ScaledRows):
        adjoint = running = J.solve(cotangents, adjoint=True)
        block = J.first()
    else:
        adjoint = running = scan(J, cotangents, None, False, True, "auto")
        block = J[:1]
    first = apply(block.mH if block.ndim > states.ndim else block.conj(), adjoint[:1])[0]
    if chain.ragged and known is not None:
        running = torch.where(inputs[0].unsqueeze(-1), adjoint, 0)
    del J, block, known  # the gradients of as many weights may take their place
    gradients = pull(running)
    return first, gradients[: len(inputs)], gradients[len(inputs) :]


def pull_by_autograd(
    chain: Chain, before: Tensor, inputs: Leaves, shared: Leaves, wanted: Sequence[bool] | None
) -> Callable[[Tensor], Gradients]:
    """The pullback of all steps to their leaves, by one batched vjp; None for integer leaves."""
    leaves = (*inputs, *shared)
    moving = [leaf.is_floating_point() or leaf.is_complex() for leaf in leaves]
    if wanted is not None:
        moving = [m and w for m, w in zip(moving, wanted, strict=True)]

    def all_steps(*moved: Tensor) -> Tensor:
        rest = iter(moved)
        full = tuple(next(rest) if m else leaf for m, leaf in zip(moving, leaves, strict=True))
        return chain.all(before, full[: len(inputs)], full[len(inputs) :])

    def pull(cotangent: Tensor) -> Gradients:
        moved = [leaf for m, leaf in zip(moving, leaves, strict=True) if m]
        gradients = iter(torch.func.vjp(all_steps, *moved)[1](cotangent) if moved else ())
        return tuple(next(gradients) if m else None for m in moving)

    return pull


def jacobians(
    chain: Chain, before: Tensor, inputs: Leaves, shared: Leaves, given: StepJacobian | None = None
) -> Tensor:
    """``J_l`` of every step at the state before it: dense ``(L, *B, d, d)`` unless it is given."""
    if given is not None:
        J = chain.run(chain.on_leaves(given), before, inputs, shared)
        return dense(chain.hold(J, inputs))
    basis = torch.eye(before.shape[-1], dtype=before.dtype, device=before.device)

    def rows(z: Tensor, inputs: Leaves, shared: Leaves) -> Tensor:
        def of_state(z: Tensor) -> Tensor:
            return chain.step(z, inputs, shared)

        def row_of(cotangent: Tensor) -> Tensor:
            return pull(cotangent)[0]

        pull = torch.func.vjp(of_state, z)[1]
        ones = basis.view(-1, *[1] * (z.ndim - 1), z.shape[-1]).expand(-1, *z.shape)
        return torch.vmap(row_of, out_dims=-2)(ones).conj()

    # the rows inside and the steps outside: a matrix of weights is then never copied by row
    return chain.run(rows, before, inputs, shared)


class _Sequential(torch.autograd.Function):
    """The loop forwards, one linear solve backwards."""

    generate_vmap_rule = True

    @staticmethod
    def forward(  # pyrefly: ignore
        chain: Chain, jacobian: StepJacobian | None, count: int, z0: Tensor, *leaves: Tensor
    ) -> Tensor:
        return run_loop(chain, z0, leaves[:count], leaves[count:])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.chain, ctx.jacobian, ctx.count, *tensors = inputs
        ctx.save_for_backward(output, *tensors)
        ctx.save_for_forward(output, *tensors)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:  # pyrefly: ignore
        states, z0, *leaves = ctx.saved_tensors
        inputs, shared = tuple(leaves[: ctx.count]), tuple(leaves[ctx.count :])
        first, by_step, common = pullback(
            ctx.chain, z0, states, inputs, shared, gradient,
            jacobian=ctx.jacobian, wanted=ctx.needs_input_grad[4:],
        )  # fmt: skip
        return None, None, None, first, *by_step, *common

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        """The tangents of the states: the same linear recurrence, run forwards."""
        refuse_nested_forward_mode()
        states, z0, *leaves = ctx.saved_tensors
        _, _, _, dz0, *moved = tangents
        inputs, shared = tuple(leaves[: ctx.count]), tuple(leaves[ctx.count :])
        before = torch.cat([z0.unsqueeze(0), states[:-1]])
        J = jacobians(ctx.chain, before, inputs, shared, ctx.jacobian)
        right = torch.zeros_like(states)
        where = [i for i, tangent in enumerate(moved) if tangent is not None]
        if where:

            def all_steps(*some: Tensor) -> Tensor:
                full = list(leaves)
                for i, leaf in zip(where, some, strict=True):
                    full[i] = leaf
                return ctx.chain.all(before, tuple(full[: ctx.count]), tuple(full[ctx.count :]))

            primals = tuple(leaves[i] for i in where)
            # the transpose of the pullback, as forward mode may not be nested in forward mode
            pull = torch.func.vjp(all_steps, *primals)[1]
            push = torch.func.vjp(pull, right)[1]
            (right,) = push(tuple(moved[i] for i in where))
        return scan(J, right, torch.zeros_like(z0) if dz0 is None else dz0, False, False, "auto")

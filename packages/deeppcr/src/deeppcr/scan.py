"""The linear core: affine recurrences ``z_l = A_l z_{l-1} + b_l``, solved and differentiated."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from deeppcr import algorithms, cost, kernel
from deeppcr.layout import HALF, checked, ragged

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def affine_scan(
    A: Tensor,
    b: Tensor,
    z0: Tensor | None = None,
    *,
    reverse: bool = False,
    method: str = "auto",
    dim: int = 0,
    lengths: Tensor | None = None,
    group: "ProcessGroup | None" = None,
) -> Tensor:
    """All states of ``z_l = A_l z_{l-1} + b_l``, or of ``z_l = A_l z_{l+1} + b_l`` if ``reverse``.

    It can be differentiated twice, in reverse and forward mode, and works under ``torch.func`` and
    ``torch.compile``. float16 and bfloat16 are computed in float32.

    Args:
        A: dense ``(L, *B, d, d)``; diagonal ``(L, *B, d)``; scalar ``(L, *B, 1)`` or ``(L,)``.
            Batch dimensions may be 1. The first block (the last, if ``reverse``) meets ``z0``
            only, and is ignored where there is none.
        b: ``(L, *B, d)``, with the dtype and on the device of ``A``.
        z0: the state before the first (after the last, if ``reverse``), ``(*B, d)``.
        reverse: run from the last row to the first.
        method: ``"auto"`` (see `deeppcr.explain`), ``"serial"`` (the C kernel where there is
            one), ``"pcr"``, ``"oddeven"`` or ``"chunked"``.
        dim: the axis of ``A`` and ``b`` that counts the steps.
        lengths: number of steps of each sample, integers ``(*B,)``; later rows hold its last state
            (the state that a reversed run starts from).
        group: ranks of `torch.distributed` that hold the steps among them, each its own rows, in
            order; all call this alike, and run the backward. Once differentiable; ``z0`` is the
            same on all, and its gradient is to be summed over them.

    Returns:
        The states, with the shape and dtype of ``b``.

    Raises:
        ValueError: if shapes, devices or ``method`` do not fit.
        TypeError: if a dtype is neither floating nor complex, or they differ.

    Source:
        Danieli et al. 2023: the system of one Newton step, with any right-hand side.

    Example:
        >>> affine_scan(torch.full((4, 1), 0.5), torch.ones(4, 1)).flatten()
        tensor([1.0000, 1.5000, 1.7500, 1.8750])
    """
    A, b, z0, dim = checked(A, b, z0, method, dim)
    if group is not None:
        from deeppcr.distributed import sharded_scan  # torch.distributed is not everywhere

        if lengths is not None:
            raise ValueError("lengths cannot be combined with group: pad by identity blocks")
        return sharded_scan(A, b, z0, reverse, method, group).movedim(0, dim)
    if lengths is not None:
        A, b = ragged(A, b, lengths)
    if len(b) == 0:
        return b.movedim(0, dim)
    z = scan(A, b, z0, reverse, False, method)
    return z.movedim(0, dim) if dim else z


def bidiagonal_solve(J: Tensor, r: Tensor) -> Tensor:
    """The update of one Newton step: ``delta_l = J_l delta_{l-1} + r_l`` with ``delta_0 = 0``.

    Args:
        J: Jacobians of the steps, as ``A`` of `affine_scan`; ``J[0]`` does not enter.
        r: negative residuals ``f_l(z_{l-1}) - z_l``, ``(L, *B, d)``.

    Returns:
        ``delta``, ``(L, *B, d)``: the solution of the paper's block-bidiagonal system.

    Raises:
        ValueError: if the shapes do not fit.
        TypeError: if the dtypes do not fit.

    Source:
        Danieli et al. 2023, the Newton system.

    Example:
        >>> bidiagonal_solve(torch.ones(3, 1, 1), torch.ones(3, 1)).flatten()
        tensor([1., 2., 3.])
    """
    return affine_scan(J, r)


def pcr_steps(J: Tensor, r: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """The sweeps of parallel cyclic reduction, one at a time: for teaching, and for tests.

    After the sweep of stride ``s`` row ``l`` is coupled to row ``l - 2s`` alone, by ``A[l - 2s]``,
    and the first ``2s`` rows of ``b`` are solved.

    Args:
        J: as ``A`` of `affine_scan`; ``J[0]`` does not enter.
        r: ``(L, *B, d)``.

    Returns:
        An iterator over ``ceil(log2 L)`` triples ``(stride, A, b)``; the last ``b`` is ``delta``.

    Raises:
        ValueError: if the shapes do not fit.
        TypeError: if the dtypes do not fit.

    Source:
        Danieli et al. 2023, parallel cyclic reduction.

    Example:
        >>> [stride for stride, A, b in pcr_steps(torch.ones(5, 1, 1), torch.ones(5, 1))]
        [1, 2, 4]
    """
    J, r, _, _ = checked(J, r, None, "pcr", 0)
    return algorithms.pcr_sweeps(J[1:], r)


def scan(
    A: Tensor, b: Tensor, z0: Tensor | None, reverse: bool, adjoint: bool, method: str
) -> Tensor:
    """The differentiable primitive behind `affine_scan`: no checks, ``A`` and ``b`` of one layout.

    With ``adjoint`` it solves ``z_l = A_{l+1}^H z_{l+1} + b_l`` (``z0`` must be None): the adjoint
    of the map from ``b`` to the states. Each of the two is the other's derivative.
    """
    if b.dtype in HALF:
        start = None if z0 is None else z0.float()
        return scan(A.float(), b.float(), start, reverse, adjoint, method).to(b.dtype)
    if torch.compiler.is_compiling():
        return _operator(A, b, z0, reverse, adjoint, method)
    if undisturbed(A, b, z0):
        return scan_values(A, b, z0, reverse, adjoint, method)
    return _Scan.apply(A, b, z0, reverse, adjoint, method)


def undisturbed(*tensors: Tensor | None) -> bool:
    """Whether nobody wants a derivative, and no transform is at work: a good half of a short call.

    A false no costs time only. What it asks is not public in torch; it is the same since 2.0.
    """
    if torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0:
        return False
    grad = torch.is_grad_enabled()
    return all(t is None or (_plain(t) and not (grad and t.requires_grad)) for t in tensors)


def _plain(tensor: Tensor) -> bool:
    """Whether it holds its numbers itself: neither fake nor batched by ``is_grads_batched``."""
    own = type(tensor) in (Tensor, torch.nn.Parameter)
    return own and not torch._C._functorch.is_legacy_batchedtensor(tensor)


def scan_values(
    A: Tensor, b: Tensor, z0: Tensor | None, reverse: bool, adjoint: bool, method: str
) -> Tensor:
    """The states, by one of the methods, without derivatives."""
    chosen = cost.linear_method(A, b) if method == "auto" else method

    def solve() -> Tensor:
        if chosen == "serial" and kernel.takes(b):
            return kernel.solve(A, b, z0, reverse=reverse, adjoint=adjoint)
        z = _solve_in_torch(A, b, z0, reverse, adjoint, chosen)
        if method == "auto" and chosen != "serial" and not torch.isfinite(z).all():
            # a product of blocks may overflow where the states do not: substitution forms none
            z = _solve_in_torch(A, b, z0, reverse, adjoint, "serial")
        return z

    return cost.timed(solve, chosen, A, b)


def _solve_in_torch(
    A: Tensor, b: Tensor, z0: Tensor | None, reverse: bool, adjoint: bool, method: str
) -> Tensor:
    """The states by a pure-torch algorithm, which runs forwards from ``z_0 = b_0``."""
    if torch.is_autocast_enabled(b.device.type):  # to enter the block costs as much as a product
        with torch.autocast(b.device.type, enabled=False):
            return _solve_in_torch(A, b, z0, reverse, adjoint, method)
    if z0 is not None:
        first = len(b) - 1 if reverse else 0
        b = b.index_add(0, torch.tensor([first], device=b.device), _meet(A[first], z0)[None])
    if len(b) == 1:
        return b.clone()
    blocks = A[:-1] if reverse else A[1:]
    if adjoint:
        blocks = blocks.mH if A.ndim > b.ndim else blocks.conj()
    if reverse == adjoint:
        return algorithms.ALGORITHMS[method](blocks, b)
    return algorithms.ALGORITHMS[method](blocks.flip(0), b.flip(0)).flip(0)


def _meet(block: Tensor, z: Tensor) -> Tensor:
    """One block times one state."""
    return algorithms.apply(block[None], z[None])[0]


@torch.library.custom_op("deeppcr::scan", mutates_args=())
def _operator(
    A: Tensor, b: Tensor, z0: Tensor | None, reverse: bool, adjoint: bool, method: str
) -> Tensor:
    """`scan` as one opaque operator, for ``torch.compile`` and ``torch.export``."""
    return scan_values(A, b, z0, reverse, adjoint, method).contiguous()


@_operator.register_fake
def _(A: Tensor, b: Tensor, z0: Any, reverse: bool, adjoint: bool, method: str) -> Tensor:
    return torch.empty_like(b, memory_format=torch.contiguous_format)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    A, _, z0, *ctx.how = inputs
    ctx.save_for_backward(A, z0, output)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    """The other one of the two solves, and one outer product a block."""
    A, z0, output = ctx.saved_tensors
    reverse, adjoint, method = ctx.how
    other = scan(A, gradient, None, reverse, not adjoint, method)
    grad_A = grad_z0 = None
    if ctx.needs_input_grad[0]:
        cotangent, state = (output, other) if adjoint else (other, output)
        grad_A = outer(cotangent, state, z0, reverse, A)
    if z0 is not None and ctx.needs_input_grad[2]:
        first = -1 if reverse else 0
        block = A[first].mH if A.ndim > output.ndim else A[first].conj()
        grad_z0 = _meet(block, other[first]).sum_to_size(z0.shape)
    return grad_A, other, grad_z0, None, None, None


def outer(cotangent: Tensor, state: Tensor, z0: Tensor | None, reverse: bool, A: Tensor) -> Tensor:
    """The gradient of the blocks: row l is ``cotangent_l state_{l-1}^H``, in the shape of A."""
    none = torch.zeros_like(state[:1])
    before = none if z0 is None else z0.expand_as(state[0])[None]
    if z0 is None:  # the block that is not read has gradient 0, whatever the cotangent holds
        rows = (cotangent[:-1], none) if reverse else (none, cotangent[1:])
        cotangent = torch.cat(rows)
    state = torch.cat((state[1:], before) if reverse else (before, state[:-1])).conj()
    if A.ndim > state.ndim:
        return (cotangent.unsqueeze(-1) * state.unsqueeze(-2)).sum_to_size(A.shape)
    return (cotangent * state).sum_to_size(A.shape)


_operator.register_autograd(_backward, setup_context=_setup)


class _Scan(torch.autograd.Function):
    """`scan` in eager mode: the operator, with what it lacks: forward derivatives and vmap."""

    @staticmethod
    def forward(  # pyrefly: ignore
        A: Tensor, b: Tensor, z0: Tensor | None, reverse: bool, adjoint: bool, method: str
    ) -> Tensor:
        plain = all(t is None or _plain(t) for t in (A, b, z0))
        return (scan_values if plain else _operator)(A, b, z0, reverse, adjoint, method)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _setup(ctx, inputs, output)
        ctx.save_for_forward(inputs[0], inputs[2], output)

    backward = staticmethod(_backward)  # pyrefly: ignore

    @staticmethod
    def jvp(ctx: Any, dA: Any, db: Any, dz0: Any, *_: Any) -> Tensor:  # pyrefly: ignore
        """The same solve again, with the blocks' tangents in the right-hand side."""
        refuse_nested_forward_mode()
        A, z0, output = ctx.saved_tensors
        reverse, adjoint, method = ctx.how
        right = torch.zeros_like(output) if db is None else db
        if dA is not None:
            right = right + _moved(dA, output, z0, reverse, adjoint)
        if dz0 is None and z0 is not None:
            dz0 = torch.zeros_like(z0)
        return scan(A, right, dz0, reverse, adjoint, method)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Tensor, int]:
        """The vmapped dimension is one more batch dimension, the first."""
        A, b, z0, *how = inputs
        A = A.unsqueeze(1) if in_dims[0] is None else A.movedim(in_dims[0], 1)
        b = b.unsqueeze(1) if in_dims[1] is None else b.movedim(in_dims[1], 1)
        b = b.expand(len(b), info.batch_size, *b.shape[2:])
        if z0 is not None:
            z0 = z0.unsqueeze(0) if in_dims[2] is None else z0.movedim(in_dims[2], 0)
            z0 = z0.expand(info.batch_size, *z0.shape[1:])
        return scan(A, b, z0, *how), 1


def refuse_nested_forward_mode() -> None:
    """Raise within two ``jvp``: torch would drop the part of the outer one without a word.

    Raises:
        RuntimeError: under two levels of forward mode.
    """
    levels = torch._C._functorch.get_interpreter_stack() or ()
    forward = torch._C._functorch.TransformType.Jvp
    if sum(level.key() == forward for level in levels) > 1:
        raise RuntimeError(
            "forward mode within forward mode is not supported: for second derivatives use "
            "torch.func.hessian, or jacrev on the inside"
        )


def _moved(dA: Tensor, z: Tensor, z0: Tensor | None, reverse: bool, adjoint: bool) -> Tensor:
    """What the blocks' tangents add to the right-hand side: ``dA_l z_{l-1}`` in every row."""
    none = torch.zeros_like(z[:1])
    blocks = dA[:-1] if reverse else dA[1:]
    if adjoint:
        blocks = blocks.mH if dA.ndim > z.ndim else blocks.conj()
    onwards = reverse == adjoint  # row l follows row l - 1
    rest = algorithms.apply(blocks, z[:-1] if onwards else z[1:])
    first = none if z0 is None else _meet(dA[-1 if reverse else 0], z0)[None]
    return torch.cat((first, rest) if onwards else (rest, first))

"""Row-wise log-sum-exp of a similarity matrix that is never held in memory."""

from typing import Any

import torch
from torch import Tensor

from er_ssl import _blocks
from er_ssl._checks import at_least_float32, check_positive, check_rows

_BLOCK = {"cpu": 512}  # large enough to feed two threads, small enough for the cache
_BLOCK_ELSEWHERE = 4096


def row_logsumexp(
    a: Tensor,
    b: Tensor | None = None,
    *,
    scale: float | Tensor = 1.0,
    exclude_self: bool = False,
    block_size: int | None = None,
) -> Tensor:
    """Return ``log sum_j exp(scale * a_i . b_j)`` for every row i, in memory linear in the rows.

    With ``b=None`` the columns are the rows of ``a`` themselves, and each pair is computed once.
    The backward computes the blocks again; it cannot be differentiated a second time.

    Args:
        a: ``(N, D)``, any scale.
        b: ``(M, D)``, or None for ``a`` against itself.
        scale: factor of the inner products, positive; a 0-d tensor receives a gradient.
        exclude_self: leave out ``j = i``; only where ``b`` is None.
        block_size: rows and columns held at once; None chooses by device.

    Returns:
        ``(N,)``, in nats, float32 or the inputs' float64.

    Raises:
        ValueError: on shapes that do not fit, ``scale <= 0``, ``block_size < 1``, or
            ``exclude_self`` with ``b`` or with fewer than 2 rows.
        TypeError: on tensors that are not floating.

    Source:
        The sum that NT-Xent's denominator and Joe's entropy share.

    Example:
        >>> import torch
        >>> row_logsumexp(torch.eye(3), scale=2.0)
        tensor([2.2395, 2.2395, 2.2395])
        >>> row_logsumexp(torch.eye(3), scale=2.0, exclude_self=True)
        tensor([0.6931, 0.6931, 0.6931])
    """
    check_rows("a", a, at_least=2 if exclude_self and b is None else 1, columns=1)
    if b is not None:
        check_rows("b", b, columns=1)
        if exclude_self:
            raise ValueError("exclude_self=True needs b=None: rows of a are no rows of b")
        if b.shape[1] != a.shape[1]:
            got = f"{tuple(a.shape)} and {tuple(b.shape)}"
            raise ValueError(f"a and b must have equal columns, got {got}")
    check_positive("scale", scale)
    if block_size is not None and block_size < 1:
        raise ValueError(f"block_size must be at least 1, got {block_size}")
    a, b = at_least_float32(a), None if b is None else at_least_float32(b)
    return lse(a, b, scale, self_offset=0 if exclude_self else None, block_size=block_size)


def lse(
    a: Tensor,
    b: Tensor | None,
    scale: float | Tensor,
    *,
    self_offset: int | None = None,
    unit: bool = False,
    block_size: int | None = None,
) -> Tensor:
    """`row_logsumexp` without checks; column ``i + self_offset`` is left out of row i.

    ``unit`` promises rows no longer than one, which saves looking.
    """
    if b is not None and b.dtype != a.dtype:
        a, b = a.double(), b.double()
    if block_size is None:
        block_size = _BLOCK.get(a.device.type, _BLOCK_ELSEWHERE)
    block_size = max(1, min(block_size, max(len(a), len(a if b is None else b))))
    if not isinstance(scale, Tensor):
        scale = torch.tensor(scale, dtype=torch.float64)
    return _RowLogSumExp.apply(a, b, scale, self_offset, unit, block_size)


class _RowLogSumExp(torch.autograd.Function):
    """Saves the rows and one number a row; the backward computes the blocks again."""

    @staticmethod
    def forward(  # pyrefly: ignore
        ctx: Any,
        a: Tensor,
        b: Tensor | None,
        scale: Tensor,
        self_offset: int | None,
        unit: bool,
        block_size: int,
    ) -> Tensor:
        out = torch.ops.er_ssl.row_lse.default(a, b, scale, self_offset, unit, block_size)
        ctx.save_for_backward(a, b, scale, out)
        ctx.options = self_offset, unit, block_size
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyrefly: ignore
        a, b, scale, out = ctx.saved_tensors
        with torch.no_grad():
            da, db = torch.ops.er_ssl.row_lse_backward.default(grad, out, a, b, scale, *ctx.options)
            dscale = None
            if ctx.needs_input_grad[2]:
                counted = 2 if b is None else 1  # a row of a symmetric matrix is a column too
                dscale = ((a * da).sum() / (counted * scale)).to(scale.dtype)
        gradients = da, None if b is None else db, dscale
        if torch.is_grad_enabled():  # create_graph=True
            gradients = tuple(None if g is None else _Once.apply(g, grad, out) for g in gradients)
        return *gradients, None, None, None


class _Once(torch.autograd.Function):
    """Passes a first derivative on, and raises where a second is asked for."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, *depends_on: Tensor) -> Tensor:  # pyrefly: ignore
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> None:  # pyrefly: ignore
        raise RuntimeError(
            "row_logsumexp cannot be differentiated twice: its backward is not in the graph; "
            "for a second derivative use torch.logsumexp on the dense matrix"
        )


# One opaque operator each way: torch.compile keeps the loops whole instead of unrolling them.
_ARGS = "Tensor a, Tensor? b, Tensor scale, int? self_offset, bool unit, int block_size"
_library = torch.library.Library("er_ssl", "FRAGMENT")
_library.define(f"row_lse({_ARGS}) -> Tensor")
_library.define(f"row_lse_backward(Tensor grad, Tensor out, {_ARGS}) -> (Tensor, Tensor)")
_library.impl("row_lse", _blocks.forward, "CompositeExplicitAutograd")
_library.impl("row_lse_backward", _blocks.backward, "CompositeExplicitAutograd")


@torch.library.register_fake("er_ssl::row_lse", lib=_library)
def _shape_of_forward(a: Tensor, *_: object) -> Tensor:
    return a.new_empty(len(a))


@torch.library.register_fake("er_ssl::row_lse_backward", lib=_library)
def _shapes_of_backward(
    grad: Tensor, out: Tensor, a: Tensor, b: Tensor | None, *_: object
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(a), a.new_empty(0) if b is None else torch.empty_like(b)

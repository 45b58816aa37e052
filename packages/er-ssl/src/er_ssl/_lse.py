"""Row-wise log-sum-exp of a similarity matrix that is never held in memory."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from er_ssl import _blocks
from er_ssl._checks import at_least_float32, check_positive, check_rows

_DENSE_ROWS = 512  # up to here one block is the whole matrix
_BLOCK = {"cpu": 256}  # fits the second-level cache; measured best of 128..1024
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

    Args:
        a: ``(N, D)``, any scale.
        b: ``(M, D)``, or None for ``a`` against itself.
        scale: factor of the inner products, positive; a 0-d tensor receives a gradient.
        exclude_self: leave out ``j = i``; only where ``b`` is None.
        block_size: rows and columns held at once; None chooses by size and device.

    Returns:
        ``(N,)``, in nats, float32 or the input's float64.

    Raises:
        ValueError: on shapes that do not fit, ``scale <= 0``, ``block_size < 1``, or
            ``exclude_self`` with ``b`` or with fewer than 2 rows.
        TypeError: on tensors that are not floating.

    Source:
        The common kernel of equations 4 and 5 in the README's table.

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
            raise ValueError(
                f"a and b must have equal columns, got {tuple(a.shape)} and {tuple(b.shape)}"
            )
    if not isinstance(scale, Tensor):
        check_positive("scale", scale)
    if block_size is not None and block_size < 1:
        raise ValueError(f"block_size must be at least 1, got {block_size}")
    return lse(
        at_least_float32(a),
        None if b is None else at_least_float32(b),
        scale,
        self_offset=0 if exclude_self else None,
        block_size=block_size,
    )


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
    if block_size is None:
        largest = max(len(a), len(a if b is None else b))
        small = largest <= _DENSE_ROWS
        block_size = max(largest, 1) if small else _BLOCK.get(a.device.type, _BLOCK_ELSEWHERE)
    if not isinstance(scale, Tensor):
        scale = torch.tensor(scale, dtype=torch.float64)
    return _RowLogSumExp.apply(a, b, scale, self_offset, unit, block_size)


class _RowLogSumExp(torch.autograd.Function):
    """Saves the rows and one number a row; the backward computes the blocks again."""

    @staticmethod
    def forward(ctx, a, b, scale, self_offset, unit, block_size):  # noqa: ANN001
        out = torch.ops.er_ssl.row_lse.default(a, b, scale, self_offset, unit, block_size)
        ctx.save_for_backward(a, b, scale, out)
        ctx.options = self_offset, unit, block_size
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):  # noqa: ANN001
        a, b, scale, out = ctx.saved_tensors
        da, db = torch.ops.er_ssl.row_lse_backward.default(grad, out, a, b, scale, *ctx.options)
        dscale = None
        if ctx.needs_input_grad[2]:
            times_counted = 2 if b is None else 1  # a row is an anchor and a column
            dscale = ((a * da).sum() / (times_counted * scale)).to(scale.dtype)
        return da, None if b is None else db, dscale, None, None, None


_library = torch.library.Library("er_ssl", "FRAGMENT")  # opaque to torch.compile: no loop unrolls
_ARGS = "Tensor a, Tensor? b, Tensor scale, int? self_offset, bool unit, int block_size"
_library.define(f"row_lse({_ARGS}) -> Tensor")
_library.define(f"row_lse_backward(Tensor grad, Tensor out, {_ARGS}) -> (Tensor, Tensor)")
_library.impl("row_lse", _blocks.forward, "CompositeExplicitAutograd")
_library.impl("row_lse_backward", _blocks.backward, "CompositeExplicitAutograd")


@torch.library.register_fake("er_ssl::row_lse", lib=_library)
def _(a, b, scale, self_offset, unit, block_size):  # noqa: ANN001, ANN202
    return a.new_empty(len(a))


@torch.library.register_fake("er_ssl::row_lse_backward", lib=_library)
def _(grad, out, a, b, scale, self_offset, unit, block_size):  # noqa: ANN001, ANN202
    return torch.empty_like(a), a.new_empty(0) if b is None else torch.empty_like(b)

"""The block loops under `row_logsumexp`: plain tensors in and out, no autograd.

Two forms of each loop. Where every logit is within +-limit, ``exp`` needs no shift, and one
exponential serves a block's rows and its columns. Elsewhere every row keeps a running maximum.
"""

import torch
from torch import Tensor

from er_ssl._checks import check_positive

_LIMIT = {torch.float32: 40.0, torch.float64: 300.0}  # sums of 1e9 such exponentials are finite


def forward(
    a: Tensor, b: Tensor | None, scale: Tensor, self_offset: int | None, unit: bool, block: int
) -> Tensor:
    """``(N,)``: log of the summed exponentials of every row."""
    with torch.autocast(a.device.type, enabled=False):
        factor = float(scale)
        check_positive("scale", factor)  # one that is learnt is seen here for the first time
        if not _within_limit(a, b, factor, unit):
            return _forward_shifted(a, b, factor, self_offset, block)
        total = a.new_zeros(len(a))
        columns, left, work = a if b is None else b, a * factor, _Workspace(a, block)
        for i, j in _pairs(a, b, block):
            e = work.product(left[i], columns[j]).exp_()
            _fill_self(e, i, j, self_offset, 0.0)
            total[i] += e.sum(1)
            if b is None and i != j:
                total[j] += e.sum(0)
        return total.log_()


def backward(
    grad: Tensor,
    out: Tensor,
    a: Tensor,
    b: Tensor | None,
    scale: Tensor,
    self_offset: int | None,
    unit: bool,
    block: int,
) -> tuple[Tensor, Tensor]:
    """``(N, D)`` and ``(M, D)``: gradients of ``a`` and ``b`` (empty where ``b`` is None)."""
    with torch.autocast(a.device.type, enabled=False):
        factor = float(scale)
        shifted = not _within_limit(a, b, factor, unit)
        columns, left, work = a if b is None else b, a * factor, _Workspace(a, block)
        da = torch.zeros_like(a)
        db = da if b is None else torch.zeros_like(b)
        weight = grad if shifted else grad * (-out).exp()  # (N,)
        for i, j in _pairs(a, b, block):
            e = work.product(left[i], columns[j])
            if shifted:
                p = _softmax_weights(e, grad, out, i, j, self_offset, symmetric=b is None)
            else:
                p = e.exp_()
                _fill_self(p, i, j, self_offset, 0.0)
                p *= weight[i, None] + weight[None, j] if b is None else weight[i, None]
            da[i].addmm_(p, columns[j])
            if b is not None or i != j:
                db[j].addmm_(p.T, a[i])
        da *= factor
        return da, a.new_empty(0) if b is None else db.mul_(factor)


def _forward_shifted(
    a: Tensor, b: Tensor | None, factor: float, self_offset: int | None, block: int
) -> Tensor:
    top = torch.full_like(a[:, 0], torch.finfo(a.dtype).min)  # running maximum of each row
    total = torch.zeros_like(top)
    columns, left, work = a if b is None else b, a * factor, _Workspace(a, block)

    def add(rows: slice, logits: Tensor) -> None:
        new = torch.maximum(top[rows], logits.amax(1))
        total[rows] *= (top[rows] - new).exp_()
        total[rows] += (logits - new[:, None]).exp_().sum(1)
        top[rows] = new

    for i, j in _pairs(a, b, block):
        logits = work.product(left[i], columns[j])
        _fill_self(logits, i, j, self_offset, -torch.inf)
        add(i, logits)
        if b is None and i != j:
            add(j, logits.T)
    return total.log_().add_(top)


def _softmax_weights(
    logits: Tensor,
    grad: Tensor,
    out: Tensor,
    i: slice,
    j: slice,
    self_offset: int | None,
    *,
    symmetric: bool,
) -> Tensor:
    """``grad_i p_ij``, and where symmetric ``+ grad_j p_ji``."""
    _fill_self(logits, i, j, self_offset, -torch.inf)
    p = (logits - out[i, None]).exp_().mul_(grad[i, None])
    if symmetric:
        p += logits.sub_(out[None, j]).exp_().mul_(grad[None, j])
    return p


def _within_limit(a: Tensor, b: Tensor | None, factor: float, unit: bool) -> bool:
    """Whether no logit can leave the range where ``exp`` needs no shift."""
    if not unit:
        longest = a.norm(dim=1).max()
        factor *= float(longest * (longest if b is None else b.norm(dim=1).max()))
    return factor <= _LIMIT[a.dtype]


def _pairs(a: Tensor, b: Tensor | None, block: int) -> list[tuple[slice, slice]]:
    """Row and column slices: all of them, or the upper triangle where ``b`` is None."""
    rows = [slice(k, min(k + block, len(a))) for k in range(0, len(a), block)]
    if b is None:
        return [(i, j) for n, i in enumerate(rows) for j in rows[n:]]
    columns = [slice(k, min(k + block, len(b))) for k in range(0, len(b), block)]
    return [(i, j) for i in rows for j in columns]


def _fill_self(m: Tensor, i: slice, j: slice, self_offset: int | None, value: float) -> None:
    """Overwrite in the block the column ``row + self_offset`` of every row."""
    if self_offset is None:
        return
    k = i.start + self_offset - j.start  # the block's diagonal that holds the selves
    if -m.shape[0] < k < m.shape[1]:
        m.diagonal(k).fill_(value)


class _Workspace:
    """One buffer for the products of all blocks."""

    def __init__(self, like: Tensor, block: int) -> None:
        self.buffer = like.new_empty(block * block)

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        """``left @ right.T`` in the buffer."""
        shape = len(left), len(right)
        out = self.buffer[: shape[0] * shape[1]].view(shape)
        return torch.mm(left, right.T, out=out)

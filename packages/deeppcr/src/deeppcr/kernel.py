"""The plain-C kernel: found beside this file, called through ctypes, never compiled at import.

It solves serially what it is given, which on a CPU does the least work of all methods; threads
share the batch. `DEEPPCR_KERNEL=0` in the environment leaves it aside.
"""

import ctypes
import os
import threading
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

ABI = 2
WORTH_A_THREAD = 1 << 21  # bytes of blocks: below this, starting a thread costs more than it saves
_SUFFIX = {torch.float32: "f32", torch.float64: "f64"}
_SIGNATURES = {
    "dense": [ctypes.c_void_p] * 5 + [ctypes.c_int64] * 15,
    "diagonal": [ctypes.c_void_p] * 4 + [ctypes.c_int64] * 11,
}
WIDEST_SCALED = 64  # numbers of a state whose blocks may come with a scale: SCALED in the source


@cache
def library() -> ctypes.CDLL | None:
    """The kernel's library, or None where it was not built, is stale, or is not wanted."""
    path = Path(__file__).with_name("_kernel.so")
    if os.environ.get("DEEPPCR_KERNEL", "1") == "0" or not path.exists():
        return None
    try:
        loaded = ctypes.CDLL(str(path))
        if loaded.deeppcr_abi() != ABI:
            return None
    except (OSError, AttributeError):  # built for another machine, or not ours
        return None
    for kind, signature in _SIGNATURES.items():
        for suffix in _SUFFIX.values():
            function = getattr(loaded, f"deeppcr_{kind}_{suffix}")
            function.argtypes, function.restype = signature, None
    return loaded


def takes(b: Tensor) -> bool:
    """Whether the kernel is there and made for this dtype and device."""
    return b.device.type == "cpu" and b.dtype in _SUFFIX and library() is not None


def solve(
    A: Tensor,
    b: Tensor,
    z0: Tensor | None,
    *,
    reverse: bool,
    adjoint: bool,
    scale: Tensor | None = None,
) -> Tensor:
    """The states of the recurrence, or of its adjoint; see `deeppcr.scan`.

    Args:
        A: dense ``(L, *B, d, d)`` if it has one dimension more than ``b``; else ``(L, *B, d)`` or
            ``(L, *B, 1)``; batch dimensions may be 1.
        b: ``(L, *B, d)`` with ``L >= 1``, float32 or float64, on the CPU.
        z0: ``(*B, d)`` or None.
        reverse: run from the last row to the first.
        adjoint: run against that direction, with ``A_{l+1}`` transposed instead of ``A_l``.
        scale: ``(L, *B, d)``, with ``d <= WIDEST_SCALED``: the blocks are ``diag(scale) A``.
    """
    dense = A.ndim > b.ndim
    length, width, batch = len(b), b.shape[-1], b.shape[1:-1]
    z = torch.empty(b.shape, dtype=b.dtype)
    blocks = A.expand(length, *batch, *(A.shape[-2:] if dense else A.shape[-1:]))
    blocks = blocks.reshape(length, -1, *blocks.shape[1 + len(batch) :])  # a view, or a copy
    right, out = b.reshape(length, -1, width), z.view(length, -1, width)
    start = None if z0 is None else z0.reshape(-1, width).contiguous()
    if right.stride(-1) != 1 and width > 1:
        right = right.contiguous()
    if dense and 1 not in blocks.stride()[-2:]:
        blocks = blocks.contiguous()
    if not dense and right.is_contiguous() and blocks.is_contiguous() and A.shape[-1] == width:
        blocks, right, out = (t.view(length, 1, -1) for t in (blocks, right, out))
        start = None if start is None else start.view(1, -1)
    if scale is not None:
        scale = scale.reshape(length, -1, width)
        scale = scale if scale.stride(-1) == 1 else scale.contiguous()
    _share(blocks, right, start, out, scale, dense, reverse, adjoint)
    return z


def _share(
    A: Tensor,
    b: Tensor,
    z0: Tensor | None,
    z: Tensor,
    scale: Tensor | None,
    dense: bool,
    reverse: bool,
    adjoint: bool,
) -> None:
    """Give every thread its part of the batch (of the channels, if diagonal and unbatched)."""
    axis = 2 if not dense and b.shape[1] == 1 else 1
    threads = min(torch.get_num_threads(), A.numel() * A.element_size() // WORTH_A_THREAD)
    share = -(-b.shape[axis] // max(threads, 1))
    share = max(-(-share // 16) * 16, 16) if axis == 2 else share  # whole cache lines
    if threads <= 1 or share >= b.shape[axis]:
        return _call(A, b, z0, z, scale, dense, reverse, adjoint)
    workers = []
    for part in range(0, b.shape[axis], share):
        count = min(share, b.shape[axis] - part)
        right, out = (t.narrow(axis, part, count) for t in (b, z))
        blocks = A if A.shape[axis] == 1 else A.narrow(axis, part, count)
        first = None if z0 is None else z0.narrow(axis - 1, part, count)
        factor = None if scale is None else scale.narrow(axis, part, count)
        arguments = (blocks, right, first, out, factor, dense, reverse, adjoint)
        workers.append(threading.Thread(target=_call, args=arguments))
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return None


def _call(
    A: Tensor,
    b: Tensor,
    z0: Tensor | None,
    z: Tensor,
    scale: Tensor | None,
    dense: bool,
    reverse: bool,
    adjoint: bool,
) -> None:
    """One call of the C function: direction, shift and transposition become strides."""
    loaded = library()
    assert loaded is not None
    backwards = reverse != adjoint
    last = len(b) - 1 if backwards else 0
    sign = -1 if backwards else 1
    block = last - sign if adjoint else last  # the adjoint's row l uses the block of row l + 1

    def first(tensor: Tensor, row: int) -> int:
        return tensor.data_ptr() + row * tensor.stride(0) * tensor.element_size()

    Al, Ab, Ai = A.stride()[:3]
    suffix = _SUFFIX[b.dtype]
    start, start_stride = (None, 0) if z0 is None else (z0.data_ptr(), z0.stride(0))
    ends = (
        sign * b.stride(0), b.stride(1), sign * z.stride(0), z.stride(1), start_stride,
    )  # fmt: skip
    tensors = (first(A, block), first(b, last), start, first(z, last))
    if not dense:
        Ai = Ai if A.shape[2] == b.shape[2] else 0
        diagonal = getattr(loaded, f"deeppcr_diagonal_{suffix}")
        return diagonal(*tensors, *b.shape, sign * Al, Ab, Ai, *ends)
    Ai, Aj = A.stride()[:1:-1] if adjoint else A.stride()[2:]
    factor, strides = None, (0, 0)
    if scale is not None:
        factor = first(scale, block)
        strides = (sign * scale.stride(0), scale.stride(1))
    function = getattr(loaded, f"deeppcr_dense_{suffix}")
    function(*tensors, factor, *b.shape, sign * Al, Ab, Ai, Aj, *ends, *strides, adjoint)
    return None

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

ABI = 1
WORTH_A_THREAD = 1 << 21  # bytes of blocks: below this, starting a thread costs more than it saves
_SUFFIX = {torch.float32: "f32", torch.float64: "f64"}
_SIGNATURE = [ctypes.c_void_p] * 4 + [ctypes.c_int64] * 12


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
    for kind in ("dense", "diagonal"):
        for suffix in _SUFFIX.values():
            function = getattr(loaded, f"deeppcr_{kind}_{suffix}")
            function.argtypes, function.restype = _SIGNATURE, None
    return loaded


def takes(b: Tensor) -> bool:
    """Whether the kernel is there and made for this dtype and device."""
    return b.device.type == "cpu" and b.dtype in _SUFFIX and library() is not None


def solve(A: Tensor, b: Tensor, z0: Tensor | None, *, reverse: bool, adjoint: bool) -> Tensor:
    """The states of the recurrence, or of its adjoint; see `deeppcr.scan`.

    Args:
        A: dense ``(L, *B, d, d)`` if it has one dimension more than ``b``; else ``(L, *B, d)`` or
            ``(L, *B, 1)``; batch dimensions may be 1.
        b: ``(L, *B, d)`` with ``L >= 1``, float32 or float64, on the CPU.
        z0: ``(*B, d)`` or None.
        reverse: run from the last row to the first.
        adjoint: run against that direction, with ``A_{l+1}`` transposed instead of ``A_l``.
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
    _share(blocks, right, start, out, dense, reverse, adjoint)
    return z


def _share(
    A: Tensor, b: Tensor, z0: Tensor | None, z: Tensor, dense: bool, reverse: bool, adjoint: bool
) -> None:
    """Give every thread its part of the batch (of the channels, if diagonal and unbatched)."""
    axis = 2 if not dense and b.shape[1] == 1 else 1
    threads = min(torch.get_num_threads(), A.numel() * A.element_size() // WORTH_A_THREAD)
    share = -(-b.shape[axis] // max(threads, 1))
    share = max(-(-share // 16) * 16, 16) if axis == 2 else share  # whole cache lines
    if threads <= 1 or share >= b.shape[axis]:
        return _call(A, b, z0, z, dense, reverse, adjoint)
    workers = []
    for part in range(0, b.shape[axis], share):
        count = min(share, b.shape[axis] - part)
        right, out = (t.narrow(axis, part, count) for t in (b, z))
        blocks = A if A.shape[axis] == 1 else A.narrow(axis, part, count)
        first = None if z0 is None else z0.narrow(axis - 1, part, count)
        arguments = (blocks, right, first, out, dense, reverse, adjoint)
        workers.append(threading.Thread(target=_call, args=arguments))
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return None


def _call(
    A: Tensor, b: Tensor, z0: Tensor | None, z: Tensor, dense: bool, reverse: bool, adjoint: bool
) -> None:
    """One call of the C function: direction, shift and transposition become strides."""
    loaded = library()
    assert loaded is not None
    length, batch, width = b.shape
    size = b.element_size()
    backwards = reverse != adjoint
    last = length - 1 if backwards else 0
    sign = -1 if backwards else 1
    first = last - sign if adjoint else last  # the adjoint's row l uses the block of row l + 1
    Al, Ab, Ai = A.stride()[:3]
    Aj = A.stride(3) if dense else 0
    if adjoint and dense:
        Ai, Aj = Aj, Ai
    if not dense and A.shape[2] != width:
        Ai = 0
    function = getattr(loaded, f"deeppcr_{'dense' if dense else 'diagonal'}_{_SUFFIX[b.dtype]}")
    function(
        A.data_ptr() + first * Al * size,
        b.data_ptr() + last * b.stride(0) * size,
        None if z0 is None else z0.data_ptr(),
        z.data_ptr() + last * z.stride(0) * size,
        length, batch, width, sign * Al, Ab, Ai, Aj, sign * b.stride(0), b.stride(1),
        sign * z.stride(0), z.stride(1), 0 if z0 is None else z0.stride(0),
    )  # fmt: skip

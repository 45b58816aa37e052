"""The arguments of a scan: refused with a reason, or brought into one layout."""

import torch
from torch import Tensor

from deeppcr.algorithms import ALGORITHMS

HALF = (torch.float16, torch.bfloat16)
DTYPES = (*HALF, torch.float32, torch.float64, torch.complex64, torch.complex128)


def checked(
    A: Tensor, b: Tensor, z0: Tensor | None, method: str, dim: int
) -> tuple[Tensor, Tensor, Tensor | None, int]:
    """The arguments in one layout: steps first, as many batch dimensions in A as in b."""
    if b.ndim < 2 or b.shape[-1] == 0 or not -b.ndim < dim < b.ndim - 1:
        raise ValueError(
            f"b must be (L, *B, d) with d >= 1 and its steps on axis dim={dim}, not on the last; "
            f"got {tuple(b.shape)}"
        )
    if method != "auto" and method not in ALGORITHMS:
        names = ", ".join(ALGORITHMS)
        raise ValueError(f"method must be auto, {names}; got {method!r}")
    for name, tensor in (("A", A), ("z0", z0)):
        if tensor is not None and tensor.dtype != b.dtype:
            raise TypeError(f"{name} is {tensor.dtype} and b is {b.dtype}: give them one dtype")
        if tensor is not None and tensor.device != b.device:
            raise ValueError(f"{name} is on {tensor.device} and b on {b.device}: move one of them")
    if b.dtype not in DTYPES:
        raise TypeError(f"b must be floating or complex, got {b.dtype}: use b.float()")
    dim %= b.ndim
    b = b.movedim(dim, 0) if dim else b
    if A.ndim == 1:
        A = A.reshape(-1, *[1] * (b.ndim - 1))
    elif A.ndim in (b.ndim, b.ndim + 1):
        A = A.movedim(dim, 0) if dim else A
    width = b.shape[-1]
    ends = [(width, width)] if A.ndim > b.ndim else [(width,), (1,)]
    batch = A.shape[1 : b.ndim - 1]
    if (
        A.ndim not in (b.ndim, b.ndim + 1)
        or len(A) != len(b)
        or A.shape[b.ndim - 1 :] not in ends
        or any(n not in (1, m) for n, m in zip(batch, b.shape[1:-1], strict=True))
    ):
        raise ValueError(
            f"A must be dense (L, *B, d, d), diagonal (L, *B, d), or scalar (L, *B, 1) or (L,) for "
            f"b of shape {tuple(b.shape)} (steps first); got {tuple(A.shape)}"
        )
    if z0 is not None and z0.shape != b.shape[1:]:
        raise ValueError(f"z0 must be {tuple(b.shape[1:])}, got {tuple(z0.shape)}")
    return A, b, z0, dim


def ragged(A: Tensor, b: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Identity blocks and zero right-hand sides behind the end of every sample."""
    if lengths.shape != b.shape[1:-1] or lengths.is_floating_point():
        raise ValueError(
            f"lengths must be integers of shape {tuple(b.shape[1:-1])}, one a sample; "
            f"got {lengths.dtype} of shape {tuple(lengths.shape)}"
        )
    steps = torch.arange(len(b), device=b.device).view(-1, *[1] * lengths.ndim)
    runs = steps < lengths
    return hold(A, runs, A.ndim > b.ndim), torch.where(runs.unsqueeze(-1), b, 0)


def hold(A: Tensor, runs: Tensor, dense: bool) -> Tensor:
    """The blocks where ``runs``, ``(L, *B)``, and the identity elsewhere."""
    if not dense:
        return torch.where(runs.unsqueeze(-1), A, 1)
    identity = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    return torch.where(runs[..., None, None], A, identity)

"""Where a map acts: the part of the line in which the source was seen."""

from typing import Literal

import numpy as np
import torch

from act_steer.coupling import Sorted

Support = Literal["minmax", "all", "clamp"] | tuple[float, float]


def support_of(source: Sorted, support: Support) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ends of the support, and the share of the source samples in it, ``(D,)`` each."""
    values, dim = source.values, len(source.values)
    if support == "all":
        return np.full(dim, -np.inf), np.full(dim, np.inf), np.ones(dim)
    if support in ("minmax", "clamp"):
        return values[:, 0], values[:, -1], np.ones(dim)
    if isinstance(support, str) or len(support) != 2 or not 0 <= support[0] < support[1] <= 1:
        raise ValueError(
            "support must be 'minmax', 'all', 'clamp' or two levels 0 <= low < high <= 1,"
            f" got {support!r}"
        )
    low, high = (source.quantile(float(level)) for level in support)
    inside = (values >= low[:, None]) & (values <= high[:, None])
    return low, high, source.mean(inside.astype(np.float64))


def resolution_of(source: Sorted, resolution: float | None) -> float:
    """Relative size of rounding in a sample."""
    return 8 * float(np.finfo(source.values.dtype).eps) if resolution is None else resolution


def result_dtype(source: Sorted, target: Sorted) -> torch.dtype:
    """float64 where a sample is, else float32."""
    wide = np.result_type(source.values, target.values) == np.float64
    return torch.float64 if wide else torch.float32

"""What the analyses ask of their input, and the words for what they refuse."""

import importlib
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from symphony_ui.errors import SymphonyError

PACKAGES = {
    "sklearn": "scikit-learn",
    "umap": "umap-learn",
    "vl_convert": "vl-convert-python",
    "ibis": "ibis-framework[duckdb]",
}


class ExtraError(SymphonyError, ImportError):
    """A package of an extra is not installed; the message says how to install it."""


def extra(module: str, what: str, name: str = "analysis") -> ModuleType:
    """The module ``module`` of the extra ``name``, or an error that says how to install it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        top = module.split(".")[0]
        package = PACKAGES.get(top, top)
        raise ExtraError(
            f"{what} needs {package}: install symphony-ui with its extra [{name}]"
        ) from error


def matrix(X: ArrayLike, name: str = "X") -> NDArray[np.float64]:
    """``X`` as finite float64 of shape ``(N, D)``, checked; a copy only where it must be one."""
    given: NDArray[Any] = np.asarray(X)
    if given.dtype.kind not in "fiub":
        raise SymphonyError(f"{name} must hold real numbers, got dtype {given.dtype}")
    if given.ndim != 2 or not given.shape[1]:
        raise SymphonyError(f"{name} must have shape (N, D) with D >= 1, got {given.shape}")
    values = np.ascontiguousarray(given, dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        rows = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
        raise SymphonyError(
            f"{name} must be finite, got NaN or infinity in {len(bad)} rows ({rows}): drop them"
        )
    return values


def column(values: Any, name: str, rows: int | None = None) -> NDArray[Any]:
    """``values`` as a one-dimensional array of ``rows`` entries; mixed lists become objects."""
    array = np.asarray(values) if hasattr(values, "dtype") else _from_list(list(values))
    if array.ndim != 1:
        raise SymphonyError(f"{name} must have one entry a row, got shape {array.shape}")
    if rows is not None and len(array) != rows:
        raise SymphonyError(f"{name} must have {rows} entries, one a row, got {len(array)}")
    return array


def _from_list(values: list[Any]) -> NDArray[Any]:
    if len({type(v) for v in values}) <= 1 and values and values[0] is not None:
        return np.asarray(values)
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array

"""What a linear solve should cost by each method, which one is the cheapest, and why.

The constants are shipped, so that the same input takes the same method, and gives the same bytes,
on every machine and day. `python -m deeppcr bench --calibrate FILE` measures them anew, and a
process that finds FILE named in `DEEPPCR_COSTS` uses those.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from types import TracebackType

from torch import Tensor

from deeppcr import kernel

METHODS = ("kernel", "serial", "pcr", "oddeven")  # chunked is never the cheapest on a CPU
SHIPPED: dict[str, dict[str, tuple[float, float, float]]] = {
    "cpu": {
        "kernel dense": (1.53e-5, 3.47e-9, 1.18e-10),
        "kernel diagonal": (1.78e-5, 1.56e-9, 9.77e-11),
        "serial dense": (8.14e-6, 5.70e-11, 6.57e-10),
        "serial diagonal": (3.52e-6, 5.62e-10, 0.0),
        "pcr dense": (1.64e-5, 1.40e-8, 2.20e-11),
        "pcr diagonal": (9.67e-6, 4.81e-10, 0.0),
        "oddeven dense": (3.45e-5, 1.06e-8, 5.80e-11),
        "oddeven diagonal": (2.19e-5, 7.04e-10, 0.0),
    },
}  # seconds for one round, one row of numbers, one multiply-add: see `work`


@dataclass(frozen=True)
class Decision:
    """One choice: what was solved, how, and what it should cost and did, in seconds."""

    what: str
    method: str
    predicted: dict[str, float]
    seconds: float = math.nan

    def __str__(self) -> str:
        """A line for a person."""
        each = ", ".join(f"{name} {1e3 * s:.3g} ms" for name, s in self.predicted.items())
        took = "" if math.isnan(self.seconds) else f"; took {1e3 * self.seconds:.3g} ms"
        return f"{self.what}: {self.method} (should take: {each}){took}"


@dataclass
class explain:
    """Records, within a ``with`` block, which method every solve took, and why.

    Args:
        decisions: filled within the block, in order.

    Returns:
        The log: it prints as one line a decision, and has `to_table`.

    Raises:
        Nothing of its own: what the block raises passes through.

    Example:
        >>> import torch
        >>> from deeppcr import affine_scan
        >>> with explain() as log:
        ...     z = affine_scan(torch.ones(8, 2, 2), torch.ones(8, 2))
        >>> [decision.what for decision in log.decisions]
        ['dense solve, L=8, B=1, d=2, cpu']
    """

    decisions: list[Decision] = field(default_factory=list)
    _token: Token[explain | None] | None = field(default=None, repr=False)

    def __enter__(self) -> explain:
        """Begins to record, in this thread only."""
        self._token = _LOG.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        """Ends it."""
        if self._token is not None:
            _LOG.reset(self._token)

    def __str__(self) -> str:
        """One line a decision."""
        return "\n".join(map(str, self.decisions)) or "nothing was solved"

    def to_table(self) -> dict[str, list[str] | list[float]]:
        """Columns of equal length; times in seconds, NaN where unknown."""
        return {
            "what": [d.what for d in self.decisions],
            "method": [d.method for d in self.decisions],
            "predicted": [d.predicted.get(d.method, math.nan) for d in self.decisions],
            "seconds": [d.seconds for d in self.decisions],
        }


_LOG: ContextVar[explain | None] = ContextVar("deeppcr_log", default=None)


def note(decision: Decision) -> None:
    """Add a decision to the log, if one is kept."""
    log = _LOG.get()
    if log is not None:
        log.decisions.append(decision)


def timed(solve: Callable[[], Tensor], method: str, A: Tensor, b: Tensor) -> Tensor:
    """``solve()``, with a note of what it was and took, if a log is kept."""
    if _LOG.get() is None:
        return solve()
    length, batch, width, dense = sizes(A, b)
    start = time.perf_counter()
    z = solve()
    seconds = time.perf_counter() - start
    name = "kernel" if method == "serial" and kernel.takes(b) else method
    predicted = predictions(length, batch, width, dense=dense, device=b.device.type)
    if not kernel.takes(b):
        predicted.pop("kernel", None)
    shape = f"{'dense' if dense else 'diagonal'} solve, L={length}, B={batch}, d={width}"
    note(Decision(f"{shape}, {b.device.type}", name, predicted, seconds))
    return z


def sizes(A: Tensor, b: Tensor) -> tuple[int, int, int, bool]:
    """Steps, batch, width, and whether the blocks are dense."""
    length, width = b.shape[0], b.shape[-1]
    return length, b.numel() // max(length * width, 1), width, A.ndim > b.ndim


def work(
    method: str, length: int, batch: int, width: int, *, dense: bool
) -> tuple[float, float, float]:
    """Rounds (one waits for the other), numbers handled, multiply-adds of matrix products."""
    sweeps, numbers = math.ceil(math.log2(max(length, 1))), length * batch * width
    inner = width if dense else 0
    if method == "kernel":
        return 1, length * batch * (1 if dense else width / 16), numbers * (inner or 1)
    if method == "serial":
        return length, numbers, numbers * inner
    if method == "pcr":
        return sweeps, sweeps * numbers, sweeps * numbers * inner * (inner + 1)
    return sweeps, 2 * numbers, numbers * inner * (inner + 1)


def predictions(
    length: int, batch: int, width: int, *, dense: bool, device: str = "cpu"
) -> dict[str, float]:
    """Seconds of every method that the device has constants for."""
    rates, kind = constants().get(device, constants()["cpu"]), "dense" if dense else "diagonal"
    return {
        method: sum(
            rate * amount
            for rate, amount in zip(
                rates[f"{method} {kind}"],
                work(method, length, batch, width, dense=dense),
                strict=True,
            )
        )
        for method in METHODS
        if f"{method} {kind}" in rates
    }


def linear_method(A: Tensor, b: Tensor) -> str:
    """The method that ``"auto"`` takes: the kernel where it serves, else the cheapest."""
    if kernel.takes(b):
        return "serial"
    return _cheapest(*sizes(A, b), b.device.type)


@lru_cache(maxsize=1024)
def _cheapest(length: int, batch: int, width: int, dense: bool, device: str) -> str:
    predicted = predictions(length, batch, width, dense=dense, device=device)
    predicted.pop("kernel", None)
    return min(predicted, key=predicted.__getitem__)


@cache
def constants() -> dict[str, dict[str, tuple[float, float, float]]]:
    """The shipped constants, with those of ``DEEPPCR_COSTS`` over them.

    Raises:
        ValueError: if that file is not a table as ``bench --calibrate`` writes it.
    """
    path = os.environ.get("DEEPPCR_COSTS")
    if not path:
        return SHIPPED
    try:
        read = json.loads(Path(path).read_text())
        found = {
            device: {name: (float(a), float(b), float(c)) for name, (a, b, c) in rates.items()}
            for device, rates in read["costs"].items()
        }
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"DEEPPCR_COSTS names {path}, which is not a table of bench --calibrate: {error}"
        ) from error
    return {
        device: {**SHIPPED.get(device, {}), **found.get(device, {})} for device in SHIPPED | found
    }

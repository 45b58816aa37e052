"""Schedules whose decay moves: given per small update, answered for any span of samples.

The product form multiplies the decays of the small updates, exactly what the run at the base
batch did; a part of one is taken at its even rate. The continuous form integrates the logarithm
instead: it needs no base batch to have existed, and any span costs the same.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from ema_scaling import _check
from ema_scaling.schedule import Schedule, check_span

Form = Literal["product", "continuous"]

# nodes and weights of the 8-point Gauss-Legendre rule on [-1, 1], positive half
_NODES = (0.1834346424956498, 0.5255324099163290, 0.7966664774136267, 0.9602898564975363)
_WEIGHTS = (0.3626837833783620, 0.3137066458778873, 0.2223810344533745, 0.1012285362903763)
_PANELS = 64  # of a schedule's length, for the continuous form


def _product(log_at: Callable[[float], float], start: float, stop: float) -> float:
    """Sum of ``log_at`` over whole steps, the first and last in part."""
    first, last = math.floor(start), math.ceil(stop)
    parts = ((min(stop, k + 1) - max(start, k), k) for k in range(first, last))
    return math.fsum(part * log_at(k) for part, k in parts if part > 0)


def _mean_decay(
    log_decay: Callable[[float, float], float], n0: float, n1: float, batch: int
) -> float:
    """Mean decay from the starts of the small updates to the end; one cut short counts in part."""
    total, log, stop = 0.0, 0.0, n1
    while stop > n0:
        start = max(n0, stop - batch)
        log += log_decay(start, stop)
        total += math.exp(log) * (stop - start)
        stop = start
    return total / (n1 - n0) if n1 > n0 else 1.0


def _integral(log_at: Callable[[float], float], start: float, stop: float, length: float) -> float:
    """Integral of ``log_at`` by Gauss-Legendre on panels that the length and its corner bound."""
    total: list[float] = []
    for a, b in ((min(start, length), min(stop, length)), (max(start, length), max(stop, length))):
        panels = max(1, min(_PANELS, math.ceil((b - a) * _PANELS / length))) if b > a else 0
        width = (b - a) / panels if panels else 0.0
        for i in range(panels):
            middle = a + (i + 0.5) * width
            for node, weight in zip(_NODES, _WEIGHTS, strict=True):
                pair = log_at(middle - node * width / 2) + log_at(middle + node * width / 2)
                total.append(weight * pair * width / 2)
    return math.fsum(total)


def _log1p(weight: float) -> float:
    return math.log1p(-weight) if weight < 1 else -math.inf


@dataclass(frozen=True)
class Cosine(Schedule):
    """A decay that moves from ``start`` to ``end`` along half a cosine, as BYOL and DINO do.

    Args:
        start: decay of the first small update, in [0, 1]; above 0 for the continuous form.
        end: decay after ``total`` samples, in [0, 1].
        total: samples of the whole run, positive.
        batch: samples of one small update, at which the two decays were set.
        form: "product" over the small updates, or "continuous".

    Raises:
        ValueError: if a number is out of range.

    Source:
        Grill et al. 2020 for the curve. The exact scaling is the product of the small updates'
        decays, never a cosine that starts at ``start ** kappa``.

    Example:
        >>> schedule = Cosine(0.996, 1.0, total=256_000, batch=256)
        >>> round(schedule.decay(0, 256), 6), schedule.decay(256_000, 512_000)
        (0.996, 1.0)
    """

    start: float
    end: float = 1.0
    total: float = field(kw_only=True)
    batch: int = field(default=1, kw_only=True)
    form: Form = field(default="product", kw_only=True)

    def __post_init__(self) -> None:
        _check.fraction("start", self.start)
        _check.fraction("end", self.end)
        _check.positive("total", self.total)
        _check.count("batch", self.batch)
        _check.one_of("form", self.form, ("product", "continuous"))
        if self.form == "continuous" and min(self.start, self.end) < 0.01:
            low = min(self.start, self.end)
            raise ValueError(f"the continuous form needs decays of at least 0.01, got {low}")

    def log_decay(self, n0: float, n1: float) -> float:
        """The logarithm of ``decay(n0, n1)``, at most 0; it adds up over adjoining spans."""
        check_span(n0, n1)
        start, stop = n0 / self.batch, n1 / self.batch
        if self.form == "product":
            return _product(self._log_at, start, stop)
        return _integral(self._log_at, start, stop, self.total / self.batch)

    def path_share(self, n0: float, n1: float) -> float:
        """The mean decay from the small updates' starts, or from anywhere, to the end."""
        if self.form == "product":
            return _mean_decay(self.log_decay, n0, n1, self.batch)
        half, middle = (n1 - n0) / 2, (n1 + n0) / 2
        return math.fsum(
            weight
            / 2
            * (self.decay(middle - node * half, n1) + self.decay(middle + node * half, n1))
            for node, weight in zip(_NODES, _WEIGHTS, strict=True)
        )

    def _log_at(self, step: float) -> float:
        share = min(step * self.batch / self.total, 1.0)
        start, end = 1 - self.start, 1 - self.end
        return _log1p(end + (start - end) * (math.cos(math.pi * share) + 1) / 2)


@dataclass(frozen=True)
class Warmup(Schedule):
    """A decay that grows to its final value over the first updates, on the clock of samples.

    With t the number of the small update, from 0, the decay is ``min(decay, curve(t))`` for the
    curves "ratio", ``(1 + t) / (10 + t)``, and "power", ``1 - (1 + t / gamma) ** -power``; and
    ``decay * (1 - exp(-t / tau))`` for "exponential".

    Args:
        final: the decay that is reached, in [0, 1].
        curve: "ratio" (TensorFlow's and diffusers' default), "power" (timm, ema-pytorch) or
            "exponential" (YOLO).
        gamma: scale of "power", in updates.
        power: exponent of "power".
        tau: time constant of "exponential", in updates.
        batch: samples of one small update, at which the curve was set.

    Raises:
        ValueError: if a number is out of range.

    Source:
        The three curves in common use; the product over the small updates is ours.

    Example:
        >>> schedule = Warmup(0.999, curve="ratio", batch=32)
        >>> round(schedule.decay(32, 64), 4), round(schedule.decay(0, 64), 4)
        (0.1818, 0.0182)
    """

    final: float
    curve: Literal["ratio", "power", "exponential"] = field(default="ratio", kw_only=True)
    gamma: float = field(default=1.0, kw_only=True)
    power: float = field(default=2 / 3, kw_only=True)
    tau: float = field(default=2000.0, kw_only=True)
    batch: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        _check.fraction("final", self.final)
        _check.one_of("curve", self.curve, ("ratio", "power", "exponential"))
        for name in ("gamma", "power", "tau"):
            _check.positive(name, getattr(self, name))
        _check.count("batch", self.batch)

    def log_decay(self, n0: float, n1: float) -> float:
        """The logarithm of ``decay(n0, n1)``, at most 0; it adds up over adjoining spans."""
        check_span(n0, n1)
        return _product(self._log_at, n0 / self.batch, n1 / self.batch)

    def path_share(self, n0: float, n1: float) -> float:
        """The mean decay from the small updates' starts to the end."""
        return _mean_decay(self.log_decay, n0, n1, self.batch)

    def _log_at(self, step: float) -> float:
        if self.curve == "ratio":
            return _log1p(max(1 - self.final, 9 / (10 + step)))
        if self.curve == "power":
            return _log1p(max(1 - self.final, (1 + step / self.gamma) ** -self.power))
        return _log1p(1 - self.final * -math.expm1(-step / self.tau))

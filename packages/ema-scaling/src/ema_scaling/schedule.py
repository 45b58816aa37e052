"""EMA schedules on the clock of samples seen: ``decay(n0, n1)`` is the one primitive.

A schedule answers one question: of the average at ``n0`` samples, which share is left at ``n1``?
The scaling rule, sparse updates, moving decays, warm-ups and a batch that changes on the way are
then all the same call with other ends, and whatever the batch, the answers multiply up alike.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Literal

from ema_scaling import _check
from ema_scaling.profiles import gamma_to_sigma_rel, sigma_rel_to_gamma
from ema_scaling.rules import readout_gain

Form = Literal["product", "continuous"]

# nodes and weights of the 8-point Gauss-Legendre rule on [-1, 1], positive half
_NODES = (0.1834346424956498, 0.5255324099163290, 0.7966664774136267, 0.9602898564975363)
_WEIGHTS = (0.3626837833783620, 0.3137066458778873, 0.2223810344533745, 0.1012285362903763)
_PANELS = 64  # of a schedule's length, for the continuous form


class Schedule(ABC):
    """What share of the average is kept between two counts of samples."""

    @abstractmethod
    def log_decay(self, n0: float, n1: float) -> float:
        """The logarithm of ``decay(n0, n1)``, at most 0; it adds up over adjoining spans."""

    @property
    @abstractmethod
    def micro_batch(self) -> float:
        """Samples of one small update at which the schedule was set; 0 for a continuous one."""

    def decay(self, n0: float, n1: float) -> float:
        """The share of the average at ``n0`` samples that is left at ``n1`` samples."""
        return math.exp(self.log_decay(n0, n1))

    def weight(self, n0: float, n1: float) -> float:
        """``1 - decay(n0, n1)`` without cancellation: the weight of the new value."""
        return -math.expm1(self.log_decay(n0, n1))

    def gain(self, n0: float, n1: float) -> float:
        """The readout gain of one update over ``[n0, n1]``; see ``rules.readout_gain``.

        The decay is taken as even within the span: exact for a constant one, and off by the
        square of its relative change over one update otherwise.
        """
        log = self.log_decay(n0, n1)
        if log == 0 or n1 == n0:
            return 1.0
        if log < -700:
            return math.inf
        if not self.micro_batch:
            return math.expm1(log) / (log * math.exp(log))
        kappa = (n1 - n0) / self.micro_batch
        return readout_gain(math.exp(log / kappa), kappa)

    def spec(self) -> dict[str, float | str]:
        """The schedule as plain JSON, as checkpoints store it; ``from_spec`` reads it back."""
        values = {k: v for k, v in asdict(self).items() if not k.startswith("_")}  # type: ignore[call-overload]
        return {"kind": type(self).__name__, **values}


def _span(n0: float, n1: float) -> None:
    if not 0 <= n0 <= n1:
        raise ValueError(f"a span of samples needs 0 <= n0 <= n1, got [{n0}, {n1}]")


@dataclass(frozen=True)
class Constant(Schedule):
    """One decay for ever, as it was set at updates of ``batch`` samples.

    Args:
        decay_at_batch: weight of the old average in one update of ``batch`` samples, in [0, 1].
        batch: samples of that update.

    Raises:
        ValueError: if a number is out of range.

    Source:
        The EMA Scaling Rule: ``decay(n, n + kappa * batch) = decay ** kappa``.

    Example:
        >>> schedule = Constant(0.999, batch=256)
        >>> round(schedule.decay(0, 1024), 9), round(0.999**4, 9)
        (0.996005996, 0.996005996)
    """

    decay_at_batch: float
    batch: int = 1
    _log: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        decay = _check.fraction("decay", self.decay_at_batch)
        batch = _check.count("batch", self.batch)
        object.__setattr__(self, "_log", math.log(decay) / batch if decay else -math.inf)

    def log_decay(self, n0: float, n1: float) -> float:
        """The logarithm of ``decay(n0, n1)``."""
        _span(n0, n1)
        return self._log * (n1 - n0) if n1 > n0 else 0.0

    @property
    def micro_batch(self) -> float:
        """Samples of the update at which the decay was set."""
        return self.batch


@dataclass(frozen=True)
class HalfLife(Schedule):
    """A half-life in samples, as a continuous average: no batch is preferred.

    Args:
        samples: samples after which an old value's share is halved, positive.

    Raises:
        ValueError: if ``samples`` is not positive.

    Source:
        The quantity that the EMA Scaling Rule preserves.

    Example:
        >>> HalfLife(1000).decay(500, 1500)
        0.5
    """

    samples: float

    def __post_init__(self) -> None:
        _check.positive("samples", self.samples)

    def log_decay(self, n0: float, n1: float) -> float:
        """The logarithm of ``decay(n0, n1)``."""
        _span(n0, n1)
        return -math.log(2) * (n1 - n0) / self.samples

    @property
    def micro_batch(self) -> float:
        """0: a continuous average has no small update."""
        return 0.0


@dataclass(frozen=True)
class PowerFunction(Schedule):
    """The self-similar average whose memory is a fixed share of the run so far.

    Give either the exponent or the relative width. Samples count from the start of training.

    Args:
        gamma: exponent of the profile, 0 or more.
        sigma_rel: its standard deviation relative to the run, in (0, 0.2887]; sets ``gamma``.

    Raises:
        ValueError: if not exactly one is given, or it is out of range.

    Source:
        Karras et al. 2024, power-function EMA; ``decay(n0, n1) = (n0 / n1) ** (gamma + 1)``.

    Example:
        >>> PowerFunction(gamma=1).decay(500, 1000)
        0.25
    """

    gamma: float = math.nan
    sigma_rel: float = math.nan

    def __post_init__(self) -> None:
        if math.isnan(self.gamma) == math.isnan(self.sigma_rel):
            raise ValueError(f"give either gamma or sigma_rel, got {self.gamma}, {self.sigma_rel}")
        if math.isnan(self.gamma):
            object.__setattr__(self, "gamma", sigma_rel_to_gamma(self.sigma_rel))
        object.__setattr__(self, "sigma_rel", gamma_to_sigma_rel(self.gamma))

    def log_decay(self, n0: float, n1: float) -> float:
        """The logarithm of ``decay(n0, n1)``; nothing of the start is kept."""
        _span(n0, n1)
        if n0 == n1:
            return 0.0
        return (self.gamma + 1) * math.log(n0 / n1) if n0 else -math.inf

    @property
    def micro_batch(self) -> float:
        """0: the profile is defined in continuous time."""
        return 0.0

    def spec(self) -> dict[str, float | str]:
        """The schedule as plain JSON: the exponent says all."""
        return {"kind": "PowerFunction", "gamma": self.gamma}


class _Stepwise(Schedule):
    """A schedule whose decay moves: given per small update, used for any span.

    ``form="product"`` multiplies the decays of the small updates, exactly what the run at the
    base batch did; a part of one is taken at its even rate. ``form="continuous"`` integrates the
    logarithm instead, which needs no base batch to exist and takes a fixed time for any span.
    """

    batch: int
    form: Form

    @property
    def micro_batch(self) -> float:
        """Samples of one small update."""
        return self.batch

    @abstractmethod
    def _log_at(self, step: float) -> float:
        """The log decay of small update number ``step``, from 0."""

    @abstractmethod
    def _length(self) -> float:
        """Small updates over which the decay moves by an appreciable part."""

    def log_decay(self, n0: float, n1: float) -> float:
        """The logarithm of ``decay(n0, n1)``, at most 0; it adds up over adjoining spans."""
        _span(n0, n1)
        start, stop = n0 / self.batch, n1 / self.batch
        total = _product if self.form == "product" else _integral
        return total(self._log_at, start, stop, self._length())


def _product(log_at: Callable[[float], float], start: float, stop: float, _: float) -> float:
    """Sum of ``log_at`` over whole steps, the first and last in part."""
    first, last = math.floor(start), math.ceil(stop)
    parts = ((min(stop, k + 1) - max(start, k), k) for k in range(first, last))
    return math.fsum(part * log_at(k) for part, k in parts if part > 0)


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


def _checked_form(form: str) -> None:
    _check.one_of("form", form, ("product", "continuous"))


@dataclass(frozen=True)
class Cosine(_Stepwise):
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
        _checked_form(self.form)
        if self.form == "continuous" and min(self.start, self.end) < 0.01:
            low = min(self.start, self.end)
            raise ValueError(f"the continuous form needs decays of at least 0.01, got {low}")

    def _length(self) -> float:
        return self.total / self.batch

    def _log_at(self, step: float) -> float:
        share = min(step * self.batch / self.total, 1.0)
        start, end = 1 - self.start, 1 - self.end
        return _log1p(end + (start - end) * (math.cos(math.pi * share) + 1) / 2)


@dataclass(frozen=True)
class Warmup(_Stepwise):
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

    form = "product"

    def __post_init__(self) -> None:
        _check.fraction("final", self.final)
        _check.one_of("curve", self.curve, ("ratio", "power", "exponential"))
        for name in ("gamma", "power", "tau"):
            _check.positive(name, getattr(self, name))
        _check.count("batch", self.batch)

    def _length(self) -> float:
        return math.inf

    def _log_at(self, step: float) -> float:
        if self.curve == "ratio":
            return _log1p(max(1 - self.final, 9 / (10 + step)))
        if self.curve == "power":
            return _log1p(max(1 - self.final, (1 + step / self.gamma) ** -self.power))
        return _log1p(1 - self.final * -math.expm1(-step / self.tau))


KINDS = {cls.__name__: cls for cls in (Constant, HalfLife, PowerFunction, Cosine, Warmup)}


def from_spec(spec: dict[str, float | str]) -> Schedule:
    """The schedule that ``spec()`` described.

    Args:
        spec: "kind", the class's name, and its arguments by name.

    Returns:
        An equal schedule.

    Raises:
        ValueError: if the kind is unknown or an argument does not belong to it.

    Source:
        The format of checkpoints of this package.

    Example:
        >>> from_spec(Constant(0.9, batch=4).spec())
        Constant(decay_at_batch=0.9, batch=4)
    """
    arguments = dict(spec)
    kind = _check.one_of("kind", str(arguments.pop("kind", "")), KINDS)
    try:
        return KINDS[kind](**arguments)  # type: ignore[arg-type]
    except TypeError as error:
        raise ValueError(f"{kind} takes other arguments than {sorted(arguments)}") from error


def as_schedule(schedule: Schedule | float, *, batch: int = 1) -> Schedule:
    """The schedule itself, or a constant one for a bare decay at updates of ``batch`` samples."""
    return schedule if isinstance(schedule, Schedule) else Constant(schedule, batch=batch)

"""EMA schedules on the clock of samples seen: ``decay(n0, n1)`` is the one primitive.

A schedule answers one question: of the average at ``n0`` samples, which share is left at ``n1``?
The scaling rule, sparse updates, moving decays, warm-ups and a batch that changes on the way are
then all the same call with other ends, and whatever the batch, the answers multiply up alike.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields

from ema_scaling import _check
from ema_scaling.profiles import gamma_to_sigma_rel, sigma_rel_to_gamma


class Schedule(ABC):
    """What share of the average is kept between two counts of samples."""

    @abstractmethod
    def log_decay(self, n0: float, n1: float) -> float:
        """The logarithm of ``decay(n0, n1)``, at most 0; it adds up over adjoining spans."""

    @abstractmethod
    def path_share(self, n0: float, n1: float) -> float:
        """The share of a straight path's movement over the span by which the average lags it.

        The mean, over the small updates of the span, of the decay from each one's start to the
        end; a continuous average's mean is an integral.
        """

    def decay(self, n0: float, n1: float) -> float:
        """The share of the average at ``n0`` samples that is left at ``n1`` samples."""
        return math.exp(self.log_decay(n0, n1))

    def weight(self, n0: float, n1: float) -> float:
        """``1 - decay(n0, n1)`` without cancellation: the weight of the new value."""
        return -math.expm1(self.log_decay(n0, n1))

    def gain(self, n0: float, n1: float) -> float:
        """The readout gain of one update over ``[n0, n1]``; see ``rules.readout_gain``.

        It is ``path_share / decay``, infinite where nothing is kept.
        """
        log = self.log_decay(n0, n1)
        if log == 0:
            return 1.0
        return self.path_share(n0, n1) / math.exp(log) if log > -700 else math.inf

    def spec(self) -> dict[str, float | str]:
        """The schedule as plain JSON, as checkpoints store it and compare it on resume."""
        kept = [f.name for f in fields(self) if f.init]  # type: ignore[arg-type]
        return {"kind": type(self).__name__, **{name: getattr(self, name) for name in kept}}


def check_span(n0: float, n1: float) -> None:
    """Refuse a span that runs backwards or begins before the first sample."""
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
        check_span(n0, n1)
        return self._log * (n1 - n0) if n1 > n0 else 0.0

    def path_share(self, n0: float, n1: float) -> float:
        """The mean decay from the small updates' starts to the end: a geometric series."""
        check_span(n0, n1)
        kappa = (n1 - n0) / self.batch
        if self._log == 0 or kappa == 0:
            return 1.0
        log = self._log * self.batch
        return math.exp(log) * math.expm1(kappa * log) / (kappa * math.expm1(log))


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
        check_span(n0, n1)
        return -math.log(2) * (n1 - n0) / self.samples

    def path_share(self, n0: float, n1: float) -> float:
        """The mean decay from anywhere in the span to its end."""
        log = self.log_decay(n0, n1)
        return math.expm1(log) / log if log else 1.0


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
        check_span(n0, n1)
        if n0 == n1:
            return 0.0
        return (self.gamma + 1) * math.log(n0 / n1) if n0 else -math.inf

    def path_share(self, n0: float, n1: float) -> float:
        """The mean decay from anywhere in the span to its end."""
        log = self.log_decay(n0, n1)
        if n0 == n1:
            return 1.0
        share = n1 / (n1 - n0) / (self.gamma + 2)
        return -math.expm1((self.gamma + 2) / (self.gamma + 1) * log) * share


def as_schedule(schedule: Schedule | float, *, batch: int = 1) -> Schedule:
    """The schedule itself, or a constant one for a bare decay at updates of ``batch`` samples."""
    return schedule if isinstance(schedule, Schedule) else Constant(schedule, batch=batch)

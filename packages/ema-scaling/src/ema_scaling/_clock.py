"""Where an average stands on the clock of samples, and the gain with which it is read."""

from dataclasses import dataclass

from ema_scaling.schedule import Schedule

MAX_GAIN = 1000.0  # beyond it float32 rounding of the average would show in the readout


@dataclass
class Clock:
    """Samples averaged, samples since, calls, updates, samples of the last update, readout gain."""

    seen: int = 0
    pending: int = 0
    calls: int = 0
    updates: int = 0
    last: int = 0
    gain: float = 1.0

    def advance(self, schedule: Schedule, *, corrected: bool) -> tuple[float, float]:
        """Move over the pending samples: the new value's weight, and the decay.

        A corrected average is stored in units of the gain of the update to come, so that one
        lerp is exact on straight paths while the gain moves.
        """
        n0, n1 = self.seen, self.seen + self.pending
        weight, decay = schedule.weight(n0, n1), schedule.decay(n0, n1)
        if corrected:
            gain = self.gain if self.updates else _gain(schedule, n0, n1)
            self.gain = _gain(schedule, n1, n1 + self.pending)
            if gain != self.gain:
                weight = 1 - gain / self.gain * decay
        self.last, self.seen, self.pending = self.pending, n1, 0
        self.updates += 1
        return weight, decay

    def readout_gain(self, schedule: Schedule) -> float:
        """The gain for reading now; samples since the last update shrink it as on a steady path."""
        if not self.updates:
            return 1.0
        if not self.pending:
            return self.gain
        kept = schedule.decay(self.seen - self.last, self.seen)
        return self.gain * kept / (kept + (1 - kept) * self.pending / self.last)

    def mean_age(self, schedule: Schedule) -> float:
        """The average's age in samples, if the decay of the last update had always held."""
        log = schedule.log_decay(self.seen - self.last, self.seen)
        return -self.last / log if log else 0.0


def _gain(schedule: Schedule, n0: int, n1: int) -> float:
    return min(schedule.gain(n0, n1), MAX_GAIN)

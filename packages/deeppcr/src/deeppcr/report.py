"""What a parallel forward did, and the error that carries it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

Reason: TypeAlias = Literal[
    "residual", "exact", "max_iter", "nonfinite", "diverged", "stalled", "budget", "sequential"
]

MEANING: dict[str, str] = {
    "residual": "residual and last step within the tolerance",
    "exact": "a single step from a given state",
    "max_iter": "not within the tolerance after max_iter iterations",
    "nonfinite": "an infinity or a NaN came up",
    "diverged": "the residual grew beyond its start",
    "stalled": "the steps fell to rounding before the residual was within the tolerance",
    "budget": "the loop is cheaper than more iterations",
    "sequential": "the loop was chosen",
}


@dataclass(frozen=True)
class Report:
    """How the states of a recurrence came about.

    Attributes:
        converged: the states satisfy the recurrence: by Newton's test, or because the loop ran.
        reason: why the iteration ended; ``"sequential"`` where none was begun.
        iterations: updates of the trajectory until it passed the test, over all windows. The
            correction that the test computes is made on top.
        residuals: largest ``|step(z_{l-1}) - z_l|`` over the samples, before each iteration and
            at the end.
        step_norms: largest correction of a state at each of ``residuals``; with exact blocks, the
            error of the trajectory to first order.
        exact_prefix: number of leading steps that hold within the tolerance in every sample.
        sample_iterations: iterations that each sample of the batch took, flattened.
        method: what the states come from, ``"newton"`` or ``"sequential"``.
        fell_back: True where the states come from the plain loop, chosen or after a failure.
        explanation: why this method, with the costs that the choice compared.
        seconds: wall time of the forward.
    """

    converged: bool
    reason: Reason
    iterations: int = 0
    residuals: tuple[float, ...] = ()
    step_norms: tuple[float, ...] = ()
    exact_prefix: int = 0
    sample_iterations: tuple[int, ...] = ()
    method: str = "newton"
    fell_back: bool = False
    explanation: str = ""
    seconds: float = field(default=0.0, compare=False)

    def __str__(self) -> str:
        """One line: the method, the reason, the last residual and the time."""
        last = f", residual {self.residuals[-1]:.2g}" if self.residuals else ""
        count = "" if self.reason == "sequential" else f" after {self.iterations} iterations"
        text = f"{self.method}: {MEANING[self.reason]}{count}{last}, {self.seconds * 1e3:.3g} ms"
        return f"{text} ({self.explanation})" if self.explanation else text

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain numbers, strings and lists, for JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    def to_table(self) -> dict[str, Sequence[float]]:
        """Columns ``iteration``, ``residual``, ``step``; a step that was not computed is NaN."""
        steps = list(self.step_norms)
        steps += [float("nan")] * (len(self.residuals) - len(steps))
        count = list(range(len(self.residuals)))
        return {"iteration": count, "residual": list(self.residuals), "step": steps}


class ConvergenceError(RuntimeError):
    """Newton did not converge and ``on_failure="raise"``; ``report`` says how far it came."""

    def __init__(self, report: Report) -> None:
        super().__init__(
            f'no convergence: {report}; use on_failure="sequential", or diagnose() first'
        )
        self.report = report


class ConvergenceWarning(UserWarning):
    """Newton did not converge and ``on_failure="warn"``; the states are its last iterate."""

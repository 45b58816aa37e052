"""Long chains of steps in parallel: exact, and never much slower than the loop.

Names are resolved when they are first used, so importing the package costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deeppcr.adjoint import sequential_forward
    from deeppcr.chain import StepError
    from deeppcr.cost import Decision, explain
    from deeppcr.diagnosis import Diagnosis, diagnose
    from deeppcr.modules import GRU, LSTM, RNN
    from deeppcr.newton import Newton
    from deeppcr.ode import odeint
    from deeppcr.recurrence import Trajectory, parallel_forward
    from deeppcr.report import ConvergenceError, ConvergenceWarning, Report
    from deeppcr.scan import affine_scan, bidiagonal_solve, pcr_steps
    from deeppcr.stack import DeepPCR
    from deeppcr.steps import DenseStep

_HOMES = {
    "adjoint": ("sequential_forward",),
    "chain": ("StepError",),
    "diagnosis": ("Diagnosis", "diagnose"),
    "modules": ("GRU", "LSTM", "RNN"),
    "newton": ("Newton",),
    "ode": ("odeint",),
    "recurrence": ("Trajectory", "parallel_forward"),
    "report": ("ConvergenceError", "ConvergenceWarning", "Report"),
    "cost": ("Decision", "explain"),
    "steps": ("DenseStep",),
    "scan": ("affine_scan", "bidiagonal_solve", "pcr_steps"),
    "stack": ("DeepPCR",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "ConvergenceError",
    "ConvergenceWarning",
    "Decision",
    "DeepPCR",
    "DenseStep",
    "Diagnosis",
    "Newton",
    "Report",
    "StepError",
    "Trajectory",
    "affine_scan",
    "bidiagonal_solve",
    "diagnose",
    "explain",
    "odeint",
    "parallel_forward",
    "pcr_steps",
    "sequential_forward",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

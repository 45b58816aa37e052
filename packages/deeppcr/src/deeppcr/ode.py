"""Explicit one-step integrators as recurrences: every step of an integration solved together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree

from deeppcr.chain import Step
from deeppcr.recurrence import Trajectory, parallel_forward

Field: TypeAlias = Callable[..., Any]  # f(t, y) or f(t, y, params) -> dy/dt like y

# Butcher tables: rows of stage weights, then the weights of the step
TABLEAUS: dict[str, tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]] = {
    "euler": (((),), (1.0,)),
    "midpoint": (((), (1 / 2,)), (0.0, 1.0)),
    "heun": (((), (1.0,)), (1 / 2, 1 / 2)),
    "rk4": (((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
}


def ode_step(field: Field, *, method: str = "rk4") -> Step:
    """The step ``(y, (t, dt), params) -> y(t + dt)`` of an explicit integrator.

    Args:
        field: ``field(t, y)``, or ``field(t, y, params)`` where there are parameters; the time
            derivative of y, of its form.
        method: ``"euler"``, ``"midpoint"``, ``"heun"`` or ``"rk4"``.

    Returns:
        A step for ``parallel_forward`` or ``sequential_forward``.

    Raises:
        ValueError: for an unknown method.

    Source:
        Butcher's tables of the classical methods.

    Example:
        >>> step = ode_step(lambda t, y: -y, method="euler")
        >>> step(torch.ones(1), (torch.tensor(0.0), torch.tensor(0.1)), None)
        tensor([0.9000])
    """
    if method not in TABLEAUS:
        raise ValueError(f"method must be one of {', '.join(TABLEAUS)}, got {method!r}")
    stages, weights = TABLEAUS[method]

    def step(y: Any, x: tuple[Tensor, Tensor], params: Any) -> Any:
        t, dt = x
        extra = () if params is None else (params,)
        slopes: list[Any] = []
        for row in stages:
            slopes.append(field(t + sum(row) * dt, moved(y, dt, row, slopes), *extra))
        return moved(y, dt, weights, slopes)

    return step


def moved(y: Any, dt: Tensor, weights: tuple[float, ...], slopes: list[Any]) -> Any:
    """``y + dt * sum_i w_i k_i``, leaf by leaf."""

    def leaf(y: Tensor, *slopes: Tensor) -> Tensor:
        terms = [w * k for w, k in zip(weights, slopes, strict=True) if w]
        return y + dt * sum(terms[1:], terms[0]) if terms else y

    return pytree.tree_map(leaf, y, *slopes[: len(weights)])


def odeint(
    field: Field,
    y0: Any,
    t: Tensor,
    *,
    method: str = "rk4",
    params: Any = None,
    **options: Any,
) -> Trajectory:
    """The solution of ``dy/dt = field(t, y)`` at the times ``t``, one explicit step between two.

    Args:
        field: ``field(t, y)``, or ``field(t, y, params)`` where ``params`` are given. Of an
            ``nn.Module`` with a forward ``(t, y)`` the parameters are found.
        y0: state at ``t[0]``, ``(*B, d)`` or a tree of such.
        t: times ``(T,)``, increasing or decreasing.
        method: ``"euler"``, ``"midpoint"``, ``"heun"`` or ``"rk4"``.
        params: tree of tensors that require a gradient, or None.
        **options: as of ``parallel_forward``: ``solver``, ``guess``, ``on_failure`` and others; its
            ``method`` is ``forward`` here.

    Returns:
        A trajectory whose ``states`` are ``(T, *B, d)``, those of ``t[0]`` first.

    Raises:
        ValueError: for times that are no vector, or an unknown method.

    Source:
        Explicit Runge-Kutta methods; the recurrence is solved as any other.

    Example:
        >>> run = odeint(lambda t, y: -y, torch.ones(1), torch.linspace(0, 1, 101))
        >>> round(float(run.final), 5)
        0.36788
    """
    if t.ndim != 1 or len(t) < 1:
        raise ValueError(f"t must be a vector of at least one time, got shape {tuple(t.shape)}")
    options["method"] = options.pop("forward", "auto")
    if isinstance(field, nn.Module) and params is None:
        module, params = field, dict(field.named_parameters()) or None

        def field(t: Tensor, y: Any, *params: Any) -> Any:
            return functional_call(module, params[0], (t, y)) if params else module(t, y)

    step = ode_step(field, method=method)
    run = parallel_forward(step, y0, (t[:-1], t.diff()), params, **options)

    def with_start(y: Tensor, states: Tensor) -> Tensor:
        return torch.cat([y.unsqueeze(0), states])

    states = pytree.tree_map(with_start, y0, run.states)
    return Trajectory(states, run.final, run.report)

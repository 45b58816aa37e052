import math

import deeppcr as dp
import pytest
import torch
from deeppcr.ode import ode_step

T = torch.linspace(0, 2, 201, dtype=torch.float64)
ORDERS = {"euler": 1, "midpoint": 2, "heun": 2, "rk4": 4}


def spiral(t, y):
    x, v = y.unbind(-1)
    return torch.stack([v, -x - 0.2 * v + 0.1 * torch.sin(t)], -1)


@pytest.mark.parametrize("forward", ["newton", "sequential"])
@pytest.mark.parametrize("method", ORDERS)
def test_the_states_are_those_of_the_steps_one_by_one(method, forward):
    y = y0 = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    run = dp.odeint(spiral, y0, T, method=method, forward=forward)
    step, states = ode_step(spiral, method=method), [y0]
    for t, dt in zip(T[:-1], T.diff(), strict=True):
        y = step(y, (t, dt), None)
        states.append(y)
    torch.testing.assert_close(run.states, torch.stack(states), rtol=0, atol=1e-8)
    assert run.report.fell_back == (forward == "sequential")


@pytest.mark.parametrize(("method", "order"), ORDERS.items())
def test_the_error_falls_with_the_order_of_the_method(method, order):
    errors = []
    for steps in (40, 80):
        t = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        one = torch.ones(1, dtype=torch.float64)
        final = dp.odeint(lambda t, y: y * torch.cos(t), one, t, method=method).final
        errors.append(abs(float(final) - math.exp(math.sin(1.0))))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize("forward", ["newton", "sequential"])
def test_gradients_reach_parameters_and_the_start(forward):
    w = torch.tensor([[0.0, 1.0], [-1.0, -0.3]], dtype=torch.float64, requires_grad=True)
    y0 = torch.ones(2, dtype=torch.float64, requires_grad=True)

    def field(t, y, w):
        return torch.tanh(y @ w.mT)

    run = dp.odeint(field, y0, T, params=w, forward=forward, solver=dp.Newton(atol=1e-13, rtol=0))
    got = torch.autograd.grad(run.states.sin().sum(), (w, y0))
    step, y, states = ode_step(field), y0, [y0]
    for t, dt in zip(T[:-1], T.diff(), strict=True):
        y = step(y, (t, dt), w)
        states.append(y)
    want = torch.autograd.grad(torch.stack(states).sin().sum(), (w, y0))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_the_parameters_of_a_module_are_found():
    class Field(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Linear(2, 2)

        def forward(self, t, y):
            return torch.tanh(self.inner(y)) * t

    field = Field()
    dp.odeint(field, torch.ones(3, 2), T.float()).final.sum().backward()
    assert field.inner.weight.grad.abs().sum() > 0


def test_trees_and_decreasing_times_are_integrated():
    y0 = {"a": torch.ones(1, dtype=torch.float64), "b": torch.zeros(1, dtype=torch.float64)}
    run = dp.odeint(lambda t, y: {"a": -y["b"], "b": y["a"]}, y0, T, forward="newton")
    torch.testing.assert_close(run.states["a"][:, 0], T.cos(), rtol=0, atol=1e-8)
    back = dp.odeint(lambda t, y: {"a": -y["b"], "b": y["a"]}, run.final, T.flip(0))
    torch.testing.assert_close(back.final["a"], y0["a"], rtol=0, atol=1e-8)


def test_says_which_argument_does_not_do():
    with pytest.raises(ValueError, match="method must be one of euler, midpoint, heun, rk4"):
        dp.odeint(spiral, torch.ones(2), T, method="dopri5")
    with pytest.raises(
        ValueError, match=r"t must be a vector of at least one time, got shape \(\)"
    ):
        dp.odeint(spiral, torch.ones(2), torch.tensor(1.0))

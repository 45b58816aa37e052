import math

import deeppcr as dp
import pytest
import torch
from deeppcr_chains import tanh_chain, tanh_step


@pytest.mark.parametrize("rate", [0.3, 0.9, 1.2])
def test_the_exponent_of_a_linear_chain_is_the_log_of_its_rate(rate):
    z0 = torch.ones(3, dtype=torch.float64)
    found = dp.diagnose(lambda z, x, p: rate * z, z0, length=200)
    assert found.lyapunov == pytest.approx(math.log(rate), abs=1e-12)
    assert found.guess_lyapunov == pytest.approx(math.log(rate), abs=1e-12)
    assert (found.predicted_iterations is None) == (rate > 1)
    assert found.steps == 64


def test_the_worst_sample_counts():
    z0 = torch.ones(2, 1, dtype=torch.float64)
    rates = torch.tensor([[0.3], [0.8]], dtype=torch.float64)
    found = dp.diagnose(lambda z, x, p: p * z, z0, params=rates, length=50)
    assert found.lyapunov == pytest.approx(math.log(0.8), abs=1e-12)


@pytest.mark.parametrize("gain", [0.5, 0.9])
def test_the_predicted_iterations_are_about_those_that_it_takes(gain):
    z0, xs, w = tanh_chain(1024, 8, gain=gain, dtype=torch.float32)
    found = dp.diagnose(tanh_step, z0, xs, w)
    run = dp.parallel_forward(tanh_step, z0, xs, w, method="newton", on_failure="raise")
    assert abs(found.predicted_iterations - run.report.iterations) <= 2


def test_an_unstable_chain_is_told_before_it_is_paid_for():
    z0, xs, w = tanh_chain(1024, 8, gain=1.5, dtype=torch.float32)
    found = dp.diagnose(tanh_step, z0, xs, w)
    assert found.recommended in ("window", "sequential")
    run = dp.parallel_forward(tanh_step, z0, xs, w, method="newton")
    assert run.report.reason != "residual"
    assert "Lyapunov" in str(found)
    assert set(map(len, found.to_table().values())) == {4}


def test_a_window_is_advised_where_only_the_guess_explodes():
    def step(z, x, p):
        return 1.5 * z / (1 + z**2)  # 1.5 at zero, below 1 at its fixed point

    z0 = torch.full((1,), 2.0)
    found = dp.diagnose(step, z0, length=2000)
    assert found.lyapunov < 0 < found.guess_lyapunov
    assert found.recommended == "window"


def test_says_which_argument_does_not_do():
    with pytest.raises(ValueError, match="need a length >= 1, got 0, 5"):
        dp.diagnose(lambda z, x, p: z, torch.ones(1), length=5, steps=0)

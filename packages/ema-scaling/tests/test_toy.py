import math

import pytest
import torch
from ema_scaling.toy import (
    Parabola,
    readout_errors,
    rule_gap,
    stationary_ratio,
    table,
)
from hypothesis import given
from hypothesis import strategies as st

BASE = {"lr": 1e-3, "decay": 0.999, "samples": 8192}
PLAIN, FEEDBACK = Parabola(), Parabola(feedback=0.8)


def test_with_the_rule_the_spread_is_kept_and_without_it_collapses():
    for kappa in (2, 4, 8, 16, 32, 64):
        assert rule_gap(PLAIN, kappa, **BASE).spread == pytest.approx(1, abs=0.01)
    assert rule_gap(PLAIN, 64, scaled=False, **BASE).spread <= 0.10


def test_the_means_match_with_the_rule_and_not_without():
    assert rule_gap(PLAIN, 8, **BASE).zeta < 0.003
    assert rule_gap(PLAIN, 8, scaled=False, **BASE).zeta > 0.25


def test_with_feedback_the_model_itself_drifts_without_the_rule():
    assert rule_gap(FEEDBACK, 64, **BASE).theta <= 0.03
    assert rule_gap(FEEDBACK, 64, scaled=False, **BASE).theta >= 0.25
    # the control: without feedback the model does not notice its average
    assert rule_gap(PLAIN, 64, scaled=False, **BASE).theta <= 0.03


def test_the_corrected_readout_is_fifty_times_nearer_on_the_parabola():
    for kappa, least in ((2, 1000), (8, 500), (64, 50)):
        plain, corrected = readout_errors(kappa)
        assert plain > least * corrected


@pytest.mark.parametrize("parabola", [PLAIN, Parabola(feedback=0.5, noise_slope=2.0)], ids=str)
def test_sampled_runs_have_the_exact_moments(parabola):
    """20,000 runs, seed 0: means within 5 standard errors, standard deviations within 5 %."""
    setting = {"lr": 0.05, "decay": 0.9, "samples": 160, "kappa": 4}
    exact = parabola.moments(**setting)
    theta, zeta = parabola.simulate(runs=20_000, **setting)
    for paths, mean, var in (
        (theta, exact.mean_theta, exact.var_theta),
        (zeta, exact.mean_zeta, exact.var_zeta),
    ):
        sd = torch.tensor(var, dtype=torch.float64).sqrt()
        gap = (paths.mean(dim=1) - torch.tensor(mean, dtype=torch.float64)).abs()
        assert bool((gap <= 5 * sd / math.sqrt(20_000) + 1e-12).all())
        assert paths[-1].std() == pytest.approx(float(sd[-1]), rel=0.05)
    covariance = torch.cov(torch.stack([theta[-1], zeta[-1]]))[0, 1]
    assert float(covariance) == pytest.approx(exact.covariance[-1], rel=0.1)


@given(decay=st.floats(0.5, 0.99), move=st.floats(0.02, 0.9))
def test_the_stationary_variance_is_the_closed_form(decay, move):
    run = Parabola(theta0=0).moments(lr=move, decay=decay, samples=4000)
    ratio = run.var_zeta[-1] / run.var_theta[-1]
    assert ratio == pytest.approx(stationary_ratio(decay, 1 - move), rel=1e-6)


def test_the_stationary_variance_has_the_limit_of_the_differential_equation():
    lr, rate = 1e-4, 3.0  # decay = 1 - rate * lr
    got = stationary_ratio(1 - rate * lr, 1 - lr)
    assert got == pytest.approx(rate / (1 + rate), rel=1e-3)


def test_the_table_has_a_row_for_each_kappa_with_the_rule_and_without():
    columns = table([1, 8])
    assert columns["kappa"] == [1, 8, 1, 8]
    assert columns["scaled"] == [True, True, False, False]
    assert columns["spread"][0] == 1
    moments = PLAIN.moments(**BASE).to_table()
    assert len(moments["samples"]) == len(moments["sd_zeta"]) == 8193


def test_bad_settings_name_the_argument():
    with pytest.raises(ValueError, match="curvature must be positive"):
        Parabola(curvature=0)
    with pytest.raises(ValueError, match=r"feedback must lie in \[0, 1\], got 2"):
        Parabola(feedback=2)
    with pytest.raises(ValueError, match="8 samples make no step of kappa = 64"):
        PLAIN.moments(lr=0.1, decay=0.9, samples=8, kappa=64)
    with pytest.raises(ValueError, match="persistence must lie"):
        stationary_ratio(0.9, 1.0)

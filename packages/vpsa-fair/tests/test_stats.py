"""Distributions, intervals, families and power, against scipy and against loops."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats
from vpsa_fair import (
    basic,
    bca,
    benjamini_hochberg,
    holm,
    minimum_detectable_gap,
    percentile,
    power,
    wilson,
)
from vpsa_fair.intervals import interval
from vpsa_fair.stats import adjust
from vpsa_fair.student import normal_cdf, normal_quantile, student_p, student_quantile

p_lists = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@given(share=st.floats(0.55, 0.9999), freedom=st.floats(1, 9000))
def test_the_quantile_of_student_is_scipys(share, freedom):
    want = stats.t.ppf(share, freedom)
    assert float(student_quantile(share, freedom)) == pytest.approx(want, rel=1e-7)


@example(t=5.960464477539063e-08, freedom=32.0)  # 1 - f / (f + t^2) is 0 in floating point
@given(t=st.floats(-60, 60), freedom=st.floats(1, 9000))
def test_the_p_value_of_student_is_scipys(t, freedom):
    want = 2 * stats.t.sf(abs(t), freedom)
    assert float(student_p(t, freedom)) == pytest.approx(want, rel=1e-8, abs=1e-300)


def test_no_and_infinite_distance_have_p_one_and_zero():
    assert student_p([0.0, np.inf, -np.inf], 5).tolist() == [1.0, 0.0, 0.0]
    assert np.isnan(student_p(np.nan, 5))


def test_the_normal_is_scipys():
    z = np.linspace(-6, 6, 25)
    np.testing.assert_allclose(normal_cdf(z), stats.norm.cdf(z), rtol=1e-12)
    np.testing.assert_allclose(normal_quantile([0.025, 0.5]), stats.norm.ppf([0.025, 0.5]))
    assert np.isnan(normal_quantile([0.0, 1.0, np.nan])).all()


@given(hits=st.integers(0, 40), more=st.integers(0, 40))
def test_wilson_is_scipys(hits, more):
    n = hits + more
    if n == 0:
        return
    want = stats.binomtest(hits, n).proportion_ci(method="wilson")
    low, high = wilson(hits / n, n)
    assert (float(low), float(high)) == pytest.approx((want.low, want.high), abs=1e-12)


def test_wilson_without_any_unit_is_the_whole_range():
    low, high = wilson(0.5, 0)
    assert (float(low), float(high)) == (0.0, 1.0)


def test_wilson_covers_the_mean_of_any_number_in_the_unit_interval():
    """Seeds 0..1999, n = 8 identities: Beta means are covered at least as often as promised."""
    rng = np.random.default_rng(0)
    for a, b in ((0.5, 0.5), (2.0, 1.0), (8.0, 2.0)):
        low, high = wilson(rng.beta(a, b, size=(2000, 8)).mean(1), 8)
        assert ((low <= a / (a + b)) & (a / (a + b) <= high)).mean() >= 0.945


@given(p_lists)
def test_holm_is_the_loop_of_its_definition(p):
    order = np.argsort(p, kind="stable")
    want, running = np.empty(len(p)), 0.0
    for step, i in enumerate(order):
        running = max(running, (len(p) - step) * p[i])
        want[i] = min(running, 1)
    np.testing.assert_allclose(holm(p), want)


@given(p_lists)
def test_benjamini_hochberg_is_scipys_and_at_most_holm(p):
    np.testing.assert_allclose(benjamini_hochberg(p), stats.false_discovery_control(p), atol=1e-12)
    assert (benjamini_hochberg(p) <= holm(p) + 1e-12).all()


@given(p_lists, st.integers(0, 5))
def test_an_absent_test_leaves_the_family_alone(p, holes):
    with_holes = np.concatenate([np.full(holes, np.nan), p])
    for method in (holm, benjamini_hochberg):
        np.testing.assert_allclose(method(with_holes)[holes:], method(p))
        assert np.isnan(method(with_holes)[:holes]).all()


@given(p_lists)
def test_adjusted_values_keep_the_order_and_are_never_smaller(p):
    for method in (holm, benjamini_hochberg):
        q = method(p)
        assert (q >= np.array(p) - 1e-12).all()
        assert (np.diff(q[np.argsort(p, kind="stable")]) >= -1e-12).all()


def test_a_family_is_adjusted_by_name_and_shape_is_kept():
    p = np.array([[0.01, 0.2], [0.03, np.nan]])
    assert adjust(p, "none")[0, 0] == 0.01
    assert adjust(p, "holm").shape == p.shape
    with pytest.raises(ValueError, match="'sidak'"):
        adjust(p, "sidak")
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        holm([1.5])


def test_percentile_and_basic_mirror_each_other():
    samples = np.random.default_rng(0).gamma(2.0, size=(4000, 3))
    estimate = samples.mean(0)
    low, high = percentile(samples)
    other = basic(samples, estimate)
    np.testing.assert_allclose(other[0], 2 * estimate - high)
    np.testing.assert_allclose(other[1], 2 * estimate - low)
    np.testing.assert_allclose(low, np.quantile(samples, 0.025, axis=0))


def test_bca_is_scipys_on_the_mean_of_a_skewed_sample():
    rng = np.random.default_rng(0)
    x = rng.exponential(size=40)
    drawn = x[rng.integers(0, 40, size=(9000, 40))].mean(1)
    left_out = (x.sum() - x) / 39
    low, high = bca(drawn[:, None], np.array([x.mean()]), left_out[:, None])
    peer = stats.bootstrap((x,), np.mean, n_resamples=9000, method="BCa", rng=1)
    assert float(low[0]) == pytest.approx(peer.confidence_interval.low, abs=0.02)
    assert float(high[0]) == pytest.approx(peer.confidence_interval.high, abs=0.03)
    plain = percentile(drawn[:, None])
    assert float(high[0]) > float(plain[1][0])  # a mean of a right-skewed sample


def test_bca_without_skew_and_bias_is_the_percentile_interval():
    samples = np.linspace(-1, 1, 2001)[:, None]
    low, high = bca(samples, np.zeros(1), np.array([[-1.0], [1.0]]))
    want = percentile(samples)
    np.testing.assert_allclose([low, high], want, atol=1e-9)


def test_an_unknown_interval_and_a_confidence_of_one_are_refused():
    samples = np.zeros((5, 1))
    with pytest.raises(ValueError, match="'studentised'"):
        interval(samples, samples[0], kind="studentised")
    with pytest.raises(ValueError, match="confidence"):
        percentile(samples, confidence=1.0)


@given(
    n=st.tuples(st.integers(2, 500), st.integers(2, 500)),
    spread=st.floats(0.01, 0.5),
    chance=st.floats(0.2, 0.99),
    tests=st.integers(1, 50),
)
def test_the_smallest_gap_is_found_with_the_power_asked_for(n, spread, chance, tests):
    plan = minimum_detectable_gap(n, spread=spread, power=chance, tests=tests)
    again = power(n, plan.gap, spread=spread, tests=tests)
    assert again.power == pytest.approx(chance, abs=2e-2 if tests == 1 else 1e-2)
    assert str(plan).count(str(n[0])) >= 1


def test_power_is_what_a_simulation_finds():
    """Seed 0, 4,000 draws of two groups of 40: within 4 standard errors of the plan."""
    rng = np.random.default_rng(0)
    plan = power((40, 40), 0.1, spread=0.2)
    a, b = rng.normal(0, 0.2, (4000, 40)), rng.normal(0.1, 0.2, (4000, 40))
    z = np.abs(a.mean(1) - b.mean(1)) / (0.2 * np.sqrt(2 / 40))
    found = (z > 1.959964).mean()
    assert found == pytest.approx(plan.power, abs=4 * np.sqrt(0.25 / 4000))
    negative = power((40, 40), 0.0, spread=0.2)
    assert negative.power == pytest.approx(0.05, abs=1e-9)


def test_groups_of_one_and_impossible_powers_are_refused():
    with pytest.raises(ValueError, match="n="):
        power((1, 5), 0.1, spread=0.2)
    with pytest.raises(ValueError, match="power"):
        minimum_detectable_gap((5, 5), spread=0.2, power=1.0)
    assert set(power((5, 5), 0.1, spread=0.2).to_table()) >= {"gap", "power"}


def test_bca_moves_by_twice_the_bias_of_the_resamples():
    samples = np.sort(np.random.default_rng(0).normal(0.3, 1, 20_001))[:, None]
    low, high = bca(samples, np.zeros(1), np.array([[-1.0], [1.0]]))
    bias = stats.norm.ppf((samples < 0).mean())
    shares = stats.norm.cdf(2 * bias + stats.norm.ppf([0.025, 0.975]))
    np.testing.assert_allclose([low[0], high[0]], np.quantile(samples, shares), atol=1e-3)

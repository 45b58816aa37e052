import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from randaug_study.stats import (
    holm,
    noninferior,
    paired_ci,
    paired_t,
    seeds_needed,
    tost,
    tost_power,
)
from scipy import stats


def cases(count=100):
    """Random differences: 2 to 30 pairs, of means, deviations and margins apart."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        n = int(rng.integers(2, 31))
        values = rng.normal(rng.normal(0, 0.5), rng.uniform(0.05, 2), n)
        yield values, float(rng.uniform(0.05, 1.5))


def test_equals_scipys_paired_tests_on_100_random_cases():
    for values, margin in cases():
        zero = np.zeros(len(values))
        found = paired_ci(values)
        wanted = stats.ttest_rel(values, zero).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx(tuple(wanted), abs=1e-10)
        assert paired_t(values) == pytest.approx(stats.ttest_rel(values, zero).pvalue, abs=1e-10)
        above = stats.ttest_1samp(values, -margin, alternative="greater").pvalue
        below = stats.ttest_1samp(values, margin, alternative="less").pvalue
        assert noninferior(values, margin) == pytest.approx(above, abs=1e-10)
        assert tost(values, margin) == pytest.approx(max(above, below), abs=1e-10)


def test_equivalence_at_5_percent_is_the_90_percent_interval_inside_the_margin():
    seen = set()
    for values, margin in cases(300):
        narrow = paired_ci(values, level=0.9)
        inside = -margin < narrow.low and narrow.high < margin
        assert (tost(values, margin) < 0.05) == inside
        seen.add(inside)
    assert seen == {True, False}


def coverage(quantile, trials=4000, n=10):
    """Share of intervals that hold the true mean, seed 1, differences of N(0.3, 0.7^2)."""
    rng = np.random.default_rng(1)
    x = rng.normal(0.3, 0.7, (trials, n))
    half = quantile(n) * x.std(1, ddof=1) / math.sqrt(n)
    return float((np.abs(x.mean(1) - 0.3) <= half).mean()), x


def test_95_percent_intervals_cover_93_to_97_percent_of_the_time():
    # 4,000 samples of 10 pairs: a true 95 % leaves the bounds by 5.8 standard errors
    share, x = coverage(lambda n: stats.t.ppf(0.975, n - 1))
    ours = [paired_ci(row) for row in x]
    covered = np.mean([found.low <= 0.3 <= found.high for found in ours])
    assert 0.93 <= covered <= 0.97
    assert covered == share


def test_normal_quantiles_on_ten_pairs_would_cover_too_little():
    share, _ = coverage(lambda n: stats.norm.ppf(0.975))
    assert share < 0.93


def test_equivalence_is_claimed_of_arms_at_the_margin_in_5_percent_of_studies():
    # 2,000 studies of 10 pairs, seed 2: 4 standard errors are 2 points
    rng = np.random.default_rng(2)
    at = [tost(row, 0.5) < 0.05 for row in rng.normal(0.5, 0.3, (2000, 10))]
    assert np.mean(at) == pytest.approx(0.05, abs=0.02)
    inside = [tost(row, 0.5) < 0.05 for row in rng.normal(0.1, 0.3, (500, 10))]
    assert np.mean(inside) > 0.9


def stepwise(p):
    """Holm's definition: walk up, multiply by what is left, never go down."""
    adjusted, highest = {}, 0.0
    for rank, value in enumerate(sorted(p)):
        highest = max(highest, min(1.0, (len(p) - rank) * value))
        adjusted.setdefault(value, highest)
    return [adjusted[value] for value in p]


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_the_stepwise_definition(p):
    found = holm(p)
    for value, wanted, least in zip(found, stepwise(p), p, strict=True):
        assert value >= wanted - 1e-12 or p.count(least) > 1
        assert least <= value <= min(1.0, len(p) * least) + 1e-12
    assert [v for _, v in sorted(zip(p, found, strict=True))] == sorted(found)


def test_holm_of_a_worked_case():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@pytest.mark.parametrize(("n", "sd", "difference"), [(4, 0.5, 0.0), (10, 0.6, 0.1), (20, 0.8, 0)])
def test_power_is_the_share_of_simulated_studies(n, sd, difference):
    # 1,000 studies, seed 3: 4 standard errors are at most 6.4 points
    rng = np.random.default_rng(3)
    shown = [tost(row, 0.5) < 0.05 for row in rng.normal(difference, sd, (1000, n))]
    found = tost_power(n, sd, 0.5, difference=difference)
    assert found == pytest.approx(np.mean(shown), abs=0.064)


@settings(max_examples=15)
@given(sd=st.floats(0.1, 1.5), margin=st.floats(0.3, 1.5))
def test_the_seeds_needed_are_the_fewest_of_that_power(sd, margin):
    n = seeds_needed(sd, margin)
    assert tost_power(n, sd, margin) >= 0.8
    assert n == 2 or tost_power(n - 1, sd, margin) < 0.8


def test_differences_that_do_not_vary_are_known_exactly():
    assert paired_ci([0.2, 0.2]).low == pytest.approx(0.2)
    assert (paired_t([0.0, 0.0]), paired_t([0.25, 0.25])) == (1.0, 0.0)
    assert (tost([0.25] * 3, 0.5), tost([0.75] * 3, 0.5)) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: paired_ci([1.0]), r"at least 2 finite numbers.*\[1.0\]"),
        (lambda: paired_t([1.0, math.nan]), "at least 2 finite"),
        (lambda: paired_ci([1.0, 2.0], level=95), "between 0 and 1, got 95"),
        (lambda: tost([1.0, 2.0], 0), "margin must be positive, got 0"),
        (lambda: holm([0.5, 1.5]), "got 1.5"),
        (lambda: tost_power(1, 1, 1), "n >= 2 and sd > 0, got n=1"),
        (lambda: seeds_needed(1, 0.5, difference=0.5), "not inside a margin of 0.5"),
        (lambda: seeds_needed(1, 0.5, power=1), "power must lie between"),
        (lambda: seeds_needed(50, 0.5, most=100), "more than 100 pairs"),
    ],
)
def test_says_what_is_wrong(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_an_interval_reads_as_one():
    assert str(paired_ci([0.1, 0.3, 0.2])) == "+0.20 [-0.05, +0.45] (95 % t interval, 3 pairs)"
    assert paired_ci([0.0, 2.0]).se == pytest.approx(1.0)

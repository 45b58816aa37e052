"""Scalars over groups: properties P11, and the definitions as loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vpsa_fair import fdr, garbe, gini, inequity, max_gap, min_ratio

rates = st.lists(st.floats(0, 1), min_size=2, max_size=8)


@given(rates)
def test_gini_is_its_double_sum(x):
    n, mean = len(x), sum(x) / len(x)
    double = sum(abs(a - b) for a in x for b in x)
    want = 0.0 if mean == 0 else n / (n - 1) * double / (2 * n * n * mean)
    assert float(gini(x)) == pytest.approx(want, abs=1e-9)


@given(rates, rates, st.floats(0, 1))
def test_fdr_and_garbe_are_their_definitions(fmr, fnmr, alpha):
    size = min(len(fmr), len(fnmr))
    fmr, fnmr = fmr[:size], fnmr[:size]
    worst = [max(abs(a - b) for a in x for b in x) for x in (fmr, fnmr)]
    want = 1 - (alpha * worst[0] + (1 - alpha) * worst[1])
    assert float(fdr(fmr, fnmr, alpha=alpha)) == pytest.approx(want, abs=1e-12)
    mixed = alpha * float(gini(fmr)) + (1 - alpha) * float(gini(fnmr))
    assert float(garbe(fmr, fnmr, alpha=alpha)) == pytest.approx(mixed, abs=1e-12)


@given(rates, st.randoms())
def test_the_order_of_the_groups_does_not_matter(x, random):
    y = list(x)
    random.shuffle(y)
    for f in (max_gap, min_ratio, gini, inequity):
        assert float(f(x)) == pytest.approx(float(f(y)), rel=1e-9)


@given(st.floats(1e-6, 1), st.integers(2, 9))
def test_equal_groups_have_no_gap_in_any_measure(x, n):
    same = [x] * n
    assert float(max_gap(same)) == 0
    assert float(min_ratio(same)) == 1
    assert float(gini(same)) == pytest.approx(0, abs=1e-12)
    assert float(inequity(same)) == pytest.approx(1)
    assert float(fdr(same, same)) == 1
    assert float(garbe(same, same)) == pytest.approx(0, abs=1e-12)


@given(rates)
def test_gini_is_zero_only_if_all_are_equal(x):
    assert (float(gini(x)) < 1e-9) == (max(x) - min(x) <= 1e-8 * max(x))


def test_inequity_is_the_worst_over_the_geometric_mean():
    assert float(inequity([0.02, 0.04, 0.08])) == pytest.approx(2.0)
    assert float(inequity([0.0, 0.1])) == np.inf
    assert float(inequity([0.0, 0.0])) == 1.0


def test_resamples_are_taken_along():
    x = np.random.default_rng(0).random((5, 3, 4))
    for f in (max_gap, min_ratio, gini, inequity):
        assert f(x).shape == (5, 3)
        assert f(x)[2, 1] == pytest.approx(float(f(x[2, 1])))


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="alpha"):
        fdr([0.1, 0.2], [0.1, 0.2], alpha=2)
    with pytest.raises(ValueError, match="alpha"):
        garbe([0.1, 0.2], [0.1, 0.2], alpha=-1)
    with pytest.raises(ValueError, match="two or more"):
        gini([0.3])
    with pytest.raises(ValueError, match="negative"):
        inequity([-0.1, 0.2])

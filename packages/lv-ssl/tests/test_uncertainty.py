import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lv_ssl import (
    calibration,
    monotonicity,
    r_auroc,
    risk_curve,
    scores_over,
    spearman,
)
from lv_ssl.uncertainty import ranks
from scipy import stats
from sklearn import metrics

SEEDS = st.integers(0, 2**31)


@given(seed=SEEDS, n=st.integers(2, 40), values=st.integers(1, 12))
def test_ranks_and_rank_correlation_are_scipys(seed, n, values):
    g = np.random.default_rng(seed)
    x, y = g.integers(0, values, n), g.integers(0, 5, n)
    assert np.array_equal(ranks(x), stats.rankdata(x))
    got = spearman(x, y)
    if len(set(x.tolist())) == 1 or len(set(y.tolist())) == 1:
        assert math.isnan(got)
    else:
        assert got == pytest.approx(stats.spearmanr(x, y).statistic)


@given(seed=SEEDS, n=st.integers(2, 60), values=st.integers(1, 30))
def test_auroc_is_scikit_learns(seed, n, values):
    g = np.random.default_rng(seed)
    u, wrong = g.integers(0, values, n).astype(float), g.random(n) < 0.4
    if wrong.all() or not wrong.any():
        with pytest.raises(ValueError, match="answers of both kinds"):
            r_auroc(u, wrong)
    else:
        assert r_auroc(u, wrong) == pytest.approx(metrics.roc_auc_score(wrong, u))
        assert r_auroc(-u, wrong) == pytest.approx(1 - r_auroc(u, wrong))


@given(seed=SEEDS, n=st.integers(1, 40))
def test_risk_is_the_share_of_wrong_answers_among_the_most_certain(seed, n):
    g = np.random.default_rng(seed)
    u, wrong = g.permutation(n).astype(float), g.random(n) < 0.4
    curve = risk_curve(u, wrong)
    order = np.argsort(u)
    for i in range(n):
        assert curve.risk[i] == pytest.approx(wrong[order[: i + 1]].mean())
        assert curve.coverage[i] == pytest.approx((i + 1) / n)
    best = risk_curve(wrong.astype(float), wrong)
    assert best.area <= curve.area + 1e-12
    flat = risk_curve(np.zeros(n), wrong)  # equals share their wrong answers
    assert np.allclose(flat.risk, wrong.mean())
    assert "of the most certain tenth" in str(curve)


@given(seed=SEEDS, n=st.integers(1, 50), classes=st.integers(2, 5), bins=st.integers(1, 15))
def test_calibration_error_is_that_of_a_loop_over_bins(seed, n, classes, bins):
    g = np.random.default_rng(seed)
    p, y = g.dirichlet(np.ones(classes), n), g.integers(0, classes, n)
    want = 0.0
    for b in range(bins):
        rows = [
            i for i in range(n)
            if b / bins <= p[i].max() < (b + 1) / bins or (b == bins - 1 and p[i].max() == 1)
        ]  # fmt: skip
        if rows:
            confidence = sum(p[i].max() for i in rows) / len(rows)
            accuracy = sum(p[i].argmax() == y[i] for i in rows) / len(rows)
            want += len(rows) / n * abs(confidence - accuracy)
    got = calibration(p, y, bins=bins)
    assert got.ece == pytest.approx(want, abs=1e-6)
    assert got.count.sum() == n


def test_what_is_calibrated_has_no_error_and_what_is_sure_and_wrong_has_all():
    g = np.random.default_rng(0)  # n = 20,000; a bin's share is within 5 standard errors
    p = g.random(20_000) / 2 + 0.5
    y = (g.random(20_000) > p).astype(int)
    assert calibration(np.stack([p, 1 - p], 1), y).ece < 0.02
    assert calibration(np.stack([p**0.2, 1 - p**0.2], 1), y).ece > 0.1
    assert calibration(np.array([[1.0, 0.0]]), np.array([1])).ece == 1.0


def test_a_rising_score_correlates_and_a_shuffled_one_does_not():
    g = np.random.default_rng(0)
    scores = np.arange(6)[:, None] + 2 * g.standard_normal((6, 400))
    found = monotonicity([0, 0.5, 1, 1.5, 2, 3], scores)
    assert found.correlation == 1.0
    assert abs(found.control) < 0.15  # mean of 200 shuffles, each about 0 +- 0.45
    assert found.rises > 0.9
    falling = monotonicity([0, 1, 2, 3, 4, 5], -scores)
    assert falling.correlation == -1.0
    assert "-1.00" in str(falling)
    unrelated = monotonicity(range(6), g.standard_normal((6, 400)))
    assert abs(unrelated.correlation) < 1
    assert len(found.to_table()["level"]) == 6
    there_and_back = np.array([[0.0, 0.0], [2.0, 2.0], [1.0, -1.0]])
    assert monotonicity([0, 1, 2], there_and_back).rises == 0.5


def test_scores_are_of_the_same_images_at_every_level():
    images = torch.rand(7, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    got = scores_over([0, 1, 3], images, lambda x, a: x + a, lambda x: x.mean((1, 2, 3)))
    want = np.stack([images.mean((1, 2, 3)) + level for level in (0, 1, 3)])
    assert np.allclose(got, want)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: r_auroc(np.zeros(3), np.zeros(4)), r"\(3,\) and \(4,\)"),
        (lambda: r_auroc(np.array([np.nan, 0]), np.array([0, 1])), "finite, got 1 others"),
        (lambda: risk_curve(np.zeros(0), np.zeros(0)), r"\(N,\)"),
        (lambda: spearman(np.zeros(1), np.zeros(1)), "N >= 2"),
        (lambda: calibration(np.zeros((2, 2)), np.zeros(2)), "add up to 1: use a softmax"),
        (lambda: calibration(np.ones((2, 1)), np.zeros(3)), r"\(3,\)"),
        (lambda: calibration(np.ones((2, 1)), np.zeros(2), bins=0), "bins >= 1"),
        (lambda: monotonicity([0, 1], np.zeros((2, 3))), "at least 3 ascending"),
        (lambda: monotonicity([0, 2, 1], np.zeros((3, 3))), "at least 3 ascending"),
        (lambda: monotonicity([0, 1, 2], np.zeros((2, 3))), r"\(3, N\), got \(2, 3\)"),
    ],
)
def test_says_what_came_and_what_would_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()

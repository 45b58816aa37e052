"""Weights, and resamples as a product against a loop that draws identities one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vpsa_fair.bootstrap import blocks, draw_weights, group_stream, ratio, resampled_rates


@given(n=st.integers(1, 40), b=st.integers(1, 30), seed=st.integers(0, 99))
def test_every_resample_weighs_as_much_as_the_sample(n, b, seed):
    w = draw_weights(group_stream(seed, "g"), n, b)
    assert w.shape == (b, n)
    np.testing.assert_allclose(w.sum(1), n)
    assert (w >= 0).all()


def test_weights_come_in_any_number_of_blocks():
    whole = draw_weights(group_stream(3, "g"), 7, 50)
    rng = group_stream(3, "g")
    parts = [draw_weights(rng, 7, s.stop - s.start) for s in blocks(50, 13)]
    np.testing.assert_array_equal(np.vstack(parts), whole)


def test_the_variance_of_a_mean_is_the_unbiased_one():
    """Seed 0, 40,000 resamples of 5 numbers: within 3 %; n draws would be 20 % short."""
    x = np.array([0.1, 0.9, 0.4, 0.6, 0.2])
    means = draw_weights(group_stream(0, "g"), 5, 40_000) @ x / 5
    want = x.var(ddof=1) / 5
    assert means.var() == pytest.approx(want, rel=0.03)
    assert abs(x.var() / 5 / want - 1) > 0.15


def test_a_stream_belongs_to_its_group_and_seed():
    first = [group_stream(0, "a").random(), group_stream(0, "b").random()]
    assert first[0] != first[1]
    assert group_stream(0, "a").random() == first[0]
    assert group_stream(1, "a").random() != first[0]


def test_the_product_is_the_loop_over_drawn_identities():
    rng = np.random.default_rng(0)
    trials = rng.integers(1, 9, size=(6, 4)).astype(float)
    hits = rng.binomial(trials.astype(int), 0.6).astype(float)
    w = draw_weights(group_stream(0, "g"), 6, 20)
    point = ratio(hits.sum(0), trials.sum(0))
    got = resampled_rates(point, w @ hits, w @ trials, 1)
    times = np.rint(w * 5 / 6).astype(int)  # n - 1 of n were drawn
    for b in range(20):
        rows = [i for i in range(6) for _ in range(times[b, i])]
        assert len(rows) == 5
        want = [sum(hits[i, c] for i in rows) / sum(trials[i, c] for i in rows) for c in range(4)]
        np.testing.assert_allclose(got[b], want)


def test_weights_of_one_give_the_estimate():
    hits, trials = np.array([[1.0, 2.0], [3.0, 0.0]]), np.array([[2.0, 2.0], [4.0, 1.0]])
    point = ratio(hits.sum(0), trials.sum(0))
    one = np.ones((1, 2))
    for order in (1, 2):
        np.testing.assert_allclose(
            resampled_rates(point, one @ hits, one @ trials, order)[0], point
        )


def test_a_resample_without_trials_repeats_the_estimate():
    got = resampled_rates(np.array([0.25]), np.zeros((1, 1)), np.zeros((1, 1)), 1)
    assert got.tolist() == [[0.25]]
    assert np.isnan(ratio(np.zeros(1), np.zeros(1))).all()


def test_a_pair_of_identities_deviates_as_the_product_of_their_weights():
    """Pairs of 60 identities that differ in how they answer; seed 0, 4,000 resamples.

    The spread must be that of sum w_i w_j h_ij / sum w_i w_j to 10 %; entered once only it is half.
    """
    rng = np.random.default_rng(0)
    n = 60
    nature = rng.normal(size=n)
    answer = (nature[:, None] + nature[None] + rng.normal(size=(n, n)) > -1).astype(float)
    off = ~np.eye(n, dtype=bool)
    answer, asked = answer * off, off.astype(float)
    both_hits, both_trials = answer.sum(0) + answer.sum(1), asked.sum(0) + asked.sum(1)
    w = draw_weights(group_stream(0, "g"), n, 4000)
    exact = np.einsum("bi,ij,bj->b", w, answer, w) / np.einsum("bi,ij,bj->b", w, asked, w)
    point = np.array([answer.sum() / asked.sum()])
    sums = (w @ both_hits[:, None], w @ both_trials[:, None])
    got = resampled_rates(point, *sums, 2)[:, 0]
    assert got.std() == pytest.approx(exact.std(), rel=0.1)
    assert np.corrcoef(got, exact)[0, 1] > 0.98
    assert resampled_rates(point, *sums, 1)[:, 0].std() < 0.6 * exact.std()


def test_blocks_cover_the_range_once():
    assert [list(range(10))[s] for s in blocks(10, 4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]

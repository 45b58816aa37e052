import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vpsa_fair.errors import DataError
from vpsa_fair.thresholds import at_fmr, best_accuracy, between, kth_largest

scores = st.lists(
    st.floats(-100, 100, width=32) | st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5]),
    min_size=1,
    max_size=60,
)


def pieces(values, size):
    array = np.array(values, np.float32)
    return lambda: iter([array[i : i + size] for i in range(0, len(array), size)])


@given(values=scores, size=st.integers(1, 20), data=st.data())
def test_the_kth_largest_is_that_of_a_sorted_list(values, size, data):
    k = data.draw(st.integers(1, len(values)))
    ordered = sorted(np.array(values, np.float32) + np.float32(0), reverse=True)
    got, following = kth_largest(pieces(values, size), k)
    assert got == ordered[k - 1]
    assert following == min((x for x in ordered if x > ordered[k - 1]), default=np.inf)


@given(values=scores, genuine=scores, size=st.integers(1, 20), fmr=st.floats(0, 0.99))
def test_at_fmr_allows_the_target_and_no_lower_threshold_does(values, genuine, size, fmr):
    tau = np.float32(at_fmr(pieces(values, size), len(values), np.array(genuine, np.float32), fmr))
    array = np.array(values, np.float32)
    allowed = int(fmr * len(values) + 1e-9)
    assert (array >= tau).sum() <= allowed
    assert (array >= array[array < tau].max()).sum() > allowed


@given(values=scores, genuine=scores, size=st.integers(1, 20))
def test_best_accuracy_beats_every_other_threshold(values, genuine, size):
    impostor, own = np.array(values, np.float32), np.array(genuine, np.float32)
    tau = np.float32(best_accuracy(pieces(values, size), len(values), own))

    def balanced(threshold):
        return (own >= threshold).mean() + (impostor < threshold).mean()

    everywhere = np.unique(np.concatenate([impostor, own, [np.float32(1000)]]))
    assert balanced(tau) >= max(balanced(value) for value in everywhere) - 1e-9


def test_midway_lies_above_the_low_end_even_between_neighbours():
    low = np.float32(1.0)
    high = np.nextafter(low, np.float32(2))
    assert between(float(low), float(high)) == high
    assert between(1.0, 2.0) == 1.5
    assert between(1.0, np.inf) == high


def test_says_which_pairs_are_missing():
    with pytest.raises(DataError, match="no impostor pair"):
        at_fmr(pieces([], 1), 0, np.zeros(1, np.float32), 0.1)
    with pytest.raises(DataError, match="0 genuine and 3 impostor"):
        best_accuracy(pieces([1, 2, 3], 2), 3, np.zeros(0, np.float32))

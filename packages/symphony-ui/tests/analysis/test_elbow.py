import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from symphony_ui.analysis import duplicates
from symphony_ui.analysis._elbow import percentile_threshold, slope_threshold
from symphony_ui.analysis._pairs import nearest
from symphony_ui.errors import SymphonyError


def walked(d):
    """The reference's walk, stride one: where the next fifth rises more than the middle half."""
    m = len(d)
    target, p = d[3 * m // 4] - d[m // 4], m // 2
    while p >= 0:
        if d[p + m // 5] - d[p] > target:
            return d[p]
        p -= 1
    return None


def neighbour_distances(X):
    d = nearest(X, 9).ravel()
    return np.sort(d[d > 0])


def without_duplicates(name, seed):
    random = np.random.default_rng(seed)
    if name == "uniform":
        return random.random((400, 2))
    if name == "blobs":
        centres = 3 * random.normal(size=(10, 32))
        return centres[random.integers(0, 10, 500)] + random.normal(size=(500, 32))
    return random.normal(size=(400, int(name)))


@pytest.mark.parametrize("name", ["2", "8", "64", "uniform", "blobs"])
def test_no_group_is_invented_where_nothing_is_duplicated(name):
    invented = 0
    for seed in range(10):
        found = duplicates(without_duplicates(name, seed), threshold="slope", metric="euclidean")
        invented += found.elbow or (found.group >= 0).any()
    assert invented == 0


def test_the_reference_invents_groups_in_the_same_data():
    """The negative control: the walk alone names a threshold, and pairs lie below it."""
    d = neighbour_distances(without_duplicates("64", 0))
    assert (d <= walked(d)).sum() > 10
    assert slope_threshold(d) is None


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "columns"])
@pytest.mark.parametrize("noise", [1e-3, 1e-2, 0.1])
def test_planted_duplicates_are_found_by_the_elbow(metric, noise):
    random = np.random.default_rng(0)
    X = random.normal(size=(1000, 64))
    X = np.concatenate([X, X[:60] + noise * random.normal(size=(60, 64))])
    found = duplicates(X, threshold="slope", metric=metric)
    assert found.elbow
    assert found.pairs.tolist() == [[i, 1000 + i] for i in range(60)]


def test_distances_take_the_slope_by_default():
    X = np.random.default_rng(0).normal(size=(100, 8))
    assert not duplicates(X, metric="euclidean").elbow
    assert duplicates(X).threshold == 0.98


def test_equal_rows_are_grouped_even_without_an_elbow():
    X = np.random.default_rng(0).normal(size=(100, 64))
    X[3] = X[5]
    found = duplicates(X, threshold="slope", metric="euclidean")
    assert found.pairs.tolist() == [[3, 5]]
    assert "no elbow" in str(found)
    assert duplicates(np.ones((20, 3)), threshold="slope").sizes.tolist() == [20]


def test_on_a_clear_jump_it_is_the_place_where_the_walk_stops():
    d = np.concatenate([np.linspace(0.1, 0.2, 50), np.linspace(5, 6, 950)])
    assert slope_threshold(d) == walked(d) == pytest.approx(0.2)


def test_a_jump_to_hardly_larger_distances_is_none():
    """In many dimensions all neighbours are about as far: the closest pair stands apart by luck."""
    d = np.concatenate([np.full(10, 1.0), np.linspace(1.2, 1.25, 990)])
    assert walked(d) == 1.0
    assert slope_threshold(d) is None
    assert slope_threshold(np.where(d > 1, d + 0.1, d)) == 1.0


@given(st.lists(st.floats(1e-6, 1e6), max_size=60))
def test_any_distances_give_one_of_them_or_none(values):
    d = np.sort(np.array(values))
    found = slope_threshold(d)
    assert found is None or found in d


@given(st.lists(st.floats(0.1, 1), min_size=1, max_size=50), st.floats(1, 100, exclude_min=True))
def test_the_percentile_is_the_references(values, q):
    d = np.sort(np.array(values))
    taken = int(q / 100 * len(d))
    assert percentile_threshold(d, q) == (d[len(d) - taken] if taken else d[-1])


def test_a_percentile_may_reach_beyond_the_right_angle():
    found = duplicates([[1.0, 0.0], [-1.0, 0.01]], threshold=("percentile", 50))
    assert found.threshold < -0.99
    assert found.pairs.tolist() == [[0, 1]]


def test_a_percentile_takes_its_share_of_the_neighbours():
    X = np.random.default_rng(0).normal(size=(200, 3))
    d = neighbour_distances(X)
    found = duplicates(X, threshold=("percentile", 98.5), metric="euclidean")
    assert found.threshold == pytest.approx(d[len(d) - int(0.985 * len(d))])
    assert len(found.pairs) > 0
    with pytest.raises(SymphonyError, match="101"):
        duplicates(X, threshold=("percentile", 101))

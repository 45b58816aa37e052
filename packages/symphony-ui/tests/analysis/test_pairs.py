import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from symphony_ui.analysis import _pairs
from symphony_ui.analysis._groups import components
from symphony_ui.analysis._pairs import distances, factors, nearest, pairs_within, principal_axes
from symphony_ui.errors import SizeError

SEEDS = st.integers(0, 2**31)


def all_distances(X):
    return np.array([[np.sqrt(((a - b) ** 2).sum()) for b in X] for a in X])


@given(
    seed=SEEDS,
    rows=st.integers(1, 30),
    dim=st.integers(1, 40),
    width=st.integers(0, 40),
    spread=st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_the_product_of_factors_is_never_below_the_truth(seed, rows, dim, width, spread):
    random = np.random.default_rng(seed)
    X = random.normal(size=(rows, dim)) * np.where(random.random((rows, 1)) < 0.3, spread, 1.0)
    rest = (X**2).sum(axis=1) if width < dim else None
    left, right = factors(X[:, :width], rest=rest)
    truth = -(all_distances(X) ** 2) / 2
    assert (left @ right.T >= truth).all()


@given(seed=SEEDS, rows=st.integers(1, 30), dim=st.integers(1, 40))
def test_principal_axes_are_orthonormal_and_sorted_by_variance(seed, rows, dim):
    X = np.random.default_rng(seed).normal(size=(rows, dim))
    X -= X.mean(axis=0)
    axes = principal_axes(X)
    assert axes.shape == (dim, min(rows, dim))
    assert axes.T @ axes == pytest.approx(np.eye(axes.shape[1]), abs=1e-9)
    assert (np.diff(((X @ axes) ** 2).sum(axis=0)) <= 1e-9).all()


@pytest.mark.parametrize("block", [16, 1024])
@pytest.mark.parametrize("rows", [2, 9, 100])
def test_nearest_neighbours_are_those_of_a_sort(monkeypatch, block, rows):
    monkeypatch.setattr(_pairs, "BLOCK", block)
    random = np.random.default_rng(rows)
    X = random.normal(size=(rows, 7)) + 5 * (np.arange(rows) > rows / 2)[:, None]  # in order
    count = min(9, rows - 1)
    want = np.sort(all_distances(X) + np.diag(np.full(rows, np.inf)), axis=1)[:, :count]
    assert nearest(X, 9) == pytest.approx(want)


def test_equal_rows_are_exactly_zero_apart():
    X = np.full((3, 50), 0.1)
    assert distances(X, np.array([[0, 1], [1, 2]])).tolist() == [0.0, 0.0]


@given(
    count=st.integers(1, 40),
    pairs=st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=60),
)
def test_components_are_those_of_a_search(count, pairs):
    pairs = [(a % count, b % count) for a, b in pairs if a % count != b % count]
    group = components(count, np.array(pairs, dtype=np.int64).reshape(-1, 2))
    beside = {
        i: {b for a, b in pairs if a == i} | {a for a, b in pairs if b == i} for i in range(count)
    }
    for start in range(count):
        seen, todo = {start}, [start]
        while todo:
            for other in beside[todo.pop()] - seen:
                seen.add(other)
                todo.append(other)
        assert {i for i in range(count) if group[i] == group[start] != -1} in (seen, set())
        assert (group[start] == -1) == (len(seen) == 1)
    sizes = np.bincount(group[group >= 0])
    assert sizes.tolist() == sorted(sizes, reverse=True)


def test_long_chains_and_stars_are_joined():
    chain = np.stack([np.arange(9999), np.arange(1, 10000)], axis=1)
    assert set(components(10000, np.random.default_rng(0).permutation(chain))) == {0}
    star = np.stack([np.full(9999, 9999), np.arange(9999)], axis=1)
    assert set(components(10000, star)) == {0}


def test_no_pair_beyond_the_radius_is_given():
    X = np.array([[0.0], [0.5], [0.500000001], [1.0]])
    pairs, apart = pairs_within(X, 0.5, most=10)
    assert pairs.tolist() == [[0, 1], [1, 2], [1, 3], [2, 3]]
    assert (apart <= 0.5).all()


def test_pairs_are_counted_within_a_tile_and_over_all_tiles(monkeypatch):
    with pytest.raises(SizeError):
        _pairs._Search(np.ones((30, 2)), 0.0, most=400).tile(0)
    monkeypatch.setattr(_pairs, "BLOCK", 10)
    X = np.repeat(np.arange(3.0), 10)[:, None]  # 45 pairs in each of three tiles
    assert len(pairs_within(X, 0.1, most=135)[0]) == 135
    with pytest.raises(SizeError, match="more than 134 pairs"):
        pairs_within(X, 0.1, most=134)

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors
from symphony_ui.analysis import _pairs, duplicates
from symphony_ui.errors import SizeError, SymphonyError

SEEDS = st.integers(0, 2**31)


def looped_pairs(rows, close):
    """All i < j that are close, one pair at a time."""
    return [
        (i, j) for i in range(len(rows)) for j in range(i + 1, len(rows)) if close(rows[i], rows[j])
    ]


def looped_cosine(a, b):
    norms = math.sqrt(math.fsum(x * x for x in a)) * math.sqrt(math.fsum(x * x for x in b))
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / norms


def looped_partition(count, pairs):
    """Connected components, by merging sets one pair at a time."""
    sets = [{i} for i in range(count)]
    for i, j in pairs:
        a, b = (next(s for s in sets if row in s) for row in (i, j))
        if a is not b:
            a |= b
            sets.remove(b)
    return {frozenset(s) for s in sets if len(s) > 1}


def partition(group):
    return {frozenset(np.flatnonzero(group == number).tolist()) for number in set(group) - {-1}}


def clustered(seed, rows, dim, noise=0.05):
    """Rows of which about half are noisy copies of others."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(rows, dim))
    for row in range(rows // 2):
        X[row] = X[random.integers(rows)] + noise * random.normal(size=dim)
    return X


def planted(rows, dim, clusters, seed=0):
    """Random unit vectors with tight clusters of 2 to 9 rows at shuffled places; and the truth."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(rows, dim))
    owner = np.full(rows, -1)
    at = 0
    for number in range(clusters):
        size = 2 + number % 8
        X[at : at + size] = X[at] + 0.05 * random.normal(size=(size, dim))
        owner[at : at + size] = number
        at += size
    shuffled = random.permutation(rows)
    X = X[shuffled]
    return X / np.linalg.norm(X, axis=1, keepdims=True), owner[shuffled]


@pytest.fixture
def small_blocks(monkeypatch):
    """Many tiles even for few rows."""
    monkeypatch.setattr(_pairs, "BLOCK", 16)


@given(
    seed=SEEDS, rows=st.integers(0, 40), dim=st.integers(1, 20), threshold=st.floats(-0.9, 0.999)
)
def test_cosine_pairs_are_those_of_the_loop(seed, rows, dim, threshold):
    X = clustered(seed, rows, dim)
    found = duplicates(X, threshold=threshold)
    exact = {
        pair: looped_cosine(X[pair[0]], X[pair[1]]) for pair in looped_pairs(X, lambda a, b: 1)
    }
    got = {tuple(pair): s for pair, s in zip(found.pairs.tolist(), found.similarity, strict=True)}
    for pair, cosine in exact.items():
        if abs(cosine - threshold) > 1e-13:
            assert (pair in got) == (cosine >= threshold)
        if pair in got:
            assert got[pair] == pytest.approx(cosine, abs=1e-13)
    assert partition(found.group) == looped_partition(rows, got)


@given(
    seed=SEEDS,
    rows=st.integers(0, 40),
    dim=st.integers(1, 20),
    threshold=st.floats(0, 3),
    scale=st.sampled_from([1e-200, 1e-12, 1.0, 1e12, 1e200]),
)
def test_euclidean_pairs_are_those_of_the_loop_at_any_scale(seed, rows, dim, threshold, scale):
    X = clustered(seed, rows, dim)
    found = duplicates(X * scale, threshold=threshold * scale, metric="euclidean")
    want = looped_pairs(X, lambda a, b: math.dist(a, b) <= threshold * (1 - 1e-12))
    most = looped_pairs(X, lambda a, b: math.dist(a, b) <= threshold * (1 + 1e-12))
    got = [tuple(pair) for pair in found.pairs.tolist()]
    assert set(want) <= set(got) <= set(most)
    assert found.similarity / scale == pytest.approx([-math.dist(X[i], X[j]) for i, j in got])
    assert partition(found.group) == looped_partition(rows, got)


def test_columns_are_divided_by_their_norms_and_may_be_zero():
    X = np.array([[1000.0, 0.0, 0.001], [1001.0, 0.0, 0.001], [-1000.0, 0.0, 0.005]])
    found = duplicates(X, threshold=0.01, metric="columns")
    assert found.pairs.tolist() == [[0, 1]]
    norm = math.sqrt(1000**2 + 1001**2 + 1000**2)
    assert found.similarity[0] == pytest.approx(-1 / norm)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("dim", [1, 3, 40, 300])
@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.9, 0.98, 1.0])
def test_tiles_windows_and_leading_coordinates_lose_nothing(dim, threshold):
    X = clustered(dim, 150, dim, noise=0.02)
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    cosine = unit @ unit.T
    far = {tuple(p) for p in np.argwhere(np.triu(cosine >= threshold - 1e-12, 1)).tolist()}
    near = {tuple(p) for p in np.argwhere(np.triu(cosine >= threshold + 1e-12, 1)).tolist()}
    found = {tuple(p) for p in duplicates(X, threshold=threshold).pairs.tolist()}
    assert near <= found <= far


def test_equals_scikit_learns_radius_search_and_recovers_planted_clusters():
    X, owner = planted(3000, 128, 50)
    found = duplicates(X.astype(np.float32), threshold=0.98)
    assert partition(found.group) == partition(owner)
    near = NearestNeighbors(algorithm="brute").fit(X)
    _, index = near.radius_neighbors(X, radius=math.sqrt(2 - 2 * 0.98))
    want = {(i, j) for i, row in enumerate(index) for j in row.tolist() if i < j}
    assert {tuple(pair) for pair in found.pairs.tolist()} == want
    assert found.sizes.tolist() == sorted(found.sizes, reverse=True)
    assert found.group[found.members].tolist() == sorted(found.group[found.group >= 0])


@given(seed=SEEDS, dim=st.integers(2, 12))
def test_neither_the_order_of_rows_nor_a_rotation_changes_the_partition(seed, dim):
    X = clustered(seed, 40, dim)
    random = np.random.default_rng(seed)
    base = duplicates(X, threshold=0.97)
    order = random.permutation(len(X))
    back = {
        frozenset(order[list(part)].tolist())
        for part in partition(duplicates(X[order], threshold=0.97).group)
    }
    assert back == partition(base.group)
    turn, _ = np.linalg.qr(random.normal(size=(dim, dim)))
    assert partition(duplicates(X @ turn, threshold=0.97).group) == partition(base.group)


@given(seed=SEEDS, a=st.floats(-1, 1), b=st.floats(-1, 1))
def test_a_lower_threshold_gives_a_coarser_partition(seed, a, b):
    X = clustered(seed, 30, 6)
    fine, coarse = (partition(duplicates(X, threshold=t).group) for t in (max(a, b), min(a, b)))
    assert all(any(small <= large for large in coarse) for small in fine)


@given(seed=SEEDS, threshold=st.floats(0.5, 0.999))
def test_the_least_similarity_is_over_all_rows_of_a_group_not_only_linked_ones(seed, threshold):
    X = clustered(seed, 40, 3, noise=0.2)
    found = duplicates(X, threshold=threshold)
    for number, least in enumerate(found.min_similarity):
        rows = X[found.group == number]
        pairs = [(i, j) for i in range(len(rows)) for j in range(i)]
        assert least == pytest.approx(
            min(looped_cosine(rows[i], rows[j]) for i, j in pairs), abs=1e-12
        )


def test_a_chain_is_one_group_that_admits_how_unlike_its_ends_are():
    angles = np.radians(np.arange(0, 91, 10))
    found = duplicates(np.stack([np.cos(angles), np.sin(angles)], axis=1), threshold=0.98)
    assert found.sizes.tolist() == [10]
    assert found.min_similarity[0] == pytest.approx(0.0, abs=1e-15)
    assert len(found.pairs) == 9


def test_the_spread_of_a_group_is_measured_from_its_centroid():
    found = duplicates([[0, 0], [2, 0], [1, 3], [90, 90]], threshold=4, metric="euclidean")
    apart = [math.dist((1, 1), row) for row in [(0, 0), (2, 0), (1, 3)]]
    assert found.centroid_mean.tolist() == pytest.approx([np.mean(apart)])
    assert found.centroid_std.tolist() == pytest.approx([np.std(apart)])


def test_members_of_a_group_are_ordered_along_the_first_axis():
    X = np.array([[3.0, 0], [1, 0.1], [2, 0], [0, 0], [50, 0]])
    found = duplicates(X, threshold=1.5, metric="euclidean")
    assert found.members.tolist() in ([3, 1, 2, 0], [0, 2, 1, 3])


def test_zero_vectors_are_a_group_of_their_own_and_never_nan():
    X = np.array([[1.0, 0], [0, 0], [1, 0], [0, 0], [0, 0]])
    found = duplicates(X, threshold=-1.0)
    assert found.pairs.tolist() == [[0, 2]]
    assert found.zero_group == found.group[1] == 0
    assert partition(found.group) == {frozenset({0, 2}), frozenset({1, 3, 4})}
    assert found.min_similarity.tolist() == [1.0, 1.0]
    assert "zero vectors" in str(found)
    lone = duplicates([[1.0, 0], [0, 0]], threshold=-1.0)
    assert (lone.group.tolist(), lone.zero_group) == ([-1, -1], -1)


@pytest.mark.parametrize("factor", [1.0, 3.0, 0.1, 1e-200, 1e200])
def test_multiples_of_a_row_have_cosine_one_exactly(factor):
    row = np.random.default_rng(0).normal(size=(1, 100))
    found = duplicates(np.concatenate([row, row * factor, -row]), threshold=1.0)
    assert found.pairs.tolist() == [[0, 1]]
    assert found.similarity[0] == 1.0


def test_a_pair_below_float32s_resolution_of_the_threshold_is_told_apart():
    def at(cosine):
        return [cosine, math.sqrt(1 - cosine * cosine)]

    X = np.array([[1.0, 0.0], at(0.98 + 1e-9), [-1.0, 0.0], [-v for v in at(0.98 - 1e-9)]])
    assert duplicates(X, threshold=0.98).pairs.tolist() == [[0, 1]]


def test_one_far_outlier_does_not_blur_the_rest():
    X = clustered(0, 60, 8)
    X[0] = 1e9
    found = duplicates(X, threshold=0.5, metric="euclidean")
    want = looped_pairs(X, lambda a, b: math.dist(a, b) <= 0.5)
    assert [tuple(pair) for pair in found.pairs.tolist()] == want


def test_neighbours_of_another_library_are_measured_anew():
    X = clustered(1, 80, 5)
    apart, index = NearestNeighbors(n_neighbors=80, algorithm="brute").fit(X).kneighbors(X)
    ours, given_ = (
        duplicates(X, threshold=0.97),
        duplicates(X, threshold=0.97, neighbours=(index, apart)),
    )
    assert given_.pairs.tolist() == ours.pairs.tolist()
    few = duplicates(X, threshold=0.97, neighbours=([[1]] + [[-1]] * 79, np.zeros((80, 1))))
    assert few.pairs.tolist() in ([], [[0, 1]])


def test_too_many_pairs_are_refused_before_memory_is_gone():
    with pytest.raises(SizeError, match="more than 1,000 pairs"):
        duplicates(np.ones((100, 3)), max_pairs=1000)


def test_memory_does_not_grow_with_the_square_of_the_rows():
    X = np.random.default_rng(0).normal(size=(6000, 16)).astype(np.float32)
    tracemalloc.start()
    duplicates(X, threshold=0.999)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6000 * 6000  # a byte a pair; measured at 15 MB


def test_prints_groups_and_gives_a_table_of_members():
    found = duplicates([[1, 0], [0, 1], [2, 0], [0, 3], [1, 1], [5, 0]], threshold=0.99)
    assert str(found).startswith("2 groups of near duplicates, 5 of 6 rows (cosine >= 0.99)")
    table = found.to_table()
    assert table["group"].tolist() == [0, 0, 0, 1, 1]
    assert table["size"].tolist() == [3, 3, 3, 2, 2]
    assert {len(values) for values in table.values()} == {5}


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (1, 1)])
@pytest.mark.parametrize("metric", ["cosine", "euclidean", "columns"])
@pytest.mark.parametrize("threshold", [0.98, "slope", ("percentile", 90)])
def test_tables_without_pairs_have_none(shape, metric, threshold):
    found = duplicates(np.zeros(shape), threshold=threshold, metric=metric)
    assert found.group.tolist() == [-1] * shape[0]
    assert (len(found.pairs), len(found.sizes), len(found.members)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"X": [1.0, 2.0]}, r"X must have shape \(N, D\) .* got \(2,\)"),
        ({"X": np.zeros((5, 0))}, r"D >= 1, got \(5, 0\)"),
        ({"X": [["a"]]}, "real numbers"),
        ({"X": [[1.0], [np.nan], [np.inf]]}, r"2 rows \(1, 2\)"),
        ({"threshold": 1.5}, r"a cosine in \[-1, 1\].*got 1.5"),
        ({"threshold": float("nan")}, "got nan"),
        ({"threshold": True}, "got True"),
        ({"threshold": -1, "metric": "euclidean"}, "a distance of at least 0"),
        ({"threshold": "elbow"}, "got 'elbow'"),
        ({"threshold": ("percentile", 0)}, r"\(0, 100\], got 0"),
        ({"metric": "manhattan"}, "'manhattan'"),
        ({"neighbours": ([[0]], [[0.0]])}, r"\(2, k\)"),
        ({"neighbours": ([[0], [2]], [[0.0], [0.0]])}, "row numbers below 2"),
    ],
)
def test_says_what_came_and_what_would_do(arguments, words):
    with pytest.raises(SymphonyError, match=words):
        duplicates(**{"X": [[1.0], [2.0]], **arguments})

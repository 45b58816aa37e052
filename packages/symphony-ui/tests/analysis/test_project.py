import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from symphony_ui.analysis import project
from symphony_ui.analysis._reduce import principal
from symphony_ui.errors import SymphonyError


@given(seed=st.integers(0, 2**31), rows=st.integers(2, 40), dim=st.integers(1, 12))
def test_axes_are_orthonormal_sorted_and_of_fixed_sign(seed, rows, dim):
    X = np.random.default_rng(seed).normal(size=(rows, dim)) + 10
    found = principal(X, 12, 0, "a test")
    count = min(rows, dim)
    assert found.axes @ found.axes.T == pytest.approx(np.eye(count), abs=1e-9)
    assert (np.diff(found.variance) <= 1e-9).all()
    assert all(axis[np.abs(axis).argmax()] > 0 for axis in found.axes)
    assert found(X).var(axis=0, ddof=1) == pytest.approx(found.variance, abs=1e-9)


@given(seed=st.integers(0, 2**31))
def test_pca_is_that_of_the_singular_values(seed):
    X = np.random.default_rng(seed).normal(size=(30, 6)) * np.arange(1, 7)
    points = project(X)
    _, s, axes = np.linalg.svd(X - X.mean(axis=0))
    assert np.abs(points) == pytest.approx(np.abs((X - X.mean(axis=0)) @ axes[:2].T), abs=1e-8)
    assert np.linalg.norm(points, axis=0) == pytest.approx(s[:2])


def test_mirrored_data_gives_mirrored_points_up_to_the_fixed_sign():
    X = np.random.default_rng(0).normal(size=(50, 4))
    assert project(-X) == pytest.approx(-project(X), abs=1e-9)


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (2, 3), (3, 1), (5, 1), (1, 1)])
@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_any_table_has_two_coordinates(shape, method):
    points = project(np.arange(np.prod(shape), dtype=float).reshape(shape), method=method)
    assert points.shape == (shape[0], 2)
    assert np.isfinite(points).all()


def test_tsne_is_repeatable_and_keeps_far_groups_apart():
    random = np.random.default_rng(0)
    X = np.concatenate([random.normal(size=(40, 50)), random.normal(size=(40, 50)) + 10])
    points = project(X, method="tsne", seed=3)
    assert np.array_equal(points, project(X, method="tsne", seed=3))
    first, second = points[:40], points[40:]
    within = np.linalg.norm(first - first.mean(axis=0), axis=1).max()
    assert np.linalg.norm(first.mean(axis=0) - second.mean(axis=0)) > within


def test_a_function_projects():
    X = np.random.default_rng(0).normal(size=(5, 3))
    assert np.array_equal(project(X, method=lambda rows: rows[:, :2]), X[:, :2])
    with pytest.raises(SymphonyError, match=r"shape \(5, 2\), got \(5, 3\)"):
        project(X, method=lambda rows: rows)


def test_says_which_methods_there_are():
    with pytest.raises(SymphonyError, match="'pca', 'umap', 'tsne' or a function, got 'mds'"):
        project(np.ones((5, 2)), method="mds")

"""The notes' properties P2 to P6 of the area, and the onset."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vpsa_fair import chance_corrected, normalized_auc, onset_level
from vpsa_fair.curves import trapezoid_weights


@st.composite
def grids(draw):
    steps = draw(st.lists(st.floats(0.01, 10), min_size=1, max_size=12))
    return np.concatenate([[0.0], np.cumsum(steps)])


@st.composite
def curves(draw):
    grid = draw(grids())
    values = draw(st.lists(st.floats(0, 1), min_size=len(grid), max_size=len(grid)))
    return grid, np.array(values)


def test_the_area_of_the_notes_example():
    assert float(normalized_auc([0, 1, 4], [1, 0.5, 0.5])) == 0.5625


@given(grid=grids(), c=st.floats(0, 1))
def test_a_constant_response_is_its_own_area(grid, c):
    assert float(normalized_auc(grid, np.full(len(grid), c))) == pytest.approx(c, abs=1e-12)


@given(grid=grids(), a=st.floats(-1, 1), b=st.floats(-1, 1))
def test_an_affine_response_is_exact(grid, a, b):
    u = grid / grid[-1]
    assert float(normalized_auc(grid, a + b * u)) == pytest.approx(a + b / 2, abs=1e-12)


@given(curves())
def test_the_area_lies_between_the_extremes_and_equals_the_loop(curve):
    grid, r = curve
    u = grid / grid[-1]
    want = sum((u[i + 1] - u[i]) * (r[i] + r[i + 1]) / 2 for i in range(len(u) - 1))
    area = float(normalized_auc(grid, r))
    assert area == pytest.approx(want, abs=1e-12)
    assert r.min() - 1e-12 <= area <= r.max() + 1e-12


@given(curves(), st.floats(0.1, 0.9), st.integers(0, 10))
def test_a_level_on_the_chord_changes_nothing(curve, share, where):
    grid, r = curve
    k = where % (len(grid) - 1)
    s = grid[k] + share * (grid[k + 1] - grid[k])
    v = r[k] + share * (r[k + 1] - r[k])
    finer = normalized_auc(np.insert(grid, k + 1, s), np.insert(r, k + 1, v))
    assert float(finer) == pytest.approx(float(normalized_auc(grid, r)), abs=1e-9)


@given(curves(), st.floats(0.01, 100))
def test_the_unit_of_the_stimulus_does_not_matter(curve, scale):
    grid, r = curve
    scaled = normalized_auc(grid * scale, r)
    assert float(scaled) == pytest.approx(float(normalized_auc(grid, r)), abs=1e-9)


def test_a_convex_falling_curve_is_overestimated():
    u = np.linspace(0, 1, 6)
    assert float(normalized_auc(u, np.exp(-3 * u))) > (1 - np.exp(-3)) / 3


def test_a_log_axis_weighs_weak_levels_more():
    levels, r = [0.0, 1.0, 3.0, 7.0], [1.0, 1.0, 0.0, 0.0]
    assert normalized_auc(levels, r, axis="log") > normalized_auc(levels, r)
    assert float(normalized_auc(levels, r, axis="log")) == pytest.approx(0.5)


def test_many_curves_are_one_product():
    r = np.random.default_rng(0).random((3, 4, 5))
    out = normalized_auc([0, 1, 2, 3, 4], r)
    assert out.shape == (3, 4)
    assert out[2, 1] == pytest.approx(float(normalized_auc([0, 1, 2, 3, 4], r[2, 1])))


def test_weights_of_points_that_do_not_increase_are_refused():
    with pytest.raises(ValueError, match="increasing"):
        trapezoid_weights([0.0, 0.5, 0.5])


@pytest.mark.parametrize("response", [[1.0], 1.0, np.ones((3, 2))])
def test_a_response_of_another_length_is_refused(response):
    with pytest.raises(ValueError, match="response must be"):
        normalized_auc([0, 1, 2], response)


@given(st.floats(0, 1), st.floats(0, 0.9))
def test_guessing_is_zero_and_perfection_one(area, chance):
    assert float(chance_corrected(chance, chance)) == pytest.approx(0, abs=1e-12)
    assert float(chance_corrected(1.0, chance)) == pytest.approx(1)
    back = float(chance_corrected(area, chance)) * (1 - chance) + chance
    assert back == pytest.approx(area, abs=1e-12)


def test_the_onset_is_where_the_chord_crosses():
    assert onset_level([0, 1, 3], [1.0, 0.8, 0.4], epsilon=0.4) == pytest.approx(2.0)
    assert onset_level([1.0, 0.6, 0.2], [1.0, 1.0, 0.0], epsilon=0.5) == pytest.approx(0.4)


def test_a_recovery_hides_no_onset_and_a_flat_curve_has_none():
    assert onset_level([0, 1, 2], [1.0, 0.5, 1.0], epsilon=0.25) == pytest.approx(0.5)
    assert np.isnan(onset_level([0, 1, 2], [0.9, 0.9, 0.9]))


def test_the_crossing_is_that_of_the_running_minimum():
    """From .9, not from the recovery to 1: a level later cannot be stronger than one before."""
    assert onset_level([0, 1, 2, 3], [1.0, 0.9, 1.0, 0.5], epsilon=0.25) == pytest.approx(2.375)


def test_half_performance_counts_from_chance():
    assert onset_level([0, 1], [1.0, 0.5], epsilon=0.5, floor=0.5) == pytest.approx(0.5)
    assert np.isnan(onset_level([0, 1], [0.5, 0.4], epsilon=0.5, floor=0.5))


@given(curves(), st.floats(0.05, 0.9))
def test_the_onset_comes_later_for_a_larger_loss(curve, epsilon):
    grid, r = curve
    early, late = (onset_level(grid, r, epsilon=e) for e in (epsilon / 2, epsilon))
    assert np.isnan(late) or early <= late + 1e-9


@pytest.mark.parametrize("epsilon", [0.0, 1.5])
def test_a_share_outside_of_its_range_is_refused(epsilon):
    with pytest.raises(ValueError, match="epsilon"):
        onset_level([0, 1], [1, 0], epsilon=epsilon)

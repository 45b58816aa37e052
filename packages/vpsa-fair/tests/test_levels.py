import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vpsa_fair.errors import LevelError
from vpsa_fair.levels import Levels, as_levels, linear, log

positive = st.floats(0.01, 100)


@given(low=positive, span=positive, count=st.integers(2, 20))
def test_a_linear_grid_is_equally_spaced_on_its_axis(low, span, count):
    places = linear(low, low + span, count).positions()
    assert places[-1] == 1
    np.testing.assert_allclose(np.diff(places), span / (count - 1) / (low + span), rtol=1e-6)


@given(low=positive, span=positive, count=st.integers(2, 20))
def test_a_logarithmic_grid_is_equally_spaced_on_its_axis(low, span, count):
    levels = log(low, low + span, count)
    assert levels.values[0] == low
    assert levels.values[-1] == low + span
    steps = np.diff(levels.positions())
    np.testing.assert_allclose(steps, steps[0], rtol=1e-5)
    expected = np.log10(1 + low) / np.log10(1 + low + span)
    assert levels.positions()[0] == pytest.approx(expected)


@given(grid=st.sampled_from([linear, log]), top=positive)
def test_stretching_a_grid_moves_the_levels_and_not_their_positions(grid, top):
    levels = grid(1, 16, 5)
    stretched = levels.up_to(top)
    assert stretched.values[-1] == top
    assert stretched.axis == levels.axis
    np.testing.assert_allclose(stretched.positions(), levels.positions(), rtol=1e-9)


def test_a_grid_of_one_level_is_its_high_end():
    assert linear(1, 5, 1).values == (5.0,)
    assert log(1, 5, 1).values == (5.0,)


def test_a_sequence_becomes_a_linear_grid():
    assert as_levels([1, 2]) == Levels((1.0, 2.0))
    assert as_levels(log(1, 2, 2)).axis == "log"


@pytest.mark.parametrize("values", [(), (0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (1.0, float("inf"))])
def test_says_which_levels_are_no_grid(values):
    with pytest.raises(LevelError, match=r"levels must be"):
        Levels(values)


@pytest.mark.parametrize(("low", "high", "count"), [(0, 1, 2), (2, 1, 2), (1, 1, 2), (1, 2, 0)])
def test_says_which_range_is_none(low, high, count):
    for grid in (linear, log):
        with pytest.raises(LevelError, match=f"low={low}, high={high}, count={count}"):
            grid(low, high, count)


def test_says_which_axis_is_none():
    with pytest.raises(LevelError, match="'cubic'"):
        Levels((1.0,), "cubic")
    with pytest.raises(LevelError, match="got -1"):
        linear(1, 2, 2).up_to(-1)

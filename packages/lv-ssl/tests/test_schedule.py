from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lv_ssl import anneal, warm_up


@given(steps=st.integers(0, 50), target=st.floats(0, 10))
def test_warm_up_never_falls_and_ends_at_its_target(steps, target):
    values = [warm_up(step, target=target, steps=steps) for step in range(steps + 3)]
    assert values == sorted(values)
    assert values[-1] == target
    if steps:
        assert values[0] == 0


@given(start=st.floats(0.1, 5), end=st.floats(0.1, 5), steps=st.integers(1, 50))
def test_annealing_goes_from_start_to_end_by_a_constant_factor(start, end, steps):
    values = [anneal(step, start=start, end=end, steps=steps) for step in range(steps + 2)]
    assert values[0] == start
    assert values[-1] == values[-2] == pytest.approx(end)
    factor = (end / start) ** (1 / steps)
    assert all(b / a == pytest.approx(factor) for a, b in pairwise(values[:-1]))


def test_refuse_what_is_no_schedule():
    with pytest.raises(ValueError, match="step must be at least 0"):
        warm_up(-1, target=1.0, steps=3)
    with pytest.raises(ValueError, match="end must be positive"):
        anneal(0, start=1.0, end=0.0, steps=3)

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from randaug_study import curricula
from randaug_study.curricula import LossDriven, Schedule

MATCHED = {
    "constant": curricula.constant,
    "up": curricula.up,
    "down": curricula.down,
    "cosine": curricula.cosine,
    "cosine down": lambda mean: curricula.cosine(mean, rising=False),
    "step": lambda mean: curricula.step(mean, steps=5),
    "step down": lambda mean: curricula.step(mean, steps=2, rising=False),
    "sawtooth": lambda mean: curricula.sawtooth(mean, cycles=3),
    "sawtooth down": lambda mean: curricula.sawtooth(mean, cycles=7, rising=False),
}
matched = pytest.mark.parametrize("make", MATCHED.values(), ids=MATCHED)


def midpoint(schedule, a, b, n=5_000):
    """The integral as a sum of rectangles."""
    return sum(schedule(a + (b - a) * (i + 0.5) / n) for i in range(n)) * (b - a) / n


@matched
@given(mean=st.floats(0, 30), epochs=st.integers(1, 300))
def test_a_matched_schedule_keeps_its_mean_over_training_and_over_any_number_of_epochs(
    make, mean, epochs
):
    schedule = make(mean)
    assert schedule.mean == pytest.approx(mean, abs=1e-9)
    assert sum(schedule.over(epochs)) / epochs == pytest.approx(mean, abs=1e-9)


@matched
@given(mean=st.floats(0, 30), t=st.floats(-2, 3))
def test_values_stay_within_the_bins(make, mean, t):
    schedule = make(mean)
    assert 0 <= schedule(t) <= 30
    assert all(0 <= value <= 30 for value in schedule.over(11))


@matched
@pytest.mark.parametrize("mean", [0.0, 9.0, 22.5])
@pytest.mark.parametrize("t", [0.1, 0.37, 0.5, 1.0])
def test_the_integral_is_the_sum_of_rectangles(make, mean, t):
    schedule = make(mean)
    assert schedule.integral(t) == pytest.approx(midpoint(schedule, 0, t), abs=1e-2)


@given(mean=st.floats(0, 30), t=st.floats(0, 1))
def test_down_is_up_backwards(mean, t):
    assert curricula.down(mean)(t) == pytest.approx(curricula.up(mean)(1 - t), abs=1e-9)


def test_shapes_are_what_their_names_say():
    up, cosine = curricula.up(9), curricula.cosine(9)
    assert (up(0), up(1)) == (0, 18)
    assert (cosine(0), cosine(0.5), cosine(1)) == (0, pytest.approx(9), 18)
    assert cosine(0.25) < up(0.25)
    assert cosine(0.75) > up(0.75)
    step = curricula.step(9, steps=3)
    assert [step(t) for t in (0, 0.33, 0.34, 0.66, 0.67, 1)] == [0, 0, 9, 9, 18, 18]
    saw = curricula.sawtooth(9, cycles=2)
    assert [saw(t) for t in (0, 0.25, 0.5, 0.75)] == [0, 9, 0, 9]
    assert saw(0.4999) == pytest.approx(18, abs=0.01)
    assert saw(1) == 18


def test_a_mean_above_the_middle_keeps_its_mean_by_a_shorter_ramp():
    assert str(curricula.up(20)) == "linear 10 to 30 (mean 20)"
    assert curricula.up(30)(0) == 30


def test_the_left_ends_of_epochs_would_miss_the_mean():
    schedule = curricula.up(9)
    assert sum(schedule(i / 10) for i in range(10)) / 10 == pytest.approx(8.1)
    assert sum(schedule.over(10)) / 10 == pytest.approx(9)


def test_a_beta_may_be_negative():
    beta = curricula.linear(-1, 3)
    assert beta(0) == -1
    assert beta.mean == 1
    assert beta(5) == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Schedule("zigzag", 0, 1), "one of constant, linear"),
        (lambda: curricula.up(31), r"\[0, 30\], got 31"),
        (lambda: curricula.up(-1), "got -1"),
        (lambda: curricula.up(math.nan), "got nan"),
        (lambda: Schedule("linear", 0, 40, bounds=(0, 30)), r"from 0 to 40 leaves \[0, 30\]"),
        (lambda: curricula.step(9, steps=1), "at least 2, got 1"),
        (lambda: curricula.sawtooth(9, cycles=0), "at least 1, got 0"),
        (lambda: curricula.up(9).over(0), "at least 1, got 0"),
        (lambda: curricula.up(9)(math.nan), "NaN"),
        (lambda: LossDriven(31, easy=1), r"\[0, 30\], got 31"),
        (lambda: LossDriven(3, easy=1, hard=0.5), "must not be below easy"),
        (lambda: LossDriven(3, easy=1, stride=0), "positive, got 0"),
    ],
)
def test_says_what_came_and_what_would_do(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_loss_driven_rises_when_easy_and_falls_when_hard():
    schedule = LossDriven(5, easy=0.5, hard=1.0, stride=2)
    assert [schedule.update(loss) for loss in (0.4, 0.5, 0.7, 1.0, 1.1)] == [7, 7, 7, 7, 5]
    assert schedule.history == [5, 7, 7, 7, 7]
    assert schedule.mean == pytest.approx(6.6)
    assert schedule(0.3) == 5


def test_loss_driven_is_clamped_into_the_bins():
    schedule = LossDriven(29.5, easy=0.5, hard=1.0)
    assert schedule.update(0.0) == 30
    low = LossDriven(0.5, easy=0.5, hard=1.0)
    assert low.update(2.0) == 0


def test_the_table_is_the_curve():
    table = curricula.up(9).to_table(points=5)
    assert table == {"t": [0, 0.25, 0.5, 0.75, 1], "value": [0, 4.5, 9, 13.5, 18]}

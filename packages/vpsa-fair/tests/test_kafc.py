import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vpsa_fair.kafc import kafc


def looped(genuine, impostor, k):
    """All sets of distractors; equal scores share the choice."""
    total = []
    for chosen in itertools.combinations(impostor, k - 1):
        best = max(chosen)
        tied = sum(score == best for score in chosen)
        total.append(0 if best > genuine else 1 / (1 + tied) if best == genuine else 1)
    return np.mean(total)


score = st.integers(-3, 3).map(float)


@given(genuine=score, impostor=st.lists(score, min_size=1, max_size=7), data=st.data())
def test_equals_the_mean_over_all_sets_of_distractors(genuine, impostor, data):
    k = data.draw(st.integers(2, len(impostor) + 1))
    want = looped(genuine, impostor, k)
    assert kafc(np.array([genuine]), np.array(impostor), k)[0] == pytest.approx(want, abs=1e-12)
    assert kafc(np.array([genuine]), np.array([impostor]), k)[0] == pytest.approx(want, abs=1e-12)


@given(
    genuine=st.lists(score, min_size=1, max_size=8),
    impostor=st.lists(score, min_size=1, max_size=30),
)
def test_two_alternatives_are_the_area_under_the_roc_curve(genuine, impostor):
    wins = [(g > i) + 0.5 * (g == i) for g in genuine for i in impostor]
    got = kafc(np.array(genuine), np.array(impostor), 2).mean()
    assert got == pytest.approx(np.mean(wins), abs=1e-12)


@given(genuine=st.floats(-1, 1), impostor=st.lists(st.floats(-1, 1), min_size=1, max_size=30))
def test_all_alternatives_are_rank_one_and_more_are_never_easier(genuine, impostor):
    n = len(impostor)
    curve = [kafc(np.array([genuine]), np.array(impostor), k)[0] for k in range(2, n + 2)]
    tied = sum(i == genuine for i in impostor)
    beaten = any(i > genuine for i in impostor)
    assert curve[-1] == pytest.approx(0 if beaten else 1 / (1 + tied), abs=1e-12)
    assert (np.diff(curve) <= 1e-12).all()


def test_drawing_gives_the_same_within_four_standard_errors():
    generator = np.random.default_rng(0)
    impostor, k, draws = generator.normal(size=60), 5, 100_000  # one seed
    exact = kafc(np.array([1.0]), impostor, k)[0]
    chosen = generator.random((draws, 60)).argpartition(k - 1, axis=1)[:, : k - 1]
    drawn = (impostor[chosen].max(1) < 1.0).mean()
    assert abs(drawn - exact) < 4 * np.sqrt(exact * (1 - exact) / draws)
    with_replacement = (impostor < 1.0).mean() ** (k - 1)  # the predecessor's defect is seen
    assert abs(with_replacement - exact) > 4 * np.sqrt(exact * (1 - exact) / draws)


def test_many_distractors_do_not_overflow():
    impostor = np.linspace(0, 1, 20_001)[:-1]
    got = kafc(np.array([0.5, 0.99993, 2.0]), impostor, 10_000)
    assert got[0] == 0
    assert got[1] == pytest.approx(1 - 9999 / 20000, abs=1e-9)
    assert got[2] == 1


@pytest.mark.parametrize("k", [1, 5])
def test_says_how_many_alternatives_there_can_be(k):
    with pytest.raises(ValueError, match=f"k must be from 2 to 4, for 3 distractors, got {k}"):
        kafc(np.zeros(1), np.zeros(3), k)


def test_says_which_shapes_came():
    with pytest.raises(ValueError, match=r"\(2,\) and \(3, 4\)"):
        kafc(np.zeros(2), np.zeros((3, 4)), 2)

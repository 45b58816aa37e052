import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vpsa_fair.errors import DataError
from vpsa_fair.population import Population
from vpsa_fair.scores import prepared, tile
from vpsa_fair.shepherd import shepherd
from vpsa_fair.verification import Verification


def greedy(scores, own, threshold):
    """The predecessor's walk, one image at a time."""
    n = len(scores)
    conflict = [
        [i != j and (scores[i, j] >= threshold) != own[i, j] for j in range(n)] for i in range(n)
    ]
    order = sorted(range(n), key=lambda i: -sum(conflict[i]))
    kept = set(range(n))
    for i in order:
        if any(conflict[i][j] for j in kept):
            kept.discard(i)
    return kept


@given(n=st.integers(4, 14), seed=st.integers(0, 999))
def test_no_threshold_between_two_scores_drops_fewer(n, seed):
    generator = np.random.default_rng(seed)
    clean = generator.integers(-2, 3, (n, 2)).astype(float)
    identity = generator.integers(0, 4, n)
    found = shepherd(clean, identity, similarity="euclidean")
    scores = tile(*[prepared(clean, "euclidean")] * 2, "euclidean")
    own = identity[:, None] == identity[None]
    values = np.unique(scores)
    places = [*(values[:-1] + values[1:]) / 2, values[0] - 1, values[-1] + 1]
    fewest = min(n - len(greedy(scores, own, place)) for place in places)
    assert (~found.kept).sum() <= fewest + 1  # the greedy walk is not monotone between kinds
    assert set(np.flatnonzero(found.kept)) == greedy(scores, own, found.threshold)


def test_the_kept_images_match_without_error():
    generator = np.random.default_rng(0)
    centres = np.repeat(generator.normal(size=(30, 8)), 3, 0)
    clean = centres + 0.4 * generator.normal(size=centres.shape)
    population = Population.of(np.repeat(np.arange(30), 3))
    frozen = Verification("shepherd").freeze(clean, population)
    for hits, trials in frozen.count(clean).values():
        assert (hits == trials).all()
        assert trials.sum() > 0
    found = shepherd(clean, population.identity)
    assert found.threshold == pytest.approx(frozen.threshold)
    assert 0 < (~found.kept).sum() < 60
    assert f"{(~found.kept).sum()} of 90 images dropped" in str(found)
    with_few = shepherd(clean, population.identity, candidates=8)
    assert (~with_few.kept).sum() <= (~found.kept).sum() + 3


def test_says_how_many_images_it_takes():
    with pytest.raises(DataError, match="2 to 8192 images, got 1"):
        shepherd(np.ones((1, 2)), np.array([0]))

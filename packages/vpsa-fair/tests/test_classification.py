import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vpsa_fair.classification import Classification
from vpsa_fair.errors import DataError, ModelError
from vpsa_fair.population import Population


@given(n=st.integers(1, 30), classes=st.integers(2, 5), seed=st.integers(0, 999))
def test_counts_are_those_of_a_loop_and_equal_scores_share_the_trial(n, classes, seed):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, n)
    scores = generator.integers(0, 3, (n, classes)).astype(float)
    population = Population.of(generator.integers(0, 4, n))
    hits = np.zeros(len(population.names))
    for i in range(n):
        best = [c for c in range(classes) if scores[i, c] == max(scores[i])]
        hits[population.identity[i]] += (labels[i] in best) / len(best)
    frozen = Classification(labels).freeze(scores, population)
    got = frozen.count(scores)["correct"]
    np.testing.assert_allclose(got[0], hits)
    np.testing.assert_array_equal(got[1], np.bincount(population.identity))
    assert frozen.chance == 1 / classes


def test_says_which_labels_and_scores_do_not_fit():
    images = Population.of(list("abc"))
    scores = np.zeros((3, 2))
    with pytest.raises(DataError, match=r"labels must be \(3,\), got \(2,\)"):
        Classification([0, 1]).freeze(scores, images)
    with pytest.raises(DataError, match="whole numbers from 0, got int64 from -1"):
        Classification([0, 1, -1]).freeze(scores, images)
    with pytest.raises(DataError, match="got float64"):
        Classification([0, 1, 0.5]).freeze(scores, images)
    with pytest.raises(ModelError, match="at least 3 classes, it scores 2"):
        Classification([0, 1, 2]).freeze(scores, images)

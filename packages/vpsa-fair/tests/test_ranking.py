import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vpsa_fair.errors import DataError
from vpsa_fair.kafc import kafc
from vpsa_fair.population import Population
from vpsa_fair.ranking import ForcedChoice, Identification


@st.composite
def situations(draw):
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, size = draw(st.integers(6, 24)), draw(st.integers(3, 6))
    identity = np.concatenate([[0, 1, 2, 0, 0], generator.integers(0, size, n - 5)])
    tones = generator.integers(0, 2, size)
    keys = [bytes([k]) for k in generator.integers(0, n, n)]
    keys[0], keys[3] = b"one", b"two"
    population = Population.of(identity, {"tone": ["xy"[tones[i]] for i in identity]}, keys)
    clean, probes = generator.integers(-2, 3, (2, n, 2)).astype(float)
    return population, clean, probes


def is_trial(population, pairs, i, j):
    """Whether clean image i is a right answer for probe j."""
    if pairs == "same-image":
        return i == j
    same = population.identity[i] == population.identity[j]
    return same and population.image[i] != population.image[j]


@given(
    situation=situations(),
    rank=st.integers(1, 2),
    pairs=st.sampled_from(["cross-image", "same-image"]),
)
def test_identification_equals_a_loop_over_probes_and_identities(situation, rank, pairs):
    population, clean, probes = situation
    n, size = len(population), len(population.names)
    hits, trials = np.zeros(size), np.zeros(size)
    for j in range(n):
        best = {}
        for i in range(n):
            who = population.identity[i]
            if who == population.identity[j] and not is_trial(population, pairs, i, j):
                continue
            score = -np.sum((clean[i] - probes[j]) ** 2)
            best[who] = max(best.get(who, -np.inf), score)
        mine = population.identity[j]
        if mine not in best:
            continue
        above = sum(value > best[mine] for value in best.values())
        tied = sum(value == best[mine] for value in best.values())
        hits[mine] += np.mean([place < rank for place in range(above, above + tied)])
        trials[mine] += 1
    frozen = Identification(rank=rank, pairs=pairs, similarity="euclidean").freeze(
        clean, population
    )
    got = frozen.count(probes)[f"rank-{rank}"]
    np.testing.assert_allclose(got[0], hits, atol=1e-12)
    np.testing.assert_array_equal(got[1], trials)
    assert frozen.chance == rank / size


@given(
    situation=situations(),
    k=st.integers(2, 3),
    pairs=st.sampled_from(["cross-image", "same-image"]),
    impostors=st.sampled_from(["all", "within"]),
)
def test_forced_choice_equals_a_loop_over_genuine_pairs(situation, k, pairs, impostors):
    population, clean, probes = situation
    n, size = len(population), len(population.names)
    tone = population.groups["tone"][population.identity]
    want = {f"{k}-AFC": np.zeros((2, size))}
    if impostors == "within":
        want[f"{k}-AFC@tone"] = np.zeros((2, size))
    for i in range(n):
        for j in range(n):
            if is_trial(population, pairs, i, j):
                score = -np.sqrt(np.sum((clean - probes[j]) ** 2, 1).astype(np.float32))
                others = population.identity != population.identity[j]
                for name, counts in want.items():
                    pool = others & (tone == tone[j]) if "@" in name else others
                    if pool.sum() >= k - 1:
                        right = kafc(score[[i]], score[pool], k)[0]
                        counts[:, population.identity[j]] += (right, 1)
    protocol = ForcedChoice(k=k, pairs=pairs, impostors=impostors, similarity="euclidean")
    got = protocol.freeze(clean, population, ["tone"]).count(probes)
    assert set(got) == set(want)
    for name in want:
        np.testing.assert_allclose(got[name][0], want[name][0], atol=1e-12)
        np.testing.assert_array_equal(got[name][1], want[name][1])


def test_a_model_that_says_nothing_has_the_response_of_chance():
    population = Population.of(np.repeat(np.arange(10), 3))
    same = np.ones((30, 4))
    for protocol in (Identification(), Identification(rank=3), ForcedChoice(), ForcedChoice(k=20)):
        frozen = protocol.freeze(same, population)
        hits, trials = frozen.count(same)[frozen.response[0]]
        assert hits.sum() / trials.sum() == pytest.approx(frozen.chance)


def test_more_probes_than_a_block_are_all_counted():
    generator = np.random.default_rng(0)
    population = Population.of(np.repeat(np.arange(100), 3))
    clean = np.repeat(generator.normal(size=(100, 8)), 3, 0) + 0.01 * generator.normal(
        size=(300, 8)
    )
    for protocol, trials in ((Identification(), 300), (ForcedChoice(k=50), 600)):
        frozen = protocol.freeze(clean, population)
        counted = frozen.count(clean)[frozen.response[0]]
        assert counted[0].sum() == pytest.approx(trials)
        assert counted[1].sum() == trials
        assert frozen.response[0] in frozen.description


def test_says_what_is_missing():
    clean = np.random.default_rng(0).normal(size=(4, 3))
    with pytest.raises(DataError, match="rank 2 needs more identities, there are 2"):
        Identification(rank=2).freeze(clean, Population.of(list("aabb")))
    with pytest.raises(DataError, match="no genuine pair"):
        Identification().freeze(clean, Population.of(list("abcd")))
    with pytest.raises(DataError, match="4-AFC needs 3 distractors, there are 2"):
        ForcedChoice(k=4).freeze(clean, Population.of(list("aabb")))
    with pytest.raises(ValueError, match="k must be at least 2, got 1"):
        ForcedChoice(k=1)
    with pytest.raises(ValueError, match="rank must be at least 1, got 0"):
        Identification(rank=0)
    with pytest.raises(ValueError, match="'across'"):
        ForcedChoice(impostors="across")
    with pytest.raises(ValueError, match="'other'"):
        Identification(pairs="other")

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vpsa_fair.errors import DataError
from vpsa_fair.pairs import PairList
from vpsa_fair.population import Population


@given(
    n=st.integers(4, 12), count=st.integers(1, 40), seed=st.integers(0, 999),
    impostors=st.sampled_from(["within", "across", "all"]),
    side=st.sampled_from(["probe", "both"]), squared=st.integers(0, 9),
)  # fmt: skip
def test_counts_are_those_of_a_loop_over_the_list(n, count, seed, impostors, side, squared):
    generator = np.random.default_rng(seed)
    identity, tones = generator.integers(0, 4, n), generator.integers(0, 2, 4)
    population = Population.of(identity, {"tone": ["xy"[tones[i]] for i in identity]})
    clean, probes = generator.integers(-2, 3, (2, n, 2)).astype(float)
    a, b = generator.integers(0, n, (2, count))
    same = identity[a] == identity[b]
    size = len(population.names)
    names = ["genuine", "impostor", *(["impostor@tone"] if impostors != "all" else [])]
    want = {name: np.zeros((2, size)) for name in names}
    for i, j, genuine in zip(a, b, same, strict=True):
        left = probes[i] if side == "both" else clean[i]
        match = np.sum((left - probes[j]) ** 2) <= squared
        one, two = population.identity[i], population.identity[j]
        if genuine:
            want["genuine"][:, one] += (match, 1)
            continue
        alike = population.groups["tone"][one] == population.groups["tone"][two]
        for who in (one, two):
            want["impostor"][:, who] += (not match, 1)
            if impostors != "all" and alike == (impostors == "within"):
                want["impostor@tone"][:, who] += (not match, 1)
    distance = float(np.sqrt(np.float32(squared)))
    protocol = PairList(
        a, b, same, distance, impostors=impostors, side=side, similarity="euclidean"
    )
    frozen = protocol.freeze(clean, population, ["tone"])
    got = frozen.count(probes)
    assert set(got) == set(want)
    for name in want:
        np.testing.assert_array_equal(got[name][0], want[name][0])
        np.testing.assert_array_equal(got[name][1], want[name][1])
    assert frozen.order == {name: 2 for name in names if name != "genuine"}


@pytest.mark.parametrize("threshold", ["accuracy", "fmr"])
def test_the_threshold_comes_from_the_clean_pairs_of_the_list(threshold):
    generator = np.random.default_rng(0)
    identity = np.repeat(np.arange(30), 2)
    clean = np.repeat(generator.normal(size=(30, 8)), 2, 0) + 0.2 * generator.normal(size=(60, 8))
    a = np.concatenate([np.arange(0, 60, 2), np.arange(0, 60, 2)])
    b = np.concatenate([np.arange(1, 60, 2), (np.arange(0, 60, 2) + 7) % 60])
    population = Population.of(identity)
    protocol = PairList(a, b, identity[a] == identity[b], threshold, fmr=0.1)
    frozen = protocol.freeze(clean, population)
    unit = clean / np.linalg.norm(clean, axis=1, keepdims=True)
    scores = (unit[a] * unit[b]).sum(1)
    match = scores >= frozen.threshold
    same = identity[a] == identity[b]
    tally = frozen.count(clean)
    assert tally["genuine"][0].sum() == match[same].sum()
    assert tally["impostor"][0].sum() == 2 * (~match[~same]).sum()
    if threshold == "fmr":
        assert match[~same].sum() == 3
    else:
        assert match[same].mean() + (~match[~same]).mean() > 1.9
    assert "60 pairs" in frozen.description


def test_says_which_pair_is_wrong():
    population, clean = Population.of(list("aab")), np.eye(3)
    with pytest.raises(DataError, match=r"pair 1 \(0, 2, True\) names an identity that"):
        PairList([0, 0], [1, 2], [True, True], 0.5).freeze(clean, population)
    with pytest.raises(DataError, match=r"pair 0 \(0, 3, True\) names no image of the data"):
        PairList([0], [3], [True], 0.5).freeze(clean, population)
    with pytest.raises(DataError, match="got 1, 2 and 1"):
        PairList([0], [1, 2], [True])
    with pytest.raises(ValueError, match="'shepherd'"):
        PairList([0], [1], [True], "shepherd")
    with pytest.raises(ValueError, match="'some'"):
        PairList([0], [1], [True], impostors="some")

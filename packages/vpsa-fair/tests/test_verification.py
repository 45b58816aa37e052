import subprocess
import sys
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vpsa_fair import matching, scores
from vpsa_fair.errors import DataError, ModelError, ResolutionWarning
from vpsa_fair.population import Population
from vpsa_fair.verification import Verification


def labels_of(population, grouping):
    parts = [grouping] if isinstance(grouping, str) else grouping
    return [
        " x ".join(str(population.groups[p][i]) for p in parts)
        for i in range(len(population.names))
    ]


def looped(protocol, clean, probes, population, groupings, tau):
    """Every pair by itself: slow, and obviously right. Distances are of whole numbers."""
    n, size = len(population), len(population.names)
    gallery = probes if protocol.side == "both" else clean
    tally = {"genuine": np.zeros((2, size)), "impostor": np.zeros((2, size))}
    own = {} if protocol.impostors == "all" else {q: labels_of(population, q) for q in groupings}
    for q in own:
        tally[f"impostor@{q if isinstance(q, str) else ' x '.join(q)}"] = np.zeros((2, size))
    for i in range(n):
        for j in range(n):
            match = -np.sqrt(np.sum((gallery[i] - probes[j]) ** 2, dtype=np.float32)) >= tau
            a, b = population.identity[i], population.identity[j]
            if a == b:
                if protocol.pairs == "same-image":
                    trial = i == j
                else:
                    trial = i != j and population.image[i] != population.image[j]
                if trial:
                    tally["genuine"][:, a] += (match, 1)
                continue
            for who in (a, b):
                tally["impostor"][:, who] += (not match, 1)
                for q, labels in own.items():
                    key = f"impostor@{q if isinstance(q, str) else ' x '.join(q)}"
                    if (labels[a] == labels[b]) == (protocol.impostors == "within"):
                        tally[key][:, who] += (not match, 1)
    return tally


@st.composite
def situations(draw):
    """Whole-number embeddings, so that distances tie often and are exact."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, size = draw(st.integers(4, 24)), draw(st.integers(2, 6))
    identity = np.concatenate([[0, 1, 0], generator.integers(0, size, n - 3)])
    tones, ages = generator.integers(0, 3, size), generator.integers(0, 2, size)
    keys = [bytes([k]) for k in generator.integers(0, n, n)]
    keys[0], keys[2] = b"one", b"two"
    population = Population.of(
        identity,
        {"tone": ["xyz"[tones[i]] for i in identity], "age": ["ab"[ages[i]] for i in identity]},
        keys,
    )
    clean = generator.integers(-2, 3, (n, 3)).astype(np.float64)
    probes = generator.integers(-2, 3, (n, 3)).astype(np.float64)
    return population, clean, probes


@given(
    situation=situations(),
    impostors=st.sampled_from(["within", "across", "all"]),
    pairs=st.sampled_from(["cross-image", "same-image"]),
    side=st.sampled_from(["probe", "both"]),
    squared=st.integers(0, 20),
)
def test_counts_are_those_of_loops_over_pairs_ties_at_the_threshold_included(
    situation, impostors, pairs, side, squared
):
    population, clean, probes = situation
    side = "probe" if pairs == "same-image" else side
    distance = float(np.sqrt(np.float32(squared)))  # many pairs lie exactly there
    protocol = Verification(
        distance, similarity="euclidean", impostors=impostors, pairs=pairs, side=side
    )
    groupings = ["tone", ("tone", "age")]
    frozen = protocol.freeze(clean, population, groupings)
    got = frozen.count(probes)
    want = looped(protocol, clean, probes, population, groupings, np.float32(-distance))
    assert set(got) == set(want)
    for name, (hits, trials) in got.items():
        np.testing.assert_array_equal(hits, want[name][0], err_msg=name)
        np.testing.assert_array_equal(trials, want[name][1], err_msg=name)
    assert frozen.order == {name: 2 for name in got if name != "genuine"}


def test_small_tiles_count_the_same(monkeypatch):
    generator = np.random.default_rng(0)
    population = Population.of(generator.integers(0, 9, 50), None)
    clean, probes = generator.integers(-2, 3, (2, 50, 3)).astype(float)
    protocol = Verification(2.0, similarity="euclidean")
    whole = protocol.freeze(clean, population).count(probes)
    accuracy = Verification("accuracy", similarity="euclidean")
    tau = accuracy.freeze(clean, population).threshold
    monkeypatch.setattr(matching, "blocks", lambda count: scores.blocks(count, 7))
    parts = protocol.freeze(clean, population).count(probes)
    for name in whole:
        np.testing.assert_array_equal(whole[name], parts[name])
    assert (
        Verification("accuracy", similarity="euclidean").freeze(clean, population).threshold == tau
    )


def test_order_of_images_changes_nothing():
    generator = np.random.default_rng(1)
    identity = generator.integers(0, 9, 50)
    clean, probes = generator.integers(-2, 3, (2, 50, 3)).astype(float)
    order = generator.permutation(50)
    tone = [f"t{i % 2}" for i in identity]
    first = Verification(2.0, similarity="euclidean").freeze(
        clean, Population.of(identity, {"tone": tone}), ["tone"]
    )
    second = Verification(2.0, similarity="euclidean").freeze(
        clean[order], Population.of(identity[order], {"tone": np.array(tone)[order]}), ["tone"]
    )
    for name, (hits, trials) in first.count(probes).items():
        np.testing.assert_array_equal(hits, second.count(probes[order])[name][0])
        np.testing.assert_array_equal(trials, second.count(probes[order])[name][1])


@given(situation=situations())
def test_all_impostors_of_a_partition_average_to_those_of_everybody(situation):
    population, clean, probes = situation
    frozen = Verification(2.0, similarity="euclidean", impostors="all").freeze(
        clean, population, ["tone"]
    )
    for hits, trials in frozen.count(probes).values():
        rates, weights = [], []
        for tone in np.unique(population.groups["tone"]):
            rows = population.groups["tone"] == tone
            weights.append(trials[rows].sum())
            rates.append(hits[rows].sum() / max(weights[-1], 1))
        assert np.dot(rates, weights) / sum(weights) == pytest.approx(hits.sum() / trials.sum())


@given(situation=situations())
def test_within_and_across_split_all_pairs(situation):
    population, clean, probes = situation
    found = {}
    for impostors in ("within", "across"):
        frozen = Verification(2.0, similarity="euclidean", impostors=impostors).freeze(
            clean, population, ["tone"]
        )
        found[impostors] = frozen.count(probes)
    for part in (0, 1):
        total = found["within"]["impostor@tone"][part] + found["across"]["impostor@tone"][part]
        np.testing.assert_array_equal(total, found["within"]["impostor"][part])


@given(situation=situations())
def test_a_strictly_increasing_map_of_the_embeddings_scale_changes_nothing(situation):
    population, clean, probes = situation
    near = Verification(2.0, similarity="euclidean").freeze(clean, population)
    far = Verification(8.0, similarity="euclidean").freeze(4 * clean, population)
    for name in ("genuine", "impostor"):
        np.testing.assert_array_equal(near.count(probes)[name], far.count(4 * probes)[name])


def test_same_image_pairs_all_match_when_nothing_is_perturbed():
    generator = np.random.default_rng(2)
    population = Population.of(np.repeat(np.arange(20), 2))
    clean = generator.normal(size=(40, 8))
    for similarity, value in (("cosine", 0.999), ("euclidean", 0.01)):
        frozen = Verification(value, pairs="same-image", similarity=similarity).freeze(
            clean, population
        )
        hits, trials = frozen.count(clean)["genuine"]
        assert (hits == trials).all()
        assert trials.sum() == 40


def test_a_model_that_collapses_has_balanced_accuracy_of_one_half():
    generator = np.random.default_rng(3)
    population = Population.of(np.repeat(np.arange(10), 3), {"g": np.repeat(list("ab"), 15)})
    clean = np.pad(generator.normal(size=(30, 8)), ((0, 0), (0, 1)))
    frozen = Verification(fmr=0.05).freeze(clean, population, ["g"])
    assert frozen.threshold > 0
    nowhere = frozen.count(np.eye(9)[[8] * 30])  # every score is 0
    for name, (hits, trials) in nowhere.items():
        assert hits.sum() / trials.sum() == (0 if name == "genuine" else 1)
    everywhere = Verification(0.5).freeze(np.ones((30, 8)), population).count(np.ones((30, 8)))
    for name, (hits, trials) in everywhere.items():
        assert hits.sum() / trials.sum() == (1 if name == "genuine" else 0)
    assert frozen.chance == 0.5


@pytest.mark.parametrize("fmr", [0.0, 0.001, 0.01, 0.1, 0.5])
@pytest.mark.parametrize("tied", [False, True])
def test_the_threshold_is_the_lowest_that_keeps_the_target(fmr, tied):
    generator = np.random.default_rng(4)
    population = Population.of(np.repeat(np.arange(25), 3))
    clean = generator.normal(size=(75, 4))
    if tied:
        clean = np.sign(clean)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResolutionWarning)
        tau = Verification(fmr=fmr).freeze(clean, population).threshold
    unit = scores.prepared(clean, "cosine")
    all_pairs = scores.tile(unit, unit, "cosine")
    own = population.identity[:, None] == population.identity[None]
    upper = np.triu(np.ones(own.shape, bool), 1)
    impostor = np.sort(all_pairs[~own & upper])
    allowed = int(fmr * len(impostor) + 1e-9)
    assert (impostor >= tau).sum() <= allowed
    lower = impostor[impostor < tau].max()
    assert (impostor >= lower).sum() > allowed
    genuine = all_pairs[own & upper]
    assert not ((genuine > lower) & (genuine < tau)).any()


@pytest.mark.parametrize("tied", [False, True])
def test_the_best_accuracy_is_that_of_a_scan_over_all_scores(tied):
    generator = np.random.default_rng(5)
    centres = np.repeat(generator.normal(size=(20, 6)), 4, 0)
    clean = centres + generator.normal(size=(80, 6))
    clean = np.sign(clean) if tied else clean
    population = Population.of(np.repeat(np.arange(20), 4))
    tau = Verification("accuracy").freeze(clean, population).threshold
    unit = scores.prepared(clean, "cosine")
    all_pairs = scores.tile(unit, unit, "cosine")
    own = population.identity[:, None] == population.identity[None]
    upper = np.triu(np.ones(own.shape, bool), 1)
    genuine, impostor = all_pairs[own & upper], all_pairs[~own & upper]

    def balanced(threshold):
        return ((genuine >= threshold).mean() + (impostor < threshold).mean()) / 2

    best = max(balanced(value) for value in np.unique(all_pairs))
    assert balanced(np.float32(tau)) == pytest.approx(best, abs=1e-12)


def test_warns_if_the_pairs_cannot_resolve_the_target():
    population = Population.of(np.repeat(np.arange(5), 2))
    clean = np.random.default_rng(6).normal(size=(10, 4))
    with pytest.warns(ResolutionWarning, match=r"40 impostor pairs .* 0\.075 at best.* 0\.01"):
        Verification().freeze(clean, population)


@pytest.mark.parametrize(("impostors", "pairs"), [("within", 4), ("across", 112)])
def test_warns_of_groups_that_cannot_resolve_the_target(impostors, pairs):
    tone = np.repeat(["x"] * 14 + ["y"] * 2, 2)
    population = Population.of(np.repeat(np.arange(16), 2), {"tone": tone})
    clean = np.random.default_rng(6).normal(size=(32, 4))
    with pytest.warns(ResolutionWarning, match=rf"in .*tone=y \({pairs}\): 150 are needed"):
        Verification(fmr=0.02, impostors=impostors).freeze(clean, population, ["tone"])


def test_says_what_is_missing():
    clean = np.random.default_rng(7).normal(size=(4, 3))
    with pytest.raises(DataError, match=r"no genuine pair: .* two images of one identity"):
        Verification(0.5).freeze(clean, Population.of(list("abcd")))
    with pytest.raises(DataError, match=r"no impostor pair: .* two identities"):
        Verification(0.5).freeze(clean, Population.of(list("aaaa")))
    with pytest.raises(DataError, match="no genuine pair"):  # copies of one image
        Verification(0.5).freeze(clean, Population.of(list("aabc"), None, [b"1", b"1", b"2", b"3"]))
    with pytest.raises(DataError, match=r"no attribute 'age'; there are \['tone'\]"):
        Verification(0.5).freeze(
            clean, Population.of(list("aabb"), {"tone": list("xxyy")}), ["age"]
        )
    with pytest.raises(ModelError, match="image 2 is zero"):
        Verification(0.5).freeze(clean * [[1], [1], [0], [1]], Population.of(list("aabb")))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"threshold": "best"}, "threshold must be one of"),
        ({"fmr": 1.0}, "fmr must be from 0 to below 1, got 1.0"),
        ({"impostors": "some"}, "impostors must be one of"),
        ({"similarity": "l1"}, "similarity must be one of"),
        ({"pairs": "same-image", "side": "both"}, "use side='probe'"),
    ],
)
def test_says_which_option_is_none(options, text):
    with pytest.raises(ValueError, match=text):
        Verification(**options)


def test_the_description_shows_the_threshold_in_the_users_terms():
    population = Population.of(np.repeat(np.arange(5), 2))
    clean = np.random.default_rng(8).normal(size=(10, 4))
    euclidean = Verification(0.6, similarity="euclidean").freeze(clean, population)
    assert "distance at most 0.6 (given)" in euclidean.description
    assert "FMR 0.2 on clean images" in Verification(fmr=0.2).freeze(clean, population).description


def test_memory_does_not_grow_with_the_square_of_the_images():
    n, d = 5000, 64
    generator = np.random.default_rng(9)
    population = Population.of(np.arange(n) // 4, {"g": [f"g{i % 8}" for i in np.arange(n) // 4]})
    clean = generator.normal(size=(n, d)).astype(np.float32)
    tracemalloc.start()
    Verification().freeze(clean, population, ["g"]).count(clean)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * n * n  # bytes: half of a float32 matrix of all pairs


@pytest.mark.slow
def test_twenty_thousand_images_stay_under_one_and_a_half_gigabytes():
    code = """
import resource
import numpy as np
from vpsa_fair.population import Population
from vpsa_fair.verification import Verification
n = 20_000
ids = np.arange(n) // 4
generator = np.random.default_rng(0)
clean = np.repeat(generator.normal(size=(n // 4, 128)), 4, 0) + generator.normal(size=(n, 128))
population = Population.of(ids, {"g": [f"g{i % 8}" for i in ids]})
frozen = Verification(fmr=1e-3).freeze(clean.astype(np.float32), population, ["g"])
hits, trials = frozen.count(clean.astype(np.float32))["impostor"]
assert 0 < 1 - hits.sum() / trials.sum() <= 1.01e-3
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    run = [sys.executable, "-c", code]
    peak = int(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
    assert peak * 1024 < 1.5e9

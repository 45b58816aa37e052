"""The ranking: a planted failure comes first; without one nothing reaches significance."""

import numpy as np
import pytest
from vpsa_fair import Result, holm


def test_a_planted_disparity_that_clean_evaluation_cannot_see_is_ranked_first(make_counts):
    counts = make_counts(
        seed=4, identities=160, groups=("dark", "light"), plant=("dark", "exposure", 0.9),
        perturbations=("blur", "exposure"),
    )  # fmt: skip
    res = Result(counts, ("tone", "sex", ("tone", "sex")))
    clean = res.pairwise("clean")
    assert abs(clean.value[0, 1]) <= 0.02
    first = res.targeted(by="tone")[0]
    assert (first.group, first.perturbation) == ("dark", "exposure")
    assert first.disparity >= 0.3
    assert first.p_adjusted < 0.01
    assert first.low > 0.25
    assert first.onset < first.reference_onset
    everywhere = res.targeted(3)
    assert all("dark" in f.group and f.perturbation == "exposure" for f in everywhere)
    control = Result(make_counts(seed=4, identities=160, groups=("dark", "light")), ("tone",))
    assert control.targeted()[0].p_adjusted > 0.05
    assert control.targeted()[0].disparity < 0.1


def test_the_family_is_all_pairs_perturbations_and_groupings(make_counts):
    res = Result(make_counts(identities=90), ("tone", "sex"), n_boot=300)
    p = []
    for by in ("tone", "sex"):
        for name in ("blur", "dark"):
            m = res.pairwise(name, by=by)
            p += m.p[np.triu_indices(len(m.rows), 1)].tolist()
    adjusted = dict(zip(np.round(p, 12), holm(p), strict=True))
    for f in res.targeted():
        assert f.p_adjusted == pytest.approx(adjusted[np.round(f.p, 12)])


@pytest.mark.parametrize("value", ["nauc", "drop", "relative"])
@pytest.mark.parametrize("ref", ["best", "overall", "b"])
def test_disparities_are_those_of_the_matrix(make_counts, value, ref):
    res = Result(make_counts(plant=("b", "dark", 0.4)), ("tone",), n_boot=200)
    m = res.matrix(value, ref)
    sign = 1 if value == "drop" else -1
    found = res.targeted(by="tone", value=value, ref=ref)
    for f in found:
        r, k = m.rows.index(f.group), m.columns.index(f.perturbation)
        assert f.disparity == pytest.approx(sign * m.value[r, k])
        assert sorted([f.low, f.high]) == pytest.approx(
            sorted([sign * m.low[r, k], sign * m.high[r, k]])
        )
        assert f.p_adjusted == pytest.approx(m.p_adjusted[r, k])
        assert f.reference == m.references[k]
        assert f.low <= f.disparity <= f.high
    assert [f.disparity for f in found] == sorted((f.disparity for f in found), reverse=True)


def test_small_groups_come_last_and_are_tested_only_if_asked(make_counts):
    labels = ["a"] * 30 + ["b"] * 30 + ["few"] * 4
    counts = make_counts(labels=labels, plant=("few", "dark", 0.9))
    res = Result(counts, ("tone",), n_boot=200, min_identities=10)
    with pytest.warns(UserWarning, match="few"):
        found = res.targeted()
    assert found[0].group != "few"
    few = [f for f in found if f.group == "few"]
    assert few[0].small
    assert np.isnan(few[0].p_adjusted)
    assert "not adjusted" in str(few[0])
    asked = [f for f in res.targeted(small=True) if f.group == "few"]
    assert not np.isnan(asked[0].p_adjusted)


def test_a_ranking_reads_as_sentences_and_is_a_table(make_counts):
    res = Result(make_counts(plant=("b", "dark", 0.4)), ("tone",), n_boot=200)
    found = res.targeted(2)
    assert len(found) == 2
    text = str(found)
    for word in ("behind", "adjusted p", "onset", "n "):
        assert word in text
    assert "fair" not in text
    table = found.to_table()
    assert table["group"][0] == "b"
    assert len(found.to_csv().splitlines()) == 3


def test_without_a_perturbation_to_rank_nothing_is_ranked(make_counts):
    res = Result(make_counts(labels=["a"] * 30), ("tone",), n_boot=20)
    assert len(res.targeted()) == 0
    assert "no group" in str(res.targeted())

"""The lowest door: answers in, result out, and the faults it names."""

import numpy as np
import pytest
from vpsa_fair import DataError, item_response, normalized_auc


def answers(n=60, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.random((n, 1)) < [0.95, 0.8, 0.4]).astype(int)


def test_rates_and_areas_are_those_of_the_table():
    correct, groups = answers(), np.array(["a", "b"] * 30)
    res = item_response(correct, [0, 1, 4], groups, n_boot=50)
    assert res.counts.perturbations == ("perturbation",)
    for g in "ab":
        rate = correct[groups == g].mean(0)
        rows = [row for row in res.curves if row["group"] == g]
        assert [row["response"] for row in rows] == pytest.approx(rate.tolist())
        assert [row["level"] for row in rows] == [0, 1, 4]
        area = res.matrix().value["ab".index(g), 0]
        assert area == pytest.approx(float(normalized_auc([0, 1, 4], rate)))


def test_trials_of_one_identity_are_resampled_together():
    correct = np.repeat(answers(20), 10, axis=0)  # each answer ten times
    groups, ids = ["a"] * 200, np.repeat(np.arange(20), 10)
    together = item_response(correct, [0, 1, 2], groups, ids)
    apart = item_response(correct, [0, 1, 2], groups)
    once = item_response(answers(20), [0, 1, 2], ["a"] * 20)
    width = [float((r.matrix().high - r.matrix().low)[0, 0]) for r in (together, apart, once)]
    assert width[0] == pytest.approx(width[2], rel=0.02)
    assert width[1] < 0.5 * width[0]
    assert together.counts.trials["correct"][0, 0] == 10


def test_several_perturbations_share_their_clean_column():
    correct = answers()
    worse = correct.copy()
    worse[:, 1:] = 0
    res = item_response(
        {"blur": correct, "dark": worse},
        {"blur": [0, 1, 2], "dark": [1.0, 0.5, 0.1]},
        {"tone": ["a", "b"] * 30, "sex": ["x", "x", "y"] * 20},
        groupings=("tone", ("tone", "sex")),
        n_boot=20,
        min_identities=5,
    )
    assert res.matrix().columns == ("blur", "dark")
    assert res.grouping_names == ("tone", "tone x sex")
    assert res.counts.curve_levels("dark").tolist() == [1.0, 0.5, 0.1]
    assert (res.matrix().value[:, 1] < res.matrix().value[:, 0]).all()


def test_missing_labels_become_a_group_of_their_own():
    groups = [None, float("nan"), "", " "] + ["a"] * 56
    res = item_response(answers(), [0, 1, 2], groups, n_boot=20)
    assert res.counts.groups["group"][:4].tolist() == ["unknown"] * 4


def test_a_log_axis_weighs_as_normalized_auc_does():
    correct = answers()
    res = item_response(correct, [0, 1, 15], ["a"] * 60, axis="log", n_boot=20)
    want = float(normalized_auc([0, 1, 15], correct.mean(0), axis="log"))
    assert res.matrix().value[0, 0] == pytest.approx(want)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"levels": [0, 1]}, "must be"),
        ({"levels": {"blur": [0, 1, 2]}}, "same perturbations"),
        ({"groups": ["a"] * 59}, r"\(60,\)"),
        ({"ids": range(59)}, r"\(60,\)"),
        ({"correct": answers() * 2}, r"\[0, 1\]"),
        ({"correct": np.full((60, 3), np.nan)}, r"\[0, 1\]"),
        ({"correct": np.zeros((0, 3)), "groups": []}, "at least one trial"),
        ({"ids": [0] * 60, "groups": ["a"] * 59 + ["b"]}, "trial"),
    ],
)
def test_what_does_not_fit_is_named(change, text):
    arguments = {"correct": answers(), "levels": [0, 1, 2], "groups": ["a"] * 60, **change}
    with pytest.raises(DataError, match=text):
        item_response(**arguments)


def test_clean_columns_that_differ_are_refused():
    other = answers()
    other[0, 0] = 1 - other[0, 0]
    with pytest.raises(DataError, match="clean column of 'dark'"):
        item_response(
            {"blur": answers(), "dark": other},
            {"blur": [0, 1, 2], "dark": [0, 1, 2]},
            ["a"] * 60,
        )

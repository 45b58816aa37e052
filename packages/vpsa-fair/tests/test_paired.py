"""Two models on the same identities: pairing cancels what they share."""

import numpy as np
import pytest
from scipy import stats
from vpsa_fair import Counts, DataError, Result, compare, item_response


def two_models(seed=0, n=120, harm=0.08):
    """Answers of two models with common random numbers; the second is worse on the last level."""
    rng = np.random.default_rng(seed)
    ability, draw = rng.beta(2, 1, (n, 1, 1)), rng.random((n, 10, 1))
    kept = np.array([1.0, 0.8, 0.6])
    ids, groups = np.repeat(np.arange(n), 10), np.repeat(["a", "b"], n * 5)
    out = []
    for loss in (0.0, harm):
        right = draw < ability * (kept - loss * np.array([0, 0, 1.0]))
        out.append(item_response(right.reshape(-1, 3), [0, 1, 2], groups, ids, n_boot=600))
    return out


def test_a_change_is_b_minus_a_with_a_paired_interval():
    a, b = two_models()
    found = compare(a, b)
    for c in found:
        both = (r.matrix(margins=True) for r in (a, b))
        x, y = (m.value[m.rows.index(c.group), m.columns.index(c.column)] for m in both)
        assert (c.a, c.b) == pytest.approx((x, y))
        assert c.change == pytest.approx(y - x)
        assert c.low <= c.change <= c.high
    cell = next(c for c in found if c.group == "a" and c.column == "perturbation")
    single = a.matrix()
    assert cell.high - cell.low < 0.5 * float(single.high[0, 0] - single.low[0, 0])
    assert cell.p < 0.01
    clean = [c for c in found if c.column == "clean"]
    assert all(c.change == 0 and c.p == 1 for c in clean)


def test_the_p_value_is_that_of_a_paired_t_test_on_equal_trials():
    a, b = two_models(harm=0.02)
    x, y = (r.counts.hits["correct"][:, 2] / 10 for r in (a, b))
    u = a.counts.groups["group"] == "a"
    area = [(r.counts.hits["correct"] / 10 @ np.array([0.25, 0.5, 0.25]))[u] for r in (a, b)]
    want = stats.ttest_rel(area[1], area[0])
    cell = next(c for c in compare(a, b) if c.group == "a" and c.column == "perturbation")
    assert cell.p == pytest.approx(want.pvalue, rel=0.2)
    assert (x[u] >= y[u]).all()


def test_the_same_model_twice_shows_no_change():
    a, _ = two_models()
    assert all(c.change == 0 and c.low == 0 == c.high and c.p == 1 for c in compare(a, a))


def test_the_family_is_groups_by_perturbations():
    a, b = two_models()
    found = compare(a, b)
    inside = [c for c in found if not np.isnan(c.p_adjusted)]
    assert {(c.group, c.column) for c in inside} == {("a", "perturbation"), ("b", "perturbation")}
    assert all(c.p_adjusted >= c.p for c in inside)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"identity": np.array([f"x{i}" for i in range(60)])}, "same identities"),
        ({"groups": {"tone": np.array(["a"] * 60), "sex": np.array(["x"] * 60)}}, "'tone'"),
    ],
)
def test_runs_that_do_not_match_are_refused(make_counts, change, text):
    counts = make_counts()
    names = ("identity", "groups", "cells", "hits", "trials")
    other = Counts(**{**{n: getattr(counts, n) for n in names}, **change})
    with pytest.raises(DataError, match=text):
        compare(Result(counts, ("tone",)), Result(other, ("tone",)))


def test_other_levels_are_refused(make_counts):
    with pytest.raises(DataError, match="levels"):
        compare(Result(make_counts(), ("tone",)), Result(make_counts(levels=(1.0, 4.0)), ("tone",)))


def test_a_comparison_prints_and_is_a_table():
    found = compare(*two_models())
    assert "change" in str(found)
    assert len(found.to_csv().splitlines()) == 1 + len(found)
    assert '"change"' in found.to_json()

"""Matrices: their four values, their references, families, and the antisymmetry of pairs."""

import numpy as np
import pytest
from scipy import stats
from vpsa_fair import Result, holm
from vpsa_fair.gaps import transform


def result(make_counts, **how):
    settings = {k: how.pop(k) for k in ("interval", "groupings", "seed") if k in how}
    counts = make_counts(identities=90, **how)
    return Result(counts, settings.pop("groupings", ("tone",)), n_boot=400, **settings)


def test_the_four_values_are_what_they_are_called(make_counts):
    res = result(make_counts, chance=0.25)
    e = res.estimates()
    area, clean = e.areas["response"][:3, 1:], e.areas["response"][:3, :1]
    np.testing.assert_allclose(np.asarray(res.matrix("nauc")), area)
    np.testing.assert_allclose(np.asarray(res.matrix("corrected")), (area - 0.25) / 0.75)
    np.testing.assert_allclose(np.asarray(res.matrix("drop")), clean - area)
    np.testing.assert_allclose(np.asarray(res.matrix("relative")), area / clean)
    with pytest.raises(ValueError, match="'gain'"):
        res.matrix("gain")


def test_margins_add_clean_mean_and_overall(make_counts):
    res = result(make_counts)
    m, body = res.matrix(margins=True), res.matrix()
    assert m.columns == ("clean", "blur", "dark", "mean")
    assert m.rows == ("a", "b", "c", "overall")
    np.testing.assert_allclose(m.value[:3, 1:3], body.value)
    np.testing.assert_allclose(m.value[:, 3], m.value[:, 1:3].mean(1))
    np.testing.assert_allclose(m.value[:3, 0], res.estimates().response[:3, 0])
    assert res.matrix("drop", margins=True).columns == ("blur", "dark", "mean")


def test_the_difference_to_the_best_is_zero_at_the_best_and_negative_elsewhere(make_counts):
    res = result(make_counts, plant=("b", "dark", 0.4))
    value, m = np.asarray(res.matrix()), res.matrix(ref="best")
    np.testing.assert_allclose(m.value, value - value.max(0))
    assert m.references == tuple(m.rows[i] for i in value.argmax(0))
    assert m.p_adjusted[1, 1] < 1e-3
    assert (m.value <= 0).all()
    at_best = m.value == 0
    assert np.isnan(m.p[at_best]).all()
    np.testing.assert_array_equal(m.low[at_best], 0)


def test_the_best_of_a_drop_is_the_smallest(make_counts):
    res = result(make_counts, plant=("b", "dark", 0.4))
    m = res.matrix("drop", ref="best")
    assert (m.value >= 0).all()
    assert m.references[1] != "b"


def test_a_named_and_the_overall_reference_are_differences_to_their_row(make_counts):
    res = result(make_counts)
    full = res.matrix(margins=True).value
    np.testing.assert_allclose(res.matrix(ref="overall").value, full[:3, 1:3] - full[3, 1:3])
    to_b = res.matrix(ref="b")
    np.testing.assert_allclose(to_b.value, full[:3, 1:3] - full[1, 1:3])
    np.testing.assert_allclose(to_b.p_adjusted[[0, 2]], holm(to_b.p[[0, 2]]))
    with pytest.raises(ValueError, match="'z'"):
        res.matrix(ref="z")


def test_the_family_of_the_best_is_all_pairs_and_perturbations(make_counts):
    res = result(make_counts, plant=("b", "dark", 0.12))
    pairs = [res.pairwise(name) for name in ("blur", "dark")]
    upper = np.triu_indices(3, 1)
    adjusted = holm(np.array([m.p[upper] for m in pairs]))
    m = res.matrix(ref="best")
    for k, pair in enumerate(pairs):
        best = m.rows.index(m.references[k])
        full = np.full((3, 3), np.nan)
        full[upper] = adjusted[k]
        full = np.fmax(full, full.T)
        for r in range(3):
            if r != best:
                assert m.p_adjusted[r, k] == pytest.approx(full[r, best])
                assert m.p[r, k] == pytest.approx(pair.p[r, best])


def test_pairwise_is_antisymmetric_with_symmetric_p(make_counts):
    m = result(make_counts).pairwise("blur")
    np.testing.assert_allclose(m.value, -m.value.T)
    np.testing.assert_allclose(m.low, -m.high.T)
    off = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(m.p[off], m.p.T[off])
    np.testing.assert_allclose(m.p_adjusted[off], m.p_adjusted.T[off])
    upper = np.triu_indices(3, 1)
    np.testing.assert_allclose(m.p_adjusted[upper], holm(m.p[upper]))
    assert np.isnan(np.diag(m.p)).all()


def test_pairwise_takes_the_margins_and_names_what_is_missing(make_counts):
    res = result(make_counts)
    m = res.pairwise("mean")
    full = res.matrix(margins=True).value[:3, 3]
    np.testing.assert_allclose(m.value, full[:, None] - full[None])
    assert res.pairwise("clean").rows == ("a", "b", "c")
    with pytest.raises(ValueError, match="'fog'"):
        res.pairwise("fog")


def test_interval_and_p_value_of_a_difference_are_welchs_on_equal_trials(make_counts):
    """With equal trials the rate is a mean over identities; 4,000 resamples, seed 0."""
    counts = make_counts(identities=60, groups=("a", "b"), plant=("a", "blur", 0.15))
    m = Result(counts, ("tone",), n_boot=8000).pairwise("clean")
    rate = counts.hits["correct"][:, 0] / counts.trials["correct"][:, 0]
    a, b = (rate[counts.groups["tone"] == g] for g in "ab")
    welch = stats.ttest_ind(a, b, equal_var=False)
    assert m.p[0, 1] == pytest.approx(welch.pvalue, rel=0.08)
    ends = welch.confidence_interval(0.95)
    assert m.low[0, 1] == pytest.approx(ends.low, abs=0.004)
    assert m.high[0, 1] == pytest.approx(ends.high, abs=0.004)


def test_interval_and_p_value_agree(make_counts):
    for seed in range(12):
        m = result(make_counts, seed=seed, plant=("b", "dark", 0.05)).pairwise("dark")
        off = ~np.eye(3, dtype=bool)
        outside = (m.low > 0) | (m.high < 0)
        np.testing.assert_array_equal(outside[off], (m.p < 0.05)[off])


@pytest.mark.parametrize("kind", ["percentile", "basic", "bca"])
def test_every_kind_of_interval_holds_the_estimate_of_a_smooth_value(make_counts, kind):
    m = result(make_counts, interval=kind, measures=("genuine", "impostor")).matrix(margins=True)
    assert (m.low < m.value).all()
    assert (m.value < m.high).all()
    other = result(make_counts, measures=("genuine", "impostor")).matrix(margins=True)
    np.testing.assert_allclose(m.low, other.low, atol=0.03)


def test_two_perfect_groups_of_few_are_no_certainty(make_counts):
    counts = make_counts(labels=["a"] * 3 + ["b"] * 3, groups=("a", "b"))
    flawless = counts.groups["tone"] == "a"
    counts.hits["correct"][flawless] = counts.trials["correct"][flawless]
    counts.hits["correct"][~flawless] = 0
    res = Result(counts, ("tone",), n_boot=50, min_identities=2)
    m = res.pairwise("blur")
    assert m.value[0, 1] == 1
    assert m.p[0, 1] == pytest.approx(2 / 20)  # 6 choose 3


def test_a_matrix_prints_n_interval_and_p_and_is_a_table(make_counts):
    res = result(make_counts, plant=("b", "dark", 0.4))
    text = str(res.matrix(ref="best"))
    assert "p=" in text
    assert " n " in text
    table = res.matrix().to_table()
    assert len({len(v) for v in table.values()}) == 1
    assert list(table["group"]) == ["a", "a", "b", "b", "c", "c"]
    assert list(table["column"]) == ["blur", "dark"] * 3
    assert np.asarray(res.matrix()).shape == (3, 2)


def test_transform_of_clean_alone_has_a_mean():
    np.testing.assert_allclose(transform(np.array([[0.4]]), "nauc", 0.0), [[0.4, 0.4]])


@pytest.mark.filterwarnings("ignore::vpsa_fair.SmallGroupWarning")
def test_a_small_group_is_compared_by_the_ends_of_the_two_intervals(make_counts):
    counts = make_counts(labels=["few"] * 3 + ["many"] * 30)
    flawless = counts.groups["tone"] == "few"
    counts.hits["correct"][flawless] = counts.trials["correct"][flawless]
    res = Result(counts, ("tone",), n_boot=200)
    m, pair = res.matrix(), res.pairwise("blur", small=True)
    (a, b), low, high = m.value[:, 0], m.low[:, 0], m.high[:, 0]
    assert pair.value[0, 1] == pytest.approx(a - b)
    assert pair.low[0, 1] == pytest.approx(a - b - np.hypot(a - low[0], high[1] - b))
    assert pair.high[0, 1] == pytest.approx(a - b + np.hypot(high[0] - a, b - low[1]))
    assert pair.p[0, 1] > 0.02  # three that never fail have no variance, and prove little

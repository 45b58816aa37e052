"""Estimates of groups against sums by hand, and what no resample may change."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vpsa_fair import Counts, Result, SmallGroupWarning, normalized_auc
from vpsa_fair.estimates import Settings, estimate, is_unknown


def test_rates_and_areas_are_sums_by_hand(make_counts):
    counts = make_counts(measures=("genuine", "impostor"), order={"impostor": 2})
    e = estimate(counts, "tone", Settings(n_boot=50))
    assert e.rows == ("a", "b", "c", "overall")
    assert e.columns == ("clean", "blur", "dark")
    for r, group in enumerate(e.rows):
        rows = [i for i in range(len(counts)) if group in (counts.groups["tone"][i], "overall")]
        rows = rows if group != "overall" else list(range(len(counts)))
        for c in range(len(counts.cells)):
            rates = []
            for m in ("genuine", "impostor"):
                hits = sum(counts.hits[m][i, c] for i in rows)
                rates.append(hits / sum(counts.trials[m][i, c] for i in rows))
                assert e.rates[m][r, c] == pytest.approx(rates[-1], abs=1e-12)
            assert e.response[r, c] == pytest.approx(sum(rates) / 2, abs=1e-12)
        for k, name in enumerate(counts.perturbations, 1):
            curve = e.response[r, counts.columns(name)]
            want = float(normalized_auc(counts.curve_levels(name), curve))
            assert e.areas["response"][r, k] == pytest.approx(want, abs=1e-12)


def test_every_perturbation_starts_at_the_same_clean_response(make_counts):
    curves = Result(make_counts(), ("tone",), n_boot=20).curves
    starts = {(row["group"], row["response"]) for row in curves if row["position"] == 0}
    assert len(starts) == 4  # three groups and all of them


def test_merging_groups_gives_the_trial_weighted_mean(make_counts):
    counts = make_counts()
    e = estimate(counts, "tone", Settings(n_boot=20))
    weight = [counts.trials["correct"][counts.groups["tone"] == g].sum(0) for g in e.rows[:-1]]
    merged = sum(w * r for w, r in zip(weight, e.response, strict=False)) / sum(weight)
    np.testing.assert_allclose(merged, e.response[-1], atol=1e-12)


@given(seed=st.integers(0, 1000))
def test_the_order_of_the_identities_changes_no_estimate(make_counts, seed):
    counts = make_counts(seed=seed % 7)
    order = np.random.default_rng(seed).permutation(len(counts))
    moved = Counts(
        counts.identity[order],
        {k: v[order] for k, v in counts.groups.items()},
        counts.cells,
        {k: v[order] for k, v in counts.hits.items()},
        {k: v[order] for k, v in counts.trials.items()},
    )
    a, b = (estimate(c, "tone", Settings(n_boot=4)) for c in (counts, moved))
    np.testing.assert_array_equal(a.response, b.response)


def test_renaming_groups_permutes_the_rows_and_nothing_else(make_counts):
    counts = make_counts()
    swap = {"a": "b", "b": "a", "c": "c"}
    renamed = Counts(
        counts.identity,
        {"tone": np.array([swap[g] for g in counts.groups["tone"]])},
        counts.cells,
        counts.hits,
        counts.trials,
    )
    a, b = (estimate(c, "tone", Settings(n_boot=4)) for c in (counts, renamed))
    np.testing.assert_array_equal(a.areas["response"][[1, 0, 2, 3]], b.areas["response"])


def test_resamples_do_not_depend_on_blocks_or_on_other_groups(make_counts, monkeypatch):
    counts = make_counts()
    whole = estimate(counts, "tone", Settings(n_boot=60))
    monkeypatch.setattr("vpsa_fair.estimates._BLOCK_BYTES", 2000)
    parts = estimate(counts, "tone", Settings(n_boot=60))
    np.testing.assert_allclose(parts.samples["response"], whole.samples["response"], atol=1e-12)
    only = counts.groups["tone"] != "c"
    fewer = Counts(
        counts.identity[only],
        {"tone": counts.groups["tone"][only]},
        counts.cells,
        {k: v[only] for k, v in counts.hits.items()},
        {k: v[only] for k, v in counts.trials.items()},
    )
    alone = estimate(fewer, "tone", Settings(n_boot=60))
    np.testing.assert_allclose(
        alone.samples["response"][:, :2], whole.samples["response"][:, :2], atol=1e-12
    )


def test_the_width_follows_the_identities_and_not_the_trials(make_counts):
    """Four times the trials of the same people barely narrows; four times the people halves."""

    def width(**how):
        counts = make_counts(seed=1, groups=("a",), **how)
        e = estimate(counts, "tone", Settings(n_boot=1500))
        return float((e.high - e.low)[0, 0])

    base = width(identities=80, trials=60)
    assert width(identities=80, trials=240) == pytest.approx(base, rel=0.25)
    assert width(identities=320, trials=60) == pytest.approx(base / 2, rel=0.25)


def test_the_estimate_lies_in_its_percentile_interval(make_counts):
    e = estimate(make_counts(), "tone", Settings(n_boot=400))
    assert (e.low <= e.response).all()
    assert (e.response <= e.high).all()
    assert (e.low >= 0).all()
    assert (e.high <= 1).all()


def test_groups_of_one_two_and_three_are_flagged_and_free_of_nan(make_counts):
    labels = ["one"] + ["two"] * 2 + ["three"] * 3 + ["many"] * 30
    res = Result(make_counts(labels=labels, identities=36), ("tone",))
    with pytest.warns(SmallGroupWarning, match=r"one \(1\).*three \(3\).*two \(2\)"):
        m = res.matrix()
    assert m.rows == ("many", "one", "three", "two")
    assert m.small.tolist() == [False, True, True, True]
    assert m.n.tolist() == [30, 1, 3, 2]
    for part in (m.value, m.low, m.high):
        assert not np.isnan(part).any()
    assert (m.high - m.low)[1:].min() > 0.3  # no false precision
    best = res.matrix(ref="best")
    assert set(best.references) == {"many"}
    assert np.isnan(best.p_adjusted).all()
    assert not np.isnan(best.value).any()
    for part in (best.low, best.high):
        assert np.abs(part).max() <= 1
    assert len(res.summary()) == 0
    assert "one (n 1)" in str(res.summary())


def test_the_warning_comes_once(make_counts):
    res = Result(make_counts(labels=["a"] * 3 + ["b"] * 30), ("tone",), n_boot=10)
    with pytest.warns(SmallGroupWarning):
        res.matrix()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        res.matrix(ref="best")
        res.targeted()


def test_missing_attributes_are_a_group_of_their_own_but_no_reference(make_counts):
    labels = ["unknown"] * 20 + ["a"] * 20 + ["b"] * 20
    counts = make_counts(labels=labels, plant=("a", "blur", 0.4))
    res = Result(counts, ("tone", ("tone", "sex")), n_boot=100, min_identities=2)
    m = res.matrix(ref="best")
    assert m.rows == ("a", "b", "unknown")
    assert "unknown" not in m.references
    assert np.isnan(m.p_adjusted[2]).all()
    assert is_unknown("unknown x x")
    assert not any(is_unknown(f.group) for f in res.targeted())


def test_identities_without_a_trial_do_not_count_towards_n(make_counts):
    base = make_counts(measures=("genuine", "impostor"), groups=("a", "b"))
    hits = {m: h.copy() for m, h in base.hits.items()}
    trials = {m: t.copy() for m, t in base.trials.items()}
    single = base.groups["tone"] == "a"
    single[np.flatnonzero(single)[:4]] = False
    hits["genuine"][single] = trials["genuine"][single] = 0
    counts = Counts(base.identity, base.groups, base.cells, hits, trials)
    e = estimate(counts, "tone", Settings(n_boot=50))
    assert e.n[0] == 4
    assert e.small[0]
    assert not np.isnan(e.response).any()


def test_a_group_without_any_trial_is_shown_as_missing(make_counts):
    base = make_counts(groups=("a", "b"))
    gone = base.groups["tone"] == "a"
    hits, trials = base.hits["correct"].copy(), base.trials["correct"].copy()
    hits[gone] = trials[gone] = 0
    counts = Counts(base.identity, base.groups, base.cells, {"m": hits}, {"m": trials})
    res = Result(counts, ("tone",), n_boot=50)
    with pytest.warns(SmallGroupWarning):
        m = res.matrix(ref="best")
    assert np.isnan(m.value[0]).all()
    assert m.cell_text(0, 0) == "-"
    assert len(res.targeted()) == 0


def test_spread_is_what_the_power_calculation_needs(make_counts):
    counts = make_counts(identities=400, groups=("a",), trials=500)
    table = Result(counts, ("tone",)).spread()
    rate = counts.hits["correct"][:, 0] / 500
    clean = next(row for row in table if row["column"] == "clean" and row["group"] == "a")
    assert clean["spread"] == pytest.approx(rate.std(ddof=1), rel=0.06)

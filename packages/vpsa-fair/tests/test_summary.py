"""One line a column: gap, extremes, and the biometric summaries with their intervals."""

import numpy as np
import pytest
from vpsa_fair import Result, fdr, garbe, inequity


def verification(make_counts, **how):
    counts = make_counts(
        identities=120, measures=("genuine", "impostor"), order={"impostor": 2}, chance=0.5, **how
    )
    return Result(counts, ("tone", "sex"), n_boot=400)


def test_the_gap_is_best_minus_worst_of_the_matrix(make_counts):
    res = verification(make_counts, plant=("b", "dark", 0.5))
    for s in res.summary():
        m = res.matrix(by=s.grouping, margins=True)
        column = m.value[:-1, m.columns.index(s.column)]
        assert s.gap == pytest.approx(column.max() - column.min())
        assert s.ratio == pytest.approx(column.min() / column.max())
        assert s.sd == pytest.approx(column.std(ddof=1))
        assert s.worst == m.rows[int(column.argmin())]
        assert s.n_worst == m.n[int(column.argmin())]
        pair = res.pairwise(s.column, by=s.grouping)
        cell = (pair.rows.index(s.best), pair.rows.index(s.worst))
        assert (s.low, s.high) == pytest.approx((pair.low[cell], pair.high[cell]))


def test_the_clean_column_is_a_family_of_its_own(make_counts):
    res = verification(make_counts)
    clean = next(s for s in res.summary() if s.column == "clean" and s.grouping == "tone")
    pair = res.pairwise("clean", by="tone")
    cell = (pair.rows.index(clean.best), pair.rows.index(clean.worst))
    assert clean.p_adjusted == pytest.approx(pair.p_adjusted[cell])


def test_fdr_garbe_and_inequity_are_those_of_the_error_rates(make_counts):
    res = verification(make_counts)
    e = res.estimates("tone")
    for s in res.summary():
        if s.grouping != "tone" or s.column == "mean":
            continue
        k = e.columns.index(s.column)
        fmr, fnmr = (1 - e.areas[m][:3, k] for m in ("impostor", "genuine"))
        assert s.fdr == pytest.approx(float(fdr(fmr, fnmr)))
        assert s.garbe == pytest.approx(float(garbe(fmr, fnmr)))
        assert s.inequity_fmr == pytest.approx(float(inequity(fmr)))
        assert s.inequity_fnmr == pytest.approx(float(inequity(fnmr)))
        assert s.fdr_low <= s.fdr_high
        assert s.garbe_low <= s.garbe_high


def test_without_pairs_the_biometric_columns_are_missing(make_counts):
    summary = Result(make_counts(), ("tone",), n_boot=50).summary()
    assert all(np.isnan(s.fdr) and np.isnan(s.inequity_fmr) for s in summary)
    assert "fdr" not in str(summary)


def test_a_summary_prints_what_a_reader_needs_and_no_verdict(make_counts):
    res = verification(make_counts, plant=("b", "dark", 0.5))
    text = str(res.summary())
    for word in ("gap", "low", "high", "p_adjusted", "n_worst", "fdr", "95%"):
        assert word in text
    assert "fair" not in str(res).lower()
    assert res.summary().worst().column == "dark"
    assert len(res.summary().to_csv().splitlines()) == 1 + 2 * 4
    assert '"gap"' in res.summary().to_json()


def test_one_group_gives_no_spread(make_counts):
    summary = Result(make_counts(labels=["a"] * 30), ("tone",), n_boot=20).summary()
    assert len(summary) == 0
    assert summary.worst() is None

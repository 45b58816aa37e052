"""The contract of the two halves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vpsa_fair import CLEAN, Cell, Counts, positions
from vpsa_fair.counts import grouping_name, write_atomically


def fields(counts):
    names = ("identity", "groups", "cells", "hits", "trials", "response", "order", "chance")
    return {name: getattr(counts, name) for name in names}


@given(
    levels=st.lists(st.floats(0.01, 50), min_size=1, max_size=8, unique=True).map(sorted),
    scale=st.floats(0.1, 100),
)
def test_rescaling_the_stimulus_moves_no_position_on_the_linear_axis(levels, scale):
    scaled = [scale * s for s in levels]
    if not (np.diff([0.0, *scaled]) > 0).all():
        return
    assert positions(scaled, clean=0.0) == pytest.approx(positions(levels, clean=0.0), abs=1e-9)


def test_a_log_axis_is_the_predecessors_shifted_logarithm():
    u = positions([1.0, 9.0, 99.0], clean=0.0, axis="log")
    assert u == pytest.approx(np.log10([2, 10, 100]) / 2)
    u = positions([10.0, 100.0], clean=1.0, axis="log")
    assert u == pytest.approx([0.5, 1.0])


def test_levels_may_fall_from_the_clean_one():
    assert positions([0.75, 0.5], clean=1.0).tolist() == [0.5, 1.0]


@pytest.mark.parametrize("levels", [[], [2.0, 1.0], [1.0, 1.0], [float("nan")], [0.0, 1.0]])
def test_levels_that_lead_nowhere_are_refused(levels):
    with pytest.raises(ValueError, match="levels"):
        positions(levels, clean=0.0)


def test_an_unknown_axis_is_named():
    with pytest.raises(ValueError, match="'cubic'"):
        positions([1.0], clean=0.0, axis="cubic")


def test_what_is_saved_is_what_is_loaded_and_the_bytes_repeat(tmp_path, make_counts):
    counts = make_counts(measures=("genuine", "impostor"), order={"impostor": 2}, chance=0.5)
    counts.save(tmp_path / "a.npz")
    back = Counts.load(tmp_path / "a.npz")
    back.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert back.axes == counts.axes
    assert back.protocol == counts.protocol
    for name, value in fields(counts).items():
        np.testing.assert_equal(getattr(back, name), value)


def test_a_damaged_file_is_a_value_error_that_names_it(tmp_path, make_counts):
    make_counts().save(tmp_path / "a.npz")
    whole = (tmp_path / "a.npz").read_bytes()
    for damage in (b"", b"not a zip", whole[: len(whole) // 2]):
        (tmp_path / "a.npz").write_bytes(damage)
        with pytest.raises(ValueError, match=r"a\.npz"):
            Counts.load(tmp_path / "a.npz")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    target = tmp_path / "x"
    write_atomically(target, b"old")

    def refuse(*_):
        raise OSError("disk")

    monkeypatch.setattr("vpsa_fair.counts.os.replace", refuse)
    with pytest.raises(OSError, match="disk"):
        write_atomically(target, b"new")
    assert [f.name for f in tmp_path.iterdir()] == ["x"]
    assert target.read_bytes() == b"old"


def test_a_measure_of_a_grouping_stands_in_for_the_plain_one(make_counts):
    base = make_counts(measures=("genuine",))
    own = base.hits["genuine"] * 0
    counts = Counts(
        base.identity,
        base.groups,
        base.cells,
        {**base.hits, "genuine@sex": own},
        {**base.trials, "genuine@sex": base.trials["genuine"]},
    )
    rows = np.ones(len(counts), dtype=bool)
    assert counts.response == ("genuine",)
    assert counts.rate("genuine", rows, "sex").max() == 0
    assert counts.rate("genuine", rows, "tone").min() > 0


def test_crossed_labels_join_and_a_missing_attribute_is_named(make_counts):
    counts = make_counts()
    crossed = counts.labels(grouping_name(("tone", "sex")))
    assert crossed.tolist() == [
        f"{a} x {b}" for a, b in zip(counts.groups["tone"], counts.groups["sex"], strict=True)
    ]
    with pytest.raises(ValueError, match="'age'"):
        counts.labels("age")


def change(counts, **new):
    return Counts(**{**fields(counts), **new})


@pytest.mark.parametrize(
    ("new", "text"),
    [
        ({"identity": np.array(["a"] * 60)}, "unique"),
        ({"cells": (Cell("blur", 1.0, 1.0), CLEAN)}, "clean one"),
        ({"groups": {"tone": np.array(["a"])}}, r"\(60,\)"),
        ({"trials": {}}, "same measures"),
        ({"chance": 1.0}, "chance"),
    ],
)
def test_counts_that_contradict_themselves_are_refused(new, text, make_counts):
    with pytest.raises(ValueError, match=text):
        change(make_counts(), **new)


def test_more_hits_than_trials_are_refused(make_counts):
    counts = make_counts()
    with pytest.raises(ValueError, match=r"\[0, trials\]"):
        change(counts, hits={"correct": counts.trials["correct"] + 1})


def test_positions_that_do_not_reach_the_end_are_refused():
    cells = (CLEAN, Cell("blur", 1.0, 0.5))
    one = np.ones((1, 2))
    with pytest.raises(ValueError, match="increase to 1"):
        Counts(np.array(["a"]), {}, cells, {"m": one}, {"m": one})

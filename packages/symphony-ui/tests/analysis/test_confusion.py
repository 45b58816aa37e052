import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk
from symphony_ui.analysis import confusion
from symphony_ui.errors import SymphonyError

ROWS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)
PATHS = st.sampled_from(["a", "a:x", "a:y", "a:y:1", "a:y:2", "b:x", "b:z:3", "c"])


@given(ROWS)
def test_counts_are_those_of_the_loop(rows):
    label, pred = zip(*rows, strict=True)
    found = confusion(label, pred)
    assert list(found.classes) == sorted({v for row in rows for v in row})
    for i, a in enumerate(found.classes):
        for j, p in enumerate(found.classes):
            assert found.counts[i, j] == rows.count((a, p))
    assert found.counts.sum() == len(rows)


@pytest.mark.parametrize("seed", range(100))
@pytest.mark.parametrize("zero_division", [0.0, 1.0])
def test_metrics_are_scikit_learns(seed, zero_division):
    """A hundred problems, with classes that are never predicted and classes that never occur."""
    random = np.random.default_rng(seed)
    classes = np.array(["ant", "bee", "cat", "dog", "eel", "fox"])
    rows = int(random.integers(1, 60))
    label = classes[random.integers(0, random.integers(1, 6), rows)]
    pred = classes[random.integers(random.integers(0, 5), 6, rows)]
    weights = random.random(rows) if seed % 2 else None
    ours = confusion(label, pred, weights=weights).metrics(zero_division=zero_division)
    arguments = {"sample_weight": weights, "zero_division": zero_division}
    each = sk.precision_recall_fscore_support(label, pred, **arguments)
    for got, want in zip((ours.precision, ours.recall, ours.f1, ours.support), each, strict=True):
        assert got == pytest.approx(want, abs=1e-12)
    for name in ("macro", "weighted"):
        want = sk.precision_recall_fscore_support(label, pred, average=name, **arguments)[:3]
        got = [getattr(ours, f"{name}_{what}") for what in ("precision", "recall", "f1")]
        assert got == pytest.approx(want, abs=1e-12)
    accuracy = sk.accuracy_score(label, pred, sample_weight=weights)
    assert ours.accuracy == pytest.approx(accuracy, abs=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        micro = sk.precision_recall_fscore_support(
            label, pred, average="micro", sample_weight=weights
        )
    assert ours.accuracy == pytest.approx(micro[0]) == pytest.approx(micro[2])
    assert [c for c, u in zip(ours.classes, ours.undefined_precision, strict=True) if u] == sorted(
        set(label) - set(pred)
    )
    assert [c for c, u in zip(ours.classes, ours.undefined_recall, strict=True) if u] == sorted(
        set(pred) - set(label)
    )


def test_the_references_f1_goes_by_another_name():
    found = confusion([0, 0, 0, 0, 1, 1], [0, 1, 1, 1, 1, 1]).metrics()
    p, r = found.macro_precision, found.macro_recall
    assert (p, r) == (pytest.approx((1 + 2 / 5) / 2), pytest.approx((1 / 4 + 1) / 2))
    assert found.f1_of_macros == pytest.approx(2 * p * r / (p + r))
    assert found.macro_f1 == pytest.approx((2 / 5 + 4 / 7) / 2)


@given(st.lists(st.tuples(PATHS, PATHS), min_size=1, max_size=40))
def test_collapsing_keeps_the_total_and_never_lowers_accuracy(rows):
    label, pred = zip(*rows, strict=True)
    found = confusion(label, pred, sep=":")
    last = found.metrics().accuracy
    for depth in range(found.depth, -1, -1):
        small = found.collapse(depth)
        cut = [[":".join(v.split(":")[:depth]) if depth else "all" for v in row] for row in rows]
        for i, a in enumerate(small.classes):
            for j, p in enumerate(small.classes):
                assert small.counts[i, j] == cut.count([a, p])
        assert small.counts.sum() == len(rows)
        assert small.metrics().accuracy >= last
        last = small.metrics().accuracy
    assert last == 1
    assert found.collapse(0).classes == ("all",)


def test_collapsing_in_steps_is_collapsing_at_once():
    label, pred = ["a:x:1", "a:y:2", "b:x:1"], ["a:y:2", "b:x:1", "b:x:1"]
    found = confusion(label, pred, sep=":")
    step, once = found.collapse(2).collapse(1), found.collapse(1)
    assert (step.counts.tolist(), step.classes) == (once.counts.tolist(), once.classes)


def test_missing_labels_are_left_out_and_counted():
    found = confusion([1.0, float("nan"), 0.0, 1.0], [1.0, 1.0, None, 0.0])
    assert (found.missing, found.counts.sum(), found.classes) == (2, 2, (0.0, 1.0))
    assert "2 rows without label or prediction left out" in str(found)
    assert confusion(["a", None], [None, "a"]).counts.tolist() == [[0]]


def test_whole_floats_bools_and_integers_are_the_same_classes():
    found = confusion(np.array([0, 1, 1]), np.array([0.0, 1.0, 0.0]))
    assert found.counts.tolist() == [[1, 0], [1, 1]]
    assert confusion([True, False], np.array([1, 1])).counts.tolist() == [[0, 1], [0, 1]]


def test_classes_come_in_the_order_asked_for_absent_ones_included():
    found = confusion(["lo", "hi"], ["hi", "hi"], classes=["lo", "mid", "hi"])
    assert found.counts.tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 1]]
    report = found.metrics()
    assert report.undefined_recall.tolist() == [False, True, False]
    assert "never predicted: lo, mid" in str(report)


def test_an_empty_table_has_no_classes():
    found = confusion([], [])
    assert (found.counts.shape, found.depth) == ((0, 0), 0)
    assert np.isnan(found.metrics().accuracy)
    assert "0 classes" in str(found)


def test_prints_a_matrix_and_gives_a_table():
    found = confusion(["cat", "dog", "dog"], ["cat", "cat", "dog"])
    assert str(found).splitlines()[0] == "2 classes, 2 of 3 correct"
    assert str(found).splitlines()[-1].split() == ["dog", "1", "1"]
    table = found.to_table()
    assert list(zip(*table.values(), strict=True))[2] == ("dog", "cat", 1)
    assert found.metrics().to_table()["class"] == ["cat", "dog"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"pred": [0]}, "pred must have 2 entries, one a row, got 1"),
        ({"pred": [0.2, 0.9]}, "pred holds fractions"),
        ({"pred": ["0", "1"]}, "same kind of class, got int and str"),
        ({"classes": [0]}, "label holds 1, which is not among the classes"),
        ({"classes": [0, 1, 1]}, "classes must be distinct"),
        ({"weights": [1.0]}, r"weights must have shape \(2,\), got \(1,\)"),
        ({"weights": [1.0, -1.0]}, "finite and not negative"),
        ({"label": np.eye(2)}, r"label must have one entry a row, got shape \(2, 2\)"),
    ],
)
def test_says_what_came_and_what_would_do(arguments, words):
    with pytest.raises(SymphonyError, match=words):
        confusion(**{"label": [0, 1], "pred": [0, 1], **arguments})


def test_says_how_to_collapse():
    with pytest.raises(SymphonyError, match="pass sep"):
        confusion([0], [0]).collapse(1)
    with pytest.raises(SymphonyError, match="depth must be at least 0, got -1"):
        confusion(["a"], ["a"], sep=":").collapse(-1)

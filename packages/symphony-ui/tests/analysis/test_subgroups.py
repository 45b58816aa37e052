import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as sk
from symphony_ui.analysis import confusion, subgroups
from symphony_ui.analysis.subgroups import AVERAGES, NAMES, PROPORTIONS, wilson
from symphony_ui.errors import ColumnError, SymphonyError

ROWS = st.lists(
    st.tuples(
        st.sampled_from(["x", "y", None]), st.integers(0, 2), st.integers(0, 1), st.integers(0, 1)
    ),
    min_size=1,
    max_size=40,
)


def table_of(rows):
    return dict(zip(["a", "b", "y", "yhat"], zip(*rows, strict=True), strict=True))


def looped(name, rows):
    """The metric of rows of (label, prediction), counted one by one; NaN without denominator."""
    tp = sum(y and p for y, p in rows)
    fp, fn = sum(p and not y for y, p in rows), sum(y and not p for y, p in rows)
    tn = len(rows) - tp - fp - fn
    above, below = {
        "accuracy": (tp + tn, len(rows)),
        "recall": (tp, tp + fn),
        "precision": (tp, tp + fp),
        "specificity": (tn, tn + fp),
        "false_positive_rate": (fp, tn + fp),
        "false_negative_rate": (fn, tp + fn),
        "positive_rate": (tp + fp, len(rows)),
        "f1": (2 * tp, 2 * tp + fp + fn),
    }[name]
    return above / below if below else float("nan")


@given(ROWS)
def test_groups_partition_the_rows_and_each_metric_is_that_of_the_loop(rows):
    names = (*PROPORTIONS, "f1")
    found = subgroups(table_of(rows), ["a", "b"], "y", "yhat", metrics=names, draws=20)
    own = {key: [row[2:] for row in rows if row[:2] == key] for key in {row[:2] for row in rows}}
    assert set(found.groups) == set(own)
    assert [len(own[key]) for key in found.groups] == found.sizes.tolist()
    assert found.sizes.tolist() == sorted(found.sizes, reverse=True)
    for cell in found.cells:
        want = looped(cell.metric, own[cell.group])
        assert cell.value == pytest.approx(want, nan_ok=True)
        assert math.isnan(want) or cell.lo - 1e-12 <= want <= cell.hi + 1e-12
    for cell in found.overall:
        assert cell.value == pytest.approx(
            looped(cell.metric, [row[2:] for row in rows]), nan_ok=True
        )
    for name in names:
        values = [v for v in (looped(name, part) for part in own.values()) if not math.isnan(v)]
        gap = max(values) - min(values) if values else float("nan")
        assert found.gaps[name].value == pytest.approx(gap, nan_ok=True)


def test_groups_of_equal_size_are_in_order_and_missing_comes_last():
    rows = [("y", 1, 0, 0), (None, 1, 0, 0), ("x", 2, 0, 0), ("x", 1, 0, 0), ("y", 1, 1, 1)]
    found = subgroups(table_of(rows), ["a", "b"], "y", "yhat")
    assert found.groups == (("y", 1), ("x", 1), ("x", 2), (None, 1))


@given(trials=st.integers(1, 200), share=st.floats(0, 1), confidence=st.floats(0.5, 0.999))
def test_wilsons_interval_is_scipys(trials, share, confidence):
    successes = round(share * trials)
    want = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    assert wilson(successes, trials, confidence) == pytest.approx((want.low, want.high), abs=1e-12)


@pytest.mark.parametrize("name", ["macro_precision", "macro_recall", "macro_f1"])
def test_averages_over_classes_are_scikit_learns_within_each_group(name):
    random = np.random.default_rng(0)
    group, y = random.integers(0, 3, 200), random.integers(0, 4, 200)
    yhat = np.where(random.random(200) < 0.6, y, random.integers(0, 5, 200))
    found = subgroups({"g": group, "y": y, "yhat": yhat}, "g", "y", "yhat", metrics=name)
    score = {"macro_precision": sk.precision_score, "macro_recall": sk.recall_score}
    for cell in found.cells:
        own = group == cell.group[0]
        want = score.get(name, sk.f1_score)(y[own], yhat[own], average="macro", zero_division=0)
        assert cell.value == pytest.approx(want)
        assert cell.lo < cell.value < cell.hi
        assert cell.of == own.sum()


def test_the_bootstrap_covers_what_it_promises():
    """400 tables of 80 rows, seeds 0 to 399: 95 % intervals of the macro F1 cover 91 to 99 %.

    The negative control, intervals of 50 %, must cover far less.
    """
    truth = np.array([[0.4, 0.1], [0.2, 0.3]])
    recall, precision = np.diag(truth) / truth.sum(1), np.diag(truth) / truth.sum(0)
    want = (2 * recall * precision / (recall + precision)).mean()
    hits = dict.fromkeys((0.95, 0.5), 0)
    for seed in range(400):
        cells = np.random.default_rng(seed).choice(4, 80, p=truth.ravel())
        table = {"g": np.zeros(80, dtype=int), "y": cells // 2, "yhat": cells % 2}
        for confidence in hits:
            found = subgroups(
                table, "g", "y", "yhat", metrics="macro_f1", draws=200, confidence=confidence
            )
            hits[confidence] += found.cells[0].lo <= want <= found.cells[0].hi
    assert 364 <= hits[0.95] <= 396
    assert hits[0.5] < 250


def test_a_class_that_a_sample_misses_does_not_count_as_wrong():
    y = [0] * 30 + [1]
    found = subgroups({"g": [0] * 31, "y": y, "yhat": y}, "g", "y", "yhat", metrics="macro_f1")
    assert (found.cells[0].lo, found.cells[0].value, found.cells[0].hi) == (1.0, 1.0, 1.0)


def test_small_groups_are_flagged_and_still_there():
    rows = [("x", 0, 1, 1)] * 40 + [("x", 0, 0, 0)] * 40 + [("y", 0, 1, 0)] * 3
    found = subgroups(table_of(rows), "a", "y", "yhat", metrics=["accuracy", "recall"], n_min=41)
    flags = {(cell.group[0], cell.metric): cell.small for cell in found.cells}
    assert flags == {
        ("x", "accuracy"): False,
        ("x", "recall"): True,  # a share of 40 rows only
        ("y", "accuracy"): True,
        ("y", "recall"): True,
    }
    just = subgroups(table_of(rows), "a", "y", "yhat", metrics="recall", n_min=40)
    assert [cell.small for cell in just.cells] == [False, True]
    gap = found.gaps["accuracy"]
    assert (gap.value, gap.lowest, gap.highest, gap.without_small) == (1.0, ("y",), ("x",), 0.0)
    assert math.isnan(found.gaps["recall"].without_small)
    assert "small" in str(found)


def test_an_undefined_metric_is_nan_within_all_of_the_unit_interval():
    found = subgroups(
        table_of([("x", 0, 0, 0), ("y", 0, 1, 1)]), "a", "y", "yhat", metrics=["recall", "f1"]
    )
    cells = {(cell.group[0], cell.metric): cell for cell in found.cells}
    for name in ("recall", "f1"):
        cell = cells["x", name]
        assert math.isnan(cell.value)
        assert (cell.lo, cell.hi) == (0.0, 1.0)
        assert found.gaps[name].value == 0.0


def test_the_positive_class_is_named_where_it_is_not_one():
    table = {"g": ["a"] * 3, "y": ["cat", "cat", "dog"], "yhat": ["cat", "dog", "dog"]}
    found = subgroups(table, "g", "y", "yhat", metrics=["recall", "precision"], positive="dog")
    assert [cell.value for cell in found.cells] == [1.0, 0.5]
    with pytest.raises(SymphonyError, match=r"positive must name the class.*'cat', 'dog'"):
        subgroups(table, "g", "y", "yhat", metrics="recall")
    with pytest.raises(SymphonyError, match="got 'eel'"):
        subgroups(table, "g", "y", "yhat", metrics="recall", positive="eel")
    assert subgroups(table, "g", "y", "yhat").cells[0].value == pytest.approx(2 / 3)


def test_rows_without_label_are_left_out_and_counted():
    table = {"g": ["a", "a", "b"], "y": [1, None, 1], "yhat": [1, 1, 0]}
    found = subgroups(table, "g", "y", "yhat")
    assert (found.missing, found.sizes.tolist()) == (1, [1, 1])
    assert confusion(table["y"], table["yhat"]).missing == 1


def test_the_same_seed_gives_the_same_intervals_whatever_the_other_groups():
    random = np.random.default_rng(0)
    table = {"g": ["a"] * 60 + ["b"] * 30, "y": random.integers(0, 2, 90)}
    table["yhat"] = random.integers(0, 2, 90)
    first = subgroups(table, "g", "y", "yhat", metrics="macro_f1", seed=3)
    assert first.cells == subgroups(table, "g", "y", "yhat", metrics="macro_f1", seed=3).cells
    alone = {name: values[:60] for name, values in table.items()}
    assert subgroups(alone, "g", "y", "yhat", metrics="macro_f1", seed=3).cells[0] == first.cells[0]
    other = subgroups(table, "g", "y", "yhat", metrics="macro_f1", seed=4)
    assert other.cells[0].lo != first.cells[0].lo or other.cells[0].hi != first.cells[0].hi


def test_gives_a_table_of_groups_and_metrics():
    rows = [("x", 0, 1, 1), ("y", 1, 1, 0)]
    table = subgroups(table_of(rows), ["a", "b"], "y", "yhat", metrics=NAMES, draws=5).to_table()
    assert table["a"] == ["x"] * len(NAMES) + ["y"] * len(NAMES)
    assert table["metric"] == list(NAMES) * 2
    assert {len(values) for values in table.values()} == {2 * len(NAMES)}
    assert set(AVERAGES) <= set(table["metric"])


def test_an_empty_table_has_no_groups():
    found = subgroups({"g": [], "y": [], "yhat": []}, "g", "y", "yhat", metrics=["accuracy", "f1"])
    assert (found.groups, found.cells) == ((), ())
    assert math.isnan(found.gaps["accuracy"].value)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"by": "h"}, ColumnError, "no column 'h': the table has 'g', 'y', 'yhat'"),
        ({"metrics": "auc"}, SymphonyError, "must be of accuracy.*got .*auc"),
        ({"metrics": []}, SymphonyError, "metrics must be of"),
        ({"by": []}, SymphonyError, "by must name a column"),
        ({"confidence": 1.0}, SymphonyError, "confidence must lie between 0 and 1"),
        ({"table": 3}, ColumnError, "got int"),
        ({"table": {"g": [1], "y": [1, 2]}}, ColumnError, "equal length, got 'g' 1, 'y' 2"),
    ],
)
def test_says_what_came_and_what_would_do(arguments, error, words):
    base = {"table": {"g": [1], "y": [1], "yhat": [1]}, "by": "g", "label": "y", "pred": "yhat"}
    with pytest.raises(error, match=words):
        subgroups(**{**base, **arguments})

"""Filters: built, written, read, and evaluated row by row."""

import datetime as dt
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from symphony_ui.columns import of_bools, of_floats, of_integers, of_texts
from symphony_ui.errors import FilterError
from symphony_ui.evaluate import evaluate, inside
from symphony_ui.filter import Filter, col, columns_of, rows
from symphony_ui.parse import parse
from symphony_ui.printing import print_tree

TABLE = {
    "x": [0.5, math.nan, -1.0, math.inf, 2.0],
    "n": [1, 2, 2, 3, 0],
    "s": ["a", None, "ab", "", "b"],
    "on": [True, False, None, True, False],
}
COLUMNS = {
    "x": of_floats("x", np.array(TABLE["x"])),
    "n": of_integers("n", np.array(TABLE["n"])),
    "s": of_texts("s", TABLE["s"], kind="text"),
    "on": of_bools("on", np.array([1, 0, 0, 1, 0]), np.array([False, False, True, False, False])),
}


def keeps(tree, row):
    """The oracle: one row, as PROTOCOL.md reads."""
    op, *args = tree
    if op == "all":
        return True
    if op == "not":
        return not keeps(args[0], row)
    if op in ("and", "or"):
        return (all if op == "and" else any)(keeps(child, row) for child in args)
    value = row[args[0]]
    gone = value is None or value != value
    if op == "missing":
        return gone
    if gone:
        return False
    if op == "between":
        return args[1] <= value <= args[2]
    if op == "in":
        return any(v is not None and value == v for v in args[1])
    if op == "contains":
        return args[1] in value
    if op == "startswith":
        return value.startswith(args[1])
    if op == "bin":
        return (args[1] is None or value >= args[1]) and (args[2] is None or value < args[2])
    tests = {"==": "__eq__", "!=": "__ne__", "<": "__lt__", "<=": "__le__", ">": "__gt__",
             ">=": "__ge__"}  # fmt: skip
    return getattr(value, tests[op])(type(value)(args[1]))


numbers = st.integers(-2, 4) | st.floats(-2, 4)
texts = st.sampled_from(["", "a", "ab", "b", "z", 'q"\\', "é"])
value_of = {"x": st.floats(-2, 4), "n": st.integers(-2, 4), "s": texts, "on": st.booleans()}
compared = st.sampled_from(list(value_of)).flatmap(
    lambda name: st.tuples(
        st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), st.just(name), value_of[name]
    ).map(list)
)
others = st.one_of(
    st.just(["all"]),
    st.sampled_from(list(value_of)).map(lambda name: ["missing", name]),
    st.tuples(st.just("between"), st.just("x"), numbers, numbers).map(list),
    st.tuples(st.just("bin"), st.just("n"), st.none() | numbers, st.none() | numbers).map(list),
    st.tuples(st.just("in"), st.just("s"), st.lists(st.none() | texts, max_size=3)).map(list),
    st.tuples(st.sampled_from(["contains", "startswith"]), st.just("s"), texts).map(list),
)
trees = st.recursive(
    compared | others,
    lambda inner: st.one_of(
        inner.map(lambda tree: ["not", tree]),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: ["and", *parts]),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: ["or", *parts]),
    ),
    max_leaves=5,
)


@given(trees)
def test_numpy_keeps_the_rows_that_a_loop_keeps(tree):
    each = [dict(zip(TABLE, row, strict=True)) for row in zip(*TABLE.values(), strict=True)]
    found = evaluate(Filter(tree).tree, COLUMNS, 5)
    assert found.tolist() == [keeps(tree, row) for row in each]
    assert evaluate(["not", tree], COLUMNS, 5).tolist() == (~found).tolist()


@given(trees)
def test_a_tree_is_read_back_from_its_text(tree):
    assert parse(print_tree(tree), list(COLUMNS)).tree == tree


@given(st.text(max_size=40))
def test_any_text_is_a_filter_or_an_error_with_a_place(text):
    place = None
    try:
        parse(text, ["x", "n"])
    except FilterError as error:
        place = error.pos
    assert place is None or 0 <= place <= len(text)


def test_filters_are_built_in_python():
    made = (col("x") >= 0.5) & ~(col("s").isin(["a", None])) | col("n").between(1, np.int64(2))
    assert str(made) == '(x >= 0.5 and not s in ["a", none]) or n between 1 and 2'
    assert parse(str(made)) == made
    assert columns_of(made.tree) == {"x", "s", "n"}
    later = col("t") < dt.datetime(2024, 1, 31, 12, 30)
    assert str(later) == "t < @2024-01-31T12:30:00Z"
    assert (col("n") == 2**60).tree == ["==", "n", {"int": str(2**60)}]
    assert str(col("odd `name`").contains('"')) == '`odd ``name``` contains "\\""'
    assert evaluate(rows([4, 0, 9]).tree, COLUMNS, 5).tolist() == [True, False, False, False, True]


def test_what_python_cannot_mean_is_refused():
    with pytest.raises(FilterError, match="neither true nor false"):
        bool(col("x") == 1)
    with pytest.raises(FilterError, match="is_missing"):
        _ = col("x") == math.nan
    with pytest.raises(FilterError, match="got list"):
        _ = col("x") == [1]


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ([], "begins with an operator"),
        (["and", ["all"]], "two filters or more, got 1"),
        (["==", "x"], "takes 2 arguments, got 1"),
        (["==", 3, 1], "named by text"),
        (["==", "x", None], "no value"),
        (["==", "x", float("nan")], "no value"),
        (["eval", "x", 1], "unknown operator"),
        (["contains", "s", 3], "text in quotes"),
        (["lasso", "x", "n", [[0]]], "list of points"),
        (["rows", "%%%"], "base64"),
        (["==", "t", {"time": 10**18}], "no value"),
        (["==", "n", {"int": "\u0663"}], "no value"),
    ],
)
def test_a_tree_that_is_none_is_refused(tree, says):
    with pytest.raises(FilterError, match=says):
        Filter(tree)


def test_a_tree_that_nests_without_end_is_refused():
    tree = ["all"]
    for _ in range(150):
        tree = ["not", tree]
    with pytest.raises(FilterError, match="nests at most"):
        Filter(tree)
    with pytest.raises(FilterError, match="too deep"):
        parse("(" * 5000 + "x == 1" + ")" * 5000)


@given(
    st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=3, max_size=7),
    st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), max_size=10),
)
def test_a_lasso_follows_the_even_odd_rule(polygon, points):
    def crossings(a, b):
        odd = False
        for k, (px, py) in enumerate(polygon):
            qx, qy = polygon[k - 1]
            if (py > b) != (qy > b):
                odd ^= a < (qx - px) * (b - py) / (qy - py) + px
        return odd

    x, y = (np.array([p[k] for p in points], dtype=float) for k in (0, 1))
    assert inside(x, y, [list(p) for p in polygon]).tolist() == [crossings(*p) for p in points]

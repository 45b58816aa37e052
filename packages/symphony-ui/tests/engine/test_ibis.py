"""The engine over Ibis answers as the numpy engine does, on DuckDB."""

import datetime as dt
import sys

import ibis
import numpy as np
import pytest
import symphony_ui as sui
from hypothesis import given, settings
from hypothesis import strategies as st
from symphony_ui.engine.base import edges
from symphony_ui.engine.ibis import IbisEngine
from symphony_ui.engine.numpy import NumpyEngine
from symphony_ui.errors import FilterError, FormatError, SymphonyError
from symphony_ui.filter import Filter, col
from symphony_ui.rows import encode_rows
from symphony_ui.state import State
from symphony_ui.table import load_table

pa = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.parquet")
ROWS = 240
WORDS = ["a", "b", "", "Ünï", "😀", 'quote"', "</script>", "B"]
DAY = dt.datetime(2024, 1, 31)


def made(seed=0):
    """A table with every kind of column and every kind of hole in it."""
    rng = np.random.default_rng(seed)

    def holes(values):
        return [None if gone else v for v, gone in zip(values, rng.random(ROWS) < 0.1, strict=True)]

    x = rng.normal(size=ROWS).round(2)
    x[:6] = [np.nan, np.inf, -np.inf, 0.0, -0.0, 0.1 + 0.2]
    big = rng.integers(-(2**62), 2**62, ROWS)
    big[:3] = [2**63 - 1, 2**53 + 1, -(2**63)]
    return pa.table(
        {
            "x": pa.array(holes(x.tolist()), pa.float64()),
            "f": pa.array(rng.random(ROWS).astype(np.float32)),
            "k": pa.array(holes(rng.integers(0, 5, ROWS).tolist()), pa.int64()),
            "big": pa.array(holes(big.tolist()), pa.int64()),
            "s": pa.array(holes(rng.choice(WORDS, ROWS).tolist()), pa.string()),
            "text": pa.array(holes([f"row {n % 200} {WORDS[n % 8]}" for n in range(ROWS)])),
            "flag": pa.array(holes((rng.random(ROWS) < 0.5).tolist()), pa.bool_()),
            "t": pa.array(
                holes(
                    [DAY + dt.timedelta(milliseconds=int(n)) for n in rng.integers(0, 10**9, ROWS)]
                ),
                pa.timestamp("ms"),
            ),
        }
    )


TABLE = made()
NUMPY = NumpyEngine(load_table(TABLE).columns, ROWS)
IBIS = IbisEngine(ibis.memtable(TABLE))

numbers = st.one_of(st.integers(-3, 6), st.floats(-3, 3).map(lambda v: round(v, 2)))
texts = st.sampled_from([*WORDS, "row 1", "zz"])
wide = st.sampled_from([2**53 + 1, -(2**63), 2**63 - 1, 2**70, 0, 7]).map(lambda n: {"int": str(n)})
times = st.integers(-5, 10**9).map(
    lambda ms: {"time": int(DAY.replace(tzinfo=dt.UTC).timestamp() * 1000) + ms}
)
VALUES = {"x": numbers, "f": numbers, "k": numbers | wide, "big": wide, "s": texts, "text": texts,
          "flag": st.booleans(), "t": times}  # fmt: skip
names = st.sampled_from(list(VALUES))


@st.composite
def comparisons(draw):
    name = draw(names)
    value = VALUES[name]
    op = draw(st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "between", "in", "missing"]))
    if op == "missing":
        return [op, name]
    if op == "between":
        return [op, name, draw(value), draw(value)]
    if op == "in":
        return [op, name, draw(st.lists(st.none() | value, max_size=3))]
    return [op, name, draw(value)]


points = st.lists(st.tuples(st.floats(-2, 2), st.floats(-1, 2)).map(list), min_size=2, max_size=6)
others = st.one_of(
    st.just(["all"]),
    st.tuples(st.just("contains"), st.sampled_from(["s", "text"]), texts).map(list),
    st.tuples(st.just("startswith"), st.sampled_from(["s", "text"]), texts).map(list),
    st.tuples(st.just("bin"), st.sampled_from(["x", "k"]), st.none() | numbers, st.none() | numbers)
    .map(list),
    st.tuples(st.just("lasso"), st.just("x"), st.just("f"), points).map(list),
    st.lists(st.integers(0, ROWS + 5)).map(lambda rows: ["rows", encode_rows(rows)]),
)  # fmt: skip
trees = st.recursive(
    comparisons() | others,
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner).map(list),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: ["and", *parts]),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: ["or", *parts]),
    ),
    max_leaves=4,
)
linear = st.tuples(numbers, numbers, st.integers(1, 9)).map(
    lambda b: {"type": "linear", "lo": min(b[:2]), "hi": max(b[:2]), "n": b[2]}
)
levels = st.sampled_from([["a", "B"], ["false", "true"], [0, 1, 2.5], [], ["row 1 b", 3]]).map(
    lambda found: {"type": "levels", "levels": found}
)
bins = linear | levels
order = st.lists(st.tuples(names, st.sampled_from(["asc", "desc"])).map(list), max_size=2)


@st.composite
def queries(draw):
    kind = draw(st.sampled_from(["count", "hist", "matrix", "rows", "groups"]))
    query = {"kind": kind, "view": draw(st.sampled_from(["v", "w"]))}
    if kind == "hist":
        query |= {"column": draw(names), "bins": draw(bins)}
    elif kind == "matrix":
        query |= {"x": draw(names), "xbins": draw(bins), "y": draw(names), "ybins": draw(bins)}
        query["value"] = draw(st.sampled_from([None, "f", "k"]))
    elif kind == "rows":
        query |= {
            "columns": draw(st.lists(names, max_size=3)),
            "sort": draw(order),
            "offset": draw(st.integers(0, 30)),
            "limit": draw(st.integers(0, 40)),
            "scope": draw(st.sampled_from(["visible", "context"])),
        }
    elif kind == "groups":
        by = st.lists(st.sampled_from(["k", "s", "flag", "x", "t"]), max_size=2, unique=True)
        query |= {"by": draw(by), "limit": draw(st.integers(0, 50))}
        query["scope"] = draw(st.sampled_from(["visible", "all"]))
    if kind != "count" and draw(st.booleans()):
        query["where"] = draw(trees)
    return query


states = st.builds(
    lambda tree, brush: State(
        filter=None if tree is None else Filter(tree),
        brushes={} if brush is None else {"v": Filter(brush)},
    ),
    st.none() | trees,
    st.none() | trees,
)


def alike(found, expected):
    """Equal, but for the rounding of sums, which each engine adds in an order of its own."""
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if key == "sum" and value is not None:
            for row, wanted in zip(found[key], value, strict=True):
                assert row == pytest.approx(wanted, abs=1e-9)
        else:
            assert found[key] == value, key


@settings(max_examples=120, deadline=None)
@given(states, queries())
def test_every_query_is_answered_as_numpy_answers_it(state, query):
    (expected,) = NUMPY.answer(state, [query])
    (found,) = IBIS.answer(state, [query])
    alike(found, expected)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 10)), min_size=2, max_size=4), states)
def test_a_brush_that_is_dragged_along_its_bins_is_counted_from_a_cube(steps, state):
    own = {"type": "linear", "lo": -2.0, "hi": 2.0, "n": 10}
    asked = [
        {"kind": "hist", "view": "drag", "column": "x", "bins": own},
        {
            "kind": "hist",
            "view": "v",
            "column": "k",
            "bins": {"type": "levels", "levels": [0, 1, 2]},
        },
        {"kind": "count"},
    ]
    at = edges(own).tolist()
    for first, width in steps:
        last = min(10, first + width)
        tree = ["between" if last == 10 else "bin", "x", at[first], at[last]]
        now = State(filter=state.filter, brushes={**state.brushes, "drag": Filter(tree)})
        for found, expected in zip(IBIS.answer(now, asked), NUMPY.answer(now, asked), strict=True):
            alike(found, expected)


@pytest.fixture
def questions(monkeypatch):
    """What is asked of the database from now on."""
    asked = []
    backend = type(ibis.duckdb.connect())
    ask = backend.to_pyarrow

    def told(self, expr, **options):
        asked.append(expr)
        return ask(self, expr, **options)

    monkeypatch.setattr(backend, "to_pyarrow", told)
    return asked


def test_a_brush_begins_with_one_question_a_chart_and_its_steps_ask_nothing(questions):
    engine = IbisEngine(ibis.memtable(TABLE))
    bins = {name: {"type": "linear", "lo": -2.0, "hi": 2.0, "n": 8} for name in ("x", "f", "k")}
    asked = [{"kind": "hist", "view": n, "column": n, "bins": b} for n, b in bins.items()]
    asked.append({"kind": "count"})
    engine.answer(State(), asked)
    counts = []
    for tree in (["bin", "x", -1.0, 0.5], ["bin", "x", 0.0, 1.5], ["between", "x", 0.5, 2.0]):
        del questions[:]
        state = State(brushes={"x": Filter(tree)})
        assert engine.answer(state, asked) == NUMPY.answer(state, asked)
        counts.append(len(questions))
    assert counts == [2, 0, 0]  # f and k; the brushed one and the count are known


@pytest.mark.parametrize(
    ("lo", "hi", "n"),
    [(0, 1, 20), (-2.5, 0.3, 7), (0.1, 0.7, 6), (-1e-300, 3e-300, 11), (1e15, 1e15 + 40, 13),
     (0, 1, 1), (-1, 1, 120), (1 / 3, 2 / 3, 97), (-1e300, 1e300, 9), (-1.5e308, 1.5e308, 5),
     (0, 5e-324, 3), (2, 2, 3)],
)  # fmt: skip
def test_values_at_the_edges_of_bins_and_beside_them_are_in_the_oracle_s_bins(lo, hi, n):
    bins = {"type": "linear", "lo": lo, "hi": hi, "n": n}
    at = edges(bins)
    beside = [np.nextafter(at, -np.inf), at, np.nextafter(at, np.inf), [np.inf, -np.inf, np.nan]]
    table = pa.table({"x": pa.array(np.concatenate(beside), pa.float64())})
    query = {"kind": "hist", "view": "v", "column": "x", "bins": bins}
    near = NumpyEngine(load_table(table).columns)
    assert IbisEngine(ibis.memtable(table)).answer(State(), [query]) == near.answer(
        State(), [query]
    )


@pytest.mark.filterwarnings("ignore:fetch_arrow_table")  # Ibis's use of DuckDB (November 2026)
@pytest.mark.parametrize(
    "values",
    [[0.1, np.nan, 0.9, None], [1.0, np.nan], [1.0] * 2000 + [np.nan], [np.nan, np.nan],
     [np.inf, np.nan, -np.inf, 1.0], [0.0, np.nan], [0.5, 0.25]],
)  # fmt: skip
def test_nan_in_parquet_is_missing_as_it_is_everywhere(tmp_path, values):
    path = tmp_path / "t.parquet"
    pa.parquet.write_table(pa.table({"x": pa.array(values, pa.float64())}), path)
    far, near = IbisEngine(ibis.read_parquet(path)), NumpyEngine(load_table(path).columns)
    assert [s["extent"] for s in far.specs()] == [s["extent"] for s in near.specs()]
    bins = {"type": "linear", "lo": 0, "hi": 1, "n": 2}
    asked = [
        {"kind": "hist", "view": "v", "column": "x", "bins": bins},
        {"kind": "rows", "view": "v", "columns": ["x"]},
        {"kind": "groups", "by": ["x"]},
        {"kind": "count"},
    ]
    for state in (State(), State(filter=Filter(["missing", "x"])), State(filter=col("x") != 1)):
        assert far.answer(state, asked) == near.answer(state, asked)


def test_a_selection_of_thousands_of_rows_needs_no_pandas(monkeypatch):
    table = pa.table({"x": pa.array(range(5000))})
    engine = IbisEngine(ibis.memtable(table))
    rows = list(range(0, 5000, 3))
    monkeypatch.setitem(sys.modules, "pandas", None)
    state = State(filter=~Filter(["rows", encode_rows(rows)]))
    query = {"kind": "rows", "view": "v", "columns": ["x"], "limit": 9000}
    found = engine.answer(state, [query])[0]
    assert found["index"] == sorted(set(range(5000)) - set(rows))
    assert [row for (row,) in found["rows"]] == found["index"]


def test_what_is_remembered_has_a_bound(questions, monkeypatch):
    engine = IbisEngine(ibis.memtable(pa.table({"x": list(range(100)), "t": ["a", "b"] * 50})))
    bins = {"type": "linear", "lo": 0, "hi": 99, "n": 10}
    asked = [{"kind": "hist", "view": "v", "column": "x", "bins": bins}]
    asked.append({"kind": "groups", "by": ["t"]})
    engine.answer(State(), asked)
    weight = engine._cubes.weight
    assert weight == 12 * 8 + 2 * 500
    monkeypatch.setattr("symphony_ui.engine.cubes.KEPT", 3 * weight)
    for k in range(20):
        engine.answer(State(filter=col("x") > k), asked)
        assert engine._cubes.weight <= 3 * weight
    del questions[:]
    engine.answer(State(filter=col("x") > 19), asked)
    assert questions == []


def test_rows_are_numbered_in_the_order_that_the_user_gives():
    table = ibis.memtable(pa.table({"x": [3, 1, 2]}))
    query = {"kind": "rows", "view": "v", "columns": ["x"]}
    (found,) = IbisEngine(table, "x").answer(State(), [query])
    assert (found["rows"], found["index"]) == ([[1], [2], [3]], [0, 1, 2])
    with pytest.raises(FilterError, match='no column "y"'):
        IbisEngine(table, ["y"])


def test_columns_that_no_chart_holds_are_named():
    page = sui.Page(sui.Ibis(ibis.memtable(pa.table({"x": [1, 2], "l": [[1], [2]]}))))
    assert page.skipped == {"l": "array<int64>"}
    assert page.notes == ("Column l was left out of the page: it holds array<int64>.",)


def test_columns_are_described_as_numpy_describes_them():
    mine = {spec["name"]: spec for spec in IBIS.specs()}
    for spec in NUMPY.specs():
        found = mine[spec["name"]]
        assert found["kind"] == spec["kind"], spec["name"]
        assert found["extent"] == spec["extent"], spec["name"]
        if spec["kind"] in ("category", "bool"):
            assert found["levels"] == spec["levels"], spec["name"]


def test_a_page_over_ibis_filters_and_hands_out_expressions():
    page = sui.Page(sui.Ibis(ibis.memtable(TABLE)), filter="k >= 2")
    assert page.remote
    kept = [v for v in TABLE["k"].to_pylist() if v is not None and v >= 2]
    assert page.frame("visible").count().to_pyarrow().as_py() == len(kept)
    assert page.frame("all").count().to_pyarrow().as_py() == ROWS
    with pytest.raises(SymphonyError, match=r"page\.frame"):
        _ = page.visible
    with pytest.raises(SymphonyError, match="'visible' or 'all'"):
        page.frame("selected")
    with pytest.raises(SymphonyError, match="cannot be saved"):
        page.to_html()


def test_what_does_not_fit_is_refused():
    with pytest.raises(SymphonyError, match="table expression, got int"):
        IbisEngine(3)
    with pytest.raises(FilterError, match='did you mean "flag"'):
        IBIS.check(["==", "flg", True])
    with pytest.raises(FilterError, match="cannot be compared"):
        IBIS.check(["==", "k", "2"])
    with pytest.raises(FormatError, match="no such query"):
        IBIS.answer(State(), [{"kind": "drop"}])
    with pytest.raises(SymphonyError, match="media and kinds"):
        sui.Page(sui.Ibis(ibis.memtable(TABLE)), kinds={"k": "text"})


def test_hostile_names_and_texts_are_only_names_and_texts():
    name = 'x"; DROP TABLE t; --'
    table = ibis.memtable({name: ["a'; --", "b"], "n": [1, 2]})
    page = sui.Page(sui.Ibis(table), filter=col(name) == "a'; --")
    assert page.frame("visible").count().to_pyarrow().as_py() == 1

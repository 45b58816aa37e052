"""A page: one state, from Python and from views; rows, ids, annotations; engines' answers."""

import base64
import contextlib
import json
import threading

import numpy as np
import pytest
import symphony_ui as sui
from hypothesis import given
from hypothesis import strategies as st
from symphony_ui.engine.base import edges
from symphony_ui.engine.numpy import NumpyEngine
from symphony_ui.errors import ColumnError, FilterError, FormatError, SymphonyError
from symphony_ui.rows import decode_rows, encode_rows
from symphony_ui.state import State

TABLE = {
    "score": [0.1, 0.9, 0.5, None],
    "label": ["a", "b", "a", None],
    "pred": ["a", "a", "a", "b"],
    "key": ["w", "x", "y", "z"],
}


@pytest.fixture
def page():
    return sui.Page(TABLE, id="key")


def message(state, origin="browser", seq=1):
    return {"state": state.to_json(), "origin": origin, "seq": seq}


def test_filter_brushes_and_selection_are_set_from_python(page):
    page.filter = "score >= 0.5"
    assert page.visible.tolist() == [False, True, True, False]
    page.filter = sui.filter.col("label") == "a"
    assert str(page.filter) == 'label == "a"'
    page.filter = None
    page.selected = [2, 0, 2]
    assert page.selected.tolist() == [0, 2]
    page.selected = np.array([False, True, False, True])
    assert page.selected_ids == ["x", "z"]
    page.selected_ids = ["y"]
    assert page.selected.tolist() == [2]
    assert page.frame("selected") == {k: [v[2]] for k, v in TABLE.items()}
    assert page.frame([1])["key"] == ["x"]
    page.group_by = "label"
    assert page.group_by == ("label",)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda page: setattr(page, "filter", "scor > 1"), 'did you mean "score"'),
        (lambda page: setattr(page, "filter", 'score > "1"'), "cannot be compared"),
        (lambda page: setattr(page, "filter", 3), "text, a Filter or None, got int"),
        (lambda page: setattr(page, "group_by", ["lable"]), 'did you mean "label"'),
        (lambda page: setattr(page, "selected", [4]), "from 0 to 3, got 4"),
        (lambda page: setattr(page, "selected", [0.5]), "numbers or a mask"),
        (lambda page: page.frame("none"), "'visible', 'selected' or 'all'"),
        (lambda page: page.on_change(print, keys=["rows"]), "keys must be among"),
        (lambda page: page.view("scatter-9"), "there are summary-1"),
        (lambda page: page.annotate(9, "x"), "rows from 0 to 3, got 9"),
        (lambda page: page.save("x.html", precision="low"), "'exact' or 'display'"),
        (lambda page: sui.Page(TABLE, sort=["nope"]), "no column"),
        (lambda page: sui.Page(TABLE, engine="gpu"), "'browser' or 'remote'"),
    ],
)
def test_what_does_not_fit_says_what_came_and_changes_nothing(page, change, says):
    before = page.state
    with pytest.raises(SymphonyError, match=says):
        change(page)
    assert page.state == before


def test_ids_need_a_column_of_ids():
    with pytest.raises(ColumnError, match="pass id="):
        _ = sui.Page(TABLE).selected_ids


def test_callbacks_hear_of_the_keys_they_asked_for_until_they_are_ended(page):
    heard = []
    end = page.on_change(lambda p: heard.append(("any", len(p.selected))))
    page.on_change(lambda p: heard.append(("filter", str(p.filter))), keys=["filter"])
    page.on_change(lambda p: heard.append("note"), keys=["annotations"])
    page.selected = [1]
    page.filter = "score > 0"
    page.filter = "score > 0"  # nothing new
    page.annotate(0, "good")
    end()
    page.selected = []
    assert heard == [
        ("any", 1), ("any", 1), ("filter", "score > 0"), ("any", 1), "note",
    ]  # fmt: skip


def test_a_view_is_told_of_every_change_but_its_echo_is_its_own(page):
    told = []
    end = page.session.listen(lambda kind, m: told.append((kind, m.get("origin"))))
    state = State.from_json({**page.state.to_json(), "group_by": ["label"]})
    page.session.receive(message(state))
    assert page.group_by == ("label",)
    page.session.receive(message(State(), seq=1))  # late
    assert page.group_by == ("label",)
    page.session.receive(message(State(), seq=2))
    page.group_by = "pred"
    assert [origin for _, origin in told][:2] == ["browser", "browser"]
    assert told[2][1].startswith("python-")
    end()
    page.group_by = ()
    assert len(told) == 3


@pytest.mark.parametrize(
    "raw",
    [
        None,
        {},
        {"state": {"v": 1}, "origin": "", "seq": 1},
        {"state": {"v": 1}, "origin": "a", "seq": True},
        {"state": {"v": 2}, "origin": "a", "seq": 1},
        {"state": {"v": 1, "filter": ["==", "nope", 1]}, "origin": "a", "seq": 1},
        {"state": {"v": 1, "sort": [["score", "up"]]}, "origin": "a", "seq": 1},
        {"state": {"v": 1, "selection": {"rows": "?"}}, "origin": "a", "seq": 1},
    ],
)
def test_a_message_that_is_none_is_refused_and_changes_nothing(page, raw):
    with pytest.raises(SymphonyError):
        page.session.receive(raw)
    assert page.state == State()


def test_annotations_are_the_last_writers_and_come_out_as_columns(page, tmp_path):
    page.annotate(2, "bad", "why")
    page.annotate(0, "good")
    page.session.annotate({"row": [2], "label": ["fine"], "note": [""]})
    page.annotate(0)
    assert page.annotations == {"row": [2], "id": ["y"], "label": ["fine"], "note": [""]}
    text = page.annotations_to(tmp_path / "a.csv").read_text()
    assert text.splitlines() == ["row,id,label,note", "2,y,fine,"]


def test_threads_may_change_a_page_at_once(page):
    heard = []
    page.on_change(lambda p: heard.append(1), keys=["annotations"])

    def work(k):
        for n in range(50):
            page.annotate(k, f"{n}")

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert page.annotations["label"] == ["49"] * 4
    assert len(heard) == 200


def test_changes_of_two_threads_both_stay(page):
    check = page.session._check
    other = threading.Thread(target=lambda: setattr(page, "filter", "score > 0"))

    def slow(state):
        if state.group_by and not other.ident:  # the second thread begins while this one checks
            other.start()
            other.join(0.2)
        check(state)

    page.session._check = slow
    page.group_by = "label"
    other.join()
    assert (page.group_by, str(page.filter)) == (("label",), "score > 0")


def test_a_callback_that_raises_silences_no_other(page):
    heard = []

    def broken(page):
        raise ZeroDivisionError("mine")

    page.on_change(broken)
    page.on_change(lambda p: heard.append("callback"))
    page.session.listen(lambda kind, m: heard.append("view"))
    with pytest.raises(ZeroDivisionError, match="mine"):
        page.group_by = "label"
    assert sorted(heard) == ["callback", "view"]
    page.on_change(broken)
    with pytest.raises(ExceptionGroup, match="2 of those who heard"):
        page.group_by = ()
    assert page.group_by == ()


@given(st.sets(st.integers(0, 2**53)).map(sorted))
def test_rows_survive_their_text(rows):
    assert decode_rows(encode_rows(rows)).tolist() == rows


def test_a_row_number_takes_eight_bytes_at_most_also_where_they_say_nothing():
    assert decode_rows(base64.b64encode(bytes([128] * 7 + [0])).decode()).tolist() == [0]
    for raw in ([128] * 8 + [0], [128] * 9 + [2], [255] * 7 + [127]):
        with pytest.raises(FormatError, match="too large"):
            decode_rows(base64.b64encode(bytes(raw)).decode())


@given(st.text(alphabet="ABab/+=01", max_size=24))
def test_any_text_is_rows_or_a_clear_error(text):
    with contextlib.suppress(FormatError):
        assert encode_rows(decode_rows(text)) is not None


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
))  # fmt: skip
def test_any_json_is_a_state_or_a_clear_error(raw):
    for candidate in (raw, {"v": 1, "views": raw}, {"v": 1, "filter": raw}, {"v": 1, "sort": raw}):
        with contextlib.suppress(FormatError):
            State.from_json(candidate)


def test_a_selection_that_fits_no_address_is_left_out():
    rows = np.random.default_rng(0).choice(10**7, 40_000, replace=False)
    full = State(selection=encode_rows(rows), group_by=("label",))
    back = State.from_fragment(full.to_fragment())
    assert (back.selection, back.group_by) == ("", ("label",))
    assert State.from_fragment("#tab=x") is None
    for bad in ("s=%%%", "s=AAAA", "s=" + "A" * 20_000):
        with pytest.raises(FormatError):
            State.from_fragment(bad)


def test_a_bomb_in_an_address_is_not_inflated_without_end():
    import zlib

    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    raw = packer.compress(b" " * 100_000_000) + packer.flush()
    with pytest.raises(FormatError):
        State.from_fragment("s=" + base64.urlsafe_b64encode(raw[:12_000]).decode().rstrip("="))


def test_the_same_spec_goes_to_all_hosts(page):
    page.filter = "score > 0"
    specs = [{**page.spec(host), "host": ""} for host in ("saved", "live", "widget")]
    assert specs[0] == specs[1] == specs[2]
    text = json.dumps(specs[0], allow_nan=False, sort_keys=True)
    assert json.loads(text) == specs[0]
    alone = page.spec("widget", "summary-1")
    assert (alone["toolbar"], len(alone["layout"][0]["rows"])) == (False, 1)


columns = st.lists(
    st.tuples(st.none() | st.floats(-2, 2), st.none() | st.sampled_from("abc")),
    min_size=1,
    max_size=30,
)
cut = st.floats(-2, 2)


@given(columns, cut, st.none() | cut, st.integers(1, 8))
def test_counts_are_those_of_a_loop_and_a_brush_spares_its_own_view(rows, lo, other, n):
    table = {"x": [r[0] for r in rows], "c": [r[1] for r in rows]}
    page = sui.Page(table, kinds={"c": "category"})
    brushes = {"v": ["bin", "x", lo, None]} | ({} if other is None else {"w": ["<", "x", other]})
    state = State.from_json({"v": 1, "brushes": brushes})
    bins = {"type": "linear", "lo": -2, "hi": 2, "n": n}
    hist, groups = page.answer(
        state.to_json(),
        [
            {"kind": "hist", "view": "v", "column": "x", "bins": bins},
            {"kind": "groups", "by": ["c"], "limit": 10},
        ],
    )
    ends = edges(bins)

    def place(value):
        if value is None:
            return n + 1
        return next(k for k in range(n) if value < ends[k + 1] or k == n - 1)

    def passes(value, names):
        tests = {
            "v": lambda x: x is not None and x >= lo,
            "w": lambda x: x is not None and x < other,
        }
        return all(tests[name](value) for name in names)

    for scope, names in (("all", []), ("context", set(brushes) - {"v"}), ("visible", brushes)):
        wanted = [0] * (n + 2)
        for value, _ in rows:
            if passes(value, names):
                wanted[place(value)] += 1
        assert list(hist[scope]) == wanted, scope
    seen = [c for value, c in rows if passes(value, brushes)]
    expected = sorted(
        ({"key": [c], "count": seen.count(c)} for c in set(seen)),
        key=lambda g: (-g["count"], g["key"][0] is None, g["key"][0] or ""),
    )
    assert groups["groups"] == expected


def test_rows_are_sorted_stably_with_missing_last():
    page = sui.Page({"x": [2.0, None, 1.0, 2.0], "s": ["b", "a", None, "a"]})
    asked = {"kind": "rows", "view": "t", "columns": ["x", "s"], "offset": 0, "limit": 9}
    for sort, order in (
        ([["x", "asc"]], [2, 0, 3, 1]),
        ([["x", "desc"]], [0, 3, 2, 1]),
        ([["s", "asc"], ["x", "desc"]], [3, 1, 0, 2]),
    ):
        (answer,) = page.answer(State().to_json(), [{**asked, "sort": sort}])
        assert answer["index"] == order
    (part,) = page.answer(State().to_json(), [{**asked, "offset": 1, "limit": 2}])
    assert (part["index"], part["total"]) == ([1, 2], 4)
    assert part["rows"] == [[None, "a"], [1.0, None]]


def linear(lo, hi, n):
    return {"type": "linear", "lo": lo, "hi": hi, "n": n}


@pytest.mark.parametrize(
    "query",
    [
        {"kind": "hist", "view": "v", "column": "x", "bins": linear(1, 0, 3)},
        {"kind": "hist", "view": "v", "column": "x", "bins": linear(0, 1, 10**9)},
        {"kind": "matrix", "view": "v", "x": "x", "y": "x", "value": None,
         "xbins": linear(0, 1, 60_000), "ybins": linear(0, 1, 60_000)},
        {"kind": "rows", "view": "v", "columns": ["x"], "limit": 10**9},
        {"kind": "rows", "view": "v", "columns": "x"},
        {"kind": "rows", "view": "v", "columns": ["x"], "sort": [["nope", "asc"]]},
        {"kind": "groups", "by": ["nope"]},
        {"kind": "groups", "by": ["x"], "scope": "context"},
        {"kind": "_count"},
        "count",
    ],
)  # fmt: skip
def test_queries_that_do_not_fit_are_refused(query):
    engine = NumpyEngine(sui.Page({"x": [1.0]}).table.columns, 1)
    with pytest.raises((FormatError, FilterError)):
        engine.answer(State(), [query])


def test_millions_of_rows_stay_in_python():
    page = sui.Page({"x": np.arange(5_000_000, dtype=np.int32)})
    assert page.remote
    assert page.spec("live")["engine"] == "remote"
    assert not sui.Page({"x": [1]}).remote

"""The vectors that the browser's tests run too: both read, print, keep, count and pack alike."""

import json
from pathlib import Path

import numpy as np
import pytest
from symphony_ui.columns import Column, of_bools, of_integers, of_texts, of_times
from symphony_ui.engine.base import edges
from symphony_ui.engine.numpy import NumpyEngine
from symphony_ui.errors import FilterError, FormatError
from symphony_ui.evaluate import evaluate
from symphony_ui.filter import check
from symphony_ui.parse import parse
from symphony_ui.printing import print_tree
from symphony_ui.rows import decode_rows, encode_rows
from symphony_ui.state import State

FOLDER = Path(__file__).parents[1] / "js" / "test" / "vectors"


def vectors(name):
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def column(spec):
    """A column of a vector: null is missing, infinities are texts."""
    name, kind, raw = spec["name"], spec["kind"], spec["values"]
    if kind == "number":
        values = [np.nan if v is None else float(v) for v in raw]
        if spec["dtype"].startswith("int") and None not in raw:
            return of_integers(name, np.array(raw, dtype=spec["dtype"]))
        return Column(
            name, "number", spec["dtype"], np.array(values, dtype=spec["dtype"]), len(raw)
        )
    if kind == "bool":
        gaps = np.array([v is None for v in raw])
        return of_bools(name, np.array([bool(v) for v in raw]), gaps)
    if kind == "time":
        times = [np.datetime64("NaT" if v is None else int(v), "ms") for v in raw]
        return of_times(name, np.array(times))
    if spec.get("dtype") in ("int64", "uint64"):
        gaps = np.array([v is None for v in raw])
        return of_integers(name, np.array([int(v or 0) for v in raw], spec["dtype"]), gaps)
    return of_texts(name, raw, kind=kind)


FILTER = vectors("filter")
COLUMNS = {spec["name"]: column(spec) for spec in FILTER["columns"]}
STATE = vectors("state")


@pytest.mark.parametrize("case", FILTER["cases"], ids=lambda case: case["text"][:40])
def test_each_text_reads_as_its_tree_which_keeps_its_rows_and_prints_back(case):
    found = parse(case["text"], list(COLUMNS))
    assert found.tree == case["tree"]
    assert parse(print_tree(case["tree"])).tree == case["tree"]
    kept = evaluate(case["tree"], COLUMNS, FILTER["rows"])
    assert np.flatnonzero(kept).tolist() == case["rows"]
    assert (~kept).tolist() == evaluate(["not", case["tree"]], COLUMNS, FILTER["rows"]).tolist()


@pytest.mark.parametrize("case", FILTER["errors"], ids=lambda case: case["text"][:40])
def test_an_error_says_where_it_is_and_what_would_do(case):
    with pytest.raises(FilterError) as error:
        parse(case["text"], list(COLUMNS))
    assert error.value.pos == case["pos"]
    assert case["says"] in str(error.value)


@pytest.mark.parametrize("tree", FILTER["refused"], ids=json.dumps)
def test_values_that_do_not_compare_with_a_column_are_refused(tree):
    def try_it():
        check(tree)
        evaluate(tree, COLUMNS, FILTER["rows"])

    with pytest.raises(FilterError):
        try_it()


@pytest.mark.parametrize("case", STATE["rows"], ids=lambda case: case["text"][:20])
def test_row_numbers_are_packed_alike(case):
    assert encode_rows(case["rows"]) == case["text"]
    assert decode_rows(case["text"]).tolist() == case["rows"]


@pytest.mark.parametrize("text", STATE["broken"])
def test_broken_row_numbers_are_refused(text):
    with pytest.raises(FormatError):
        decode_rows(text)


@pytest.mark.parametrize("case", STATE["states"], ids=lambda case: case["fragment"][:20])
def test_each_fragment_holds_its_state(case):
    assert State.from_fragment(case["fragment"]).to_json() == case["state"]
    assert (
        State.from_fragment(State.from_json(case["state"]).to_fragment()).to_json()
        == (case["state"])
    )


@pytest.mark.parametrize("raw", STATE["refused"], ids=lambda raw: str(raw.get("v")))
def test_a_state_of_another_version_is_refused(raw):
    with pytest.raises(FormatError, match="version"):
        State.from_json(raw)


@pytest.mark.parametrize("case", vectors("binning")["linear"])
def test_numbers_fall_into_the_same_bins(case):
    values = np.array([np.nan if v is None else float(v) for v in case["values"]])
    engine = NumpyEngine([Column("x", "number", "float64", values, len(values))], len(values))
    query = {"kind": "hist", "view": "v", "column": "x", "bins": case["bins"]}
    (answer,) = engine.answer(State(), [query])
    assert list(answer["all"]) == list(answer["visible"]) == case["counts"]
    ends = edges(case["bins"])
    assert (ends[0], ends[-1]) == (case["bins"]["lo"], case["bins"]["hi"])


@pytest.mark.parametrize("case", vectors("binning")["levels"])
def test_values_fall_on_the_same_levels(case):
    raw = case["values"]
    if any(isinstance(v, str) for v in raw):
        made = of_texts("x", raw, kind="category")
    else:
        values = np.array([np.nan if v is None else v for v in raw], dtype=np.float64)
        made = Column("x", "number", "float64", values, len(raw))
    bins = {"type": "levels", "levels": case["levels"]}
    query = {"kind": "hist", "view": "v", "column": "x", "bins": bins}
    (answer,) = NumpyEngine([made], len(raw)).answer(State(), [query])
    assert list(answer["all"]) == case["counts"]

"""Any table comes in, keeps its values, goes into Arrow, and its rows come back in its own type."""

import contextlib
import datetime as dt
import json
import math
import zipfile

import numpy as np
import pytest
import symphony_ui as sui
from arro3.core import Array, DataType, Table
from hypothesis import given, settings
from hypothesis import strategies as st
from symphony_ui import arrow
from symphony_ui.columns import SymphonyWarning
from symphony_ui.errors import ColumnError, FormatError, SymphonyError
from symphony_ui.table import load_table

PLAIN = {"x": [0.5, None, 2.0], "name": ["a", "b", None], "n": [1, 2, 3], "on": [True, None, False]}


def cells(data, **options):
    """The cells of each column of a table, as the browser gets them."""
    return {c.name: c.cells() for c in load_table(data, **options).columns}


def kinds(data, **options):
    return {c.name: c.kind for c in load_table(data, **options).columns}


def frames():
    import duckdb
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    plain = {**PLAIN, "t": [dt.datetime(2024, 1, 31, 12), None, dt.datetime(1970, 1, 1)]}
    polars = pl.DataFrame(plain)
    arrow = pa.table(plain)
    return {
        "dict": plain,
        "records": [
            dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)
        ],
        "pandas": pd.DataFrame(plain).convert_dtypes(),
        "polars": polars,
        "lazy": polars.lazy(),
        "pyarrow": arrow,
        "duckdb": duckdb.sql("select * from arrow"),
    }


@pytest.mark.parametrize("name", frames())
def test_every_kind_of_frame_gives_the_same_page_and_its_own_rows_back(name):
    data = frames()[name]
    found = cells(data)
    assert found["x"] == [0.5, None, 2.0]
    assert found["name"] == ["a", "b", None]
    assert found["n"] == [1, 2, 3]
    assert found["on"] == [True, None, False]
    assert found["t"] == [1706702400000.0, None, 0.0]
    page = sui.Page(data, filter="n >= 2")
    back = page.frame("visible")
    if name not in ("lazy", "duckdb"):  # those have no rows of their own any more
        assert type(back) is type(data)
    assert [c for c in cells(back)["n"]] == [2, 3]


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "arrow", "feather", "jsonl", "npz"])
def test_files_are_read_by_their_ending(tmp_path, ending):
    import polars as pl

    frame = pl.DataFrame({"x": [0.5, 2.0], "name": ["a", "b"]})
    path = tmp_path / f"table.{ending}"
    if ending == "csv":
        frame.write_csv(path)
    elif ending == "tsv":
        frame.write_csv(path, separator="\t")
    elif ending == "parquet":
        frame.write_parquet(path)
    elif ending in ("arrow", "feather"):
        frame.write_ipc(path)
    elif ending == "jsonl":
        frame.write_ndjson(path)
    else:
        np.savez(path, x=[0.5, 2.0], name=["a", "b"])
    assert cells(path) == {"x": [0.5, 2.0], "name": ["a", "b"]}


@given(st.binary(max_size=300), st.sampled_from(["csv", "parquet", "arrow", "jsonl", "npz"]))
def test_any_bytes_are_a_table_or_a_clear_error(tmp_path_factory, raw, ending):
    path = tmp_path_factory.mktemp("any") / f"t.{ending}"
    path.write_bytes(raw)
    with contextlib.suppress(SymphonyError):
        load_table(path)


def test_json_lines_keep_the_order_of_their_columns(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('\n{"z": 1, "a": "x"}\n{"m": 2.5, "b": true}\n{"z": 3}\n')
    assert list(cells(path)) == ["z", "a", "m", "b"]


def test_an_npz_that_asks_for_more_than_there_is_is_refused(tmp_path):
    path, header = tmp_path / "t.npz", b"{'descr': '<f4', 'fortran_order': False, 'shape': (%d,), }"
    with zipfile.ZipFile(path, "w") as archive:
        text = (header % 10**15).ljust(117) + b"\n"
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00\x76\x00" + text)
    with pytest.raises(FormatError, match=r"cannot be read as \.npz"):
        sui.Page(path)


def test_an_npz_with_a_pickle_is_refused(tmp_path):
    path = tmp_path / "t.npz"
    np.savez(path, x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(FormatError, match="cannot be read"):
        load_table(path)


def test_what_is_no_table_is_refused_with_what_would_do(tmp_path):
    with pytest.raises(SymphonyError, match=r"data must be a data frame, a mapping.*got int"):
        load_table(3)
    with pytest.raises(SymphonyError, match="mappings, one a row, got int at 1"):
        load_table([{"a": 1}, 2])
    with pytest.raises(SymphonyError, match="structured"):
        load_table(np.zeros((2, 2)))
    with pytest.raises(ColumnError, match="equal length, got 'a' 1, 'b' 2"):
        load_table({"a": [1], "b": [1, 2]})
    with pytest.raises(ColumnError, match="must be a list or an array, got str"):
        load_table({"a": "text"})
    with pytest.raises(ColumnError, match="is complex"):
        load_table({"a": np.array([1j])})
    (tmp_path / "a.pkl").write_bytes(b"")
    with pytest.raises(FormatError, match="is none of"):
        load_table(tmp_path / "a.pkl")
    with pytest.raises(FormatError, match="is no file"):
        load_table(tmp_path / "a.csv")


def test_integers_that_no_float_holds_stay_whole_and_compare_as_integers():
    big = [2**63 - 1, 2**53 + 1, -(2**63), 1]
    page = sui.Page({"big": np.array(big)}, filter=f"big > {2**53}")
    assert cells({"big": np.array(big)})["big"] == [str(v) for v in big]
    assert page.visible.tolist() == [True, True, False, False]
    wide = np.array([2**64 - 1, 0], dtype=np.uint64)
    assert cells({"u": wide})["u"] == [str(2**64 - 1), "0"]
    near = load_table({"n": np.array([2**53, 5])}).columns[0]
    assert (near.kind, near.integer) == ("number", True)


def test_nan_is_missing_infinity_is_not_and_json_stays_json():
    column = load_table({"x": [math.nan, math.inf, -math.inf, 1.5]}).columns[0]
    assert column.cells() == [None, "Infinity", "-Infinity", 1.5]
    assert column.missing.tolist() == [True, False, False, False]
    assert column.extent == (1.5, 1.5)
    json.dumps(column.spec(), allow_nan=False)


@pytest.mark.parametrize(
    "data", [{}, {"x": []}, {"x": np.zeros(0), "s": np.array([], dtype=str)}, []]
)
def test_tables_of_nothing_are_pages_that_come_back(data, tmp_path):
    page = sui.Page(data)
    assert page.rows == 0
    assert sui.load(page.save(tmp_path / "page.html")).to_html() == page.to_html()
    assert page.visible.tolist() == []


def test_texts_that_repeat_are_categories_and_others_are_text():
    many = [f"a sentence that is number {n}" for n in range(3000)]
    assert kinds({"few": ["a", "b"] * 1500, "many": many}) == {"few": "category", "many": "text"}
    assert kinds({"few": ["a", "b"]}, kinds={"few": "text"}) == {"few": "text"}
    assert kinds({"n": [1, 2]}, kinds={"n": "category"}) == {"n": "category"}
    with pytest.raises(ColumnError, match="cannot be shown as time"):
        load_table({"n": [1, 2]}, kinds={"n": "time"})
    with pytest.raises(ColumnError, match="must be one of number"):
        load_table({"n": [1, 2]}, kinds={"n": "colour"})
    with pytest.raises(ColumnError, match="no column"):
        load_table({"n": [1, 2]}, kinds={"m": "text"})


def test_vectors_are_left_out_and_said_to_be():
    page = sui.Page({"x": [1, 2], "embedding": np.zeros((2, 5))})
    assert list(page.skipped) == ["embedding"]
    assert "embedding" in page.notes[0]
    assert page.frame("all")["embedding"].shape == (2, 5)


def test_names_that_are_no_text_or_doubled():
    assert list(cells({1: [1], "a": [2], "\ud800": [3]})) == ["1", "a", "?"]
    with pytest.raises(ColumnError, match="two columns are named '1'"):
        load_table({1: [1], "1": [2]})
    with pytest.raises(ColumnError, match="holds NUL"):
        load_table({"a\0b": [1]})


def test_ids_that_repeat_or_are_missing_are_told():
    with pytest.warns(SymphonyWarning, match="repeat an id"):
        page = sui.Page({"id": ["a", "a", "b"]}, id="id")
    page.selected_ids = ["a"]
    assert page.selected.tolist() == [0, 1]
    with pytest.warns(SymphonyWarning, match="have no id"):
        sui.Page({"id": ["a", None]}, id="id")
    with pytest.raises(ColumnError, match="id names 'key'"):
        sui.Page({"id": ["a"]}, id="key")


values = {
    "x": st.none() | st.floats(allow_nan=False, width=32),
    "n": st.none() | st.integers(-(2**40), 2**40),
    "big": st.none() | st.integers(-(2**63), 2**63 - 1),
    "on": st.none() | st.booleans(),
    "s": st.none() | st.text(max_size=5),
    "t": st.none() | st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1)),
}
rows = st.lists(st.fixed_dictionaries(values), max_size=8)


@given(rows)
def test_the_block_of_a_page_holds_its_cells_for_any_arrow_reader(records):
    data = {name: [row[name] for row in records] for name in values}
    table = load_table(data, kinds={"s": "text"} if records else None)
    raw = table.block("data")
    found = arrow.read(raw, "a block")
    assert found.num_rows == len(records)
    for column in table.columns:
        array = found.column(column.name).combine_chunks()
        gone = [value is None for value in array.to_pylist()]
        nan = [isinstance(v, float) and v != v for v in array.to_pylist()]
        missing = [a or b for a, b in zip(gone, nan, strict=True)]
        assert missing == column.missing.tolist()
    assert raw == load_table(data, kinds={"s": "text"} if records else None).block("data")


@settings(max_examples=40)
@given(st.binary(max_size=200))
def test_any_bytes_are_an_arrow_stream_or_a_clear_error(raw):
    with pytest.raises(FormatError, match="no Arrow stream"):
        arrow.read(raw, "a block")


def test_the_display_precision_halves_floats_and_keeps_integers():
    data = {"x": np.random.default_rng(0).normal(size=1000), "n": np.arange(1000)}
    table = load_table(data)
    shown = arrow.read(table.block("data", display=True), "b")
    assert str(shown.schema.field("x").type).startswith("arro3.core.DataType<Float32")
    assert shown.column("n").combine_chunks().to_pylist() == list(range(1000))


def test_masked_arrays_big_endian_and_half_floats():
    masked = np.ma.masked_array([1, 2], [True, False])
    assert cells({"m": masked})["m"] == [None, 2]
    assert cells({"e": np.array([1.5, 2], dtype=">f8")})["e"] == [1.5, 2]
    assert cells({"h": np.array([0.5], dtype=np.float16)})["h"] == [0.5]
    assert cells({"d": np.array([1, 2], dtype="m8[ms]")})["d"] == [0.001, 0.002]


def test_dictionaries_and_time_zones_of_arrow():
    import pyarrow as pa

    zoned = pa.array(
        [dt.datetime(2024, 1, 1, tzinfo=dt.UTC)], pa.timestamp("us", tz="Europe/Paris")
    )
    table = pa.table({"c": pa.array(["b"]).dictionary_encode(), "t": zoned})
    made = load_table(table).columns
    assert (made[0].kind, made[0].cells()) == ("category", ["b"])
    assert (made[1].kind, made[1].zone) == ("time", "Europe/Paris")
    assert made[1].cells() == [1704067200000.0]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_are_cut_to_milliseconds_downwards_also_before_1970(unit):
    import pyarrow as pa

    counts = [-1, -1000, -1001, -1_999_999, 0, 1999, None]
    per = {"s": 1000, "ms": 1, "us": 1 / 1000, "ns": 1 / 1_000_000}[unit]
    wanted = [None if n is None else math.floor(n * per) for n in counts]
    for zone in (None, "Europe/Paris"):
        table = pa.table({"t": pa.array(counts, pa.timestamp(unit, tz=zone))})
        assert cells(table) == {"t": wanted}


@given(
    st.lists(st.none() | st.integers(0, 1), min_size=1, max_size=40),
    st.integers(0, 39),
    st.sampled_from(
        [(DataType.bool(), bool), (DataType.int16(), int), (DataType.float64(), float)]
    ),
)
def test_a_slice_of_an_arrow_array_is_read_where_it_begins(values, start, kind):
    start = min(start, len(values) - 1)
    whole = [None if v is None else kind[1](v) for v in values]
    found, gaps = arrow.primitive(Array(whole, type=kind[0]).slice(start, len(values) - start))
    missing = np.zeros(len(found), bool) if gaps is None else gaps
    assert [None if m else v for v, m in zip(found.tolist(), missing, strict=True)] == whole[start:]


def test_arro3_and_anything_with_to_table_come_in():
    table = Table.from_arrays([Array.from_numpy(np.arange(3))], names=["a"])

    class Result:
        def to_table(self):
            return {"a": [1, 2]}

    assert cells(table) == {"a": [0, 1, 2]}
    assert cells(Result()) == {"a": [1, 2]}

"""Arrow streams that nobody vouches for are looked at before Arrow sees them."""

import datetime as dt
import io
import struct

import numpy as np
import polars
import pytest
from arro3.core import Array, DataType, Table
from arro3.io import write_ipc_stream
from hypothesis import given, settings
from hypothesis import strategies as st
from symphony_ui import arrow
from symphony_ui.errors import FormatError
from symphony_ui.ipc import check_stream
from symphony_ui.media import Text
from symphony_ui.page import Page


def make_page(n):
    return Page(
        {
            "f8": np.linspace(0, 1, n),
            "f4": np.linspace(0, 1, n, dtype=np.float32),
            "i4": np.arange(n),
            "i8": np.arange(n) + 2**60,
            "gaps": [None if k % 3 else k for k in range(n)],
            "flag": [None if k % 3 else True for k in range(n)],
            "label": [None if k % 5 == 4 else "ab"[k % 2] for k in range(n)],
            "text": [None if k % 5 == 4 else "é" * k for k in range(n)],
            "when": np.datetime64("2024-01-01", "ms") + np.arange(n),
        },
        kinds={"text": "text"},
        media={"m": Text([None if k % 2 else str(k) for k in range(n)])},
    )


CHANGE = st.tuples(st.integers(0), st.integers(0, 255))
BLOCKS = [make_page(20).block(name) for name in ("data", "media:m")]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 70))
def test_every_stream_that_a_page_writes_passes(n):
    page = make_page(n)
    for name in ("data", "media:m"):
        check_stream(page.block(name), "it")


@pytest.mark.parametrize("block", BLOCKS)
def test_a_stream_that_is_cut_anywhere_is_refused_or_lacks_only_its_last_batch(block):
    for length in range(0, len(block) - 8, 8):
        try:
            check_stream(block[:length], "it")
        except FormatError:
            continue
        assert arrow.read(block[:length], "it").num_rows == 0


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(BLOCKS), st.lists(CHANGE, min_size=1, max_size=4))
def test_what_passes_can_be_read_and_ends_no_process(block, changes):
    raw = bytearray(block)
    for at, value in changes:
        raw[at % len(raw)] = value
    try:
        check_stream(bytes(raw), "it")
        arrow.read(bytes(raw), "it")
    except FormatError:
        pass


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_at_once(raw):
    for head in (b"", struct.pack("<Ii", 0xFFFFFFFF, 64)):
        with pytest.raises(FormatError, match="it is no Arrow stream of a page"):
            check_stream(head + raw + b"x", "it")


def stream(array, compression=None):
    return stream_of(Table.from_arrays([array], names=["x"]), compression)


def stream_of(table, compression=None):
    file = io.BytesIO()
    write_ipc_stream(table, file, compression=compression)
    return file.getvalue()


DAY = dt.datetime(2024, 1, 31)
OTHERS = {
    "int8": polars.Series([1], dtype=polars.Int8),
    "uint32": polars.Series([1], dtype=polars.UInt32),
    "int64": polars.Series([1], dtype=polars.Int64),
    "date": polars.Series([DAY.date()]),
    "microseconds": polars.Series([DAY], dtype=polars.Datetime("us", "UTC")),
    "no zone": polars.Series([DAY], dtype=polars.Datetime("ms")),
    "another zone": polars.Series([DAY]).cast(polars.Datetime("ms", "Europe/Paris")),
    "duration": polars.Series([dt.timedelta(1)]),
    "list": polars.Series([[1]]),
    "struct": polars.Series([{"a": 1}]),
    "text view": polars.Series(["a"]),
    "other codes": polars.Series(["a"], dtype=polars.Categorical),
    "float16": Array.from_numpy(np.zeros(2, np.float16)),
    "large text": Array(["a"], type=DataType.large_utf8()),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_columns_that_no_page_holds_are_refused(kind):
    column = OTHERS[kind]
    block = stream(column) if isinstance(column, Array) else stream_of(column.to_frame())
    with pytest.raises(FormatError, match=r"no page holds|no page's has|codes of a dictionary"):
        check_stream(block, "it")


def test_a_name_that_arro3_cannot_hold_is_refused():
    block = Page({"name-of-it": [1.0]}).block("data")
    assert block.count(b"name-of-it") == 1
    with pytest.raises(FormatError, match="no page's has"):
        check_stream(block.replace(b"name-of-it", b"name\0of-it"), "it")


def test_a_packed_stream_is_refused():
    with pytest.raises(FormatError, match="a batch is packed"):
        check_stream(stream(Array.from_numpy(np.zeros(1000)), "lz4"), "it")


def patched(block, old, new):
    """The block with one 64-bit number replaced, wherever it stands once."""
    found, wanted = struct.pack("<q", old), struct.pack("<q", new)
    assert block.count(found)
    return [
        block[:at] + wanted + block[at + 8 :]
        for at in range(0, len(block) - 7, 4)
        if block[at : at + 8] == found
    ]


def test_lengths_that_are_not_the_batch_s_are_refused_everywhere():
    """A column of 4321 rows: the number stands in the batch and in its node."""
    block = stream(Array.from_numpy(np.ones(4321, dtype=np.float32)))
    check_stream(block, "it")
    places = patched(block, 4321, 2**40)
    assert len(places) == 2
    for raw in places:
        with pytest.raises(FormatError, match="another length than its batch"):
            check_stream(raw, "it")
    for new in (4320, 2**62, -1):
        for raw in patched(block, 4321 * 4, new):
            with pytest.raises(FormatError, match=r"too short|outside its body|within an entry"):
                check_stream(raw, "it")

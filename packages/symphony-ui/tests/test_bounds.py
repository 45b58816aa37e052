"""Arrow files that say more than they hold are refused before anybody makes room for it."""

import contextlib
import struct

import pytest
from symphony_ui.bounds import check_arrow
from symphony_ui.errors import FormatError
from symphony_ui.table import load_table

pa = pytest.importorskip("pyarrow")
ROWS = 1009  # a number that is nothing else in these files
TABLE = pa.table(
    {
        "x": pa.array(range(ROWS), pa.int64()),
        "s": [None if n % 3 else f"text {n}" for n in range(ROWS)],
        "c": pa.array(["u"] * ROWS).dictionary_encode(),
        "t": pa.array(range(ROWS), pa.timestamp("us", tz="Europe/Paris")),
        "list": [[{"q": n}] for n in range(ROWS)],
        "none": pa.nulls(ROWS),
    }
)
LENGTHS = {ROWS, 8 * ROWS, 4 * ROWS, 4 * (ROWS + 1)}  # of columns and their buffers


def written(path, kind, codec=None, table=TABLE):
    options = pa.ipc.IpcWriteOptions(compression=codec)
    new = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
    with new(path, table.schema, options=options) as writer:
        writer.write_table(table)
    return path.read_bytes()


@pytest.fixture(params=["file", "stream"])
def kind(request):
    return request.param


@pytest.fixture(params=[None, "lz4", "zstd"])
def codec(request):
    return request.param


def test_whole_files_are_read(tmp_path, kind, codec):
    path = tmp_path / "t.arrow"
    written(path, kind, codec)
    assert check_arrow(path) is (kind == "file")
    columns = {c.name: c.cells() for c in load_table(path).columns}
    assert columns["x"] == list(range(ROWS))
    assert columns["s"] == TABLE["s"].to_pylist()


def test_a_length_that_is_larger_than_the_file_is_refused(tmp_path, kind, codec):
    path = tmp_path / "t.arrow"
    raw = written(path, kind, codec)
    places = [
        at for at in range(0, len(raw) - 8, 8) if struct.unpack_from("<q", raw, at)[0] in LENGTHS
    ]
    assert len(places) > 8
    for at in places:
        for value in (2**33, -8):
            path.write_bytes(raw[:at] + struct.pack("<q", value) + raw[at + 8 :])
            with pytest.raises(FormatError, match="broken Arrow file"):
                check_arrow(path)


def test_a_file_that_ends_early_is_refused(tmp_path, kind, codec):
    path = tmp_path / "t.arrow"
    raw = written(path, kind, codec)
    for end in range(1, len(raw) - 8, 97):
        path.write_bytes(raw[:end])
        with pytest.raises(FormatError):
            load_table(path)


def test_a_length_of_gigabytes_in_any_place_is_a_table_or_a_clear_error(tmp_path, kind):
    path = tmp_path / "t.arrow"
    raw = written(path, kind, table=TABLE.slice(0, 3))
    for at in range(0, len(raw) - 4, 4):
        path.write_bytes(raw[:at] + struct.pack("<i", 2**31 - 16) + raw[at + 4 :])
        with contextlib.suppress(FormatError):
            check_arrow(path)


def test_names_that_arro3_dies_of_are_refused(tmp_path, kind):
    path = tmp_path / "t.arrow"
    for table in (
        pa.table({"a\0b": [1]}),
        pa.table({"a": [{"b\0c": 1}]}),
        pa.table({"a": pa.array([1], pa.timestamp("s", tz="Europe\0Paris"))}),
    ):
        written(path, kind, table=table)
        with pytest.raises(FormatError, match="a name holds NUL"):
            load_table(path)


GAPS = {
    "numbers": pa.array([1, None] * 200, pa.int64()),
    "bits": pa.array([True, None] * 200),
    "texts": pa.array(["a", None] * 200),
    "views": pa.array(["a", None] * 200, pa.string_view()),
    "lists": pa.array([[1], None] * 200),
    "within": pa.array([[None, 2], [3]] * 200),
    "structs": pa.array([{"a": None}, None] * 200),
    "fixed": pa.array([[1, 2], None] * 200, pa.list_(pa.int8(), 2)),
    "codes": pa.array(["a", None] * 200).dictionary_encode(),
}


@pytest.mark.parametrize("name", GAPS)
def test_marks_of_gaps_that_are_too_short_are_refused(tmp_path, kind, codec, name):
    path = tmp_path / "t.arrow"
    table = pa.table({"before": pa.nulls(400), name: GAPS[name], "after": GAPS["numbers"]})
    raw = written(path, kind, codec, table)
    check_arrow(path)
    assert load_table(path).rows == 400
    marks = struct.pack("<q", 50)  # bytes for the gaps of 400 rows, or 100 of 800
    places = [at for at in range(0, len(raw) - 8, 8) if raw[at : at + 8] == marks]
    if codec is None:
        assert len(places) >= 1 + (name != "within")
        for at in places:
            path.write_bytes(raw[:at] + struct.pack("<q", 8) + raw[at + 8 :])
            with pytest.raises(FormatError):
                load_table(path)

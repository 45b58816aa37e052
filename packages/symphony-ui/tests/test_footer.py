"""Parquet files with names that arro3 dies of are refused; all others are read."""

import contextlib

import pytest
from symphony_ui.errors import FormatError
from symphony_ui.footer import check_parquet
from symphony_ui.table import load_table

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
ZONED = pa.timestamp("us", tz="Europe\0Paris")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "t.parquet"


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize(
    "table",
    [
        pa.table({"a\0b": [1]}),
        pa.table({"first": [1], "second": [{"b\0c": 1}]}),
        pa.table({f"column {n}": [n] for n in range(40)} | {"\0": ["last"]}),
    ],
)
def test_a_name_with_nul_is_refused(path, table, kept):
    pq.write_table(table, path, store_schema=kept)
    with pytest.raises(FormatError, match="a name holds NUL"):
        load_table(path)


def test_a_time_zone_with_nul_in_the_schema_that_a_writer_kept_is_refused(path):
    pq.write_table(pa.table({"a": pa.array([1], ZONED)}), path)
    with pytest.raises(FormatError, match="a name holds NUL"):
        load_table(path)


def test_whole_files_are_read_whatever_their_footers_hold(path):
    table = pa.table(
        {
            "x": [1.5, None, 2.5],
            "flag": [True, False, None],
            "list": [[1], [], None],
            "of both": [{"p": 1, "q": "r"}] * 3,
            "time": pa.array([1, 2, 3], pa.timestamp("us", tz="Europe/Paris")),
        }
    ).replace_schema_metadata({"ARROW:schema": "no schema", "note": "\0"})
    for version in ("1.0", "2.4", "2.6"):
        pq.write_table(table, path, version=version, row_group_size=1, write_page_index=True)
        check_parquet(path)
        columns = {c.name: c.cells() for c in load_table(path).columns}
        assert columns["x"] == [1.5, None, 2.5]


def test_a_file_that_is_cut_or_changed_is_a_table_or_a_clear_error(path):
    pq.write_table(pa.table({"a": [1, 2], "b": ["x", "y"]}), path)
    raw = path.read_bytes()
    for end in range(0, len(raw), 7):
        path.write_bytes(raw[:end])
        with pytest.raises(FormatError):
            check_parquet(path)
    for at in range(len(raw) - 500, len(raw)):
        for byte in (0x00, 0x7F, 0xFF):
            path.write_bytes(raw[:at] + bytes([byte]) + raw[at + 1 :])
            with contextlib.suppress(FormatError):
                check_parquet(path)

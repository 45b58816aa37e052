import math

import numpy as np
import pytest
from symphony_ui import load_book
from tenfold.page import Entry, book, escaped, station_pages, write_page
from tenfold.station import Explorer, Images, Lines, Series, StationResult

HOSTILE = "<script>alert(1)</script>\"'&</style></svg> **b** [a](javascript:b) `c`"


def hostile_entry():
    lines = Lines(HOSTILE, HOSTILE, HOSTILE, [Series(HOSTILE, [0, 1], [1, 2])], [(HOSTILE, 1.5)])
    images = Images(HOSTILE, np.zeros((1, 3, 3, 3), np.uint8), [HOSTILE])
    explorer = Explorer(HOSTILE, {HOSTILE: [1, 2]}, [[("Table", {"columns": [HOSTILE]})]])
    tables = {HOSTILE: {HOSTILE: [HOSTILE, "x"], "n": [1, math.nan], "b": [True, False]}}
    result = StationResult("partly", HOSTILE, tables, [lines, images, explorer], [HOSTILE])
    return Entry("er_ssl", HOSTILE, result, "", 1.0)


def only(figure):
    """The page of a figure."""
    (_, page) = station_pages(Entry("a", "c", StationResult("partly", "h", {}, [figure]), "", 0.0))
    return page


def test_untrusted_text_stays_text_and_nothing_is_fetched():
    entries = [hostile_entry(), Entry("x", HOSTILE, None, HOSTILE, 0.0)]
    page = book(entries, {"seeds": HOSTILE}).to_html()
    assert "<script>alert" not in page
    assert page.count("</style>") == 1
    assert "default-src 'none'" in page


def test_equal_entries_give_equal_bytes():
    assert book([hostile_entry()], {}).to_html() == book([hostile_entry()], {}).to_html()


def test_the_overview_has_a_row_a_station_and_every_station_its_tab(tmp_path, texts):
    failed = Entry("act_steer", "it steers", None, "OSError: disk\n\nTraceback\nlast", 0.0)
    path = write_page(tmp_path / "index.html", [hostile_entry(), failed], {"seeds": 2})
    read = load_book(path)
    assert list(read.tabs) == ["Overview", "er-ssl", "act-steer"]
    overview = read.pages[0].frame("all")
    assert overview["package"] == ["er-ssl", "act-steer"]
    assert overview["verdict"] == ["partly", "failed"]
    assert overview["found here"] == [HOSTILE, "OSError: disk"]
    assert "Run with seeds 2." in texts(path)["Overview"]
    assert texts(path)["act-steer"].count("last") == 1


def test_what_did_not_run_yet_is_named(tmp_path, texts):
    path = write_page(tmp_path / "index.html", [hostile_entry()], {}, pending=["act_steer", "x_y"])
    assert "Not run yet: act-steer, x-y." in texts(path)["Overview"]


@pytest.mark.parametrize("text", [HOSTILE, "decay ** kappa", "er_ssl.NTXentLoss_", r"a\b [c]"])
def test_markdown_leaves_escaped_text_as_it_is(text):
    marks = "\\`*_[]"
    kept, rest = [], list(escaped(text))
    while rest:
        first = rest.pop(0)
        assert first not in marks.replace("\\", "")
        kept.append(rest.pop(0) if first == "\\" else first)
    assert "".join(kept) == " ".join(text.split())


def test_a_page_that_cannot_be_written_leaves_the_old_one_and_no_draft(tmp_path, monkeypatch):
    path = write_page(tmp_path / "index.html", [], {})
    before = path.read_bytes()

    def fail(source, target):
        raise OSError("full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="full"):
        write_page(path, [hostile_entry()], {})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_chart_holds_its_series_bands_and_levels():
    banded = Series("s", [0, 1], [1.0, 2.0], [0.0, 1.0], [2.0, 3.0])
    plain = Series("p", [0, 2], [5.0, math.nan])
    page = only(Lines("t", "x", "y", [banded, plain], [("top", 9.0)], log_y=True))
    rows = page.frame("all")
    assert rows["series"] == ["s", "s", "p", "p", "top", "top"]
    assert rows["x"] == [0, 1, 0, 2, 0, 2]
    assert rows["low"][:2] == [0, 1]
    assert rows["high"][:3] == [2, 3, 5]
    assert rows["y"][-2:] == [9, 9]
    (chart,) = page.layout.all()
    assert chart.component.options()["log_y"] is True


def test_axes_of_one_name_or_of_a_column_of_ours_are_told_apart():
    page = only(Lines("t", "low", "low", [Series("s", [1], [2.0])]))
    assert len(page.frame("all")) == 5


def test_an_empty_chart_is_drawn():
    assert only(Lines("t", "x", "y", [], [("top", 1.0)])).rows == 0
    assert only(Lines("t", "x", "y", [Series("s", [], [])])).rows == 0


def test_images_of_a_table_an_explorer_and_a_figure_are_media():
    image = np.arange(9, dtype=np.uint8).reshape(3, 3)
    stack = np.stack([image, image])
    tables = {"t": {"picture": [image, image], "mixed": ["a", 1.5]}}
    explorer = Explorer("e", {"image": stack, "n": [1, 2]}, [[("Instances", {"media": "image"})]])
    result = StationResult("partly", "h", tables, [Images("i", stack, ["a", "b"]), explorer])
    _, figure, explored, table = station_pages(Entry("a", "c", result, "", 0.0))
    kinds = [
        {spec["name"]: spec["kind"] for spec in page.spec("saved")["columns"]}
        for page in (figure, explored, table)
    ]
    assert [kind["image"] for kind in kinds[:2]] == ["media", "media"]
    assert kinds[2]["picture"] == "media"
    assert table.frame("all")["mixed"] == ["a", "1.5"]

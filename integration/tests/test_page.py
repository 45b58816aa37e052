import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenfold.drawing import _number, line_chart, ticks
from tenfold.page import Entry, render, write_page
from tenfold.station import Images, Lines, Series, StationResult

HOSTILE = "<script>alert(1)</script>\"'&</style></svg>"


def hostile_entry():
    lines = Lines(HOSTILE, HOSTILE, HOSTILE, [Series(HOSTILE, [0, 1], [1, 2])], [(HOSTILE, 1.5)])
    images = Images(HOSTILE, np.zeros((1, 3, 3, 3), np.uint8), [HOSTILE])
    tables = {HOSTILE: {HOSTILE: [HOSTILE, "x"], "n": [1, math.nan], "b": [True, False]}}
    result = StationResult("partly", HOSTILE, tables, [lines, images], [HOSTILE])
    return Entry("er_ssl", HOSTILE, result, "", 1.0)


def test_untrusted_text_stays_text_and_nothing_is_fetched():
    page = render([hostile_entry(), Entry("x", HOSTILE, None, HOSTILE, 0.0)], {"seeds": HOSTILE})
    assert "<script" not in page
    assert page.count("</style>") == 1
    assert not re.search(r'(?:src|href)="(?!#|data:image/png;base64,)', page)
    assert "url(" not in page
    assert "default-src 'none'" in page


def test_equal_entries_give_equal_bytes():
    assert render([hostile_entry()], {}) == render([hostile_entry()], {})


def test_what_did_not_run_yet_is_named():
    page = render([hostile_entry()], {}, pending=["act_steer", HOSTILE])
    assert "Not run yet: act-steer, &lt;script&gt;" in page


def test_a_failed_station_shows_its_first_line_above_and_the_whole_below():
    page = render([Entry("x", "c", None, "OSError: disk\n\nTraceback\nlast line", 0.0)], {})
    assert page.count("OSError: disk") == 2
    assert page.count("last line") == 1


def test_a_page_that_cannot_be_written_leaves_the_old_one_and_no_draft(tmp_path, monkeypatch):
    path = write_page(tmp_path / "index.html", [], {})
    before = path.read_bytes()

    def fail(source, target):
        raise OSError("full")

    monkeypatch.setattr("tenfold.page.os.replace", fail)
    with pytest.raises(OSError, match="full"):
        write_page(path, [hostile_entry()], {})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-6, 1e6), log=st.booleans())
def test_ticks_are_few_round_and_inside(low, span, log):
    low = abs(low) + 1e-6 if log else low
    found = ticks(low, low + span, log=log)
    assert 2 <= len(found) <= 13
    slack = 1e-9 * (abs(low) + span) + 1e-12
    assert all(low - slack <= t <= low + span + slack for t in found)


@given(st.integers(-60, 60), st.integers(1, 60))
def test_a_log_axis_of_any_length_has_few_ticks(power, decades):
    found = ticks(10.0**power, 10.0 ** (power + decades), log=True)
    assert 3 <= len(found) <= 13


@pytest.mark.parametrize(
    ("low", "high", "log", "labels"),
    [
        (1e5, 3e5, False, "1e5 1.5e5 2e5 2.5e5 3e5"),
        (0.031, 0.072, True, "0.04 0.05 0.06 0.07"),
        (3.0, 400.0, True, "5 10 20 50 100 200"),
        (1.0, 1000.0, True, "1 10 100 1000"),
        (1e-14, 5e-14, False, "1e-14 2e-14 3e-14 4e-14 5e-14"),
    ],
)
def test_tick_labels_are_short_and_differ(low, high, log, labels):
    assert " ".join(map(_number, ticks(low, high, log=log))) == labels


def drawn(*series, **more):
    return line_chart(Lines("t", "x", "y", series, **more))


def test_what_a_log_axis_cannot_show_is_left_out():
    svg = drawn(Series("s", [0, 1, 10], [1, 2, 3]), log_x=True)
    assert len(re.search(r'<polyline points="([^"]*)"', svg)[1].split()) == 2
    assert 'class="level"' not in drawn(Series("s", [1], [1]), levels=[("none", 0.0)], log_y=True)


def test_a_line_breaks_where_there_is_no_value():
    y = [1, 2, math.nan, 3, 4, math.inf, 5]
    svg = drawn(Series("s", range(7), y, y, y))
    assert svg.count("<polyline") == 2
    assert svg.count("<polygon") == 3


def test_a_single_point_is_a_dot_and_nothing_at_all_is_an_empty_frame():
    assert drawn(Series("s", [1], [2])).count("<circle") == 1
    assert drawn(Series("s", range(100), range(100))).count("<circle") == 0
    assert "<svg" in drawn(Series("s", [], [])) + drawn()


def test_higher_values_stand_higher_and_the_band_lies_around_its_line():
    svg = drawn(Series("s", [0, 1], [1, 2], [0, 1], [2, 3]))
    line = [
        float(p.split(",")[1]) for p in re.search(r'<polyline points="([^"]*)"', svg)[1].split()
    ]
    band = [float(p.split(",")[1]) for p in re.search(r'<polygon points="([^"]*)"', svg)[1].split()]
    assert line[1] < line[0]
    assert band[0] < line[0] < band[3]
    assert band[1] < line[1] < band[2]

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenfold.drawing import line_chart, ticks
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


def test_points_that_a_log_axis_cannot_show_are_left_out():
    figure = Lines("t", "x", "y", [Series("s", [0, 1, 10], [1, 2, math.nan])], log_x=True)
    assert re.search(r'<polyline points="[\d.]+,[\d.]+"', line_chart(figure))

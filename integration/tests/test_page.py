import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenfold.cache import load, save
from tenfold.drawing import line_chart, ticks
from tenfold.page import Entry, render
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


def test_a_table_of_uneven_columns_is_an_error():
    result = StationResult("partly", "h", {"t": {"a": [1], "b": [1, 2]}})
    with pytest.raises(ValueError, match=r"'t' has columns of \[1, 2\] rows"):
        render([Entry("x", "c", result, "", 0.0)], {})


def test_results_come_back_from_the_disk_as_they_were(tmp_path):
    entry = hostile_entry()
    assert entry.result is not None
    save(tmp_path / "k", entry.result, 2.5)
    found = load(tmp_path / "k")
    assert found is not None
    assert found[1] == 2.5
    again = Entry("er_ssl", HOSTILE, found[0], "", 1.0)
    assert render([again], {}) == render([entry], {})
    assert load(tmp_path / "nothing") is None


def test_what_json_cannot_hold_is_refused_and_leaves_nothing(tmp_path):
    result = StationResult("partly", "h", {"t": {"a": [object()]}})
    with pytest.raises(TypeError, match="object"):
        save(tmp_path / "a" / "k", result, 0.0)
    assert list((tmp_path / "a").iterdir()) == []


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

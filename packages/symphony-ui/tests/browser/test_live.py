"""The live page: the state both ways, several tabs, and who is let in."""

import numpy as np
import pytest
from symphony_ui.components import Annotate, Scatter, Summary, Table
from symphony_ui.page import Page

pytestmark = pytest.mark.browser


@pytest.fixture
def page(digits, dots):
    points = Scatter("projection_pixels_x", "projection_pixels_y", color="label")
    layout = [
        [Summary(), points],
        [Annotate(labels=["good", "bad"])],
        [Table(), dots("score", 0.25)],
    ]
    return Page(digits, layout, title="Live")


@pytest.fixture
def server(page):
    with page.serve() as running:
        yield running


def test_what_python_sets_is_what_the_browser_shows(visit, page, server):
    seen = visit(server.url)
    assert "token" not in seen.page.url
    seen.wait_visible(1797)
    page.filter = 'label == "two"'
    seen.wait_visible(int(page.visible.sum()))
    box = seen.page.get_by_role("textbox", name="Filter")
    assert box.input_value() == 'label == "two"'
    page.selected = [2, 12, 22]
    seen.page.locator(".sym-selection b", has_text="3").wait_for()
    page.group_by = ["split"]
    seen.page.locator(".sym-toolbar").get_by_text("split").first.wait_for()
    assert all(url.startswith(server.address) for url in seen.requests)
    assert seen.complaints == []


def test_what_the_browser_does_is_what_python_has(visit, page, server, digits):
    told = []
    stop = page.on_change(lambda changed: told.append(changed.visible.sum()), ["brushes"])
    picked = []
    page.on_change(lambda changed: picked.append(len(changed.selected)), ["selection"])
    seen = visit(server.url)
    seen.drag(seen.page.locator('svg[data-column="score"]'), (0.3, 0.5), (0.62, 0.5))
    seen.until(lambda: page.state.brushes)
    op, name, lo, hi = next(iter(page.state.to_json()["brushes"].values()))
    assert (op, name) == ("bin", "score")
    values = digits["score"].astype(float)
    keep = (values >= lo) & (values < hi)
    assert np.array_equal(page.visible, keep)
    seen.wait_visible(int(keep.sum()))
    assert told == [keep.sum()], "one change is told once"
    seen.page.get_by_role("button", name="Select visible").first.click()
    seen.until(lambda: len(page.selected))
    assert np.array_equal(page.selected, np.flatnonzero(keep))
    assert picked == [keep.sum()]
    stop()
    seen.page.keyboard.press("Control+z")
    seen.page.keyboard.press("Control+z")
    seen.until(lambda: not page.state.brushes)
    assert page.visible.all()
    assert told == [keep.sum()]


def inside(points, polygon):
    """Even-odd, an edge at a time."""
    out = np.zeros(len(points), dtype=bool)
    for (ax, ay), (bx, by) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        for k, (x, y) in enumerate(points):
            if (ay > y) != (by > y) and x < (bx - ax) * (y - ay) / (by - ay) + ax:
                out[k] = not out[k]
    return out


def test_a_lasso_keeps_the_points_inside_it(visit, page, server, digits):
    seen = visit(server.url)
    scatter = seen.view("scatter-1")
    scatter.get_by_role("button", name="Filter").click()
    corners = (0.3, 0.2), (0.7, 0.25), (0.62, 0.8), (0.25, 0.6), (0.3, 0.2)
    seen.drag(scatter.locator(".sym-scatter"), *corners)
    seen.until(lambda: "scatter-1" in page.state.brushes)
    kind, x, y, polygon = page.state.to_json()["brushes"]["scatter-1"]
    want = inside(np.stack([digits[x], digits[y]], 1), polygon)
    assert kind == "lasso"
    assert 0 < want.sum() < len(want)
    assert np.array_equal(page.visible, want)
    seen.wait_visible(int(want.sum()))


def test_two_tabs_stay_in_step_and_annotate_together(visit, page, server):
    one, two = visit(server.url), visit(server.url)
    box = one.page.get_by_role("textbox", name="Filter")
    box.fill("score > 0.5")
    box.press("Enter")
    one.until(lambda: page.filter is not None)
    n = int(page.visible.sum())
    two.wait_visible(n)
    one.wait_visible(n)
    one.view("dots-1").get_by_role("button").click()
    two.wait_visible(0)
    for seen in (one, two):
        seen.view("dots-1").get_by_role("button", name="0 of 1797, score").wait_for()
    page.state = type(page.state)()
    for seen in (one, two):
        seen.wait_visible(1797)
        seen.view("annotate-1").locator(".sym-annotate").focus()
    one.page.keyboard.press("1")
    one.until(lambda: page.annotations["row"] == [0])
    two.view("annotate-1").get_by_text("1 annotated").wait_for()
    two.page.keyboard.press("2")
    one.until(lambda: page.annotations["label"] == ["bad"])
    page.annotate(7, "good", "from Python")
    for seen in (one, two):
        seen.view("annotate-1").get_by_text("from Python").wait_for()
        assert seen.complaints == []


def test_without_the_token_nothing_is_shown(visit, server):
    seen = visit(server.address, ready=None)
    assert "open the address that Python printed" in seen.page.text_content("body")
    assert seen.page.locator(".symphony").count() == 0


def test_a_page_that_lost_its_server_says_so_and_still_filters(visit, page):
    server = page.serve()
    seen = visit(server.url)
    server.close()
    seen.page.locator(".sym-notice", has_text="lost its server").wait_for()
    box = seen.page.get_by_role("textbox", name="Filter")
    box.fill('label == "two"')
    box.press("Enter")
    seen.wait_visible(177)


def test_rows_that_stay_in_python_are_counted_there(visit, digits):
    page = Page(
        digits,
        [[Summary(columns=["label", "score"]), Table(columns=["label", "score"])]],
        engine="remote",
    )
    with page.serve() as server:
        seen = visit(server.url)
        seen.wait_visible(1797)
        seen.page.locator('svg[data-column="score"]').focus()
        seen.page.keyboard.press("End")
        seen.until(lambda: page.state.brushes)
        n = int(page.visible.sum())
        assert 0 < n < 1797
        seen.wait_visible(n)
        bars = seen.view("summary-1").get_by_role("group", name="Values of label")
        labels = np.asarray(digits["label"])[page.visible]
        levels, counts = np.unique(labels, return_counts=True)
        want = dict(zip(levels.tolist(), counts.tolist(), strict=True))
        names = bars.locator(".sym-bar-name").all_text_contents()
        said = [int(text) for text in bars.locator(".sym-bar-count").all_text_contents()]
        assert [want.get(name, 0) for name in names if name != "2 others"] == said[: len(names) - 1]
        assert sum(said) == n
        assert not any("/block/" in url for url in seen.requests)
        assert seen.complaints == []

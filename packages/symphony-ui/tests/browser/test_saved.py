"""The saved page as a person uses it, from file:// and without a network."""

import json
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import symphony_ui as sui
from symphony_ui.components import Component, Instances, Markdown, Scatter, Summary, Table
from symphony_ui.page import Page
from symphony_ui.saved import load
from symphony_ui.state import State

pytestmark = pytest.mark.browser
TABS = ("Data", "Quality", "Model", "More")


@pytest.fixture(scope="module")
def page(digits, everything):
    return Page(digits, everything, title="Digits", kinds={"row": "number"})


@pytest.fixture(scope="module")
def address(page, tmp_path_factory):
    return page.save(tmp_path_factory.mktemp("saved") / "digits.html").as_uri()


@pytest.fixture
def python(page):
    """The page in Python, as it was, to compare with."""
    before = page.state
    yield page
    page.state = before


def table_of(view):
    """The text of the cells of a view's data."""
    rows = view.locator(".sym-data tbody tr").all()
    return [row.locator("td").all_text_contents() for row in rows]


def test_every_component_is_drawn_and_nothing_is_asked_for(visit, address, page):
    seen = visit(address)
    assert seen.page.locator("[data-visible]").first.text_content().startswith("1,797 of 1,797")
    for tab in TABS:
        seen.tab(tab)
        for placed in next(rows for name, rows in page.layout.tabs if name == tab):
            for one in placed:
                view = seen.view(one.id)
                view.wait_for()
                assert view.get_attribute("data-type") == one.component.type
                drawn = "canvas[data-drawn], svg, img, table, button, [role=grid], h1, h2, h3"
                view.locator(drawn).first.wait_for(state="attached")
                assert view.locator(".sym-message").count() == 0, view.text_content()
    assert seen.view("vega-1").locator("canvas, svg").count()
    seen.tab("Data")
    assert seen.view("scatter-1").locator("canvas[data-drawn='1797']").count() == 1
    assert seen.view("instances-1").locator("img").first.evaluate("e => e.naturalWidth") == 8
    assert seen.requests == [address]
    assert seen.complaints == []


def test_what_it_counts_after_a_brush_is_what_numpy_counts(visit, address, digits, python):
    seen = visit(address)
    score = seen.page.locator('svg[data-column="score"]')
    own = score.locator(".sym-bar-context").get_attribute("d")
    seen.drag(score, (0.3, 0.5), (0.62, 0.5))
    op, name, lo, hi = next(iter(seen.address_state()["brushes"].values()))
    assert (op, name) == ("bin", "score")
    values = digits["score"].astype(float)
    keep = (values >= lo) & (values < hi)
    assert 0 < keep.sum() < len(values)
    seen.wait_visible(int(keep.sum()))
    for column in ("label", "prediction", "split"):
        group = seen.view("summary-1").get_by_role("group", name=column, exact=True)
        rows = zip(
            group.locator(".sym-bar-name").all_text_contents(),
            group.locator(".sym-bar-count").all_text_contents(), strict=True,
        )  # fmt: skip
        said = {name: int(count.replace(",", "")) for name, count in rows}
        levels, counts = np.unique(np.asarray(digits[column])[keep], return_counts=True)
        want = dict(zip(levels.tolist(), counts.tolist(), strict=True))
        for level, count in said.items():
            if level != "2 others":
                assert count == want.pop(level, 0), (column, level)
        assert sum(want.values()) == said.get("2 others", 0), column
    ink = seen.view("summary-1").get_by_role("group", name="ink", exact=True)
    ink.get_by_role("button", name="Show data of ink").click()
    shown = table_of(ink)
    edges = ink_edges(shown)
    want, _ = np.histogram(digits["ink"][keep], edges)
    assert [int(row[1].replace(",", "")) for row in shown] == want.tolist()
    assert score.locator(".sym-bar-context").get_attribute("d") == own
    python.state = State.from_json(seen.address_state())
    assert int(python.visible.sum()) == keep.sum()


def ink_edges(shown):
    """The edges of the bins, as the data's first column names them."""
    ends = [[float(part) for part in row[0].split(" – ")] for row in shown]
    return [lo for lo, _ in ends] + [ends[-1][1]]


def test_undo_takes_a_brush_back_and_redo_gives_it_again(visit, address):
    seen = visit(address)
    seen.drag(seen.page.locator('svg[data-column="score"]'), (0.3, 0.5), (0.62, 0.5))
    seen.until(lambda: seen.visible() != 1797)
    n = seen.visible()
    seen.page.keyboard.press("Control+z")
    seen.wait_visible(1797)
    seen.page.keyboard.press("Control+Shift+z")
    seen.wait_visible(n)


def test_a_link_opens_the_page_as_it_was(visit, address, python):
    seen = visit(address)
    box = seen.page.get_by_role("textbox", name="Filter")
    box.fill('label == "two" and score > 0.2')
    box.press("Enter")
    seen.tab("Model")
    state = seen.address_state()
    again = visit(seen.page.url)
    again.wait_visible(seen.visible())
    assert again.page.get_by_role("tab", name="Model").get_attribute("aria-selected") == "true"
    python.filter = 'label == "two" and score > 0.2'
    assert State.from_json(state) == replace(python.state, tab="Model")
    assert int(python.visible.sum()) == again.visible()
    broken = visit(address + "#s=nothing")
    assert "holds no state" in broken.page.locator(".sym-notice").first.text_content()


def test_keys_alone_filter_brush_select_and_annotate(visit, address):
    seen = visit(address)
    keyboard = seen.page.keyboard
    seen.page.locator('svg[data-column="ink"]').focus()
    keyboard.press("ArrowRight")
    for _ in range(9):
        keyboard.press("Shift+ArrowRight")
    seen.until(lambda: seen.visible() != 1797)
    assert 0 < seen.visible() < 1797
    keyboard.press("Escape")
    seen.wait_visible(1797)
    seen.view("table-1").get_by_role("grid").focus()
    for key in ("ArrowDown", " ", "Shift+ArrowDown", "Shift+ArrowDown"):
        keyboard.press(key)
    assert seen.page.locator(".sym-selection b").text_content() == "3"
    seen.tab("Data")
    keyboard.press("ArrowRight")
    seen.view("annotate-1").locator(".sym-annotate").focus()
    keyboard.press("1")
    assert "3 annotated" in seen.view("annotate-1").text_content(), "the selected ones"


def test_annotations_made_offline_come_back_to_python(visit, address, tmp_path):
    seen = visit(address, accept_downloads=True)
    seen.tab("Quality")
    seen.view("annotate-1").locator(".sym-annotate").focus()
    for key in "12121":
        seen.page.keyboard.press(key)
    with seen.page.expect_download() as download:
        seen.page.get_by_role("button", name="Save page").click()
    download.value.save_as(tmp_path / "copy.html")
    copy = load(tmp_path / "copy.html")
    assert copy.annotations["row"] == [0, 1, 2, 3, 4]
    assert copy.annotations["label"] == ["good", "bad", "good", "bad", "good"]
    assert copy.state.tab == "Quality"
    again = visit((tmp_path / "copy.html").as_uri())
    assert "5 annotated" in again.view("annotate-1").text_content()
    assert again.complaints == []


SCHEMES = {
    "light": {"color_scheme": "light", "forced_colors": "none"},
    "dark": {"color_scheme": "dark", "forced_colors": "none"},
    "forced": {"color_scheme": "light", "forced_colors": "active"},
}


def test_axe_finds_nothing_serious(visit, address, axe):
    seen = visit(address, bypass_csp=True)
    seen.page.evaluate(axe)
    for tab in TABS:
        seen.tab(tab)
        for name, scheme in SCHEMES.items():
            seen.page.emulate_media(**scheme)
            seen.page.wait_for_timeout(100)
            # what does not depend on colours was looked at in the first
            only = "" if name == "light" else ", runOnly: ['color-contrast']"
            run = f"axe.run({{resultTypes: ['violations']{only}}})"
            found = seen.page.evaluate(run)["violations"]
            bad = [v for v in found if v["impact"] in ("serious", "critical")]
            assert [(v["id"], v["nodes"][0]["html"][:200]) for v in bad] == [], (tab, name)


PRESSES = """async (n) => {
  const svg = document.querySelector('svg[data-column="x"]');
  for (let k = 0; k < n; k++) {
    const key = k % 40 < 20 ? "ArrowRight" : "ArrowLeft";
    svg.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    if (k % 4 === 3) await new Promise(requestAnimationFrame);
  }
}"""


def test_two_hundred_changes_leave_no_memory_behind(visit, tmp_path):
    rows = np.arange(20_000)
    page = Page({"x": rows % 977, "y": rows % 31, "label": (rows % 7).astype(str)})
    seen = visit(page.save(tmp_path / "page.html").as_uri())
    session = seen.page.context.new_cdp_session(seen.page)

    def heap():
        seen.page.wait_for_timeout(300)
        session.send("HeapProfiler.collectGarbage")
        found = session.send("Runtime.getHeapUsage")
        return found["usedSize"] + found.get("backingStorageSize", 0)

    seen.page.evaluate(PRESSES, 240)  # the states that undo goes back to have their bound
    before = heap()
    seen.page.evaluate(PRESSES, 200)
    assert heap() - before < 500_000  # a byte a row and change would be 4,000,000


HOSTILE = (
    "</script><script>window.hurt=1</script>",
    "<img src=x onerror='window.hurt=1'>",
    "<!--<script>",
    "javascript:window.hurt=1",
    "\u2028window.hurt=1\u2029",
    "\0 a NUL, \ufeff a mark, \u202e turned",
)


def hostile_page():
    names = ["x", "y", *HOSTILE[:4]]
    columns = {name: [*HOSTILE, "plain"] for name in names[2:]}
    data = {"x": np.arange(7.0), "y": np.arange(7.0), **columns, "text": [*HOSTILE, None]}
    markdown = "\n\n".join(HOSTILE) + "\n\n[a](javascript:window.hurt=1) <b>b</b>"
    layout = [
        [Summary(title=HOSTILE[0]), Scatter("x", "y", color=names[3], title=HOSTILE[1])],
        [Table(title=HOSTILE[0]), Markdown(markdown)],
        [Instances(caption=[names[2], "text"])],
    ]
    kinds = dict.fromkeys(names[2:], "category") | {"text": "text"}
    return Page(data, layout, title=HOSTILE[0] + "&amp;", kinds=kinds)


def is_inert(seen):
    """Nothing of the data has run, made an element or an address that would."""
    assert seen.page.evaluate("window.hurt") is None
    assert seen.page.locator(".symphony script, .symphony img[src=x], .symphony b b").count() == 0
    addresses = "all => all.map(e => e.protocol).filter(p => p === 'javascript:')"
    assert seen.page.locator("a").evaluate_all(addresses) == []
    assert seen.page.locator(".symphony", has_text="<img src=x onerror").count()


def test_hostile_cells_names_and_titles_are_text(visit, tmp_path):
    seen = visit(hostile_page().save(tmp_path / "hostile.html").as_uri())
    is_inert(seen)
    assert seen.page.title() == HOSTILE[0] + "&amp;"
    cells = seen.view("table-1").locator("[data-row]").all_text_contents()
    assert HOSTILE[0] in cells[0]
    seen.page.get_by_role("textbox", name="Filter").fill(HOSTILE[1])
    seen.page.get_by_role("alert").wait_for()
    is_inert(seen)
    assert seen.complaints == []


def test_hostile_text_is_text_in_the_live_page_too(visit):
    with hostile_page().serve() as server:
        seen = visit(server.url)
        is_inert(seen)
        assert seen.complaints == []


def test_a_script_that_was_added_to_the_file_does_not_run(visit, address, tmp_path):
    text = Path(urlsplit(address).path).read_text()
    extra = "<script>window.hurt = 1</script>"
    (tmp_path / "changed.html").write_text(text.replace("</body>", extra + "</body>"))
    seen = visit((tmp_path / "changed.html").as_uri())
    assert seen.page.evaluate("window.hurt") is None
    assert any("Content Security Policy" in line for line in seen.complaints)
    without = re.sub(r"<meta http-equiv[^>]*>", "", text).replace("</body>", extra + "</body>")
    (tmp_path / "open.html").write_text(without)
    assert visit((tmp_path / "open.html").as_uri()).page.evaluate("window.hurt") == 1


def test_a_component_that_fails_leaves_the_others_alone(visit, tmp_path):
    class Broken(Component):
        esm = "export default { render() { throw new Error('by design'); } };\n"

    page = Page({"x": [1.0, 2.0, 3.0]}, [[Broken(), Summary()]])
    seen = visit(page.save(tmp_path / "broken.html").as_uri())
    assert "by design" in seen.view("broken-1").text_content()
    assert seen.view("summary-1").locator('svg[data-column="x"]').count() == 1


@pytest.mark.parametrize("data", [{"x": []}, {"x": [None, None]}, {"x": [1.0]}, {}])
def test_tables_of_nothing_are_pages(visit, tmp_path, data):
    seen = visit(Page(data).save(tmp_path / "small.html").as_uri())
    assert seen.visible() == len(data.get("x", []))
    assert seen.complaints == []
    assert json.loads(seen.page.locator("#symphony-spec").text_content())["rows"] == seen.visible()


def test_the_tabs_of_a_book_hold_pages_of_their_own(visit, tmp_path):
    points = sui.Page({"x": [1.0, 2.0, 3.0], "s": ["a", "b", "a"]}, title="Points")
    lone = sui.Page({"t": [1, 2], "y": [0.5, 1.5]}, [sui.Lines("t", "y", title="Curve")])
    book = sui.Book({"One": [lone, points], "T<w>o & %": points}, title="Both")
    seen = visit(book.save(tmp_path / "book.html").as_uri(), ready='[data-page="1"][data-ready]')
    assert seen.page.locator(".sym-toolbar").count() == 1
    assert seen.page.locator('[data-page="2"]').count() == 0  # not opened before it is seen
    seen.page.get_by_role("textbox", name="Filter").fill("x > 1")
    seen.page.keyboard.press("Enter")
    seen.wait_visible(2)
    seen.tab("T<w>o & %")
    seen.page.wait_for_selector('[data-page="2"][data-ready]')
    assert "T%3Cw%3Eo" in seen.page.evaluate("location.hash")
    second = seen.page.locator('[data-page="2"]')
    assert second.locator("[data-visible]").get_attribute("data-visible") == "3"
    seen.page.reload()
    seen.page.wait_for_selector('[data-page="2"][data-ready]')
    assert seen.page.locator('[data-page="0"]').count() == 0
    assert not seen.complaints

"""The widget's side of the protocol, without a notebook: traits, messages, blocks in parts."""

import json

import numpy as np
import pytest
from symphony_ui import widget as bridge
from symphony_ui.components import Scatter, Table
from symphony_ui.errors import SymphonyError
from symphony_ui.page import Page
from symphony_ui.widget import View


class Browser:
    """What a browser's view of a widget sends and hears."""

    def __init__(self, page, id=None):
        self.widget = View(page, id).widget
        self.heard = []
        self.widget.send = lambda content, buffers=None: self.heard.append((content, buffers))
        self.states = []
        self.widget.observe(lambda change: self.states.append(change["new"]), names="_state")

    @property
    def state(self):
        return json.loads(self.widget._state)

    def change(self, seq, origin="view-1", **changes):
        """Sets the state as a view does."""
        state = {**self.state["state"], **changes}
        message = {"state": state, "origin": origin, "seq": seq}
        self.widget.set_state({"_state": json.dumps(message, separators=(",", ":"))})

    def ask(self, **content):
        self.widget._handle_custom_msg(content, [])
        heard, self.heard = self.heard, []
        return heard


def make_page(n=10):
    return Page({"x": np.arange(n) / 10, "y": np.arange(n), "t": ["a", "b"] * (n // 2)},
                [[Scatter("x", "y"), Table()]])  # fmt: skip


@pytest.fixture
def page():
    return make_page()


def test_the_traits_hold_the_spec_and_the_state_as_json(page):
    page.filter = "x > 0.3"
    browser = Browser(page)
    assert json.loads(browser.widget._spec) == json.loads(json.dumps(page.spec("widget")))
    assert browser.state == {"state": page.state.to_json(), "origin": "server", "seq": 0}
    traits = browser.widget.traits(sync=True)
    assert traits["_state"].metadata["echo_update"] is False
    assert traits["_spec"].metadata["sync"] is True


def test_the_bundle_and_its_style_are_the_widget_s(page):
    widget = Browser(page).widget
    assert str(widget._esm).startswith("/* symphony-ui")
    assert ".symphony" in str(widget._css)


def test_a_state_from_a_view_reaches_the_page(page):
    calls = []
    page.on_change(lambda p: calls.append(str(p.filter)))
    browser = Browser(page)
    browser.change(1, filter=[">=", "x", 0.5])
    assert page.visible.sum() == 5
    assert calls == ["x >= 0.5"]


def test_a_change_from_python_reaches_every_view_once(page):
    browsers = [Browser(page), Browser(page, "scatter-1")]
    page.selected = [1, 2]
    for browser in browsers:
        assert len(browser.states) == 1
        assert browser.state["state"] == page.state.to_json()
        assert browser.state["origin"].startswith("python-")


def test_a_change_in_one_view_reaches_the_others_and_does_not_echo(page):
    one, two = Browser(page), Browser(page, "scatter-1")
    one.change(1, selection={"rows": "AQ=="})
    assert len(one.states) == 1
    assert len(two.states) == 1
    assert two.state == {"state": page.state.to_json(), "origin": "view-1", "seq": 1}
    two.change(1, origin="view-2", selection={"rows": "Ag=="})
    assert page.selected.tolist() == [2]
    assert [len(one.states), len(two.states)] == [2, 2]


def test_what_python_sends_is_not_read_back(page, monkeypatch):
    browser = Browser(page)
    monkeypatch.setattr(page.session, "receive", lambda message: pytest.fail("it was read back"))
    page.filter = "x > 0.5"
    assert len(browser.states) == 1


def test_older_numbers_of_a_view_are_ignored(page):
    browser = Browser(page)
    browser.change(5, selection={"rows": "AQ=="})
    browser.change(4, selection={"rows": "Ag=="})
    assert page.selected.tolist() == [1]


def test_what_python_changes_on_hearing_of_a_change_reaches_the_view_that_caused_it(page):
    browser = Browser(page)
    page.on_change(lambda p: setattr(p, "filter", "y < 3"), keys=["selection"])
    browser.change(1, selection={"rows": "AQ=="})
    assert str(page.filter) == "y < 3"
    assert browser.state["state"]["filter"] == ["<", "y", 3]
    assert browser.state["state"]["selection"] == {"rows": "AQ=="}
    assert browser.state["origin"].startswith("python-")


@pytest.mark.parametrize(
    "text",
    [
        "", "no json", "[]", "null", "3", '{"state": 3, "origin": "a", "seq": 1}', "[" * 10_000,
        '{"state": {"v": 1, "filter": ["==", "nowhere", 1]}, "origin": "a", "seq": 1}',
        '{"state": {"v": 2}, "origin": "a", "seq": 1}',
    ],
)  # fmt: skip
def test_a_state_that_is_none_leaves_the_page_as_it_was(page, text):
    browser = Browser(page)
    before = page.state
    browser.widget.set_state({"_state": text})
    assert page.state == before
    page.filter = "x > 0.1"
    assert browser.state["state"]["filter"] == [">", "x", 0.1]


# messages


def test_blocks_are_sent_in_numbered_parts_that_make_the_whole(page, monkeypatch):
    monkeypatch.setattr(bridge, "CHUNK", 100)
    heard = Browser(page).ask(get="block", name="data", id="q-1")
    block = page.block("data")
    count = -(-len(block) // 100)
    assert [content for content, _ in heard] == [
        {"block": "data", "id": "q-1", "index": k, "count": count} for k in range(count)
    ]
    assert b"".join(part for _, (part,) in heard) == block
    assert max(len(part) for _, (part,) in heard) == 100


def test_parts_are_at_most_two_megabytes():
    assert bridge.CHUNK == 2_000_000
    page = make_page(400_000)
    heard = Browser(page).ask(get="block", name="data", id="1")
    assert len(heard) == -(-len(page.block("data")) // 2_000_000) > 1


def test_a_block_that_fits_comes_in_one_part(page):
    ((content, (part,)),) = Browser(page).ask(get="block", name="data", id="1")
    assert (content["index"], content["count"]) == (0, 1)
    assert part == page.block("data")


@pytest.mark.parametrize("name", ["media:none", "date", None, 3, ["data"]])
def test_a_block_that_there_is_not_is_an_error_with_the_question_s_id(page, name):
    ((content, _),) = Browser(page).ask(get="block", name=name, id="q")
    assert content["id"] == "q"
    assert "no block" in content["error"]


def test_queries_are_answered_under_the_state_they_came_with(page):
    state = {"v": 1, "filter": ["<", "y", 4]}
    ((content, _),) = Browser(page).ask(query=[{"kind": "count"}], state=state, id="7")
    assert content == {"results": [{"all": 10, "visible": 4}], "id": "7"}


@pytest.mark.parametrize(
    "asked",
    [
        {"query": 3}, {"query": [{"kind": "drop table"}]}, {"query": [3]},
        {"query": [{"kind": "count"}] * 1001},
        {"query": [{"kind": "count"}], "state": {"v": 1, "filter": ["==", "nowhere", 1]}},
        {"query": [{"kind": "count"}], "state": None},
        {"query": [{"kind": "hist", "view": "v", "column": ["x"], "bins": {}}]},
        {"annotations": 3}, {"annotations": {"row": [99], "label": [""], "note": [""]}},
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_an_error_with_the_question_s_id(page, asked):
    ((content, _),) = Browser(page).ask(**{"state": {"v": 1}, "id": "9", **asked})
    assert set(content) == {"error", "id"}
    assert content["id"] == "9"
    assert content["error"]


@pytest.mark.parametrize("content", [None, 3, "get", [], {}, {"get": "all"}])
def test_messages_of_another_kind_are_left_alone(page, content):
    browser = Browser(page)
    browser.widget._handle_custom_msg(content, [])
    assert browser.heard == []


def test_annotations_go_to_the_page_and_to_every_view(page):
    one, two = Browser(page), Browser(page, "table-1")
    given = {"row": [3], "label": ["odd"], "note": ["see"]}
    assert one.ask(annotations=given) == [({"annotations": given}, None)]
    assert two.heard == [({"annotations": given}, None)]
    assert page.annotations == given
    page.annotate(3)
    assert two.heard[1] == ({"annotations": {"row": [3], "label": [""], "note": [""]}}, None)


# views


def test_one_component_in_a_cell_has_the_page_s_state_and_no_toolbar(page):
    spec = json.loads(Browser(page, "scatter-1").widget._spec)
    assert spec["toolbar"] is False
    assert [v["id"] for tab in spec["layout"] for row in tab["rows"] for v in row] == ["scatter-1"]
    assert json.loads(Browser(page).widget._spec)["toolbar"] is True
    with pytest.raises(SymphonyError, match="'scatter-2': there are scatter-1, table-1"):
        page.view("scatter-2")


def test_a_view_shown_twice_is_one_widget(page):
    assert View(page, None).widget is page._display_() is View(page, None)._display_()
    assert page.view("scatter-1").widget is page.view("scatter-1")._display_()
    assert page.view("scatter-1").widget is not page._display_()


def test_notebooks_are_given_a_widget_to_show(page):
    bundle, *_ = [page._repr_mimebundle_()]
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == page._display_().model_id

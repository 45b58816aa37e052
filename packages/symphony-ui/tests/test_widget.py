"""The page in a notebook: traits, messages and blocks, without a notebook."""

import json

import numpy as np
import pytest
import symphony_ui as sui
from symphony_ui.state import State
from symphony_ui.widget import CHUNK


@pytest.fixture
def page():
    return sui.Page({"x": np.arange(5.0), "label": list("aabbc")}, [sui.Summary(), sui.Table()])


@pytest.fixture
def sent(page, monkeypatch):
    widget = page.view("table-1").widget
    messages = []
    monkeypatch.setattr(
        widget, "send", lambda content, buffers=None: messages.append((content, buffers))
    )
    return widget, messages


def ask(widget, content):
    widget._handle_custom_msg(content, [])


def test_a_view_has_one_widget_and_every_view_the_pages_state(page):
    assert page.view("table-1").widget is page.view("table-1").widget
    assert json.loads(page.view("table-1").widget._spec)["toolbar"] is False
    page.filter = "x > 2"
    for view in (page.view("table-1"), page.view("summary-1")):
        assert json.loads(view.widget._state)["state"]["filter"] == [">", "x", 2]
    assert "application/vnd.jupyter.widget-view+json" in page._repr_mimebundle_()[0]


def test_what_a_browser_sends_is_the_pages_state_and_reaches_the_other_views(page):
    first, second = page.view("table-1").widget, page.view("summary-1").widget
    state = State.from_json({"v": 1, "brushes": {"summary-1": ["bin", "x", 1, 3]}})
    first._state = json.dumps({"state": state.to_json(), "origin": "browser", "seq": 1})
    assert page.state == state
    assert json.loads(second._state)["origin"] == "browser"
    first._state = "nonsense"
    first._state = json.dumps({"state": {"v": 9}, "origin": "browser", "seq": 2})
    assert page.state == state


def test_a_change_from_python_is_sent_once(page):
    widget = page.view("table-1").widget
    seen = []
    widget.observe(lambda change: seen.append(change["new"]), names="_state")
    page.selected = [1]
    page.selected = [1]
    assert len(seen) == 1


def test_blocks_come_in_parts_that_fit_a_message(page, sent, monkeypatch):
    widget, messages = sent
    ask(widget, {"get": "block", "name": "data", "id": "7"})
    ((content, buffers),) = messages
    assert content == {"block": "data", "id": "7", "index": 0, "count": 1}
    assert buffers[0] == page.block("data")
    messages.clear()
    monkeypatch.setitem(page._blocks, "data", b"x" * (2 * CHUNK + 5))
    ask(widget, {"get": "block", "name": "data", "id": "8"})
    assert [content["index"] for content, _ in messages] == [0, 1, 2]
    assert {content["count"] for content, _ in messages} == {3}
    assert b"".join(buffers[0] for _, buffers in messages) == b"x" * (2 * CHUNK + 5)


def test_queries_and_annotations_are_answered_and_errors_are_told(page, sent):
    widget, messages = sent
    ask(widget, {"query": [{"kind": "count"}], "state": State().to_json(), "id": "1"})
    ask(widget, {"query": [{"kind": "nope"}], "state": State().to_json(), "id": "2"})
    ask(widget, {"get": "block", "name": "nope", "id": "3"})
    ask(widget, {"annotations": {"row": [0], "label": ["a"], "note": ["b"]}})
    ask(widget, "nonsense")
    contents = [content for content, _ in messages]
    assert contents[0] == {"results": [{"all": 5, "visible": 5}], "id": "1"}
    assert "no such query" in contents[1]["error"]
    assert "no block" in contents[2]["error"]
    assert contents[3] == {"annotations": {"row": [0], "label": ["a"], "note": ["b"]}}
    assert len(contents) == 4
    assert page.annotations["note"] == ["b"]

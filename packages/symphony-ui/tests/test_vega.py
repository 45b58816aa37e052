"""Vega charts: the runtime goes into the page, under a hash of its own, and fetches nothing."""

import re

import pytest
from symphony_ui import vega
from symphony_ui.analysis import _checks
from symphony_ui.analysis._checks import ExtraError
from symphony_ui.check import check
from symphony_ui.components import Vega
from symphony_ui.page import Page
from symphony_ui.saved import elements, load, read_file

SPEC = {
    "data": {"name": "table"},
    "mark": "bar",
    "encoding": {"x": {"field": "x", "type": "quantitative"}, "y": {"aggregate": "count"}},
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("vega") / "page.html"
    return Page({"x": [1.0, 2.0]}, [Vega(SPEC)]).save(path)


def test_the_runtime_is_a_module_of_one_export_that_loads_nothing():
    text = vega.runtime()
    assert text.rstrip().endswith("export default globalThis.symphonyVega;")
    assert text.count("export default") == 1
    assert "a page fetches nothing" in text
    assert vega.runtime() is text


def test_the_runtime_is_in_the_page_before_the_bundle(saved):
    scripts = [body for head, body in elements(saved.read_text()) if 'type="module"' in head]
    assert len(scripts) == 2
    assert '(globalThis.symphonyComponents ??= {})["vega:runtime"] = globalThis' in scripts[0]
    assert not check(saved).problems


def test_a_page_with_a_chart_comes_back(saved):
    back = load(saved)
    assert back.layout.all()[0].component.options()["spec"] == SPEC
    assert back.to_html() == saved.read_text()
    assert list(read_file(saved).modules) == ["vega:runtime"]


def test_pages_without_a_chart_do_not_carry_the_runtime():
    text = Page({"x": [1.0]}).to_html()
    assert "vega:runtime" not in re.search("<body>.*?(?=<script type=.module)", text, re.DOTALL)[0]
    assert len(text) < 300_000


def test_without_the_extra_the_error_says_how_to_install_it(monkeypatch):
    def gone(name):
        raise ModuleNotFoundError(name)

    vega.runtime.cache_clear()
    monkeypatch.setattr(_checks.importlib, "import_module", gone)
    with pytest.raises(ExtraError, match=r"Vega needs vl-convert-python.*extra \[vega\]"):
        Page({"x": [1.0]}, [Vega(SPEC)]).to_html()
    monkeypatch.undo()
    vega.runtime.cache_clear()

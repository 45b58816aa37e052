"""Components and layouts: options, ids, checks, and the layout that the columns choose."""

import numpy as np
import pytest
import symphony_ui as sui
from symphony_ui.components import BUILT_IN
from symphony_ui.errors import ColumnError, FormatError, SymphonyError
from symphony_ui.layout import arranged

TABLE = {"x": [1.0], "y": [2.0], "label": ["a"]}


def test_components_get_ids_by_their_kind_and_tabs_keep_their_rows():
    page = sui.Page(
        TABLE,
        [
            sui.Tab("One", [[sui.Scatter("x", "y"), sui.Table()], sui.Summary()]),
            sui.Tab("Two", [sui.Scatter("y", "x", title="Turned", height=200, width=2)]),
        ],
    )
    assert page.layout.spec() == [
        {
            "tab": "One",
            "rows": [
                [
                    {"id": "scatter-1", "type": "scatter", "options": {"x": "x", "y": "y"}},
                    {"id": "table-1", "type": "table", "options": {}},
                ],
                [{"id": "summary-1", "type": "summary", "options": {}}],
            ],
        },
        {
            "tab": "Two",
            "rows": [
                [
                    {
                        "id": "scatter-2",
                        "type": "scatter",
                        "options": {
                            "x": "y",
                            "y": "x",
                            "title": "Turned",
                            "height": 200,
                            "width": 2,
                        },
                    }
                ]
            ],
        },
    ]


@pytest.mark.parametrize(
    ("layout", "says"),
    [
        ([sui.Scatter("x", "z")], "Scatter.y names 'z'"),
        ([sui.Scatter("x", "labl")], "did you mean 'label'"),
        ([sui.Table], "call it, Table()"),
        (["table"], "holds components, got 'table'"),
        ([sui.Tab("a", []), sui.Table()], "tabs or rows of components, not both"),
        ([sui.Tab("a", []), sui.Tab("a", [])], "different names"),
    ],
)
def test_a_layout_that_does_not_fit_says_why(layout, says):
    with pytest.raises(SymphonyError, match=says.replace("(", r"\(").replace(")", r"\)")):
        sui.Page(TABLE, layout)


def test_every_component_of_the_protocol_is_there():
    kinds = set(BUILT_IN)
    assert kinds == {
        "summary", "table", "instances", "scatter", "duplicates", "familiarity", "confusion",
        "subgroups", "lines", "heatmap", "compare", "annotate", "markdown", "choropleth", "vega",
    }  # fmt: skip


def test_options_are_json_or_refused():
    assert sui.Lines("x", ["y"], by=("label",), log_x=True).options()["by"] == ["label"]
    assert sui.Heatmap("x", "y", center=np.float64(0.5)).options()["center"] == 0.5
    with pytest.raises(SymphonyError, match="must be finite"):
        sui.Heatmap("x", "y", center=float("nan")).options()
    with pytest.raises(SymphonyError, match="text, a number, a list or a mapping"):
        sui.Vega({"data": object()}).options()


def test_without_a_layout_the_columns_choose_one():
    image = np.zeros((4, 4), dtype=np.uint8)
    table = {
        "image": [image, image],
        "label": ["a", "b"],
        "pred": ["a", "a"],
        "projection_conv_x": [0.0, 1.0],
        "projection_conv_y": [0.0, 1.0],
        "duplicates_conv": [0, 0],
        "familiarity_conv": [0.5, 0.1],
    }
    tabs = {tab["tab"]: tab["rows"] for tab in sui.Page(table).layout.spec()}
    kinds = {tab: [view["type"] for row in rows for view in row] for tab, rows in tabs.items()}
    assert kinds == {
        "Data": ["summary", "scatter", "instances", "table"],
        "Quality": ["duplicates", "familiarity"],
        "Model": ["confusion", "subgroups"],
    }
    assert tabs["Data"][0][1]["options"]["media"] == "image"
    plain = sui.Page({"n": [1, 2]}).layout.spec()
    assert [view["type"] for row in plain[0]["rows"] for view in row] == ["summary", "table"]


def test_a_component_of_ones_own_is_a_class_and_a_module(tmp_path):
    class Violin(sui.Component):
        esm = "export default { render({ctx, el}) { el.textContent = ctx.rows; } }"
        column: str
        bins: int = 10

    page = sui.Page(TABLE, [Violin("x", title="V"), Violin("y", bins=3)])
    assert page.layout.spec()[0]["rows"][1][0] == {
        "id": "violin-2", "type": "violin", "options": {"column": "y", "bins": 3},
    }  # fmt: skip
    assert list(page.modules) == ["violin"]
    back = sui.load(page.save(tmp_path / "v.html"))
    assert back.modules == page.modules
    assert back.layout.spec() == page.layout.spec()
    assert back.to_html() == page.to_html()


def test_modules_that_do_not_fit_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def page(text, name="Own"):
        return sui.Page(TABLE, [type(name, (sui.Component,), {"esm": text})()])

    with pytest.raises(FormatError, match="one 'export default', got 0"):
        page("let a = 1;\n")
    with pytest.raises(FormatError, match="got 2"):
        page("export default 1; export default 2")
    with pytest.raises(FormatError, match="cannot be read"):
        page("missing.js")
    with pytest.raises(FormatError, match="has no module"):
        page(None)
    with pytest.raises(FormatError, match="rename a class"):
        page("export default {}", "Table")
    (tmp_path / "there.js").write_text("export default { render() {} }")
    assert page(tmp_path / "there.js").modules["own"].startswith("export")


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [{"tab": "a"}],
        [{"tab": "a", "rows": [[{"id": "t", "type": "table", "options": {"nope": 1}}]]}],
        [{"tab": "a", "rows": [[{"id": "t", "type": "scatter", "options": {}}]]}],
        [{"tab": "a", "rows": [[3]]}],
    ],
)
def test_a_layout_that_nobody_vouches_for_is_one_or_a_clear_error(raw):
    with pytest.raises(FormatError):
        arranged(raw, {})


def test_columns_that_a_layout_names_must_be_there():
    with pytest.raises(ColumnError):
        sui.Page(TABLE, [sui.Lines("x", ["y", "z"])])


def test_no_name_in_a_saved_page_becomes_source(tmp_path):
    class Own(sui.Component):
        esm = "export default { render() {} }"
        column: str

    text = sui.Page(TABLE, [Own("x")]).to_html()
    marker = tmp_path / "ran"
    evil = f"a=__import__('pathlib').Path('{marker}').touch(), b"
    path = tmp_path / "evil.html"
    path.write_text(text.replace('"options":{"column":"x"}', f'"options":{{"{evil}":1}}'))
    assert str(marker) in path.read_text()
    page = sui.load(path)
    assert not marker.exists()
    assert page.layout.all()[0].component.options() == {evil: 1}
    with pytest.raises(SymphonyError, match="cannot be named"):
        type("Bad", (sui.Component,), {"__annotations__": {evil: int}})

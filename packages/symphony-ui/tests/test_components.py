"""Components and layouts: options, modules, ids, checks, and the layout that columns ask for."""

import json
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from symphony_ui import components
from symphony_ui.components import BUILT_IN, Component, columns_named, plain, restored
from symphony_ui.errors import ColumnError, FormatError, SymphonyError
from symphony_ui.layout import arrange, arranged, auto, layers
from symphony_ui.media import Image
from symphony_ui.page import Page

EXPORT = "export default { render() {} }"
DATA = {"x": [1.0, 2.0], "y": [2.0, 1.0], "label": ["a", "b"], "pred": ["a", "a"]}
COLUMNS = [
    *({"name": name, "kind": "number"} for name in ("x", "y")),
    *({"name": name, "kind": "category"} for name in ("label", "pred")),
    {"name": "picture", "kind": "media"},
]


class Violin(Component):
    esm = EXPORT
    column: str
    bins: int = 3


def kinds(tabs):
    return {tab.name: [[type(c).__name__ for c in listed(row)] for row in tab.rows] for tab in tabs}


def listed(row):
    return [row] if isinstance(row, Component) else row


# options


def test_what_is_left_to_its_default_of_none_is_not_sent():
    assert components.Summary().options() == {}
    assert components.Scatter("x", "y", color="label", height=300).options() == {
        "x": "x", "y": "y", "color": "label", "height": 300,
    }  # fmt: skip


def test_false_zero_and_empty_text_are_options_too():
    shown = components.Subgroups("label", "pred", positive=False, n_min=0, title="").options()
    assert shown["positive"] is False
    assert shown["n_min"] == 0
    assert shown["title"] == ""


def test_options_of_numpy_become_plain_json():
    options = components.Vega(
        {"values": np.arange(3), "one": np.float32(0.5), "flag": np.bool_(True), 1: ("a", None)}
    ).options()
    assert json.loads(json.dumps(options)) == {
        "spec": {"values": [0, 1, 2], "one": 0.5, "flag": True, "1": ["a", None]}
    }


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), np.float64("nan"), [np.inf]])
def test_an_option_that_is_not_finite_is_refused(bad):
    with pytest.raises(SymphonyError, match="an option must be finite"):
        plain(bad)


@pytest.mark.parametrize("bad", [object(), b"bytes", 1j, {"a", "b"}, np.datetime64("2024-01-01")])
def test_an_option_that_no_json_holds_is_refused(bad):
    with pytest.raises(SymphonyError, match="an option must be text, a number"):
        plain({"deep": [bad]})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)  # fmt: skip


@given(json_values)
def test_json_passes_through_options_unchanged(value):
    assert plain(value) == value


@pytest.mark.parametrize("name", ["esm", "type", "options", "module"])
def test_a_component_of_ones_own_may_not_name_an_option_as_its_machinery(name):
    with pytest.raises(SymphonyError, match=f"cannot be named '{name}'"):
        type("Bad", (Component,), {"__annotations__": {name: str}})


def test_components_are_frozen_and_equal_by_their_options():
    assert Violin("x") == Violin("x", bins=3) != Violin("x", bins=4)
    with pytest.raises(AttributeError):
        Violin("x").column = "y"


# modules


def test_a_module_is_text_or_a_file_beside_the_class(tmp_path, monkeypatch):
    assert Violin("x").module() == EXPORT
    assert components.Summary().module() is None
    file = tmp_path / "own.js"
    file.write_text(f"// a file\n{EXPORT}")
    monkeypatch.setattr(Violin, "esm", file)
    assert Violin("x").module() == f"// a file\n{EXPORT}"
    monkeypatch.setattr(Violin, "esm", "../../js/test/own.js")
    with pytest.raises(FormatError, match=re.escape(str(Path(__file__).parent / ".."))):
        Violin("x").module()


def test_a_class_without_a_file_finds_its_module_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.js").write_text(EXPORT)
    held = {"__name__": "a_cell", "Component": Component}
    exec("class Own(Component):\n    esm = 'own.js'", held)
    assert held["Own"]().module() == EXPORT


def test_a_module_that_is_missing_or_exports_nothing_or_twice_is_refused(tmp_path, monkeypatch):
    for esm, message in (
        ("nowhere.js", "cannot be read"),
        ("let a;\nlet b;", "must hold one 'export default', got 0"),
        (EXPORT + "\n" + EXPORT, "must hold one 'export default', got 2"),
    ):
        monkeypatch.setattr(Violin, "esm", esm)
        with pytest.raises(FormatError, match=message):
            Page(DATA, [Violin("x")])
    monkeypatch.setattr(Violin, "esm", None)
    with pytest.raises(FormatError, match="Violin has no module: set its esm"):
        Page(DATA, [Violin("x")])
    binary = tmp_path / "binary.js"
    binary.write_bytes(b"\xff\xfe")
    monkeypatch.setattr(Violin, "esm", binary)
    with pytest.raises(FormatError, match="cannot be read"):
        Page(DATA, [Violin("x")])


def test_two_components_of_one_name_and_a_built_in_name_are_refused():
    other = type("Violin", (Component,), {"__annotations__": {"column": str}, "esm": EXPORT + " "})
    with pytest.raises(FormatError, match="both called 'violin'"):
        Page(DATA, [Violin("x"), other("x")])
    taken = type("Scatter", (Component,), {"esm": EXPORT})
    with pytest.raises(FormatError, match="both called 'scatter'"):
        Page(DATA, [taken()])


# layouts


def test_ids_count_each_type_over_all_tabs():
    page = Page(DATA, [
        components.Tab("A", [[components.Scatter("x", "y"), components.Table()]]),
        components.Tab("B", [components.Scatter("y", "x"), Violin("x"), components.Table()]),
    ])  # fmt: skip
    assert [placed.id for placed in page.layout.all()] == [
        "scatter-1", "table-1", "scatter-2", "violin-1", "table-2",
    ]  # fmt: skip
    assert [tab["tab"] for tab in page.layout.spec()] == ["A", "B"]


@pytest.mark.parametrize(
    "layout",
    [
        components.Table(),
        [components.Table()],
        [[components.Table()]],
        components.Tab("Page", components.Table()),
        [components.Tab("Page", [components.Table()])],
    ],
)
def test_a_lone_component_a_row_and_a_tab_are_the_same_layout(layout):
    assert arrange(layout, COLUMNS) == arrange([[components.Table()]], COLUMNS)


def test_a_layout_of_anything_else_says_what_came():
    for layout, message in (
        ([components.Summary], r"call it, Summary\(\)"),
        (components.Summary, r"call it, Summary\(\)"),
        ([[components.Table(), components.Summary]], r"call it, Summary\(\)"),
        (["scatter"], "holds components, got 'scatter'"),
        ("scatter", "holds components, got 'scatter'"),
        ([3], "holds components, got 3"),
        ({"a": components.Table()}, "holds components"),
        ([components.Tab("A", []), components.Table()], "tabs or rows of components, not both"),
        ([components.Tab("A", []), components.Tab("A", [])], "tabs must have different names"),
        ([components.Tab("A", 3)], "a tab holds components, got 3"),
    ):
        with pytest.raises(SymphonyError, match=message):
            arrange(layout, COLUMNS)


@pytest.mark.parametrize(
    ("component", "message"),
    [
        (components.Scatter("x", "labl"), r"Scatter.y names 'labl'.*did you mean 'label'\?"),
        (components.Summary(columns=["x", "zzzzzzzz"]), "Summary.columns names 'zzzzzzzz'.*there"),
        (components.Lines("x", ["y", "z"]), r"Lines.y names 'z'"),
        (components.Lines("x", "y", by="nothing"), "Lines.by names 'nothing'"),
        (components.Scatter("x", 3), "Scatter.y names 3"),
        (components.Compare([["x"]]), r"Compare.columns names \['x'\]"),
        (components.Instances(media="label"), r"holds no media: pass the page media=\{'label'"),
        (components.Heatmap("x", "y", value="pic"), "Heatmap.value names 'pic'"),
    ],
)
def test_a_component_that_names_no_column_says_so_with_the_nearest_name(component, message):
    with pytest.raises(ColumnError, match=message):
        arrange([component], COLUMNS)


def test_a_page_without_columns_says_that_there_are_none():
    with pytest.raises(ColumnError, match="there are none"):
        arrange([components.Scatter("x", "y")], [])


def test_every_option_that_names_a_column_is_checked():
    """An oracle: every option whose type is text, but for those that are known to be none."""
    free = {"title", "sep", "normalize", "metric", "band", "aggregate", "text", "key", "labels"}
    for cls in BUILT_IN.values():
        texts = [f for f in fields(cls) if "str" in str(f.type)]
        required = {f.name: "x" for f in fields(cls) if f.default is f.default_factory}
        for made in texts:
            if made.name not in free and "Mapping" not in str(made.type):
                component = cls(**{**required, made.name: "nowhere"})
                assert (made.name, "nowhere") in list(columns_named(component)), (cls, made.name)


def test_own_components_may_use_any_name_for_any_option():
    assert arrange([Violin("no such column")], COLUMNS).all()[0].id == "violin-1"


# the layout that columns ask for


def test_a_table_without_anything_special_gets_charts_and_a_table():
    assert kinds(auto(COLUMNS[:2])) == {"Data": [["Summary"], ["Table"]]}


def test_the_columns_of_the_analyses_decide_what_shows_them():
    names = ("projection_a_x", "projection_a_y", "projection_b_x", "projection_b_y",
             "projection_c_x", "projection_c_y", "duplicates_a", "familiarity_a")  # fmt: skip
    tabs = auto([*COLUMNS, *({"name": name, "kind": "number"} for name in names)])
    assert kinds(tabs) == {
        "Data": [["Summary", "Scatter"], ["Scatter", "Scatter"], ["Instances"], ["Table"]],
        "Quality": [["Duplicates"], ["Familiarity"]],
        "Model": [["ConfusionMatrix", "Subgroups"]],
    }
    scatter = tabs[0].rows[0][1]
    assert (scatter.x, scatter.y, scatter.color, scatter.media) == (
        "projection_a_x", "projection_a_y", "label", "picture",
    )  # fmt: skip
    assert list(tabs[0].rows[2][0].caption) == ["label", "pred"]
    assert tabs[1].rows[1].by == "label"


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["projection_a_x"], "number"),
        (["projection_a_x", "projection_a_y"], "text"),
        (["duplicates_a", "familiarity_a"], "text"),
        (["duplicates_", "familiarity_", "projection__x"], "number"),
    ],
)
def test_columns_that_only_look_like_an_analysis_are_not_taken_for_one(names, kind):
    assert kinds(auto([{"name": name, "kind": kind} for name in names])) == {
        "Data": [["Summary"], ["Table"]]
    }


def test_label_and_prediction_of_different_kinds_make_no_confusion_matrix():
    columns = [{"name": "label", "kind": "category"}, {"name": "pred", "kind": "number"}]
    assert list(kinds(auto(columns))) == ["Data"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["label", "target", "pred", "y_pred", "x", "projection_a_x", "projection_a_y",
                 "projection_b_y", "duplicates_a", "familiarity_a", "projection_x_x"]
            ),
            st.sampled_from(["number", "category", "bool", "time", "text", "media"]),
        ),
        unique_by=lambda pair: pair[0],
    )
)  # fmt: skip
def test_the_layout_that_columns_ask_for_always_fits_them(pairs):
    columns = [{"name": name, "kind": kind} for name, kind in pairs]
    made = arrange(auto(columns), columns)
    types = [placed.component.type for placed in made.all()]
    assert {"summary", "table"} <= set(types)
    assert ("instances" in types) == ("media" in {kind for _, kind in pairs})


def test_a_page_without_a_layout_shows_everything_it_holds():
    rng = np.random.default_rng(0)
    page = Page({**DATA, "image": list(rng.integers(0, 255, (2, 8, 8), dtype=np.uint8))})
    assert [placed.id for placed in page.layout.all()] == [
        "summary-1", "instances-1", "table-1", "confusion-1", "subgroups-1",
    ]  # fmt: skip


def test_layers_are_found_between_prefix_and_suffix():
    names = ["p_a_x", "p_b_c_x", "p_x", "p__x", "q_a_x", "p_a_y"]
    assert layers(names, "p_", "_x") == ["a", "b_c"]


# layouts read back


def test_a_layout_comes_back_from_its_spec():
    made = arrange(
        [[components.Scatter("x", "y"), Violin("x", bins=7)], components.Markdown("hello")], COLUMNS
    )
    back = arranged(json.loads(json.dumps(made.spec())), {"violin": EXPORT})
    assert back.spec() == made.spec()
    assert back.modules() == {"violin": EXPORT}


@pytest.mark.parametrize(
    "raw",
    [
        3, [3], [{}], [{"tab": "a"}], [{"tab": "a", "rows": [[3]]}], [{"tab": "a", "rows": 3}],
        [{"tab": "a", "rows": [[{"id": "a", "type": "scatter", "options": {"x": "x"}}]]}],
        [{"tab": "a", "rows": [[{"id": "a", "type": "scatter", "options": {"z": "x"}}]]}],
        [{"tab": "a", "rows": [[{"id": "a", "type": "own", "options": [1]}]]}],
        [{"tab": "a", "rows": [[{"id": "a", "type": ["own"], "options": {}}]]}],
        [{"tab": "a", "rows": [[{"id": "a", "type": 3, "options": {"a": 1}}]]}],
    ],
)  # fmt: skip
def test_a_layout_that_is_none_is_a_format_error(raw):
    with pytest.raises(FormatError):
        arranged(raw, {})


@given(st.dictionaries(st.text() | st.sampled_from(["options", "esm", "type"]), json_values))
def test_the_options_of_a_saved_component_are_data_whatever_their_names(options):
    back = restored("own", options, EXPORT)
    assert back.options() == options
    assert back.module() == EXPORT
    assert back.type == "own"


def test_no_name_of_a_saved_option_is_evaluated(tmp_path):
    """A dataclass makes its fields' names into source; names of a file must not become any."""
    file = tmp_path / "ran"
    name = f"x=open({str(file)!r}, 'w')"
    assert restored("own", {name: 1}, EXPORT).options() == {name: 1}
    with pytest.raises(FormatError, match="do not fit"):
        restored("scatter", {name: 1}, None)
    assert not file.exists()


def test_media_that_was_declared_can_be_named_by_a_component(tmp_path):
    page = Page(
        {"label": np.zeros((2, 4, 4), dtype=np.uint8)},
        components.Instances(media="label"),
        media={"label": Image()},
    )
    assert page.layout.all()[0].component.media == "label"

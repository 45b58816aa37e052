"""The table of races and its bars, on figures made up."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from symphony_ui import load_book
from tenfold.races import Figure, failures, gather, main, markdown, number, read_race, rewrite

ROOT = Path(__file__).parents[2]
GOOD = {
    "races": [
        {"what": "time of a peer / ours", "value": 5.25, "at_least": 4.0},
        {"what": "MiB | ours", "value": 12.0, "at_most": 40},
        {"what": "time of another peer / ours", "value": 0.8},
    ],
    "versions": {"ours": "0.1.0", "peer": "2.0"},
    "threads": 2,
}


@pytest.fixture
def workspace(tmp_path):
    """Two packages with three races; what they found is for the tests to write."""
    for package, race in (("alpha", "speed"), ("beta", "speed"), ("beta", "memory")):
        folder = tmp_path / "packages" / package / "benchmarks"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{race}.py").write_text("")
        (folder / "_helper.py").write_text("")
    return tmp_path


def write(workspace, package, race, found):
    path = workspace / "build" / package / f"{race}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(found if isinstance(found, str) else json.dumps(found))


def write_all(workspace, *, speed=GOOD):
    write(workspace, "alpha", "speed", speed)
    write(workspace, "beta", "speed", GOOD)
    write(workspace, "beta", "memory", GOOD)


def run(workspace, *options):
    return main([str(workspace / "build"), "--root", str(workspace), *map(str, options)])


def test_all_bars_held_is_a_table_a_page_and_success(workspace, capsys):
    write_all(workspace)
    assert run(workspace) == 0
    text = (workspace / "build" / "races.md").read_text()
    assert "| alpha | time of a peer / ours | 5.25 | at least 4 | held |" in text
    assert r"| beta | MiB \| ours | 12 | at most 40 | held |" in text
    assert "| beta | time of another peer / ours | 0.8 | - |  |" in text
    assert "6 bars held, 0 missed, 0 races failed" in text
    assert "- beta, memory: ours 0.1.0, peer 2.0, threads 2" in text
    assert capsys.readouterr().err == ""
    tabs = load_book(workspace / "build" / "races.html").tabs
    assert list(tabs) == ["Figures", "Versions"]
    assert len(tabs["Figures"][0].visible) == 9


def test_a_missed_bar_is_named_and_the_others_are_judged_all_the_same(workspace, capsys):
    slow = {**GOOD, "races": [{"what": "time of a peer / ours", "value": 3.9, "at_least": 4.0}]}
    write_all(workspace, speed=slow)
    assert run(workspace) == 1
    assert capsys.readouterr().err == "alpha: time of a peer / ours: 3.9, claimed at least 4\n"
    text = (workspace / "build" / "races.md").read_text()
    assert "| alpha | time of a peer / ours | 3.9 | at least 4 | **missed** |" in text
    assert "4 bars held, 1 missed, 0 races failed" in text


def test_a_race_without_figures_is_reported_and_the_others_go_on(workspace, capsys):
    write_all(workspace)
    (workspace / "build" / "beta" / "memory.json").unlink()
    assert run(workspace) == 1
    assert capsys.readouterr().err == "beta, memory: it ended without figures\n"
    text = (workspace / "build" / "races.md").read_text()
    assert "| beta | memory | - | - | **it ended without figures** |" in text
    assert "4 bars held, 0 missed, 1 races failed" in text


def test_some_packages_may_be_raced_alone(workspace):
    write(workspace, "alpha", "speed", GOOD)
    assert run(workspace) == 1
    assert run(workspace, "--packages", "alpha") == 0


@pytest.mark.parametrize(
    "found",
    [
        "", "[]", "{", "null", '{"races": []}', {**GOOD, "races": []}, {**GOOD, "versions": 3},
        {**GOOD, "races": [{"what": "no value"}]},
        {**GOOD, "races": [{"what": "a", "value": "fast"}]},
        {**GOOD, "races": [{"what": "a", "value": 1, "at_lest": 2}]},
        {**GOOD, "races": [{"what": "a", "value": None, "at_least": 2}]},
    ],
)  # fmt: skip
def test_what_is_not_as_a_race_writes_it_is_a_failed_race(workspace, found):
    write(workspace, "alpha", "speed", found)
    (race,) = gather(workspace, workspace / "build", ["alpha"])
    assert race.error
    assert len(failures([race])) == 1
    assert "\n" not in failures([race])[0].strip()


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["races", "versions", "threads", "what", "value", "at_least"]), inner,
    ),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_any_file_is_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("race") / "speed.json"
    path.write_bytes(content)
    race = read_race(path, "alpha")
    assert bool(race.error) != bool(race.figures)
    markdown([race])


@pytest.mark.parametrize(
    ("value", "bars", "verdict"),
    [
        (4.0, {"at_least": 4.0}, "held"), (3.999, {"at_least": 4.0}, "missed"),
        (4.0, {"at_most": 4.0}, "held"), (4.001, {"at_most": 4.0}, "missed"),
        (5.0, {"at_least": 4.0, "at_most": 4.5}, "missed"), (0.0, {"at_most": 0}, "held"),
        (1.0, {"at_most": 0}, "missed"), (float("nan"), {"at_least": 0.0}, "missed"),
        (float("nan"), {"at_most": 0.0}, "missed"), (1.0, {}, "-"),
    ],
)  # fmt: skip
def test_a_bar_is_held_at_its_edge_and_never_by_what_is_no_number(value, bars, verdict):
    assert Figure("it", value, **bars).verdict == verdict


def test_numbers_are_short():
    assert [number(v) for v in (0.123456, 12.3456, 1234.56, 0)] == ["0.123", "12.3", "1,235", "0"]


def test_the_table_goes_between_the_marks_and_only_there(tmp_path):
    path = tmp_path / "races.md"
    path.write_text("before\n<!-- races -->\nold\n<!-- /races -->\nafter\n")
    for _ in range(2):
        rewrite(path, "new")
    text = "before\n<!-- races -->\n\nnew\n\n<!-- /races -->\nafter\n"
    assert path.read_text() == text
    path.write_text("no marks")
    with pytest.raises(ValueError, match="needs the marks"):
        rewrite(path, "new")
    assert path.read_text() == "no marks"


def test_the_documentation_has_a_place_for_the_table():
    text = (ROOT / "docs" / "races.md").read_text()
    assert text.count("<!-- races -->") == text.count("<!-- /races -->") == 1
    assert "\nraces\n" in (ROOT / "docs" / "index.md").read_text()


def test_every_race_takes_the_options_that_all_take():
    for path in ROOT.glob("packages/*/benchmarks/[!_]*.py"):
        text = path.read_text()
        assert '"--json"' in text, path
        assert '"races"' in text or "finish(" in text, path

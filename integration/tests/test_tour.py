import io
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from tenfold import tour
from tenfold.page import Entry
from tenfold.station import StationResult
from tqdm import tqdm

GOOD = '''
"""A station that counts its runs."""
from pathlib import Path
import numpy as np
from tenfold.station import Images, Lines, Series, StationResult

class Station:
    claim = "one is <one> & one"
    budget_s = 1
    needs = {needs}

    def run(self, context):
        log = Path({log!r})
        with log.open("a") as file:
            file.write("{name}\\n")
        {body}
        context.progress(1, 1)
        seen = [result.headline for result in context.results.values()]
        lines = Lines("t", "x", "y", [Series("s", [0, 1], [1.0, 2.0], [0, 1], [2, 3])])
        images = Images("i", np.zeros((2, 4, 4), np.uint8), ["<a>", "b"])
        tables = {{"numbers": {{"n": [1, 2], "x": np.array([0.5, 1.5])}}}}
        headline = "{name} after " + ", ".join(seen)
        return StationResult("reproduced", headline, tables, [lines, images], ["note"])
'''


@pytest.fixture
def stations(tmp_path):
    folder = tmp_path / "stations"
    folder.mkdir()

    def add(name, needs=(), body="pass"):
        text = GOOD.format(name=name, needs=needs, body=body, log=str(tmp_path / "log"))
        (folder / f"{name}.py").write_text(textwrap.dedent(text))

    add("json")
    add("csv", needs=("json",))
    return folder, add


def ran(tmp_path):
    log = tmp_path / "log"
    return log.read_text().split() if log.exists() else []


def go(tmp_path, folder, *options):
    return tour.main(["--out", str(tmp_path / "out"), *options], folder=folder)


def test_runs_in_the_order_of_needs_writes_a_page_and_caches(tmp_path, stations, capsys, texts):
    folder, _ = stations
    assert go(tmp_path, folder) == 0
    assert ran(tmp_path) == ["json", "csv"]
    assert "csv after json after" in texts(tmp_path / "out" / "index.html")["csv"]
    assert go(tmp_path, folder) == 0
    assert ran(tmp_path) == ["json", "csv"]
    out = capsys.readouterr().out
    assert "cached" in out
    assert str(tmp_path / "out" / "index.html") in out


def test_fresh_forgets_and_other_options_are_another_run(tmp_path, stations):
    folder, _ = stations
    go(tmp_path, folder)
    go(tmp_path, folder, "--seeds", "2")
    assert len(ran(tmp_path)) == 4
    go(tmp_path, folder, "--fresh")
    assert len(ran(tmp_path)) == 6
    go(tmp_path, folder)
    assert len(ran(tmp_path)) == 6


def test_only_pulls_in_what_is_needed(tmp_path, stations):
    folder, add = stations
    add("wave")
    assert go(tmp_path, folder, "--only", "csv") == 0
    assert ran(tmp_path) == ["json", "csv"]


def test_a_broken_station_shows_its_error_and_the_others_go_on(tmp_path, stations, capsys, texts):
    folder, add = stations
    add("json", body="raise RuntimeError('no <b>luck</b>')")
    add("wave")
    assert go(tmp_path, folder) == 1
    assert ran(tmp_path) == ["json", "wave"]
    page = texts(tmp_path / "out" / "index.html")
    assert "no <b>luck</b>" in page["json"]
    assert "needs json, which failed" in page["csv"]
    assert "wave after" in page["wave"]
    assert "no <b>luck</b>" in capsys.readouterr().out


def test_ctrl_c_leaves_a_page_of_what_is_done(tmp_path, stations, capsys, texts):
    folder, add = stations
    add("csv", needs=("json",), body="raise KeyboardInterrupt")
    assert go(tmp_path, folder) == 130
    page = texts(tmp_path / "out" / "index.html")
    assert "json after" in page["json"]
    assert "Not run yet: csv." in page["Overview"]
    assert "run again to go on" in capsys.readouterr().err


def test_says_what_is_wrong_with_the_arguments(tmp_path, stations, capsys):
    folder, add = stations
    assert go(tmp_path, folder, "--only", "nothing") == 2
    assert go(tmp_path, folder, "--scale", "paper") == 2
    assert go(tmp_path, folder, "--seeds", "0") == 2
    (tmp_path / "file").write_text("")
    assert tour.main(["--out", str(tmp_path / "file")], folder=folder) == 2
    with pytest.raises(SystemExit, match="2"):
        go(tmp_path, folder, "--seeds", "x")
    add("json", needs=("csv",))
    assert go(tmp_path, folder) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 6
    assert "json -> csv -> json" in lines[-1] or "csv -> json -> csv" in lines[-1]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("return StationResult('partly', 'h', {'t': {'a': [object()]}})", "holds object"),
        ("return StationResult('partly', 'h', {'t': {'a': [1], 'b': []}})", "equal length"),
        ("return StationResult('great', 'h')", "verdict must be one of"),
        (
            "from tenfold.station import Explorer; e = Explorer('e', {'a': [1]}, [[('No', {})]]); "
            "return StationResult('partly', 'h', {}, [e])",
            "AttributeError",
        ),
        ("return None", "must return a StationResult, got NoneType"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise RuntimeError('first line\\nlast line')", "RuntimeError: first line"),
    ],
)
def test_no_station_can_stop_the_others(tmp_path, stations, capsys, body, error, texts):
    folder, add = stations
    add("json", body=body)
    add("wave")
    assert go(tmp_path, folder) == 1
    assert ran(tmp_path) == ["json", "wave"]
    assert error in texts(tmp_path / "out" / "index.html")["json"]
    assert "failed" in capsys.readouterr().out
    assert not [p for p in (tmp_path / "out" / "cache").glob("json/*")]


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("def (", "SyntaxError: invalid syntax"),
        ("class Other: pass", "has no class Station"),
        ("class Station:\n    claim = 1\n    budget_s = 2", "a text claim"),
        ("class Station:\n    claim = 'c'\n    budget_s = 1\n    needs = ('json')", "got 'json'"),
        ("class Station:\n    claim = f()\n    budget_s = 1", "ValueError: malformed"),
    ],
)
def test_a_station_that_cannot_be_read_fails_alone(
    tmp_path, stations, capsys, source, error, texts
):
    folder, _ = stations
    (folder / "wave.py").write_text(source)
    assert go(tmp_path, folder) == 1
    assert ran(tmp_path) == ["json", "csv"]
    assert error in texts(tmp_path / "out" / "index.html")["wave"]
    assert "failed" in capsys.readouterr().out


def test_needs_take_either_spelling_and_other_attributes_are_free(tmp_path):
    path = tmp_path / "x.py"
    path.write_text(
        "class Station:\n    claim = 'c'\n    budget_s = 3\n"
        "    needs: tuple = ('er-ssl', 'lv_ssl')\n    rows = 2**4\n"
        "class Helper:\n    claim = 'not this one'\n    budget_s = 9\n"
    )
    assert tour.describe(path) == tour.Description(path, "c", 3, ("er_ssl", "lv_ssl"))


def test_the_stations_stand_in_the_order_of_the_packages_and_unknown_ones_last(tmp_path):
    for name in ("a", "symphony_ui", "er_ssl", "_hidden", "duet"):
        (tmp_path / f"{name}.py").write_text("class Station:\n    claim = 'c'\n    budget_s = 1")
    assert list(tour.discover(tmp_path)) == ["er_ssl", "duet", "symphony_ui", "a"]


def test_a_station_may_hold_dataclasses_with_postponed_annotations(tmp_path, stations):
    folder, add = stations
    add("wave")
    path = folder / "wave.py"
    head = "from __future__ import annotations\nfrom dataclasses import dataclass\n"
    kind = "from typing import ClassVar\n@dataclass\nclass A:\n    x: ClassVar[int] = 1\n"
    path.write_text(head + kind + path.read_text())
    assert go(tmp_path, folder) == 0


@pytest.mark.parametrize("name", ["result.json", "arrays.npz"])
def test_a_spoilt_result_is_made_again(tmp_path, stations, name):
    folder, _ = stations
    go(tmp_path, folder)
    for path in (tmp_path / "out" / "cache" / "json").rglob(name):
        path.write_bytes(path.read_bytes()[:30])
    assert go(tmp_path, folder) == 0
    assert ran(tmp_path) == ["json", "csv", "json"]


def test_what_a_changed_station_feeds_runs_again(tmp_path, stations):
    folder, add = stations
    add("wave")
    go(tmp_path, folder)
    add("json", body="x = 1")
    go(tmp_path, folder)
    assert ran(tmp_path) == ["json", "csv", "wave", "json", "csv"]


def test_progress_moves_the_bar_and_a_station_may_say_it_often(tmp_path, stations, monkeypatch):
    folder, add = stations
    wait = "__import__('time').sleep(0.001)"
    add("json", body=f"[(context.progress(n + 1, 500), {wait}) for n in range(500)]")
    screen = io.StringIO()

    def on_a_terminal(*args, **options):
        return tqdm(*args, **options | {"disable": False, "file": screen})

    monkeypatch.setattr(tour, "tqdm", on_a_terminal)
    assert go(tmp_path, folder, "--only", "json") == 0
    text = screen.getvalue()
    assert "json" in text
    assert "/500" in text
    assert "1/1" in text
    assert text.count("\r") < 100


def test_the_table_keeps_to_the_width_and_says_claim_verdict_and_time():
    result = StationResult("partly", "what was found " * 9)
    entries = [
        Entry("er_ssl", "what the paper says " * 9, result, "", 12.3),
        Entry("duet", "c", None, "OSError: no disk\n\nTraceback", 0.0),
        Entry("lv_ssl", "c", result, "", 1.0, cached=True),
    ]
    text = tour.summary(entries, width=100)
    assert max(map(len, text.splitlines())) <= 100
    first = next(line for line in text.splitlines() if line.startswith("er-ssl"))
    assert first.split()[-3:] == ["partly", "12", "s"]
    words = text.split()
    assert words.count("paper") == 9
    assert words.count("found") == 18
    assert "cached" in words
    assert "failed" in words
    assert "Traceback" not in words


PROGRAM = """
import sys
from pathlib import Path
from tenfold import tour
code = tour.main(["--out", sys.argv[1]], folder=Path(sys.argv[2]))
assert "torch" not in sys.modules
sys.exit(code)
"""


def test_a_killed_tour_goes_on_where_it_was_and_needs_no_torch(tmp_path, stations, texts):
    folder, add = stations
    add(
        "csv",
        needs=("json",),
        body="__import__('time').sleep(60)",
    )
    out = tmp_path / "out"
    child = subprocess.Popen([sys.executable, "-c", PROGRAM, str(out), str(folder)])
    while ran(tmp_path) != ["json", "csv"]:
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    page = texts(out / "index.html")
    assert "json after" in page["json"]
    assert "Not run yet: csv." in page["Overview"]
    assert [p.name for p in (out / "cache").iterdir()] == ["json"]
    assert sorted(p.name for p in out.iterdir()) == ["cache", "index.html"]
    add("csv", needs=("json",))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(out), str(folder)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert ran(tmp_path) == ["json", "csv", "csv"]
    assert "Not run yet" not in texts(out / "index.html")["Overview"]


def test_a_cached_tour_imports_no_station_and_no_torch(tmp_path, stations):
    folder, add = stations
    add("json", body="import torch")
    add("csv", needs=("json",))
    run = [sys.executable, "-c", PROGRAM, str(tmp_path / "out"), str(folder)]
    first = subprocess.run(run, capture_output=True, text=True)
    assert "AssertionError" in first.stderr  # the first run did import torch: the check can fail
    page = (tmp_path / "out" / "index.html").read_bytes()
    second = subprocess.run(run, capture_output=True, text=True)
    assert second.returncode == 0, second.stderr
    assert (tmp_path / "out" / "index.html").read_bytes() == page


def test_the_real_stations_keep_within_the_tours_ten_minutes():
    stations = tour.discover()
    assert next(iter(stations)) == "er_ssl"
    assert not [station.error for station in stations.values() if station.error]
    assert sum(station.budget_s for station in stations.values()) <= 570

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from tenfold import tour
from tenfold.cache import key_of

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


def test_runs_in_the_order_of_needs_writes_a_page_and_caches(tmp_path, stations, capsys):
    folder, _ = stations
    assert go(tmp_path, folder) == 0
    assert ran(tmp_path) == ["json", "csv"]
    page = (tmp_path / "out" / "index.html").read_text()
    assert "csv after json after " in page
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


def test_a_broken_station_shows_its_error_and_the_others_go_on(tmp_path, stations, capsys):
    folder, add = stations
    add("json", body="raise RuntimeError('no <b>luck</b>')")
    add("wave")
    assert go(tmp_path, folder) == 1
    assert ran(tmp_path) == ["json", "wave"]
    page = (tmp_path / "out" / "index.html").read_text()
    assert "no &lt;b&gt;luck&lt;/b&gt;" in page
    assert "needs json, which failed" in page
    assert "wave after" in page
    assert "no <b>luck</b>" in capsys.readouterr().out


def test_ctrl_c_leaves_a_page_of_what_is_done(tmp_path, stations, capsys):
    folder, add = stations
    add("csv", needs=("json",), body="raise KeyboardInterrupt")
    assert go(tmp_path, folder) == 130
    assert "json after" in (tmp_path / "out" / "index.html").read_text()
    assert "run again to go on" in capsys.readouterr().err


def test_says_what_is_wrong_with_the_arguments(tmp_path, stations, capsys):
    folder, add = stations
    assert go(tmp_path, folder, "--only", "nothing") == 2
    assert go(tmp_path, folder, "--scale", "paper") == 2
    assert go(tmp_path, folder, "--seeds", "0") == 2
    add("json", needs=("csv",))
    assert go(tmp_path, folder) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert "json -> csv -> json" in lines[-1] or "csv -> json -> csv" in lines[-1]


def test_a_key_changes_with_source_options_and_needs(stations):
    folder, add = stations
    options = {"seeds": 1}
    key = key_of(folder / "json.py", options, [])
    assert key == key_of(folder / "json.py", options, [])
    others = {
        key_of(folder / "json.py", {"seeds": 2}, []),
        key_of(folder / "json.py", options, ["k"]),
    }
    add("json", body="x = 1")
    others.add(key_of(folder / "json.py", options, []))
    assert key not in others
    assert len(others) == 3


PROGRAM = """
import sys
from pathlib import Path
from tenfold import tour
code = tour.main(["--out", sys.argv[1]], folder=Path(sys.argv[2]))
assert "torch" not in sys.modules
sys.exit(code)
"""


def test_a_killed_tour_goes_on_where_it_was_and_needs_no_torch(tmp_path, stations):
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
    assert not (out / "index.html").exists()
    assert [p.name for p in (out / "cache").iterdir()] == ["json"]
    add("csv", needs=("json",))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(out), str(folder)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert ran(tmp_path) == ["json", "csv", "csv"]


def test_the_real_stations_keep_within_the_tours_ten_minutes():
    stations = tour.discover()
    assert next(iter(stations)) == "er_ssl"
    assert sum(station.budget_s for station in stations.values()) <= 570

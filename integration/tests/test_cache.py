import json
import math
import os
import time
from pathlib import Path

import numpy as np
import pytest
import tenfold.cache
from tenfold.cache import key_of, load, save
from tenfold.station import Explorer, Images, Lines, Series, StationResult


def a_result():
    lines = Lines("t", "x", "y", [Series("s", [0, 1], np.array([1.0, math.inf]))], [("top", 2.0)])
    images = Images("i", np.arange(18, dtype=np.uint8).reshape(2, 3, 3), ["a", "b"])
    table = {
        "n": [1, 2],
        "x": np.array([0.5, 1.5]),
        "picture": np.zeros((2, 3, 3), np.uint8),
        "array": ["kind", None],
        "yes": [True, np.bool_(False)],
    }
    layout = [[("Scatter", {"x": "n", "y": "n"})], [("Table", {})]]
    explorer = Explorer("e", {"n": [1, 2, 3], "i": np.ones((3, 2, 2), np.uint8)}, layout)
    figures = [lines, images, explorer]
    kept = {"features": np.arange(6, dtype="f2").reshape(2, 3)}
    return StationResult("partly", "h", {"kind": table}, figures, ["n"], kept)


def test_a_result_comes_back_from_the_disk_as_it_was(tmp_path):
    save(tmp_path / "k", a_result(), 2.5)
    loaded = load(tmp_path / "k")
    assert loaded is not None
    found, seconds = loaded
    assert seconds == 2.5
    table = found.tables["kind"]
    assert list(table) == ["n", "x", "picture", "array", "yes"]
    assert table["n"] == (1, 2)
    assert table["array"] == ("kind", None)
    assert table["yes"] == (True, False)
    np.testing.assert_array_equal(table["x"], [0.5, 1.5])
    lines, images, explorer = found.figures
    assert lines.levels == (("top", 2.0),)
    np.testing.assert_array_equal(lines.series[0].y, [1.0, math.inf])
    assert images.images.dtype == np.uint8
    np.testing.assert_array_equal(images.images, a_result().figures[1].images)
    assert explorer.layout == ((("Scatter", {"x": "n", "y": "n"}),), (("Table", {}),))
    assert explorer.table["n"] == (1, 2, 3)
    assert explorer.table["i"].dtype == np.uint8
    assert found.arrays["features"].dtype == np.float16
    np.testing.assert_array_equal(found.arrays["features"], a_result().arrays["features"])


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def other_version(path):
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))


def unknown_kind(path):
    path.write_text(path.read_text().replace('"StationResult"', '"Path"'))


def another_kind(path):
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"result": content["result"]["figures"][0]}))


def invalid(path):
    path.write_text(path.read_text().replace('"partly"', '"great"'))


def pickled(path):
    np.savez(path, a0=np.array([object()]))


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("result.json", cut),
        ("result.json", other_version),
        ("result.json", unknown_kind),
        ("result.json", invalid),
        ("result.json", lambda path: path.write_text("[]")),
        ("result.json", another_kind),
        ("result.json", Path.unlink),
        ("arrays.npz", cut),
        ("arrays.npz", pickled),
        ("arrays.npz", lambda path: path.write_bytes(b"")),
        ("arrays.npz", Path.unlink),
    ],
)
def test_what_is_not_whole_or_not_ours_counts_as_nothing(tmp_path, name, spoil):
    save(tmp_path / "k", a_result(), 1.0)
    assert load(tmp_path / "k") is not None
    spoil(tmp_path / "k" / name)
    assert load(tmp_path / "k") is None


@pytest.mark.parametrize("cell", [object(), b"bytes", {1, 2}])
def test_what_is_neither_json_nor_npz_is_refused_and_leaves_nothing(tmp_path, cell):
    result = StationResult("partly", "h", {"t": {"a": [cell]}})
    with pytest.raises(TypeError, match=f"holds {type(cell).__name__}"):
        save(tmp_path / "a" / "k", result, 0.0)
    assert list((tmp_path / "a").iterdir()) == []


def test_a_disk_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("full")

    monkeypatch.setattr("tenfold.cache.os.replace", fail)
    with pytest.raises(OSError, match="full"):
        save(tmp_path / "a" / "k", a_result(), 0.0)
    assert list((tmp_path / "a").iterdir()) == []


def test_an_array_of_objects_is_refused(tmp_path):
    result = StationResult("partly", "h", {"t": {"a": np.array([None, "x"], object)}})
    with pytest.raises(TypeError, match="array of objects"):
        save(tmp_path / "k", result, 0.0)


def test_old_drafts_of_killed_runs_are_removed_and_young_ones_left(tmp_path):
    for name, age in (("old", 7200), ("young", 60)):
        draft = tmp_path / f".draft-{name}"
        draft.mkdir()
        os.utime(draft, (time.time() - age,) * 2)
    save(tmp_path / "k", a_result(), 1.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".draft-young", "k"]


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A station, its package, another package, tenfold's shared modules and a study."""
    files = {
        "shared/loop.py": "def go():\n    from duet import x\n",
        "shared/unused.py": "import homssl\n",
        "shared/data/rows.bin": "1",
        "shared/stations/other.py": "",
        "site/er_ssl/__init__.py": "x = 1\n",
        "site/er_ssl/deep/__init__.py": "",
        "site/duet/__init__.py": "x = 1\n",
        "site/homssl/__init__.py": "x = 1\n",
        "place/er_ssl.py": "from tenfold import loop\n",
        "studies/er_ssl/summary.json": "{}",
        "studies/er_ssl/run.py": "",
        "studies/duet/summary.json": "{}",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(tenfold.cache, "SHARED", tmp_path / "shared")
    monkeypatch.setattr(
        tenfold.cache.importlib.util, "find_spec", lambda name: FakeSpec(tmp_path / "site" / name)
    )
    return tmp_path


class FakeSpec:
    def __init__(self, folder):
        self.submodule_search_locations = [str(folder)]


def key_in(world, options=None, needs=()):
    return key_of(
        world / "place" / "er_ssl.py", options or {"seeds": 1}, needs, studies=world / "studies"
    )


@pytest.mark.parametrize(
    "name",
    [
        "place/er_ssl.py",
        "shared/loop.py",
        "shared/data/rows.bin",
        "shared/unused.py",
        "site/er_ssl/__init__.py",
        "site/er_ssl/deep/__init__.py",
        "site/duet/__init__.py",
        "studies/er_ssl/summary.json",
    ],
)
def test_a_key_changes_with_everything_that_the_station_reaches(world, name):
    before = key_in(world)
    (world / name).write_text((world / name).read_text() + "\n")
    assert key_in(world) != before


@pytest.mark.parametrize(
    "name",
    [
        "shared/stations/other.py",
        "site/homssl/__init__.py",
        "studies/er_ssl/run.py",
        "studies/duet/summary.json",
    ],
)
def test_a_key_stays_when_something_else_changes(world, name):
    before = key_in(world)
    (world / name).write_text((world / name).read_text() + "\n")
    (world / "shared" / "loop.pyc").write_bytes(b"byte code")
    assert key_in(world) == before


@pytest.mark.parametrize("new", ["shared/rows.bin", "shared/data/rows2.bin"])
def test_a_key_changes_when_a_file_moves(world, new):
    before = key_in(world)
    (world / "shared/data/rows.bin").rename(world / new)
    assert key_in(world) != before


def test_a_key_changes_with_options_needs_and_the_version_of_torch(world, monkeypatch):
    keys = [key_in(world), key_in(world, {"seeds": 2}), key_in(world, needs=["a"])]
    keys.append(key_in(world, needs=["b"]))
    monkeypatch.setattr(tenfold.cache.importlib.metadata, "version", lambda name: "9")
    keys.append(key_in(world))
    assert len(set(keys)) == len(keys)


def test_the_files_are_plain_json_and_npz(tmp_path):
    save(tmp_path / "k", a_result(), 1.0)
    content = json.loads((tmp_path / "k" / "result.json").read_text())
    assert (content["format"], content["version"]) == ("tenfold station", 1)
    with np.load(tmp_path / "k" / "arrays.npz", allow_pickle=False) as arrays:
        assert sorted(arrays) == [f"a{n}" for n in range(6)]

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tenfold.study import run_tasks

STUDY = Path(__file__).parents[1] / "studies" / "deeppcr"


@pytest.fixture(scope="module")
def study(study_module):
    return study_module("deeppcr", "run")


def test_the_full_study_is_the_stated_grid(study):
    tasks = study.tasks(study.SIZES["full"])
    parts = [task["part"] for task in tasks]
    assert {part: parts.count(part) for part in parts} == {
        "train": 3 * 2 * 5, "exact": 3 * 2, "clock": 3 * 3, "grid": 13 + 2,
    }  # fmt: skip
    assert len({json.dumps(task, sort_keys=True) for task in tasks}) == len(tasks)
    cells = [task for task in tasks if task["part"] == "grid"]
    assert max(t["depth"] * t["batch"] * t["width"] ** 2 for t in cells) <= 2**25


def test_the_journal_holds_every_run_of_the_full_study(study):
    lines = (STUDY / "journal.jsonl").read_text().splitlines()
    known = {json.dumps(json.loads(line)["task"], sort_keys=True) for line in lines}
    assert known == {json.dumps(t, sort_keys=True) for t in study.tasks(study.SIZES["full"])}


@pytest.fixture(scope="module")
def journal(study, tmp_path_factory):
    """Everything at the smallest size, one cell of the races, in this process."""
    path = tmp_path_factory.mktemp("study") / "journal.jsonl"
    tasks = study.tasks(study.SIZES["smoke"])
    first = next(task for task in tasks if task["part"] == "grid")
    run_tasks(
        [task for task in tasks if task["part"] != "grid" or task == first],
        study.execute, path, jobs=0,
    )  # fmt: skip
    return path


def test_the_report_needs_the_journal_alone_and_is_the_same_each_time(journal):
    pytest.importorskip("matplotlib")
    before = None
    for _ in range(2):
        command = [sys.executable, str(STUDY / "report.py"), "--journal", str(journal)]
        subprocess.run(command, check=True, capture_output=True)
        names = ("results.md", "summary.json", "curves.svg")
        files = [(journal.parent / name).read_bytes() for name in names]
        assert before in (None, files)
        before = files
    curves, clocks, races = json.loads(files[1])["tables"].values()
    assert curves["blocks"] == clocks["blocks"] == ["8", "16"]
    assert curves["same curve"] == ["yes", "yes"]
    assert races["blocks"] == ["16"]
    assert b"![Curves, gaps and gains](curves.svg)" in files[0]


def fake(gap=0.0, exact=0.0, end=0.0):
    """Three pairs of runs in single precision and one in double, so far apart."""
    parts = {"train": [], "exact": []}
    for part, seeds, apart in (("train", 3, gap), ("exact", 1, exact)):
        for seed in range(seeds):
            for way, sign in (("loop", 0), ("parallel", 1)):
                task = {"depth": 4, "seed": seed, "backward": way}
                losses = [2.0, 1.0 + seed / 10 + sign * apart]
                ends = {"test_loss": 1.0 + seed / 10 + sign * end, "accuracy": 0.5}
                parts[part].append((task, {"losses": losses} | ends))
    return parts


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({}, "yes"),
        ({"gap": 0.009, "exact": 1e-10, "end": -0.009}, "yes"),
        ({"gap": 0.02}, "no"),
        ({"exact": 1e-8}, "no"),
        ({"end": 0.02}, "no"),
        ({"gap": float("nan")}, "no"),
    ],
)
def test_the_curves_are_judged_as_stated(study_module, changes, answer):
    pytest.importorskip("matplotlib")
    table = study_module("deeppcr", "report").curve_table(fake(**changes))
    assert table["same curve"] == [answer]


def test_a_smoothed_curve_is_the_mean_of_the_last_steps(study_module):
    pytest.importorskip("matplotlib")
    smooth = study_module("deeppcr", "report").smooth
    losses = np.random.default_rng(0).random(30)
    wanted = [losses[max(0, n - 4) : n + 1].mean() for n in range(30)]
    assert smooth(losses.tolist(), 5) == pytest.approx(wanted)

import json
import subprocess
import sys
from pathlib import Path

import pytest

STUDY = Path(__file__).parents[1] / "studies" / "lv_ssl"


@pytest.fixture(scope="module")
def study(study_module):
    return study_module("lv_ssl", "run")


def test_the_full_study_is_the_stated_grid(study):
    tasks = study.tasks(study.SIZES["full"])
    parts = [task["part"] for task in tasks]
    assert {part: parts.count(part) for part in parts} == {
        "arms": 3 * len(study.ARMS), "wide": 9, "beta": 15, "protocols": 6,
    }  # fmt: skip
    assert len({json.dumps(task, sort_keys=True) for task in tasks}) == len(tasks)
    assert all(task["epochs"] == 4 for task in tasks if not task["name"].startswith("untrained"))


@pytest.fixture(scope="module")
def journal(study, tmp_path_factory):
    """One seed of everything at the smallest size, in this process."""
    path = tmp_path_factory.mktemp("study") / "journal.jsonl"
    size = study.SIZES["smoke"] | {"train": 96}
    names = ("vmf", "no noise", "bernoulli", "bernoulli, gain", "0", "10")
    few = [t for t in study.tasks(size) if t["name"] in names]
    few = [t for t in few if t["part"] != "arms" or t["name"] == "vmf"]
    study.run_tasks(few, study.execute, path, jobs=0)
    return path


def test_the_report_needs_the_journal_alone_and_is_the_same_each_time(journal):
    before = None
    for _ in range(2):
        command = [sys.executable, str(STUDY / "report.py"), "--journal", str(journal)]
        subprocess.run(command, check=True, capture_output=True)
        names = ("results.md", "summary.json", "rises.svg", "curves.svg")
        files = [(journal.parent / name).read_bytes() for name in names]
        assert before in (None, files)
        before = files
    (table,) = json.loads(files[1])["tables"].values()
    assert len(table["bar"]) == len(table["found"]) == len(table["holds"]) == 12
    assert b"## Fine-tuning, calibration, regression" in files[0]


def test_the_bars_are_judged_as_they_are_stated(study_module):
    answers = study_module("lv_ssl", "report").answers

    def wide(features, mean, bits, curve):
        probes = {"features": features, "mean": mean, "bits": bits}
        return {
            "probes": {k: [round(1000 * v), 1000] for k, v in probes.items()},
            "curve": {"bits": [8, 16], "coded_bits": [8, 16], "accuracy": curve},
        }

    def runs(name, results):
        return [({"name": name, "seed": n}, result) for n, result in enumerate(results)]

    good, bad = wide(0.78, 0.79, 0.77, [0.5, 0.6]), wide(0.78, 0.76, 0.76, [0.6, 0.5])
    parts = {
        "arms": [],
        "wide": [
            *runs("no noise", [good]), *runs("bernoulli", [good]), *runs("bernoulli, gain", [bad]),
        ],
        "beta": [
            *runs("0", [{"rate": 9.0, "collapsed": False}]),
            *runs("10", [{"rate": 0.5, "collapsed": True}]),
        ],
    }  # fmt: skip
    assert answers(parts)["holds"] == ["yes"] * 4 + ["no"] * 4 + ["yes", "yes"]
    parts["beta"] = [
        *runs("0", [{"rate": 1.0, "collapsed": True}]),
        *runs("10", [{"rate": 9.0, "collapsed": True}]),
    ]
    assert answers(parts)["holds"][-2:] == ["no", "no"]

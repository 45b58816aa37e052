import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tenfold.study import read_journal

STUDY = Path(__file__).parents[1] / "studies" / "ema_scaling"


@pytest.fixture(scope="module")
def study(study_module):
    return study_module("ema_scaling", "run")


def test_the_full_study_is_the_stated_grid(study):
    tasks = study.supervised_tasks(study.SIZES["full"], 5)
    plain = [task for task in tasks if task["start"] == 0]
    assert len(plain) == 3 * 2 * 3 * 5
    assert {task["kappa"] for task in plain} == {1, 8, 16}
    later = [task for task in tasks if task["start"]]
    assert len(later) == 3 * 2 * 5
    assert {task["optimizer"] for task in later} == {"adamw"}
    assert len(study.feedback_tasks(study.SIZES["full"], 5)) == 2 * 3 * 5
    assert all(task["test"] == 2000 for task in tasks)
    assert {recipe["ema_decay"] for recipe in study.RECIPES.values()} <= {0.99, 0.995, 0.998}


@pytest.mark.parametrize("model", ["ViT", "causal transformer", "BYOL", "pseudo-labels"])
def test_every_kind_of_run_executes(study, model):
    size = {"blocks": 1, "block": 64, "test": 64}
    task = study.common(size, 0) | {"model": model, "optimizer": "sgd", "kappa": 2, "rule": True}
    curve = study.execute(task)
    assert curve["samples"] == [0, 64]
    assert curve == study.execute(task)


def start(journal):
    options = ["--smoke", "--models", "CNN", "--jobs", "1", "--journal", str(journal)]
    return subprocess.Popen([sys.executable, str(STUDY / "run.py"), *options])


def test_a_killed_study_goes_on_and_its_report_needs_the_journal_alone(tmp_path):
    journal = tmp_path / "journal.jsonl"
    child = start(journal)
    while len(read_journal(journal)) < 2:
        assert child.poll() is None
        time.sleep(0.05)
    workers = processes("--ppid", str(child.pid))
    assert workers
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    deadline = time.monotonic() + 20
    while left := processes("-p", ",".join(workers)):
        assert time.monotonic() < deadline, f"workers {left} outlive the study"
        time.sleep(0.05)
    before = journal.read_bytes()
    assert start(journal).wait() == 0
    assert journal.read_bytes().startswith(before[: before.rfind(b"\n") + 1])
    assert (
        len(read_journal(journal)) == len({json.dumps(t) for t, _ in read_journal(journal)}) == 10
    )
    command = [sys.executable, str(STUDY / "report.py"), "--journal", str(journal)]
    subprocess.run(command, check=True, capture_output=True)
    summary = json.loads((tmp_path / "summary.json").read_text())
    (table,) = summary["tables"].values()
    assert table["optimizer"] == ["adamw", "adamw", "sgd"]
    assert len(summary["figures"]) == 2
    assert "![EMA test loss" in (tmp_path / "results.md").read_text()
    first = (tmp_path / "supervised.svg").read_bytes()
    report(journal)
    assert (tmp_path / "supervised.svg").read_bytes() == first


def processes(*options):
    """Numbers of the processes that are not over, by options of ``ps``."""
    command = ["ps", *options, "-o", "pid=,stat="]
    lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    return [line.split()[0] for line in lines if "Z" not in line]


def report(journal):
    subprocess.run(
        [sys.executable, str(STUDY / "report.py"), "--journal", str(journal)],
        check=True,
        capture_output=True,
    )


def fake(base, rule, kept, seeds=3):
    """A journal of a BYOL whose measurements are constants with a spread of about 0.1 a seed."""
    names = (
        "loss", "alignment", "spread", "student probe", "teacher probe", "projection distance",
        "weight distance",
    )  # fmt: skip
    runs = []
    for (kappa, arm), level in zip(
        ((1, True), (8, True), (8, False)), (base, rule, kept), strict=True
    ):
        for seed in range(seeds):
            task = {"model": "BYOL", "kappa": kappa, "rule": arm, "seed": seed}
            column = [0.0, level + 0.1 * (seed - 1), level + 0.1 * (seed - 1)]
            runs.append((task, {"samples": [0.0, 1.0, 2.0]} | dict.fromkeys(names, column)))
    return runs


@pytest.mark.parametrize(
    ("rule", "kept", "answer"),
    [
        (0.05, 1.0, "yes"),
        (0.2, 1.0, "in part"),
        (0.5, 4.0, "in part"),
        (0.5, 1.0, "no"),
        (0.05, 0.2, "no effect"),
    ],
)
def test_the_report_judges_by_its_stated_rule(rule, kept, answer, study_module):
    table = study_module("ema_scaling", "report").feedback_table(fake(0.0, rule, kept))
    assert table["the rule holds"] == [answer] * 7
    assert study_module("ema_scaling", "report").counted(table, "BYOL").startswith("7 comparisons")

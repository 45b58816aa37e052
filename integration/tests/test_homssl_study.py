import json
import subprocess
import sys
from pathlib import Path

import pytest
from tenfold.data.images import Split, fashion_mnist
from tenfold.study import read_journal

STUDY = Path(__file__).parents[1] / "studies" / "homssl"
FILES = ("results.md", "summary.json", "figures.svg")
PROBES = ("fiber, upright", "fiber, turned", "pooled, turned")


@pytest.fixture(scope="module")
def study(study_module):
    return study_module("homssl", "run")


@pytest.fixture(scope="module")
def report(study_module):
    return study_module("homssl", "report")


def key(task):
    return json.dumps(task, sort_keys=True)


def test_the_full_study_is_the_stated_grid_and_the_committed_journal_holds_it(study):
    tasks = study.tasks(study.SIZES["full"])
    parts = [task["part"] for task in tasks]
    assert {part: parts.count(part) for part in parts} == {
        "failure": 3 * 6, "turns": 3 * 8, "shifts": 3 * (20 + 5 + 4),
    }  # fmt: skip
    assert len({key(task) for task in tasks}) == len(tasks)
    committed = {key(task) for task, _ in read_journal(STUDY / "journal.jsonl")}
    assert committed == {key(task) for task in tasks}


def test_what_the_report_reads_of_a_task_is_what_the_run_wrote(study, report):
    assert report.OFFSETS == study.OFFSETS
    labels = {str(study.Arm(net, loss)) for (net, loss, trained) in report.ARMS if trained}
    assert {label for label in report.ARMS.values() if "untrained" not in label} == labels


@pytest.fixture(scope="module")
def journal(study, tmp_path_factory):
    """One seed of a few runs on a few images, in this process."""
    full = fashion_mnist(96)
    rows = full.train, full.train_labels, full.test[:100], full.test_labels[:100]
    study.fashion_mnist = lambda train: Split("tiny", *rows, full.classes)
    path = tmp_path_factory.mktemp("study") / "journal.jsonl"
    few = [
        task
        for task in study.tasks(study.SIZES["smoke"] | {"train": 96})
        if task["part"] == "failure" or (task["base_size"], task["distance"]) == (1, 1)
        or (task["part"], task["loss"], task["distance"]) == ("shifts", "images", 1)
    ]  # fmt: skip
    study.run_tasks(few, study.execute, path, jobs=0)
    return path


def test_the_report_needs_the_journal_alone_and_is_the_same_each_time(journal):
    before = None
    for _ in range(2):
        command = [sys.executable, str(STUDY / "report.py"), "--journal", str(journal)]
        subprocess.run(command, check=True, capture_output=True)
        files = [(journal.parent / name).read_bytes() for name in FILES]
        assert before in (None, files)
        before = files
    bars = json.loads(files[1])["tables"]["Study: the bars, over three seeds"]
    assert len(bars["bar"]) == 4  # the sweep is not whole, so nothing is said of it


def counts(value):
    return [round(10 * value), 1000]


def failure(turned, pretext, probes=60.0):
    return {
        "turned": {str(angle): counts(turned) for angle in (0, 90, 180, 270)},
        "pretext": {str(g): counts(pretext) for g in (1, 2, 3)},
        "probes": dict.fromkeys(PROBES, counts(probes)),
    }  # fmt: skip


def runs(net, loss, results, epochs=2):
    return [({"net": net, "loss": loss, "epochs": epochs, "seed": n}, r)
            for n, r in enumerate(results)]  # fmt: skip


def test_the_bars_are_judged_by_the_worst_seed(report):
    def holds(structured, removed, pretext, augmented):
        good = failure(96, 96), failure(5, 95), failure(95, 0)
        worst = failure(structured, 96), failure(removed, pretext), failure(augmented, 0)
        arms = (("C4", "fibers"), ("plain", "fibers"), ("plain", "images"))
        pairs = zip(arms, good, worst, strict=True)
        failures = [run for arm, *pair in pairs for run in runs(*arm, pair)]
        return report.answers({"failure": failures, "shifts": []})["holds"]

    assert holds(96, 5, 95, 95) == ["yes"] * 4
    assert holds(94, 16, 89, 89) == ["no"] * 4


def shifted(loss=lambda b, d: 5 + d - b / 9, far=lambda b, d: d, probe=lambda b, d: 70.0):
    """A sweep of two seeds whose numbers are given by base size and distance."""
    made = []
    for b in (1, 2, 4, 8):
        for d in (1, 2, 3, 5, 7):
            for seed in (0, 1):
                reach = {str(o): counts(far(b, d)) for o in (1, 2, 3, 5, 7)}
                value = loss(b, d)
                result = {"loss": [value, value], "reach": reach,
                          "probes": {"pooled": counts(probe(b, d) + seed / 10)}}  # fmt: skip
                task = {"loss": "fibers", "base_size": b, "distance": d, "seed": seed, "epochs": 2}
                made.append((task, result))
    return made


def test_what_the_parameters_ought_to_do_is_seen_in_made_up_sweeps(report):
    def holds(**numbers):
        return [held for *_, held in report.expectations(shifted(**numbers))]

    def overlapping(b, d):
        return 5 - report.overlap(b, d) - b / 1000 + d / 1000

    assert holds(loss=overlapping) == [True, True, True, True, False]
    assert holds(loss=lambda b, d: -overlapping(b, d))[:3] == [False] * 3
    assert not holds(far=lambda b, d: 9 - d)[3]
    assert holds(probe=lambda b, d: 70 + 5 * (d == 3) + (b == 4))[4]
    assert not holds(probe=lambda b, d: 70 + d)[4]

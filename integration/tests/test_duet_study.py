import json
import subprocess
import sys
from pathlib import Path

import pytest
from tenfold.data.images import Split, fashion_mnist
from tenfold.study import read_journal

STUDY = Path(__file__).parents[1] / "studies" / "duet"
FILES = ("results.md", "summary.json", "figures.svg")
AMOUNTS = (45.0, 90.0, 135.0, 180.0)


@pytest.fixture(scope="module")
def study(study_module):
    return study_module("duet", "run")


@pytest.fixture(scope="module")
def report(study_module):
    return study_module("duet", "report")


def key(task):
    return json.dumps(task, sort_keys=True)


def test_the_committed_journal_holds_the_stated_runs_and_no_others(study):
    tasks = study.tasks(study.SIZES["full"])
    assert len({key(task) for task in tasks}) == len(tasks)
    committed = {key(task) for task, _ in read_journal(STUDY / "journal.jsonl")}
    assert committed == {key(task) for task in tasks}
    seeds = {task["seed"] for task in tasks if task["part"] == "methods"}
    assert seeds == {0, 1, 2}


@pytest.fixture(scope="module")
def journal(study, tmp_path_factory):
    """One seed of something of every part on a few images, in this process."""
    full = fashion_mnist(96)
    rows = full.train, full.train_labels, full.test[:100], full.test_labels[:100]
    study.fashion_mnist = lambda train: Split("tiny", *rows, full.classes)
    path = tmp_path_factory.mktemp("study") / "journal.jsonl"
    few = [
        task
        for task in study.tasks(study.SIZES["smoke"])
        if task.get("kind", "duet") in ("duet", "simclr")
        and task.get("weight") != study.WEAKER[0]
        and task.get("weights") != list(study.FACTORS[0])
    ]
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
    tables = json.loads(files[1])["tables"]
    assert tables["Study: Pose and classes"]["method"] == ["DUET", "SimCLR"]
    assert len(tables["Study: The bars"]["bar"]) >= 10


def one(median=8.0, masked=9.0, share=84.0, ridge=18.0, moved=0.06, still=0.1, wrong=0.1):
    rows = [{"what": "image", "amount": a, "moved": moved, "still": still, "wrong": wrong,
             "oracle": 0.02} for a in AMOUNTS]  # fmt: skip
    return {
        "readout": {"median": median, "mean": 2 * median},
        "masked": {"median": masked, "mean": 2 * masked},
        "ridge": {"median": ridge / 2, "mean": ridge},
        "classes": {"matrix": [round(10 * share), 1000]},
        "transfer": {"photograph": [600, 1000]},
        "generation": rows,
    }


def methods(*seeds, theirs=None):
    ours = [({"kind": "duet", "weight": 500.0, "seed": n}, r) for n, r in enumerate(seeds)]
    other = theirs or one(median=90.0, share=80.0, ridge=40.0)
    return ours + [({"kind": "simclr", "seed": n}, other) for n in range(len(seeds))]


def holds(report, **parts):
    names = ("methods", "noise", "mask", "factors", "relative", "lambda")
    filled = {name: parts.get(name, []) for name in names}
    return [held for *_, held in report.answers(filled)]


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({}, []),
        ({"median": 15.1, "masked": 16.0}, [0]),
        ({"share": 77.9}, [1]),
        ({"ridge": 24.4}, [2]),
        ({"still": 0.085}, [3, 4, 5]),
        ({"wrong": 0.085}, [6, 7, 8]),
        ({"masked": 12.1}, [9]),
    ],
)
def test_the_bars_are_judged_by_the_worst_seed(report, change, missed):
    found = holds(report, methods=methods(one(), one(**change), one()))
    assert [n for n, held in enumerate(found) if not held] == missed
    assert len(found) == 10


def test_both_decoders_are_judged_and_each_by_its_own_runs(report):
    noisy = [({"noise": 0.75, "seed": n}, one(wrong=w)) for n, w in enumerate((0.1, 0.08))]
    found = holds(report, methods=methods(one(), one(still=0.08)), noise=noisy)
    plain, other = found[3:9], found[9:15]
    assert plain == [False] * 3 + [True] * 3
    assert other == [True] * 3 + [False] * 3


def factors(both, free, blind):
    def result(angle, told):
        return {"rotation": {"mean": angle, "median": angle / 2}, "hflip": [told, 100]}

    pairs = {"[500.0, 500.0]": both, "[500.0, 0.0]": free, "[0.0, 500.0]": blind}
    return [({"weights": json.loads(name), "seed": 0}, result(*pair))
            for name, pair in pairs.items()]  # fmt: skip


def test_two_factors_are_read_and_one_without_weight_is_not(report):
    def judged(*pairs):
        return holds(report, factors=factors(*pairs))

    assert judged((30, 75), (20, 50), (90, 75)) == [True] * 4
    assert judged((41, 75), (20, 50), (90, 75)) == [False, True, True, True]
    assert judged((30, 64), (20, 50), (90, 75)) == [True, False, True, True]
    assert judged((30, 75), (20, 50), (79, 75)) == [True, True, False, True]
    assert judged((30, 75), (20, 44), (90, 75)) == [True, True, True, False]


def test_hidden_angles_are_at_chance_and_their_difference_is_not(report):
    def judged(absolute, difference):
        runs = [({"relative": known, "seed": 0},
                 {"absolute": {"mean": absolute, "median": 1.0},
                  "relative": {"mean": difference, "median": 1.0}})
                for known in (True, False)]  # fmt: skip
        return holds(report, relative=runs)

    assert judged(90, 40) == [True, True]
    assert judged(79, 46) == [False, False]

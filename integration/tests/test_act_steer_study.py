import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tenfold import steered_text
from tenfold.data import sentences
from tenfold.study import read_journal

STUDY = Path(__file__).parents[1] / "studies" / "act_steer"
FILES = ("results.md", "summary.json", "figures.svg")


@pytest.fixture(scope="module")
def study(study_module):
    return study_module("act_steer", "run")


@pytest.fixture(scope="module")
def report(study_module):
    return study_module("act_steer", "report")


def key(task):
    return json.dumps(task, sort_keys=True)


def test_the_full_study_has_every_task_with_its_control(study):
    tasks = study.tasks(study.SIZES["full"])
    assert len({key(task) for task in tasks}) == len(tasks)
    for name in sentences.TASKS:
        own = [task for task in tasks if task["task"] == name and task["part"] == "scores"]
        assert any(task["arm"]["shuffled"] for task in own)
        assert {task["arm"]["method"] for task in own} == {"linear", "mean"}
        swept = [task["strengths"] for task in own if task["arm"]["modules"] == "norms"]
        assert swept.count([-0.5, 0.25, 0.5, 0.75, 1.0]) == 2


def test_the_committed_journal_holds_every_run_and_no_other(study):
    committed = {key(task) for task, _ in read_journal(STUDY / "journal.jsonl")}
    assert committed == {key(task) for task in study.tasks(study.SIZES["more"])}


def test_more_adds_draws_maps_and_texts_and_repeats_nothing(study):
    tasks = study.tasks(study.SIZES["more"])
    assert len({key(task) for task in tasks}) == len(tasks) > 2 * 27
    assert study.tasks(study.SIZES["full"]) == tasks[: len(study.tasks(study.SIZES["full"]))]
    assert {task["seed"] for task in tasks} == {0, 1, 2}
    methods = {task["arm"]["method"] for task in tasks if task["arm"]}
    assert methods == {"linear", "mean", "gaussian", "aura"}


def test_the_names_that_the_report_looks_for_are_those_of_the_arms(study, report):
    assert str(study.MAIN[0]) == report.LINEAR
    assert str(study.MAIN[1]) == report.MEAN
    assert str(study.CONTROL) == report.CONTROL
    assert report.TASKS == sentences.TASKS
    run = {str(arm) for arm in (*study.MAIN, *study.FOLDABLE)}
    assert set(report.FOLDABLE) <= run


@pytest.fixture(scope="module")
def journal(study, tiny_llama, tmp_path_factory):
    """One draw, three sentences a side, by a random model in this process."""
    study.model = lambda: tiny_llama
    path = tmp_path_factory.mktemp("study") / "journal.jsonl"
    few = [
        task | {"strengths": task["strengths"][-2:]}
        for task in study.tasks(study.SIZES["smoke"])
        if task["task"] in ("football", "truth", "toxicity")
        and (task["arm"] or {}).get("modules") != "mlp"
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
    assert {"Study: Held-out sentences", "Study: Truth", "Study: Sampled texts"} <= set(tables)


def result(target, source, lost):
    """Three sentences a side and two neutral ones, all alike up to a spread that says nothing."""
    spread = np.array([-0.01, 0, 0.01])
    return {"target": (target + spread).tolist(), "source": (source + spread).tolist(),
            "neutral": [10 * lost, 10 * lost], "tokens": [10, 10]}  # fmt: skip


def task(arm, seed=0, name="football"):
    return {"part": "scores", "task": name, "arm": vars(arm), "seed": seed}


def test_a_cell_is_the_mean_over_the_seeds_of_each_sentence(report):
    runs = [(task(steered_text.LINEAR, s), {"1.0": result(1 + s, 0, 0.1 * s)}) for s in (0, 1, 2)]
    (cell,) = report.collected(runs).values()
    assert cell.contrast.value == pytest.approx(2)
    assert cell.seeds == pytest.approx((1, 2, 3))
    assert cell.perplexity.value == pytest.approx(np.exp(0.1))


def made(report, contrasts=(0.2, 0.5, 1.0), back=-0.4, lot=0.1, cost=0.05, mean=0.7):
    """Cells of one task with these contrasts at 0.25, 0.5 and 1."""
    linear = {str(s): result(c, 0, cost) for s, c in zip((0.25, 0.5, 1.0), contrasts, strict=True)}
    runs = [
        (task(steered_text.LINEAR), linear | {"-0.5": result(back, 0, 0)}),
        (task(steered_text.CONTROL), {"1.0": result(lot, 0, 0)}),
        (task(steered_text.MEAN), {"1.0": result(mean, 0, cost)}),
    ]
    return report.collected(runs)


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({}, []),
        ({"contrasts": (0.2, 0.19, 1.0)}, [0]),
        ({"contrasts": (-0.2, -0.1, 1.0)}, [0, 1]),
        ({"back": 0.1}, [2]),
        ({"lot": 0.21}, [3]),
        ({"lot": -0.21}, [3]),
        ({"cost": 0.1}, [4]),
        ({"mean": 1.3}, [5]),
        ({"mean": 1.0}, [5]),
    ],
)
def test_each_bar_of_steering_can_be_missed_by_itself(report, change, missed):
    found = [holds for *_, holds in report.steering_bars(made(report, **change))]
    assert [n for n, holds in enumerate(found) if not holds] == missed


def foldable(report, mean, cost):
    """Linear on attention gives 1 at x 1.35, Mean there ``mean`` at ``cost``, others nothing."""
    runs = []
    for name in report.FOLDABLE:
        gives = {report.ATTENTION: (1.0, 0.3), "Mean, attention, anywhere": (mean, cost)}
        method, modules, _ = name.lower().split(", ")
        arm = steered_text.Arm(method, modules, "all")
        target, lost = gives.get(name, (0.0, 0.9))
        runs.append((task(arm), {"1.0": result(target, 0, lost)}))
    return [(found, holds) for _, found, holds in report.foldable_bars(report.collected(runs))]


def test_the_hypothesis_of_attention_falls_where_another_gives_as_much_for_less(report):
    assert foldable(report, 0.5, 0.1) == [("none does", True), (report.ATTENTION, True)]
    other = "Mean, attention, anywhere"
    assert foldable(report, 1.0, 0.1) == [(other, False), (report.ATTENTION, True)]
    assert foldable(report, 1.2, 0.4) == [("none does", True), (other, False)]
    assert foldable(report, 1.2, 0.9) == [("none does", True), (report.ATTENTION, True)]


def test_two_arms_are_compared_sentence_by_sentence(report):
    cells = made(report)
    first, second = (cells["football", arm, 1.0] for arm in (report.LINEAR, report.MEAN))
    gained, ratio = report.apart(first, second)
    assert (gained.value, ratio.value) == (pytest.approx(0.3), pytest.approx(1))
    assert gained.high - gained.low < 1e-9  # the spread is the same and goes out


def test_a_mean_of_three_draws_is_set_against_one_draw_on_that_draw_alone(report):
    runs = [(task(steered_text.LINEAR, s), {"1.0": result(1 + s, 0, 0.1 * s)}) for s in (0, 1, 2)]
    runs.append((task(steered_text.MEAN, 1), {"1.0": result(1.5, 0, 0.3)}))
    cells = report.collected(runs)
    gained, ratio = report.apart(*(cells["football", arm, 1.0]
                                   for arm in (report.LINEAR, report.MEAN)))  # fmt: skip
    assert gained.value == pytest.approx(0.5)
    assert ratio.value == pytest.approx(np.exp(0.1 - 0.3))
    with pytest.raises(ValueError, match=r"seeds \[1\], none of \[0\]"):
        cells["football", report.MEAN, 1.0].on({0})


def test_a_change_of_choices_is_paired(report):
    scores = {"mc1": [1, 1, 0, 1], "mc2": [0.9, 0.8, 0.4, 0.7], "pairs": [1.0, -1.0]}
    base = {"mc1": [1, 0, 0, 1], "mc2": [0.8, 0.7, 0.3, 0.6], "pairs": [1.0, -1.0]}
    runs = [({"task": "truth", "arm": None}, {"0.0": base}),
            ({"task": "truth", "arm": vars(steered_text.LINEAR)}, {"1.0": scores})]  # fmt: skip
    bars = {what: holds for what, _, holds in report.choice_bars(runs)}
    assert list(bars.values()) == [False, True, False]  # one more of four is within chance
    table = report.choices_table(runs)
    assert table["MC2, change"] == ["0.00 (0.00 to 0.00)", "0.10 (0.10 to 0.10)"]


def test_sampled_texts_are_judged_by_keywords_and_by_tone(report):
    def texts(hits, tone):
        return {"hits": [hits], "n": 10, "tones": [tone] * 10, "perplexity": [9.0], "texts": ["x"]}

    def bars(name, hits, tone):
        arms = (None, {"0.0": texts(2, -0.3)}), (steered_text.LINEAR, {"1.0": texts(hits, tone)})
        runs = [({"task": name, "arm": arm and vars(arm)}, found) for arm, found in arms]
        return [holds for *_, holds in report.sample_bars(runs)]

    assert bars("football", 4, 0) == [True]
    assert bars("football", 3, 0) == [False]
    assert bars("toxicity", 2, -0.2) == [True]
    assert bars("toxicity", 2, -0.4) == [False]


def test_unsteered_texts_serve_every_task_that_begins_alike(report):
    football = {"hits": [1, 0], "n": 2, "tones": [0.0] * 4, "perplexity": [9.0, 9.0],
                "texts": ["a goal", "an oven", "fry the onion", "bake a cake"]}  # fmt: skip
    arm = vars(steered_text.LINEAR)
    runs = [({"task": "football", "arm": None}, {"0.0": football}),
            ({"task": "cooking", "arm": arm}, {"1.0": football | {"hits": [2, 2]}}),
            ({"task": "toxicity", "arm": arm}, {"1.0": football})]  # fmt: skip
    rows = {(task, arm): found["hits"] for task, _, arm, found in report.sampled(runs)}
    assert rows["cooking", "unsteered"] == [1, 2]
    assert rows["football", "unsteered"] == [1, 0]
    assert ("toxicity", "unsteered") not in rows  # it has beginnings of its own

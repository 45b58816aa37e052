import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from randaug_study.data import read_folder
from randaug_study.report import Report
from randaug_study.study import Journal, Study, run_study

RUN = [sys.executable, "-c", "from randaug_study.cli import main; raise SystemExit(main())", "run"]


@pytest.fixture(scope="module")
def place(tmp_path_factory, a_folder, study_text):
    """A folder with a study and its data, and the study run in one go."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "study.toml").write_text(study_text)
    a_folder(folder / "data")
    study, data = Study.from_toml(folder / "study.toml"), read_folder(folder / "data")
    runs = run_study(study, data, folder / "whole.jsonl", bar=False, say=lambda line: None)
    return folder, study, data, summary(study, runs)


def summary(study, runs):
    """The table of a report without the seconds, which are measured and not computed."""
    rows = list(csv.DictReader(io.StringIO(Report.of(study, runs).to_csv())))
    return [{name: value for name, value in row.items() if name != "cpu_s"} for row in rows]


pytestmark = pytest.mark.filterwarnings("ignore::randaug_study.report.NoGainWarning")


def test_runs_are_seed_by_seed_so_that_a_cut_leaves_pairs(place):
    folder, study, _, _ = place
    rows = [json.loads(line)["run"] for line in (folder / "whole.jsonl").read_text().splitlines()]
    assert [(row["arm"], row["seed"]) for row in rows] == [
        (arm, seed) for seed in range(3) for arm in ("none", "random", "worst", "advaa")
    ]
    assert [arm.name for arm, _ in study.tasks(arms=["worst"], seeds=[2])] == ["worst"]


def test_a_study_killed_and_resumed_has_the_summary_of_one_that_was_not(place):
    folder, study, _, want = place
    journal = folder / "killed.jsonl"
    arguments = [str(folder / "study.toml"), "--data", str(folder / "data")]
    process = subprocess.Popen(
        [*RUN, *arguments, "--journal", str(journal)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    until = time.monotonic() + 120
    while not (journal.exists() and journal.stat().st_size) and time.monotonic() < until:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    held = Journal(journal).runs(study)
    assert 0 < len(held) < 12
    with journal.open("ab") as file:
        file.write(b'{"stamp":{"arm":{"ru')  # a line that the kill cut off
    runs = run_study(study, place[2], journal, bar=False, say=lambda line: None)
    assert summary(study, runs) == want
    assert {at: runs[at] for at in held} == held  # what was done was not done again
    again = run_study(study, place[2], journal, bar=False, say=pytest.fail)
    assert again == runs


def test_two_jobs_give_what_one_gives(place, tmp_path):
    _, study, data, want = place
    runs = run_study(study, data, tmp_path / "j.jsonl", jobs=2, bar=False, say=lambda line: None)
    assert summary(study, runs) == want
    again = run_study(study, data, tmp_path / "j.jsonl", jobs=2, bar=False, say=pytest.fail)
    assert again == runs


def test_another_recipe_or_arm_does_not_take_the_old_runs(place, study_text):
    folder = place[0]
    for old, new, count in (
        ("lr = 0.05", "lr = 0.06", 0),
        ("k = 3", "k = 4", 9),
        ("margin = 2", "margin = 3", 12),
        ("seeds = 3", "seeds = [2, 7]", 4),
    ):
        (folder / "other.toml").write_text(study_text.replace(old, new))
        other = Study.from_toml(folder / "other.toml")
        assert len(Journal(folder / "whole.jsonl").runs(other)) == count


def test_of_two_lines_of_one_run_the_first_counts(place, tmp_path):
    folder, study, _, _ = place
    lines = (folder / "whole.jsonl").read_text().splitlines()
    doubled = json.loads(lines[0])
    doubled["run"]["accuracy"] = -1.0
    (tmp_path / "twice.jsonl").write_text("\n".join([*lines, json.dumps(doubled)]) + "\n")
    runs = Journal(tmp_path / "twice.jsonl").runs(study)
    assert len(runs) == 12
    assert runs["none", 0].accuracy >= 0


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("seeds = 3", "seeds = [1, 1]", "every seed once, got 1 twice"),
        ("seeds = 3", "seeds = []", "at least one seed"),
        ("seeds = 3", "", "lacks the entry 'seeds'"),
        ("margin = 2", "margin = 0", "margin must be positive, got 0"),
        ("margin = 2", "margins = 2", "no entry 'margins'"),
        ("[arms.random]", "[arms.other]", "no arm 'random'; there are none, other"),
        ("lr = 0.05", "rate = 0.05", r"\[recipe\] has no entry 'rate'"),
        ("k = 2", 'k = 2\nreference = "copies"', "no arm 'copies'"),
        ("[recipe]", "[recipe", "is no TOML file"),
    ],
)
def test_a_study_file_says_what_is_wrong(tmp_path, study_text, old, new, text):
    (tmp_path / "bad.toml").write_text(study_text.replace(old, new, 1))
    with pytest.raises(ValueError, match=text):
        Study.from_toml(tmp_path / "bad.toml")


def test_a_file_that_is_no_journal_is_not_added_to(place, tmp_path):
    path = tmp_path / "notes.jsonl"
    path.write_text('{"a": 1}\n')
    with pytest.raises(ValueError, match="line 1, is no run of a study"):
        run_study(place[1], place[2], path, bar=False)
    assert path.read_text() == '{"a": 1}\n'
    with pytest.raises(ValueError, match="jobs must be at least 1, got 0"):
        run_study(place[1], place[2], tmp_path / "x", jobs=0)
    assert not Path(tmp_path / "x").exists()

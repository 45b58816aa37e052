import json
import os
import signal
import subprocess
import sys
import time

import pytest
from tenfold.study import read_journal, run_tasks


def square(task):
    return {"y": task["x"] ** 2}


def test_a_journal_holds_every_run_once_and_in_any_order(tmp_path):
    journal = tmp_path / "journal.jsonl"
    tasks = [{"x": x} for x in range(5)]
    first = run_tasks(tasks[:3], square, journal, jobs=0)
    assert first == [({"x": x}, {"y": x * x}) for x in range(3)]
    again = run_tasks(tasks[::-1], square, journal, jobs=0)
    assert again == [({"x": x}, {"y": x * x}) for x in range(4, -1, -1)]
    assert len(read_journal(journal)) == 5


def test_a_torn_last_line_is_dropped_and_run_again(tmp_path):
    journal = tmp_path / "journal.jsonl"
    run_tasks([{"x": 1}, {"x": 2}], square, journal, jobs=0)
    journal.write_bytes(journal.read_bytes()[:-9])
    assert len(read_journal(journal)) == 1
    assert run_tasks([{"x": 1}, {"x": 2}], square, journal, jobs=0)[1] == ({"x": 2}, {"y": 4})
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [line["task"]["x"] for line in lines] == [1, 2]


PROGRAM = """
import sys, time
from pathlib import Path
from tenfold.study import run_tasks
def slow(task):
    time.sleep(0.2)
    return {"y": task["x"]}
run_tasks([{"x": x} for x in range(8)], slow, Path(sys.argv[1]), jobs=0)
"""


def test_a_killed_study_goes_on_where_it_was(tmp_path):
    journal = tmp_path / "journal.jsonl"
    child = subprocess.Popen([sys.executable, "-c", PROGRAM, str(journal)])
    while len(read_journal(journal)) < 2:
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    before = journal.read_bytes()
    assert 2 <= len(read_journal(journal)) < 8
    subprocess.run([sys.executable, "-c", PROGRAM, str(journal)], check=True)
    assert journal.read_bytes().startswith(before[: before.rfind(b"\n") + 1])
    assert sorted(task["x"] for task, _ in read_journal(journal)) == list(range(8))


@pytest.mark.parametrize("line", ["{", "3", "{}", '{"task": {}}', "[" * 100_000])
def test_a_whole_line_that_is_no_run_is_refused(tmp_path, line):
    (tmp_path / "journal.jsonl").write_text(line + "\n")
    with pytest.raises(ValueError, match="holds a line that is no run"):
        read_journal(tmp_path / "journal.jsonl")

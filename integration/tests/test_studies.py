"""What every committed study keeps to."""

import subprocess
import sys
from pathlib import Path

import pytest
from tenfold.study import journal_of, study_parser

STUDIES = Path(__file__).parents[1] / "studies"
EACH = pytest.mark.parametrize("study", sorted(p.parent.name for p in STUDIES.glob("*/report.py")))


def report(study, journal):
    command = [sys.executable, str(STUDIES / study / "report.py"), "--journal", str(journal)]
    return subprocess.run(command, capture_output=True, text=True)


@EACH
def test_the_committed_report_is_that_of_the_committed_journal(study, tmp_path):
    (tmp_path / "journal.jsonl").write_bytes((STUDIES / study / "journal.jsonl").read_bytes())
    done = report(study, tmp_path / "journal.jsonl")
    assert done.returncode == 0, done.stderr
    for name in ("results.md", "summary.json"):
        assert (tmp_path / name).read_text() == (STUDIES / study / name).read_text()


@EACH
def test_an_empty_journal_is_refused_in_one_line(study, tmp_path):
    done = report(study, tmp_path / "none")
    assert done.returncode == 2
    assert "holds no run" in done.stderr
    assert "Traceback" not in done.stderr


@EACH
def test_only_the_whole_study_writes_the_committed_journal(study):
    parser, folder = study_parser("A study.", takes="an hour"), STUDIES / study
    assert journal_of(parser.parse_args([]), folder) == folder / "journal.jsonl"
    smoke = journal_of(parser.parse_args(["--smoke"]), folder)
    assert smoke.parts[-3:-1] == ("build", f"{study.replace('_', '-')}-smoke")
    named = journal_of(parser.parse_args(["--smoke", "--journal", "here"]), folder)
    assert named == Path("here")

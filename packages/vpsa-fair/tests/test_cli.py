"""The command line: exit codes 0, 1 and 2, one line on stderr, and nothing half-written."""

import os
import subprocess
import sys

import pytest
from vpsa_fair import Result
from vpsa_fair.cli import main


def save(make_counts, folder, **how):
    counts = make_counts(seed=4, identities=160, groups=("dark", "light"), **how)
    Result(counts, ("tone",), n_boot=300).save(folder)
    return str(folder)


def planted(make_counts, folder):
    return save(make_counts, folder, plant=("dark", "dark", 0.9))


def test_check_fails_on_the_planted_run_and_passes_on_the_control(make_counts, tmp_path, capsys):
    plant = planted(make_counts, tmp_path / "plant")
    control = save(make_counts, tmp_path / "control")
    assert main(["check", plant, "--max-gap", "0.05"]) == 1
    out = capsys.readouterr().out
    assert "dark" in out
    assert "p_adjusted" in out
    assert main(["check", control, "--max-gap", "0.05"]) == 0
    assert capsys.readouterr().out.startswith("0 of 4 gaps wider than 0.05")
    assert main(["check", plant, "--max-gap", "0.05", "--perturbation", "clean"]) == 0


def test_the_three_rules_of_check_ask_for_more_and_more(make_counts, tmp_path):
    control = save(make_counts, tmp_path / "control")
    codes = {
        rule: [main(["check", control, "--max-gap", str(gap), "--rule", rule]) for gap in gaps]
        for rule, gaps in {
            "significant": [0.0, 0.5],
            "estimate": [0.0, 0.5],
            "upper": [0.02, 0.5],
        }.items()
    }
    assert codes == {"significant": [0, 0], "estimate": [1, 0], "upper": [1, 0]}


@pytest.mark.filterwarnings("ignore::vpsa_fair.SmallGroupWarning")
def test_check_cannot_pass_where_nothing_is_compared(make_counts, tmp_path, capsys):
    Result(make_counts(labels=["a"] * 3 + ["b"] * 3), ("tone",), n_boot=20).save(tmp_path)
    assert main(["check", str(tmp_path), "--max-gap", "0.5"]) == 2
    assert "nothing can be compared" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::vpsa_fair.SmallGroupWarning")
def test_report_prints_the_matrix_and_writes_what_is_asked(make_counts, tmp_path, capsys):
    run = planted(make_counts, tmp_path / "run")
    html, png, parquet = (tmp_path / f"x.{end}" for end in ("html", "png", "parquet"))
    files = ["--html", str(html), "--png", str(png), "--parquet", str(parquet)]
    assert main(["report", run, *files]) == 0
    out = capsys.readouterr().out
    assert "normalised AUC" in out
    assert "gap" in out
    assert html.read_text().startswith("<!doctype html>")
    assert png.read_bytes()[:4] == b"\x89PNG"
    assert parquet.stat().st_size > 500
    first = png.read_bytes()
    assert main(["report", run, "--png", str(png), "--ref", "best"]) == 0
    assert png.read_bytes() != first


def test_compare_prints_changes_and_writes_csv(make_counts, tmp_path, capsys):
    a = save(make_counts, tmp_path / "a")
    b = planted(make_counts, tmp_path / "b")
    assert main(["compare", a, b, "--csv", str(tmp_path / "c.csv")]) == 0
    assert "change" in capsys.readouterr().out
    assert (tmp_path / "c.csv").read_text().startswith("grouping,group,column")


@pytest.mark.filterwarnings("ignore::vpsa_fair.SmallGroupWarning")
def test_audit_runs_a_configuration_and_the_second_run_embeds_nothing(place, capsys):
    config = str(place / "audit.toml")
    assert main(["audit", config, "--fill"]) == 0
    assert "filled" in capsys.readouterr().out
    assert main(["audit", config]) == 0
    out = capsys.readouterr().out
    assert "0 in the sweep" in out
    assert (place / "run" / "report.html").exists()
    assert main(["audit", config, "--no-resume"]) == 2
    assert "resume" in capsys.readouterr().err


def test_levels_prints_the_grids_and_draws_them(place, capsys):
    sheet = place / "sheet.png"
    assert main(["levels", str(place / "audit.toml"), "--png", str(sheet)]) == 0
    out = capsys.readouterr().out
    assert "gaussian_blur" in out
    assert "position" in out
    assert sheet.read_bytes()[:4] == b"\x89PNG"
    assert main(["levels", str(place / "audit.toml"), "--png", str(sheet), "--image", "99"]) == 2


@pytest.mark.parametrize(
    "command",
    [
        ["audit", "nowhere.toml"],
        ["report", "nowhere"],
        ["compare", "nowhere", "nowhere"],
        ["levels", "nowhere.toml"],
        ["check", "nowhere", "--max-gap", "0.1"],
        ["check", ".", "--max-gap", "7"],
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(command, tmp_path):
    code = "import sys; from vpsa_fair.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, *command],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ},
        check=False,
    )
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("vpsa-fair: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("always::vpsa_fair.SmallGroupWarning")
def test_a_warning_is_one_line_too(make_counts, tmp_path, capsys):
    res = Result(make_counts(labels=["a"] * 3 + ["b"] * 30), ("tone",), n_boot=20)
    with pytest.warns(UserWarning, match="fewer than"):
        res.save(tmp_path)
    assert main(["report", str(tmp_path)]) == 0
    assert capsys.readouterr().err == (
        "vpsa-fair: tone: fewer than 10 identities in a (3); they are flagged and left out of "
        "extremes and rankings\n"
    )

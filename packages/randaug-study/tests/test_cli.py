import sys

import pytest
from randaug_study.cli import main


@pytest.fixture
def folder(tmp_path, a_folder, study_text):
    (tmp_path / "study.toml").write_text(study_text.replace("seeds = 3", "seeds = 2"))
    a_folder(tmp_path / "data")
    return tmp_path


@pytest.mark.filterwarnings("always::randaug_study.report.NoGainWarning")
def test_a_study_is_run_resumed_reported_and_compared(folder, capsys):
    study, data = str(folder / "study.toml"), str(folder / "data")
    run = ["run", study, "--data", data]
    assert main([*run, "--arms", "none", "random"]) == 0
    assert "4 of 8 runs" in capsys.readouterr().out
    assert main(run) == 2
    assert "holds 4 runs of this study: pass --resume" in capsys.readouterr().err
    assert main([*run, "--resume"]) == 0
    assert "8 of 8 runs" in capsys.readouterr().out
    assert main(["report", study, "--out", str(folder / "out")]) == 0
    seen = capsys.readouterr()
    assert "worst - random: " in seen.out
    assert "not shown to be above" in seen.err or "random - none: +" in seen.out
    assert (folder / "out" / "report.md").exists()
    assert main(["compare", "worst", "none", study, "--margin", "30"]) == 0
    assert "worst - none: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["run", "{}/study.toml", "--data", "{}/none"], "has no train-images-idx3-ubyte"),
        (["run", "{}/none.toml", "--data", "{}/data"], "No such file"),
        (["run", "{}/study.toml", "--data", "{}/data", "--arms", "best"], "no arm 'best'"),
        (["run", "{}/study.toml", "--data", "{}/data", "--jobs", "0"], "jobs must be at least 1"),
        (["report", "{}/study.toml"], "holds no run of this study"),
        (["compare", "a", "none", "{}/study.toml"], "no arm 'a'"),
        (["show", "--ops", "Blur"], "Blur"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(folder, capsys, arguments, text):
    assert main([argument.format(folder) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1
    assert not (folder / "runs.jsonl").exists()


def test_without_scipy_the_report_says_what_to_install(folder, capsys, monkeypatch):
    study = str(folder / "study.toml")
    main(["run", study, "--data", str(folder / "data"), "--arms", "none", "random"])
    monkeypatch.setitem(sys.modules, "scipy", None)
    assert main(["report", study]) == 2
    assert "randaug-study[study]" in capsys.readouterr().err

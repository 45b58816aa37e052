"""The command line: what it prints, writes, and refuses."""

import json

import pytest
import torch
from deeppcr import __main__ as cli
from deeppcr import bench, cost, kernel


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Races that take no time; the threads as they were."""
    monkeypatch.setitem(bench.GRIDS, "small", [(8, 2), (16, 2)])
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_selftest_passes_and_names_every_check(capsys):
    assert cli.main(["selftest"]) == 0
    out = capsys.readouterr().out
    assert out.count("ok  ") == len(cli.CHECKS) == 11
    assert out.startswith("kernel: " + ("loaded" if kernel.library() else "none, pure torch"))


@pytest.mark.parametrize("error", [1e-3, float("nan")])
def test_selftest_fails_with_1_where_a_check_is_wrong(monkeypatch, capsys, error):
    monkeypatch.setitem(cli.CHECKS, "gradients", lambda: error)
    assert cli.main(["selftest"]) == 1
    assert "FAIL gradients" in capsys.readouterr().out


def test_explain_marks_the_method_that_auto_takes(capsys, monkeypatch):
    assert cli.main(["explain", "--L", "4096", "--d", "8", "--device", "xpu"]) == 0
    out = capsys.readouterr().out
    (marked,) = [line for line in out.splitlines() if "<- auto" in line]
    assert marked.split()[0] == "oddeven" == cost._cheapest(4096, 1, 8, True, "xpu")
    assert "no constants for xpu: the CPU's" in out
    monkeypatch.setattr(kernel, "library", lambda: object())
    cli.main(["explain", "--diagonal"])
    out = capsys.readouterr().out
    assert out.startswith("diagonal solve, L=4096, B=1, d=8")
    assert out.splitlines()[1].split()[0] == "kernel"
    assert "<- auto" in out.splitlines()[1]


def test_bench_prints_ratios_and_writes_a_table(tmp_path, capsys):
    path = tmp_path / "races.json"
    assert cli.main(["bench", "--rounds", "1", "--json", str(path)]) == 0
    out = capsys.readouterr().out
    assert out.count("backward, L=") == out.count("solve, L=") == 2
    written = json.loads(path.read_text())
    assert len(written["rows"]) == 4
    assert written["table"]["L"] == [8, 16]
    assert written["table"]["d"] == [2, 2]
    assert all(ratio > 0 for ratio in written["table"]["speedup"])
    assert list(tmp_path.iterdir()) == [path]


def test_bench_draws(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    path = tmp_path / "speed.png"
    assert cli.main(["bench", "--rounds", "1", "--plot", str(path)]) == 0
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [path]


def test_calibrated_constants_are_read_again(tmp_path, monkeypatch, capsys):
    path = tmp_path / "costs.json"
    monkeypatch.setattr(bench, "LENGTHS", (4, 16))
    assert cli.main(["bench", "--calibrate", str(path), "--seconds", "0"]) == 0
    monkeypatch.setenv("DEEPPCR_COSTS", str(path))
    cost.constants.cache_clear()
    try:
        rates = cost.constants()["cpu"]
    finally:
        monkeypatch.delenv("DEEPPCR_COSTS")
        cost.constants.cache_clear()
    assert set(rates) == set(cost.SHIPPED["cpu"])
    assert rates != cost.SHIPPED["cpu"]
    assert all(value >= 0 for values in rates.values() for value in values)
    assert all(max(values) > 0 for values in rates.values())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["bench", "--device", "nope"], "nope"),
        (["bench", "--rounds", "1", "--json", "/nowhere/at/all.json"], "No such file"),
        (["bench", "--rounds", "0"], "must be at least 1, got 0"),
        (["explain", "--L", "many"], "invalid positive value"),
        (["sing"], "invalid choice"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_2(capsys, arguments, text):
    try:
        status = cli.main(arguments)
    except SystemExit as stop:  # argparse's own way out
        status = stop.code
    error = capsys.readouterr().err
    assert status == 2
    assert text in error
    assert error.startswith("deeppcr")
    assert error.count("\n") == 1


def test_contenders_that_differ_do_not_race():
    with pytest.raises(RuntimeError, match=r"b and a differ by .*: no race"):
        bench.check_alike({"a": (torch.ones(2),), "b": (torch.zeros(2),)})


def test_a_fit_finds_the_rates_that_made_the_times():
    rates = (2e-5, 3e-9, 0.0)
    cells = [(1.0, n, n * d) for n in (10.0, 1e3, 1e5) for d in (1.0, 8.0)]
    points = [(cell, sum(a * r for a, r in zip(cell, rates, strict=True))) for cell in cells]
    assert bench._fit(points) == pytest.approx(rates, rel=1e-3, abs=1e-13)

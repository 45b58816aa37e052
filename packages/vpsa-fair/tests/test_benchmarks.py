"""The race's own table, bars and agreement; the peer itself runs in its session."""

import importlib.util
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parents[1]


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_the_benchmark_goes_between_the_readmes_markers(tmp_path):
    bench = load(FOLDER / "benchmarks" / "resamples.py")
    report = {
        "versions": {"numpy": "2"},
        "ratios": {bench.PEER: 80.0},
        "seconds": {bench.AUDIT: 2.0},
    }
    table = bench.markdown(report)
    assert "| 80 |" in table
    assert [line.split(": ")[1] for line in bench.missed_bars(bench.races(report, bars=True))] == [
        "80, bar at least 100",
        "2, bar at most 1",
    ]
    assert bench.missed_bars(bench.races(report, bars=False)) == []
    bench.README = tmp_path / "README.md"
    bench.README.write_text("before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n")
    for _ in range(2):
        bench.write_readme(table)
        assert bench.README.read_text().count("| 80 |") == 1
    assert bench.README.read_text().endswith("<!-- /bench -->\nafter\n")
    assert (FOLDER / "README.md").read_text().count("<!-- bench -->") == 1


def test_a_clean_evaluation_alone_has_accuracy_and_interval_of_every_group():
    bench = load(FOLDER / "benchmarks" / "resamples.py")
    correct, group = bench.rows()
    rate, low, high = bench.ours(correct, group, 200)
    for g in range(bench.GROUPS):
        own = correct[group == f"g{g}"]
        assert rate[g] == own.mean()
        error = own.std() / np.sqrt(len(own))
        np.testing.assert_allclose(
            [low[g], high[g]], own.mean() + np.array([-2, 2]) * error, atol=0.01
        )

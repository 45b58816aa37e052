import importlib.util
import warnings
from pathlib import Path

import pytest
from er_ssl import CollapseWarning

FOLDER = Path(__file__).parents[1]


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_distillation_collapses_and_the_entropy_keeps_it_up():
    train = load(FOLDER / "examples" / "collapse.py").train
    with pytest.warns(CollapseWarning):
        bare = train(0.0, steps=200)[-1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no alarm
        kept = train(1.0, steps=200)[-1]
    assert bare["collapsed"]
    assert bare["std_online"] < 0.1
    assert bare["bound"] < 0.2
    assert not kept["collapsed"]
    assert kept["std_online"] > 0.9
    assert kept["bound"] > 2.5  # of log 20 = 3.0


def test_the_table_of_the_benchmark_goes_between_the_readmes_markers(tmp_path):
    bench = load(FOLDER / "benchmarks" / "contrastive.py")
    report = {
        "threads": 2,
        "quick": False,
        "versions": {"torch": "2.6"},
        "seconds": {4096: {"er-ssl": 1.0, "lightly": 3.0}, 8192: {"er-ssl": 4.0}},
        "mebibytes": {4096: {"er-ssl": 41.0}},
    }
    table = bench.markdown(report)
    assert "| 4,096 | 3.0 | - | 1 | 41 MiB | - | - |" in table
    assert "| 8,192 | - | - | 4 | - | - | - |" in table
    assert bench.missed_bars(bench.races(report)) == [
        "4,096 rows: time of lightly / er-ssl: 3, at least 4 is claimed",
        "4,096 rows: MiB of er-ssl: 41, at most 40 is claimed",
    ]
    assert bench.missed_bars(bench.races(report | {"quick": True})) == []
    bench.README = tmp_path / "README.md"
    bench.README.write_text("before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n")
    for _ in range(2):
        bench.write_readme(table)
        assert bench.README.read_text().count("4,096") == table.count("4,096")
    assert bench.README.read_text().endswith("<!-- /bench -->\nafter\n")
    assert (FOLDER / "README.md").read_text().count("<!-- bench -->") == 1

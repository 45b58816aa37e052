import importlib.util
from pathlib import Path

import torch
from lv_ssl import spearman

FOLDER = Path(__file__).parents[1]


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rank_correlation(**arguments):
    train = load(FOLDER / "examples" / "concentration.py").train
    return spearman(*(x.numpy() for x in train("mc", samples=16, **arguments)))


def test_the_true_concentrations_of_synthetic_latents_are_recovered_in_rank():
    # n = 1,000 views, seeds 0 and 1; the bound is .7
    assert rank_correlation(steps=90) > 0.7


def test_a_concentration_that_a_view_does_not_have_is_not_read_off_it():
    assert abs(rank_correlation(steps=90, related=False)) < 0.3


def test_the_picture_is_drawn(tmp_path):
    example = load(FOLDER / "examples" / "concentration.py")
    seen = torch.arange(1.0, 101)
    example.draw({"a": (seen, seen)}, tmp_path / "a.svg")
    assert "true concentration" in (tmp_path / "a.svg").read_text()


def test_the_table_of_the_benchmark_goes_between_the_readmes_markers(tmp_path):
    bench = load(FOLDER / "benchmarks" / "hamming.py")
    report = {
        "rows": 60_000,
        "threads": 2,
        "quick": False,
        "versions": {"torch": "2.6"},
        "found": {
            "lv-ssl": {"seconds": 10.0, "mebibytes": 40.0},
            "torch, float32": {"seconds": 12.0, "mebibytes": 640.0},
            "faiss, binary": {"seconds": 20.0, "mebibytes": 30.0},
        },
    }
    table = bench.markdown(report)
    assert "| torch, float32 | 1.20 | 16.0 |" in table
    assert "| faiss, binary | 2.00 | 0.8 |" in table
    assert bench.missed_bars(bench.races(report)) == [
        "time of torch, float32 / lv-ssl: 1.2, at least 1.3 is claimed"
    ]
    assert bench.missed_bars(bench.races(report | {"quick": True})) == []
    bench.README = tmp_path / "README.md"
    bench.README.write_text("before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n")
    for _ in range(2):
        bench.write_readme(table)
        assert bench.README.read_text().count("60,000") == table.count("60,000")
    assert bench.README.read_text().endswith("<!-- /bench -->\nafter\n")
    assert (FOLDER / "README.md").read_text().count("<!-- bench -->") == 1

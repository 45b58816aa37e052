import importlib.util
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[1]


def load(name):
    path = FOLDER / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_fitting_goes_between_the_readmes_markers(tmp_path):
    bench = load("fit")
    ratios = {bench.COLUMN + bench.ALL: 21.04, bench.POT + bench.ALL: 150.0}
    ratios |= {bench.POT: 90.0, bench.PASSES: 17.0, bench.SLOPE: 1.2}
    report = {
        "threads": 1, "cores": 2, "model": "a Llama", "modules": 60, "versions": {"torch": "2.6"},
        "ratios": ratios,
    }  # fmt: skip
    table = bench.markdown(report)
    assert "| loop over columns / fit, all threads | 21 |" in table
    assert bench.missed_bars(bench.races(report, bars=True)) == [
        "loop of `ot.emd_1d` / fit, all threads: 150, bar at least 200",
        "one pass: log-log slope in layers: 1.2, bar at most 1.15",
    ]
    bench.README = tmp_path / "README.md"
    bench.README.write_text("before\n<!-- fit -->\nold\n<!-- /fit -->\nafter\n")
    for _ in range(2):
        bench.write_readme(table)
        assert bench.README.read_text().count("emd_1d") == table.count("emd_1d")
    assert bench.README.read_text().endswith("<!-- /fit -->\nafter\n")


@pytest.mark.parametrize("name", ["fit", "decode"])
def test_the_readme_has_a_place_for_each_table(name):
    assert (FOLDER / "README.md").read_text().count(f"<!-- {name} -->") == 1


def test_what_is_raced_computes_the_same_maps():
    bench = load("fit")
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(40, 3, generator=g), torch.randn(40, 3, generator=g) + 1
    ours = bench.LinearTransport.fit(a, b)
    scale, shift = bench.by_column(a, b)
    torch.testing.assert_close(scale, ours.scale, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(shift, ours.shift, atol=1e-5, rtol=1e-5)
    planned = bench.by_plan(a.double().numpy(), b.double().numpy())
    torch.testing.assert_close(torch.from_numpy(planned[1]).float(), ours.shift)


def test_the_layer_by_layer_race_is_run_on_the_same_maps():
    bench = load("fit")
    assert bench.passes(bench.random_llama(1, width=16), 1)[bench.PASSES] > 0

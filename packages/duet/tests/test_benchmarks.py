import importlib.util
import math
from pathlib import Path

import pytest
import torch
from duet.targets import gaussian_target, von_mises_target

FOLDER = Path(__file__).parents[1]


@pytest.fixture
def bench():
    path = FOLDER / "benchmarks" / "race.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_goes_between_the_readmes_markers(bench, tmp_path):
    ratios = {"targets, von Mises": 25.0, "step": 1.1, "step, ESSL": 1.7, "views": 1.4}
    report = {"threads": 1, "versions": {"torch": "2.6"}, "ratios": ratios}
    table = bench.markdown(report)
    assert "| step | ESSL / DUET | 1.70 |" in table
    assert bench.missed_bars(bench.races(report, bars=True)) == [
        "step: DUET / SimCLR: 1.1, bar at most 1.03",
        "views: kornia / ours: 1.4, bar at least 1.5",
    ]
    assert bench.missed_bars(bench.races(report, bars=False)) == []
    bench.README = tmp_path / "README.md"
    bench.README.write_text("before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n")
    for _ in range(2):
        bench.write_readme(table)
        assert bench.README.read_text().count("ESSL / DUET") == 1
    assert bench.README.read_text().endswith("<!-- /bench -->\nafter\n")
    assert (FOLDER / "README.md").read_text().count("<!-- bench -->") == 1


def test_the_quadrature_raced_against_is_off_by_what_is_known_of_it(bench):
    p = torch.linspace(0, 1, 101, dtype=torch.float64)
    for bins, most in ((2, 4.5e-3), (8, 2e-3), (16, 7e-4)):
        found = bench.quadrature(
            p, lambda m: torch.distributions.VonMises(m, m.new_tensor(3.0)), 2 * math.pi, bins
        )
        error = float((found - von_mises_target(p, bins, 3.0)).abs().max())
        assert 0.3 * most < error < most
    found = bench.quadrature(p, lambda m: torch.distributions.Normal(m, 0.2), 1.0, 8)
    assert 1e-4 < float((found - gaussian_target(p, 8, 0.2)).abs().max()) < 1e-3


def test_a_race_takes_turns_and_returns_medians(bench):
    order = []
    taken = bench.race({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2)
    assert "".join(order) == "abba" * 2
    assert set(taken) == {"a", "b"}

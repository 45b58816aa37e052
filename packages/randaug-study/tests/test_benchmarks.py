import importlib.util
import json
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1]


@pytest.fixture
def bench(monkeypatch):
    for name in ("timm", "timm.data", "timm.data.auto_augment"):  # peers of the race alone
        module = type(sys)(name)
        module.rand_augment_transform = None
        monkeypatch.setitem(sys.modules, name, module)
    path = FOLDER / "benchmarks" / "augment.py"
    spec = importlib.util.spec_from_file_location("augment_race", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_and_the_bars_come_from_the_figures(bench, tmp_path):
    names = (*bench.PIL_PATHS, bench.ONE_BY_ONE, bench.KORNIA)
    ratios = {
        f"{size}, {backend}": dict.fromkeys(names, 20.0)
        for size in (32, 224)
        for backend in ("torch", "opencv")
    }
    ratios["32, torch"][bench.KORNIA] = 1.25
    ratios["224, opencv"][bench.TIMM] = 2.5
    ratios["growth"] = {"four times the pixels": 1.5}
    report = {"ratios": ratios, "equal": {"PIL": 0.9}, "threads": 2, "versions": {"torch": "2.6"}}
    table = bench.markdown(report)
    assert "| kornia, batch of floats | 1.2 | 20.0 | 20.0 | 20.0 |" in table
    rows = json.loads(json.dumps(bench.races(ratios, bars=True)))
    assert [line.split(",")[0] for line in bench.missed_bars(rows)] == [
        "32x32", "224x224", "time of four times the pixels"
    ]  # fmt: skip
    assert bench.missed_bars(bench.races(ratios, bars=False)) == []
    bench.README = tmp_path / "README.md"
    bench.README.write_text("before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n")
    for _ in range(2):
        bench.write_readme(table)
        assert bench.README.read_text().count("kornia, batch") == 1
    assert bench.README.read_text().endswith("<!-- /bench -->\nafter\n")
    assert (FOLDER / "README.md").read_text().count("<!-- bench -->") == 1


def test_torchvision_gives_our_bytes_for_our_plan(bench):
    equal = bench.same(bench.natural(40, 32))
    assert equal["tensors"] == 1
    assert 0.9 < equal["PIL"] < 1

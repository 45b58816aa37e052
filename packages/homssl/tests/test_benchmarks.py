import importlib.util
from pathlib import Path

FOLDER = Path(__file__).parents[1]


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_the_benchmark_goes_between_the_readmes_markers(tmp_path):
    bench = load(FOLDER / "benchmarks" / "steps.py")
    report = {
        "threads": 1,
        "quick": False,
        "versions": {"torch": "2.6"},
        "ratios": {
            "A-SSL / H-SSL, 2 views": 1.6,
            "A-SSL / H-SSL, 4 views": 3.5,
            "GroupConv2d / Conv2d": [1.0, 1.2],
        },
    }
    table = bench.markdown(report)
    assert "| A-SSL / H-SSL, 4 views | 3.50 |" in table
    assert "| GroupConv2d / Conv2d | 1.00, 1.20 |" in table
    assert bench.missed_bars(bench.races(report)) == [
        "time of A-SSL / H-SSL, 2 views: 1.6, at least 1.7 is claimed",
        "time of GroupConv2d / Conv2d, 32 fields: 1.2, at most 1.1 is claimed",
    ]
    assert bench.missed_bars(bench.races(report | {"quick": True})) == []
    bench.README = tmp_path / "README.md"
    bench.README.write_text("before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n")
    for _ in range(2):
        bench.write_readme(table)
        assert bench.README.read_text().count("4 views") == table.count("4 views")
    assert bench.README.read_text().endswith("<!-- /bench -->\nafter\n")
    assert (FOLDER / "README.md").read_text().count("<!-- bench -->") == 1

import json

import numpy as np
import pytest
from scipy import stats
from tenfold import report


def test_an_interval_is_students_and_one_value_has_none():
    values = [1.0, 2.0, 4.0, 7.0]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    mean, half = report.interval(values)
    assert (mean - half, mean + half) == pytest.approx((low, high))
    assert report.interval([3.0]) == (3.0, 0.0)
    assert report.number([3.0]) == "3.0"
    assert report.number([1.0, 3.0], 2) == "2.00 ± 12.71"


def test_a_report_does_not_depend_on_the_order_of_its_journal(tmp_path, monkeypatch, capsys):
    runs = [{"task": {"part": "a", "seed": s}, "result": {"x": s}} for s in range(4)]
    found = []
    for order in (runs, runs[::-1]):
        path = tmp_path / "journal.jsonl"
        path.write_text("".join(json.dumps(run) + "\n" for run in order))
        monkeypatch.setattr("sys.argv", ["report.py", "--journal", str(path)])
        found.append(report.begin("A report.", tmp_path))
    assert found[0] == found[1]
    assert found[0][1] == tmp_path
    report.write_report(tmp_path, "# Text", {"tables": {}})
    assert json.loads((tmp_path / "summary.json").read_text()) == {"tables": {}}
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "journal.jsonl", "results.md", "summary.json",
    ]  # fmt: skip


def test_an_empty_journal_ends_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["report.py"])
    with pytest.raises(SystemExit) as stop:
        report.begin("A report.", tmp_path)
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_figures_bytes_depend_on_its_numbers_alone(tmp_path):
    import matplotlib.pyplot as plt

    def drawn(path, y):
        figure, axis = plt.subplots()
        axis.plot([0, 1], y)
        report.save_figure(figure, path)
        return path.read_bytes()

    first = drawn(tmp_path / "a.svg", [1, 2])
    assert first == drawn(tmp_path / "b.svg", [1, 2])
    assert first != drawn(tmp_path / "c.svg", [1, 3])
    assert not plt.get_fignums()

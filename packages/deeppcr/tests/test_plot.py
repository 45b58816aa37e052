import pytest
from deeppcr.report import Report

pytest.importorskip("matplotlib")
from deeppcr.plot import plot_residuals, plot_speedup

FAST = Report(True, "residual", 2, (1.0, 1e-2, 1e-6), (1.0, 1e-2, 1e-6))
SLOW = Report(False, "max_iter", 1, (1.0, 0.5), (1.0, 0.5))
LOOP = Report(True, "sequential", method="sequential", fell_back=True)


def test_every_cell_of_the_table_is_written_where_it_belongs():
    table = {"L": [256, 64, 256], "d": [4, 1, 1], "speedup": [3.0, 2.0, 8.0]}
    axes = plot_speedup(table, title="forward").axes[0]
    cells = {tuple(map(round, t.get_position())): t.get_text() for t in axes.texts}
    assert cells == {(1, 1): "3", (0, 0): "2", (1, 0): "8"}
    drawn = axes.images[0].get_array()
    assert drawn[0].tolist() == [2.0, 8.0]
    assert drawn.mask.tolist() == [[False, False], [True, False]]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["64", "256"]
    assert axes.get_title() == "forward"


def test_every_report_with_residuals_is_a_line():
    axes = plot_residuals({"fast": FAST, "slow": SLOW, "loop": LOOP}).axes[0]
    lines = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert lines == {"fast": list(FAST.residuals), "slow": list(SLOW.residuals)}


def test_says_what_a_figure_needs():
    with pytest.raises(ValueError, match="table needs columns L, d and speedup"):
        plot_speedup({"L": [1], "d": [1]})
    with pytest.raises(ValueError, match=r"speedup must be positive everywhere, got 0"):
        plot_speedup({"L": [1], "d": [1], "speedup": [0]})
    with pytest.raises(ValueError, match="the loop ran without an iteration"):
        plot_residuals(LOOP)

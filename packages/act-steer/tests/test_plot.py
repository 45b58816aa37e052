import pytest
import torch
from act_steer import LinearTransport, MeanTransport, Steering

pytest.importorskip("matplotlib")
from act_steer.plot import plot_strength, plot_sweep


def test_the_distance_falls_along_the_strength_and_the_farthest_are_drawn():
    a = torch.randn(40, 3)
    maps = {f"norm.{n}": LinearTransport.fit(a, n * a + n) for n in (3, 1, 5)}
    axes = plot_strength(Steering(maps), lines=2, title="football").axes[0]
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert list(lines) == ["norm.3", "norm.5"]
    for name, curve in lines.items():
        assert curve[0] == pytest.approx(float(maps[name].w2(0.0).norm()), rel=1e-6)
        assert curve[-1] == pytest.approx(float(maps[name].w2(1.0).norm()), abs=1e-5)
        assert (torch.tensor(curve).diff() < 0).all()
    assert axes.get_title() == "football"


def test_every_measure_has_a_panel():
    table = {"strength": [0, 0.5, 1], "share": [0.1, 0.6, 0.8], "perplexity": [9, 10, 30]}
    figure = plot_sweep(table, title="x")
    assert [axes.get_ylabel() for axes in figure.axes] == ["share", "perplexity"]
    assert figure.axes[1].lines[0].get_xydata().tolist() == [[0, 9], [0.5, 10], [1, 30]]


def test_says_what_a_figure_needs():
    for table in ({"share": [1]}, {"strength": [0]}, {"strength": [0, 1], "share": [1]}):
        with pytest.raises(ValueError, match="strength and measures of one length, got"):
            plot_sweep(table)
    shift = MeanTransport.fit(torch.zeros(3, 2), torch.ones(3, 2)).scaled(0.5)
    with pytest.raises(ValueError, match="moments"):
        plot_strength(Steering({"a": shift}))

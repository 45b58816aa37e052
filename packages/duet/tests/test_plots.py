import math
import sys

import pytest
import torch
from duet import rotation, scale
from duet.grid import ControlledGrid
from duet.plots import COLUMNS, by_parameter, plot_grid, plot_marginals, plot_readout

TURN = rotation()


def test_the_heat_map_holds_the_mean_marginal_by_true_parameter():
    p = torch.rand(3000, generator=torch.Generator().manual_seed(0))
    figure = plot_marginals(TURN.target(p), p, TURN)
    read, target = (axis.images[0].get_array() for axis in figure.axes[:2])
    assert read.shape == (8, COLUMNS)
    assert abs(read - target).max() < 1e-6
    brightest = read.argmax(0)
    want = [int((n + 0.5) / COLUMNS * 8) for n in range(COLUMNS)]
    assert brightest.tolist() == want  # a diagonal band
    assert figure.axes[0].get_xlabel() == "true rotation, degrees"


def test_columns_average_their_rows_and_are_empty_where_none_is():
    marginals = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    picture = by_parameter(marginals, torch.tensor([0.0, 0.001, 1.0]))
    assert picture[0].tolist() == [0.5, 0.5]
    assert picture[-1].tolist() == [0.5, 0.5]
    assert bool(picture[1:-1].isnan().all())


def test_on_a_circle_the_centre_is_no_error_and_the_direction_the_true_angle():
    true = torch.tensor([0.5, 0.75, 0.25])
    figure = plot_readout(true + torch.tensor([0.0, 0.1, -0.25]), true, TURN)
    (axis,) = figure.axes
    points = axis.collections[0].get_offsets()
    assert points[:, 1].tolist() == pytest.approx([0, 36, 90], abs=1e-3)
    assert points[:, 0].tolist() == pytest.approx([0, math.pi / 2, -math.pi / 2])
    assert axis.get_title() == "rotation: median error 36"


def test_on_a_range_what_is_read_stands_over_the_truth():
    figure = plot_readout(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 0.5]), scale(low=0.5))
    points = figure.axes[0].collections[0].get_offsets()
    assert points.tolist() == [[1.0, 1.0], [0.75, 0.5]]


def test_the_grid_has_the_truth_beneath_and_the_moves_above():
    made, truth = torch.zeros(2, 3, 1, 4, 4), torch.ones(2, 3, 1, 4, 4)
    starts = torch.full((2, 1, 4, 4), 0.5)
    figure = plot_grid(ControlledGrid(TURN, (0.0, 45.0, 90.0), starts, made, truth))
    assert len(figure.axes) == 4 * 4
    titles = [axis.get_title() for axis in figure.axes[:4]]
    assert titles == ["encoded", "+0", "+45", "+90"]
    shown = [float(axis.images[0].get_array().mean()) for axis in figure.axes]
    assert shown == [128, 0, 0, 0, 128, 255, 255, 255] * 2


def test_without_matplotlib_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    p = torch.rand(5)
    with pytest.raises(ImportError, match=r"pip install 'duet\[plot\]'"):
        plot_readout(p, p, TURN)


def test_says_what_came():
    with pytest.raises(ValueError, match=r"\(N, 8\) and p \(N,\), got \(5, 7\) and \(5,\)"):
        plot_marginals(torch.zeros(5, 7), torch.zeros(5), TURN)

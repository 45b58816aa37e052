import importlib

import numpy as np
import pytest
import torch
from tenfold.station import Context

from_file = importlib.import_module("tenfold.stations.duet")
AMOUNTS = (45.0, 90.0, 135.0, 180.0)


def run(median=10.0, masked=12.0, ours=84, theirs=80, ridge=(18.0, 40.0), moved=0.06, wrong=0.09):
    read = {"readout": {"median": median, "mean": 2 * median}, "masked": {"median": masked}}
    blind = {"readout": {"median": 90.0, "mean": 90.0}, "masked": {"median": 90.0}}
    held = [
        {"classes": {"matrix": [share, 100]}, "ridge": {"mean": error, "median": error / 2}}
        for share, error in zip((ours, theirs), ridge, strict=True)
    ]
    steered = [
        {"what": what, "amount": amount, "moved": moved, "still": 0.1, "wrong": wrong,
         "oracle": 0.02}
        for amount in AMOUNTS for what in ("matrix", "image")
    ]  # fmt: skip
    return from_file.Run(
        {"duet": read, "simclr": blind}, dict(zip(("duet", "simclr"), held, strict=True)), steered
    )


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "reproduced"),
        ({"median": 25.0, "masked": 37.5, "ours": 78, "ridge": (28.0, 40.0)}, "reproduced"),
        ({"median": 25.1, "masked": 26}, "not at this scale"),
        ({"masked": 15.1}, "not at this scale"),
        ({"ours": 77}, "partly"),
        ({"ridge": (28.1, 40.0)}, "partly"),
        ({"moved": 0.101, "wrong": 0.2}, "partly"),
        ({"moved": 0.091}, "partly"),
    ],
)
def test_the_verdict_follows_the_stated_rule_by_the_worst_seed(change, verdict):
    assert from_file.judge([run(**change)]) == verdict
    assert from_file.judge([run(), run(**change)]) == verdict


def test_half_a_turn_has_no_wrong_direction_and_is_not_asked():
    found = run()
    found.steered[-1]["moved"] = 1.0
    assert found.steered[-1]["amount"] == 180
    assert from_file.steers(found)
    found.steered[-3]["moved"] = 1.0
    assert not from_file.steers(found)


def test_the_headline_and_the_tables_hold_the_numbers():
    found = run()
    text = from_file.headline([found])
    assert "median error of 10.0 degrees (chance 90; corners hidden 12.0)" in text
    assert "DUET 84.0 % (75.6 to 89.9, n=100), SimCLR 80.0 %" in text
    assert "18 and 40 degrees" in text
    assert "0.60 to 0.60 of that without the shift and 0.67 to 0.67" in text
    table = from_file.methods_table([found, found])
    assert table["method"] == ["DUET", "SimCLR"] * 2
    assert table["angle off the marginal, median, degrees"] == [10.0, 90.0] * 2
    steered = from_file.steered_table([found])
    assert steered["shift, degrees"] == list(AMOUNTS)
    assert steered["oracle: the moved image itself"] == [0.02] * 4


def test_the_figure_of_the_angle_adds_the_error_to_the_truth():
    figure = from_file.angle_figure([[-90.0, -5.0, 1.0, 8.0], [0.0, -1.0, 0.0, 2.0]])
    line, exact = figure.series
    assert line.y == [-89.0, 0.0]
    assert (line.low, line.high) == ([-95.0, -1.0], [-82.0, 2.0])
    assert exact.x == exact.y == [-90.0, 0.0]


@pytest.fixture
def tiny(monkeypatch):
    images = importlib.import_module("tenfold.data.images")
    full = images.fashion_mnist()
    rows = full.train[:160], full.train_labels[:160], full.test[:100], full.test_labels[:100]
    split = images.Split("tiny", *rows, full.classes)
    monkeypatch.setattr(images, "fashion_mnist", lambda: split)
    for name, value in (("STEPS", 4), ("DECODER_STEPS", 3), ("BATCH", 32)):
        monkeypatch.setattr(from_file, name, {"small": value, "paper": value})
    return split


def test_the_station_runs_whole_at_a_tiny_size(tiny):
    seen = []
    before = torch.random.get_rng_state()
    result = from_file.Station().run(
        Context(seeds=2, progress=lambda done, total: seen.append((done, total)))
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert seen[-1] == (22, 22)
    assert seen == sorted(seen)
    assert result.verdict == "not at this scale"  # four steps train nothing
    grid = result.tables["Shifted in the representation, then decoded; the truth beneath"]
    assert list(grid)[:4] == ["", "encoded", "+0 degrees", "+45 degrees"]
    assert grid[""] == ["made", "truth"] * 4
    truth = grid["+90 degrees"][1]
    assert (truth == np.rot90(grid["encoded"][0])).mean() > 0.9  # counterclockwise
    assert result.tables["Pose and classes"]["seed"] == [0, 0, 1, 1]
    assert len(result.figures[2].table["class"]) == 100
    errors = np.array(result.figures[2].table["error"])
    assert (np.abs(errors) <= 180).all()
    apart = np.array(result.figures[2].table["angle read"]) - result.figures[2].table["true angle"]
    assert np.abs((apart - errors + 180) % 360 - 180).max() <= 2  # each was rounded


def test_at_the_papers_scale_it_takes_colour(monkeypatch, tiny, tmp_path):
    images = importlib.import_module("tenfold.data.images")
    x = np.random.default_rng(0).integers(0, 256, (88, 3, 32, 32), np.uint8)
    classes = tuple("abcdefghij")
    split = images.Split("colour", x[:64], np.arange(64) % 10, x[64:], np.arange(24) % 10, classes)
    monkeypatch.setattr(images, "cifar10", lambda root: split)
    result = from_file.Station().run(Context(scale="paper", data_root=tmp_path))
    grid = result.tables["Shifted in the representation, then decoded; the truth beneath"]
    assert grid["encoded"][0].shape == (32, 32, 3)
    with pytest.raises(ValueError, match="--data-root"):
        from_file.Station().run(Context(scale="paper"))


def test_without_a_committed_study_the_station_shows_its_own_figures(monkeypatch, tiny, tmp_path):
    monkeypatch.setattr(from_file, "STUDY", tmp_path / "none.json")
    result = from_file.Station().run(Context())
    assert len(result.figures) == 3
    assert len(result.tables) == 3

import importlib
from types import SimpleNamespace

import pytest
import torch
from tenfold.probes import Accuracy
from tenfold.station import Context

from_file = importlib.import_module("tenfold.stations.lv_ssl")
latents = importlib.import_module("tenfold.latents")


def pair(bits=0.72, features=0.78, falls=0.005, auroc=0.58, blur=1.0, crop=0.9):
    def measured(score):
        rises = {
            change: SimpleNamespace(correlation=value, control=0.0)
            for change, value in (("blur", blur), ("crop", crop))
        }
        probes = {"bits": share(bits), "features": share(features), "mean": share(features)}
        return SimpleNamespace(probes=probes, auroc={score: auroc}, rises={score: rises})

    curve = SimpleNamespace(falls=lambda: falls)
    return from_file.Pair(measured("entropy"), curve, measured("1 / kappa"))


def share(value):
    return Accuracy(round(1000 * value), 1000)


@pytest.mark.parametrize(
    ("changes", "halves"),
    [
        ({}, (True, True)),
        ({"bits": 0.69}, (False, True)),
        ({"falls": 0.02}, (False, True)),
        ({"blur": 0.7}, (True, False)),
        ({"crop": -1.0}, (True, False)),
        ({"auroc": 0.54}, (True, False)),
        ({"auroc": 0.5, "bits": 0.5}, (False, False)),
    ],
)
def test_the_verdict_follows_the_stated_rule(changes, halves):
    assert from_file.halves([pair(**changes)]) == halves
    assert from_file.halves([pair(), pair(**changes)]) == halves
    want = "partly" if any(halves) else "not at this scale"
    assert from_file.judge([pair(**changes)]) == want
    assert "1.00" in from_file._headline([pair()], 256)


def tiny():
    images = importlib.import_module("tenfold.data.images")
    full = images.fashion_mnist()
    rows = full.train[:256], full.train_labels[:256], full.test[:200], full.test_labels[:200]
    return images.Split("tiny", *rows, full.classes)


def test_the_station_runs_whole_at_a_tiny_size(monkeypatch):
    images = importlib.import_module("tenfold.data.images")
    split = tiny()
    monkeypatch.setattr(images, "fashion_mnist", lambda: split)
    monkeypatch.setattr(from_file, "EPOCHS", {"small": 1})
    monkeypatch.setattr(from_file, "BATCH", {"small": 64})
    monkeypatch.setattr(from_file, "BITS", {"small": 32})
    seen = []
    result = from_file.Station().run(
        Context(progress=lambda done, total: seen.append((done, total)))
    )
    assert seen[-1] == (8, 8)
    assert [len(column) for column in result.tables["What the latents are worth"].values()] == (
        [2] * 12
    )
    assert len(result.figures) == 5
    assert result.figures[0].series[0].x == [8.0, 16.0, 32.0]
    assert len(result.figures[-1].images) == 12
    assert result.tables["What a code saves"]["times less than the image"] == [196.0, 588.0]


def test_the_probes_ridge_is_chosen_without_the_test_rows():
    g = torch.Generator().manual_seed(0)
    y = torch.arange(3200) % 2
    x = torch.randn(3200, 1400, generator=g) + 0.04 * (2 * y[:, None] - 1)
    train, test = (x[:1600], y[:1600]), (x[1600:], y[1600:])
    found, ridge = latents.probe(*train, *test)
    weak, _ = latents.probe(*train, *test, ridge=1e-3)
    assert ridge > 1e-3  # nearly as many features as rows: little penalty overfits
    assert found.value > weak.value + 0.05
    again, same = latents.probe(*train, -test[0], test[1])
    assert same == ridge
    assert again.value < 0.5 < found.value


@pytest.mark.parametrize("family", ["none", "normal", "vmf", "categorical"])
def test_every_kind_of_recipe_trains_and_is_measured(family):
    from tenfold.encoders import small_encoder
    from tenfold.methods import seeded
    from tenfold.training import Schedule

    split = tiny()
    recipe = latents.Recipe(family, 16, augment="degraded")
    made = latents.fit_latents(
        recipe, seeded(0, small_encoder), torch.tensor(split.train),
        features=128, schedule=Schedule(1, 64), seed=0,
    )  # fmt: skip
    assert not made.collapsed
    numbers = latents.as_numbers(latents.measure_latents(made, split))
    assert ("bits" in numbers["probes"]) == (family == "none")
    assert ("1 / kappa" in numbers["auroc"]) == (family == "vmf")
    assert all(set(changes) == {"blur", "crop"} for changes in numbers["rises"].values())

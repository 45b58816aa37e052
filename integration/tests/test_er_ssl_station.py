import importlib

import pytest
import torch
from tenfold.memory import extra_mebibytes
from tenfold.methods import Run
from tenfold.probes import Accuracy
from tenfold.station import Context

from_file = importlib.import_module("tenfold.stations.er_ssl")


def fake_run(std, entropy):
    trace = {"entropy": [entropy], "entropy_floor": [0.0], "entropy_ceiling": [1.0]}
    return Run(Accuracy(1, 2), Accuracy(1, 2), std, 1.0, 0.0, trace)


@pytest.mark.parametrize(
    ("bare", "kept", "verdict"),
    [
        ((0.05, 0.01), (0.99, 0.9), "reproduced"),
        ((0.05, 0.01), (0.5, 0.9), "partly"),
        ((0.5, 0.6), (0.99, 0.9), "partly"),
        ((0.5, 0.6), (0.5, 0.5), "not at this scale"),
    ],
)
def test_the_verdict_follows_the_stated_rule(bare, kept, verdict):
    runs = {"bare distillation": [fake_run(*bare)], "bare distillation + ER": [fake_run(*kept)]}
    assert from_file.judge(runs) == verdict


def test_one_seed_is_reported_with_its_interval_and_several_with_their_range():
    def run(right):
        return Run(Accuracy(right, 100), Accuracy(1, 2), 1.0, 1.0, 0.0, {})

    assert from_file._probe([run(80)]) == str(Accuracy(80, 100))
    assert from_file._probe([run(80), run(70), run(78)]) == "76.0 % (70.0 to 80.0 over seeds)"


def test_the_station_runs_whole_at_a_tiny_size(monkeypatch):
    images = importlib.import_module("tenfold.data.images")
    monkeypatch.setattr(images, "fashion_mnist", lambda: images.Split("tiny", *tiny(images), ()))
    monkeypatch.setattr(from_file, "EPOCHS", {"small": 1})
    monkeypatch.setattr(from_file, "BATCH", {"small": 32})
    monkeypatch.setattr(from_file, "ROWS", 1024)
    seen = []
    result = from_file.Station().run(
        Context(progress=lambda done, total: seen.append((done, total)))
    )
    assert seen[-1] == (16, 16)
    assert [len(column) for column in result.tables["Five arms"].values()] == [5] * 7
    assert result.verdict in ("reproduced", "partly", "not at this scale")


def tiny(images):
    full = images._idx("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)
    labels = images._idx("t10k-labels-idx1-ubyte.gz", 8).astype("int64")
    return full[:128], labels[:128], full[8000:8200], labels[8000:8200]


def test_paper_scale_reads_cifar_and_trains_a_resnet(monkeypatch):
    images = importlib.import_module("tenfold.data.images")
    g = torch.Generator().manual_seed(0)
    rows = torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8, generator=g).numpy()
    labels = torch.arange(16).numpy() % 10
    split = images.Split("fake CIFAR-10", rows[:8], labels[:8], rows[8:], labels[8:], ())
    monkeypatch.setattr(images, "cifar10", lambda root: split)
    monkeypatch.setattr(from_file, "EPOCHS", {"paper": 1})
    monkeypatch.setattr(from_file, "BATCH", {"paper": 8})
    monkeypatch.setattr(from_file, "ROWS", 256)
    result = from_file.Station().run(Context(scale="paper", data_root="x"))
    assert "fake CIFAR-10" in result.notes[1]


def test_memory_is_what_the_job_adds():
    found = extra_mebibytes("import array", "x = array.array('b', bytes(64 * 2**20))")
    if found is not None:
        assert 60 < found < 140


def test_a_failing_job_says_why():
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        extra_mebibytes("", "1 / 0")

import dataclasses
import importlib
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tenfold.station import Context, Lines, Series

# diffusers on a newer numpy (November 2026)
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
chains = importlib.import_module("tenfold.chains")
from_file = importlib.import_module("tenfold.stations.deeppcr")


def races(gain=100.0, error=1e-6, exact=1e-14, slow=1.5):
    """Races at two depths of one width; the deeper solve takes ``slow`` times the other's."""
    made = []
    for depth, parallel in ((256, 1e-3), (4096, slow * 1e-3)):
        made.append(chains.Race(depth, 8, error, exact, gain * parallel, parallel))
    return made


def sampled(rounds=16, error=2e-4):
    return [SimpleNamespace(rounds=10, error=0.0), SimpleNamespace(rounds=rounds, error=error)]


COUNTS = {1: 0, 5: 3, 4096: 12}


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "partly"),
        ({"races": races(gain=39)}, "not at this scale"),
        ({"races": races(error=2e-4)}, "not at this scale"),
        ({"races": races(exact=1e-9)}, "not at this scale"),
        ({"races": races(error=float("nan"))}, "not at this scale"),
        ({"counts": {5: 4}}, "not at this scale"),
        ({"sampled": sampled(rounds=21)}, "not at this scale"),
        ({"sampled": sampled(error=2e-3)}, "not at this scale"),
        ({"device": "cuda"}, "reproduced"),
        ({"device": "cuda", "races": races(slow=3)}, "partly"),
    ],
)
def test_the_verdict_follows_the_stated_rule(changes, verdict):
    given = {"races": races(), "counts": COUNTS, "sampled": sampled()} | changes
    assert from_file.judge(**given) == verdict


def test_sweeps_are_counted_and_are_the_logarithm():
    counts = chains.sweeps(from_file.LENGTHS)
    assert [counts[length] for length in (1, 2, 3, 1000, 1024, 1025)] == [0, 1, 2, 10, 10, 11]
    assert all(count == np.ceil(np.log2(length)) for length, count in counts.items())


def test_a_race_tells_equal_gradients_from_wrong_ones(monkeypatch):
    found = chains.race(32, 4, rounds=1)
    assert found.exact < 1e-12 < found.error < 1e-4
    assert min(found.loop, found.parallel) > 0

    class Wrong(chains.DenseStep):
        def linearize(self, *given):
            blocks, pull = super().linearize(*given)
            return dataclasses.replace(blocks, slope=1.01 * blocks.slope), pull

    monkeypatch.setattr(chains, "DenseStep", Wrong)
    assert chains.race(32, 4, rounds=1).exact > 1e-4


@pytest.fixture
def tiny(monkeypatch):
    """The station at a size of seconds, with a model that costs nothing."""

    class Model:
        def to(self, device):
            return self

        def __call__(self, x, t, class_labels):
            assert class_labels.tolist() == list(from_file.CLASSES) * (len(x) // 2)
            return SimpleNamespace(sample=0.5 * torch.tanh(x))

    monkeypatch.setattr(chains, "load", Model)
    monkeypatch.setattr(from_file, "DEPTHS", (16, 256))
    monkeypatch.setattr(from_file, "CELL_STEPS", 32)


def test_the_station_runs_whole_at_a_tiny_size(tiny, monkeypatch, tmp_path):
    monkeypatch.setattr(from_file, "STUDY", tmp_path / "none.json")
    seen = []
    result = from_file.Station().run(Context(progress=lambda *step: seen.append(step)))
    assert seen[-1] == (20, 20)
    assert seen == sorted(seen)
    first, _, residuals, images = result.figures
    assert first.log_x
    assert first.log_y
    assert [line.x for line in first.series] == [[16, 256]] * 4
    assert residuals.levels == [("tolerance", from_file.TOLERANCE)]
    assert images.images.shape == (12, 128, 128)
    assert [caption for caption in images.captions if "loop" in caption] == [
        f"{name}, loop" for name in ("DDIM", "Euler", "DDPM") for _ in range(2)
    ]
    forward = next(value for name, value in result.tables.items() if "Forward" in name)
    assert forward["width"] == [4, 8]
    assert max(forward["largest difference"]) < 1e-3
    table = result.tables["Samplers, 100 steps"]
    assert max(table["rounds"]) <= 20
    assert max(table["pixels differ by"]) <= 1e-3
    assert table["loop's rows"] == [200] * 3
    cells = next(value for name, value in result.tables.items() if "cell" in name)
    assert cells["cell"] == ["RNN", "GRU"]
    assert max(cells["difference, float32"]) < 1e-4
    assert "only a GPU shows" in " ".join(result.notes)


def test_the_committed_studys_summary_is_shown_beside(tiny, monkeypatch, tmp_path):
    series = {"name": "a", "x": [0], "y": [1], "low": [], "high": []}
    figure = dataclasses.asdict(Lines("t", "x", "y", [])) | {"series": [series]}
    summary = {"headlines": ["it held."], "tables": {"S": {"a": [1]}}}
    (tmp_path / "summary.json").write_text(json.dumps(summary | {"figures": [figure]}))
    monkeypatch.setattr(from_file, "STUDY", tmp_path / "summary.json")
    result = from_file.Station().run(Context())
    assert result.figures[-1].series == [Series("a", [0], [1], [], [])]
    assert result.tables["S"] == {"a": [1]}
    assert result.notes[-1] == "The study: it held."


def test_a_race_leaves_the_number_of_threads():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with chains.one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [50, 100])
@pytest.mark.parametrize("name", from_file.LABELS)
def test_the_tiny_model_is_sampled_in_a_fifth_of_the_rounds(name, steps):
    found = chains.sampler(name, steps, from_file.CLASSES, tol=from_file.TOLERANCE)
    assert found.rounds <= 20
    assert found.error <= 1e-3
    assert np.abs(found.loop.astype(int) - found.parallel).max() <= 1
    loose = chains.sampler(name, steps, from_file.CLASSES, tol=0.3)
    assert loose.rounds < found.rounds
    assert loose.error > found.error


def test_more_seeds_are_more_images(tiny, monkeypatch):
    monkeypatch.setattr(from_file, "DEPTHS", (16,))
    monkeypatch.setattr(from_file, "WIDTHS", (4,))
    monkeypatch.setattr(from_file, "CELLS", ())
    monkeypatch.setattr(from_file, "LABELS", {"ddim": "DDIM"})
    result = from_file.Station().run(Context(seeds=3))
    images = next(f for f in result.figures if hasattr(f, "images"))
    assert len(images.images) == 2 * 6


def test_claims_no_more_than_the_abstract():
    claim = from_file.Station.claim
    for figure in ("30x", "200x", "7x", "1024 layers", "11x"):
        assert figure in claim

import importlib

import numpy as np
import pytest
import torch
from tenfold.fiber_runs import ANGLES, ARMS, AUGMENTED, REMOVED, STRUCTURED, Found
from tenfold.identity import Gap
from tenfold.probes import Accuracy
from tenfold.station import Context

from_file = importlib.import_module("tenfold.stations.homssl")


def share(value):
    return Accuracy(round(1000 * value), 1000)


def found(structured=0.99, removed=0.05, pretext=0.95, augmented=0.95):
    turned = {STRUCTURED: structured, REMOVED: removed, AUGMENTED: augmented}
    return {
        arm: Found(
            {angle: share(turned[arm]) for angle in ANGLES},
            dict.fromkeys((1, 2, 3), share(pretext)),
        )
        for arm in ARMS
    }


EQUAL = Gap("C4", 4.0, 4.0, 1e-14, equal=True)
APART = Gap("C4", 4.0, 4.1, 0.3, equal=False)


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        ({}, True),
        ({"structured": 0.94}, False),
        ({"removed": 0.16}, False),
        ({"pretext": 0.89}, False),
        ({"augmented": 0.89}, False),
        ({"structured": 0.95, "removed": 0.15, "pretext": 0.9, "augmented": 0.9}, True),
    ],
)
def test_the_failure_half_follows_the_stated_rule(change, holds):
    assert from_file.failed(found(**change)) == holds
    good = [EQUAL, APART]
    assert from_file.judge(good, [found(), found(**change)]) == (
        "reproduced" if holds else "partly"
    )
    bad = [Gap("C4", 4.0, 4.1, 1e-14, equal=True), APART]
    want = "partly" if holds else "not at this scale"
    assert from_file.judge(bad, [found(**change)]) == want


def test_half_a_turn_is_not_asked_of_the_plain_net():
    upside_down = found()
    upside_down[REMOVED].turned[180] = share(0.6)
    assert from_file.failed(upside_down)
    upside_down[STRUCTURED].turned[180] = share(0.6)
    assert not from_file.failed(upside_down)


def test_a_loss_that_the_wrong_sign_does_not_move_is_no_identity():
    blind = [EQUAL, Gap("C4", 4.0, 4.0001, 0.3, equal=False)]
    assert from_file.judge(blind, [found()]) == "partly"


def test_the_certificate_names_the_layer_that_was_set_free():
    from homssl import Cyclic, group_convnet, unstructured

    whole = group_convnet(Cyclic(4))
    x = torch.randn(2, 1, 28, 28, dtype=torch.float64)
    nets = {"C4": whole, "plain": unstructured(whole)}
    certificates = from_file.certify(nets, x)
    assert [c.first_failing for c in certificates.values()] == [None, "0.inner", "4.inner"]
    assert [c.passed for c in certificates.values()] == [True, False, False]
    assert next(whole.parameters()).dtype == torch.float32


@pytest.fixture
def tiny(monkeypatch):
    images = importlib.import_module("tenfold.data.images")
    full = images.fashion_mnist()
    rows = full.train[:192], full.train_labels[:192], full.test[:100], full.test_labels[:100]
    split = images.Split("tiny", *rows, full.classes)
    monkeypatch.setattr(images, "fashion_mnist", lambda: split)
    monkeypatch.setattr(from_file, "BATCH", {"small": 48})
    monkeypatch.setattr(from_file, "IDENTITY_IMAGES", 8)


def test_the_station_runs_whole_at_a_tiny_size(tiny):
    seen = []
    result = from_file.Station().run(
        Context(progress=lambda done, total: seen.append((done, total)))
    )
    assert seen[-1] == (16, 16)  # 4 steps an arm, those on images counted twice
    assert seen == sorted(seen)
    assert result.verdict == "partly"  # the identity holds; four steps train nothing
    tables = {name: len(next(iter(table.values()))) for name, table in result.tables.items()}
    assert tables["Both losses on one draw, float64"] == 8
    assert tables["An image turned by 90 degrees, and what each arm takes for it"] == 8
    assert [len(series.x) for series in result.figures[0].series] == [4, 4, 4]
    assert "plain net, H-SSL finds its own fibers" in result.headline
    assert any("The study: " in note for note in result.notes)


def test_at_the_papers_scale_it_takes_colour_and_a_residual_network(monkeypatch, tiny, tmp_path):
    images = importlib.import_module("tenfold.data.images")
    x = np.random.default_rng(0).integers(0, 256, (56, 3, 32, 32), np.uint8)
    split = images.Split("colour", x[:32], np.arange(32) % 10, x[32:], np.arange(24) % 10, ())
    monkeypatch.setattr(images, "cifar10", lambda root: split)
    monkeypatch.setattr(from_file, "BATCH", {"paper": 16})
    monkeypatch.setattr(from_file, "EPOCHS", {"paper": 1})
    result = from_file.Station().run(Context(scale="paper", data_root=tmp_path))
    assert "T(8x8), BYOL" in result.tables["Both losses on one draw, float64"]["network, objective"]
    shown = result.tables["An image turned by 90 degrees, and what each arm takes for it"]
    assert shown["turned"][0].shape == (32, 32, 3)
    with pytest.raises(ValueError, match="--data-root"):
        from_file.Station().run(Context(scale="paper"))


def test_without_a_committed_study_the_station_shows_its_own_figures(monkeypatch, tmp_path):
    monkeypatch.setattr(from_file, "STUDY", tmp_path / "none.json")
    assert from_file.committed_study(from_file.STUDY) == {
        "headlines": [],
        "tables": {},
        "figures": [],
    }


def test_the_table_of_shares_names_the_worst_own_fiber():
    run = found()
    run[REMOVED].pretext[2] = share(0.5)
    table = from_file._retrieval_table([run])
    assert table["own fibers, worst"][1].startswith("50.0 (46.9 to")
    figure = from_file._retrieval_figure([run, found(removed=0.15)])
    assert figure.series[1].y[1] == pytest.approx(10)
    assert figure.levels == [("chance", 0.1)]


def test_seconds_become_ratios():
    table = from_file._seconds_table({2: (0.2, 0.1), 4: (0.4, 0.1)})
    assert table["A-SSL over H-SSL"] == [2.0, 4.0]

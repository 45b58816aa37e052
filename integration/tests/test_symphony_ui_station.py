import importlib

import numpy as np
import pytest
from tenfold.page import Entry, station_pages
from tenfold.station import Context, StationResult

station = importlib.import_module("tenfold.stations.symphony_ui")


@pytest.fixture(scope="module")
def result():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(10, 16))
    images = importlib.import_module("tenfold.data.images").fashion_mnist()
    train = centres[images.train_labels] + rng.normal(size=(8000, 16))
    test = centres[images.test_labels] + rng.normal(size=(2000, 16))
    test[7] = test[3] * 1.01
    arrays = {"train": train.astype("f2"), "test": test.astype("f2")}
    seen = []
    context = Context(
        results={"er_ssl": StationResult("partly", "h", arrays=arrays)},
        progress=lambda done, total: seen.append((done, total)),
    )
    return station.Station().run(context), seen


def test_every_check_holds_and_planted_duplicates_are_found(result):
    found, seen = result
    assert found.verdict == "reproduced"
    assert all(found.tables["What was checked"]["holds"])
    (explorer,) = found.figures
    group = explorer.table["duplicates"]
    assert group[3] is not None
    assert group[3] == group[7]
    assert seen[-1] == (3, 4)


def test_its_page_shows_every_image_and_follows_one_filter(result):
    found, _ = result
    _, page, _ = station_pages(Entry("symphony_ui", "c", found, "", 0.0))
    assert page.rows == 2000
    page.filter = "correct == false"
    assert int(page.visible.sum()) == found.figures[0].table["correct"].count(False)
    kinds = [placed.component.type for placed in page.layout.all()]
    expected = ["scatter", "confusion", "familiarity", "duplicates", "summary", "instances"]
    assert kinds == expected


@pytest.mark.parametrize(
    ("checks", "verdict"),
    [
        ((True, True), "reproduced"),
        ((True, False), "partly"),
        ((False, False), "not at this scale"),
    ],
)
def test_the_verdict_follows_the_stated_rule(checks, verdict):
    assert station.judge(dict(enumerate(checks))) == verdict


def test_a_missed_or_a_false_pair_is_seen(monkeypatch):
    from symphony_ui import duplicates

    rows = np.random.default_rng(0).normal(size=(50, 4))
    rows[1] = rows[0]
    twins = duplicates(rows, threshold=station.THRESHOLD)
    assert station._all_found(rows, twins)
    monkeypatch.setattr(station, "THRESHOLD", 0.5)
    assert not station._all_found(rows, twins)

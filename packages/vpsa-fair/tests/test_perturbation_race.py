"""The race's own table, bar and agreement; the peer itself runs in the bench session."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("race", FOLDER / "benchmarks" / "perturbations.py")
race = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(race)


def test_the_bar_is_on_all_severities_and_the_table_shows_each():
    report = {"images": 64, "versions": {"numpy": "2"}, "ratios": {
        "gaussian_blur": [8.0, 12.0, 13.0, 14.0, 20.0, 12.4],
        "contrast": [11.0, 9.0, 9.0, 9.0, 9.0, 9.4],
        "motion_blur": [2.0] * 6,
    }}  # fmt: skip
    assert "| gaussian_blur | 8x | 12x | 13x | 14x | 20x | 12x |" in race.markdown(report)
    assert race.missed_bars(race.races(report, bars=True)) == [
        "contrast, imagecorruptions / ours: 9.4, bar at least 10"
    ]
    assert race.missed_bars(race.races(report, bars=False)) == []


def test_the_table_goes_between_the_readmes_markers(tmp_path, monkeypatch):
    assert race.README.read_text().count("<!-- perturbations -->") == 1
    monkeypatch.setattr(race, "README", tmp_path / "README.md")
    mark = "<!-- perturbations -->\n{}<!-- /perturbations -->\nafter\n"
    race.README.write_text(mark.format("old\n"))
    for _ in range(2):
        race.write_readme("| new |")
        assert race.README.read_text() == mark.format("\n| new |\n\n")


def test_results_that_differ_stop_the_race():
    clean = race.pictures(2)
    ours = race.RACES["gaussian_noise"][0](clean, 20.4)
    theirs = clean + np.random.default_rng(0).normal(0, 20.4, clean.shape)
    theirs = theirs.clip(0, 255).astype(np.uint8)
    race.check("gaussian_noise", ours, theirs, clean)
    with pytest.raises(AssertionError):
        race.check("gaussian_noise", race.RACES["gaussian_noise"][0](clean, 24.0), theirs, clean)
    flat = race.RACES["contrast"][0](clean, 0.6)
    race.check("contrast", flat, flat + np.uint8(1), clean)
    with pytest.raises(SystemExit, match="contrast: both differ by 2 grey values"):
        race.check("contrast", flat, flat + np.uint8(2), clean)

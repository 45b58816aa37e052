import importlib
import json
from types import SimpleNamespace

import pytest
from tenfold.station import Context, Lines, Series

from_file = importlib.import_module("tenfold.stations.ema_scaling")


def gaps(spread_rule=1.001, spread_kept=0.08, theta_rule=0.02, theta_kept=0.31):
    def gap(scaled, theta, spread):
        return SimpleNamespace(kappa=64, scaled=scaled, theta=theta, spread=spread)

    plain = [gap(True, 0.01, spread_rule), gap(False, 0.01, spread_kept)]
    return [*plain, gap(True, theta_rule, 1.0), gap(False, theta_kept, 0.1)]


def net(rule, kept):
    return {"rule": SimpleNamespace(verdict=rule), "kept": SimpleNamespace(verdict=kept)}


@pytest.mark.parametrize(
    ("parabola", "reports", "verdict"),
    [
        (gaps(), net("match", "apart"), "reproduced"),
        (gaps(), net("unclear", "apart"), "partly"),
        (gaps(), net("match", "unclear"), "partly"),
        (gaps(theta_kept=0.2), net("match", "apart"), "partly"),
        (gaps(theta_rule=0.04), net("apart", "apart"), "not at this scale"),
        (gaps(spread_rule=1.02), net("match", "match"), "not at this scale"),
        (gaps(spread_kept=0.2), net("apart", "match"), "not at this scale"),
    ],
)
def test_the_verdict_follows_the_stated_rule(parabola, reports, verdict):
    assert from_file.judge(parabola, reports) == verdict


def test_the_parabolas_half_of_the_claim_is_exact():
    parabola = [*from_file._gaps(0.0), *from_file._gaps(from_file.FEEDBACK)]
    assert from_file.judge(parabola, net("match", "apart")) == "reproduced"


@pytest.fixture
def tiny(monkeypatch):
    images = importlib.import_module("tenfold.data.images")
    full = images.fashion_mnist()
    rows = full.train[:256], full.train_labels[:256], full.test[:64], full.test_labels[:64]
    split = images.Split("tiny", *rows, full.classes)
    monkeypatch.setattr(images, "fashion_mnist", lambda: split)
    monkeypatch.setattr(images, "cifar10", lambda root: split)
    sizes = {name: {"blocks": 2, "block": 256, "width": 8} for name in ("small", "paper")}
    monkeypatch.setattr(from_file, "NET", sizes)


def test_the_station_runs_whole_at_a_tiny_size(tiny, monkeypatch, tmp_path):
    monkeypatch.setattr(from_file, "STUDY", tmp_path / "none.json")
    seen = []
    context = Context(progress=lambda done, total: seen.append((done, total)))
    result = from_file.Station().run(context)
    assert seen[-1] == (3072, 3072)
    assert seen == sorted(seen)
    assert len(result.tables) == 3
    assert [figure.x_label for figure in result.figures] == ["samples"] * 3
    assert result.verdict in ("reproduced", "partly", "not at this scale")
    assert "95 %" in result.headline
    assert "tiny" in result.notes[1]


def test_the_committed_studys_summary_is_shown_beside(tiny, monkeypatch, tmp_path):
    figure = {"title": "t", "x_label": "samples", "y_label": "nats", "levels": [], "log_x": False}
    figure |= {"log_y": False, "series": [{"name": "a", "x": [0], "y": [1], "low": [], "high": []}]}
    summary = {"headlines": ["it held."], "tables": {"Study": {"a": ["1"]}}, "figures": [figure]}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    monkeypatch.setattr(from_file, "STUDY", tmp_path / "summary.json")
    result = from_file.Station().run(Context(scale="paper", data_root=tmp_path))
    assert result.figures[-1] == Lines("t", "samples", "nats", [Series("a", [0], [1], [], [])], [])
    assert result.tables["Study"] == {"a": ["1"]}
    assert result.notes[-1] == "The study: it held."


def test_paper_scale_needs_its_data(tiny):
    with pytest.raises(ValueError, match="data-root"):
        from_file.Station().run(Context(scale="paper"))

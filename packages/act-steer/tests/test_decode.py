import importlib.util
from pathlib import Path

import pytest
import torch
from act_steer_models import tiny_llama

FOLDER = Path(__file__).parents[1]


@pytest.fixture
def bench():
    spec = importlib.util.spec_from_file_location("decode", FOLDER / "benchmarks" / "decode.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_goes_between_the_readmes_markers_and_bars_are_told(bench, tmp_path):
    first, norms, _ = bench.PLACES
    ratios = {f"{first}: folded": 0.97, f"{first}: hook": 0.99, f"{norms}: module": 0.94}
    report = {
        "ratios": ratios | {f"{first}: repeng": 0.5}, "model": "a Llama", "threads": 1,
        "turns": 3, "tokens": 8, "versions": {"torch": "2.6"},
    }  # fmt: skip
    table = bench.markdown(report)
    assert f"| {first} | 0.97 | - | 0.99 | 0.50 | - |" in table
    assert bench.missed_bars(bench.races(report, bars=True)) == [
        f"tokens/s, {first}: folded / unsteered: 0.97, bar at least 0.98",
        f"tokens/s, {norms}: module / unsteered: 0.94, bar at least 0.95",
    ]
    assert bench.missed_bars(bench.races(report, bars=False)) == []
    bench.README = tmp_path / "README.md"
    bench.README.write_text("before\n<!-- decode -->\nold\n<!-- /decode -->\nafter\n")
    for _ in range(2):
        bench.write_readme(table)
        assert bench.README.read_text().count("repeng") == table.count("repeng")
    assert bench.README.read_text().endswith("<!-- /decode -->\nafter\n")


def test_what_races_computes_the_same_and_is_left_as_it_was(bench):
    model = tiny_llama(tie_word_embeddings=True)
    before = bench.logits(model)
    ratios = bench.race(model, turns=1, tokens=2)
    ways = {name.rpartition(": ")[2] for name in ratios}
    assert ways >= {"hook", "module", "folded"}
    assert min(ratios.values()) > 0
    assert torch.equal(bench.logits(model), before)


def test_a_racer_that_computes_something_else_stops_the_race(bench):
    model = tiny_llama(tie_word_embeddings=True)
    racing = bench.racers(model)
    name = next(name for name in racing if name.endswith("folded"))
    other = tiny_llama(tie_word_embeddings=True)
    with pytest.raises(AssertionError, match="not close"):
        bench.check(model, {**racing, name: (other, racing[name][1])})

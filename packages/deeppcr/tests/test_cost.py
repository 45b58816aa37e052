"""The choice of a method: by shipped constants, told on request."""

import contextlib
import json
import math

import pytest
import torch
from deeppcr import affine_scan, cost, explain, kernel


@pytest.fixture(autouse=True)
def own_constants(monkeypatch):
    """No test sees the constants of another."""
    monkeypatch.delenv("DEEPPCR_COSTS", raising=False)
    cost.constants.cache_clear()
    cost._cheapest.cache_clear()
    yield
    cost.constants.cache_clear()
    cost._cheapest.cache_clear()


@pytest.mark.parametrize(
    ("length", "batch", "width", "dense", "method"),
    [
        (16, 1, 4, True, "pcr"),
        (16, 256, 4, True, "serial"),
        (64, 1, 1, True, "pcr"),
        (256, 1, 8, True, "oddeven"),
        (1024, 1, 8, True, "oddeven"),
        (4096, 1, 8, True, "oddeven"),
        (4096, 1, 16, True, "oddeven"),
        (256, 256, 16, True, "serial"),
        (1024, 1, 64, True, "serial"),
        (4096, 1, 1, False, "pcr"),
        (1024, 16, 64, False, "oddeven"),
        (1024, 4096, 256, False, "serial"),
    ],
)
def test_takes_the_method_that_was_measured_fastest(length, batch, width, dense, method):
    assert cost._cheapest(length, batch, width, dense, "cpu") == method


def test_the_choice_is_the_cheapest_of_the_predictions_and_more_work_costs_more():
    for dense in (True, False):
        small = cost.predictions(64, 2, 4, dense=dense)
        for larger in ((128, 2, 4), (64, 8, 4), (64, 2, 8)):
            large = cost.predictions(*larger, dense=dense)
            assert set(small) == set(cost.METHODS)
            assert all(large[method] > small[method] for method in small)
        del small["kernel"]
        assert small[cost._cheapest(64, 2, 4, dense, "cpu")] == min(small.values())


def test_work_counts_what_the_methods_do():
    assert cost.work("serial", 100, 2, 3, dense=True) == (100, 600, 1800)
    assert cost.work("pcr", 100, 2, 3, dense=True) == (7, 4200, 50400)
    assert cost.work("oddeven", 100, 2, 3, dense=False) == (7, 1200, 0)


def test_every_solve_of_a_block_is_told():
    A, b = torch.rand(20, 3, 3, dtype=torch.complex64) / 3, torch.rand(20, 3).cfloat()
    with explain() as log:
        affine_scan(A.requires_grad_(), b).abs().sum().backward()
        affine_scan(torch.rand(7, 5, 2), torch.rand(7, 5, 2), method="chunked")
    affine_scan(A, b)
    whats = [decision.what for decision in log.decisions]
    assert whats[:2] == ["dense solve, L=20, B=1, d=3, cpu"] * 2
    assert whats[2:] == ["diagonal solve, L=7, B=5, d=2, cpu"]
    first, _, last = log.decisions
    assert first.method == min(first.predicted, key=first.predicted.get)
    assert "kernel" not in first.predicted
    assert last.method == "chunked"
    table = log.to_table()
    assert {len(column) for column in table.values()} == {3}
    assert all(seconds > 0 for seconds in table["seconds"])
    assert math.isnan(table["predicted"][2])
    assert str(log).count("\n") == 2
    assert "took" in str(log)
    assert str(explain()) == "nothing was solved"


@pytest.mark.skipif(kernel.library() is None, reason="no kernel")
def test_the_kernel_is_named_where_it_serves():
    with explain() as log:
        affine_scan(torch.rand(7, 5, 2), torch.rand(7, 5, 2))
    assert log.decisions[0].method == "kernel"


def test_logs_nest_and_end_with_an_error():
    with explain() as outer:
        inner = explain()
        with contextlib.suppress(RuntimeError), inner:
            affine_scan(torch.rand(3), torch.rand(3, 1))
            raise RuntimeError
        affine_scan(torch.rand(3), torch.rand(3, 1))
    assert len(inner.decisions) == len(outer.decisions) == 1


def test_constants_of_a_file_take_the_place_of_the_shipped_ones(tmp_path, monkeypatch):
    path = tmp_path / "costs.json"
    path.write_text(json.dumps({"costs": {"cpu": {"pcr dense": [1, 1, 1]}, "cuda": {}}}))
    monkeypatch.setenv("DEEPPCR_COSTS", str(path))
    assert cost.constants()["cpu"]["pcr dense"] == (1.0, 1.0, 1.0)
    assert cost.constants()["cpu"]["serial dense"] == cost.SHIPPED["cpu"]["serial dense"]
    assert cost._cheapest(16, 1, 4, True, "cpu") != "pcr"


@pytest.mark.parametrize("text", [None, "", "[]", '{"costs": {"cpu": {"pcr dense": [1, 2]}}}'])
def test_a_file_that_is_no_table_is_refused(tmp_path, monkeypatch, text):
    path = tmp_path / "costs.json"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv("DEEPPCR_COSTS", str(path))
    with pytest.raises(ValueError, match=r"DEEPPCR_COSTS names .*costs.json, which is not a table"):
        cost.constants()

"""Pooling row by row, and collecting from whatever runs a model."""

import numpy as np
import pytest
import torch
from act_steer import NoModuleMatched, collect, pool
from act_steer.pooling import POOLS, as_tokens
from act_steer_models import hooks_on
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

ORACLES = {
    "mean": lambda rows: rows.mean(0),
    "max": lambda rows: rows.max(0),
    "min": lambda rows: rows.min(0),
    "last": lambda rows: rows[-1],
    "median": lambda rows: np.sort(rows, 0)[(len(rows) - 1) // 2],
}


@pytest.mark.parametrize("how", POOLS)
@given(batch=st.integers(1, 4), length=st.integers(1, 7), seed=st.integers(0, 2**31))
def test_equals_a_loop_over_the_tokens_that_count(how, batch, length, seed):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, length, 3, generator=g, dtype=torch.float64)
    mask = torch.rand(batch, length, generator=g) < 0.6
    mask[torch.arange(batch), torch.randint(length, (batch,), generator=g)] = True
    x[~mask] = torch.nan  # what does not count cannot be seen
    want = np.stack([ORACLES[how](row[m].numpy()) for row, m in zip(x, mask, strict=True)])
    assert torch.allclose(pool(x, how, mask), torch.from_numpy(want), atol=1e-12)


@pytest.mark.parametrize("how", POOLS)
def test_pixels_are_tokens_where_channels_are_in_front(how):
    x = torch.randn(2, 3, 4, 5)
    tokens = x.permute(0, 2, 3, 1).reshape(2, 20, 3)
    assert torch.equal(as_tokens(x), tokens)
    assert torch.allclose(pool(x, how), pool(tokens, how))
    last = torch.randn(2, 4, 5, 3)  # as Swin has them: the norm's width tells
    assert torch.equal(as_tokens(last, nn.LayerNorm(3)), last.reshape(2, 20, 3))
    assert as_tokens(torch.zeros(2, 6, 9), nn.GroupNorm(2, 6)).shape == (2, 9, 6)
    assert as_tokens(torch.zeros(2, 6, 9), nn.Linear(1, 9)).shape == (2, 6, 9)


def test_half_types_are_pooled_in_float32():
    x = torch.full((1, 4096, 1), 300.0).to(torch.bfloat16)
    x[0, ::2] += 2
    assert pool(x).dtype == torch.float32
    assert pool(x).item() == pytest.approx(301)
    assert pool(x.to(torch.float16) * 200, "max").item() == pytest.approx(302 * 200, rel=1e-3)


def test_a_function_of_your_own():
    x = torch.randn(2, 5, 3, requires_grad=True)
    mask = torch.ones(2, 5, dtype=torch.bool)
    first = pool(x, lambda tokens, mask: tokens[:, 0], mask)
    assert torch.equal(first, x[:, 0])
    assert not first.requires_grad
    with pytest.raises(ValueError, match=r"must return \(2, 3\), got \(2, 5, 3\)"):
        pool(x, lambda tokens, mask: tokens)


def test_what_cannot_be_pooled_says_why():
    x = torch.zeros(2, 5, 3)
    with pytest.raises(ValueError, match="pool must be one of mean, last"):
        pool(x, "average")
    with pytest.raises(ValueError, match="row 1 has no token"):
        pool(x, "mean", torch.tensor([[True] * 5, [False] * 5]))
    with pytest.raises(ValueError, match=r"\(2, 5\) tokens, and the mask is \(2, 4\)"):
        pool(x, "mean", torch.ones(2, 4))
    with pytest.raises(ValueError, match="expert"):
        pool(torch.zeros(7, 3), "mean", torch.ones(2, 5))
    with pytest.raises(ValueError, match="rows and neurons"):
        pool(torch.zeros(7))
    assert pool(torch.ones(2, 3), "max").shape == (2, 3)


def test_collect_appends_the_rows_of_every_call_in_the_order_of_execution():
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    parts = torch.randn(3, 2, 6, 3)

    def run():
        for part in parts:
            net(part)

    found = collect(run, net, ["2", "0"], pool="max")
    assert list(found) == ["0", "2"]
    rows = parts.reshape(6, 6, 3)
    assert torch.allclose(found["0"], net[0](rows).amax(1))
    assert torch.allclose(found["2"], net(rows).amax(1))
    mask = torch.tensor([[True] + [False] * 5] * 2)
    assert torch.allclose(collect(run, net, ["0"], mask=mask)["0"], net[0](rows)[:, 0])
    assert hooks_on(net) == 0


def test_collect_leaves_no_hook_whatever_happens():
    net = nn.Sequential(nn.Linear(3, 4))
    with pytest.raises(ZeroDivisionError):
        collect(lambda: 1 / 0, net, ["0"])
    with pytest.raises(NoModuleMatched, match="0 gave nothing"):
        collect(lambda: None, net, ["0"])
    with pytest.raises(ValueError, match=r"0 gives NaN .* first for row 1"):
        collect(lambda: net(torch.tensor([[1.0] * 3, [torch.nan] * 3])), net, ["0"])
    with pytest.raises(ValueError, match="0: row 0 has no token"):
        collect(lambda: net(torch.ones(1, 2, 3)), net, ["0"], mask=torch.zeros(1, 2))
    assert hooks_on(net) == 0

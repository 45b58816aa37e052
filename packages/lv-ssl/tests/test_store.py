import contextlib
import json
import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lv_ssl import StochasticHead, load_head, save_head
from lv_ssl.heads import FAMILIES
from safetensors.torch import load, save


def head(family="bernoulli"):
    torch.manual_seed(0)
    made = StochasticHead(6, 16, family, relaxation=0.5)
    made(torch.randn(32, 6))  # statistics of its own
    return made.eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_comes_back_from_disk_as_it_was(tmp_path, family):
    kept = head(family)
    before = torch.get_rng_state()
    save_head(tmp_path / "head.safetensors", kept)
    again = load_head(tmp_path / "head.safetensors")
    assert torch.equal(before, torch.get_rng_state())
    assert again.options == kept.options
    assert not again.training
    x = torch.randn(5, 6)
    assert torch.equal(again(x).mean, kept(x).mean)
    assert torch.equal(again(x).kl(), kept(x).kl())
    assert os.listdir(tmp_path) == ["head.safetensors"]


def rewritten(path, change=None, tensors=None, metadata=None):
    """The file again with another header, other tensors or other metadata."""
    save_head(path, head())
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["lv-ssl"])
    header = header | (change or {})
    kept = load(data) | (tensors or {})
    told = {"lv-ssl": json.dumps(header)} if metadata is None else metadata
    path.write_bytes(save({k: v for k, v in kept.items() if v is not None}, metadata=told))


OPTIONS = head().options


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metadata": {}}, "it has no header"),
        ({"metadata": {"lv-ssl": "not JSON"}}, "it has no header"),
        ({"metadata": {"lv-ssl": "[1]"}}, "it has no header"),
        ({"change": {"format": "lv-ssl codes"}}, "format must be 'lv-ssl head'"),
        ({"change": {"version": 7}}, "version must be 1, got 7"),
        ({"change": {"options": [1]}}, "options must be an object"),
        ({"change": {"options": OPTIONS | {"dim": 17}}}, r"must be of \[17, 6\], got \(16, 6\)"),
        ({"change": {"options": OPTIONS | {"dim": 10**12}}}, "location.weight must be of"),
        ({"change": {"options": OPTIONS | {"family": "gauss"}}}, "family must be one of"),
        ({"change": {"options": OPTIONS | {"family": "normal"}}}, "Missing key"),
        ({"change": {"options": OPTIONS | {"more": 1}}}, "unexpected keyword argument 'more'"),
        ({"change": {"options": OPTIONS | {"prior": "half"}}}, "not supported between"),
        ({"tensors": {"location.weight": None}}, r"must be of \[16, 6\], got None"),
        ({"tensors": {"location.weight": torch.full((16, 6), torch.nan)}}, "not finite"),
        ({"tensors": {"normalise.running_var": torch.zeros(3)}}, "size mismatch"),
    ],
)
def test_a_file_that_lies_is_found_out(tmp_path, arguments, message):
    path = tmp_path / "head.safetensors"
    rewritten(path, **arguments)
    with pytest.raises(ValueError, match=message) as caught:
        load_head(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@given(seed=st.integers(0, 2**31), data=st.data())
def test_a_spoilt_file_is_a_value_error_or_still_a_head(tmp_path_factory, seed, data):
    path = tmp_path_factory.mktemp("spoilt") / "head.safetensors"
    save_head(path, head())
    raw = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        del raw[data.draw(st.integers(0, len(raw) - 1)) :]
    else:
        g = np.random.default_rng(seed)
        for _ in range(data.draw(st.integers(1, 8))):
            raw[g.integers(min(len(raw), 900))] = g.integers(256)
    path.write_bytes(raw)
    with contextlib.suppress(ValueError):
        assert isinstance(load_head(path), StochasticHead)

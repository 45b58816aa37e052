import math

import pytest
import torch
from duet.readout import read_cyclic, read_finite
from duet.targets import gaussian_target, von_mises_target
from hypothesis import given
from hypothesis import strategies as st


def apart(a, b):
    gap = (a - b).abs() % 1
    return torch.minimum(gap, 1 - gap)


@given(p=st.floats(0, 1))
def test_the_cyclic_readout_of_a_target_is_its_parameter(p):
    p = torch.tensor([p], dtype=torch.float64)
    assert 360 * float(apart(read_cyclic(von_mises_target(p, 8, 3.0)), p)) <= 0.01


@pytest.mark.parametrize(("bins", "degrees"), [(4, 4.91), (6, 0.28), (8, 0.0096), (16, 4e-10)])
def test_the_documented_error_of_few_bins_holds_and_is_reached(bins, degrees):
    p = torch.arange(20_000, dtype=torch.float64) / 20_000
    error = 360 * apart(read_cyclic(von_mises_target(p, bins, 3.0)), p).max()
    assert 0.7 * degrees <= float(error) <= degrees


@given(p=st.floats(0, 1), k=st.integers(0, 7))
def test_rolling_the_marginal_moves_the_cyclic_readout(p, k):
    marginal = von_mises_target(torch.tensor([p], dtype=torch.float64), 8, 3.0)
    moved = read_cyclic(marginal.roll(k, -1))
    assert float(apart(moved, read_cyclic(marginal) + k / 8)) <= 1e-12


@given(logits=st.lists(st.floats(-20, 20), min_size=1, max_size=12))
def test_a_cyclic_readout_is_in_0_to_1(logits):
    for dtype in (torch.float32, torch.float64):
        p = read_cyclic(torch.tensor([logits], dtype=dtype).softmax(-1))
        assert p.dtype == dtype
        assert bool(((p >= 0) & (p < 1)).all())


@given(p=st.floats(0, 1), sigma=st.floats(0.1, 0.5), bins=st.integers(4, 16))
def test_the_finite_readout_of_a_target_is_its_parameter(p, sigma, bins):
    p = torch.tensor([p], dtype=torch.float64)
    assert float((read_finite(gaussian_target(p, bins, sigma), sigma) - p).abs()) <= 1e-6


def test_the_finite_readout_is_right_in_float32_up_to_both_ends():
    p = torch.linspace(0, 1, 2001)
    error = (read_finite(gaussian_target(p, 8, 0.2), 0.2) - p).abs()
    assert float(error.max()) <= 1e-3


def test_the_plain_mean_would_fail():
    p = torch.tensor([0.0, 0.1, 0.25, 0.5, 0.75, 1.0], dtype=torch.float64)
    mean = gaussian_target(p, 8, 0.2) @ ((torch.arange(8, dtype=torch.float64) + 0.5) / 8)
    want = [0.165, 0.205, 0.292, 0.5, 0.708, 0.835]
    assert mean.tolist() == pytest.approx(want, abs=1e-3)


def test_beyond_every_target_the_finite_readout_is_an_end():
    ends = torch.eye(8)[[0, 7]]
    assert read_finite(ends, 0.2).tolist() == pytest.approx([0, 1], abs=1e-6)


def test_where_a_whole_bin_has_one_mean_the_finite_readout_is_its_middle():
    p = torch.tensor([0.02, 0.0625, 0.1], dtype=torch.float64)
    read = read_finite(gaussian_target(p, 8, 1e-3), 1e-3)
    assert read.tolist() == pytest.approx([0.0625] * 3, abs=0.01)


def test_one_bin_reads_the_middle():
    assert float(read_finite(torch.ones(1), 0.2)) == pytest.approx(0.5)
    assert float(read_cyclic(torch.ones(1))) == pytest.approx(0.5)


def test_readouts_keep_leading_shapes():
    probs = torch.rand(2, 3, 8).softmax(-1)
    for read in (read_cyclic(probs), read_finite(probs, 0.2)):
        assert read.shape == (2, 3)
    assert read_finite(probs.transpose(0, 1), 0.2).shape == (3, 2)


def test_half_precision_is_widened():
    probs = torch.full((1, 8), 0.125, dtype=torch.bfloat16)
    assert read_finite(probs, 0.2).dtype == torch.float32
    assert read_cyclic(probs).dtype == torch.float32


def test_bad_arguments_are_told_what_came():
    with pytest.raises(TypeError, match=r"probs\.float\(\)"):
        read_cyclic(torch.ones(1, 8, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"sigma.*got -1"):
        read_finite(torch.ones(1, 8), -1.0)


def test_a_table_made_under_inference_mode_serves_training():
    with torch.inference_mode():
        read_finite(torch.ones(8) / 8, 0.321)
    probs = torch.rand(8, requires_grad=True)
    read_finite(probs.softmax(-1), 0.321).backward()
    assert math.isfinite(float(probs.grad.abs().sum()))
    assert float(probs.grad.abs().sum()) > 0

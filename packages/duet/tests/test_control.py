import math

import pytest
import torch
from duet.control import set_parameter, shift
from duet.factors import hflip, rotation, scale
from duet.layer import DuetMatrix, group_logits
from hypothesis import given
from hypothesis import strategies as st

seeds = st.integers(0, 2**31)
amounts = st.floats(-2, 2)


def matrix(batch, bins, channels=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(batch, bins, channels, generator=g, dtype=torch.float64)


def close(a, b, tolerance=1e-12):
    torch.testing.assert_close(a, b, atol=tolerance, rtol=0)


def looped_shift(z, bins):
    """The trigonometric polynomial through the bins, read elsewhere, term by term."""
    size = len(z)
    out = torch.zeros_like(z)
    for i in range(size):
        for j in range(size):
            at = 2 * math.pi * (i - j - bins) / size
            kernel = 1.0 + 2 * sum(math.cos(n * at) for n in range(1, (size - 1) // 2 + 1))
            if size % 2 == 0:
                kernel += math.cos(math.pi * (i - j)) * math.cos(math.pi * bins)
            out[i] += kernel / size * z[j]
    return out


@given(bins=st.integers(1, 10), k=st.integers(-30, 30), seed=seeds)
def test_whole_bins_are_a_roll_bit_for_bit(bins, k, seed):
    z = matrix(2, bins, seed=seed)
    assert shift(z, rotation(bins=bins), k / bins).equal(z.roll(k, 1))


@given(bins=st.integers(1, 9), amount=amounts, seed=seeds)
def test_between_bins_it_is_the_trigonometric_polynomial(bins, amount, seed):
    z = matrix(1, bins, seed=seed)
    close(shift(z, rotation(bins=bins), amount)[0], looped_shift(z[0], amount * bins), 2e-5)
    if abs(amount * bins - round(amount * bins)) > 1e-6:
        close(shift(z, rotation(bins=bins), amount)[0], looped_shift(z[0], amount * bins), 1e-10)


@given(a=amounts, b=amounts, half=st.integers(0, 4), seed=seeds)
def test_shifts_add_up_where_the_number_of_bins_is_odd(a, b, half, seed):
    turn = rotation(bins=2 * half + 1)
    z = matrix(2, turn.bins, seed=seed)
    close(shift(shift(z, turn, a), turn, b), shift(z, turn, a + b), 1e-5)


@given(a=amounts, b=amounts, half=st.integers(1, 5), seed=seeds)
def test_shifts_add_up_but_for_nyquist_where_it_is_even(a, b, half, seed):
    turn = rotation(bins=2 * half)
    z = matrix(2, turn.bins, seed=seed)
    sign = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(half).view(1, -1, 1)
    band = z - (z * sign).mean(1, keepdim=True) * sign  # without the harmonic of Nyquist
    close(shift(shift(band, turn, a), turn, b), shift(band, turn, a + b), 1e-5)


def test_half_a_bin_erases_nyquist():
    sign = torch.tensor([1.0, -1.0]).repeat(4).view(1, 8, 1)
    assert float(shift(sign, rotation(), 1 / 16).abs().max()) <= 1e-6
    assert shift(sign, rotation(), 1 / 8).equal(-sign)


@given(bins=st.integers(1, 9), amount=amounts, seed=seeds)
def test_the_content_stays_and_the_norm_does_not_grow(bins, amount, seed):
    z = matrix(2, bins, seed=seed)
    moved = shift(z, rotation(bins=bins), amount)
    close(moved.sum(1), z.sum(1), 1e-10)
    assert bool((moved.norm(dim=1) <= z.norm(dim=1) + 1e-10).all())
    close(shift(z, rotation(bins=bins), 1.0), z)


@given(amount=amounts)
def test_the_logarithm_of_a_target_is_read_where_it_was_moved_to(amount):
    turn = rotation(bins=16, kappa=1.0)
    p = torch.tensor([0.3], dtype=torch.float64)
    z = turn.target(p).log().unsqueeze(2).expand(1, 16, 4)
    moved = turn.readout(group_logits(shift(z, turn, amount)).softmax(1))
    assert 360 * float(turn.distance(moved, p + amount)) <= 0.02


@given(k=st.integers(-3, 3), amount=amounts, seed=seeds)
def test_each_sample_may_have_its_own_amount(k, amount, seed):
    z = matrix(3, 8, seed=seed)
    each = torch.tensor([k / 8, amount, 0.0], dtype=torch.float64)
    moved = shift(z, rotation(), each)
    for row, own in enumerate(each.tolist()):
        close(moved[row : row + 1], shift(z[row : row + 1], rotation(), own))
    assert moved[2].equal(z[2])


def test_a_positive_shift_moves_the_parameter_up():
    turn = rotation()
    z = turn.target(torch.tensor([0.2])).log().unsqueeze(2)
    assert float(turn.readout(shift(z, turn, 0.25).mean(2).softmax(1))) == pytest.approx(
        0.45, abs=1e-3
    )


def test_the_dtype_stays_and_gradients_flow():
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        assert shift(matrix(2, 8).to(dtype), rotation(), 0.03).dtype == dtype
        assert set_parameter(matrix(2, 8).to(dtype), scale(), 0.3).dtype == dtype
    z = matrix(2, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: shift(z, rotation(bins=6), 0.13), z)
    assert torch.autograd.gradcheck(lambda z: set_parameter(z, rotation(bins=6), 0.13), z)


@given(p=st.floats(0, 1), pool=st.sampled_from(["mean", "sum"]), seed=seeds,
       factor=st.sampled_from([scale(), hflip(), rotation()]))  # fmt: skip
def test_a_set_parameter_is_the_marginal_and_the_content_stays(p, pool, factor, seed):
    z = matrix(2, factor.bins, seed=seed)
    moved = set_parameter(z, factor, p, pool)
    layer = DuetMatrix(3 * factor.bins, [factor], pool)
    before, after = layer(z.flatten(1)), layer(moved.flatten(1))
    target = factor.target(torch.full((2,), p, dtype=torch.float64))
    close(after.marginals[factor.name], target, 1e-9)
    close(after.content, before.content, 1e-10)
    residual = z - z.mean(2, keepdim=True)
    close(moved - moved.mean(2, keepdim=True), residual, 1e-10)


def test_each_sample_may_have_its_own_parameter():
    z, p = matrix(3, 8), torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    moved = set_parameter(z, scale(), p)
    read = scale().readout(group_logits(moved).softmax(1))
    assert read.tolist() == pytest.approx(p.tolist(), abs=1e-5)


def test_setting_a_parameter_twice_is_setting_it_once():
    z = matrix(2, 8)
    once = set_parameter(z, scale(), 0.3)
    close(set_parameter(set_parameter(z, scale(), 0.8), scale(), 0.3), once, 1e-10)


def test_bad_arguments_are_told_what_came_and_what_would_do():
    z = matrix(2, 8)
    with pytest.raises(ValueError, match=r"scale has a finite range.*use set_parameter"):
        shift(z, scale(), 0.1)
    with pytest.raises(ValueError, match=r"\(B, 8, C\), got \(2, 4, 3\)"):
        shift(matrix(2, 4), rotation(), 0.1)
    with pytest.raises(ValueError, match=r"\(2,\), got shape \(3,\)"):
        shift(z, rotation(), torch.zeros(3))
    with pytest.raises(ValueError, match="amount must be finite"):
        shift(z, rotation(), math.nan)
    with pytest.raises(ValueError, match=r"\(2,\), got shape \(3,\)"):
        set_parameter(z, scale(), torch.zeros(3))
    with pytest.raises(ValueError, match=r"in \[0, 1\].*got 1\.5"):
        set_parameter(z, scale(), 1.5)
    with pytest.raises(ValueError, match="pool must be"):
        set_parameter(z, scale(), 0.5, "max")

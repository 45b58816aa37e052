import pytest
import torch
from duet.factors import hflip, rotation, scale
from duet.layer import DuetMatrix, group_logits
from hypothesis import given
from hypothesis import strategies as st

seeds = st.integers(0, 2**31)


def normal(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64)


@given(bins=st.integers(1, 9), channels=st.integers(1, 6), pool=st.sampled_from(["mean", "sum"]),
       seed=seeds)  # fmt: skip
def test_marginals_and_content_are_the_loops_of_the_definition(bins, channels, pool, seed):
    z = normal(3, bins * channels, seed=seed)
    out = DuetMatrix(bins * channels, [rotation(bins=bins)], pool)(z)
    for b in range(3):
        for c in range(channels):
            total = sum(float(z[b, g * channels + c]) for g in range(bins))
            assert float(out.content[b, c]) == pytest.approx(total, abs=1e-12)
        for g in range(bins):
            entries = [float(z[b, g * channels + c]) for c in range(channels)]
            want = sum(entries) / (channels if pool == "mean" else 1)
            assert float(out.logits[0][b, g]) == pytest.approx(want, abs=1e-12)
    marginal = out.marginals["rotation"]
    torch.testing.assert_close(marginal, out.logits[0].exp() / out.logits[0].exp().sum(1, True))


@given(k=st.integers(-9, 9), seed=seeds)
def test_rolling_the_matrix_rolls_the_marginal_and_leaves_the_content(k, seed):
    matrix, layer = normal(2, 8, 5, seed=seed), DuetMatrix(40, [rotation()])
    before, after = layer(matrix.flatten(1)), layer(matrix.roll(k, 1).flatten(1))
    rolled = before.marginals["rotation"].roll(k, 1)
    torch.testing.assert_close(after.marginals["rotation"], rolled, atol=1e-12, rtol=0)
    torch.testing.assert_close(after.content, before.content, atol=1e-12, rtol=0)


@given(order=st.permutations(range(5)), seed=seeds)
def test_permuting_the_content_permutes_it_and_leaves_the_marginal(order, seed):
    matrix, layer = normal(2, 8, 5, seed=seed), DuetMatrix(40, [rotation()])
    before, after = layer(matrix.flatten(1)), layer(matrix[:, :, order].flatten(1))
    torch.testing.assert_close(after.logits[0], before.logits[0], atol=1e-12, rtol=0)
    torch.testing.assert_close(after.content, before.content[:, order], atol=1e-12, rtol=0)


def test_with_one_bin_the_content_is_the_features_bit_for_bit():
    z = normal(4, 7).float()
    out = DuetMatrix(7, [rotation(bins=1)])(z)
    assert out.content.equal(z)
    assert out.marginals["rotation"].equal(torch.ones(4, 1))


def test_two_factors_have_equal_parts_in_their_order():
    layer, z = DuetMatrix(32, [rotation(bins=8), hflip()]), normal(3, 32)
    out = layer(z)
    assert [tuple(m.shape) for m in out.matrix] == [(3, 8, 2), (3, 2, 8)]
    assert out.content.shape == (3, 10)
    assert layer.content_features == 10
    single = DuetMatrix(16, [rotation(bins=8)])(z[:, :16])
    assert out.logits[0].equal(single.logits[0])
    assert out.content[:, :2].equal(single.content)
    assert layer.join(layer.split(z)).equal(z)


def test_parts_may_be_given():
    layer = DuetMatrix(40, [rotation(bins=8), hflip()], split=[32, 8])
    assert [tuple(m.shape) for m in layer(normal(2, 40)).matrix] == [(2, 8, 4), (2, 2, 4)]


def test_it_has_no_weights_and_no_state():
    layer = DuetMatrix(32, [rotation()])
    assert not list(layer.parameters())
    assert not layer.state_dict()


def test_half_precision_gives_float32_logits_and_content_as_it_came():
    z = normal(2, 16).bfloat16()
    out = DuetMatrix(16, [rotation()])(z)
    assert out.logits[0].dtype == torch.float32
    assert out.content.dtype == torch.bfloat16
    want = group_logits(z.float().view(2, 8, 2))
    torch.testing.assert_close(out.logits[0], want)


def test_what_it_reads_is_said_in_the_units_of_the_factors():
    turn, size = rotation(), scale()
    z = torch.cat([turn.target(torch.tensor([0.75])), size.target(torch.tensor([1.0]))], 1).log()
    out = DuetMatrix(16, [turn, size])(z)
    assert float(out.readout()["rotation"]) == pytest.approx(0.75, abs=1e-4)
    assert out.to_table()["rotation"] == pytest.approx([90], abs=0.02)
    assert out.to_table()["scale"] == pytest.approx([0.2], abs=1e-3)
    assert str(out) == "1 representations: rotation 8x1, scale 8x1 (group x content)"
    assert "rotation: 8 bins" in str(DuetMatrix(16, [turn]))


def test_bad_arguments_are_told_what_came_and_what_would_do():
    with pytest.raises(ValueError, match=r"rotation \(500\).*\(8\): use 496 or 504"):
        DuetMatrix(500, [rotation(bins=8)])
    with pytest.raises(ValueError, match=r"\(4\).*\(8\): use 8"):
        DuetMatrix(4, [rotation(bins=8)])
    with pytest.raises(ValueError, match=r"features \(33\).*\(2\)"):
        DuetMatrix(33, [rotation(), hflip()])
    with pytest.raises(ValueError, match=r"2 numbers of sum 32, got \[32\]"):
        DuetMatrix(32, [rotation(), hflip()], split=[32])
    with pytest.raises(ValueError, match="pool must be 'mean' or 'sum', got 'max'"):
        DuetMatrix(32, [rotation()], "max")
    with pytest.raises(ValueError, match=r"different names, got \['rotation', 'rotation'\]"):
        DuetMatrix(32, [rotation(), rotation()])
    with pytest.raises(ValueError, match=r"different names, got \[\]"):
        DuetMatrix(32, [])
    with pytest.raises(TypeError, match="Factor objects, got str"):
        DuetMatrix(32, ["rotation"])
    with pytest.raises(ValueError, match=r"\(B, 32\), got \(2, 16\)"):
        DuetMatrix(32, [rotation()])(normal(2, 16))
    with pytest.raises(TypeError, match=r"z\.float"):
        DuetMatrix(32, [rotation()])(torch.ones(2, 32, dtype=torch.int64))

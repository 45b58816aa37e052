import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lv_ssl import CompressionReport, rate_accuracy_curve
from lv_ssl.compression import bit_entropy


def test_the_abstracts_588_is_against_the_image_and_32_against_float_features():
    report = CompressionReport((224, 224, 3), 8, 2048)
    assert report.ratio == 588.0
    assert report.feature_ratio == 32.0
    assert "588 times less than the image, 32 times less than 2048 float32" in str(report)
    assert report.to_table() == {
        "against": ["image", "2048 float32 features"],
        "ratio": [588.0, 32.0],
    }
    small = CompressionReport((28, 28), 8, 256, feature_dim=128)
    assert (small.ratio, small.feature_ratio) == (24.5, 16.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((), 8, 1), "image_shape must name"),
        (((3, 0), 8, 1), "image_shape must be positive"),
        (((3,), 0, 1), "bits_per_channel must be positive"),
        (((3,), 8, 0), "code_bits must be positive"),
        (((3,), 8, 1, 0), "feature_dim must be positive"),
    ],
)
def test_says_which_number_is_none(arguments, message):
    with pytest.raises(ValueError, match=message):
        CompressionReport(*arguments)


@given(seed=st.integers(0, 2**31), units=st.integers(9, 70))
def test_units_of_highest_rate_are_kept_first(seed, units):
    g = np.random.default_rng(seed)
    bits, rate = g.integers(0, 2, (30, units)), g.random(units)
    seen = []

    def accuracy(kept):
        seen.append(set(kept.tolist()))
        return len(kept) / units

    curve = rate_accuracy_curve(bits, rate, accuracy)
    ranked = sorted(range(units), key=lambda u: -rate[u])
    assert curve.units[-1] == units
    for n, kept, ideal in zip(curve.units, seen, curve.coded_bits, strict=True):
        assert kept == set(ranked[:n])
        want = sum(float(bit_entropy(bits[:, u].mean())) for u in ranked[:n])
        assert ideal == pytest.approx(want)
        assert ideal <= n + 1e-9
    assert curve.falls() == 0


def test_a_fall_is_the_largest_from_fewer_bits_to_more():
    values = iter([0.5, 0.7, 0.65, 0.6, 0.9])
    curve = rate_accuracy_curve(
        np.zeros((2, 5)), np.ones(5), lambda kept: next(values), keep=[1, 2, 3, 4, 5]
    )
    assert curve.falls() == pytest.approx(0.1)
    assert str(curve).count("\n") == 5
    assert set(curve.to_table()) == {"units", "bits", "coded_bits", "accuracy"}


def test_says_which_shapes_and_numbers_came():
    bits, one = np.zeros((2, 5)), lambda kept: 1.0
    with pytest.raises(ValueError, match=r"got \(2, 5\) and \(4,\)"):
        rate_accuracy_curve(bits, np.ones(4), one)
    for keep in ([], [0], [6], [3, 2], [2, 2]):
        with pytest.raises(ValueError, match="keep must be ascending in 1 to 5"):
            rate_accuracy_curve(bits, np.ones(5), one, keep=keep)

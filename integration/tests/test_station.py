import math

import numpy as np
import pytest
from tenfold.station import Images, Series, StationResult


def test_a_series_takes_lists_arrays_and_a_band():
    Series("s", [0, 1], np.array([1.0, math.nan]), [0, 1], np.float32([2, 3]))


@pytest.mark.parametrize(
    ("parts", "lengths"),
    [
        (([0, 1], [1.0]), "x 2, y 1, low 0, high 0"),
        (([0, 1], [1.0, 2.0], [0.0]), "x 2, y 2, low 1, high 0"),
        (([0, 1], [1.0, 2.0], [0.0, 0.0]), "x 2, y 2, low 2, high 0"),
        (([0, 1], [1.0, 2.0], [0.0], [3.0]), "x 2, y 2, low 1, high 1"),
    ],
)
def test_a_series_of_uneven_parts_says_their_lengths(parts, lengths):
    with pytest.raises(ValueError, match=lengths):
        Series("s", *parts)


def test_a_series_of_texts_is_refused():
    with pytest.raises(TypeError, match="numbers in y, got str"):
        Series("s", [0], ["1"])


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 3, 3), np.float32),
        np.zeros((2, 3), np.uint8),
        np.zeros((2, 3, 3, 4), np.uint8),
    ],
)
def test_images_of_another_shape_or_type_say_what_came(images):
    with pytest.raises(ValueError, match=r"uint8 of shape \(N, H, W\).*got (uint8|float32) of"):
        Images("i", images, ["a", "b"])


def test_every_image_has_its_caption():
    with pytest.raises(ValueError, match="got 1 for 2"):
        Images("i", np.zeros((2, 3, 3), np.uint8), ["a"])


def test_a_verdict_of_ones_own_is_refused():
    with pytest.raises(ValueError, match=r"'partly'.*got 'great'"):
        StationResult("great", "h")
    with pytest.raises(ValueError, match="headline"):
        StationResult("partly", " ")


def test_a_table_of_uneven_columns_is_refused():
    with pytest.raises(ValueError, match=r"'t' must have .* \{'a': 1, 'b': 2\}"):
        StationResult("partly", "h", {"t": {"a": [1], "b": [1, 2]}})


def test_a_cell_that_is_an_array_must_be_an_image():
    StationResult("partly", "h", {"t": {"a": [np.zeros((2, 2, 3), np.uint8)]}})
    with pytest.raises(ValueError, match=r"column 'a' of 't' must be uint8.*got int64 of \(3,\)"):
        StationResult("partly", "h", {"t": {"a": [np.arange(3)]}})

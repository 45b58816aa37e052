import numpy as np
import pytest
from tenfold.data.photos import PHOTOS, photo, photo_crops


def test_five_photographs_in_colour_of_at_most_400_pixels():
    for name in PHOTOS:
        image = photo(name)
        assert image.dtype == np.uint8
        assert image.shape[0] == 3
        assert max(image.shape) == 400
        assert np.ptp(image.reshape(3, -1), axis=1).min() > 100  # no channel is flat
    with pytest.raises(ValueError, match=r"one of astronaut, .*, got 'lena'"):
        photo("lena")


def test_every_crop_is_in_its_photograph_and_no_pixel_is_in_both_parts():
    split = photo_crops(5, 5, size=24)
    assert split.train.shape == (5, 3, 24, 24)
    assert np.bincount(split.train_labels).tolist() == [1] * 5
    assert np.bincount(split.test_labels).tolist() == [1] * 5
    for images, labels, right in (
        (split.train, split.train_labels, False),
        (split.test, split.test_labels, True),
    ):
        for crop, label in zip(images, labels, strict=True):
            whole = photo(PHOTOS[label])
            cut = 2 * whole.shape[2] // 3
            part = whole[:, :, cut:] if right else whole[:, :, :cut]
            windows = np.lib.stride_tricks.sliding_window_view(part, (3, 24, 24))[0]
            assert (windows == crop).all(axis=(2, 3, 4)).any()


def test_crops_come_from_their_seed_and_are_refused_where_they_do_not_fit():
    first, again, other = (photo_crops(10, 5, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.train, again.train)
    assert not np.array_equal(first.train, other.train)
    with pytest.raises(ValueError, match=r"size must be 1 to 133.*got size 134"):
        photo_crops(10, 5, size=134)
    with pytest.raises(ValueError, match="train 0"):
        photo_crops(0)

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lv_ssl import blur, crop, with_factors
from scipy import ndimage


def drawn(seed=0, n=3, size=12):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 2, size, size), generator=g, dtype=torch.uint8)


@given(sigma=st.floats(0.3, 3.0), seed=st.integers(0, 2**31))
def test_blur_is_scipys(sigma, seed):
    images = drawn(seed).double()
    want = ndimage.gaussian_filter(
        images.numpy(),
        (0, 0, sigma, sigma),
        mode="nearest",
        radius=(0, 0, *2 * [math.ceil(3 * sigma)]),
    )
    assert np.allclose(blur(images, sigma).numpy(), want, atol=1e-3)


def test_blur_keeps_the_dtype_and_levels_out(seeded):
    images = drawn()
    spreads = [float(blur(images, s).double().std()) for s in (0, 0.5, 1, 2, 4)]
    assert spreads == sorted(spreads, reverse=True)
    assert blur(images, 1).dtype == torch.uint8
    assert torch.equal(blur(images, 0), images)
    assert float(blur(images, 1).double().mean()) == pytest.approx(
        float(images.double().mean()), abs=2
    )


def test_a_crop_of_a_quarter_is_the_middle_twice_as_large():
    x = torch.arange(12.0).expand(1, 1, 12, 12)
    got = crop(x, 0.25)
    assert torch.allclose(got, torch.linspace(2.75, 8.25, 12).expand(1, 1, 12, 12), atol=1e-5)
    assert torch.equal(crop(x, 1), x)


def test_places_of_crops_are_drawn_one_an_image_and_stay_inside(seeded):
    x = torch.arange(12.0).expand(200, 1, 12, 12)
    got = crop(x, 0.25, generator=seeded())
    assert torch.equal(got, crop(x, 0.25, generator=seeded()))
    middle = got.mean((1, 2, 3))
    assert middle.std() > 1
    assert middle.min() > 2
    assert middle.max() < 9
    assert got.min() >= 0
    assert got.max() <= 11


def test_factors_are_what_was_done(seeded):
    # a bright bar to the right of the middle: its angle and distance are measured
    image = torch.zeros(1, 1, 65, 65)
    image[:, :, 30:35, 48:52] = 100
    made = with_factors(image.expand(40, 1, 65, 65), generator=seeded(), degrees=40)
    axis = torch.arange(65.0) - 32
    mass = made.images.sum((1, 2, 3))
    across = (made.images * axis).sum((1, 2, 3)) / mass
    up = -(made.images * axis[:, None]).sum((1, 2, 3)) / mass
    torch.testing.assert_close(torch.atan2(up, across), made.angle, rtol=0, atol=0.02)
    distance = torch.hypot(across, up)
    torch.testing.assert_close(distance / 17.5, made.scale, rtol=0.03, atol=0)
    light = mass / made.scale**2 / 2000
    torch.testing.assert_close(light, made.brightness, rtol=0.05, atol=0)
    assert made.angle.abs().max() <= math.radians(40)
    assert len(made.to_table()["angle"]) == 40
    assert 1 < made.scale.max() < 1.4 < made.brightness.max() < 1.5  # their own ranges


def test_factors_keep_bytes(seeded):
    made = with_factors(drawn(), generator=seeded())
    assert made.images.dtype == torch.uint8
    assert not torch.equal(made.images, drawn())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: blur(torch.zeros(3, 4), 1), r"\(N, C, H, W\).*got \(3, 4\)"),
        (lambda g: blur(drawn().long(), 1), "int64"),
        (lambda g: blur(drawn(), -1), "sigma must be at least 0"),
        (lambda g: crop(drawn(), 0), r"share must be in \(0, 1\], got 0"),
        (lambda g: with_factors(drawn(), generator=g, zoom=0.5), "zoom must be at least 1"),
        (lambda g: with_factors(drawn(), generator=g, degrees=-1), "degrees must be at least 0"),
    ],
)
def test_says_what_came_and_what_would_do(call, message, seeded):
    with pytest.raises(ValueError, match=message):
        call(seeded())

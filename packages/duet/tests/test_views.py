import math
from dataclasses import replace

import pytest
import torch
from duet.factors import (
    Factor,
    brightness,
    contrast,
    hflip,
    hue,
    rotation,
    rotation4,
    saturation,
    scale,
    vflip,
)
from duet.views import ParamView, View, disc, transform
from hypothesis import given
from hypothesis import strategies as st

ALL = [scale(), hflip(), vflip(), rotation(), brightness(), contrast(), saturation(), hue()]
seeds = st.integers(0, 2**31)


def images(batch=4, channels=3, height=12, width=12, seed=0, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    return torch.rand(batch, channels, height, width, generator=g, dtype=dtype)


def waves(x, y):
    """A picture without edges, by offsets from the centre in units of half the frame."""
    return 0.5 + 0.2 * torch.sin(2.1 * x + 0.4) + 0.2 * torch.cos(1.7 * y - 0.9 * x)


def picture(size=96):
    at = (torch.arange(size, dtype=torch.float64) + 0.5) / size * 2 - 1
    return waves(at.view(1, -1), at.view(-1, 1)).view(1, 1, size, size)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@given(seed=seeds, mask=st.booleans(), size=st.sampled_from([None, 8, (7, 9)]))
def test_replaying_the_parameters_gives_the_view_bit_for_bit(seed, mask, size):
    view = ParamView(ALL, size=size, ratio=(0.7, 1.5), mask=mask)
    x = images(seed=seed)
    drawn = view(x, seeded(seed))
    assert isinstance(drawn, View)
    assert view.apply(x, drawn.params).equal(drawn.image)
    shuffled = dict(reversed(drawn.params.items()))
    assert view.apply(x, shuffled).equal(drawn.image)


@given(seed=seeds)
def test_the_seed_decides_and_the_global_generator_is_left_alone(seed):
    view, x = ParamView(ALL), images()
    before = torch.get_rng_state()
    first, second = view(x, seeded(seed)), view(x, seeded(seed))
    other = view(x, seeded(seed + 1))
    assert torch.get_rng_state().equal(before)
    assert first.image.equal(second.image)
    for name, p in first.params.items():
        assert p.equal(second.params[name])
    assert not first.params["rotation"].equal(other.params["rotation"])


def test_every_sample_has_its_own_draw():
    drawn = ParamView(ALL, ratio=(0.7, 1.5))(images(64), seeded(0))
    for name, p in drawn.params.items():
        assert p.shape == (64,)
        assert len(p.unique()) == (2 if "flip" in name else 64)
    assert set(drawn.params) == {f.name for f in ALL} | {"crop_x", "crop_y", "crop_ratio"}
    assert {len(column) for column in drawn.to_table().values()} == {64}
    assert str(drawn).startswith("view (64, 3, 12, 12) by scale, hflip")


def test_a_sample_is_viewed_alike_alone_and_in_a_batch():
    view, x = ParamView(ALL), images(5)
    drawn = view(x, seeded(0))
    alone = view.apply(x[3:4], {name: p[3:4] for name, p in drawn.params.items()})
    torch.testing.assert_close(alone, drawn.image[3:4], atol=1e-6, rtol=0)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_rotating_is_counterclockwise_as_displayed(turns):
    x = images(height=11, width=11)
    want = x.rot90(turns, (2, 3))
    p = (turns * 90 / 360 + 0.5) % 1
    turned = transform(x, rotation(), p)
    torch.testing.assert_close(turned, want, atol=1e-5, rtol=0)
    assert transform(x, rotation4(), turns / 4 + 0.125).equal(want)
    wrong = transform(x, rotation(), (0.5 - turns * 90 / 360) % 1)
    assert turns == 2 or float((wrong - want).abs().max()) > 0.1


def test_a_spot_at_the_right_goes_up():
    x = torch.zeros(1, 1, 9, 9)
    x[0, 0, 4, 7] = 1
    turned = transform(x, rotation(), 0.75)  # 90 degrees
    assert turned[0, 0].argmax() == 1 * 9 + 4


@given(degrees=st.floats(-180, 180))
def test_any_angle_is_the_picture_read_elsewhere(degrees):
    size, angle = 96, math.radians(degrees)
    at = (torch.arange(size, dtype=torch.float64) + 0.5) / size * 2 - 1
    x, y = at.view(1, -1), at.view(-1, 1)
    # counterclockwise on a screen whose y points down
    before_x = math.cos(angle) * x - math.sin(angle) * y
    before_y = math.sin(angle) * x + math.cos(angle) * y
    want = waves(before_x, before_y)
    got = transform(picture(size), rotation(), degrees / 360 + 0.5)[0, 0]
    inside = at.view(1, -1).square() + at.view(-1, 1).square() < 0.9
    assert float((got - want)[inside].abs().max()) < 2e-3


@given(degrees=st.floats(-180, 180))
def test_a_frame_that_is_not_square_does_not_shear_what_turns(degrees):
    height, width, angle = 64, 96, math.radians(degrees)
    y = (torch.arange(height, dtype=torch.float64).view(-1, 1) - (height - 1) / 2) / 32
    x = (torch.arange(width, dtype=torch.float64).view(1, -1) - (width - 1) / 2) / 32
    before_x = math.cos(angle) * x - math.sin(angle) * y
    before_y = math.sin(angle) * x + math.cos(angle) * y
    got = transform(waves(x, y).view(1, 1, height, width), rotation(), degrees / 360 + 0.5)[0, 0]
    inside = (before_x.abs() < 1.4) & (before_y.abs() < 0.9)
    assert float((got - waves(before_x, before_y))[inside].abs().max()) < 3e-3


@given(a=st.integers(0, 1), b=st.integers(0, 1), q=st.integers(0, 3), seed=seeds)
def test_flips_and_quarter_turns_are_pixels_exactly(a, b, q, seed):
    x = images(seed=seed)
    p = {"hflip": a / 2 + 0.25, "vflip": b / 2 + 0.25, "rotation4": q / 4 + 0.125}
    view = ParamView([rotation4(), hflip(), vflip()])  # whatever order: the turn acts last
    got = view.apply(x, {name: torch.full((4,), value) for name, value in p.items()})
    want = x.flip(3) if a else x
    want = want.flip(2) if b else want
    assert got.equal(want.rot90(q, (2, 3)))


@pytest.mark.parametrize(("height", "width"), [(5, 8), (8, 5), (1, 3)])
def test_flips_are_exact_on_any_frame(height, width):
    x = images(height=height, width=width)
    assert transform(x, hflip(), 0.75).equal(x.flip(3))
    assert transform(x, vflip(), 0.75).equal(x.flip(2))
    assert transform(x, rotation4(), 0.625).allclose(x.flip(2, 3), atol=1e-5)


@given(
    area=st.floats(0.2, 1), px=st.floats(0, 1), py=st.floats(0, 1), ratio=st.floats(0.5, 2),
    degrees=st.floats(-180, 180), flip=st.booleans(),
)  # fmt: skip
def test_crop_flip_and_rotation_at_once_are_the_picture_read_elsewhere(
    area, px, py, ratio, degrees, flip
):
    size, angle = 96, math.radians(degrees)
    at = (torch.arange(size, dtype=torch.float64) + 0.5) / size * 2 - 1
    x, y = at.view(1, -1), at.view(-1, 1)
    x, y = math.cos(angle) * x - math.sin(angle) * y, math.sin(angle) * x + math.cos(angle) * y
    x = -x if flip else x
    stretch = math.sqrt(min(max(ratio, area), 1 / area))
    wide, high = math.sqrt(area) * stretch, math.sqrt(area) / stretch
    x = wide * x + (2 * px - 1) * (1 - wide)
    y = high * y + (2 * py - 1) * (1 - high)
    want = waves(x, y)
    view = ParamView([rotation(), scale(), hflip()])
    params = {"rotation": degrees / 360 + 0.5, "scale": (1 - area) / 0.8,
              "hflip": 0.75 if flip else 0.25, "crop_x": px, "crop_y": py,
              "crop_ratio": ratio}  # fmt: skip
    params = {k: torch.tensor([v], dtype=torch.float64) for k, v in params.items()}
    got = view.apply(picture(size), params)[0, 0]
    inside = (x.abs() < 0.98) & (y.abs() < 0.98)
    assert float((got - want)[inside].abs().max()) < 2e-3


def test_a_full_crop_is_the_image_whatever_its_place_and_shape():
    x = images()
    params = {"scale": torch.zeros(4), "crop_x": torch.rand(4), "crop_y": torch.rand(4),
              "crop_ratio": torch.full((4,), 1.3)}  # fmt: skip
    torch.testing.assert_close(ParamView([scale()]).apply(x, params), x, atol=1e-6, rtol=0)


def test_crops_reach_every_border_and_stay_inside():
    ramp = torch.linspace(0, 1, 64).view(1, 1, 1, 64).expand(500, 1, 64, 64)
    view = ParamView([scale(low=0.1)], ratio=(0.5, 2.0), padding="zeros")
    drawn = view(ramp, seeded(0))
    left, right = drawn.image[:, 0, 32, 0], drawn.image[:, 0, 32, -1]
    assert float(left.min()) < 0.02
    assert float(right.max()) > 0.98
    assert bool((drawn.image[:, 0, 0] - drawn.image[:, 0, 32]).abs().max() < 1e-5)
    assert bool((right > left).all())  # nothing is read outside, where zeros are


def test_the_order_is_crop_flip_rotation_whatever_the_order_of_the_factors():
    x = images()
    some, other = (
        ParamView([rotation(), hflip(), scale()]),
        ParamView([scale(), rotation(), hflip()]),
    )
    params = some(x, seeded(0)).params
    assert some.apply(x, params).equal(other.apply(x, params))


def test_what_is_not_named_stays():
    x, view = images(), ParamView(ALL)
    assert view.apply(x, {}).equal(x)
    p = torch.full((4,), 0.75)
    assert view.apply(x, {"rotation": p}).equal(transform(x, rotation(), 0.75))
    assert view.apply(x, {"hue": p}).equal(transform(x, hue(), p))


def test_the_mask_leaves_the_disc_only():
    x = torch.ones(2, 1, 32, 32)
    masked = ParamView([rotation()], mask=True)(x, seeded(0)).image
    share = float(masked.mean())
    assert share == pytest.approx(math.pi / 4, abs=0.01)
    assert masked[0, 0, 0, 0] == 0
    turns = [ParamView([rotation()], mask=True).apply(x, {"rotation": torch.full((2,), p)})
             for p in (0.5, 0.6)]  # fmt: skip
    torch.testing.assert_close(turns[0], turns[1], atol=1e-6, rtol=0)  # no corner tells the angle
    bare = ParamView([rotation()]).apply(x, {"rotation": torch.full((2,), 0.6)})
    assert float(bare[0, 0, 0, 0]) == 0
    assert disc((4, 6), x).shape == (4, 6)


def test_padding_fills_the_corners():
    x = torch.ones(2, 1, 16, 16)
    p = {"rotation": torch.full((2,), 0.6)}
    assert float(ParamView([rotation()], padding="border").apply(x, p).min()) == pytest.approx(1)
    assert float(ParamView([rotation()], padding="zeros").apply(x, p).min()) == 0


def test_another_size_is_another_resolution_of_the_same_picture():
    small = ParamView([rotation()], size=32).apply(picture(96), {})
    torch.testing.assert_close(small, picture(32), atol=2e-3, rtol=0)
    wide = ParamView([hflip()], size=(16, 24)).apply(picture(96), {})
    assert wide.shape == (1, 1, 16, 24)


def test_uint8_is_divided_by_255_and_half_stays_half():
    x = (255 * images()).to(torch.uint8)
    view = ParamView([rotation(), brightness()])
    params = view(x.float() / 255, seeded(0)).params
    assert view.apply(x, params).equal(view.apply(x.float() / 255, params))
    half = view.apply(images().half(), params)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), view.apply(images(), params), atol=5e-3, rtol=0)
    assert view.apply(images(dtype=torch.float64), params).dtype == torch.float64


def test_autocast_does_not_move_the_pixels():
    view, x = ParamView([scale(), rotation()]), images()
    drawn = view(x, seeded(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert view.apply(x, drawn.params).equal(drawn.image)


def test_a_factor_of_yours_moves_or_changes_pixels():
    def shear(values):
        one, zero = torch.ones_like(values), torch.zeros_like(values)
        return torch.stack([torch.stack([one, values], -1), torch.stack([zero, one], -1)], -2)

    def invert(x, values):
        return torch.lerp(x, 1 - x, values.view(-1, 1, 1, 1))

    mine = [Factor("shear", 8, False, 0.2, -1.0, 1.0, 0.0, affine=shear),
            Factor("invert", 8, False, 0.2, act=invert)]  # fmt: skip
    view, x = ParamView([*mine, rotation()]), images()
    drawn = view(x, seeded(0))
    assert view.apply(x, drawn.params).equal(drawn.image)
    assert transform(x, mine[1], 1.0).allclose(1 - x)
    sheared = transform(picture(96), mine[0], 0.75)  # value 0.5
    at = (torch.arange(96, dtype=torch.float64) + 0.5) / 96 * 2 - 1
    want = waves(at.view(1, -1) + 0.5 * at.view(-1, 1), at.view(-1, 1))
    assert float((sheared[0, 0] - want)[40:56, 40:56].abs().max()) < 2e-3


def test_gradients_flow_to_the_images():
    x = images(1, 3, 5, 5, dtype=torch.float64).requires_grad_()
    view = ParamView([scale(), rotation()])
    params = view.draw(1, generator=seeded(0))
    assert torch.autograd.gradcheck(lambda x: view.apply(x, params), x)


def test_the_input_is_left_as_it_was():
    for factor in (*ALL, rotation4()):
        x = images()
        transform(x, factor, 0.8)
        assert x.equal(images())


def test_the_probability_of_a_factor_is_that_of_its_draw():
    view = ParamView([replace(hue(), probability=0.0), replace(rotation(), probability=0.0)])
    x = images()
    torch.testing.assert_close(view(x, seeded(0)).image, x, atol=1e-6, rtol=0)


def test_bad_arguments_are_told_what_came():
    x, view = images(), ParamView([rotation(), scale()])
    with pytest.raises(TypeError, match="generator must be"):
        view(x, None)
    with pytest.raises(ValueError, match=r"\(B, C, H, W\), got \(3, 12, 12\)"):
        view(x[0], seeded(0))
    with pytest.raises(TypeError, match=r"torch\.int64"):
        view(torch.ones(1, 1, 4, 4, dtype=torch.int64), seeded(0))
    with pytest.raises(ValueError, match=r"among .*got \['hue'\]"):
        view.apply(x, {"hue": torch.rand(4)})
    with pytest.raises(ValueError, match=r"rotation must be \(4,\), got \(3,\)"):
        view.apply(x, {"rotation": torch.rand(3)})
    with pytest.raises(ValueError, match=r"got 1\.5"):
        view.apply(x, {"scale": torch.full((4,), 1.5)})
    with pytest.raises(ValueError, match=r"a crop needs .*got \['crop_x'\]"):
        view.apply(x, {"crop_x": torch.rand(4)})
    with pytest.raises(ValueError, match="pose must have one of affine and act"):
        ParamView([Factor("pose", 8, True, 3.0)])
    with pytest.raises(ValueError, match="hue needs images of 3 channels, got 1"):
        transform(x[:, :1], hue(), 0.7)
    with pytest.raises(ValueError, match=r"size must be positive, got \(0, 0\)"):
        ParamView([rotation()], size=0)
    with pytest.raises(ValueError, match=r"ratio .*got \(2, 1\)"):
        ParamView([scale()], ratio=(2, 1))
    with pytest.raises(ValueError, match=r"padding must be .*got 'mirror'"):
        ParamView([rotation()], padding="mirror")

import colorsys

import pytest
import torch
from duet import changes
from hypothesis import given
from hypothesis import strategies as st

unit = st.floats(0, 1)
colour = st.tuples(unit, unit, unit)


def pixel(rgb):
    return torch.tensor(rgb, dtype=torch.float64).view(1, 3, 1, 1)


def at(value):
    return torch.tensor([value], dtype=torch.float64)


@given(rgb=colour, turns=st.floats(-0.5, 0.5))
def test_hue_is_that_of_the_standard_library(rgb, turns):
    h, s, v = colorsys.rgb_to_hsv(*rgb)
    want = colorsys.hsv_to_rgb((h + turns) % 1.0, s, v)
    got = changes.recolour(pixel(rgb), at(turns)).flatten().tolist()
    assert got == pytest.approx(want, abs=1e-9)


def test_hue_goes_from_red_over_yellow_to_green():
    red = pixel((1.0, 0.0, 0.0))
    assert changes.recolour(red, at(1 / 6)).flatten().tolist() == pytest.approx([1, 1, 0])
    assert changes.recolour(red, at(1 / 3)).flatten().tolist() == pytest.approx(
        [0, 1, 0], abs=1e-12
    )


@given(rgb=colour, value=st.floats(0, 2))
def test_saturation_is_the_loop_of_the_definition(rgb, value):
    luma = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]
    want = [min(max(luma + value * (c - luma), 0), 1) for c in rgb]
    assert changes.saturate(pixel(rgb), at(value)).flatten().tolist() == pytest.approx(want)


@given(a=colour, b=colour, value=st.floats(0, 2))
def test_contrast_is_the_loop_of_the_definition(a, b, value):
    x = torch.cat([pixel(a), pixel(b)], 3)
    mean = sum(0.299 * c[0] + 0.587 * c[1] + 0.114 * c[2] for c in (a, b)) / 2
    got = changes.stretch(x, at(value))
    for k, rgb in enumerate((a, b)):
        want = [min(max(mean + value * (c - mean), 0), 1) for c in rgb]
        assert got[0, :, 0, k].tolist() == pytest.approx(want)


@given(rgb=colour, value=st.floats(0, 2))
def test_brightness_is_the_loop_of_the_definition(rgb, value):
    want = [min(c * value, 1) for c in rgb]
    assert changes.brighten(pixel(rgb), at(value)).flatten().tolist() == pytest.approx(want)


def test_grey_of_other_than_three_channels_is_their_mean(generator):
    x = torch.rand(2, 5, 3, 3, generator=generator)
    assert changes.grey(x).equal(x.mean(1, keepdim=True))


@given(first=st.floats(-180, 180), second=st.floats(-180, 180))
def test_rotations_add_up_and_keep_areas(first, second):
    both = changes.rotate(at(first)) @ changes.rotate(at(second))
    torch.testing.assert_close(both, changes.rotate(at(first + second)), atol=1e-9, rtol=0)
    assert float(torch.linalg.det(both)) == pytest.approx(1)


def test_quarter_turns_are_rotations_in_whole_numbers():
    degrees = torch.tensor([-90.0, 0.0, 90.0, 180.0, 270.0, 360.0])
    exact = changes.quarter(degrees)
    assert exact.equal(exact.round())
    torch.testing.assert_close(exact, changes.rotate(degrees), atol=1e-6, rtol=0)


def test_zoom_is_by_area():
    assert float(torch.linalg.det(changes.zoom(at(0.3)))) == pytest.approx(0.3)

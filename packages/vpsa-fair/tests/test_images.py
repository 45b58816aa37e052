import numpy as np
import pytest
from PIL import Image
from vpsa_fair import images
from vpsa_fair.errors import DataError
from vpsa_fair.images import read_image


def test_colour_files_are_read_as_they_are(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == pixels).all()


def test_the_exif_orientation_is_applied(tmp_path):
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[0, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate clockwise by 90 degrees
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    got = read_image(tmp_path / "a.png")
    assert (got == np.rot90(pixels, -1)).all()


def test_grey_of_8_and_16_bits_and_one_bit_become_rgb(tmp_path):
    grey = np.array([[0, 100], [200, 255]], np.uint8)
    Image.fromarray(grey).save(tmp_path / "8.png")
    deep = grey.astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "16.png")
    Image.fromarray(grey).convert("1", dither=Image.Dither.NONE).save(tmp_path / "1.png")
    for name in ("8.png", "16.png"):
        assert (read_image(tmp_path / name) == grey[..., None]).all(), name
    assert set(np.unique(read_image(tmp_path / "1.png"))) == {0, 255}


def test_transparent_pixels_are_blended_over_black(tmp_path):
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, :3] = (200, 100, 50)
    rgba[0, :, 3] = (255, 0, 128)
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    got = read_image(tmp_path / "rgba.png")[0].astype(int)
    assert got[0].tolist() == [200, 100, 50]
    assert got[1].tolist() == [0, 0, 0]
    assert np.abs(got[2] - np.array([100, 50, 25])).max() <= 1
    palette = Image.new("P", (2, 1))
    palette.putpalette([9, 9, 9, 200, 0, 0])
    palette.putdata([0, 1])
    palette.save(tmp_path / "p.png", transparency=0)
    assert read_image(tmp_path / "p.png").tolist() == [[[0, 0, 0], [200, 0, 0]]]


def test_cmyk_becomes_rgb(tmp_path):
    Image.new("CMYK", (2, 2), (0, 255, 255, 0)).save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif")[0, 0].tolist() == [255, 0, 0]


def test_size_resizes_to_height_and_width(tmp_path):
    Image.new("RGB", (20, 10), (7, 8, 9)).save(tmp_path / "a.png")
    got = read_image(tmp_path / "a.png", size=(4, 3))
    assert got.shape == (4, 3, 3)
    assert (got == [7, 8, 9]).all()


def test_says_which_file_is_no_image_or_cut_short_or_too_large(tmp_path, monkeypatch):
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(DataError, match=r"text\.png cannot be read as an image"):
        read_image(tmp_path / "text.png")
    Image.effect_noise((64, 64), 50).save(tmp_path / "cut.jpg")
    whole = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut.jpg cannot be read as an image: .*truncated"):
        read_image(tmp_path / "cut.jpg")
    with pytest.raises(DataError, match=r"nowhere\.png cannot be read"):
        read_image(tmp_path / "nowhere.png")
    Image.new("RGB", (30, 30)).save(tmp_path / "large.png")
    monkeypatch.setattr(images, "MAX_PIXELS", 899)
    with pytest.raises(DataError, match=r"large.png: 30 x 30 pixels are more than 899: shrink it"):
        read_image(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)  # Pillow's own limit, by an exception
    with pytest.raises(DataError, match=r"large.png .*decompression bomb"):
        read_image(tmp_path / "large.png")


def test_modes_without_a_rule_are_named(tmp_path):
    Image.new("F", (2, 2), 0.5).save(tmp_path / "f.tif")
    with pytest.raises(DataError, match=r"f\.tif: images of mode F are not read"):
        read_image(tmp_path / "f.tif")
    Image.fromarray(np.full((2, 2), 70000, np.int32)).save(tmp_path / "i.tif")
    with pytest.raises(DataError, match="grey values must be of 16 bits, got 70000"):
        read_image(tmp_path / "i.tif")

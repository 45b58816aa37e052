"""Media: what may be read, from where, and what becomes of it."""

import base64
import io
import os
import struct
import wave
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image as Pillow
from symphony_ui.errors import ColumnError, MediaError, SymphonyError
from symphony_ui.media import Audio, Image, MediaColumn, Text
from symphony_ui.page import Page
from symphony_ui.pixels import eight_bits, picture
from symphony_ui.sniff import ENDINGS, SHOWN, WEB, mime_of

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"/>'


def encoded(array, kind="PNG", **options):
    file = io.BytesIO()
    made = array if isinstance(array, Pillow.Image) else Pillow.fromarray(array)
    made.save(file, kind, **options)
    return file.getvalue()


def decoded(item):
    return np.asarray(Pillow.open(io.BytesIO(item[1])))


def grey(side=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)


def sound(n=100, rate=8000):
    return Audio(rate=rate).item(np.sin(np.arange(n)))[1]


# what bytes are


@pytest.mark.parametrize(
    ("kind", "mime"),
    [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("GIF", "image/gif"), ("BMP", "image/bmp"),
     ("WEBP", "image/webp"), ("TIFF", "image/tiff")],
)  # fmt: skip
def test_images_are_known_by_how_they_begin_and_no_other_way(kind, mime):
    assert mime_of(encoded(grey(), kind)) == mime


def test_sounds_and_drawings_are_known_by_how_they_begin():
    assert mime_of(sound()) == "audio/wav"
    assert mime_of(b"fLaC....") == "audio/flac"
    assert mime_of(b"OggS....") == "audio/ogg"
    assert mime_of(b"\0\0\0\x20ftypM4A ") == "audio/mp4"
    for head in (b"", b" \n", b"\xef\xbb\xbf", b'<?xml version="1.0"?>\n', b"<!-- drawn -->"):
        assert mime_of(head + SVG) == "image/svg+xml"


@pytest.mark.parametrize(
    "raw",
    [b"", b"<html><svg>", b"%PDF-1.7", b"<script>", b"PK\x03\x04", b"<!DOCTYPE html><svg>"],
)
def test_what_is_no_medium_is_none(raw):
    assert mime_of(raw) is None


def test_a_path_is_known_by_its_ending_whatever_its_case():
    assert mime_of("a.b/c.JPG") == "image/jpeg"
    assert mime_of("png") == "image/png"  # a name that is nothing but an ending
    assert mime_of("a.html") is None
    assert set(WEB) <= set(SHOWN)
    assert set(ENDINGS.values()) - set(SHOWN) == {"image/tiff"}  # made a PNG before it is shown


@given(st.binary(max_size=64))
def test_any_bytes_have_a_mime_type_of_the_list_or_none(raw):
    assert mime_of(raw) in {None, "image/tiff", *SHOWN}


# arrays


@pytest.mark.parametrize(
    ("shape", "size"),
    [((5, 7), (7, 5)), ((5, 7, 1), (7, 5)), ((5, 7, 3), (7, 5)), ((5, 7, 4), (7, 5)),
     ((3, 5, 7), (7, 5)), ((1, 5, 7), (7, 5)), ((4, 5, 7), (7, 5))],
)  # fmt: skip
def test_an_array_of_each_layout_is_the_same_picture(shape, size):
    array = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    item = Image(size=None).item(array)
    assert item[0] == "image/png"
    assert Pillow.open(io.BytesIO(item[1])).size == size
    last = np.moveaxis(array, 0, 2) if shape[0] in (1, 3, 4) else array
    assert np.array_equal(decoded(item), last[..., 0] if last.shape[-1] == 1 else last)


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_grey_arrays_pass_through_png_unchanged(array):
    assert np.array_equal(decoded(Image().item(array)), array)


def test_floats_bools_and_strided_arrays_are_pictures_too():
    ramp = np.linspace(0, 1, 16).reshape(4, 4)
    expected = [[round(v * 255) for v in row] for row in ramp.tolist()]
    assert decoded(Image().item(ramp)).tolist() == expected
    assert decoded(Image().item(ramp.astype(np.float16) > 0.5)).max() == 255
    assert np.array_equal(decoded(Image().item(grey(16)[::2, ::-2])), grey(16)[::2, ::-2])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(4, np.uint8), "shape is"),
        (np.zeros((2, 2, 2), np.uint8), "shape is"),
        (np.zeros((0, 4), np.uint8), "shape is"),
        (np.full((2, 2), 1.5), "floats leave 0 to 1"),
        (np.full((2, 2), -0.1), "floats leave 0 to 1"),
        (np.full((2, 2), np.nan), "floats leave 0 to 1"),
        (np.zeros((2, 2), np.int64), "dtype is int64"),
        (np.zeros((2, 2), complex), "dtype is complex"),
        (np.array([["a"]]), "dtype is"),
    ],
)
def test_an_array_that_is_no_picture_says_why(array, message):
    with pytest.raises(MediaError, match=message):
        picture(array)


def test_grey_values_of_16_bits_are_scaled_and_not_clipped():
    deep = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    assert eight_bits(deep).tolist() == [[0, 1, 128, 255]]
    for kind in ("PNG", "TIFF"):
        item = Image(size=2).item(encoded(deep.repeat(4, axis=0), kind))
        assert item[0] == "image/png"
        assert 20 < decoded(item).mean() < 200  # clipped it would be nearly white
    whole = Image().item(encoded(deep, "TIFF"))
    assert decoded(whole).tolist() == [[0, 1, 128, 255]]


# encoded images


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
def test_a_small_image_that_a_browser_shows_keeps_its_bytes(kind):
    raw = encoded(grey(), kind)
    assert Image().item(raw) == (mime_of(raw), raw)
    assert Image().item({"bytes": raw, "path": None}) == (mime_of(raw), raw)
    assert Image().item(bytearray(raw)) == (mime_of(raw), raw)


def test_a_large_image_is_shrunk_to_its_longer_side():
    raw = encoded(np.zeros((30, 90, 3), np.uint8))
    mime, made = Image(size=30).item(raw)
    assert mime == "image/png"
    assert Pillow.open(io.BytesIO(made)).size == (30, 10)
    assert Image(size=None).item(raw) == ("image/png", raw)


def test_photographs_stay_jpeg_and_transparency_stays_png():
    photo = encoded(np.zeros((300, 300, 3), np.uint8), "JPEG")
    assert Image(size=200).item(photo)[0] == "image/jpeg"
    assert Image(size=200).item(Pillow.new("RGB", (300, 300)))[0] == "image/jpeg"
    assert Image(size=64).item(Pillow.new("RGB", (300, 300)))[0] == "image/png"
    clear = Image(size=200).item(encoded(np.zeros((300, 300, 4), np.uint8)))
    assert clear[0] == "image/png"
    assert decoded(clear).shape == (200, 200, 4)


def test_the_orientation_of_a_photograph_is_kept_when_it_is_shrunk():
    exif = Pillow.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    raw = encoded(np.zeros((20, 100, 3), np.uint8), "JPEG", exif=exif)
    assert Pillow.open(io.BytesIO(Image(size=50).item(raw)[1])).size == (10, 50)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "F"])
def test_an_image_of_any_mode_becomes_one_that_a_browser_shows(mode):
    mime, made = Image(size=8).item(Pillow.new(mode, (20, 20)))
    assert mime == "image/png"
    assert Pillow.open(io.BytesIO(made)).size == (8, 8)


def test_drawings_are_passed_on_as_they_are():
    assert Image(size=8).item(SVG) == ("image/svg+xml", SVG)


@pytest.mark.parametrize("raw", [b"", b"hello", b"%PDF-1.7", b"<html></html>", sound()])
def test_bytes_that_are_no_image_are_refused(raw):
    with pytest.raises(MediaError, match="no image that is known"):
        Image().item(raw)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("size", [8, None])
def test_an_image_that_is_cut_short_is_refused(kind, size):
    raw = encoded(grey(40), kind)
    for length in (5, 12, 30, len(raw) // 2):
        with pytest.raises(MediaError, match=r"broken image|no image that is known"):
            Image(size=size).item(raw[:length])


WHOLE = {kind: encoded(grey(16), kind) for kind in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP")}


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_a_tampered_image_is_an_image_or_a_media_error(kind, data):
    raw = bytearray(WHOLE[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        mime, made = Image(size=8).item(bytes(raw))
    except MediaError:
        return
    assert mime in SHOWN
    assert made


def bomb(width, height):
    """A PNG whose head claims so many pixels."""

    def chunk(name, body):
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 99))


@pytest.mark.parametrize("side", [10_001, 12_000, 40_000, 2_000_000])
def test_an_image_of_too_many_pixels_is_refused_before_it_is_unpacked(side):
    with pytest.raises(MediaError, match=r"which is too many|broken image"):
        Image().item(bomb(side, side))


# paths


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "images"
    (root / "deep").mkdir(parents=True)
    (root / "a.png").write_bytes(encoded(grey()))
    (root / "deep" / "b.png").write_bytes(encoded(grey()))
    (tmp_path / "secret.png").write_bytes(encoded(grey()))
    return root


def test_paths_are_read_below_their_root(folder):
    image = Image(root=folder)
    assert image.item("a.png")[0] == "image/png"
    assert image.item("deep/../a.png")[0] == "image/png"
    assert image.item(folder / "deep" / "b.png")[0] == "image/png"
    assert image.item({"bytes": None, "path": "a.png"})[0] == "image/png"
    assert image.item(np.str_("a.png"))[0] == "image/png"


@pytest.mark.parametrize(
    "name", ["../secret.png", "deep/../../secret.png", "./../images/../secret.png", "/etc/passwd"]
)
def test_a_path_that_leaves_its_root_is_refused(folder, name):
    with pytest.raises(MediaError, match=r"lies outside .* pass root="):
        Image(root=folder).item(name)
    with pytest.raises(MediaError, match="lies outside"):
        Image(root=folder).item({"path": name})


def test_a_link_that_leads_out_of_the_root_is_refused_and_one_within_is_not(folder):
    os.symlink(folder.parent / "secret.png", folder / "out.png")
    os.symlink(folder.parent, folder / "up")
    os.symlink(folder / "a.png", folder / "in.png")
    os.symlink(folder / "loop.png", folder / "loop.png")
    assert Image(root=folder).item("in.png")[0] == "image/png"
    for name in ("out.png", "up/secret.png"):
        with pytest.raises(MediaError, match="lies outside"):
            Image(root=folder).item(name)
    with pytest.raises(MediaError, match="cannot be read"):
        Image(root=folder).item("loop.png")


@pytest.mark.parametrize("name", ["no.png", "a\0.png", "x" * 5000, "deep", ""])
def test_a_path_that_is_no_file_is_refused(folder, name):
    with pytest.raises(MediaError, match=r"cannot be read|is no file"):
        Image(root=folder).item(name)


@pytest.mark.parametrize("name", ["http://x.org/a.png", "https://x/a.png", "file:///etc/passwd"])
def test_addresses_are_not_fetched(folder, name):
    with pytest.raises(MediaError, match="nothing is fetched"):
        Image(root=folder).item(name)


def test_a_root_that_is_not_there_and_a_pipe_are_refused(folder):
    with pytest.raises(MediaError, match="cannot be read"):
        Image(root=folder / "none").item("a.png")
    os.mkfifo(folder / "pipe.png")
    with pytest.raises(MediaError, match="is no file"):
        Image(root=folder).item("pipe.png")


def test_a_file_that_is_too_large_is_not_read(folder):
    with open(folder / "huge.png", "wb") as file:
        file.truncate(2**40)  # a hole
    with pytest.raises(MediaError, match="larger than 256 MB"):
        Image(root=folder).item("huge.png")


def test_data_addresses_are_read_where_they_are_base64():
    raw = encoded(grey())
    assert Image().item("data:image/png;base64," + base64.b64encode(raw).decode())[1] == raw
    for text in ("data:image/png,abc", "data:image/png;base64,@@@", "data:"):
        with pytest.raises(MediaError, match="base64"):
            Image().item(text)


@pytest.mark.parametrize("value", [3, 1.5, object(), ["a.png"], {}])
def test_a_value_of_another_type_is_refused(value):
    with pytest.raises(MediaError, match="expected an array, bytes or a path"):
        Image().item(value)


# sounds and texts


def test_samples_become_wav_of_16_bits():
    samples = np.array([0.0, 1.0, -1.0, 2.0, np.nan])
    mime, raw = Audio(rate=8000).item(samples)
    assert mime == "audio/wav"
    with wave.open(io.BytesIO(raw)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 8000)
        read = np.frombuffer(file.readframes(99), "<i2")
    assert read.tolist() == [0, 32767, -32767, 32767, 0]
    stereo = Audio(rate=44100).item(np.zeros((10, 2), np.int16))[1]
    with wave.open(io.BytesIO(stereo)) as file:
        assert (file.getnchannels(), file.getnframes()) == (2, 10)


def test_the_rate_of_a_dataset_s_sound_is_its_own():
    raw = Audio(rate=1).item({"array": np.zeros(4), "sampling_rate": 16000, "path": None})[1]
    with wave.open(io.BytesIO(raw)) as file:
        assert file.getframerate() == 16000


def test_encoded_sounds_are_passed_on_as_they_are(folder):
    (folder / "a.wav").write_bytes(sound())
    assert Audio(root=folder).item("a.wav") == ("audio/wav", sound())
    assert Audio().item({"bytes": sound(), "path": "a.wav"}) == ("audio/wav", sound())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((2, 2, 2)), "shape is"),
        (np.zeros((3, 9)), "shape is"),
        (np.zeros((3, 0)), "shape is"),
        (np.zeros(3, np.int64), "dtype is int64"),
        (np.array(["a"]), "dtype is"),
        (encoded(grey()), "no sound that is known"),
        (3, "expected an array, bytes or a path"),
    ],
)
def test_what_is_no_sound_is_refused(value, message):
    with pytest.raises(MediaError, match=message):
        Audio(rate=8000).item(value)


@pytest.mark.parametrize("rate", [None, 0, -5, 2**40, float("nan"), "fast"])
def test_samples_without_a_rate_that_wav_holds_are_refused(rate):
    with pytest.raises(MediaError, match="rate"):
        Audio(rate=rate).item(np.zeros(3))


def test_texts_stay_texts_even_broken_ones():
    assert Text().item("<b>\ud800") == ("text/plain", b"<b>?")
    assert Text().item(3) == ("text/plain", b"3")


# columns


def test_missing_media_are_none_and_errors_name_column_and_row():
    none = {"bytes": None, "path": None}
    column = MediaColumn("pic", Image(), [None, none, float("nan"), encoded(grey()), b"no"])
    assert [column.item(k) for k in range(3)] == [None] * 3
    assert column.item(3)[0] == "image/png"
    with pytest.raises(MediaError, match="'pic', row 4: its bytes are no image"):
        column.item(4)


def test_media_are_made_once_and_the_store_of_them_stays_small():
    made = []

    class Counting(Text):
        def item(self, value):
            made.append(value)
            return super().item(value)

    column = MediaColumn("t", Counting(), [str(k) for k in range(3000)])
    assert [column.item(7) for _ in range(3)] == [("text/plain", b"7")] * 3
    assert made == ["7"]
    for row in range(3000):
        column.item(row)
    assert len(column._kept) <= 2001


def test_the_source_of_media_is_a_column_or_values_of_their_own():
    arrays = np.zeros((2, 4, 4), np.uint8)
    page = Page({"file": ["a", "b"]}, media={"picture": Image(arrays)})
    assert [c["kind"] for c in page.engine.specs()] == ["category", "media"]
    assert page.table.media["picture"].item(1)[0] == "image/png"
    other = Page({"raw": list(arrays)}, media={"small": Image("raw", size=2)})
    assert decoded(other.table.media["small"].item(0)).shape == (2, 2)


@pytest.mark.parametrize(
    ("media", "message"),
    [
        ({"p": Image("nowhere")}, "come from 'nowhere', which is no column"),
        ({"p": Image(np.zeros((3, 4, 4), np.uint8))}, "must be 2, one a row"),
        ({"p": Image([b""])}, "must be 2, one a row"),
        ({"p": Image(5)}, "must be 2, one a row"),
        ({"p": Image}, "must be Image, Audio or Text"),
        ({"p": "image"}, "must be Image, Audio or Text"),
        ({"p": Image()}, "come from 'p', which is no column"),
    ],
)
def test_media_that_do_not_fit_the_table_are_refused(media, message):
    with pytest.raises(ColumnError, match=message):
        Page({"x": [1, 2]}, media=media)


def test_columns_that_look_like_media_are_taken_for_them():
    raw, other = encoded(grey()), sound()
    page = Page({
        "array": list(np.zeros((2, 4, 4), np.uint8)),
        "bytes": [raw, None],
        "dict": [{"bytes": raw, "path": "a.png"}, {"bytes": None, "path": None}],
        "pillow": [Pillow.new("L", (4, 4))] * 2,
        "heard": [{"array": np.zeros(9), "sampling_rate": 8000, "path": None}] * 2,
        "wav": [other, other],
    })  # fmt: skip
    assert {c["name"]: (c["media"] or {}).get("type") for c in page.engine.specs()} == {
        "array": "image", "bytes": "image", "dict": "image", "pillow": "image",
        "heard": "audio", "wav": "audio",
    }  # fmt: skip
    assert page.table.media["dict"].item(1) is None


def test_a_page_says_of_its_images_how_large_they_are_shown():
    page = Page({"tiny": np.zeros((2, 8, 6), np.uint8)}, media={"tiny": Image()})
    assert page.engine.specs()[0]["media"] == {"type": "image", "size": 8}
    large = Page({"p": np.zeros((2, 3, 400, 300), np.uint8)}, media={"p": Image(size=100)})
    assert large.engine.specs()[0]["media"] == {"type": "image", "size": 100}


@pytest.mark.parametrize("size", [0, -1, 1.5, "big", True])
def test_a_size_that_is_no_number_of_pixels_is_refused(size):
    with pytest.raises(SymphonyError, match="size"):
        Image(size=size)

"""Media: arrays, bytes, paths and dicts become bytes that a browser shows; nothing else is read."""

import contextlib
import io
import os

import numpy as np
import pytest
import symphony_ui as sui
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from symphony_ui.errors import ColumnError, MediaError
from symphony_ui.media import MediaColumn
from symphony_ui.sniff import mime_of


def png(size=(8, 6), mode="RGB", form="PNG"):
    file = io.BytesIO()
    Pillow.new(mode, size, 100).save(file, form)
    return file.getvalue()


def opened(item):
    return Pillow.open(io.BytesIO(item[1]))


@pytest.mark.parametrize(
    ("array", "mode"),
    [
        (np.zeros((5, 7), np.uint8), "L"),
        (np.zeros((5, 7, 1), np.uint8), "L"),
        (np.zeros((5, 7, 3), np.uint8), "RGB"),
        (np.zeros((3, 5, 7), np.uint8), "RGB"),
        (np.zeros((5, 7, 4), np.uint8), "RGBA"),
        (np.full((5, 7), 0.5, np.float32), "L"),
        (np.ones((5, 7), bool), "L"),
    ],
)
def test_arrays_become_images_of_their_pixels(array, mode):
    item = sui.Image().item(array)
    assert item[0] == "image/png"
    assert (opened(item).mode, opened(item).size) == (mode, (7, 5))
    assert np.asarray(opened(item)).flat[0] in (0, 128, 255)


def test_bytes_paths_dicts_and_pillow_are_images(tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    image = sui.Image(root=tmp_path)
    for value in (
        png(),
        "a.png",
        tmp_path / "a.png",
        {"bytes": png()},
        {"path": "a.png", "bytes": None},
    ):
        assert image.item(value) == ("image/png", png())
    assert image.item(Pillow.new("L", (3, 3)))[0] == "image/png"
    assert image.item(png((200, 100), form="JPEG"))[0] == "image/jpeg"
    assert opened(image.item(png((200, 100)))).size == (64, 32)
    assert opened(sui.Image(size=None).item(png((200, 100)))).size == (200, 100)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("../secret.png", "lies outside"),
        ("link.png", "lies outside"),
        ("http://example.org/a.png", "nothing is fetched"),
        ("file:///etc/passwd", "nothing is fetched"),
        ("missing.png", "cannot be read"),
        ("sub", "is no file"),
        ("a\0b.png", "cannot be read"),
        (b"%PDF-1.4", "no image that is known"),
        (png()[:40], "broken image"),
        (np.zeros((2, 2, 9), np.uint8), "its shape is"),
        (np.full((2, 2), 2.0), "leave 0 to 1"),
        (np.zeros((2, 2), np.int64), "its dtype is int64"),
        (3, "expected an array, bytes or a path"),
        ("data:text/html,x", "base64"),
    ],
)
def test_what_is_no_image_or_may_not_be_read_is_refused(tmp_path, value, says):
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(png())
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(MediaError, match=says):
        sui.Image(root=root).item(value)


def test_an_image_of_too_many_pixels_is_not_unpacked(monkeypatch):
    monkeypatch.setattr("symphony_ui.media.PIXELS", 10)
    with pytest.raises(MediaError, match="8 x 6 pixels, which is too many"):
        sui.Image().item(png())


@given(
    st.binary(max_size=60), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a"])
)
def test_any_bytes_are_an_image_or_a_clear_error(raw, head):
    with contextlib.suppress(MediaError):
        sui.Image().item(head + raw)


def test_an_svg_is_kept_as_an_image_and_never_becomes_markup():
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    assert sui.Image().item(svg) == ("image/svg+xml", svg)
    page = sui.Page({"i": [svg]}, media={"i": sui.Image()}).to_html()
    assert "alert(1)" not in page


def test_sounds_of_samples_and_of_files():
    mime, raw = sui.Audio(rate=8000).item(np.sin(np.arange(800) / 9))
    assert (mime, mime_of(raw), len(raw)) == ("audio/wav", "audio/wav", 44 + 1600)
    both = {"array": np.zeros((10, 2), np.int16), "sampling_rate": 16000}
    assert sui.Audio().item(both)[0] == "audio/wav"
    assert sui.Audio().item(raw) == ("audio/wav", raw)
    with pytest.raises(MediaError, match="need their rate"):
        sui.Audio().item(np.zeros(3))
    with pytest.raises(MediaError, match="expected floats or int16"):
        sui.Audio(rate=1).item(np.zeros(3, np.int64))
    with pytest.raises(MediaError, match="no sound that is known"):
        sui.Audio().item(png())


def test_columns_of_pictures_are_found_by_their_looks():
    table = {
        "arrays": [np.zeros((4, 4), np.uint8), None],
        "bytes": [png(), None],
        "dicts": [{"bytes": png(), "path": None}, {"bytes": None, "path": None}],
        "floats": [np.zeros((4, 4)), np.zeros((4, 4))],
    }
    page = sui.Page(table)
    kinds = {c.name: c.kind for c in page.table.columns}
    assert kinds == {"arrays": "media", "bytes": "media", "dicts": "media"}
    assert list(page.skipped) == ["floats"]
    assert page.table.media["dicts"].item(1) is None


def test_media_may_come_from_another_column_or_from_outside():
    page = sui.Page({"n": [1, 2], "b": [png(), png()]}, media={"i": sui.Image("b")})
    assert [c.name for c in page.table.columns if c.kind == "media"] == ["b", "i"]
    outside = sui.Page({"n": [1, 2]}, media={"i": sui.Image([png(), None])})
    assert outside.table.media["i"].item(1) is None
    with pytest.raises(ColumnError, match="which is no column"):
        sui.Page({"n": [1]}, media={"i": sui.Image("c")})
    with pytest.raises(ColumnError, match="must be 2, one a row"):
        sui.Page({"n": [1, 2]}, media={"i": sui.Image([png()])})
    with pytest.raises(ColumnError, match="must be Image, Audio or Text"):
        sui.Page({"n": [1]}, media={"n": "image"})


def test_made_media_are_kept_but_not_without_end():
    column = MediaColumn("i", sui.Image(), [np.zeros((2, 2), np.uint8)] * 3000)
    first = column.item(0)
    assert column.item(0) is first
    for row in range(3000):
        column.item(row)
    assert len(column._kept) <= 2001


@pytest.mark.parametrize(
    ("raw", "mime"),
    [
        (png(), "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF0000WEBP", "image/webp"),
        (b"RIFF0000WAVE", "audio/wav"),
        (b"\xef\xbb\xbf<svg>", "image/svg+xml"),
        (b"<html><svg>", None),
        (b"", None),
        ("x.MP3", "audio/mpeg"),
        ("x", None),
    ],
)
def test_bytes_are_known_by_how_they_begin(raw, mime):
    assert mime_of(raw) == mime


def test_paths_relative_to_the_root_follow_no_link_out(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "in.png").write_bytes(png())
    os.symlink(root / "in.png", root / "alias.png")
    assert sui.Image(root=root).item("alias.png")[0] == "image/png"

"""Saved pages: whole, safe, small, the same bytes each time, and read back."""

import base64
import contextlib
import hashlib
import html
import json
import os
import re
import struct

import numpy as np
import pytest
import symphony_ui as sui
from hypothesis import given, settings
from hypothesis import strategies as st
from symphony_ui.errors import FormatError, MediaError, SizeError
from symphony_ui.files import replace_file
from symphony_ui.html import inline_json, inline_script

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "<img src=x onerror=alert(1)>",
    "\"&'`",
    "\u2028\u2029\ufeff",
    "]]>",
    "javascript:alert(1)",
    "\x00\x01",
]


@pytest.fixture
def page():
    rng = np.random.default_rng(0)
    table = {
        "image": list(rng.integers(0, 255, (20, 6, 6)).astype(np.uint8)),
        "x": rng.normal(size=20),
        "n": np.arange(20),
        "big": np.arange(20) + 2**60,
        "label": ["a", "b", None, "c"] * 5,
        "long": [f"text {n}" for n in range(20)],
        "on": [True, False, None, True] * 5,
        "t": np.arange(20).astype("datetime64[D]"),
    }
    made = sui.Page(table, title="Twenty", id="long", kinds={"long": "text"})
    made.filter = 'x > 0 and label in ["a", "b"]'
    made.selected = [3, 5]
    made.group_by = "label"
    made.annotate(3, "good", "a note")
    return made


def test_a_page_comes_back_whole_and_saves_to_the_same_bytes(page, tmp_path):
    path = page.save(tmp_path / "page.html")
    back = sui.load(path)
    assert back.state == page.state
    assert back.annotations == page.annotations
    assert (back.title, back.id, back.rows) == (page.title, page.id, page.rows)
    for mine, theirs in zip(page.table.columns, back.table.columns, strict=True):
        assert mine.spec() == theirs.spec()
        if mine.kind != "media":
            assert mine.cells() == theirs.cells()
    for name, column in page.table.media.items():
        assert [column.item(k) for k in range(20)] == [
            back.table.media[name].item(k) for k in range(20)
        ]
    assert back.visible.tolist() == page.visible.tolist()
    assert back.save(tmp_path / "again.html").read_bytes() == path.read_bytes()


def test_the_policy_names_the_hash_of_every_script_and_style_and_nothing_else(page):
    text = page.to_html()
    policy = html.unescape(
        re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1]
    )
    scripts = re.findall(r'<script type="module">(.*?)</script>', text, re.DOTALL)
    styles = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)

    def digest(part):
        return f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'"

    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"].split() == [digest(part) for part in scripts]
    assert rules["style-src"].split() == [digest(part) for part in styles]
    assert set(rules) == {
        "default-src", "script-src", "style-src", "img-src", "media-src", "base-uri", "form-action",
    }  # fmt: skip
    assert "unsafe" not in policy
    assert not re.search(
        r'(?:src|href)=["\']?(?:https?:|//)',
        re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL),
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_ends_no_element_wherever_it_stands(text, tmp_path):
    name = text.replace("\0", "")
    page = sui.Page(
        {name: [text, "b"], "n": [1, 2]},
        [sui.Markdown(text, title=text), sui.Table(title=text)],
        title=text,
    )
    page.annotate(0, text[:50], text)
    made = page.to_html()
    outside = re.sub(r'<script type="[^"]*"[^>]*>[^<]*</script>', "", made)
    assert outside.count("<script") == made.count('<script type="module">')
    assert made.count("</script>") == made.count("<script ")
    back = sui.load(page.save(tmp_path / "h.html"))
    assert back.frame("all")[name][0] == text
    assert back.title == text
    assert back.annotations["note"] == [text]


@given(st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
))  # fmt: skip
def test_inline_json_is_json_that_ends_no_element(value):
    text = inline_json(value)
    assert json.loads(text) == value
    assert not re.search("[<>&\u2028\u2029]", text)


def test_inline_scripts_cannot_end_their_element():
    text = inline_script('let a = "</script><!--<script";\r\n')
    assert "</script" not in text
    assert "<!--" not in text
    assert "\r" not in text
    with pytest.raises(FormatError, match="NUL"):
        inline_script("a\0b")


@pytest.mark.parametrize("rows", [10, 20_000])
def test_a_page_weighs_at_most_its_columns_and_a_quarter_megabyte(rows):
    rng = np.random.default_rng(0)
    table = {f"x{k}": rng.normal(size=rows).astype(np.float32) for k in range(6)}
    table |= {f"n{k}": rng.integers(0, 2**31 - 1, rows).astype(np.int32) for k in range(4)}
    raw = sum(column.nbytes for column in table.values())
    assert len(sui.Page(table).to_html().encode()) <= 1.4 * raw + 250_000


def test_a_page_that_is_too_large_names_what_weighs_most(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (40, 64, 64)).astype(np.uint8)
    page = sui.Page({"picture": list(noise), "n": range(40)})
    with pytest.raises(SizeError, match=r"heaviest: picture \(.*max_bytes"):
        page.save(tmp_path / "p.html", max_bytes=250_000)
    with pytest.raises(SizeError, match=r"heaviest: x \("):
        sui.Page({"x": np.random.default_rng(0).normal(size=50_000), "n": [1] * 50_000}).save(
            tmp_path / "p.html", max_bytes=300_000
        )
    assert not list(tmp_path.iterdir())


def test_display_precision_is_smaller_and_close(tmp_path):
    values = np.random.default_rng(0).normal(size=5000)
    page = sui.Page({"x": values})
    exact, display = page.to_html(), page.to_html(precision="display")
    assert len(display) < len(exact) - 5000
    back = sui.load(page.save(tmp_path / "d.html", precision="display"))
    assert np.allclose(back.frame("all")["x"], values, rtol=1e-6)


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = replace_file(tmp_path / "a.html", b"old")
    os.umask(mask := os.umask(0))
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask
    monkeypatch.setattr(os, "replace", lambda a, b: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def parts(text):
    """A saved page's text, with its blocks taken apart."""
    return re.findall(r'id="(block:[^"]+)" data-encoding="([^"]+)">([^<]*)<', text)


def change(text, old, new):
    assert old in text
    return text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"v":1', '"v":7'),
        ('"rows":20,', '"rows":21,'),
        ('"rows":20,', '"rows":-1,'),
        ('"rows":20,', '"rows":1e99,'),
        ('"kind":"time"', '"kind":"bool"'),
        ('"kind":"number"', '"kind":"nope"'),
        ('"type":"image"', '"type":"script"'),
        ('"columns":[', '"columns":[3,'),
        ('"layout":[', '"layout":3,"x":['),
        ('"label":["good"]', '"label":[1]'),
        ('data-encoding="gzip+base64"', 'data-encoding="zip"'),
        ('id="block:data"', 'id="block:date"'),
        ('"filter":["and"', '"filter":["exec"'),
    ],
)
def test_a_page_that_was_tampered_with_is_refused(page, tmp_path, old, new):
    path = tmp_path / "page.html"
    path.write_text(change(page.to_html(), old, new))
    with pytest.raises(FormatError):
        sui.load(path)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_cut_and_scrambled_pages_are_refused_or_read(tmp_path_factory, data):
    page = sui.Page({"x": [1.0, 2.0], "s": ["a", "b"]}, [sui.Table()])
    text = page.to_html()
    path = tmp_path_factory.mktemp("cut") / "page.html"
    start = text.index("symphony-spec")
    at = data.draw(st.integers(start, min(len(text), start + 3000)))
    raw = bytearray(text.encode())
    if data.draw(st.booleans()):
        raw = raw[:at]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            raw[data.draw(st.integers(start, start + 3000))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(raw))
    with contextlib.suppress(FormatError):
        assert sui.load(path).rows >= 0


@given(st.binary(max_size=400))
def test_any_bytes_are_a_page_or_a_clear_error(tmp_path_factory, raw):
    path = tmp_path_factory.mktemp("any") / "page.html"
    path.write_bytes(raw)
    with pytest.raises(FormatError):
        sui.load(path)


def test_a_block_that_inflates_without_end_is_refused(page, tmp_path, monkeypatch):
    import gzip

    from symphony_ui import saved

    monkeypatch.setattr(saved, "INFLATED", 10_000)
    bomb = base64.b64encode(gzip.compress(b"\0" * 20_000)).decode()
    text = page.to_html()
    block = next(part for name, _, part in parts(text) if name == "block:data")
    text = re.sub(r'(id="block:data" data-encoding=")[^"]+', r"\1gzip+base64", text)
    path = tmp_path / "bomb.html"
    path.write_text(text.replace(block, bomb))
    with pytest.raises(FormatError, match="holds more than"):
        sui.load(path)


def test_media_that_cannot_be_read_say_which_row():
    with pytest.raises(MediaError, match="'image', row 1"):
        sui.Page({"image": [None, b"nothing"]}, media={"image": sui.Image()}).to_html()


def test_a_static_page_is_in_a_sandbox(page):
    made = page.static(height=300)._repr_html_()
    assert made.startswith('<iframe sandbox="allow-scripts allow-downloads" srcdoc="')
    assert "allow-same-origin" not in made
    assert html.unescape(re.search(r'srcdoc="([^"]*)"', made)[1]) == page.to_html()


def test_vega_charts_bring_their_runtime_and_fetch_nothing(tmp_path):
    spec = {"mark": "point", "data": {"name": "table"}, "encoding": {"x": {"field": "x"}}}
    page = sui.Page({"x": [1.0, 2.0]}, [sui.Vega(spec)])
    text = page.to_html()
    assert "a page fetches nothing" in text
    assert sui.load(page.save(tmp_path / "v.html")).to_html() == text


def test_floats_of_a_page_are_exact_to_the_bit(tmp_path):
    values = [struct.unpack("<d", struct.pack("<Q", n))[0] for n in (1, 0x3FB999999999999A, 2**62)]
    back = sui.load(sui.Page({"x": values}).save(tmp_path / "x.html"))
    assert list(back.frame("all")["x"]) == values

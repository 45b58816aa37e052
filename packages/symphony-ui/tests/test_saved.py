"""Saved files: the same bytes each time, nothing that can end an element, and all of it back."""

import base64
import gzip
import html
import json
import os
import re
import subprocess
import sys
import time
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from symphony_ui import html as page_html
from symphony_ui.arrow import read
from symphony_ui.components import Component, Markdown, Scatter, Summary, Tab
from symphony_ui.errors import FormatError, SizeError, SymphonyError
from symphony_ui.files import replace_file
from symphony_ui.media import Image, Text
from symphony_ui.page import Page
from symphony_ui.saved import elements, load, read_file

HOSTILE = (
    "</script><script>alert(1)</script><!--<script>--></style></title>\"'><img src=x onerror=x()>"
    "\u2028\u2029&lt;&amp;\0\r\n]]>"
)
EXPORT = "export default { render({el}) { el.textContent = '</script><!--' } }"


class Violin(Component):
    esm = EXPORT
    column: str


class Elements(HTMLParser):
    """Names and attributes of all elements, and the text of scripts, styles and titles."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.found, self.inside = [], False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append([tag, dict(attrs), ""])
        self.inside = True

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.found[-1][2] += data

    def of(self, tag):
        return [(attrs, text) for name, attrs, text in self.found if name == tag]


def full_page(n=40):
    rng = np.random.default_rng(0)
    page = Page(
        {
            "x": rng.normal(size=n),
            "y": rng.normal(size=n).astype(np.float32),
            "whole": np.arange(n),
            "wide": [2**60 + k for k in range(n)],
            "flag": [None, *[k % 2 == 0 for k in range(n - 1)]],
            "label": np.array(["a", "b"])[np.arange(n) % 2],
            "note": [f"text {k} " * 20 for k in range(n)],
            "when": np.datetime64("2024-01-31T12:30", "ms") + np.arange(n),
            "link": [f"https://example.org/{k}" for k in range(n)],
            "picture": list(rng.integers(0, 255, (n, 6, 6), dtype=np.uint8)),
        },
        [
            Tab("One", [[Summary(), Scatter("x", "y", color="label")]]),
            Tab("Two", [Violin("x", title="V"), Markdown(HOSTILE)]),
        ],
        title="Full",
        id="whole",
        kinds={"link": "url"},
        group_by=["label"],
        sort=["-x"],
    )
    page.filter = 'label == "a" and x > -10'
    page.selected = [0, 2, 5]
    page.annotate(3, "odd", HOSTILE.replace("\0", ""))
    return page


# the same bytes


def test_the_same_page_has_the_same_bytes_in_every_process(tmp_path):
    code = (
        "import hashlib, numpy as np\n"
        "from symphony_ui.page import Page\n"
        "page = Page({'a': np.arange(5000), 'b': ['x', 'y'] * 2500}, title='T')\n"
        "page.filter = 'a >= 3'; page.annotate(1, 'l', 'n')\n"
        "print(hashlib.sha256(page.to_html().encode()).hexdigest())"
    )
    made = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(made) == 1


def test_what_was_saved_loaded_and_saved_again_has_the_same_bytes(tmp_path):
    first = full_page().save(tmp_path / "a.html")
    second = load(first).save(tmp_path / "b.html")
    assert first.read_bytes() == second.read_bytes()


def test_the_file_holds_no_time_and_no_path_of_this_machine(tmp_path):
    text = full_page().to_html()
    for found in (str(tmp_path), os.getcwd(), time.strftime("%Y-%m-%d")):
        assert found not in text


# the document and its policy


def test_only_what_the_page_was_made_with_may_run():
    found = Elements(full_page().to_html())
    (policy,) = [a["content"] for a, _ in found.of("meta") if "http-equiv" in a]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    scripts = [text for a, text in found.of("script") if a["type"] == "module"]
    assert rules["default-src"] == "'none'"
    assert rules["script-src"].split() == [page_html.digest(text) for text in scripts]
    assert rules["style-src"] == page_html.digest(found.of("style")[0][1])
    assert rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == rules["media-src"] == "data: blob:"
    assert set(rules) == {"default-src", "script-src", "style-src", "img-src", "media-src",
                          "base-uri", "form-action"}  # fmt: skip
    assert "unsafe" not in policy
    assert "http" not in policy


def test_the_policy_comes_before_everything_that_it_rules():
    names = [name for name, _, _ in Elements(full_page().to_html()).found]
    assert names[:4] == ["html", "head", "meta", "meta"]
    assert names[4:8] == ["meta", "title", "style", "body"]
    assert set(names) == {"html", "head", "meta", "title", "style", "body", "div", "script"}


def test_no_element_fetches_anything():
    for _, attrs, _ in Elements(full_page().to_html()).found:
        assert not {"src", "href", "srcset", "style", "onload", "onerror"} & set(attrs)


def structure(text):
    return [
        (name, sorted(attrs) if name != "script" else attrs.get("type"))
        for name, attrs, _ in Elements(text).found
    ]


@pytest.mark.parametrize("place", ["cell", "column", "title", "option", "tab", "media", "note"])
def test_hostile_text_ends_no_element_wherever_it_stands(place, tmp_path):
    def page(text):
        at = {name: text if name == place else "plain" for name in
              ("cell", "column", "title", "option", "tab", "media", "note")}  # fmt: skip
        data = {at["column"].replace("\0", "") + " column": [at["cell"], "b", None], "n": [1, 2, 3]}
        made = Page(
            data,
            [Tab(at["tab"], [Markdown(at["option"], title=at["option"])])],
            title=at["title"],
            media={at["media"]: Text([at["cell"]] * 3)},
        )
        made.annotate(0, at["note"], at["note"])
        return made

    text = page(HOSTILE).to_html()
    assert structure(text) == structure(page("plain").to_html())
    assert "<script>alert" not in text
    assert "<img" not in text.split("<script", 1)[0]
    back = load(page(HOSTILE).save(tmp_path / "a.html"))
    assert back.to_html() == text


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=40))
def test_json_in_a_page_reads_the_same_and_can_end_nothing(text):
    made = page_html.inline_json({"key": text, text: 1})
    assert json.loads(made) == {"key": text, text: 1}
    assert not re.search("[<>&\u2028\u2029]", made)
    made.encode()


@pytest.mark.parametrize("text", ["\ud800", "a\udfff</script>"])
def test_lone_surrogates_do_not_break_a_page(text, tmp_path):
    page = Page({"a": [text, "b"]}, [Tab(text, [Markdown(text)])], title=text)
    assert load(page.save(tmp_path / "a.html")).layout.spec() == page.layout.spec()


def test_json_refuses_what_browsers_do_not_read():
    with pytest.raises(ValueError, match="not JSON compliant"):
        page_html.inline_json([float("nan")])


def test_a_module_reads_the_same_in_a_script_element():
    text = "a = '</SCRIPT>'; b = '<!-- <script>'; if (i <script.length) {}\r\nc\rd"
    made = page_html.inline_script(text)
    assert made == ("a = '\\x3c/SCRIPT>'; b = '\\x3c!-- <script>'; if (i <script.length) {}\nc\nd")
    assert Elements(f"<script>{made}</script>").of("script")[0][1] == made
    with pytest.raises(FormatError, match="NUL"):
        page_html.inline_script("a\0b")


def test_a_module_becomes_a_registration_before_the_bundle():
    text = Page({"x": [1]}, [Violin("x")]).to_html()
    scripts = [t for a, t in Elements(text).of("script") if a["type"] == "module"]
    assert len(scripts) == 2
    assert scripts[0].startswith('(globalThis.symphonyComponents ??= {})["violin"] = { render')
    assert "\\x3c/script>" in scripts[0]
    assert scripts[1] == page_html.asset("symphony.js")


# blocks


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 3000), st.text(max_size=20))
def test_blocks_come_back_whatever_their_bytes_and_their_name(raw, repeat, name):
    content = raw + b"a" * repeat
    element = page_html.block_element(name, content)
    (head, body) = next(elements(element))
    assert html.unescape(re.search('id="([^"]*)"', head)[1]) == f"block:{name}"
    packed = "gzip" in head
    plain = base64.b64decode(body)
    assert (gzip.decompress(plain) if packed else plain) == content


def test_only_what_shrinks_by_a_tenth_is_packed():
    rng = np.random.default_rng(0)
    assert page_html.shrinks(b"a" * 1000)
    assert not page_html.shrinks(rng.bytes(1000))
    assert not page_html.shrinks(b"")
    assert page_html.shrinks(rng.bytes(100_000) + b"a" * 10_000_000)
    assert not page_html.shrinks(b"a" * 100 + rng.bytes(10_000_000))


def test_the_blocks_are_arrow_streams_that_any_tool_reads(tmp_path):
    file = read_file(full_page().save(tmp_path / "a.html"))
    table = read(file.blocks["data"], "data")
    assert table.column_names == [
        "x",
        "y",
        "whole",
        "wide",
        "flag",
        "label",
        "note",
        "when",
        "link",
    ]
    assert table.num_rows == 40
    assert read(file.blocks["media:picture"], "media").column_names == ["mime", "bytes"]


@pytest.mark.parametrize("packs", [True, False])
def test_a_page_takes_at_most_1_4_times_its_columns_and_250_kB(packs):
    rng = np.random.default_rng(0)
    n = 100_000
    draw = (lambda: rng.integers(0, 5, n).astype(float)) if packs else (lambda: rng.normal(size=n))
    data = {name: draw() for name in "abcd"}
    raw = sum(column.nbytes for column in data.values())
    assert len(Page(data).to_html().encode()) <= 1.4 * raw + 250_000


def test_display_precision_halves_float64_and_leaves_integers(tmp_path):
    rng = np.random.default_rng(0)
    page = Page({"x": rng.normal(size=5000), "n": np.arange(5000) + 2**40})
    exact, display = page.to_html(), page.to_html(precision="display")
    assert len(exact) - len(display) > 5000 * 4
    back = load(replace_file(tmp_path / "a.html", display.encode()))
    assert back.frame("all")["n"] == page.frame("all")["n"].tolist()
    assert np.allclose(back.frame("all")["x"], page.frame("all")["x"], rtol=1e-7)
    with pytest.raises(FormatError, match="precision must be 'exact' or 'display'"):
        page.to_html(precision="rough")


# size


def test_a_page_that_is_too_large_names_its_heaviest_columns_and_writes_nothing(tmp_path):
    rng = np.random.default_rng(0)
    page = Page({
        "small": np.zeros(20_000), "big": rng.normal(size=20_000),
        "text": [str(v) * 3 for v in rng.normal(size=20_000)], "one": [1] * 20_000,
    })  # fmt: skip
    with pytest.raises(SizeError, match=r"takes .* take 300 kB; heaviest: text \(\d+ kB\), big"):
        page.save(tmp_path / "a.html", max_bytes=300_000)
    assert not list(tmp_path.iterdir())


def test_heavy_media_are_named_too():
    rng = np.random.default_rng(0)
    page = Page({"x": [1.0] * 50, "p": list(rng.integers(0, 255, (50, 64, 64), dtype=np.uint8))})
    with pytest.raises(SizeError, match=r"heaviest: p \(2\d\d kB\).*Image\(size=32\)"):
        page.to_html(max_bytes=250_000)


def test_far_too_many_cells_are_refused_before_they_are_written(monkeypatch):
    monkeypatch.setattr(page_html, "CELLS", 1000)
    page = Page({"a": np.zeros(300_000), "b": np.random.default_rng(0).normal(size=300_000)})
    monkeypatch.setattr(page, "block", lambda name: pytest.fail("a block was made"))
    with pytest.raises(SizeError, match="heaviest:"):
        page.to_html(max_bytes=500_000)


def test_a_page_that_shrinks_below_the_limit_is_written():
    assert len(Page({"x": np.zeros(1_000_000)}).to_html(max_bytes=400_000)) < 400_000


def test_sizes_are_written_for_people():
    assert [page_html.size_text(n) for n in (0, 999, 1000, 999_499, 1e6, 12_345_678)] == [
        "0 bytes", "999 bytes", "1 kB", "999 kB", "1.0 MB", "12.3 MB",
    ]  # fmt: skip


# read back


def test_data_state_annotations_and_modules_come_back(tmp_path):
    page = full_page()
    back = load(page.save(tmp_path / "a.html"))
    assert (back.title, back.id, back.rows) == (page.title, page.id, page.rows)
    assert back.state == page.state
    assert back.annotations == page.annotations
    assert back.layout.spec() == page.layout.spec()
    assert back.modules.keys() == page.modules.keys()
    assert back.spec("live")["columns"] == page.spec("live")["columns"]
    for name in ("x", "wide", "flag", "label", "note"):
        held = page.frame("all")[name]
        cells = [
            None if v is None else v for v in (held.tolist() if hasattr(held, "tolist") else held)
        ]
        assert list(map(str, back.frame("all")[name])) == list(map(str, cells)), name
    assert np.array_equal(back.visible, page.visible)
    assert back.table.media["picture"].item(7) == page.table.media["picture"].item(7)


def test_a_page_that_came_back_can_be_changed_and_saved_again(tmp_path):
    back = load(full_page().save(tmp_path / "a.html"))
    back.filter = "x > 0"
    back.annotate(5, "new")
    again = load(back.save(tmp_path / "b.html"))
    assert again.annotations["row"] == [3, 5]
    assert str(again.filter) == str(back.filter)


def test_modules_that_no_component_uses_are_left_out(tmp_path):
    path = Page({"x": [1]}, [Violin("x")]).save(tmp_path / "a.html")
    file = read_file(path)
    assert list(file.modules) == ["violin"]
    assert file.modules["violin"].startswith("export default { render")


@pytest.mark.parametrize("rows", [0, 1])
def test_empty_tables_come_back(rows, tmp_path):
    page = Page({"a": np.zeros(rows), "t": ["x"] * rows, "b": np.zeros(rows, bool)})
    back = load(page.save(tmp_path / "a.html"))
    assert back.rows == rows
    assert Page({}).rows == load(Page({}).save(tmp_path / "b.html")).rows == 0


def test_a_copy_as_a_browser_writes_it_comes_back(tmp_path):
    """Another order of attributes, other escapes, other spaces, an unsorted spec."""
    text = full_page().to_html()
    head, rest = text.split('id="symphony-spec">', 1)
    body, rest = rest.split("</script>", 1)
    spec = json.loads(body)
    spec["annotations"] = {"row": [1], "label": ["seen"], "note": [""]}
    spec = dict(reversed(spec.items()))
    body = json.dumps(spec).replace("<", "\\u003c")
    text = head.replace("\n<head>\n", "<head>") + 'id="symphony-spec">' + body + "</script>" + rest
    back = load(replace_file(tmp_path / "a.html", (text + "\n").encode()))
    assert back.annotations == {"row": [1], "id": [1], "label": ["seen"], "note": [""]}


# broken files


@pytest.fixture(scope="module")
def whole():
    text = full_page(12).to_html()
    return text.replace(page_html.inline_script(page_html.asset("symphony.js")), "the bundle")


def attempt(text, path):
    """What reading gives: a page, or a FormatError."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    try:
        return load(path)
    except FormatError as error:
        return error


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_short_is_a_format_error(share, whole, tmp_path):
    made = attempt(whole[: int(len(whole) * share)], tmp_path / "a.html")
    assert isinstance(made, FormatError)


def spread(whole):
    """The parts of a file outside its style, where tampering can matter."""
    return whole.index("<div"), len(whole) - 1


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_tampered_file_is_a_page_or_a_format_error(whole, tmp_path, data):
    lo, hi = spread(whole)
    text = list(whole)
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(lo, hi))
        text[at : at + data.draw(st.integers(0, 3))] = data.draw(st.text(max_size=3))
    made = attempt("".join(text), tmp_path / "a.html")
    if isinstance(made, Page):
        made.spec("live")


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_tampered_blocks_are_a_page_or_a_format_error(whole, tmp_path, data):
    """The bytes within base64, so that Arrow itself is reached."""
    name = data.draw(st.sampled_from(["data", "media:picture"]))
    found = re.search(f'(id="block:{name}" data-encoding=")([^"]*)(">)([^<]*)', whole)
    raw = base64.b64decode(found[4])
    raw = bytearray(gzip.decompress(raw) if found[2].startswith("gzip") else raw)
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    body = base64.b64encode(raw).decode()
    text = whole[: found.start(2)] + f'base64">{body}' + whole[found.end() :]
    made = attempt(text, tmp_path / "a.html")
    if isinstance(made, Page):
        made.visible  # noqa: B018
        made.to_html()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=400), st.sampled_from([b"", b'<script id="symphony-spec">', b"<script "]))
def test_random_bytes_are_a_format_error(tmp_path, raw, head):
    assert isinstance(attempt(head + raw + b"</html>\n", tmp_path / "a.html"), FormatError)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_spec_of_any_json_is_a_page_or_a_format_error(whole, tmp_path, data):
    at = whole.index('id="symphony-spec">') + 19
    end = whole.index("</script>", at)
    spec = json.loads(whole[at:end])
    where = spec
    for _ in range(data.draw(st.integers(0, 5))):
        inner = [k for k in (where if isinstance(where, dict) else range(len(where)))
                 if isinstance(where[k], (dict, list)) and where[k]]  # fmt: skip
        if not inner:
            break
        where = where[data.draw(st.sampled_from(inner))]
    key = data.draw(st.sampled_from(list(where if isinstance(where, dict) else range(len(where)))))
    where[key] = data.draw(json_values)
    made = attempt(whole[:at] + json.dumps(spec).replace("<", "\\u003c") + whole[end:],
                   tmp_path / "a.html")  # fmt: skip
    if isinstance(made, Page):
        made.spec("live")


@pytest.mark.parametrize(
    "text",
    [
        "<script>" * 400_000,
        "<script " * 400_000,
        '<script id="symphony-spec">{}</script>' + "<script>" * 400_000,
        f"<script {'a' * 3_000_000}>x</script>",
        f"<script>{' ' * 3_000_000}</script>",
        f"<script>{'(globalThis.symphonyComponents ??= {})[' * 80_000}</script>",
        f"<script>{'(globalThis.symphonyComponents ??= {})[' * 80_000}\"</script>",
        f'<script id="symphony-spec">{"[" * 1_000_000}</script>',
        f'<script id="symphony-spec">{"9" * 1_000_000}</script>',
        f'<script id="symphony-spec:{"a" * 1_000_000}">{{}}</script>',
        '<script>(globalThis.symphonyComponents ??= {})["\\x"] =</script>',
    ],
)  # fmt: skip
def test_files_made_to_be_slow_are_refused_at_once(text, tmp_path):
    began = time.process_time()
    assert isinstance(attempt(text + "</html>", tmp_path / "a.html"), FormatError)
    assert time.process_time() - began < 2


def replaced(whole, old, new):
    assert old in whole
    return whole.replace(old, new, 1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"v":1}', '"v":2}', "version 1 of a page, not 2"),
        ('"rows":12,', '"rows":13,', "block of data has 12 rows"),
        ('"rows":12,', '"rows":-1,', "a number of rows"),
        ('"rows":12,', '"rows":true,', "a number of rows"),
        ('id="block:data"', 'id="block:date"', "no block of data"),
        ('id="block:media:picture"', 'id="block:media:p"', "no Arrow stream"),
        ('"kind":"time"', '"kind":"number"', "is no number"),
        ('"type":"image"', '"type":"film"', "no such media"),
        ('data-encoding="gzip+base64"', 'data-encoding="zip"', "an encoding that is not known"),
        ('["violin"] =', '["other"] =', "has no module"),
        ('"row":[3]', '"row":[12]', "annotations name rows"),
        ('"symphony-spec"', '"symphony-page"', "no saved page"),
        ('"group_by":["label"]', '"group_by":["lobel"]', "does not fit together.*label"),
    ],
)
def test_what_does_not_fit_together_says_what_it_is(old, new, message, whole, tmp_path):
    made = attempt(replaced(whole, old, new), tmp_path / "a.html")
    assert isinstance(made, FormatError)
    assert re.search(message, str(made)), made


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
def test_a_packed_block_that_is_damaged_anywhere_is_refused(share, whole, tmp_path):
    found = re.search('id="block:data" data-encoding="gzip[+]base64">([^<]*)', whole)
    raw = bytearray(base64.b64decode(found[1]))
    raw[10 + int(share * (len(raw) - 11))] ^= 0xFF
    made = attempt(whole.replace(found[1], base64.b64encode(raw).decode()), tmp_path / "a.html")
    assert "block:data is broken" in str(made)


def test_media_that_a_page_does_not_show_are_refused(tmp_path):
    class Markup(Text):
        def item(self, value):
            return "text/html", value.encode()

    text = Page({"x": [1]}, media={"t": Markup(["<b>"])}).to_html()
    assert "holds 'text/html', which is not shown" in str(attempt(text, tmp_path / "a.html"))


def test_blocks_that_unpack_to_too_much_are_refused(monkeypatch, tmp_path, whole):
    from symphony_ui import saved

    monkeypatch.setattr(saved, "INFLATED", 1000)
    assert "holds more than" in str(attempt(whole, tmp_path / "a.html"))


def test_a_block_that_is_cut_short_is_refused(tmp_path):
    from symphony_ui import saved

    packed = base64.b64encode(gzip.compress(b"a" * 5000))
    assert saved._bytes(packed.decode(), "gzip+base64", "it") == b"a" * 5000
    for cut in (1, 8, 12):
        short = base64.b64encode(gzip.compress(b"a" * 5000)[:-cut]).decode()
        with pytest.raises(FormatError, match="it is broken: it is cut short"):
            saved._bytes(short, "gzip+base64", "it")


def test_what_is_no_file_is_a_format_error(tmp_path):
    for path in (tmp_path / "none.html", tmp_path):
        with pytest.raises(FormatError, match="cannot be read"):
            load(path)


# files


def test_a_file_is_replaced_whole_with_the_rights_of_a_plain_one(tmp_path):
    path, plain = tmp_path / "a.html", tmp_path / "plain"
    plain.touch()
    assert replace_file(path, b"one") == path
    assert replace_file(str(path), b"two") == path
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode == plain.stat().st_mode
    assert {p.name for p in tmp_path.iterdir()} == {"a.html", "plain"}


def test_a_link_stays_a_link_and_long_names_do(tmp_path):
    real = tmp_path / "real.html"
    real.write_bytes(b"old")
    os.symlink(real, tmp_path / "link.html")
    replace_file(tmp_path / "link.html", b"new")
    assert (tmp_path / "link.html").is_symlink()
    assert real.read_bytes() == b"new"
    assert replace_file(tmp_path / ("n" * 250), b"x").read_bytes() == b"x"


def test_a_place_that_is_none_is_said_by_its_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such folder.*none'"):
        replace_file(tmp_path / "none" / "a.html", b"")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        replace_file(tmp_path, b"")


def test_a_write_that_is_killed_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.html"
    path.write_bytes(b"old")
    code = (
        "import os, signal, sys\n"
        "from symphony_ui import files\n"
        "files.os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL)\n"
        "files.replace_file(sys.argv[1], b'new' * 100000)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode < 0
    assert path.read_bytes() == b"old"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.html"
    path.write_bytes(b"old")

    def fail(*names):
        raise OSError("no space")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        replace_file(path, b"new")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


# in a frame


def test_a_page_in_a_frame_is_the_page_and_may_do_no_more_than_run():
    page = Page({"x": [1]}, title=HOSTILE)
    (frame,) = Elements(page.static(height=300)._repr_html_()).of("iframe")
    assert frame[0]["srcdoc"] == page.to_html()
    assert frame[0]["sandbox"] == "allow-scripts allow-downloads"
    assert "height:300px" in frame[0]["style"]
    with pytest.raises(SizeError):
        page.static(max_bytes=1000)


def test_a_page_over_a_database_cannot_be_saved():
    page = Page({"x": [1]})
    page.table = None
    with pytest.raises(SymphonyError, match="cannot be saved, its rows stay in the database"):
        page.to_html()


def test_images_are_shrunk_in_the_file_and_not_in_python(tmp_path):
    array = np.zeros((1, 100, 100), np.uint8)
    page = Page({"p": list(array)}, media={"p": Image(size=10)})
    back = load(page.save(tmp_path / "a.html"))
    assert back.engine.specs()[0]["media"] == {"type": "image", "size": 10}
    assert page.frame("all")["p"][0].shape == (100, 100)

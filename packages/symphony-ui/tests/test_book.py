"""Books: several pages in one file."""

import re

import numpy as np
import pytest
from symphony_ui.book import Book
from symphony_ui.components import Component, Markdown, Scatter
from symphony_ui.errors import FormatError, SizeError, SymphonyError
from symphony_ui.page import Page
from symphony_ui.saved import load, load_book

HOSTILE = "</script><script>alert(1)</script>&\u2028"


def points(n=3):
    return Page({"x": list(range(n)), "y": [0.5] * n, "name": ["a"] * n}, title="Points")


def test_a_book_comes_back_with_its_tabs_pages_states_and_annotations(tmp_path):
    first, second = points(), Page({"z": [1.0, 2.0]}, title="Zs")
    first.filter = "x >= 1"
    second.selected = [1]
    second.annotate(0, "good", "a note")
    book = Book({"One": first, "Two": [points(), second]}, title="Both")
    back = load_book(book.save(tmp_path / "book.html"))
    assert back.title == "Both"
    assert {name: [page.title for page in pages] for name, pages in back.tabs.items()} == {
        "One": ["Points"],
        "Two": ["Points", "Zs"],
    }
    assert back.pages[0].visible.tolist() == [False, True, True]
    assert back.pages[2].selected.tolist() == [1]
    assert back.pages[2].annotations == second.annotations
    assert back.pages[2].frame("all")["z"] == [1.0, 2.0]


def test_the_same_book_has_the_same_bytes_and_so_has_its_copy(tmp_path):
    book = Book({HOSTILE: points(), "b": points(50)}, title=HOSTILE)
    text = book.to_html()
    assert text == Book({HOSTILE: points(), "b": points(50)}, title=HOSTILE).to_html()
    assert load_book(book.save(tmp_path / "b.html")).to_html() == text


def test_hostile_titles_and_tabs_end_no_element_and_blocks_do_not_mix(tmp_path):
    text = Book({HOSTILE: [points(), points(9)]}, title=HOSTILE).to_html()
    assert "<script>alert" not in text
    assert re.findall(r'id="(block:[^"]*)"', text) == ["block:0:data", "block:1:data"]
    assert re.findall(r'id="(symphony-spec[^"]*)"', text) == ["symphony-spec:0", "symphony-spec:1"]


def test_eleven_pages_are_told_apart(tmp_path):
    book = Book({f"tab {n}": points(n) for n in range(1, 13)})
    back = load_book(book.save(tmp_path / "b.html"))
    assert [page.rows for page in back.pages] == list(range(1, 13))


def test_only_a_page_with_several_components_gets_a_toolbar(tmp_path):
    def toolbars(*layouts):
        pages = [Page({"x": [1.0], "y": [2.0]}, layout) for layout in layouts]
        return re.findall(r'"toolbar":(true|false)', Book({"t": pages}).to_html())

    lone = [Scatter("x", "y")]
    assert toolbars(lone, [Markdown("text"), *lone], [*lone, Scatter("y", "x")]) == [
        "false",
        "false",
        "true",
    ]


def test_what_is_no_book_is_refused(tmp_path):
    with pytest.raises(SymphonyError, match="one tab or more, got none"):
        Book({})
    with pytest.raises(SymphonyError, match="tab 'a' holds int, it takes pages"):
        Book({"a": [1]})
    page = points().save(tmp_path / "page.html")
    book = Book({"a": points()}).save(tmp_path / "book.html")
    with pytest.raises(FormatError, match="read it with load_book"):
        load(book)
    with pytest.raises(FormatError, match="holds no book"):
        load_book(page)
    for old, new in (('"v":1,', '"v":9,'), ('"pages":[0]', '"pages":[7]'), ('"tabs":', '"x":')):
        broken = tmp_path / "broken.html"
        head, rest = book.read_text().split("symphony-book", 1)
        broken.write_text(head + "symphony-book" + rest.replace(old, new, 1))
        with pytest.raises(FormatError):
            load_book(broken)


def test_a_book_that_is_too_large_names_the_tab_that_weighs_most(tmp_path):
    noise = np.random.default_rng(0).normal(size=20_000)
    book = Book({"small": points(), "large": Page({"x": noise})})
    with pytest.raises(SizeError, match=r"heaviest tabs: large"):
        book.save(tmp_path / "b.html", max_bytes=300_000)
    assert not list(tmp_path.iterdir())


def test_two_components_of_one_name_must_be_the_same():
    class Bar(Component):
        esm = "export default { render() {} }"

    first = Page({"x": [1]}, [Bar()])

    class Bar(Component):
        esm = "export default { render() { return 1 } }"

    assert Book({"a": [first, first]}).to_html()
    with pytest.raises(FormatError, match="two pages have components called 'bar'"):
        Book({"a": first, "b": Page({"x": [1]}, [Bar()])}).to_html()

"""The page opens anywhere and hides nothing; the pictures hold n and intervals."""

import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from vpsa_fair import Result
from vpsa_fair.colors import diverging, ink, line, sequential
from vpsa_fair.plots import plot_curves, plot_matrix, png
from vpsa_fair.report import render

VOID = {"meta", "img", "br", "line", "rect"}


class Nesting(HTMLParser):
    """Checks that every element is closed where it should be."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def make(make_counts, **how):
    labels = ["a"] * 40 + ["b"] * 40 + ["<rare> & 'odd'"] * 3
    counts = make_counts(
        labels=labels, measures=("genuine", "impostor"), order={"impostor": 2}, chance=0.5, **how
    )
    strip = np.zeros((4, 8, 8, 3), dtype=np.uint8)
    return Result(
        counts, ("tone", "sex"), n_boot=60, meta={"model": "<b>m</b>"}, examples={"blur": strip}
    )


@pytest.mark.filterwarnings("ignore::vpsa_fair.SmallGroupWarning")
def test_the_page_needs_nothing_outside_of_it_and_is_well_nested(make_counts):
    page = render(make(make_counts))
    assert "http" not in page
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert page.count("data:image/png;base64,") == 1
    checker = Nesting()
    checker.feed(page.removeprefix("<!doctype html>"))
    assert checker.open == []


@pytest.mark.filterwarnings("ignore::vpsa_fair.SmallGroupWarning")
def test_labels_and_notes_are_escaped(make_counts):
    page = render(make(make_counts))
    assert "<rare>" not in page
    assert "&lt;rare&gt;" in page
    assert "<b>m</b>" not in page


@pytest.mark.filterwarnings("ignore::vpsa_fair.SmallGroupWarning")
def test_every_cell_has_its_interval_and_every_row_its_n(make_counts):
    res = make(make_counts)
    page = render(res)
    m = res.matrix(margins=True)
    for r in range(len(m.rows)):
        assert f"n={m.n[r]}<" in page
        for k in range(len(m.columns)):
            assert f">{m.low[r, k]:.2f} to {m.high[r, k]:.2f}<" in page
            assert f">{m.value[r, k]:.3f}<" in page
    assert page.count('fill="url(#hatch)"') > 0
    assert "Fewer than 10 identities" in page


@pytest.mark.filterwarnings("ignore::vpsa_fair.SmallGroupWarning")
def test_the_page_says_what_cannot_be_concluded_and_gives_no_verdict(make_counts):
    page = render(make(make_counts))
    assert "What this cannot tell" in page
    assert "nothing was inferred" in page
    assert not re.search(r"\b(un)?fair\b", page)
    for measure in ("genuine", "impostor"):  # FMR stands beside FNMR
        assert f"blur: {measure} answered right" in page


@pytest.mark.filterwarnings("ignore::vpsa_fair.SmallGroupWarning")
def test_the_picture_holds_n_values_and_intervals(make_counts):
    res = make(make_counts)
    m = res.matrix(margins=True)
    figure = plot_matrix(m)
    text = "\n".join(t.get_text() for t in figure.axes[0].texts)
    for value in m.value.ravel():
        assert f"{value:.3f}" in text
    assert text.count(" to ") == m.value.size
    labels = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert labels[0].endswith(f"n={m.n[0]}")
    hatched = [p for p in figure.axes[0].patches if p.get_hatch()]
    assert len(hatched) == m.small.sum() * len(m.columns)
    assert png(figure)[:4] == b"\x89PNG"


@pytest.mark.filterwarnings("ignore::vpsa_fair.SmallGroupWarning")
def test_the_picture_of_curves_names_every_group(make_counts):
    figure = plot_curves(make(make_counts), "blur")
    labels = [t.get_text() for t in figure.axes[0].get_legend().get_texts()]
    assert [label.split(",")[0] for label in labels] == ["<rare> & 'odd'", "a", "b"]
    assert len(figure.axes[0].lines) == 4  # and the line of chance


def test_colours_are_told_apart_and_ink_is_readable():
    assert sequential(0.0) != sequential(1.0)
    assert sequential(-5.0) == sequential(0.0)
    assert diverging(-1.0) != diverging(1.0)
    assert sequential(float("nan")) == diverging(float("nan"))
    assert ink("#ffffff") == "#000000"
    assert ink("#101010") == "#ffffff"
    assert len({line(i) for i in range(32)}) == 32


def test_the_core_imports_neither_torch_nor_matplotlib_nor_pandas():
    """And costs little beside numpy and pillow: a ratio, as the machine may be busy."""
    code = (
        "import sys, time; t = time.process_time()\n"
        "import numpy, PIL.Image; u = time.process_time()\n"
        "there = set(sys.modules); import vpsa_fair; v = time.process_time()\n"
        "bad = {'torch', 'matplotlib', 'pandas', 'scipy', 'pyarrow', 'numpy.random'}\n"
        "bad &= set(sys.modules) - there\n"
        "print(u - t, v - u, sorted(bad))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split(maxsplit=2)
    assert out[2].strip() == "[]"
    assert float(out[1]) < 2 * float(out[0])

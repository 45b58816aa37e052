"""The page about SmolLM2 in act-steer's documentation runs."""

from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser
from tenfold.data import language

PAGE = Path(__file__).parents[2] / "docs" / "act-steer" / "smollm2.md"


def examples():
    page = Sybil(parsers=[PythonCodeBlockParser()], pattern="*.md", path=str(PAGE.parent)).parse(
        PAGE
    )
    return list(page.examples())


def test_all_examples_of_the_page_are_found():
    assert len(examples()) == PAGE.read_text().count("```python") >= 4


@pytest.mark.slow
def test_the_examples_of_the_page_run_in_order(capsys):
    try:
        language.gguf_file()
    except language.ModelMissing as missing:
        pytest.skip(str(missing))
    for example in examples():
        example.evaluate()
    said = capsys.readouterr().out
    assert "maps of 60 modules" in said
    assert "labels by lot" in said

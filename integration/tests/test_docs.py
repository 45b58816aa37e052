"""The examples of "Fitting together" run."""

from pathlib import Path

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

PAGE = Path(__file__).parents[2] / "docs" / "fitting-together.md"


def test_the_examples_of_fitting_together_run_in_order():
    page = Sybil(parsers=[PythonCodeBlockParser()], pattern="*.md", path=str(PAGE.parent)).parse(
        PAGE
    )
    examples = list(page.examples())
    assert len(examples) == PAGE.read_text().count("```python")
    for example in examples:
        example.evaluate()

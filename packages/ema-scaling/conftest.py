"""Runs the examples of the README and of the docstrings with the tests."""

from doctest import ELLIPSIS

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser
from sybil.parsers.rest import DocTestParser

_readme = Sybil(parsers=[PythonCodeBlockParser()], patterns=["README.md"])
_docstrings = Sybil(
    parsers=[DocTestParser(optionflags=ELLIPSIS)],
    patterns=["src/ema_scaling/*.py", "src/ema_scaling/integrations/*.py"],
)

pytest_collect_file = (_readme + _docstrings).pytest()

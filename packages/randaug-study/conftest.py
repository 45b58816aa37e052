"""The examples of the README and of the docstrings are tests."""

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser
from sybil.parsers.rest import DocTestParser

readme = Sybil(parsers=[PythonCodeBlockParser()], patterns=["README.md"])
docstrings = Sybil(parsers=[DocTestParser()], patterns=["src/**/*.py"])
pytest_collect_file = (readme + docstrings).pytest()

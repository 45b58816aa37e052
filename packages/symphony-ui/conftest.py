"""The examples of the README and of the docstrings are tests."""

import os
import tempfile

from sybil import Sybil
from sybil.evaluators.doctest import NUMBER
from sybil.parsers.markdown import PythonCodeBlockParser
from sybil.parsers.rest import DocTestParser


def _elsewhere(namespace: dict[str, object]) -> None:
    """Examples write their files in a folder of their own."""
    namespace["_home"] = os.getcwd()
    namespace["_folder"] = tempfile.TemporaryDirectory()
    os.chdir(namespace["_folder"].name)


def _back(namespace: dict[str, object]) -> None:
    os.chdir(namespace["_home"])
    namespace["_folder"].cleanup()


readme = Sybil(
    parsers=[PythonCodeBlockParser()], patterns=["README.md"], setup=_elsewhere, teardown=_back
)
docstrings = Sybil(parsers=[DocTestParser(NUMBER)], path="src", patterns=["*.py"])
pytest_collect_file = (readme + docstrings).pytest()

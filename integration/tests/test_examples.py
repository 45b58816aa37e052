"""The examples of the modules' docstrings run."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["augment", "classifiers", "data.text", "encoders"])
def test_examples_in_docstrings_run(name):
    found = doctest.testmod(importlib.import_module(f"tenfold.{name}"))
    assert found.attempted > 0
    assert found.failed == 0

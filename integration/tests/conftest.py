import importlib.util
from pathlib import Path

import pytest
from symphony_ui import load_book

STUDIES = Path(__file__).parents[1] / "studies"


@pytest.fixture(scope="session")
def study_module():
    """A function from a study's folder and a file's stem to the module in it."""

    def load(study, stem):
        path = STUDIES / study / f"{stem}.py"
        spec = importlib.util.spec_from_file_location(f"{study}_{stem}", path)
        found = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
        return found

    return load


@pytest.fixture
def texts():
    """A function from a tour's page to the prose of each of its tabs."""
    return read


def read(path):
    """The prose of each tab, with Markdown's backslashes taken out."""
    book = load_book(path)
    return {
        tab: "\n".join(
            placed.component.text.replace("\\", "")
            for page in pages
            for placed in page.layout.all()
            if placed.component.type == "markdown"
        )
        for tab, pages in book.tabs.items()
    }

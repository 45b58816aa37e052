import pytest
from symphony_ui import load_book


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

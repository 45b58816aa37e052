"""Interactive pages composed from tables: in a notebook, live, and as one offline HTML file.

Names are resolved when they are first used, so that a page imports neither server nor analyses.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from symphony_ui.analysis import (
        analyze,
        confusion,
        duplicates,
        exact_duplicates,
        familiarity,
        project,
        subgroups,
    )
    from symphony_ui.book import Book
    from symphony_ui.components import (
        Annotate,
        Choropleth,
        Compare,
        Component,
        ConfusionMatrix,
        Duplicates,
        Familiarity,
        Heatmap,
        Instances,
        Lines,
        Markdown,
        Scatter,
        Subgroups,
        Summary,
        Tab,
        Table,
        Vega,
    )
    from symphony_ui.engine.ibis import Ibis
    from symphony_ui.errors import (
        ColumnError,
        FilterError,
        FormatError,
        MediaError,
        SizeError,
        SymphonyError,
    )
    from symphony_ui.filter import Filter
    from symphony_ui.layout import auto
    from symphony_ui.media import Audio, Image, Media, Text
    from symphony_ui.page import Page
    from symphony_ui.saved import load, load_book
    from symphony_ui.state import State

_HOMES = {
    "page": ("Page",),
    "book": ("Book",),
    "saved": ("load", "load_book"),
    "layout": ("auto",),
    "components": (
        "Annotate", "Choropleth", "Compare", "Component", "ConfusionMatrix", "Duplicates",
        "Familiarity", "Heatmap", "Instances", "Lines", "Markdown", "Scatter", "Subgroups",
        "Summary", "Tab", "Table", "Vega",
    ),
    "media": ("Audio", "Image", "Media", "Text"),
    "filter": ("Filter",),
    "state": ("State",),
    "engine.ibis": ("Ibis",),
    "errors": (
        "ColumnError", "FilterError", "FormatError", "MediaError", "SizeError", "SymphonyError",
    ),
    "analysis": (
        "analyze", "confusion", "duplicates", "exact_duplicates", "familiarity", "project",
        "subgroups",
    ),
}  # fmt: skip
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Annotate",
    "Audio",
    "Book",
    "Choropleth",
    "ColumnError",
    "Compare",
    "Component",
    "ConfusionMatrix",
    "Duplicates",
    "Familiarity",
    "Filter",
    "FilterError",
    "FormatError",
    "Heatmap",
    "Ibis",
    "Image",
    "Instances",
    "Lines",
    "Markdown",
    "Media",
    "MediaError",
    "Page",
    "Scatter",
    "SizeError",
    "State",
    "Subgroups",
    "Summary",
    "SymphonyError",
    "Tab",
    "Table",
    "Text",
    "Vega",
    "analyze",
    "auto",
    "confusion",
    "duplicates",
    "exact_duplicates",
    "familiarity",
    "load",
    "load_book",
    "project",
    "subgroups",
]


def __getattr__(name: str) -> Any:
    if (module := _HOME_OF.get(name)) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return __all__

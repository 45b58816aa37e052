"""Analyses: numpy arrays in, named results out; each has ``to_table()`` for a page."""

from symphony_ui.analysis.analyze import Analysis, analyze
from symphony_ui.analysis.confusion import Confusion, Metrics, confusion
from symphony_ui.analysis.duplicates import Duplicates, duplicates
from symphony_ui.analysis.exact import exact_duplicates
from symphony_ui.analysis.familiarity import Familiarity, Mixture, familiarity
from symphony_ui.analysis.project import project
from symphony_ui.analysis.subgroups import Cell, Gap, Subgroups, subgroups

__all__ = [
    "Analysis",
    "Cell",
    "Confusion",
    "Duplicates",
    "Familiarity",
    "Gap",
    "Metrics",
    "Mixture",
    "Subgroups",
    "analyze",
    "confusion",
    "duplicates",
    "exact_duplicates",
    "familiarity",
    "project",
    "subgroups",
]

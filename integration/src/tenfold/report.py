"""What the reports of all studies share: intervals, tables, figures, and the files they write.

Needs the group ``study``; no station imports it.
"""

import argparse
import json
import os
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from scipy.stats import t as student

from tenfold.study import Task, read_journal

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "tenfold", "axes.spines.top": False, "font.size": 9})
mpl.rcParams.update({"axes.spines.right": False, "legend.frameon": False})

Runs = list[tuple[Task, dict[str, Any]]]
Table = dict[str, list[str]]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and half of its 95 % interval over seeds, by Student's t; 0 with one value."""
    if len(values) < 2:
        return float(np.mean(values)), 0.0
    half = student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return float(np.mean(values)), float(half)


def number(values: Sequence[float], digits: int = 1) -> str:
    """Return ``mean ± half`` as text; of one value the mean alone."""
    mean, half = interval(values)
    return f"{mean:.{digits}f} ± {half:.{digits}f}" if len(values) > 1 else f"{mean:.{digits}f}"


def markdown(table: Table) -> str:
    """Return a table as Markdown."""
    head = f"| {' | '.join(table)} |\n|{'---|' * len(table)}\n"
    return head + "".join(f"| {' | '.join(row)} |\n" for row in zip(*table.values(), strict=True))


def begin(about: str, folder: Path) -> tuple[dict[str, Runs], Path]:
    """Return the runs by part of the journal that the command line names, and its folder.

    The order does not depend on when the runs finished. A journal without a run ends the command
    with one line and exit status 2.

    Args:
        about: the report's docstring.
        folder: where the study's own journal is.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--journal", type=Path, default=folder / "journal.jsonl")
    journal = parser.parse_args().journal
    parts: dict[str, Runs] = defaultdict(list)
    runs = read_journal(journal)
    for task, result in sorted(runs, key=lambda run: json.dumps(run[0], sort_keys=True)):
        parts[task["part"]].append((task, result))
    if not parts:
        print(f"{journal} holds no run: start run.py first", file=sys.stderr)
        raise SystemExit(2)
    return parts, journal.parent


def save_figure(figure: Any, path: Path) -> None:
    """Write a matplotlib figure as an SVG whose bytes depend on the numbers alone, and close it."""
    import matplotlib.pyplot as plt

    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line.rstrip() for line in lines) + "\n")


def write_report(folder: Path, text: str, summary: Mapping[str, Any]) -> None:
    """Write results.md, and summary.json for the station."""
    (folder / "results.md").write_text(text)
    draft = folder / "summary.json.draft"
    draft.write_text(json.dumps(summary, indent=1) + "\n")
    os.replace(draft, folder / "summary.json")
    print(text)

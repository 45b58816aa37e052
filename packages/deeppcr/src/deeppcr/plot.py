"""Figures of speed-ups and of convergence; needs the extra ``deeppcr[plot]``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deeppcr.report import Report


def plot_speedup(
    table: Mapping[str, Sequence[float]], *, value: str = "speedup", title: str = ""
) -> Any:
    """A figure of speed-up over depth and width, on a logarithmic colour scale around one.

    Args:
        table: columns ``L`` (steps), ``d`` (width) and ``value`` (loop's time over ours); one row
            a cell, as ``python -m deeppcr bench --json`` and ``benchmarks/auto.py`` write them.
        value: the column to draw.
        title: text above the figure.

    Returns:
        A matplotlib Figure; it is not shown.

    Raises:
        ValueError: for columns that are missing, empty or of different lengths, or speed-ups that
            are not positive.
        ImportError: without matplotlib.

    Source:
        The paper draws its speed-ups over depth and width; the scale is ours.

    Example:
        >>> table = {"L": [64, 64, 256, 256], "d": [1, 4, 1, 4], "speedup": [2, 1, 8, 3]}
        >>> len(plot_speedup(table).axes)
        2
    """
    columns = [list(table.get(name, ())) for name in ("L", "d", value)]
    if not columns[0] or len({len(column) for column in columns}) > 1:
        got = {name: len(column) for name, column in table.items()}
        raise ValueError(f"table needs columns L, d and {value} of one length, got {got}")
    if not min(columns[2]) > 0:
        raise ValueError(f"{value} must be positive everywhere, got {min(columns[2])}")
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    depths, widths = sorted(set(columns[0])), sorted(set(columns[1]))
    cells = {(n, d): v for n, d, v in zip(*columns, strict=True)}
    grid = [[cells.get((n, d), float("nan")) for n in depths] for d in widths]
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes = figure.subplots()
    reach = max(*columns[2], *(1 / v for v in columns[2]), 1.1)
    drawn = axes.imshow(
        grid, origin="lower", aspect="auto", cmap="RdBu", norm=LogNorm(1 / reach, reach)
    )
    for (n, d), v in cells.items():
        axes.text(depths.index(n), widths.index(d), f"{v:.3g}", ha="center", va="center")
    axes.set_xticks(range(len(depths)), [f"{n:g}" for n in depths])
    axes.set_yticks(range(len(widths)), [f"{d:g}" for d in widths])
    axes.set(xlabel="steps L", ylabel="width d", title=title)
    figure.colorbar(drawn, label="times as fast as the loop")
    return figure


def plot_residuals(reports: Mapping[str, Report] | Report, *, title: str = "") -> Any:
    """A figure of the residual before each iteration, one line a report.

    Args:
        reports: one report, or several by name.
        title: text above the figure.

    Returns:
        A matplotlib Figure; it is not shown.

    Raises:
        ValueError: where no report has residuals: the loop was chosen.
        ImportError: without matplotlib.

    Example:
        >>> report = Report(True, "residual", 2, (1.0, 1e-2, 1e-5), (1.0, 1e-2, 1e-5))
        >>> plot_residuals(report).axes[0].get_yscale()
        'log'
    """
    named = {"": reports} if isinstance(reports, Report) else dict(reports)
    named = {name: report for name, report in named.items() if report.residuals}
    if not named:
        raise ValueError("reports must hold residuals: the loop ran without an iteration")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, report in named.items():
        axes.semilogy(range(len(report.residuals)), report.residuals, marker="o", label=name)
    axes.set(xlabel="iteration", ylabel="largest residual", title=title)
    if any(named):
        axes.legend()
    return figure

"""Pictures by matplotlib, for papers and slides; needs the extra ``plot``."""

import io
from typing import TYPE_CHECKING

from vpsa_fair.colors import ink, line
from vpsa_fair.matrix import Matrix
from vpsa_fair.svg import cell_lines, fill

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    from vpsa_fair.result import Result

__all__ = ["plot_curves", "plot_matrix", "png"]


def _figure(width: float, height: float) -> "Figure":
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'vpsa-fair[plot]'") from error
    return Figure(figsize=(width, height), layout="constrained")


def plot_matrix(matrix: Matrix) -> "Figure":
    """Heat map with n beside the rows and intervals in the cells.

    Args:
        matrix: of any kind; rows of small groups are hatched.

    Returns:
        A figure. ``figure.savefig("matrix.png", dpi=150)`` writes it; nothing is shown.

    Raises:
        ImportError: without matplotlib.
    """
    rows, columns = matrix.value.shape
    figure = _figure(2.2 + 1.15 * columns, 1.1 + 0.55 * rows)
    axes = figure.add_subplot()
    for r in range(rows):
        for k in range(columns):
            colour = fill(matrix, r, k)
            hatch = "///" if matrix.small[r] else None
            corner = (k - 0.5, r - 0.5)
            axes.add_patch(_box(corner, colour, hatch))
            value, span, p = cell_lines(matrix, r, k)
            small = "\n".join(t for t in (span, p) if t)
            axes.text(k, r - 0.12, value, ha="center", va="bottom", color=ink(colour), fontsize=10)
            axes.text(k, r - 0.08, small, ha="center", va="top", color=ink(colour), fontsize=7)
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_xticks(range(columns), [c.replace("_", "\n") for c in matrix.columns], fontsize=9)
    labels = [f"{g}\nn={n}" for g, n in zip(matrix.rows, matrix.n, strict=True)]
    axes.set_yticks(range(rows), labels, fontsize=9)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    note = f"{matrix.title}; {matrix.confidence:.0%} intervals"
    figure.supxlabel(note, fontsize=8)
    return figure


def _box(corner: tuple[float, float], colour: str, hatch: str | None) -> "Patch":
    from matplotlib.patches import Rectangle

    return Rectangle(corner, 0.97, 0.94, facecolor=colour, edgecolor="#00000055", hatch=hatch, lw=0)


def plot_curves(result: "Result", perturbation: str, *, by: str | None = None) -> "Figure":
    """Item-response curves of all groups under one perturbation, with their bands.

    Args:
        result: of an audit.
        perturbation: its name.
        by: grouping; the first if None.

    Returns:
        A figure.

    Raises:
        ImportError: without matplotlib.
    """
    figure = _figure(5.5, 3.6)
    axes = figure.add_subplot()
    e, at = result.estimates(by), result.counts.columns(perturbation)
    levels = result.counts.curve_levels(perturbation)
    for i, group in enumerate(e.rows[:-1]):
        colour, dash = line(i)
        dashes = tuple(float(d) / 2 for d in dash.split())
        style = (0, dashes) if dashes else "-"
        axes.fill_between(levels, e.low[i, at], e.high[i, at], color=colour, alpha=0.15, lw=0)
        axes.plot(levels, e.response[i, at], color=colour, ls=style, label=f"{group}, n={e.n[i]}")
    if result.counts.chance > 0:
        axes.axhline(result.counts.chance, color="#999999", ls=":", lw=1)
    unit = result.counts.axes[perturbation].unit if perturbation in result.counts.axes else ""
    axes.set_xlabel(f"{perturbation} {f'({unit})' if unit else ''}".strip())
    axes.set_ylabel("response")
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=8, frameon=False)
    return figure


def png(figure: "Figure", *, dpi: int = 150) -> bytes:
    """The picture as PNG, the same bytes for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()

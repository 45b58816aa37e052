"""Inline SVG figures: the heat map of a matrix, and curves with bands."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from vpsa_fair.colors import diverging, ink, line, sequential
from vpsa_fair.counts import Array

if TYPE_CHECKING:
    from vpsa_fair.matrix import Matrix

_CELL, _HIGH, _HEAD = 112, 50, 58


def fill(matrix: "Matrix", row: int, column: int) -> str:
    """Background of a cell; differences are scaled by the widest of the matrix, at least .05."""
    value = float(matrix.value[row, column])
    if not matrix.ref and matrix.kind != "drop":
        return sequential(value)
    known = np.abs(matrix.value[~np.isnan(matrix.value)])
    widest = max(0.05, float(known.max())) if known.size else 1.0
    sign = -1 if matrix.kind == "drop" else 1  # a larger drop is worse, and orange
    return diverging(sign * value / widest)


def cell_lines(matrix: "Matrix", row: int, column: int) -> tuple[str, str, str]:
    """Value, interval, and adjusted p (or nothing) of a cell, for any picture of it."""
    value = float(matrix.value[row, column])
    if value != value:
        return "-", "", ""
    sign = "+" if matrix.ref and round(value, 3) > 0 else ""
    low, high = matrix.low[row, column], matrix.high[row, column]
    span = "" if low == high == value == 0 else f"{low:.2f} to {high:.2f}"
    p = float(matrix.p_adjusted[row, column])
    return f"{sign}{value + 0:.3f}", span, f"p {p:.2g}" if matrix.ref and p == p else ""


def heat_map(matrix: "Matrix") -> str:
    """Heat map with n beside the rows, and the interval (and p) inside of each cell.

    Args:
        matrix: of any kind.

    Returns:
        An ``<svg>`` element. Rows of small groups are hatched.
    """
    left = 24 + 7.2 * max(len(r) for r in matrix.rows) + 50
    width = left + _CELL * len(matrix.columns) + 8
    height = _HEAD + _HIGH * len(matrix.rows) + 8
    parts = [
        f'<svg viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" role="img" '
        f'aria-label="{escape(matrix.title)}"><defs><pattern id="hatch" width="7" height="7" '
        'patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><line x1="0" y1="0" x2="0" '
        'y2="7" stroke="#000" stroke-opacity=".35" stroke-width="2"/></pattern></defs>'
    ]
    for k, name in enumerate(matrix.columns):
        x = left + _CELL * (k + 0.5)
        for i, part in enumerate(_two_lines(name)):
            parts.append(_text(x, 20 + 15 * i, part, "middle", 12, "#222"))
        if matrix.references[k] and matrix.ref == "best":
            parts.append(_text(x, 52, f"best: {matrix.references[k]}", "middle", 9, "#666"))
    for r, name in enumerate(matrix.rows):
        y = _HEAD + _HIGH * r
        parts.append(_text(left - 62, y + 27, name, "end", 12, "#222"))
        parts.append(_text(left - 8, y + 27, f"n={matrix.n[r]}", "end", 11, "#666"))
        parts += [_cell(matrix, r, k, left + _CELL * k, y) for k in range(len(matrix.columns))]
    return "".join(parts) + "</svg>"


def _two_lines(name: str) -> list[str]:
    words = name.replace("_", " ").split(" ")
    if len(name) <= 15 or len(words) == 1:
        return [name.replace("_", " ")]
    half = (len(words) + 1) // 2
    return [" ".join(words[:half]), " ".join(words[half:])]


def _cell(matrix: "Matrix", r: int, k: int, x: float, y: float) -> str:
    colour = fill(matrix, r, k)
    value, span, p = cell_lines(matrix, r, k)
    box = f'x="{x:.0f}" y="{y}" width="{_CELL - 2}" height="{_HIGH - 2}"'
    tip = f"{matrix.rows[r]}, {matrix.columns[k]}: {value} ({span}) {p}, n {matrix.n[r]}"
    parts = [f"<g><title>{escape(tip)}</title>", f'<rect {box} fill="{colour}"/>']
    if matrix.small[r]:
        parts.append(f'<rect {box} fill="url(#hatch)"/>')
    middle, black = x + _CELL / 2 - 1, ink(colour)
    rows = [t for t in (span, p) if t]
    parts.append(_text(middle, y + 20 - 4 * (len(rows) > 1), value, "middle", 13, black, True))
    for i, t in enumerate(rows):
        parts.append(_text(middle, y + 34 - 4 * (len(rows) > 1) + 12 * i, t, "middle", 10, black))
    return "".join(parts) + "</g>"


def _text(
    x: float, y: float, text: str, anchor: str, size: int, colour: str, bold: bool = False
) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="{colour}"{weight}>{escape(text)}</text>'
    )


@dataclass(frozen=True, eq=False)
class Curve:
    """One line of a chart; ``low`` and ``high`` may be None."""

    name: str
    response: Array
    low: Array | None = None
    high: Array | None = None


def chart(
    title: str,
    position: Array,
    ticks: Sequence[Any],
    curves: Sequence[Curve],
    *,
    unit: str = "",
    chance: float = 0.0,
) -> str:
    """Curves over the declared axis, bands behind them; colours follow the order of the curves.

    Args:
        title: above the chart.
        position: ``(L,)`` in [0, 1].
        ticks: ``(L,)`` levels written below the axis.
        curves: lines with ``(L,)`` values in [0, 1].
        unit: of the levels.
        chance: a dotted line, if above 0.

    Returns:
        An ``<svg>`` element.
    """
    width, height, left, top, right, bottom = 340, 230, 38, 26, 12, 40
    x = left + position * (width - left - right)

    def y(v: Array) -> Array:
        return top + (1 - np.clip(v, 0, 1)) * (height - top - bottom)

    parts = [
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" '
        f'aria-label="{escape(title)}">',
        _text(left, 15, title, "start", 12, "#222", True),
    ]
    for v in (0.0, 0.25, 0.5, 0.75, 1.0):
        at = float(y(np.array(v)))
        parts.append(
            f'<line x1="{left}" x2="{width - right}" y1="{at:.1f}" y2="{at:.1f}" stroke="#ddd"/>'
        )
        parts.append(_text(left - 5, at + 3, f"{v:g}", "end", 9, "#666"))
    if chance > 0:
        at = float(y(np.array(chance)))
        parts.append(
            f'<line x1="{left}" x2="{width - right}" y1="{at:.1f}" y2="{at:.1f}" '
            'stroke="#999" stroke-dasharray="2 3"/>'
        )
    last = -np.inf
    for at, tick in zip(x, ticks, strict=True):
        if at - last >= 30 or at == x[-1]:
            parts.append(_text(at, height - bottom + 14, f"{tick:.3g}", "middle", 9, "#666"))
            last = at
    parts.append(_text((left + width - right) / 2, height - 8, unit, "middle", 10, "#666"))
    for i, c in enumerate(curves):
        if c.low is not None and c.high is not None and not np.isnan(c.low).any():
            around = [*zip(x, y(c.high), strict=True), *zip(x[::-1], y(c.low)[::-1], strict=True)]
            parts.append(
                f'<polygon points="{_points(around)}" fill="{line(i)[0]}" fill-opacity=".14"/>'
            )
    for i, c in enumerate(curves):
        if not np.isnan(c.response).any():
            colour, dash = line(i)
            along = _points(list(zip(x, y(c.response), strict=True)))
            parts.append(
                f'<polyline points="{along}" fill="none" stroke="{colour}" stroke-width="2" '
                f'stroke-dasharray="{dash}"><title>{escape(c.name)}</title></polyline>'
            )
    return "".join(parts) + "</svg>"


def _points(pairs: Sequence[tuple[Any, Any]]) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in pairs)


def legend(names: Sequence[str]) -> str:
    """Which line is which, as HTML."""
    items = []
    for i, name in enumerate(names):
        colour, dash = line(i)
        items.append(
            f'<span class="key"><svg width="26" height="8"><line x1="0" x2="26" y1="4" y2="4" '
            f'stroke="{colour}" stroke-width="3" stroke-dasharray="{dash}"/></svg>'
            f"{escape(name)}</span>"
        )
    return f'<p class="legend">{"".join(items)}</p>'

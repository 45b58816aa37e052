"""A line chart as SVG and an image as a PNG data address: what the page is drawn with."""

import base64
import html
import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from tenfold.station import Lines

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 12, 44
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A6BBE", "#777777")


def png_address(image: np.ndarray) -> str:
    """Return a uint8 image ``(H, W)`` or ``(H, W, 3)`` as a ``data:`` address."""
    data = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(data, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def ticks(low: float, high: float, *, log: bool) -> list[float]:
    """Return round numbers between two ends: about five, or powers of ten."""
    if log:
        powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
        if len(powers) >= 2:
            return [10.0**power for power in powers]
        return [low, high]
    step = 10 ** math.floor(math.log10((high - low) / 4))
    step *= min((1, 2, 5, 10), key=lambda m: abs((high - low) / (m * step) - 4.5))
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]


class _Axis:
    """From numbers to pixels, along one side."""

    def __init__(self, values: Sequence[float], start: float, end: float, *, log: bool) -> None:
        usable = [v for v in values if math.isfinite(v) and (not log or v > 0)]
        low, high = (min(usable), max(usable)) if usable else (0.0, 1.0)
        if not log:
            pad = 0.04 * (high - low) or abs(high) * 0.05 or 0.5
            low, high = low - pad, high + pad
        elif low == high:
            low, high = low / 2, high * 2
        self.low, self.high, self.start, self.end, self.log = low, high, start, end, log

    def __call__(self, value: float) -> float:
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def holds(self, value: float) -> bool:
        return math.isfinite(value) and (not self.log or value > 0)

    def ticks(self) -> list[float]:
        return ticks(self.low, self.high, log=self.log)


def line_chart(figure: Lines) -> str:
    """Return a figure as an SVG element with a legend under it, for both light and dark pages."""
    xs = [v for s in figure.series for v in s.x]
    ys = [v for s in figure.series for part in (s.y, s.low, s.high) for v in part]
    ys += [height for _, height in figure.levels]
    x = _Axis(xs, LEFT, WIDTH - RIGHT, log=figure.log_x)
    y = _Axis(ys, HEIGHT - BOTTOM, TOP, log=figure.log_y)
    parts = [*_frame(figure, x, y), *_levels(figure, x, y)]
    for series, colour in zip(figure.series, _colours(len(figure.series)), strict=True):
        if len(series.low):
            upper = list(zip(series.x, series.high, strict=True))
            edge = upper + list(zip(series.x, series.low, strict=True))[::-1]
            parts.append(f'<polygon points="{_points(edge, x, y)}" fill="{colour}" opacity=".18"/>')
        points = _points(list(zip(series.x, series.y, strict=True)), x, y)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}"/>')
    label = html.escape(figure.title, quote=True)
    body = "".join(parts)
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{body}</svg>'
    return svg + _legend(figure)


def _colours(n: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(n)]


def _points(pairs: list[tuple[float, float]], x: _Axis, y: _Axis) -> str:
    kept = [(a, b) for a, b in pairs if x.holds(a) and y.holds(b)]
    return " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in kept)


def _frame(figure: Lines, x: _Axis, y: _Axis) -> list[str]:
    parts = []
    for value in y.ticks():
        parts.append(f'<path class="grid" d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}"/>')
        text = f'<text x="{LEFT - 7}" y="{y(value) + 4:.1f}" text-anchor="end">'
        parts.append(f"{text}{_number(value)}</text>")
    for value in x.ticks():
        text = f'<text x="{x(value):.1f}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">'
        parts.append(f"{text}{_number(value)}</text>")
    middle = (TOP + HEIGHT - BOTTOM) / 2
    x_label, y_label = html.escape(figure.x_label), html.escape(figure.y_label)
    where = f'x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}"'
    parts.append(f'<text {where} text-anchor="middle" class="label">{x_label}</text>')
    turn = f'transform="translate(13 {middle}) rotate(-90)"'
    parts.append(f'<text {turn} text-anchor="middle" class="label">{y_label}</text>')
    return parts


def _levels(figure: Lines, x: _Axis, y: _Axis) -> list[str]:
    parts = []
    for name, height in figure.levels:
        parts.append(f'<path class="level" d="M{LEFT} {y(height):.1f}H{WIDTH - RIGHT}"/>')
        where = f'x="{WIDTH - RIGHT - 3}" y="{y(height) - 4:.1f}"'
        parts.append(f'<text {where} text-anchor="end">{html.escape(name)}</text>')
    return parts


def _legend(figure: Lines) -> str:
    items = [
        f'<li><svg class="key" viewBox="0 0 18 8"><path d="M0 4H18" stroke="{colour}"/></svg>'
        f"{html.escape(series.name)}</li>"
        for series, colour in zip(figure.series, _colours(len(figure.series)), strict=True)
    ]
    return f'<ul class="legend">{"".join(items)}</ul>'


def _number(value: float) -> str:
    if value and (abs(value) >= 1e5 or abs(value) < 1e-3):
        return f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-")
    return f"{value:g}"

"""Colours of the pictures: a sequential scale, a diverging one, and lines to tell apart."""

import math

_LOW_HIGH = ((68, 30, 92), (42, 111, 142), (84, 180, 130), (247, 240, 170))  # dark is low
_BEHIND, _SAME, _AHEAD = (178, 73, 20), (250, 250, 248), (33, 102, 172)
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#7a5c00", "#56b4e9", "#7f3fbf", "#555555")
DASHES = ("", "6 3", "2 2", "8 2 2 2")
MISSING = "#e4e4e4"


def sequential(share: float) -> str:
    """Colour of a value in [0, 1], dark for low; grey for NaN."""
    if math.isnan(share):
        return MISSING
    at = min(max(share, 0.0), 1.0) * (len(_LOW_HIGH) - 1)
    k = min(int(at), len(_LOW_HIGH) - 2)
    return _mix(_LOW_HIGH[k], _LOW_HIGH[k + 1], at - k)


def diverging(share: float) -> str:
    """Colour of a difference in [-1, 1]: orange below 0, blue above; grey for NaN."""
    if math.isnan(share):
        return MISSING
    return _mix(_SAME, _AHEAD if share > 0 else _BEHIND, min(abs(share), 1.0))


def ink(background: str) -> str:
    """Black or white, whichever reads better on a colour."""
    r, g, b = (int(background[i : i + 2], 16) for i in (1, 3, 5))
    return "#000000" if 0.299 * r + 0.587 * g + 0.114 * b > 140 else "#ffffff"


def line(index: int) -> tuple[str, str]:
    """Colour and dash pattern of the n-th line."""
    return LINES[index % len(LINES)], DASHES[index // len(LINES) % len(DASHES)]


def _mix(a: tuple[int, ...], b: tuple[int, ...], share: float) -> str:
    return "#" + "".join(f"{round(x + (y - x) * share):02x}" for x, y in zip(a, b, strict=True))

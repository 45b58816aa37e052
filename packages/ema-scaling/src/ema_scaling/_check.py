"""The checks at the public doors: each returns the number it was given, or says what came."""

import math
from collections.abc import Collection


def number(name: str, value: object) -> float:
    """The finite real number ``value``; booleans and strings are refused."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")
    return float(value)


def positive(name: str, value: object) -> float:
    """A finite number above zero."""
    if not (checked := number(name, value)) > 0:
        raise ValueError(f"{name} must be positive, got {value}")
    return checked


def nonnegative(name: str, value: object) -> float:
    """A finite number that is zero or more."""
    if (checked := number(name, value)) < 0:
        raise ValueError(f"{name} must not be negative, got {value}")
    return checked


def fraction(name: str, value: object) -> float:
    """A number from 0 to 1, both included."""
    if not 0 <= (checked := number(name, value)) <= 1:
        raise ValueError(f"{name} must lie in [0, 1], got {value}")
    return checked


def count(name: str, value: object) -> int:
    """A whole number, 1 or more."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1:
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return int(value)


def one_of(name: str, value: str, choices: Collection[str]) -> str:
    """One of the named choices."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}")
    return value

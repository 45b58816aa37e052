"""What the races share: tables in the README between marks of their own, bars, versions."""

import json
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from symphony_ui.files import replace_file

README = Path(__file__).parents[1] / "README.md"


def rewrite_readme(name: str, text: str) -> None:
    """Puts a text between the README's marks of that name.

    Raises:
        ValueError: if they are not there.
    """
    marks = f"<!-- bench {name} -->", f"<!-- /bench {name} -->"
    old = README.read_text(encoding="utf-8")
    if any(old.count(mark) != 1 for mark in marks):
        raise ValueError(f"{README} needs the marks {marks[0]} and {marks[1]}, once each")
    pattern = re.escape(marks[0]) + ".*" + re.escape(marks[1])
    block = f"{marks[0]}\n\n{text}\n\n{marks[1]}"
    replace_file(README, re.sub(pattern, lambda _: block, old, flags=re.DOTALL).encode())


def finish(
    races: list[dict[str, Any]], names: tuple[str, ...], path: Path | None, **rest: Any
) -> int:
    """Writes the figures as JSON and says which bar was missed; the exit code.

    Args:
        races: a row a figure: ``what``, ``value`` and the bar, ``at_least`` or ``at_most``.
        names: distributions whose versions matter.
        path: of the file, or None.
        rest: what else the file holds.
    """
    if path:
        report = {"versions": {n: found for n in names if (found := installed(n))}, "races": races}
        replace_file(path, json.dumps(report | rest, indent=1).encode())
    missed = missed_bars(races)
    for line in missed:
        print(f"bar missed: {line}", file=sys.stderr)
    return int(bool(missed))


def installed(name: str) -> str | None:
    """A distribution's version, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def missed_bars(races: list[dict[str, Any]]) -> list[str]:
    """One line for every bar that was not reached."""
    missed = []
    for race in races:
        value, least, most = race["value"], race.get("at_least"), race.get("at_most")
        if least is not None and not value >= least:
            missed.append(f"{race['what']}: {value:.4g}, at least {least:.4g} is claimed")
        if most is not None and not value <= most:
            missed.append(f"{race['what']}: {value:.4g}, at most {most:.4g} is claimed")
    return missed

"""What the packages' races found, against the bars that stand beside them: one table, one page.

    uv run nox -s races                        # every package in an environment of its own
    python -m tenfold.races build/races        # the table of what is there already

A race is a script in a package's ``benchmarks/``. With ``--json FILE`` it writes an object:
``races``, a list of figures, each with ``what``, ``value`` and, where something is claimed of it,
``at_least`` or ``at_most``; ``versions``, of what took part; ``threads``, if it set them.
"""

import argparse
import json
import math
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from symphony_ui import Book

BEGIN, END = "<!-- races -->", "<!-- /races -->"


@dataclass(frozen=True)
class Figure:
    """One measured number and what is claimed of it.

    Attributes:
        what: in words, such as "time of a peer / ours".
        value: what was measured.
        at_least: the bar below which it must not fall.
        at_most: the bar above which it must not rise.
    """

    what: str
    value: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def bar(self) -> str:
        """The claim in words, or a dash."""
        words = [("at least", self.at_least), ("at most", self.at_most)]
        return ", ".join(f"{word} {number(bar)}" for word, bar in words if bar is not None) or "-"

    @property
    def verdict(self) -> str:
        """``held``, ``missed``, or a dash where nothing is claimed."""
        if self.at_least is None and self.at_most is None:
            return "-"
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        return "held" if low <= self.value <= high else "missed"


@dataclass(frozen=True)
class Race:
    """What one script found.

    Attributes:
        package: whose it is.
        name: of the script, without its ending.
        figures: in its order.
        versions: of what took part.
        threads: how many it used, or None.
        error: why there are no figures, or empty.
    """

    package: str
    name: str
    figures: Sequence[Figure] = ()
    versions: dict[str, str] = field(default_factory=dict)
    threads: int | None = None
    error: str = ""

    @property
    def setting(self) -> str:
        """Versions and threads in one line."""
        parts = [f"{name} {version}" for name, version in self.versions.items()]
        return ", ".join(parts if self.threads is None else [*parts, f"threads {self.threads}"])


def number(value: float) -> str:
    """Three digits, or all of a large whole part."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def read_race(path: Path, package: str) -> Race:
    """Return what a script wrote; a `Race` with an ``error`` where that cannot be used."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        figures = [_figure(row) for row in found["races"]]
        if not figures:
            raise ValueError("it holds no figure")
        versions = {str(name): str(version) for name, version in found["versions"].items()}
        threads = found.get("threads")
        return Race(
            package, path.stem, figures, versions, None if threads is None else int(threads)
        )
    except FileNotFoundError:
        return Race(package, path.stem, error="it ended without figures")
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        why = f"its JSON is not as a race writes it ({type(error).__name__}: {error})"
        return Race(package, path.stem, error=why)


def _figure(row: dict[str, Any]) -> Figure:
    """A figure of JSON; nothing but its four names, and numbers where numbers belong."""
    unknown = set(row) - {"what", "value", "at_least", "at_most"}
    if unknown:
        raise ValueError(f"a figure has {', '.join(sorted(unknown))}")
    bars = {name: float(row[name]) for name in ("at_least", "at_most") if name in row}
    return Figure(str(row["what"]), float(row["value"]), **bars)


def gather(root: Path, folder: Path, packages: Iterable[str] = ()) -> list[Race]:
    """Return every race of the packages, in the order of their names.

    Args:
        root: of the workspace; its ``packages/*/benchmarks/[!_]*.py`` are the races.
        folder: of the figures, ``<package>/<race>.json``.
        packages: which; all by default.
    """
    scripts = sorted(root.glob("packages/*/benchmarks/[!_]*.py"))
    wanted = set(packages) or {script.parts[-3] for script in scripts}
    return [
        read_race(folder / script.parts[-3] / f"{script.stem}.json", script.parts[-3])
        for script in scripts
        if script.parts[-3] in wanted
    ]


def failures(races: Iterable[Race]) -> list[str]:
    """One line for every bar that was missed and every race that failed."""
    lines: list[str] = []
    for race in races:
        if race.error:
            lines.append(f"{race.package}, {race.name}: {race.error}")
        lines += [
            f"{race.package}: {figure.what}: {number(figure.value)}, claimed {figure.bar}"
            for figure in race.figures
            if figure.verdict == "missed"
        ]
    return lines


def machine() -> str:
    """What the figures were measured on."""
    return f"{platform.system()} on {platform.machine()}, {os.cpu_count()} cores"


def markdown(races: Sequence[Race]) -> str:
    """Return the table, what took part, and what failed."""
    lines = ["| package | figure | measured | claimed | |", "|---|---|---|---|---|"]
    for race in races:
        for figure in race.figures:
            verdict = {"missed": "**missed**", "-": ""}.get(figure.verdict, figure.verdict)
            cells = (race.package, _cell(figure.what), number(figure.value), figure.bar, verdict)
            lines.append(f"| {' | '.join(cells)} |")
        if race.error:
            lines.append(f"| {race.package} | {race.name} | - | - | **{_cell(race.error)}** |")
    verdicts = [figure.verdict for race in races for figure in race.figures]
    failed = sum(bool(race.error) for race in races)
    lines += [
        "",
        f"{verdicts.count('held')} bars held, {verdicts.count('missed')} missed, {failed} races "
        f"failed; {machine()}. What took part:",
        "",
    ]
    lines += [f"- {race.package}, {race.name}: {race.setting}" for race in races if not race.error]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def rewrite(path: Path, text: str) -> None:
    """Put a text between the marks of a file, or make the file where there is none.

    Raises:
        ValueError: if the file has no marks.
    """
    from symphony_ui.files import replace_file

    old = path.read_text(encoding="utf-8") if path.exists() else f"# Races\n\n{BEGIN}{END}\n"
    if old.count(BEGIN) != 1 or old.count(END) != 1:
        raise ValueError(f"{path} needs the marks {BEGIN} and {END}, once each")
    before, rest = old.split(BEGIN)
    replace_file(path, f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}".encode())


def book(races: Sequence[Race]) -> "Book":
    """Return a page of all figures, to sort and filter, and one of what took part."""
    from symphony_ui import Book, Markdown, Page, Summary, Table

    rows = [(race, figure) for race in races for figure in race.figures]
    table = {
        "package": [race.package for race, _ in rows],
        "race": [race.name for race, _ in rows],
        "figure": [figure.what for _, figure in rows],
        "measured": [figure.value for _, figure in rows],
        "claimed": [figure.bar for _, figure in rows],
        "verdict": [figure.verdict for _, figure in rows],
    }
    setting = {
        "package": [race.package for race in races],
        "race": [race.name for race in races],
        "what took part": [race.setting or race.error for race in races],
    }
    missed = "\n".join(f"- {line}" for line in failures(races)) or "Every bar was held."
    text = f"# Races\n\nMeasured on {machine()}.\n\n{missed}"
    kinds = {"figure": "text", "claimed": "text"}
    first = Page(table, [Markdown(text), [Table(title="Figures"), Summary()]], kinds=kinds)
    second = Page(setting, [Table(title="What took part")], kinds={"what took part": "text"})
    return Book({"Figures": [first], "Versions": [second]}, title="Tenfold: the races")


def main(argv: Sequence[str] | None = None) -> int:
    """Write the table and the page; 1 where a bar was missed or a race failed."""
    parser = argparse.ArgumentParser(prog="races", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where <package>/<race>.json are")
    parser.add_argument("--root", type=Path, default=Path(), help="of the workspace")
    parser.add_argument("--packages", nargs="+", default=[], help="some of them")
    parser.add_argument("--markdown", type=Path, help="default: FOLDER/races.md")
    args = parser.parse_args(argv)
    races = gather(args.root, args.folder, args.packages)
    args.folder.mkdir(parents=True, exist_ok=True)
    target = args.markdown or args.folder / "races.md"
    text = markdown(races)
    rewrite(target, text)
    page = book(races).save(args.folder / "races.html")
    print(f"{text}\n\n{target}\n{page}")
    failed = failures(races)
    for line in failed:
        print(line, file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())

"""`uv run tour`: every package does its headline job, and one page shows what came of it."""

import argparse
import ast
import importlib.util
import shutil
import sys
import textwrap
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from tenfold import cache
from tenfold.page import Entry, station_pages, write_page
from tenfold.station import PACKAGES, Context, StationResult

STATIONS = Path(__file__).parent / "stations"


@dataclass(frozen=True)
class Description:
    """What a station says of itself in its source.

    Attributes:
        path: its module's file.
        claim: the paper's claim, in one sentence.
        budget_s: how long it may take on two cores, in seconds.
        needs: import names of the packages whose stations run before it.
        error: why the source cannot be read, or empty.
    """

    path: Path
    claim: str
    budget_s: int
    needs: tuple[str, ...] = ()
    error: str = ""

    @property
    def name(self) -> str:
        """Import name of its package."""
        return self.path.stem


def describe(path: Path) -> Description:
    """Read a station's claim, budget and needs, without importing it.

    Raises:
        ValueError: if the module has no class ``Station`` with these as literals.
        SyntaxError: if it is no Python.
    """
    found: dict[str, Any] = {"needs": ()}
    for node in ast.parse(path.read_bytes(), str(path)).body:
        if isinstance(node, ast.ClassDef) and node.name == "Station":
            for line in node.body:
                if isinstance(line, ast.Assign | ast.AnnAssign) and line.value:
                    target = line.target if isinstance(line, ast.AnnAssign) else line.targets[0]
                    if ast.unparse(target) in ("claim", "budget_s", "needs"):
                        found[ast.unparse(target)] = ast.literal_eval(line.value)
    claim, budget_s, needs = found.get("claim"), found.get("budget_s"), found["needs"]
    if not isinstance(claim, str) or not isinstance(budget_s, int):
        raise ValueError(f"{path.name} has no class Station with a text claim and a whole budget_s")
    if not isinstance(needs, tuple) or not all(isinstance(need, str) for need in needs):
        raise ValueError(f"{path.name}: needs must be a tuple of package names, got {needs!r}")
    return Description(path, claim, budget_s, tuple(need.replace("-", "_") for need in needs))


def discover(folder: Path = STATIONS) -> dict[str, Description]:
    """Return the stations of a folder by name, in the tour's order, unknown ones last.

    One that cannot be read is there too, with its ``error``.
    """
    found = []
    for path in sorted(folder.glob("[!_]*.py")):
        try:
            found.append(describe(path))
        except (ValueError, SyntaxError) as error:
            found.append(Description(path, "", 0, error=f"{type(error).__name__}: {error}"))
    found.sort(key=lambda d: PACKAGES.index(d.name) if d.name in PACKAGES else len(PACKAGES))
    return {description.name: description for description in found}


def choose(stations: Mapping[str, Description], only: Sequence[str]) -> list[str]:
    """Return the names to run, each after what it needs.

    Raises:
        ValueError: on a name that is no station, or stations that need each other in a circle.
    """
    wanted = [name.replace("-", "_") for name in only] or list(stations)
    chosen: list[str] = []

    def add(name: str, path: tuple[str, ...]) -> None:
        if name not in stations:
            raise ValueError(f"no station {name!r}; there are {', '.join(stations)}")
        if name in path:
            raise ValueError(f"stations need each other: {' -> '.join([*path, name])}")
        for need in stations[name].needs:
            add(need, (*path, name))
        if name not in chosen:
            chosen.append(name)

    for name in wanted:
        add(name, ())
    return chosen


def run_station(description: Description, context: Context) -> StationResult:
    """Import a station's module from its file and run it."""
    spec = importlib.util.spec_from_file_location(
        f"tenfold.stations.{description.name}", description.path
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{description.path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look their module up by name
    spec.loader.exec_module(module)
    result = module.Station().run(context)
    if not isinstance(result, StationResult):
        raise TypeError(f"run must return a StationResult, got {type(result).__name__}")
    return result


def walk(
    stations: Mapping[str, Description],
    names: Sequence[str],
    folder: Path,
    options: Mapping[str, Any],
    *,
    fresh: bool = False,
) -> Iterator[Entry]:
    """Run stations in order, or take them from the cache, and yield what came of each.

    Args:
        stations: by name.
        names: which, each after what it needs.
        folder: of the cache.
        options: ``seeds``, ``device``, ``scale``, ``data_root``, as JSON holds them.
        fresh: whether to forget what is cached.

    Yields:
        `Entry`; a station that fails, or whose need failed, has ``error`` in place of ``result``.
    """
    keys: dict[str, str] = {}
    results: dict[str, StationResult] = {}
    for name in names:
        station = stations[name]
        lost = [need for need in station.needs if need not in results]
        why = station.error or (f"needs {', '.join(lost)}, which failed" if lost else "")
        if why:
            yield Entry(name, station.claim, None, why, 0.0)
            continue
        keys[name] = cache.key_of(station.path, options, [keys[need] for need in station.needs])
        place = folder / name / keys[name]
        known = None if fresh else cache.load(place)
        if known is None:
            entry = _run(station, options, {need: results[need] for need in station.needs}, place)
        else:
            entry = Entry(name, station.claim, known[0], "", known[1], cached=True)
        if entry.result is not None:
            results[name] = entry.result
        yield entry


def _run(
    station: Description,
    options: Mapping[str, Any],
    needs: Mapping[str, StationResult],
    place: Path,
) -> Entry:
    """Run a station and keep its result; one that cannot be drawn or kept has failed."""
    start = time.perf_counter()
    with tqdm(desc=f"  {station.name}", disable=None, leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)  # draws ten times a second at most

        root = options["data_root"]
        context = Context(
            seeds=options["seeds"],
            device=options["device"],
            scale=options["scale"],
            data_root=Path(root) if root else None,
            progress=progress,
            results=needs,
        )
        try:
            result = run_station(station, context)
            entry = Entry(station.name, station.claim, result, "", time.perf_counter() - start)
            station_pages(entry)
            cache.save(place, result, entry.seconds)
        except (Exception, SystemExit) as error:  # it may break in any way; the others go on
            why = f"{traceback.format_exception_only(error)[-1].strip()}\n\n"
            why += "".join(traceback.format_exception(error, limit=-6))
            seconds = time.perf_counter() - start
            entry = Entry(station.name, station.claim, None, why, seconds)
    return entry


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = _Parser(prog="tour", description=__doc__)
    command.add_argument("--only", nargs="+", default=[], metavar="PACKAGE", help="run some only")
    command.add_argument("--fresh", action="store_true", help="forget what is cached")
    command.add_argument("--seeds", type=int, default=1, help="seeds a station (1)")
    command.add_argument("--out", type=Path, default=Path("tour"), help="folder of the page (tour)")
    command.add_argument("--device", default="cpu", help="torch device (cpu)")
    command.add_argument("--scale", choices=("small", "paper"), default="small")
    command.add_argument("--data-root", type=Path, help="where CIFAR-10 is, for --scale paper")
    return command


def main(argv: Sequence[str] | None = None, *, folder: Path = STATIONS) -> int:
    """Run the tour; 0, or 1 where a station failed, 2 on bad arguments, 130 when interrupted."""
    args = parser().parse_args(argv)
    stations = discover(folder)
    try:
        if args.seeds < 1:
            raise ValueError(f"--seeds must be at least 1, got {args.seeds}")
        if args.scale == "paper" and args.data_root is None:
            raise ValueError("--scale paper needs --data-root DIR, where CIFAR-10 is")
        names = choose(stations, args.only)
        args.out.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        print(f"tour: {error}", file=sys.stderr)
        return 2
    options = {
        "seeds": args.seeds,
        "device": args.device,
        "scale": args.scale,
        "data_root": str(args.data_root.resolve()) if args.data_root else None,
    }
    entries: list[Entry] = []
    page = args.out / "index.html"
    steps = walk(stations, names, args.out / "cache", options, fresh=args.fresh)
    interrupted = False
    try:
        for entry in tqdm(steps, total=len(names), desc="tour", unit="station", disable=None):
            entries.append(entry)
            if not entry.cached:  # a tour that is killed leaves the page of what is done
                write_page(page, entries, options, pending=names[len(entries) :])
    except KeyboardInterrupt:
        interrupted = True
    write_page(page, entries, options, pending=names[len(entries) :])
    print(summary(entries))
    print(f"\n{page.resolve()}")
    if interrupted:
        print("interrupted: the page shows what was done; run again to go on", file=sys.stderr)
        return 130
    return 1 if any(entry.result is None for entry in entries) else 0


def summary(entries: Sequence[Entry], *, width: int | None = None) -> str:
    """Return the table that the tour ends with, as wide as the terminal."""
    width = width or shutil.get_terminal_size((120, 24)).columns
    text = max(24, (width - 13 - 17 - 6 - 8) // 2)
    widths = (13, text, text, 17, 6)
    rows = [("package", "the paper's claim", "here", "verdict", "took"), *map(_row, entries)]
    lines = []
    for row in rows:
        cells = [textwrap.wrap(cell, w) or [""] for cell, w in zip(row, widths, strict=True)]
        for parts in zip_longest(*cells, fillvalue=""):
            padded = (part.ljust(w) for part, w in zip(parts, widths, strict=True))
            lines.append("  ".join(padded).rstrip())
        lines.append("" if lines[1:] else "  ".join("-" * w for w in widths))
    return "\n".join(lines).rstrip()


def _row(entry: Entry) -> tuple[str, ...]:
    took = "cached" if entry.cached else f"{entry.seconds:.0f} s"
    return entry.name.replace("_", "-"), entry.claim, entry.headline, entry.verdict, took


if __name__ == "__main__":
    sys.exit(main())

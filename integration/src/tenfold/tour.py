"""`uv run tour`: every package does its headline job, and one page shows what came of it."""

import argparse
import ast
import importlib.util
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tenfold import cache
from tenfold.page import Entry, write_page
from tenfold.station import Context, StationResult

STATIONS = Path(__file__).parent / "stations"
ORDER = (
    "er_ssl", "ema_scaling", "deeppcr", "act_steer", "duet",
    "homssl", "lv_ssl", "randaug_study", "vpsa_fair", "symphony_ui",
)  # fmt: skip


@dataclass(frozen=True)
class Description:
    """What a station says of itself in its source.

    Attributes:
        path: its module's file.
        claim: the paper's claim, in one sentence.
        budget_s: how long it may take on two cores, in seconds.
        needs: import names of the packages whose stations run before it.
    """

    path: Path
    claim: str
    budget_s: int
    needs: tuple[str, ...]

    @property
    def name(self) -> str:
        """Import name of its package."""
        return self.path.stem


def describe(path: Path) -> Description:
    """Read a station's claim, budget and needs, without importing it.

    Raises:
        ValueError: if the module has no class ``Station`` with these as literals.
    """
    found: dict[str, Any] = {"needs": ()}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == "Station":
            for line in node.body:
                if isinstance(line, ast.Assign | ast.AnnAssign) and line.value:
                    target = line.target if isinstance(line, ast.AnnAssign) else line.targets[0]
                    found[ast.unparse(target)] = ast.literal_eval(line.value)
    if not {"claim", "budget_s"} <= set(found):
        raise ValueError(f"{path} has no class Station with a claim and a budget_s")
    return Description(path, found["claim"], found["budget_s"], tuple(found["needs"]))


def discover(folder: Path = STATIONS) -> dict[str, Description]:
    """Return the stations of a folder by name, in the tour's order, unknown ones last."""
    found = [describe(path) for path in sorted(folder.glob("[!_]*.py"))]
    found.sort(key=lambda d: ORDER.index(d.name) if d.name in ORDER else len(ORDER))
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
    spec.loader.exec_module(module)
    return module.Station().run(context)


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
        if lost:
            yield Entry(name, station.claim, None, f"needs {', '.join(lost)}, which failed", 0.0)
            continue
        keys[name] = cache.key_of(station.path, options, [keys[need] for need in station.needs])
        place = folder / name / keys[name]
        known = None if fresh else cache.load(place)
        if known is None:
            entry = _run(station, options, {need: results[need] for need in station.needs})
            if entry.result is not None:
                cache.save(place, entry.result, entry.seconds)
        else:
            entry = Entry(name, station.claim, known[0], "", known[1], cached=True)
        if entry.result is not None:
            results[name] = entry.result
        yield entry


def _run(
    station: Description, options: Mapping[str, Any], needs: Mapping[str, StationResult]
) -> Entry:
    start = time.perf_counter()
    with tqdm(desc=f"  {station.name}", disable=None, leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total, bar.n = total, done
            bar.update(0)
            bar.refresh()

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
            result, error = run_station(station, context), ""
        except Exception:  # a station may break in any way; the others go on
            result, error = None, traceback.format_exc(limit=-6)
    return Entry(station.name, station.claim, result, error, time.perf_counter() - start)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(prog="tour", description=__doc__)
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
    except ValueError as error:
        print(f"tour: {error}", file=sys.stderr)
        return 2
    options = {
        "seeds": args.seeds,
        "device": args.device,
        "scale": args.scale,
        "data_root": str(args.data_root.resolve()) if args.data_root else None,
    }
    entries: list[Entry] = []
    interrupted = False
    steps = walk(stations, names, args.out / "cache", options, fresh=args.fresh)
    try:
        for entry in tqdm(steps, total=len(names), desc="tour", unit="station", disable=None):
            entries.append(entry)  # noqa: PERF402 - what is done must stay after Ctrl-C
    except KeyboardInterrupt:
        interrupted = True
    page = write_page(args.out / "index.html", entries, options)
    print(summary(entries))
    print(f"\n{page.resolve()}")
    if interrupted:
        print("interrupted: the page shows what was done; run again to go on", file=sys.stderr)
        return 130
    return 1 if any(entry.result is None for entry in entries) else 0


def summary(entries: Sequence[Entry]) -> str:
    """The table that the tour ends with."""
    lines = []
    for entry in entries:
        took = "cached" if entry.cached else f"{entry.seconds:.0f} s"
        found = entry.result.headline if entry.result else entry.error.strip().splitlines()[-1]
        lines.append(f"{entry.name.replace('_', '-'):14} {entry.verdict:18} {took:>7}  {found}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

"""Arms x seeds from one TOML file, run in any number of processes, journaled line by line."""

import json
import multiprocessing
import os
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from randaug_study.arms import Arm, checked
from randaug_study.data import Data
from randaug_study.training import Recipe, Run, train


@dataclass(frozen=True)
class Study:
    """What is compared, and by which rule it is judged, fixed before the first run.

    Args:
        name: a title.
        arms: what is compared, in this order.
        seeds: of the runs; every arm is run on every seed.
        baseline: the arm that others are compared with, unless they name a ``reference``.
        control: the arm without augmentation: if the baseline is not above it, there is
            nothing that an adversary could fall behind of, and the report warns.
        margin: equivalence margin, points of accuracy.
        recipe: what all arms share.

    Raises:
        ValueError: if an arm or a seed comes twice, or a name is that of no arm.
    """

    name: str
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    baseline: str = "random"
    control: str = "none"
    margin: float = 0.5
    recipe: Recipe = field(default_factory=Recipe)

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        both: list[tuple[str, list[Any]]] = [("arm", names), ("seed", list(self.seeds))]
        for what, values in both:
            twice = [value for value in values if values.count(value) > 1]
            if twice or not values:
                raise ValueError(
                    f"a study needs every {what} once, got {twice[0]!r} twice"
                    if twice
                    else f"a study needs at least one {what}"
                )
        pointed = [self.baseline, self.control]
        pointed += [a.reference for a in self.arms if a.reference is not None]
        pointed += [a.equal_compute for a in self.arms if a.equal_compute is not None]
        for name in pointed:
            if name not in names:
                raise ValueError(f"there is no arm {name!r}; there are {', '.join(names)}")
        if not self.margin > 0:
            raise ValueError(f"margin must be positive, got {self.margin}")

    @classmethod
    def from_toml(cls, path: Path) -> "Study":
        """The study of a file.

        Raises:
            ValueError: if it is no TOML, or an entry is unknown, missing or out of range.
        """
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"{path} is no TOML file: {error}") from error
        try:
            return cls._parse(table, str(path))
        except (TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"{path} has an entry of a wrong type: {error}") from error

    @classmethod
    def _parse(cls, table: dict[str, Any], path: str) -> "Study":
        arms = table.pop("arms", {})
        recipe = table.pop("recipe", {})
        seeds = table.get("seeds")
        if isinstance(seeds, int):
            seeds = range(seeds)
        if seeds is not None:
            table["seeds"] = tuple(seeds)
        table["arms"] = tuple(Arm.read(name, entries) for name, entries in arms.items())
        table["recipe"] = checked(Recipe, "[recipe]", recipe)
        return checked(cls, path, table)

    def arm(self, name: str) -> Arm:
        """The arm of a name.

        Raises:
            ValueError: if there is none.
        """
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise ValueError(
            f"there is no arm {name!r}; there are {', '.join(a.name for a in self.arms)}"
        )

    def tasks(
        self, arms: Iterable[str] | None = None, seeds: Iterable[int] | None = None
    ) -> list[tuple[Arm, int]]:
        """Runs in order: all arms of the first seed, then of the next, so that a cut pairs."""
        chosen = list(self.arms) if arms is None else [self.arm(name) for name in arms]
        numbers = list(self.seeds) if seeds is None else list(seeds)
        return [(arm, seed) for seed in numbers for arm in chosen]

    def stamp(self, arm: Arm) -> dict[str, Any]:
        """What a run depends on besides its seed; a journal's line of another stamp is not used."""
        judged = ("name", "reference", "equal_compute")  # not trained: may be changed after
        settings = {k: v for k, v in asdict(arm).items() if k not in judged}
        return json.loads(json.dumps({"arm": settings, "recipe": asdict(self.recipe)}))


def _names_a_run(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("arm"), str)
        and isinstance(entry.get("seed"), int)
    )


class Journal:
    """One JSON line a run, only ever appended to; any number of processes may share it.

    Args:
        path: the file; made by the first run.

    Raises:
        ValueError: if a whole line is no run. A last line that was cut off is not read, and
            what is appended starts on a line of its own.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, run: Run, stamp: dict[str, Any]) -> None:
        """Write one line, at once and down to the disk."""
        line = json.dumps({"stamp": stamp, "run": asdict(run)}, separators=(",", ":"))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        before = b"" if self._ends_well() else b"\n"
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, before + line.encode() + b"\n")
            os.fsync(handle)
        finally:
            os.close(handle)

    def _ends_well(self) -> bool:
        if not self.path.exists() or not self.path.stat().st_size:
            return True
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def lines(self) -> Iterator[dict[str, Any]]:
        """The lines that hold a run."""
        if not self.path.exists():
            return
        for number, line in enumerate(self.path.read_bytes().split(b"\n"), start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue  # cut off by a kill: that run is done again
            if not isinstance(row, dict) or not _names_a_run(row.get("run")) or "stamp" not in row:
                raise ValueError(f"{self.path}, line {number}, is no run of a study")
            yield row

    def runs(self, study: Study) -> dict[tuple[str, int], Run]:
        """The runs of a study, by arm and seed, in the study's order; the first of equals."""
        stamps = {arm.name: study.stamp(arm) for arm in study.arms}
        found: dict[tuple[str, int], Run] = {}
        for row in self.lines():
            name, seed = row["run"]["arm"], row["run"]["seed"]
            if name in stamps and row["stamp"] == stamps[name]:
                found.setdefault((name, seed), checked(Run, str(self.path), row["run"]))
        return {
            (arm.name, seed): found[arm.name, seed]
            for arm, seed in study.tasks()
            if (arm.name, seed) in found
        }


def run_study(
    study: Study,
    data: Data,
    journal: Path,
    *,
    jobs: int = 1,
    arms: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    bar: bool = True,
    say: Callable[[str], None] = tqdm.write,
) -> dict[tuple[str, int], Run]:
    """Run what the journal does not hold yet; all runs of the study that it then holds.

    Args:
        study: what to run.
        data: in memory.
        journal: where runs are written as they end. A second call, in this process or another,
            goes on where this one is; two that start the same run write equal lines.
        jobs: processes; results do not depend on it.
        arms: names of the arms to run, default all.
        seeds: default all of the study.
        bar: whether to show progress.
        say: takes one line a run.

    Returns:
        Runs by arm and seed, in the study's order.

    Raises:
        ValueError: if ``jobs`` is below 1, an arm is unknown, or the journal is damaged.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    book = Journal(journal)
    tasks = study.tasks(arms, seeds)
    with tqdm(total=len(tasks), unit="run", disable=None if bar else True) as outer:
        for run, stamp, new in _results(study, data, book, tasks, jobs, bar):
            if new:
                book.append(run, stamp)
                say(str(run))
            outer.update()
    return book.runs(study)


def _results(
    study: Study, data: Data, book: Journal, tasks: list[tuple[Arm, int]], jobs: int, bar: bool
) -> Iterator[tuple[Run, dict[str, Any], bool]]:
    """Every task's run, its stamp, and whether it is new."""
    if jobs == 1:
        for arm, seed in tasks:
            done = book.runs(study).get((arm.name, seed))  # another process may have done it
            yield done or _train(arm, seed, study.recipe, data, bar), study.stamp(arm), done is None
        return
    held = book.runs(study)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_keep, initargs=(data,)) as pool:
        futures = {}
        for arm, seed in tasks:
            if (arm.name, seed) in held:
                yield held[arm.name, seed], study.stamp(arm), False
            else:
                futures[pool.submit(_train_kept, arm, seed, study.recipe)] = arm
        try:
            for future in as_completed(futures):
                yield future.result(), study.stamp(futures[future]), True
        finally:
            pool.shutdown(cancel_futures=True)


def _train(arm: Arm, seed: int, recipe: Recipe, data: Data, bar: bool) -> Run:
    epochs = arm.epochs or recipe.epochs
    with tqdm(
        total=epochs, desc=f"{arm.name}, seed {seed}", unit="epoch", leave=False,
        disable=None if bar else True,
    ) as inner:  # fmt: skip

        def progress(done: int, total: int) -> None:
            inner.update()

        return train(arm, seed, recipe, data, progress=progress)


_kept: dict[str, Data] = {}


def _keep(data: Data) -> None:
    _kept["data"] = data


def _train_kept(arm: Arm, seed: int, recipe: Recipe) -> Run:
    return train(arm, seed, recipe, _kept["data"])

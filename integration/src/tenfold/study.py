"""Many training runs in an append-only journal: a kill loses the runs under way, no more."""

import argparse
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from tqdm import tqdm

Task = dict[str, Any]
"""What one run is: names and numbers that JSON holds; equal tasks are the same run."""


def read_journal(path: Path) -> list[tuple[Task, dict[str, Any]]]:
    """Return the finished runs as (task, result), in the order in which they ended.

    A last line that a kill cut short is left out.

    Args:
        path: a JSON Lines file; one that is missing holds no run.
    """
    if not path.exists():
        return []
    runs = []
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            entry = json.loads(line)
            runs.append((entry["task"], entry["result"]))
    return runs


def run_tasks(
    tasks: Sequence[Task],
    execute: Callable[[Task], dict[str, Any]],
    journal: Path,
    *,
    jobs: int = 1,
    label: str = "runs",
) -> list[tuple[Task, dict[str, Any]]]:
    """Run what the journal does not hold yet, and return the results of all tasks, in their order.

    Args:
        tasks: the runs.
        execute: task -> result that JSON holds; a function of a module, so that a process finds it.
        journal: JSON Lines file to append to; each line is on the disk before the next run counts.
        jobs: processes at a time, with one torch thread each; 0 runs in this process.
        label: of the bar.

    Returns:
        (task, result) for every task.
    """
    known = {_key(task): result for task, result in read_journal(journal)}
    todo = [task for task in tasks if _key(task) not in known]
    bar = tqdm(total=len(tasks), initial=len(tasks) - len(todo), desc=label, disable=None)
    with bar, _appender(journal) as append:
        for task, result, seconds in _results(todo, execute, jobs):
            known[_key(task)] = result
            append({"task": task, "result": result, "seconds": round(seconds, 2)})
            bar.update()
    return [(task, known[_key(task)]) for task in tasks]


def study_parser(doc: str, *, takes: str, jobs: int = 2) -> argparse.ArgumentParser:
    """Return the command line that every study has: ``--jobs``, ``--smoke`` and ``--journal``.

    Args:
        doc: of the study's module; its first line is the description.
        takes: how long the whole study runs, in words.
        jobs: processes by default.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=jobs, help="processes, one thread each")
    parser.add_argument("--smoke", action="store_true", help=f"a minute instead of {takes}")
    parser.add_argument("--journal", type=Path, help="default: beside this file; smoke in build/")
    return parser


def journal_of(args: argparse.Namespace, folder: Path) -> Path:
    """Return where a study writes: the committed journal only where the whole study runs.

    Args:
        args: what `study_parser` read.
        folder: of the study, ``integration/studies/<package>``.
    """
    smoke = folder.parents[2] / "build" / f"{folder.name.replace('_', '-')}-smoke"
    return args.journal or (smoke if args.smoke else folder) / "journal.jsonl"


def _key(task: Task) -> str:
    return json.dumps(task, sort_keys=True)


def _results(todo: Sequence[Task], execute: Callable[[Task], dict[str, Any]], jobs: int):
    if jobs == 0:
        for task in todo:
            yield task, *_timed(execute, task)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_begin) as pool:
        pending = {pool.submit(_timed, execute, task): task for task in todo}
        for future in as_completed(pending):
            yield pending[future], *future.result()


def _timed(execute: Callable[[Task], dict[str, Any]], task: Task) -> tuple[dict[str, Any], float]:
    start = time.perf_counter()
    return execute(task), time.perf_counter() - start


def _begin() -> None:
    """One torch thread, and an end with the parent: a worker of a killed study waits for ever."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(1)


def _end_with_parent() -> None:
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)


class _appender:
    """A file open for appending, whole lines only, each flushed to the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Callable[[dict[str, Any]], None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._drop_torn_line()
        self.file = self.path.open("a", encoding="utf-8")
        return self._append

    def __exit__(self, *exc: object) -> None:
        self.file.close()

    def _append(self, entry: dict[str, Any]) -> None:
        self.file.write(json.dumps(entry, sort_keys=True) + "\n")
        self.file.flush()
        os.fsync(self.file.fileno())

    def _drop_torn_line(self) -> None:
        if self.path.exists() and (data := self.path.read_bytes()) and not data.endswith(b"\n"):
            with self.path.open("r+b") as file:
                file.truncate(data.rfind(b"\n") + 1)

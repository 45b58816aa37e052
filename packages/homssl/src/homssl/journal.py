"""Many small runs: an append-only journal, and tables of what it holds."""

import csv
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any


def run_cells(
    path: Path,
    tasks: Sequence[dict[str, Any]],
    run: Callable[..., Any],
    *,
    say: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Run what a journal does not hold yet and append it; the results of all tasks, in order.

    Args:
        path: the journal, JSON Lines; made if it is not there.
        tasks: keyword arguments of ``run``, one dict a task.
        run: returns a dataclass.
        say: takes one line a task that was run.

    Returns:
        The fields of each task's dataclass.

    Raises:
        ValueError: if the journal is not one; a last line that was cut off is run again.

    Source:
        An append-only file is the whole state: stop, start again, go on.

    Example:
        >>> run_cells(Path("never-written.jsonl"), [], print)
        []
    """
    done = {_key(row["task"]): row["result"] for row in _read(path)}
    for task in tasks:
        if _key(task) in done:
            continue
        cell = run(**task)
        done[_key(task)] = asdict(cell)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(json.dumps({"task": task, "result": asdict(cell)}) + "\n")
        say(str(cell))
    return [done[_key(task)] for task in tasks]


def _key(task: dict[str, Any]) -> str:
    return json.dumps(task, sort_keys=True)


def _read(path: Path) -> list[dict[str, Any]]:
    """The rows of a journal; what was cut off at its end is removed from the file."""
    if not path.exists():
        return []
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        with written(path) as file:
            file.write_text(whole)
    rows = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            row = json.loads(line)
            rows.append({"task": row["task"], "result": row["result"]})
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{path}, line {number}, is no run of this journal") from error
    return rows


class written:
    """A context that gives a temporary path, and puts it in the place of ``path`` at its end."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Path:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        name = f".{self.path.stem}-{os.getpid()}{self.path.suffix}"
        self.temporary = self.path.with_name(name)
        return self.temporary

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            os.replace(self.temporary, self.path)
        else:
            self.temporary.unlink(missing_ok=True)


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows of the same keys; a list fills as many columns as it is long."""
    flat = [_flat(row) for row in rows]
    with written(path) as temporary, temporary.open("w", newline="") as file:
        table = csv.DictWriter(file, fieldnames=list(flat[0]) if flat else [])
        table.writeheader()
        table.writerows(flat)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, (list, tuple)):
            flat |= {f"{name}_{i}": part for i, part in enumerate(value)}
        else:
            flat[name] = value
    return flat

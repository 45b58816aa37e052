"""Traces that `ERMonitor.record` writes: read and drawn."""

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NEEDED = ("entropy_online", "entropy_target", "entropy_floor", "entropy_ceiling")
_NEEDED += ("reconstruction", "bound", "ceiling")


def read_trace(path: str | os.PathLike[str]) -> dict[str, list[float]]:
    """Return the columns of a trace, in the order of its lines.

    A last line that breaks off is left out: a run may have been stopped while it wrote.

    Args:
        path: file of JSON lines, from `ERMonitor.record`.

    Returns:
        Columns of equal length, ``step`` among them.

    Raises:
        ValueError: on a line that is no record of a monitor, or a file without lines.
        OSError: if the file cannot be read.

    Source:
        Our own format: one JSON object a line.

    Example:
        >>> import pathlib, tempfile, torch
        >>> from er_ssl import ERMonitor
        >>> monitor = ERMonitor()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "trace.jsonl")
        ...     for step in 0, 10:
        ...         monitor.update(torch.eye(4), torch.eye(4))
        ...         _ = monitor.record(path, step=step)
        ...     print(read_trace(path)["step"])
        [0, 10]
    """
    with open(path, encoding="utf-8") as file:
        lines = file.read().split("\n")
    last = lines.pop()  # empty where the last line is whole
    rows = [_parse(line, path, number) for number, line in enumerate(lines, 1)]
    if not rows:
        torn = ", only a line that breaks off" if last else ""
        raise ValueError(f"{path} holds no record{torn}")
    return {name: [row[name] for row in rows] for name in rows[0] if name in rows[-1]}


def append_line(path: str | os.PathLike[str], line: str) -> None:
    """Append a line to a file of lines; what breaks off at its end is removed first.

    Args:
        path: of the file, made where there is none.
        line: without its end.

    Raises:
        OSError: if the file cannot be written.

    Source:
        Ours: a line is whole once its end is there.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "a")
        ...     _ = path.write_bytes(bytes.fromhex("6f6e65 0a 74 77"))  # "one", an end, "tw"
        ...     append_line(path, "two")
        ...     path.read_text().splitlines()
        ['one', 'two']
    """
    with open(path, "a+b") as file:
        whole = file.seek(0, os.SEEK_END)
        while whole:  # back to the last end of a line, a block at a time
            start = max(0, whole - 4096)
            file.seek(start)
            found = file.read(whole - start).rfind(b"\n")
            if found >= 0:
                whole = start + found + 1
                break
            whole = start
        file.truncate(whole)
        file.write(line.encode() + b"\n")


def plot_trace(trace: dict[str, list[float]], *, title: str = "") -> "Figure":
    """Return a figure of entropy and reconstruction over steps, with floor and ceilings.

    Needs matplotlib: the extra ``er-ssl[plot]``.

    Args:
        trace: from `read_trace`.
        title: stands above the two panels.

    Returns:
        A matplotlib ``Figure`` that no window holds: save it with ``figure.savefig``.

    Raises:
        ImportError: if matplotlib is missing.

    Source:
        Entropy and reconstruction over training, as the paper shows them.

    Example:
        >>> columns = {"step": [0, 1], "bound": [0.0, 1.0], "ceiling": [4.0, 4.0]}
        >>> columns |= {"entropy_online": [-9.0, -8.0], "entropy_target": [-9.0, -8.5]}
        >>> columns |= {"entropy_floor": [-9.6, -9.6], "entropy_ceiling": [-5.0, -5.0]}
        >>> columns |= {"reconstruction": [9.0, 9.0]}
        >>> [axis.get_ylabel() for axis in plot_trace(columns).axes]
        ['entropy (nats)', 'reconstruction and bound (nats)']
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plot_trace needs matplotlib: install er-ssl[plot]") from error
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    _curve(left, trace, "entropy_online", "online", "C0")
    _curve(left, trace, "entropy_target", "target", "C1")
    _curve(left, trace, "entropy_ceiling", "ceiling", "0.4", linestyle="--")
    _curve(left, trace, "entropy_floor", "floor: collapse", "0.4", linestyle=":")
    _curve(right, trace, "reconstruction", "reconstruction", "C2")
    _curve(right, trace, "bound", "bound", "C3")
    _curve(right, trace, "ceiling", "ceiling of the bound", "0.4", linestyle="--")
    left.set_ylabel("entropy (nats)")
    right.set_ylabel("reconstruction and bound (nats)")
    for axis in left, right:
        axis.set_xlabel("step")
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize="small")
    if title:
        figure.suptitle(title)
    return figure


def _curve(
    axis: "Axes", trace: dict[str, list[float]], name: str, label: str, color: str, **style: Any
) -> None:
    axis.plot(trace["step"], trace[name], label=label, color=color, **style)


def _parse(line: str, path: str | os.PathLike[str], number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}, line {number} is no JSON: {error}") from error
    missing = [key for key in ("step", *_NEEDED) if not isinstance(row, dict) or key not in row]
    if missing:
        raise ValueError(f"{path}, line {number} is no record of a monitor: no {missing[0]!r}")
    return row

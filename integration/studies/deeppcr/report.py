"""Figures, tables and summary of the study, from its journal alone.

uv run --package tenfold --group study python integration/studies/deeppcr/report.py
"""

import argparse
import dataclasses
import json
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from scipy.stats import t as student
from tenfold.station import Lines, Series
from tenfold.study import Task, read_journal

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "tenfold", "axes.spines.top": False, "font.size": 9})
mpl.rcParams.update({"axes.spines.right": False, "legend.frameon": False})
import matplotlib.pyplot as plt  # noqa: E402 - after the backend

HERE = Path(__file__).parent
Runs = list[tuple[Task, dict[str, Any]]]
Table = dict[str, list[Any]]
WAYS = {
    "loop": "autograd, loop over unbound weights",
    "modules": "autograd, a module a block",
    "parallel": "one solve, derivative in closed form",
    "any step": "one solve, derivative by autograd",
}
RULE = (
    "The same weights, the same batches in the same order; the backward alone differs. The curve "
    "is the same where no step's training loss differs by more than 0.01 nats in single precision, "
    "and by more than 1e-9 in double, and where the interval of the final test losses' paired "
    "difference is within 0.01 nats of zero."
)
SAME, EXACT = 0.01, 1e-9  # nats


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and half of its 95 % interval by Student's t; of one value, no interval."""
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return mean, float("nan")
    return mean, float(student.ppf(0.975, n - 1) * np.std(values, ddof=1) / n**0.5)


def pairs(runs: Runs, part: str) -> dict[int, list[tuple[dict[str, Any], dict[str, Any]]]]:
    """By depth: the runs by the loop and by the solve, a pair a seed, in the seeds' order."""
    found: dict[tuple[int, int], dict[str, dict[str, Any]]] = defaultdict(dict)
    for task, result in runs:
        if task["part"] == part:
            found[task["depth"], task["seed"]][task["backward"]] = result
    grouped: dict[int, list[tuple[dict[str, Any], dict[str, Any]]]] = defaultdict(list)
    for (depth, _), ways in sorted(found.items()):
        if "loop" in ways and "parallel" in ways:
            grouped[depth].append((ways["loop"], ways["parallel"]))
    return dict(grouped)


def gaps(pair: tuple[dict[str, Any], dict[str, Any]]) -> np.ndarray:
    """The distance of the two training losses at every step."""
    return np.abs(np.subtract(pair[0]["losses"], pair[1]["losses"]))


def curve_table(runs: Runs) -> Table:
    """One row a depth: how far the curves part, where they end, and whether they are the same."""
    single, double = pairs(runs, "train"), pairs(runs, "exact")
    table: Table = defaultdict(list)
    for depth, group in single.items():
        apart = np.array([gaps(pair) for pair in group])
        exact = max((gaps(pair).max() for pair in double.get(depth, [])), default=np.nan)
        loop, parallel = ([pair[n]["test_loss"] for pair in group] for n in (0, 1))
        change, half = interval(np.subtract(parallel, loop).tolist())
        accuracy = [interval([100 * pair[n]["accuracy"] for pair in group]) for n in (0, 1)]
        table["blocks"].append(depth)
        table["seeds"].append(len(group))
        table["largest gap, first 50 steps"].append(f"{apart[:, :50].max():.1e}")
        table["largest gap, all steps"].append(f"{apart.max():.1e}")
        table["all steps, float64"].append(f"{exact:.1e}")
        for name, losses in (("loop", loop), ("one solve", parallel)):
            mean, width = interval(losses)
            table[f"test loss, {name}"].append(f"{mean:.4f} ± {width:.4f}")
        table["paired difference"].append(f"{change:+.1e} ± {half:.1e}")
        for name, (mean, width) in zip(("loop", "one solve"), accuracy, strict=True):
            table[f"accuracy, {name}"].append(f"{mean:.2f} ± {width:.2f} %")
        same = apart.max() <= SAME and exact <= EXACT and abs(change) + half <= SAME
        table["same curve"].append("yes" if same else "no")
    return dict(table)


def clock_table(runs: Runs) -> Table:
    """One row a depth: seconds of a whole training run, and milliseconds of its steps."""
    found: dict[int, dict[str, tuple[float, int]]] = defaultdict(dict)
    for task, result in runs:
        if task["part"] == "clock":
            found[task["depth"]][task["backward"]] = result["seconds"], task["steps"]
    table: Table = defaultdict(list)
    for depth, ways in sorted(found.items()):
        if not {"loop", "modules", "parallel"} <= set(ways):
            continue
        table["blocks"].append(depth)
        for name in ("loop", "modules", "parallel"):
            seconds, steps = ways[name]
            table[f"{WAYS[name]}, s"].append(round(seconds, 1))
            table[f"{name}, ms a step"].append(round(1e3 * seconds / steps, 1))
        for name in ("loop", "modules"):
            ratio = ways[name][0] / ways["parallel"][0]
            table[f"times as fast as the {name}"].append(round(ratio, 2))
    return dict(table)


def grid(runs: Runs) -> Runs:
    """The races, by depth, width and batch."""
    rows = [(task, result) for task, result in runs if task["part"] == "grid"]
    return sorted(rows, key=lambda run: [run[0][key] for key in ("depth", "width", "batch")])


def grid_table(runs: Runs) -> Table:
    """One row a cell: how many times as fast the solve is, and which way wins."""
    table: Table = defaultdict(list)
    for task, result in grid(runs):
        both, back = result["both"], result["backward"]
        for key in ("depth", "width", "batch"):
            table[{"depth": "blocks"}.get(key, key)].append(task[key])
        table["loop, forward and backward, ms"].append(float(f"{1e3 * both['loop']:.3g}"))
        table["backward, closed form"].append(round(back["loop"] / back["parallel"], 2))
        table["backward, any step"].append(round(back["loop"] / back["any step"], 2))
        table["both, closed form"].append(round(both["loop"] / both["parallel"], 2))
        table["both, any step"].append(round(both["loop"] / both["any step"], 2))
        table["both, against modules"].append(round(both["modules"] / both["parallel"], 2))
        best = min(both, key=lambda name: both[name])
        table["fastest"].append(WAYS[best])
    return dict(table)


def figures(runs: Runs) -> list[Lines]:
    """Curves of every depth, how far they part, and what is gained by width and batch."""
    found = []
    single = pairs(runs, "train")
    if single:
        steps = len(next(iter(single.values()))[0][0]["losses"])
        every = list(range(0, steps, max(1, steps // 60)))
        x = [n + 1 for n in every]
        lines, parts = [], []
        for depth, group in single.items():
            for n, name in enumerate(("loop", "one solve")):
                losses = np.mean([smooth(pair[n]["losses"]) for pair in group], 0)
                lines.append(
                    Series(f"{depth} blocks, {name}", x, [float(losses[i]) for i in every])
                )
            worst = np.maximum.accumulate(np.array([gaps(pair) for pair in group]).max(0))
            parts.append(Series(f"{depth} blocks", x, [float(max(worst[i], 1e-8)) for i in every]))
        found.append(Lines("Deep stack: training loss, mean over seeds", "step", "nats", lines))
        title = "Deep stack: largest gap of the training losses so far, any seed"
        found.append(Lines(title, "step", "nats", parts, log_y=True))
    cells = grid(runs)
    deepest = max((task["depth"] for task, _ in cells), default=0)
    lines = []
    for width in sorted({task["width"] for task, _ in cells}):
        rows = [run for run in cells if (run[0]["depth"], run[0]["width"]) == (deepest, width)]
        gains = [result["both"]["loop"] / result["both"]["parallel"] for _, result in rows]
        lines.append(Series(f"width {width}", [task["batch"] for task, _ in rows], gains))
    if lines:
        title = f"{deepest} blocks: times as fast as the loop, forward and backward"
        axes = {"levels": [("no gain", 1.0)], "log_x": True, "log_y": True}
        found.append(Lines(title, "batch", "times as fast", lines, **axes))
    return found


def smooth(losses: Sequence[float], width: int = 20) -> np.ndarray:
    """The mean of the last losses, up to ``width`` of them."""
    total = np.concatenate([[0.0], np.cumsum(losses)])
    ends = np.arange(1, len(losses) + 1)
    begins = np.maximum(ends - width, 0)
    return (total[ends] - total[begins]) / (ends - begins)


def draw(chosen: Sequence[Lines], path: Path) -> None:
    """The figures as panels of one SVG."""
    size = (4.4 * len(chosen), 3.2)
    plot, axes = plt.subplots(1, len(chosen), figsize=size, layout="constrained", squeeze=False)
    for axis, figure in zip(axes.flat, chosen, strict=True):
        for n, line in enumerate(figure.series):
            paired = line.name.endswith("one solve")
            style = {"color": f"C{n // 2}", "ls": ":", "lw": 2.5} if paired else {"lw": 1}
            if line.name.endswith("loop"):
                style["color"] = f"C{n // 2}"
            axis.plot(line.x, line.y, label=line.name, marker="." if figure.log_x else "", **style)
        for _, height in figure.levels:
            axis.axhline(height, color="0.5", lw=0.8, ls="--")
        axis.set(xlabel=figure.x_label, ylabel=figure.y_label)
        axis.set_title(figure.title.replace(": ", ":\n"), fontsize=8)
        axis.set_xscale("log" if figure.log_x else "linear")
        axis.set_yscale("log" if figure.log_y else "linear")
        axis.legend(fontsize=6)
    plot.savefig(path, metadata={"Date": None})
    plt.close(plot)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line.rstrip() for line in lines) + "\n")


def markdown(table: Table) -> str:
    """A table as Markdown."""
    head = f"| {' | '.join(table)} |\n|{'---|' * len(table)}\n"
    rows = zip(*table.values(), strict=True)
    return head + "".join(f"| {' | '.join(map(str, row))} |\n" for row in rows)


def headlines(curves: Table, clocks: Table, races: Table) -> list[str]:
    """What the station says of the study."""
    lines = []
    if curves:
        same = curves["same curve"].count("yes")
        lines.append(
            f"The study: at {same} of {len(curves['blocks'])} depths up to "
            f"{max(curves['blocks'])} blocks training with the parallel backward follows the "
            "sequential run's loss curve; largest gap in nats of a step's training loss: "
            f"{', '.join(curves['largest gap, all steps'])} in single precision."
        )
    if clocks:
        gains = ", ".join(
            f"{gain} ({depth} blocks)"
            for gain, depth in zip(
                clocks["times as fast as the loop"], clocks["blocks"], strict=True
            )
        )
        lines.append(f"The study: whole training runs are so many times as fast: {gains}.")
    if races:
        gain = races["both, closed form"]
        lost = sum(value < 1 for value in gain)
        lines.append(
            f"The study: forward and backward together gain from {min(gain)} to {max(gain)} times "
            f"over width and batch; the loop wins in {lost} of {len(gain)} cells, where the state "
            "is wide or the batch large."
        )
    return lines


def report(runs: Runs) -> tuple[str, dict[str, Any]]:
    """The Markdown page, and what the station reads."""
    curves, clocks, races = curve_table(runs), clock_table(runs), grid_table(runs)
    said = headlines(curves, clocks, races)
    text = ["# What the study found\n\nMade by `report.py` from `journal.jsonl`.\n\n"]
    text += [f"- {line.removeprefix('The study: ')}\n" for line in said]
    tables: dict[str, Table] = {}
    if curves:
        tables["Study: the same curve"] = curves
        text += ["\n## The same curve\n\n", RULE, " Intervals are of 95 % over seeds.\n\n",
                 markdown(curves), "\n![Curves, gaps and gains](curves.svg)\n"]  # fmt: skip
    if clocks:
        tables["Study: whole training runs"] = clocks
        text += ["\n## Whole training runs\n\nForward, backward and optimizer of all steps, one "
                 "thread, nothing else running.\n\n", markdown(clocks)]  # fmt: skip
    if races:
        tables["Study: times as fast as the loop"] = races
        text += ["\n## Times as fast as the loop over unbound weights\n\nMedians of turns, one "
                 "thread, nothing else running.\n\n", markdown(races)]  # fmt: skip
    drawn = [dataclasses.asdict(figure) for figure in figures(runs)]
    return "".join(text), {"headlines": said, "tables": tables, "figures": drawn}


def main() -> int:
    """Write summary.json, results.md and the figure beside the journal."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--journal", type=Path, default=HERE / "journal.jsonl")
    args = parser.parse_args()
    runs = sorted(read_journal(args.journal), key=lambda run: json.dumps(run[0], sort_keys=True))
    if not runs:
        parser.error(f"{args.journal} holds no run: start run.py first")
    out = args.journal.parent
    text, summary = report(runs)
    if drawn := figures(runs):
        draw(drawn, out / "curves.svg")
    (out / "results.md").write_text(text)
    draft = out / "summary.json.draft"
    draft.write_text(json.dumps(summary, indent=1) + "\n")
    os.replace(draft, out / "summary.json")
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Figures, tables and summary of the study, from its journal alone.

uv run --package tenfold --group study python integration/studies/deeppcr/report.py
"""

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from tenfold.report import Runs, Table, begin, interval, markdown, number, save_figure, write_report
from tenfold.station import Lines, Series

HERE = Path(__file__).parent
Parts = dict[str, Runs]
SHORT = {"loop": "loop", "modules": "modules", "parallel": "solve", "any step": "solve, any step"}
WAYS = (
    "Loop: autograd behind a loop over weights that were unbound before it. Modules: autograd "
    "behind a module a block, as networks are usually written. Solve: one linear solve under the "
    "same loop, with the block's derivative in closed form; any step: found by automatic "
    "differentiation."
)
RACES = (
    "Medians of turns, one thread, nothing else running; `loop, ms` is its forward and backward. "
    "Backward: that alone; both: with the forward; modules: over these instead of the loop."
)
RULE = (
    "The same weights, the same batches in the same order; the backward alone differs. The curve "
    "is the same where no step's training loss differs by more than 0.01 nats in single precision, "
    "and by more than 1e-9 in double, and where the interval of the final test losses' paired "
    "difference is within 0.01 nats of zero. Gaps are the largest of any seed, in nats, of a "
    "step's training loss; intervals are of 95 % over seeds, accuracies in percent."
)
SAME, EXACT = 0.01, 1e-9  # nats
SMOOTH = 20  # steps


def pairs(runs: Runs) -> dict[int, list[tuple[dict[str, Any], dict[str, Any]]]]:
    """By depth: the runs by the loop and by the solve, a pair a seed, in the seeds' order."""
    found: dict[tuple[int, int], dict[str, dict[str, Any]]] = defaultdict(dict)
    for task, result in runs:
        found[task["depth"], task["seed"]][task["backward"]] = result
    grouped: dict[int, list[tuple[dict[str, Any], dict[str, Any]]]] = defaultdict(list)
    for (depth, _), ways in sorted(found.items()):
        if "loop" in ways and "parallel" in ways:
            grouped[depth].append((ways["loop"], ways["parallel"]))
    return dict(grouped)


def gaps(pair: tuple[dict[str, Any], dict[str, Any]]) -> np.ndarray:
    """The distance of the two training losses at every step."""
    return np.abs(np.subtract(pair[0]["losses"], pair[1]["losses"]))


def curve_table(parts: Parts) -> Table:
    """One row a depth: how far the curves part, where they end, and whether they are the same."""
    single, double = pairs(parts["train"]), pairs(parts["exact"])
    table: Table = defaultdict(list)
    for depth, group in single.items():
        apart = np.array([gaps(pair) for pair in group])
        exact = max((gaps(pair).max() for pair in double.get(depth, [])), default=np.nan)
        loop, parallel = ([pair[n]["test_loss"] for pair in group] for n in (0, 1))
        change, half = interval(np.subtract(parallel, loop).tolist())
        table["blocks"].append(str(depth))
        table["seeds"].append(str(len(group)))
        table["gap, 50 steps"].append(f"{apart[:, :50].max():.1e}")
        table["gap, all steps"].append(f"{apart.max():.1e}")
        table["gap, float64"].append(f"{exact:.1e}")
        for n, (name, losses) in enumerate((("loop", loop), ("solve", parallel))):
            table[f"test loss, {name}"].append(number(losses, 4))
            table[f"accuracy, {name}"].append(number([100 * pair[n]["accuracy"] for pair in group]))
        table["difference of test losses"].append(f"{change:+.0e} ± {half:.0e}")
        same = apart.max() <= SAME and exact <= EXACT and abs(change) + half <= SAME
        table["same curve"].append("yes" if same else "no")
    return dict(table)


def clock_table(runs: Runs) -> Table:
    """One row a depth: seconds of a whole training run, and milliseconds of its steps."""
    found: dict[int, dict[str, tuple[float, int]]] = defaultdict(dict)
    for task, result in runs:
        found[task["depth"]][task["backward"]] = result["seconds"], task["steps"]
    table: Table = defaultdict(list)
    for depth, ways in sorted(found.items()):
        if not {"loop", "modules", "parallel"} <= set(ways):
            continue
        table["blocks"].append(str(depth))
        for name in ("loop", "modules", "parallel"):
            seconds, steps = ways[name]
            table[f"{SHORT[name]}, s"].append(f"{seconds:.1f}")
            table[f"{SHORT[name]}, ms a step"].append(f"{1e3 * seconds / steps:.1f}")
        for name in ("loop", "modules"):
            table[f"gain over {name}"].append(f"{ways[name][0] / ways['parallel'][0]:.2f}")
    return dict(table)


def by_cell(runs: Runs) -> Runs:
    """The races, by depth, width and batch."""
    return sorted(runs, key=lambda run: [run[0][key] for key in ("depth", "width", "batch")])


def grid_table(runs: Runs) -> Table:
    """One row a cell: how many times as fast the solve is, and which way wins."""
    table: Table = defaultdict(list)
    for task, result in by_cell(runs):
        both, back = result["both"], result["backward"]
        for name, key in (("blocks", "depth"), ("width", "width"), ("batch", "batch")):
            table[name].append(str(task[key]))
        table["loop, ms"].append(f"{1e3 * both['loop']:.1f}")
        table["backward"].append(f"{back['loop'] / back['parallel']:.2f}")
        table["backward, any step"].append(f"{back['loop'] / back['any step']:.2f}")
        table["both"].append(f"{both['loop'] / both['parallel']:.2f}")
        table["both, any step"].append(f"{both['loop'] / both['any step']:.2f}")
        table["both, modules"].append(f"{both['modules'] / both['parallel']:.2f}")
        table["fastest"].append(SHORT[min(both, key=lambda name: both[name])])
    return dict(table)


def figures(parts: Parts) -> list[Lines]:
    """Curves of every depth, how far they part, and what is gained by width and batch."""
    found = []
    if single := pairs(parts["train"]):
        steps = len(next(iter(single.values()))[0][0]["losses"])
        every = list(range(0, steps, max(1, steps // 60)))
        x = [n + 1 for n in every]
        lines, gap = [], []
        for depth, group in single.items():
            for n, name in enumerate(("loop", "solve")):
                losses = np.mean([smooth(pair[n]["losses"]) for pair in group], 0)
                lines.append(
                    Series(f"{depth} blocks, {name}", x, [float(losses[i]) for i in every])
                )
            worst = np.maximum.accumulate(np.array([gaps(pair) for pair in group]).max(0))
            rows = [i for i in every if worst[i] > 0]  # a logarithm is to be drawn
            y = [float(worst[i]) for i in rows]
            gap.append(Series(f"{depth} blocks", [i + 1 for i in rows], y))
        found.append(
            Lines(
                f"Deep stack: training loss, mean over seeds and {SMOOTH} steps",
                "step",
                "nats",
                lines,
            )
        )
        title = "Deep stack: largest gap of the training losses so far, any seed"
        found.append(Lines(title, "step", "nats", gap, log_y=True))
    cells = by_cell(parts["grid"])
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


def smooth(losses: Sequence[float], width: int = SMOOTH) -> np.ndarray:
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
            paired = line.name.endswith("solve")
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
    save_figure(plot, path)


def headlines(curves: Table, clocks: Table, races: Table) -> list[str]:
    """What the station says of the study."""
    lines = []
    if curves:
        same = curves["same curve"].count("yes")
        lines.append(
            f"at {same} of {len(curves['blocks'])} depths up to "
            f"{curves['blocks'][-1]} blocks training with the parallel backward follows the "
            "sequential run's loss curve; largest gap in nats of a step's training loss: "
            f"{', '.join(curves['gap, all steps'])} in single precision."
        )
    if clocks:
        gains = ", ".join(
            f"{gain} ({depth} blocks)"
            for gain, depth in zip(clocks["gain over loop"], clocks["blocks"], strict=True)
        )
        lines.append(f"whole training runs are so many times as fast: {gains}.")
    if races:
        gain = [float(value) for value in races["both"]]
        lost = sum(value < 1 for value in gain)
        lines.append(
            f"forward and backward together gain from {min(gain)} to {max(gain)} times "
            f"over width and batch; the loop wins in {lost} of {len(gain)} cells, where the state "
            "is wide or the batch large."
        )
    return lines


def report(parts: Parts, drawn: Sequence[Lines]) -> tuple[str, dict[str, Any]]:
    """The Markdown page, and what the station reads."""
    curves, clocks = curve_table(parts), clock_table(parts["clock"])
    races = grid_table(parts["grid"])
    said = headlines(curves, clocks, races)
    text = ["# What the study found\n\nMade by `report.py` from `journal.jsonl`.\n\n"]
    text += [f"- {line}\n" for line in said]
    text += ["\n", WAYS, "\n"]
    tables: dict[str, Table] = {}
    if curves:
        tables["Study: the same curve"] = curves
        text += ["\n## The same curve\n\n", RULE, "\n\n", markdown(curves),
                 "\n![Curves, gaps and gains](curves.svg)\n"]  # fmt: skip
    if clocks:
        tables["Study: whole training runs"] = clocks
        text += ["\n## Whole training runs\n\nForward, backward and optimizer of all steps, one "
                 "thread, nothing else running.\n\n", markdown(clocks)]  # fmt: skip
    if races:
        tables["Study: times as fast as the loop"] = races
        text += ["\n## Times as fast as the loop\n\n", RACES, "\n\n", markdown(races)]
    figures = [dataclasses.asdict(figure) for figure in drawn]
    return "".join(text), {"headlines": said, "tables": tables, "figures": figures}


def main() -> int:
    """Write summary.json, results.md and the figure beside the journal."""
    parts, out = begin(__doc__ or "", HERE)
    drawn = figures(parts)
    if drawn:
        draw(drawn, out / "curves.svg")
    write_report(out, *report(parts, drawn))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

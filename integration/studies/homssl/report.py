"""Figures, tables and summary of the study, from its journal alone.

uv run --package tenfold --group study python integration/studies/homssl/report.py
"""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import spearmanr
from tenfold.fiber_runs import CELL, GRID, crop, overlap
from tenfold.report import Runs, Table, begin, interval, markdown, number, save_figure, write_report
from tenfold.station import Lines, Series

HERE = Path(__file__).parent
ANGLES, OFFSETS = (0, 90, 180, 270), (1, 2, 3, 5, 7)
ARMS = {  # net, loss, trained: label
    ("C4", "fibers", True): "C4 net, H-SSL",
    ("plain", "fibers", True): "plain net, H-SSL",
    ("plain", "images", True): "plain net, A-SSL",
    ("C4", "images", True): "C4 net, A-SSL",
    ("C4", "fibers", False): "C4 net, untrained",
    ("plain", "fibers", False): "plain net, untrained",
}
PROBES = ("fiber, upright", "fiber, turned", "pooled, turned")
LOSSES = {"fibers": "H-SSL", "images": "A-SSL"}

Results = list[dict[str, Any]]
Measure = Callable[[dict[str, Any]], float]


def grouped(runs: Runs, keys: Sequence[str]) -> dict[tuple[Any, ...], Results]:
    """Results by the task's values under ``keys``, in the order of the seeds."""
    found: dict[tuple[Any, ...], Results] = defaultdict(list)
    for task, result in sorted(runs, key=lambda run: run[0]["seed"]):
        found[tuple(task[key] for key in keys)].append(result)
    return dict(found)


def percent(*path: str) -> Measure:
    """A share that a result holds as counts, in percent."""

    def measure(result: dict[str, Any]) -> float:
        for name in path:
            result = result[name]
        right, n = result
        return 100 * right / n

    return measure


def pretext(result: dict[str, Any]) -> float:
    """The worst element's retrieval of another fiber of the same pass, in percent."""
    return min(percent("pretext", g)(result) for g in result["pretext"])


def start_loss(result: dict[str, Any]) -> float:
    """Of the first step, nats."""
    return result["loss"][0]


def final_loss(result: dict[str, Any]) -> float:
    """The mean of the last ten steps, nats."""
    return float(np.mean(result["loss"][1:]))


def each(results: Results, measure: Measure) -> list[float]:
    """One number a seed."""
    return [measure(result) for result in results]


def arms_of(runs: Runs) -> dict[str, Results]:
    """Results of the failure experiment by the arm's label."""
    found = grouped(runs, ("net", "loss", "epochs"))
    named = {ARMS[net, loss, bool(epochs)]: r for (net, loss, epochs), r in found.items()}
    return {label: named[label] for label in ARMS.values() if label in named}


def failure_table(runs: Runs) -> Table:
    """One row an arm: retrieval by angle, the pretext, the classes."""
    table: Table = defaultdict(list)
    for label, results in arms_of(runs).items():
        table["arm"].append(label)
        table["seeds"].append(str(len(results)))
        for angle in ANGLES[1:]:
            found = each(results, percent("turned", str(angle)))
            table[f"turned by {angle}, %"].append(number(found))
        table["own fibers, worst, %"].append(number(each(results, pretext)))
        for name in PROBES:
            table[f"classes: {name}, %"].append(number(each(results, percent("probes", name))))
    return dict(table)


def turns_table(runs: Runs) -> Table:
    """One row a base size, distance and loss, over quarter turns."""
    table: Table = defaultdict(list)
    for (loss, base, far), results in sorted(
        grouped(runs, ("loss", "base_size", "distance")).items()
    ):
        table["loss"].append(LOSSES[loss])
        table["base size"].append(str(base))
        table["topographic distance"].append(str(far))
        table["the same augmentation"].append(f"turns up to {90 * far} degrees")
        table["final loss, nats"].append(number(each(results, final_loss), 3))
        for angle in ANGLES[1:]:
            found = each(results, percent("turned", str(angle)))
            table[f"turned by {angle}, %"].append(number(found))
        for name in PROBES:
            table[f"classes: {name}, %"].append(number(each(results, percent("probes", name))))
    return dict(table)


def cells_of(runs: Runs, loss: str = "fibers") -> dict[tuple[int, int], Results]:
    """Trained results of the translations by base size and distance."""
    trained = [(task, result) for task, result in runs if task["epochs"] and task["loss"] == loss]
    return dict(sorted(grouped(trained, ("base_size", "distance")).items()))


def shifts_table(runs: Runs) -> Table:
    """One row a base size and distance, over translations; untrained networks first."""
    table: Table = defaultdict(list)
    drawn = grouped([run for run in runs if not run[0]["epochs"]], ("base_size",))
    cells: dict[tuple[int, int | None], Results] = {(b, None): r for (b,), r in drawn.items()}
    for (base, far), results in (cells | cells_of(runs)).items():
        table["base size, cells"].append(str(base))
        table["topographic distance, cells"].append("untrained" if far is None else str(far))
        table["crop, pixels"].append(str(crop(base)))
        table["shift at most, pixels"].append("" if far is None else str(CELL * far))
        table["overlap, %"].append("" if far is None else f"{100 * overlap(base, far):.0f}")
        for when, measure in (("first", start_loss), ("final", final_loss)):
            values = "" if far is None else number(each(results, measure), 2)
            table[f"{when} loss, nats"].append(values)
        for offset in (OFFSETS[0], OFFSETS[2], OFFSETS[-1]):
            found = each(results, percent("reach", str(offset)))
            table[f"found {offset} cells away, %"].append(number(found))
        probes = each(results, percent("probes", "pooled"))
        table["classes: pooled, %"].append(number(probes))
    return dict(table)


def twins_table(parts: dict[str, Runs]) -> Table:
    """One row a setting that both losses were trained at: A-SSL minus H-SSL, seed by seed."""
    table: Table = defaultdict(list)
    for part, names in (("turns", ("90", "180")), ("shifts", ("1", "7"))):
        both = {loss: grouped([run for run in parts[part] if run[0]["loss"] == loss
                               and run[0]["epochs"]], ("base_size", "distance"))
                for loss in LOSSES}  # fmt: skip
        kind, probe = ("turned", "fiber, turned") if part == "turns" else ("reach", "pooled")
        for cell in sorted(both["fibers"].keys() & both["images"].keys()):
            h, a = both["fibers"][cell], both["images"][cell]
            if len(h) != len(a):
                continue  # a journal that is still being filled
            measures: dict[str, Measure] = {
                "final loss, nats": final_loss,
                "retrieval, near, points": percent(kind, names[0]),
                "retrieval, far, points": percent(kind, names[1]),
                "classes, points": percent("probes", probe),
            }
            table["group"].append("C4" if part == "turns" else "translations")
            table["base size"].append(str(cell[0]))
            table["topographic distance"].append(str(cell[1]))
            for name, measure in measures.items():
                apart = np.subtract(each(a, measure), each(h, measure)).tolist()
                table[name].append(number(apart, 3 if "nats" in name else 1))
    return dict(table)


def answers(parts: dict[str, Runs]) -> Table:
    """The stated bars, each with what was found."""
    rows: list[tuple[str, str, bool]] = []
    arms = arms_of(parts["failure"])

    def bar(label: str, what: str, measures: Sequence[Measure], limit: float, *, least: bool):
        found = [value for m in measures for value in each(arms[label], m)]
        worst = min(found) if least else max(found)
        sign = "at least" if least else "at most"
        holds = worst >= limit if least else worst <= limit
        rows.append((f"{label}: {what} {sign} {limit:g} %, every seed", f"{worst:.1f} %", holds))

    turned = {angle: percent("turned", str(angle)) for angle in ANGLES}
    away = [turned[angle] for angle in ANGLES[1:]]
    if "C4 net, H-SSL" in arms:
        bar("C4 net, H-SSL", "turned image found", away, 95, least=True)
    if "plain net, H-SSL" in arms:
        at = [turned[90], turned[270]]
        bar("plain net, H-SSL", "found at 90 and 270 degrees", at, 15, least=False)
        bar("plain net, H-SSL", "its own fibers found", [pretext], 90, least=True)
    if "plain net, A-SSL" in arms:
        bar("plain net, A-SSL", "turned image found", away, 90, least=True)
    rows += expectations(parts["shifts"])
    return {
        "bar": [what for what, _, _ in rows],
        "found": [found for _, found, _ in rows],
        "holds": ["yes" if holds else "no" for *_, holds in rows],
    }


def expectations(runs: Runs) -> list[tuple[str, str, bool]]:
    """What the sweep over translations ought to show, if its parameters are an augmentation's."""
    cells = cells_of(runs)
    bases, far = sorted({b for b, _ in cells}), sorted({d for _, d in cells})
    if len(cells) < len(bases) * len(far) or len(cells) < 4:
        return []
    loss = np.array([[np.mean(each(cells[b, d], start_loss)) for d in far] for b in bases])
    both = bool((np.diff(loss, axis=1) > 0).all()), bool((np.diff(loss, axis=0) < 0).all())
    common = [overlap(*cell) for cell in cells]
    final = [float(np.mean(each(r, final_loss))) for r in cells.values()]
    rank = float(spearmanr(common, final).statistic)
    wide = [[np.mean(each(cells[b, d], percent("reach", str(OFFSETS[-1])))) for d in far]
            for b in bases]  # fmt: skip
    grows = sum(row[-1] > row[0] for row in wide)
    probes = {cell: each(r, percent("probes", "pooled")) for cell, r in cells.items()}
    best = max(probes, key=lambda cell: float(np.mean(probes[cell])))
    ends = [d for d in (far[0], far[-1]) if d != best[1]]
    gains = [interval(np.subtract(probes[best], probes[best[0], d]).tolist()) for d in ends]
    inside = len(ends) == 2 and all(mean > half for mean, half in gains)
    return [
        ("the untrained loss rises with the distance at every base size (mean of seeds)",
         f"{loss[:, 0].mean():.2f} to {loss[:, -1].mean():.2f} nats", both[0]),
        ("and falls with the base size at every distance",
         f"{loss[0].mean():.2f} to {loss[-1].mean():.2f} nats", both[1]),
        ("the less two views overlap, the higher the final loss: rank correlation below -0.8",
         f"{rank:+.2f} over {len(cells)} settings", rank < -0.8),
        (f"a larger distance in training finds more at {OFFSETS[-1]} cells, every base size",
         f"{grows} of {len(bases)}", grows == len(bases)),
        ("the class probe is best at a distance inside the range, beyond the interval",
         f"best at base {best[0]}, distance {best[1]}", inside),
    ]  # fmt: skip


def band(name: str, x: Sequence[float], groups: Sequence[Results], measure: Measure) -> Series:
    """Mean and 95 % interval over the seeds."""
    found = [interval(each(results, measure)) for results in groups]
    mean = [m for m, _ in found]
    return Series(name, [float(v) for v in x], mean, [m - h for m, h in found],
                  [m + h for m, h in found])  # fmt: skip


def figures(parts: dict[str, Runs]) -> list[Lines]:
    """All figures as data."""
    drawn: list[Lines] = []
    arms = arms_of(parts["failure"])
    if arms:
        series = []
        for label, results in arms.items():
            if "C4 net, A" in label or "C4 net, un" in label:
                continue  # as H-SSL's; as the plain one
            curve = [band(label, [a], [results], percent("turned", str(a))) for a in ANGLES]
            series.append(
                Series(label, [float(a) for a in ANGLES], *([c.y[0] for c in curve],
                       [c.low[0] for c in curve], [c.high[0] for c in curve]))
            )  # fmt: skip
        drawn.append(Lines("Study: the turned image, found among 1,000", "degrees", "top 1, %",
                           series))  # fmt: skip
    cells = cells_of(parts["shifts"])
    if cells:
        drawn += shift_figures(cells)
    return drawn


def shift_figures(cells: dict[tuple[int, int], Results]) -> list[Lines]:
    """Reach, loss and classes over translations."""
    bases, far = sorted({b for b, _ in cells}), sorted({d for _, d in cells})
    base = 4 if 4 in bases else bases[-1]
    reach = []
    for d in far:
        points = [band("", [o], [cells[base, d]], percent("reach", str(o))) for o in OFFSETS]
        y, low, high = ([getattr(p, part)[0] for p in points] for part in ("y", "low", "high"))
        name = f"trained to distance {d} ({CELL * d} pixels)"
        reach.append(Series(name, [float(o) for o in OFFSETS], y, low, high))

    def over_distance(measure: Measure) -> list[Series]:
        return [
            band(f"base {b} (crop of {crop(b)} pixels)", far, [cells[b, d] for d in far], measure)
            for b in bases
        ]

    by_overlap = [
        Series(line.name, [100 * overlap(b, d) for d in far], line.y, line.low, line.high)
        for b, line in zip(bases, over_distance(final_loss), strict=True)
        if crop(b) < CELL * GRID  # a window that sees the whole torus always has all in common
    ]
    probe = percent("probes", "pooled")
    return [
        Lines(f"Study: base {base}, found again how far away", "cells apart (2 pixels each)",
              "top 1, %", reach),
        Lines("Study: final loss over the overlap of two views", "pixels in common, %", "nats",
              by_overlap),
        Lines("Study: classes over topographic distance", "cells", "pooled probe, %",
              over_distance(probe)),
    ]  # fmt: skip


def headlines(found: Table, arms: dict[str, Results]) -> list[str]:
    """What the station's notes say of the study, what fails and what it costs among it."""
    rows = list(zip(found["bar"], found["holds"], strict=True))
    missed = "; ".join(bar for bar, holds in rows if holds == "no")
    held = sum(holds == "yes" for _, holds in rows)
    said = [f"{held} of {len(rows)} bars and expectations hold{f'; not: {missed}' * bool(missed)}."]
    trained, drawn = (arms.get(f"C4 net, {kind}", []) for kind in ("H-SSL", "untrained"))
    if trained and len(trained) == len(drawn):
        for name in PROBES:
            measure = percent("probes", name)
            gain = number(np.subtract(each(trained, measure), each(drawn, measure)).tolist())
            said.append(
                f"linear probe of the classes ({name}), H-SSL minus untrained: {gain} points."
            )
    return said


def draw(lines: Sequence[Lines], path: Path) -> None:
    """Draw charts side by side, two a row."""
    rows = (len(lines) + 1) // 2
    figure, axes = plt.subplots(rows, 2, figsize=(10.5, 3.4 * rows), layout="constrained")
    for axis in axes.flat[len(lines) :]:
        axis.set_axis_off()
    for axis, chart in zip(axes.flat, lines, strict=False):
        for series in chart.series:
            (line,) = axis.plot(series.x, series.y, marker=".", label=series.name)
            axis.fill_between(
                series.x, series.low, series.high, color=line.get_color(), alpha=0.15, lw=0
            )
        axis.set(title=chart.title.removeprefix("Study: "), xlabel=chart.x_label,
                 ylabel=chart.y_label)  # fmt: skip
        axis.legend(fontsize=6.5)
    save_figure(figure, path)


def main() -> None:
    """Write summary.json, results.md and the figure beside the journal."""
    parts, out = begin(__doc__ or "", HERE)
    found = answers(parts)
    text = [
        "# What the study found\n\nMade by `report.py` from `journal.jsonl`; intervals are 95 % "
        "over seeds, by Student's t.\n\n## The bars, and what the parameters ought to do\n\n"
        + markdown(found)
    ]
    made: dict[str, Table] = {}
    for part, title, make in (
        ("failure", "Structure removed", failure_table),
        ("turns", "Quarter turns: base size and distance", turns_table),
        ("shifts", "Translations: base size and distance", shifts_table),
    ):
        if parts[part]:
            made[title] = make(parts[part])
    made["A-SSL minus H-SSL at the same settings"] = twins_table(parts)
    for title, table in made.items():
        text.append(f"\n## {title}\n\n" + markdown(table))
    drawn = figures(parts)
    draw(drawn, out / "figures.svg")
    text.append("\n![Retrieval by angle and by distance, loss, classes](figures.svg)\n")
    tables = {"Study: the bars, over three seeds": found}
    tables |= {f"Study: {title}": table for title, table in made.items()}
    summary = {
        "headlines": headlines(found, arms_of(parts["failure"])),
        "tables": tables,
        "figures": [dataclasses.asdict(chart) for chart in drawn],
    }
    write_report(out, "".join(text), summary)


if __name__ == "__main__":
    main()

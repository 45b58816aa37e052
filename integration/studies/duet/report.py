"""Figures, tables and summary of the study, from its journal alone.

uv run --package tenfold --group study python integration/studies/duet/report.py
"""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from tenfold.duet_runs import LAMBDA
from tenfold.report import Runs, Table, begin, interval, markdown, number, save_figure, write_report
from tenfold.station import Lines, Series

HERE = Path(__file__).parent
NAMES = {"duet": "DUET", "simclr": "SimCLR", "essl": "ESSL", "untrained": "untrained"}
SHIFTS = (45.0, 90.0, 135.0, 180.0)
BARRED = SHIFTS[:3]  # at 180 degrees the wrong direction is the right one

Results = list[dict[str, Any]]
Measure = Callable[[dict[str, Any]], float]
Bar = tuple[str, str, bool]


def grouped(runs: Runs, *keys: str) -> dict[Any, Results]:
    """Results by the task's values under ``keys``, in the order of the seeds."""
    found: dict[Any, Results] = defaultdict(list)
    for task, result in sorted(runs, key=lambda run: run[0]["seed"]):
        values = tuple(map(str, (task[key] for key in keys)))
        found[values[0] if len(keys) == 1 else values].append(result)
    return dict(found)


def at(*path: str) -> Measure:
    """The number that a result holds under a path."""

    def measure(result: dict[str, Any]) -> float:
        value: Any = result
        for name in path:
            value = value[name]
        return float(value)

    return measure


def percent(*path: str) -> Measure:
    """A share that a result holds as counts, in percent."""

    def measure(result: dict[str, Any]) -> float:
        value: Any = result
        for name in path:
            value = value[name]
        return 100 * value[0] / value[1]

    return measure


def moved(what: str, amount: float, name: str = "moved", over: str | None = None) -> Measure:
    """An error after a shift, or its ratio to a yardstick."""

    def measure(result: dict[str, Any]) -> float:
        row = next(r for r in result["generation"]
                   if (r["what"], r["amount"]) == (what, amount))  # fmt: skip
        return row[name] / (row[over] if over else 1)

    return measure


def each(results: Results, measure: Measure) -> list[float]:
    """One number a seed."""
    return [measure(result) for result in results]


def methods_table(runs: Runs) -> Table:
    """One row a method: pose and classes."""
    found = grouped(runs, "kind")
    table: Table = defaultdict(list)
    for kind in (k for k in NAMES if k in found):
        results = found[kind]
        table["method"].append(NAMES[kind])
        table["seeds"].append(str(len(results)))
        for name in ("median", "mean"):
            table[f"read off the marginal, {name}, degrees"].append(
                number(each(results, at("readout", name)))
            )
        table["with a disc, median"].append(number(each(results, at("masked", "median"))))
        for name in ("median", "mean"):
            table[f"ridge on all features, {name}, degrees"].append(
                number(each(results, at("ridge", name)))
            )
        table["classes: all features, %"].append(
            number(each(results, percent("classes", "matrix")))
        )
        content = kind == "duet"
        table["classes: content (32), %"].append(
            number(each(results, percent("classes", "content"))) if content else ""
        )
    return dict(table)


def generation_table(parts: dict[str, Runs]) -> Table:
    """One row a method, decoder and shift: errors of what is decoded, and their ratios."""
    table: Table = defaultdict(list)
    for (kind, noise), results in decoded(parts).items():
        for amount in SHIFTS:
            table["method"].append(NAMES[kind])
            table["noise in the decoder's training"].append(noise)
            table["shift, degrees"].append(f"{amount:g}")
            for name, label in (("moved", "shifted"), ("still", "not shifted"),
                                ("wrong", "wrong way"), ("oracle", "oracle")):  # fmt: skip
                values = each(results, moved("image", amount, name))
                table[f"{label}, MSE"].append(number(values, 4))
            for over, label in (("still", "not shifted"), ("wrong", "wrong way")):
                values = each(results, moved("image", amount, over=over))
                table[f"shifted over {label}"].append(number(values, 2))
    return dict(table)


def decoded(parts: dict[str, Runs]) -> dict[tuple[str, str], Results]:
    """Results that hold decoded images, by method and the noise that the decoder learned with."""
    found = grouped(parts["methods"], "kind") if parts["methods"] else {}
    by = {(kind, "0"): found[kind] for kind in NAMES if kind in found}
    for noise, results in grouped(parts["noise"], "noise").items() if parts["noise"] else ():
        by["duet", noise] = results
    return dict(sorted(by.items(), key=lambda item: (list(NAMES).index(item[0][0]), item[0][1])))


def features_table(runs: Runs) -> Table:
    """One row a part and shift: relative errors of features, DUET beside SimCLR."""
    found = grouped(runs, "kind")
    table: Table = defaultdict(list)
    for what in ("matrix", "marginal", "interaction"):
        for amount in SHIFTS:
            table["part"].append(what)
            table["shift, degrees"].append(f"{amount:g}")
            for kind in (k for k in ("duet", "simclr") if k in found):
                for name, label in (("moved", "shifted"), ("still", "not shifted")):
                    values = each(found[kind], moved(what, amount, name))
                    table[f"{NAMES[kind]}, {label}"].append(number(values, 2))
    return dict(table)


def classes_table(runs: Runs) -> Table:
    """Median error of the angle by class."""
    results = [r for r in grouped(runs, "kind").get("duet", []) if "angles_by_class" in r]
    names = list(results[0]["angles_by_class"]) if results else []
    return {
        "class": names,
        "seeds": [str(len(results))] * len(names),
        "DUET, median, degrees": [number(each(results, at("angles_by_class", n))) for n in names],
    }


def transfer_table(parts: dict[str, Runs]) -> Table:
    """What features hold of the crops of photographs, by where they were trained."""
    table: Table = defaultdict(list)
    sources = (("methods", "Fashion-MNIST, crops in grey"), ("colour", "the crops, in colour"))
    for part, source in sources:
        found = grouped(parts[part], "kind") if parts[part] else {}
        for kind in (k for k in NAMES if k in found):
            results = found[kind]
            table["trained on"].append("nothing" if kind == "untrained" else source)
            table["method"].append(f"{NAMES[kind]}{', in colour' * (part == 'colour')}")
            table["photograph, %"].append(number(each(results, percent("transfer", "photograph"))))
            for name in ("ridge", "readout"):
                values = each(results, at("transfer", name, "median"))
                table[f"angle by {name}, median, degrees"].append(number(values))
    return dict(table)


def factors_table(runs: Runs) -> Table:
    """One row a pair of lambdas: the angle and the mirror image."""
    table: Table = defaultdict(list)
    for weights, results in grouped(runs, "weights").items():
        table["lambda of rotation, mirror image"].append(weights.strip("[]"))
        table["seeds"].append(str(len(results)))
        for name in ("median", "mean"):
            table[f"angle, {name}, degrees"].append(number(each(results, at("rotation", name))))
        table["mirror image told, %"].append(number(each(results, percent("hflip"))))
        shoes = each(results, shoes_told)
        table["of shoes, %"].append(number(shoes))
    return dict(table)


def shoes_told(result: dict[str, Any]) -> float:
    """How often the mirror image is told of what points to one side, in percent."""
    counts = [result["hflip by class"][name] for name in ("sandal", "sneaker", "ankle boot")]
    return 100 * sum(right for right, _ in counts) / sum(n for _, n in counts)


def relative_table(runs: Runs) -> Table:
    """One row a kind of target, on images at hidden angles."""
    table: Table = defaultdict(list)
    for known, results in grouped(runs, "relative").items():
        table["targets"].append("relative" if known == "True" else "absolute")
        table["seeds"].append(str(len(results)))
        for what in ("absolute", "relative"):
            for name in ("median", "mean"):
                values = each(results, at(what, name))
                table[f"{what} angle, {name}, degrees"].append(number(values))
    return dict(table)


def lambda_table(parts: dict[str, Runs]) -> Table:
    """One row a lambda."""
    table: Table = defaultdict(list)
    for weight, results in lambdas(parts).items():
        table["lambda"].append(f"{weight:g}")
        table["seeds"].append(str(len(results)))
        table["angle, median, degrees"].append(number(each(results, at("readout", "median"))))
        table["angle, mean, degrees"].append(number(each(results, at("readout", "mean"))))
        table["ridge, mean, degrees"].append(number(each(results, at("ridge", "mean"))))
        table["classes, %"].append(number(each(results, percent("classes", "matrix"))))
        table["shifted by 90 degrees, MSE"].append(number(each(results, moved("image", 90.0)), 4))
    return dict(table)


def lambdas(parts: dict[str, Runs]) -> dict[float, Results]:
    """DUET's results by lambda, rising."""
    runs = parts["lambda"] + [r for r in parts["methods"] if r[0]["kind"] == "duet"]
    return {float(weight): results for weight, results in
            sorted(grouped(runs, "weight").items(), key=lambda item: float(item[0]))}  # fmt: skip


def at_most(what: str, found: Sequence[float], limit: float, digits: int = 1) -> Bar:
    """A bar that the worst seed must keep below."""
    worst = max(found)
    return f"{what} at most {limit:g}, every seed", f"{worst:.{digits}f}", worst <= limit


def answers(parts: dict[str, Runs]) -> list[Bar]:
    """The stated bars, each with the worst seed and whether it holds."""
    rows: list[Bar] = []
    found = grouped(parts["methods"], "kind") if parts["methods"] else {}
    ours, theirs = found.get("duet", []), found.get("simclr", [])
    if ours:
        rows.append(at_most("angle read off the marginal: median error, degrees (chance 90),",
                            each(ours, at("readout", "median")), 15))  # fmt: skip
    if ours and len(ours) == len(theirs):
        gain = np.subtract(*(each(r, percent("classes", "matrix")) for r in (ours, theirs)))
        rows.append((
            "linear probe of the classes: DUET minus SimCLR at least -2 points, every seed",
            f"{gain.min():+.1f}", bool(gain.min() >= -2),
        ))  # fmt: skip
        ratio = np.divide(*(each(r, at("ridge", "mean")) for r in (ours, theirs)))
        rows.append(at_most("ridge error of the angle over SimCLR's", ratio.tolist(), 0.6, 2))
    for (kind, noise), results in decoded(parts).items():
        for over, label in (("still", "no shift"), ("wrong", "the wrong direction")):
            for amount in BARRED if kind == "duet" else ():
                values = each(results, moved("image", amount, over=over))
                what = f"shift by {amount:g} degrees and decode (noise {noise}): over {label}"
                rows.append(at_most(what, values, 0.7, 2))
    if ours:
        ratio = np.divide(*(each(ours, at(name, "median")) for name in ("masked", "readout")))
        rows.append(at_most("median error with a disc over without", ratio.tolist(), 1.5, 2))
    return rows + more_answers(parts, ours)


def more_answers(parts: dict[str, Runs], ours: Results) -> list[Bar]:
    """The bars of the other parts."""
    rows: list[Bar] = []
    discs = [result for _, result in parts["mask"]]
    if discs and ours:
        ratio = max(each(discs, at("masked", "median"))) / np.mean(
            each(ours, at("readout", "median"))
        )
        rows.append(at_most("trained and read with a disc, over the mean without", [ratio], 1.5, 2))
    pairs = grouped(parts["factors"], "weights") if parts["factors"] else {}
    full, no = str(LAMBDA), "0.0"
    if (both := pairs.get(f"[{full}, {full}]")) is not None:
        rows.append(at_most("two factors: median error of the angle, degrees,",
                            each(both, at("rotation", "median")), 20))  # fmt: skip
        told = min(each(both, percent("hflip")))
        rows.append(("and the mirror image told at least 65 % (chance 50), every seed",
                     f"{told:.1f} %", told >= 65))  # fmt: skip
    if (blind := pairs.get(f"[{no}, {full}]")) is not None:
        worst = min(each(blind, at("rotation", "mean")))
        rows.append(("lambda 0: mean error of the angle at least 80 degrees (chance 90)",
                     f"{worst:.1f}", worst >= 80))  # fmt: skip
    if (blind := pairs.get(f"[{full}, {no}]")) is not None:
        away = max(abs(x - 50) for x in each(blind, percent("hflip")))
        rows.append(("lambda 0: the mirror image told at 50 %, 5 points off at most, every seed",
                     f"{away:.1f} points off", away <= 5))  # fmt: skip
    kinds = grouped(parts["relative"], "relative") if parts["relative"] else {}
    if "True" in kinds and "False" in kinds:
        worst = min(each(kinds["False"], at("absolute", "mean")))
        rows.append(("no upright pose: absolute targets read at chance, mean at least 80 degrees",
                     f"{worst:.1f}", worst >= 80))  # fmt: skip
        rows.append(at_most("relative targets: mean error of the difference, degrees,",
                            each(kinds["True"], at("relative", "mean")), 45))  # fmt: skip
    return rows


def curve(name: str, x: Sequence[float], groups: Sequence[list[float]]) -> Series:
    """Mean and 95 % interval over the seeds at each x."""
    found = [interval(values) for values in groups]
    mean, low, high = ([m + s * h for m, h in found] for s in (0, -1, 1))
    return Series(name, [float(v) for v in x], mean, low, high)


def figures(parts: dict[str, Runs]) -> list[Lines]:
    """All figures as data."""
    found = grouped(parts["methods"], "kind") if parts["methods"] else {}
    drawn: list[Lines] = []
    if "duet" in found:
        drawn.append(angle_figure(found["duet"]))
        for (kind, noise), results in decoded(parts).items():
            if kind not in ("duet", "simclr"):
                continue
            labels = {"moved": "shifted", "still": "not shifted", "wrong": "shifted the wrong way",
                      "oracle": "of the moved image itself (oracle)"}  # fmt: skip
            series = [curve(label, SHIFTS,
                            [each(results, moved("image", a, name)) for a in SHIFTS])
                      for name, label in labels.items()]  # fmt: skip
            title = f"Study: {NAMES[kind]}, decoded after a shift (decoder's noise {noise})"
            drawn.append(Lines(title, "degrees", "mean squared error", series))
    weights = lambdas(parts)
    if len(weights) > 1:
        medians = [each(r, at("readout", "median")) for r in weights.values()]
        ridges = [each(r, at("ridge", "median")) for r in weights.values()]
        drawn.append(Lines("Study: the angle over lambda", "lambda", "median error, degrees",
                           [curve("read off the marginal", list(weights), medians),
                            curve("ridge on all features", list(weights), ridges)],
                           [("chance", 90.0)], log_x=True))  # fmt: skip
    return drawn


def angle_figure(results: Results) -> Lines:
    """Quartiles of the error by true angle, each the mean over the seeds."""
    rows = np.mean([result["angles"] for result in results], axis=0)
    x, low, mid, high = (rows[:, n].tolist() for n in range(4))
    wide = np.mean([[row[3] - row[1] for row in result["angles"]] for result in results], axis=0)
    return Lines("Study: DUET, error of the angle by true angle", "true angle, degrees",
                 "read minus true, degrees",
                 [Series("median, between the quartiles", x, mid, low, high),
                  Series("distance of the quartiles", x, wide.tolist())],
                 [("exact", 0.0)])  # fmt: skip


def headlines(rows: Sequence[Bar], parts: dict[str, Runs]) -> list[str]:
    """What the station's notes say of the study, what fails among it."""
    missed = "; ".join(f"{what}: {value}" for what, value, holds in rows if not holds)
    held = sum(holds for *_, holds in rows)
    said = [f"{held} of {len(rows)} bars hold{f'; not: {missed}' * bool(missed)}."]
    found = grouped(parts["methods"], "kind") if parts["methods"] else {}
    if len(found.get("duet", [])) == len(found.get("simclr", [])) > 0:
        gains = [
            np.subtract(each(found["duet"], m), each(found["simclr"], m)).tolist()
            for m in (percent("classes", "matrix"), percent("transfer", "photograph"))
        ]
        said.append(f"DUET minus SimCLR, linear probes: classes {number(gains[0])} points; "
                    f"photographs (transfer) {number(gains[1])} points.")  # fmt: skip
    return said


def draw(lines: Sequence[Lines], path: Path) -> None:
    """Draw charts side by side, two a row."""
    count = (len(lines) + 1) // 2
    figure, axes = plt.subplots(
        count, 2, figsize=(10.5, 3.4 * count), layout="constrained", squeeze=False
    )
    for axis in axes.flat[len(lines) :]:
        axis.set_axis_off()
    for axis, chart in zip(axes.flat, lines, strict=False):
        for series in chart.series:
            (line,) = axis.plot(series.x, series.y, marker=".", label=series.name)
            if series.low:
                axis.fill_between(
                    series.x, series.low, series.high, color=line.get_color(), alpha=0.15, lw=0
                )
        for name, height in chart.levels:
            axis.axhline(height, color="0.6", lw=0.8, ls="--", label=name)
        if chart.log_x:
            axis.set_xscale("log")
        axis.set(title=chart.title.removeprefix("Study: "), xlabel=chart.x_label,
                 ylabel=chart.y_label)  # fmt: skip
        axis.legend(fontsize=6.5)
    save_figure(figure, path)


def main() -> None:
    """Write summary.json, results.md and the figure beside the journal."""
    parts, out = begin(__doc__ or "", HERE)
    rows = answers(parts)
    bars: Table = {
        "bar": [what for what, _, _ in rows],
        "worst seed": [value for _, value, _ in rows],
        "holds": ["yes" if holds else "no" for *_, holds in rows],
    }
    made: dict[str, Table] = {"The bars": bars}
    if parts["methods"]:
        made["Pose and classes"] = methods_table(parts["methods"])
        made["Shift and decode"] = generation_table(parts)
        made["Relative error of the features after a shift"] = features_table(parts["methods"])
        made["The angle by class"] = classes_table(parts["methods"])
    if parts["lambda"]:
        made["Lambda"] = lambda_table(parts)
    if parts["factors"]:
        made["Two factors"] = factors_table(parts["factors"])
    if parts["relative"]:
        made["Images at hidden angles"] = relative_table(parts["relative"])
    if parts["methods"] or parts["colour"]:
        made["Transfer: crops of five photographs"] = transfer_table(parts)
    text = ["# What the study found\n\nMade by `report.py` from `journal.jsonl`; intervals are "
            "95 % over seeds, by Student's t.\n"]  # fmt: skip
    text += [f"\n## {title}\n\n{markdown(table)}" for title, table in made.items()]
    drawn = figures(parts)
    draw(drawn, out / "figures.svg")
    text.append("\n![Error by angle, generation, lambda](figures.svg)\n")
    summary = {
        "headlines": headlines(rows, parts),
        "tables": {f"Study: {title}": table for title, table in made.items()},
        "figures": [dataclasses.asdict(chart) for chart in drawn],
    }
    write_report(out, "".join(text), summary)


if __name__ == "__main__":
    main()

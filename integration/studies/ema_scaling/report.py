"""Figures, tables and summary of the study, from its journal alone.

uv run --package tenfold --group study python integration/studies/ema_scaling/report.py
"""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from ema_scaling import MatchReport
from tenfold.at_batch import Curve, band, gap, short
from tenfold.report import Runs, begin, markdown, save_figure, write_report
from tenfold.station import Lines

HERE = Path(__file__).parent
Group = list[Curve]  # the curves of one arm, a seed each
RULE = (
    "`ema_scaling.compare` measures the RMS gap of two mean curves at equal samples in units of "
    "the seeds' spread: at most 1 is a match, at least 3 is apart, between them it is unclear. "
    "The rule holds in a line where the EMA matches with it and is apart without it; it holds in "
    "part where the EMA is apart without it, and with it unclear or apart but at most a quarter "
    "as far from the base run."
)
QUESTIONS = {  # of feedback runs: what is compared, and whose it is
    "BYOL": (
        "loss", "alignment", "spread", "student probe", "teacher probe", "projection distance",
        "weight distance",
    ),
    "pseudo-labels": (
        "student", "student accuracy", "teacher", "teacher accuracy", "label accuracy",
        "weight distance",
    ),
}  # fmt: skip
LINES = ("kappa 1", "with the rule", "decay kept")
COLOURS = ("C0", "C2", "C3")
SHOWN = (  # ends of the titles that the tour's page shows
    "kappa 8: test loss of the EMA",
    "BYOL, kappa 8: loss",
    "BYOL, kappa 8: alignment",
    "BYOL, kappa 8: student probe",
    "pseudo-labels, kappa 8: student",
    "pseudo-labels, kappa 8: teacher",
)
FEEDBACK_ARMS = ((1, True), (8, True), (8, False))  # kappa, rule


def arms(runs: Runs, keys: Sequence[str]) -> dict[tuple[Any, ...], Group]:
    """The curves by the task's values under ``keys``, in the order of the seeds."""
    found: dict[tuple[Any, ...], Group] = defaultdict(list)
    for task, curve in sorted(runs, key=lambda run: run[0]["seed"]):
        found[tuple(task.get(key) for key in keys)].append(curve)
    return found


def holds(rule: MatchReport, kept: MatchReport) -> str:
    """Whether the rule holds, by `RULE`."""
    if kept.verdict != "apart":
        return "no effect"
    if rule.verdict == "match":
        return "yes"
    return "in part" if rule.verdict == "unclear" or rule.rms_gap <= kept.rms_gap / 4 else "no"


def supervised_table(runs: Runs) -> dict[str, list[str]]:
    """One row a model, optimizer and batch: the model itself, and its EMA in three ways."""
    groups = arms(runs, ("model", "optimizer", "kappa", "start"))
    table: dict[str, list[str]] = defaultdict(list)
    for (model, optimizer, kappa, start), group in sorted(groups.items(), key=lambda arm: arm[0]):
        base = groups.get((model, optimizer, 1, 0), [])
        if kappa == 1 or min(len(base), len(group)) < 2:
            continue
        reports = {
            name: gap(base, group, ("target" if name == "target" else "rule", name), start=start)
            for name in ("target", "rule", "corrected", "kept")
        }
        table["model"].append(model)
        table["optimizer"].append(optimizer)
        table["kappa"].append(str(kappa))
        table["large batch from"].append(f"{start} samples")
        table["seeds"].append(f"{len(base)}, {len(group)}")
        table["model itself"].append(short(reports["target"]))
        table["EMA, with the rule"].append(short(reports["rule"]))
        table["EMA, rule and readout"].append(short(reports["corrected"]))
        table["EMA, decay kept"].append(short(reports["kept"]))
        share = reports["rule"].rms_gap / reports["kept"].rms_gap
        table["gap with the rule / without"].append(f"{share:.3f}")
        table["the rule holds"].append(holds(reports["rule"], reports["kept"]))
    return dict(table)


def feedback_table(runs: Runs) -> dict[str, list[str]]:
    """One row a question: where the three runs end, and how far both large ones are off."""
    groups = arms(runs, ("model", "kappa", "rule"))
    table: dict[str, list[str]] = defaultdict(list)
    for model, questions in QUESTIONS.items():
        base, rule, kept = (groups.get((model, *arm), []) for arm in FEEDBACK_ARMS)
        if min(len(base), len(rule), len(kept)) < 2:
            continue
        for name in questions:
            with_rule, without = gap(base, rule, (name, name)), gap(base, kept, (name, name))
            table["training"].append(model)
            table["measured"].append(name)
            table["seeds"].append(f"{len(base)}, {len(rule)}, {len(kept)}")
            for title, group in (("kappa 1", base), ("rule", rule), ("kept", kept)):
                ends = [curve[name][-1] for curve in group]
                spread = float(np.std(ends, ddof=1)) if len(ends) > 1 else 0.0
                table[f"end, {title}"].append(f"{np.mean(ends):.3f} (sd {spread:.3f})")
            table["kappa 8, with the rule"].append(short(with_rule))
            table["kappa 8, decay kept"].append(short(without))
            table["the rule holds"].append(holds(with_rule, without))
    return dict(table)


def counted(table: dict[str, list[str]], training: str | None = None) -> str:
    """How often the rule holds, in words; of one training's rows, if it is named."""
    names = table.get("training", [None] * len(table["the rule holds"]))
    rows = zip(names, table["the rule holds"], strict=True)
    counts = Counter(answer for name, answer in rows if training in (None, name))
    parts = [f"{answer} {counts[answer]}" for answer in ("yes", "in part", "no", "no effect")]
    return f"{counts.total()} comparisons: {', '.join(parts)}"


def figures(parts: dict[str, Runs]) -> list[dict[str, Any]]:
    """All figures as data, in reading order: EMA test loss, then the feedback runs."""
    found: list[Lines] = []
    groups = arms(parts["supervised"], ("model", "optimizer", "kappa", "start"))
    for (model, optimizer, kappa, start), group in sorted(groups.items(), key=lambda arm: arm[0]):
        base = groups.get((model, optimizer, 1, 0))
        if kappa != 1 and base:
            later = f", large batch from {start} samples" if start else ""
            title = f"{model}, {optimizer}, kappa {kappa}{later}: test loss of the EMA"
            columns = ((base, "rule"), (group, "rule"), (group, "kept"))
            found.append(panel(title, "nats", columns))
    groups = arms(parts["feedback"], ("model", "kappa", "rule"))
    for model, questions in QUESTIONS.items():
        three = [groups[model, *arm] for arm in FEEDBACK_ARMS if (model, *arm) in groups]
        for name in questions if len(three) == len(FEEDBACK_ARMS) else ():
            columns = tuple((group, name) for group in three)
            found.append(panel(f"{model}, kappa 8: {name}", name, columns))
    return [dataclasses.asdict(figure) for figure in found]


def panel(title: str, y_label: str, columns: Sequence[tuple[Group, str]]) -> Lines:
    """Base, rule and decay kept as bands over the seeds."""
    pairs = zip(LINES, columns, strict=True)
    return Lines(title, "samples", y_label, [band(n, group, name) for n, (group, name) in pairs])


def draw(chosen: list[dict[str, Any]], path: Path, *, columns: int) -> None:
    """Some figures as the panels of one SVG."""
    rows = -(-len(chosen) // columns)
    size = (3.6 * columns, 2.7 * rows)
    plot, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    for axis in axes.flat[len(chosen) :]:
        axis.set_visible(False)
    for axis, figure in zip(axes.flat, chosen, strict=False):
        for line, colour in zip(figure["series"], COLOURS, strict=True):
            axis.plot(line["x"], line["y"], color=colour, label=line["name"], lw=1.2)
            axis.fill_between(line["x"], line["low"], line["high"], color=colour, alpha=0.2, lw=0)
        axis.set(xlabel="samples", ylabel=figure["y_label"])
        axis.set_title(figure["title"].replace(": ", ":\n"), fontsize=8)
    axes.flat[0].legend(fontsize=7)
    save_figure(plot, path)


def report(parts: dict[str, Runs]) -> tuple[str, dict[str, Any]]:
    """The Markdown page, and what the station reads."""
    text = ["# What the study found\n\nMade by `report.py` from `journal.jsonl`. ", RULE, "\n"]
    tables, lines = {}, []
    if table := supervised_table(parts["supervised"]):
        tables["Study: the EMA feeds nothing back"] = table
        lines.append(f"EMA test loss, {counted(table)}.")
        text += ["\n## The EMA feeds nothing back\n\n", lines[-1], " Numbers are mean gaps in "
                 "nats with their 95 % intervals over seeds, by bootstrap.\n\n", markdown(table),
                 "\n![EMA test loss at equal samples](supervised.svg)\n"]  # fmt: skip
    if table := feedback_table(parts["feedback"]):
        tables["Study: the EMA is the teacher"] = table
        found = [f"{model}, {counted(table, model)}." for model in dict.fromkeys(table["training"])]
        lines += found
        text += ["\n## The EMA is the teacher\n\n", " ".join(found), "\n\n", markdown(table),
                 "\n![BYOL and pseudo-labels at equal samples](feedback.svg)\n"]  # fmt: skip
    return "".join(text), {"headlines": lines, "tables": tables}


def main() -> None:
    """Write summary.json, results.md and the figures beside the journal."""
    parts, out = begin(__doc__ or "", HERE)
    text, summary = report(parts)
    drawn = figures(parts)
    for name in ("supervised", "feedback"):
        chosen = [f for f in drawn if (name == "supervised") == f["title"].endswith("of the EMA")]
        if chosen:
            draw(chosen, out / f"{name}.svg", columns=5)
    summary["figures"] = [figure for figure in drawn if figure["title"].endswith(SHOWN)]
    write_report(out, text, summary)


if __name__ == "__main__":
    main()

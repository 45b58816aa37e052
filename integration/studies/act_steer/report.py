"""Figures, tables and summary of the study, from its journal alone.

uv run --package tenfold --group study python integration/studies/act_steer/report.py
"""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from tenfold.data.sentences import task as task_of
from tenfold.probes import Accuracy
from tenfold.report import Runs, Table, begin, markdown, save_figure, write_report
from tenfold.station import Lines, Series
from tenfold.text_cells import Cells, apart, collected, label, on_the_same
from tenfold.text_scores import Estimate, mean, with_keyword

HERE = Path(__file__).parent
TASKS = ("football", "cooking", "sentiment", "truth", "toxicity")
LINEAR, MEAN = "Linear, norms", "Mean, norms, anywhere"
CONTROL = "Linear, norms, labels by lot"
ATTENTION = "Linear, attention, anywhere"
FOLDABLE = (ATTENTION, "Mean, attention, anywhere", "Linear, mlp, anywhere", "Mean, mlp, anywhere",
            "Linear, norms, anywhere", MEAN)  # fmt: skip
CHOICES = {"mc1": "MC1", "mc2": "MC2", "pairs": "true statement likelier"}
HOSTILE = -0.05  # VADER's own bound of a negative text


def effects_table(cells: Cells) -> Table:
    """One row a task, arm and strength."""
    table: Table = defaultdict(list)
    keys = sorted(cells, key=lambda key: (TASKS.index(key[0]), key[1], key[2]))
    for task, arm, strength in keys:
        cell = cells[task, arm, strength]
        table["task"].append(task)
        table["maps"].append(arm)
        table["strength"].append(f"{strength:g}")
        table["contrast, nats per token"].append(str(cell.contrast))
        spread = f"{min(cell.seeds):.2f} to {max(cell.seeds):.2f}"
        table["of each draw"].append(spread if len(cell.seeds) > 1 else "one draw")
        table["target gains"].append(f"{cell.target.mean():+.2f}")
        table["source gains"].append(f"{cell.source.mean():+.2f}")
        table["neutral perplexity, times"].append(str(cell.perplexity))
    return dict(table)


def duels(cells: Cells) -> list[tuple[str, str, str, float, Estimate, Estimate]]:
    """Pairs of arms on the same sentences at the same strength."""
    pairs = [(LINEAR, MEAN), (LINEAR, "Gaussian, norms"), (LINEAR, "Linear, norms, anywhere")]
    pairs += [(ATTENTION, other) for other in FOLDABLE if other != ATTENTION]
    found = []
    for first, second in pairs:
        for task in TASKS:
            for strength in (0.5, 1.0):
                both = cells.get((task, first, strength)), cells.get((task, second, strength))
                if both[0] and both[1]:
                    found.append((task, first, second, strength, *apart(both[0], both[1])))
    return found


def duels_table(cells: Cells) -> Table:
    """One row a pair of arms, task and strength."""
    rows = duels(cells)
    return {
        "maps": [first for _, first, *_ in rows],
        "against": [second for _, _, second, *_ in rows],
        "task": [task for task, *_ in rows],
        "strength": [f"{strength:g}" for *_, strength, _, _ in rows],
        "contrast, difference": [str(gained) for *_, gained, _ in rows],
        "neutral perplexity, ratio": [str(cost) for *_, cost in rows],
    }


def choices_table(runs: Runs) -> Table:
    """One row an arm and strength: MC1, MC2, and pairs of statements, with paired differences."""
    found: dict[tuple[str, float], dict[str, Any]] = {}
    for task, result in runs:
        for strength, scores in result.items():
            found.setdefault((label(task["arm"]), float(strength)), scores)
    table: Table = defaultdict(list)
    base = found.get(("unsteered", 0.0))
    for (arm, strength), scores in sorted(found.items(), key=lambda item: (item[0][1], item[0][0])):
        pairs = [int(x > 0) for x in scores["pairs"]]
        table["maps"].append(arm)
        table["strength"].append(f"{strength:g}")
        table["MC1"].append(str(Accuracy(sum(scores["mc1"]), len(scores["mc1"]))))
        table["MC2"].append(str(mean(np.array(scores["mc2"]))))
        table["true statement likelier"].append(str(Accuracy(sum(pairs), len(pairs))))
        for name, called in CHOICES.items():
            paired = "" if base is None else str(gain(scores, base, name))
            table[f"{called}, change"].append(paired)
    return dict(table)


def gain(now: dict[str, Any], before: dict[str, Any], name: str) -> Estimate:
    """The mean change of a score a question, by the paired bootstrap."""
    both = (np.array(scores[name], float) for scores in (now, before))
    after, start = ((x > 0) * 1.0 if name == "pairs" else x for x in both)
    return mean(after - start)


def samples_table(runs: Runs) -> Table:
    """One row a task, arm and strength of what continuations hold."""
    table: Table = defaultdict(list)
    for task, strength, arm, found in sampled(runs):
        count = sum(found["hits"]), found["n"] * len(found["hits"])
        tones = np.array(found["tones"])
        table["task"].append(task)
        table["maps"].append(arm)
        table["strength"].append(f"{strength:g}")
        table["with a keyword"].append(str(Accuracy(*count)))
        table["tone, -1 to 1"].append(str(mean(tones)))
        hostile = Accuracy(int((tones <= HOSTILE).sum()), len(tones))
        table["hostile by the lexicon"].append(str(hostile))
        table["their perplexity, unsteered model"].append(f"{np.mean(found['perplexity']):.1f}")
    return dict(table)


def sampled(runs: Runs) -> list[tuple[str, float, str, dict[str, Any]]]:
    """Samples by task, strength and arm.

    Unsteered texts of one task are those of all that begin alike, looked through for other words.
    """
    rows = [
        (task["task"], float(strength), label(task["arm"]), found)
        for task, result in runs
        for strength, found in result.items()
    ]
    plain = {name: found for name, _, arm, found in rows if arm == "unsteered"}
    for name in {name for name, *_ in rows} - plain.keys():
        told = task_of(name)
        for other, found in plain.items():
            if task_of(other).openers == told.openers:
                texts = np.array_split(found["texts"], len(found["hits"]))
                hits = [with_keyword(part.tolist(), told.keywords) for part in texts]
                rows.append((name, 0.0, "unsteered", found | {"hits": hits}))
    return sorted(rows, key=lambda row: (TASKS.index(row[0]), *row[1:3]))


def examples_table(runs: Runs, count: int = 4) -> Table:
    """The first continuations at each strength, as they came."""
    table: Table = defaultdict(list)
    for task, strength, arm, found in sampled(runs):
        for text in found["texts"][:count]:
            table["task"].append(task)
            table["strength"].append(f"{strength:g}")
            table["maps"].append(arm)
            table["continuation"].append(" ".join(text.split()).replace("|", "/"))
    return dict(table)


Bar = tuple[str, str, bool]


def answers(parts: dict[str, Runs]) -> Table:
    """The stated bars and expectations, each with what was found."""
    cells = collected(parts["scores"])
    rows = [*steering_bars(cells), *foldable_bars(cells), *choice_bars(parts["choices"]),
            *sample_bars(parts["samples"])]  # fmt: skip
    return {
        "bar": [what for what, _, _ in rows],
        "found": [found for _, found, _ in rows],
        "holds": ["yes" if holds else "no" for *_, holds in rows],
    }


def steering_bars(cells: Cells) -> Iterable[Bar]:
    """What strength, sign and the control ought to do, and at what cost."""
    for task in TASKS:
        line = {s: cells[t, a, s] for t, a, s in sorted(cells) if (t, a) == (task, LINEAR)}
        if not {0.5, 1.0} <= line.keys():
            continue
        same = on_the_same(*(line[s] for s in sorted(line) if s > 0))
        rising = [0.0, *(cell.contrast.value for cell in same)]
        yield (f"{task}, {LINEAR}: the contrast rises with every strength from 0 to 1",
               " ".join(f"{v:.2f}" for v in rising), bool((np.diff(rising) > 0).all()))  # fmt: skip
        half, full = line[0.5], line[1.0]
        yield (f"{task}: above 0 beyond the interval at 0.5 and at 1",
               f"{half.contrast}; {full.contrast}",
               min(half.contrast.low, full.contrast.low) > 0)  # fmt: skip
        if -0.5 in line:
            back = line[-0.5].contrast
            yield f"{task}: negative strength reverses it", str(back), back.high < 0
        if (task, CONTROL, 1.0) in cells:
            lot, true = on_the_same(cells[task, CONTROL, 1.0], full)
            yield (f"{task}: labels by lot give at most a fifth of it", str(lot.contrast),
                   abs(lot.contrast.value) <= true.contrast.value / 5)  # fmt: skip
        cost = half.perplexity
        yield f"{task}: neutral perplexity at 0.5 at most x 1.1", str(cost), cost.value <= 1.1
        if (task, MEAN, 1.0) in cells:
            gained, ratio = apart(full, cells[task, MEAN, 1.0])
            yield (f"{task}: at 1 Linear gives more than Mean, or costs less, beyond the interval, "
                   "and neither is worse", f"{gained}; perplexity x {ratio}",
                   (gained.low > 0 or ratio.high < 1)
                   and not (gained.high < 0 or ratio.low > 1))  # fmt: skip


def foldable_bars(cells: Cells) -> Iterable[Bar]:
    """The hypothesis that Linear on attention, anywhere, is the best spot that can be folded."""
    for task in ("football", "cooking", "sentiment"):
        best = cells.get((task, ATTENTION, 1.0))
        others = {arm: cells[task, arm, 1.0] for arm in FOLDABLE[1:] if (task, arm, 1.0) in cells}
        if best is None or not others:
            continue
        beaten = []
        for arm, other in others.items():
            gained, ratio = apart(best, other)
            if ratio.low > 1 and gained.high < 0.1:  # dearer, and at most a little better
                beaten.append(arm)
        yield (f"{task}: of what can be folded, none gives as much as {ATTENTION} for less, at 1",
               "; ".join(beaten) or "none does", not beaten)  # fmt: skip
        allowed = {arm: cell for arm, cell in {ATTENTION: best, **others}.items()
                   if cell.perplexity.value <= 1.6}  # fmt: skip
        top = max(allowed, key=lambda arm: allowed[arm].contrast.value, default="none")
        yield (f"{task}: of those at neutral perplexity x 1.6 or less it gives most, at 1",
               top, top == ATTENTION)  # fmt: skip


def choice_bars(runs: Runs) -> Iterable[Bar]:
    """Whether truthfulness rises."""
    found = {(label(task["arm"]), float(s)): scores for task, r in runs for s, scores in r.items()}
    base = found.get(("unsteered", 0.0))
    if base is None or (LINEAR, 1.0) not in found:
        return
    for name, called in CHOICES.items():
        change = gain(found[LINEAR, 1.0], base, name)
        yield (f"truth: {called} rises beyond its interval, {LINEAR}, at 1",
               str(change), change.low > 0)  # fmt: skip


def sample_bars(runs: Runs) -> Iterable[Bar]:
    """What sampled texts ought to hold."""
    rows = {(task, arm, strength): found for task, strength, arm, found in sampled(runs)}
    for task in ("football", "cooking", "sentiment"):
        plain, full = rows.get((task, "unsteered", 0.0)), rows.get((task, LINEAR, 1.0))
        if plain and full:
            none, some = (sum(f["hits"]) / (f["n"] * len(f["hits"])) for f in (plain, full))
            yield (f"{task}: texts with a keyword at least twice as often at 1",
                   f"{100 * none:.0f} % to {100 * some:.0f} %", some >= 2 * none)  # fmt: skip
    plain, full = rows.get(("toxicity", "unsteered", 0.0)), rows.get(("toxicity", LINEAR, 1.0))
    if plain and full:
        change = mean(np.array(full["tones"]) - np.array(plain["tones"]))
        yield ("toxicity: the lexicon's tone of provoked texts rises beyond its interval, at 1",
               str(change), change.low > 0)  # fmt: skip


def figures(cells: Cells) -> list[Lines]:
    """Contrast and cost over strength, by task and by maps, as data."""
    gives, costs = [], []
    for task in TASKS:
        for arm in (LINEAR, MEAN):
            line = sorted(s for t, a, s in cells if (t, a) == (task, arm) and s > 0)
            if len(line) < 2:
                continue
            for series, which, start in ((gives, "contrast", 0.0), (costs, "perplexity", 1.0)):
                numbers = [getattr(cells[task, arm, s], which) for s in line]
                series.append(
                    Series(f"{task}, {arm.split(',')[0]}", [0.0, *line],
                           *([start, *(getattr(n, end) for n in numbers)]
                             for end in ("value", "low", "high")))
                )  # fmt: skip
    return [
        Lines("Study: what steering the norms gives", "strength", "contrast, nats per token",
              gives),
        Lines("Study: what it costs", "strength", "perplexity of neutral text, times", costs,
              [("unsteered", 1.0)], log_y=True),
    ]  # fmt: skip


def headlines(found: Table, cells: Cells) -> list[str]:
    """What the station's notes say of the study, what fails among it."""
    rows = list(zip(found["bar"], found["holds"], strict=True))
    missed = "; ".join(bar for bar, holds in rows if holds == "no")
    held = sum(holds == "yes" for _, holds in rows)
    said = [f"{held} of {len(rows)} bars and expectations hold{f'; not: {missed}' * bool(missed)}."]
    for task in TASKS:
        both = [cells.get((task, arm, 1.0)) for arm in (LINEAR, MEAN)]
        if both[0] and both[1]:
            said.append(
                f"{task} at strength 1: Linear {both[0].contrast} nats per token (neutral "
                f"perplexity x {both[0].perplexity.value:.2f}), Mean {both[1].contrast} "
                f"(x {both[1].perplexity.value:.2f})."
            )
    return said


def draw(lines: list[Lines], path: Path) -> None:
    """Draw charts side by side."""
    figure, axes = plt.subplots(1, len(lines), figsize=(10.5, 4.2), layout="constrained")
    for axis, chart in zip(axes.flat, lines, strict=True):
        for n, series in enumerate(chart.series):
            style = "-" if series.name.endswith("Linear") else "--"
            (line,) = axis.plot(series.x, series.y, style, marker=".", label=series.name,
                                color=f"C{n // 2}")  # fmt: skip
            axis.fill_between(
                series.x, series.low, series.high, color=line.get_color(), alpha=0.12, lw=0
            )
        axis.set(title=chart.title.removeprefix("Study: "), xlabel=chart.x_label,
                 ylabel=chart.y_label)  # fmt: skip
        if chart.log_y:
            axis.set_yscale("log")
        if chart.series:
            axis.legend(fontsize=6.5)
    save_figure(figure, path)


def main() -> None:
    """Write summary.json, results.md and the figure beside the journal."""
    parts, out = begin(__doc__ or "", HERE)
    cells = collected(parts["scores"])
    found = answers(parts)
    text = [
        "# What the study found\n\nMade by `report.py` from `journal.jsonl`; intervals are 95 % "
        "over sentences, questions or texts, by the bootstrap or by Wilson's formula. Contrast: "
        "the gain of the target's held-out sentences less that of the source's.\n\n"
        "## The bars, and what steering ought to do\n\n" + markdown(found)
    ]
    made: dict[str, Table] = {"Held-out sentences": effects_table(cells)}
    made["Maps against maps, on the same sentences"] = duels_table(cells)
    if parts["choices"]:
        made["Truth"] = choices_table(parts["choices"])
    if parts["samples"]:
        made["Sampled texts"] = samples_table(parts["samples"])
        made["The first of the texts, as they came"] = examples_table(parts["samples"])
    for title, table in made.items():
        text.append(f"\n## {title}\n\n" + markdown(table))
    drawn = figures(cells)
    draw(drawn, out / "figures.svg")
    text.append("\n![Contrast and perplexity over strength](figures.svg)\n")
    tables = {"Study: the bars": found}
    tables |= {f"Study: {title}": table for title, table in made.items()}
    summary = {
        "headlines": headlines(found, cells),
        "tables": tables,
        "figures": [dataclasses.asdict(chart) for chart in drawn],
    }
    write_report(out, "".join(text), summary)


if __name__ == "__main__":
    main()

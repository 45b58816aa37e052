"""The report of a study as Markdown."""

import math
from collections.abc import Sequence

from randaug_study.report import Comparison, Report


def markdown(report: Report) -> str:
    """The report, a section a question; figures are named beside it."""
    study = report.study
    seeds = sorted({seed for _, seed in report.runs})
    recipe = study.recipe
    lines = [
        f"# {study.name}",
        "",
        f"{len(report.runs)} runs; seeds {_span(seeds)}. {recipe.train} training images a seed, "
        f"{recipe.epochs} epochs of batch {recipe.batch}, SGD one-cycle to {recipe.lr:g}, "
        f"convolutions {'-'.join(map(str, recipe.widths))} with strides "
        f"{', '.join(map(str, recipe.strides))}; N = {recipe.num_ops}, M = {recipe.magnitude:g}. "
        "Accuracy is that of the last epoch on all test images; nothing was chosen on them.",
        "",
        "## Does augmentation help here?",
        "",
        _control(report),
        "",
        "## At equal epochs",
        "",
        *_accuracies(report),
        "",
        *_comparisons(report.comparisons),
        "",
        f"Differences are paired by seed, with 95 % t intervals. Margin {study.margin:g} points. "
        f"p-values are Holm's over the {len(report.comparisons)} rows: of no difference; of a "
        "difference of the margin or more (TOST: small is equivalent); of the reference being "
        "worse by the margin or more (small: it is still competitive).",
        "",
        "![Paired differences](forest.png)",
        "",
        "## At equal compute",
        "",
        *_costs(report),
        "",
    ]
    if report.equal_compute:
        lines += [*_comparisons(report.equal_compute), ""]
    lines += [
        "## Were the seeds enough?",
        "",
        *_power(report),
        "",
        "## What was chosen, and when",
        "",
        "![Operations trained on, over their share at random](operations.png)",
        "",
        "![Adversarial gap, entropy and loss gap of the controller](curves.png)",
        "",
        *_drift(report),
        "",
        "![Every operation by magnitude](contact.png)",
    ]
    return "\n".join(lines) + "\n"


def _span(seeds: list[int]) -> str:
    if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds)) or "none"


def _control(report: Report) -> str:
    study = report.study
    if report.control is None:
        return "Not known: fewer than 2 seeds have both arms."
    text = f"{study.baseline} - {study.control}: {report.control} points."
    if report.gain_is_shown:
        return text
    return (
        f"**Warning: {text} The baseline is not shown to be above the control, so that being "
        "competitive with it says nothing.**"
    )


def _accuracies(report: Report) -> list[str]:
    table = report.to_table()
    rows = zip(table["arm"], table["seeds"], table["accuracy"], table["sd"], strict=True)
    return [
        "| arm | seeds | accuracy, % | sd over seeds |",
        "|---|---|---|---|",
        *(f"| {arm} | {n} | {mean:.2f} | {_number(sd)} |" for arm, n, mean, sd in rows),
    ]


def _comparisons(rows: Sequence[Comparison]) -> list[str]:
    lines = [
        "| arm - reference | pairs | difference, points | 95 % interval | p no difference "
        "| p TOST | p reference inferior | shown |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        d = row.difference
        lines.append(
            f"| {row.arm} - {row.reference} | {d.n} | {d.mean:+.2f} "
            f"| {d.low:+.2f} to {d.high:+.2f} | {row.p_difference:.2g} "
            f"| {row.p_equivalence:.2g} | {row.p_reference:.2g} | {row.verdict} |"
        )
    return lines


def _costs(report: Report) -> list[str]:
    lines = [
        f"Passes count a forward as 1 and a backward as 2, over those of {report.study.baseline}; "
        "CPU seconds are those of the machine that ran it, one thread, evaluation not counted.",
        "",
        "| arm | accuracy, % | passes | images forward | images backward | CPU s |",
        "|---|---|---|---|---|---|",
    ]
    table = report.to_table()
    columns = ("arm", "accuracy", "passes", "forwards", "backwards", "cpu_s")
    by_cost = sorted(zip(*(table[name] for name in columns), strict=True), key=lambda row: row[2])
    for arm, accuracy, passes, forwards, backwards, cpu in by_cost:
        lines.append(
            f"| {arm} | {accuracy:.2f} | {passes:.2f} | {forwards:,.0f} | {backwards:,.0f} "
            f"| {cpu:.1f} |"
        )
    return lines


def _power(report: Report) -> list[str]:
    if not report.needed:
        return [f"The first {report.pilot} seeds, from which it is computed, are not complete."]
    have = {c.arm: c.difference.n for c in report.comparisons}
    lines = [
        f"From the deviation of the paired differences over the first {report.pilot} seeds, for a "
        f"true difference of 0, one test at a level of .05 and a power of 80 %. A deviation from "
        f"{report.pilot} seeds is itself uncertain by a factor of two and more.",
        "",
        "| arm | sd of differences | seeds needed | seeds run | sd over all of them |",
        "|---|---|---|---|---|",
    ]
    sds = {c.arm: c.difference.sd for c in report.comparisons}
    lines += [
        f"| {arm} | {sd:.2f} | {needed} | {have.get(arm, 0)} | {_number(sds.get(arm, math.nan))} |"
        for arm, (sd, needed) in report.needed.items()
    ]
    return lines


def _drift(report: Report) -> list[str]:
    lines = []
    for arm in report.study.arms:
        runs = [run for (name, _), run in report.runs.items() if name == arm.name]
        if not runs or not runs[0].controller:
            continue
        first = [run.controller[0] for run in runs]
        last = [run.controller[-1] for run in runs]
        gap = [run.loss_gap[-1] for run in runs]
        lines.append(
            f"{arm.name}: the controller's entropy over its maximum goes from "
            f"{sum(first) / len(first):.3f} to {sum(last) / len(last):.3f} (lowest of "
            f"{len(last)} runs {min(last):.3f}); in the last tenth its policies' loss is "
            f"{sum(gap) / len(gap):+.3f} nats above that of uniform ones "
            f"({min(gap):+.3f} to {max(gap):+.3f})."
        )
    return lines


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"

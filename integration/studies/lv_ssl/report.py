"""Figures and summary of the study, from its journal alone.

uv run --package tenfold --group study python integration/studies/lv_ssl/report.py
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from tenfold.latents import BLURS, CROPS
from tenfold.report import Runs, Table, begin, markdown, number, save_figure, write_report

HERE = Path(__file__).parent


def named(runs: Runs) -> dict[str, list[dict[str, Any]]]:
    """Results by the name of their arm, in the order of the seeds."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for task, result in sorted(runs, key=lambda run: run[0]["seed"]):
        groups[task["name"]].append(result)
    return dict(groups)


def percent(results: list[dict[str, Any]], kind: str) -> list[float]:
    """One linear probe of each seed; nothing where there are no bits."""
    found = [result["probes"][kind] for result in results if kind in result["probes"]]
    return [100 * right / n for right, n in found]


def probes_table(runs: Runs) -> Table:
    """One row an arm: what features, means and bits are worth."""
    table: Table = defaultdict(list)
    for name, results in named(runs).items():
        table["arm"].append(name)
        table["seeds"].append(str(len(results)))
        for kind, label in (
            ("features", "float features, %"),
            ("mean", "posterior mean, %"),
            ("bits", "hard bits, %"),
        ):
            values = percent(results, kind)
            table[label].append(number(values) if values else "")
        table["rate, bits"].append(number([r["rate"] for r in results], 0))
    return dict(table)


def least(results: list[dict[str, Any]], score: str, change: str) -> float:
    """The lowest rank correlation over the seeds."""
    return min(r["rises"][score][change]["correlation"] for r in results)


def scores_table(runs: Runs) -> Table:
    """One row an arm and score: does the uncertainty rise, and does it know errors."""
    table: Table = defaultdict(list)
    for name, results in named(runs).items():
        for score in results[0]["rises"]:
            both = {change: least(results, score, change) for change in ("blur", "crop")}
            each = [r["auroc"][score] for r in results]
            control = [r["rises"][score][c]["control"] for r in results for c in both]
            table["arm"].append(name)
            table["score"].append(score)
            for change, value in both.items():
                table[f"rank correlation, {change}, lowest"].append(f"{value:+.2f}")
                share = [100 * r["rises"][score][change]["rises"] for r in results]
                table[f"images that rise, {change}, %"].append(number(share, 0))
            table["shuffled, mean"].append(f"{np.mean(control):+.2f}")
            table["AUROC of errors"].append(number(each, 3))
            table["rises with both"].append("yes" if min(both.values()) >= 0.8 else "no")
    return dict(table)


def beta_table(runs: Runs) -> Table:
    """One row a beta."""
    groups = named(runs)
    names = sorted(groups, key=float)
    return {
        "beta": names,
        "rate, bits": [number([r["rate"] for r in groups[name]], 3) for name in names],
        "collapse was said": [
            f"{sum(r['collapsed'] for r in groups[name])} of {len(groups[name])}" for name in names
        ],
    }


def curve_table(runs: Runs) -> Table:
    """One row a number of bits, one column a head."""
    table: Table = {}
    for name, results in named(runs).items():
        curves = [result["curve"] for result in results if "curve" in result]
        if curves:
            table["bits"] = [f"{bits:.0f}" for bits in curves[0]["bits"]]
            coded, accuracy = (np.array([c[k] for c in curves]) for k in ("coded_bits", "accuracy"))
            table[f"{name}: ideal bits"] = [number(list(column), 0) for column in coded.T]
            table[f"{name}: linear probe, %"] = [
                number(list(100 * column)) for column in accuracy.T
            ]
    return table


def protocols_table(runs: Runs) -> Table:
    """One row a head: fine-tuning, calibration, regression."""
    table: Table = defaultdict(list)
    for name, results in named(runs).items():
        table["arm"].append(name)
        tuned = [r["fine-tuning"] for r in results]
        for key, label in (
            ("linear", "linear probe, %"),
            ("sample", "fine-tuned, samples, %"),
            ("mean", "fine-tuned, mean, %"),
        ):
            table[label].append(number([100 * t[key] for t in tuned]))
        for key in ("mean", "samples"):
            table[f"ECE, {key}"].append(number([r["ece"][key] for r in results], 3))
        for at, factor in enumerate(("angle", "scale", "brightness")):
            for view in ("pixels", "mean"):
                column = [r["r2"][view][at] for r in results]
                table[f"R² of {factor}, {view}"].append(number(column, 2))
    return dict(table)


def answers(parts: dict[str, Runs]) -> Table:
    """The stated bars, each with what was found."""
    rows: list[tuple[str, str, bool]] = []
    wide = named(parts["wide"])
    if {"bernoulli", "no noise"} <= set(wide):
        plain = percent(wide["no noise"], "features")
        for name in ("bernoulli", "bernoulli, gain"):
            soft, bits, floats = (
                np.mean(percent(wide[name], k)) for k in ("mean", "bits", "features")
            )
            gap = soft - np.mean(plain)
            rows.append(
                (f"{name}: probabilities at least the deterministic probe",
                 f"{gap:+.1f} points", gap >= 0),
            )  # fmt: skip
            layer = soft - np.mean(percent(wide["no noise"], "mean"))
            rows.append(
                (f"{name}: probabilities at least the deterministic layer of their width",
                 f"{layer:+.1f} points", layer >= 0),
            )  # fmt: skip
            rows.append(
                (f"{name}: 2,048 bits within 1.5 points of float features",
                 f"{bits - floats:+.1f} points", bits >= floats - 1.5),
            )  # fmt: skip
            curve = np.mean([r["curve"]["accuracy"] for r in wide[name]], axis=0)
            fall = max(0.0, float(-np.diff(curve).min())) * 100
            rows.append((f"{name}: accuracy over bits is monotone (mean of seeds)",
                         f"largest fall {fall:.2f} points", fall == 0))  # fmt: skip
    swept = named(parts["beta"])
    if swept:
        names = sorted(swept, key=float)
        rates = np.array([[r["rate"] for r in swept[name]] for name in names])
        falls = bool((np.diff(rates, axis=0) < 0).all())
        rows.append(("the rate falls strictly along beta, for every seed",
                     " > ".join(f"{x:.3g}" for x in rates.mean(1)), falls))  # fmt: skip
        every = [r for name in names for r in swept[name]]
        silent = [r["rate"] < 1 for r in every]
        said = [r["collapsed"] for r in every]
        rows.append(("collapse (a rate below one bit) is said, and where there is none it is not",
                     f"{sum(silent)} of {len(every)} runs collapsed, said of {sum(said)}",
                     silent == said and any(silent)))  # fmt: skip
    scored = scores_table(parts["arms"])
    if scored:
        columns = ("arm", "score", "rises with both", "AUROC of errors")
        rising = [row for row in zip(*(scored[c] for c in columns), strict=True) if row[2] == "yes"]
        trusted = [row for row in rising if float(row[3].split()[0]) > 0.55]
        rows.append(("uncertainty that rises with blur and crop (0.8 for every seed)",
                     "; ".join(f"{arm}: {score}" for arm, score, *_ in rising) or "none",
                     bool(rising)))  # fmt: skip
        rows.append(("and whose AUROC of errors is above 0.55 (mean of seeds)",
                     "; ".join(f"{arm}: {score} ({u})" for arm, score, _, u in trusted) or "none",
                     bool(trusted)))  # fmt: skip
    return {
        "bar": [bar for bar, _, _ in rows],
        "found": [found for _, found, _ in rows],
        "holds": ["yes" if holds else "no" for *_, holds in rows],
    }


def draw_rises(runs: Runs, path: Path) -> None:
    """Each arm's own score over blur and crop, as a share of the clean images'."""
    figure, axes = plt.subplots(1, 2, figsize=(10.5, 3.6), layout="constrained")
    for name, results in named(runs).items():
        score = "1 / kappa" if "1 / kappa" in results[0]["rises"] else "disagreement of 16 samples"
        for axis, change, levels in zip(axes, ("blur", "crop"), (BLURS, CROPS), strict=True):
            values = np.array([r["rises"][score][change]["mean"] for r in results])
            share = 100 * (values / values[:, :1] - 1)
            (line,) = axis.plot(levels, share.mean(0), marker=".", label=f"{name}: {score}")
            colour = line.get_color()
            axis.fill_between(levels, share.min(0), share.max(0), color=colour, alpha=0.15, lw=0)
    axes[0].set(xlabel="sigma of the blur, pixels", ylabel="uncertainty, % above the clean image's")
    axes[1].set(xlabel="area lost, share")
    axes[1].legend(fontsize=6.5, loc="center left", bbox_to_anchor=(1, 0.5))
    save_figure(figure, path)


def draw_curves(runs: Runs, path: Path) -> None:
    """Accuracy over bits, mean and range over seeds, with the float features' level."""
    figure, axis = plt.subplots(figsize=(6, 3.4), layout="constrained")
    for name, results in named(runs).items():
        curves = [result["curve"] for result in results if "curve" in result]
        if not curves:
            continue
        values = 100 * np.array([curve["accuracy"] for curve in curves])
        (line,) = axis.plot(curves[0]["bits"], values.mean(0), marker=".", label=f"{name}: bits")
        colour = line.get_color()
        low, high = values.min(0), values.max(0)
        axis.fill_between(curves[0]["bits"], low, high, color=colour, alpha=0.2, lw=0)
        level = float(np.mean(percent(results, "features")))
        axis.axhline(level, color=colour, ls=":", lw=1, label=f"{name}: float features")
    axis.set(xscale="log", xlabel="bits, those of lowest rate pruned", ylabel="linear probe, %")
    axis.legend(fontsize=7)
    save_figure(figure, path)


def main() -> None:
    """Write summary.json, results.md and the figures beside the journal."""
    parts, out = begin(__doc__ or "", HERE)
    found = answers(parts)
    text = [
        "# What the study found\n\nMade by `report.py` from `journal.jsonl`; intervals are 95 % "
        "over seeds, by Student's t.\n\n## The bars\n\n" + markdown(found)
    ]
    for part, title, make in (
        ("arms", "Families, 64 directions or 256 bits", probes_table),
        ("arms", "Whose uncertainty rises, and knows errors", scores_table),
        ("wide", "2,048 bits", probes_table),
        ("wide", "Accuracy over bits", curve_table),
        ("beta", "Rate along beta, 256 bits with a gain", beta_table),
        ("protocols", "Fine-tuning, calibration, regression", protocols_table),
    ):
        if parts[part]:
            text.append(f"\n## {title}\n\n" + markdown(make(parts[part])))
    if parts["arms"]:
        draw_rises(parts["arms"], out / "rises.svg")
        text.append("\n![Uncertainty over blur and over crop, a line an arm](rises.svg)\n")
    if parts["wide"]:
        draw_curves(parts["wide"], out / "curves.svg")
        text.append("\n![Accuracy over bits](curves.svg)\n")
    summary = {"tables": {"Study: the bars, over three seeds": found}}
    write_report(out, "".join(text), summary)


if __name__ == "__main__":
    main()

"""Figures and summary of the study, from its journal alone.

uv run --package tenfold --group study python integration/studies/er_ssl/report.py
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from run import ARMS, best
from tenfold.report import Runs, begin, markdown, number, save_figure, write_report

HERE = Path(__file__).parent


def level(result: dict[str, Any]) -> float:
    """Where the entropy ended, from its floor (0) to its ceiling (1)."""
    last = {name: column[-1] for name, column in result["trace"].items()}
    height = last["entropy_ceiling"] - last["entropy_floor"]
    return (last["entropy"] - last["entropy_floor"]) / height


def probe(result: dict[str, Any]) -> float:
    """Linear probe, percent."""
    right, n = result["probe"]
    return 100 * right / n


def arms_table(runs: Runs) -> dict[str, list[str]]:
    """One row an arm: means over seeds, and the paired difference to random init."""
    by_arm: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for task, result in runs:
        by_arm[task["method"]][task["seed"]] = result
    base = by_arm["random init"]
    table: dict[str, list[str]] = defaultdict(list)
    for arm in ARMS:
        results = by_arm[arm]
        several = list(results.values())
        trained = bool(several[0]["trace"])
        table["arm"].append(arm)
        table["seeds"].append(str(len(results)))
        table["linear probe, %"].append(number([probe(r) for r in several], 1))
        paired = [probe(r) - probe(base[seed]) for seed, r in results.items()]
        table["minus random init"].append(number(paired, 1) if trained else "")
        table["spread, 0 to 1"].append(number([r["std"] for r in several], 3) if trained else "")
        table["effective rank"].append(number([r["rank"] for r in several], 0))
        levels = [level(r) for r in several] if trained else []
        table["entropy, floor 0 to ceiling 1"].append(number(levels, 3) if trained else "")
    return dict(table)


def curves_table(runs: Runs) -> dict[str, list[str]]:
    """One row a method, decay and batch: where entropy, reconstruction and probe ended."""
    groups: dict[tuple[str, str, int], list[dict[str, Any]]] = defaultdict(list)
    for task, result in runs:
        groups[task["method"], str(task.get("decay", "")), task["batch"]].append(result)
    table: dict[str, list[str]] = defaultdict(list)
    for (method, decay, batch), results in sorted(groups.items()):
        mean = {
            name: np.mean([r["trace"][name][-1] for r in results])
            for name in ("entropy", "reconstruction", "bound")
        }
        table["method"].append(method)
        table["decay"].append(decay)
        table["batch"].append(str(batch))
        table["seeds"].append(str(len(results)))
        table["entropy level"].append(f"{np.mean([level(r) for r in results]):.2f}")
        table["reconstruction, nats"].append(f"{mean['reconstruction']:.2f}")
        table["bound, nats"].append(f"{mean['bound']:.2f}")
        table["linear probe, %"].append(f"{np.mean([probe(r) for r in results]):.1f}")
    return dict(table)


def tuning_table(runs: Runs) -> dict[str, list[str]]:
    """One row a setting, on the validation rows."""
    return {
        "method": [task["method"] for task, _ in runs],
        "kappa": [f"{task['kappa']:g}" for task, _ in runs],
        "entropy weight": [f"{task['weight']:g}" if "weight" in task else "" for task, _ in runs],
        "validation probe, %": [f"{probe(result):.1f}" for _, result in runs],
        "spread, 0 to 1": [f"{result['std']:.3f}" for _, result in runs],
    }


def draw_arms(runs: Runs, path: Path) -> None:
    """Entropy, reconstruction and their sum over training, mean and range over seeds."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for task, result in runs:
        if result["trace"]:
            groups[task["method"]].append(result["trace"])
    figure, axes = plt.subplots(1, 3, figsize=(10.5, 3.1), layout="constrained")
    for axis, column in zip(axes, ("entropy", "reconstruction", "bound"), strict=True):
        for arm, traces in groups.items():
            values = np.array([trace[column] for trace in traces])
            steps = traces[0]["step"]
            (line,) = axis.plot(steps, values.mean(0), label=arm)
            low, high = values.min(0), values.max(0)
            axis.fill_between(steps, low, high, color=line.get_color(), alpha=0.2, lw=0)
        axis.set(title=column, xlabel="optimizer step", ylabel="nats")
    first = next(iter(groups.values()))[0]
    for name in ("entropy_floor", "entropy_ceiling"):
        axes[0].axhline(first[name][0], color="grey", ls=":", lw=1)
    axes[2].axhline(first["ceiling"][0], color="grey", ls=":", lw=1)
    axes[0].legend(fontsize=7)
    save_figure(figure, path)


def draw_curves(runs: Runs, path: Path) -> None:
    """Entropy's level and reconstruction over training, a row a batch size, a column a family."""
    families = (("BYOL", "BYOL + ER"), ("DINO", "DINO + ER"), ("SwAV", "DeepCluster"))
    batches = sorted({task["batch"] for task, _ in runs})
    figure, axes = plt.subplots(
        2 * len(batches), 3, figsize=(10.5, 4.6 * len(batches)), layout="constrained", squeeze=False
    )
    for task, result in runs:
        column = next(i for i, family in enumerate(families) if task["method"] in family)
        row, trace = 2 * batches.index(task["batch"]), result["trace"]
        ends = np.array([trace["entropy"], trace["entropy_floor"], trace["entropy_ceiling"]])
        colour = "C1" if task["method"] in ("BYOL + ER", "DINO + ER", "DeepCluster") else "C0"
        style = {"color": colour, "ls": "--" if task.get("decay") == 0.8 else "-"}
        decay = f", decay {task['decay']}" if "decay" in task else ""
        label = f"{task['method']}{decay}" if task["seed"] == 0 else None
        share = (ends[0] - ends[1]) / (ends[2] - ends[1])
        axes[row, column].plot(trace["step"], share, lw=1, **style)
        axes[row + 1, column].plot(
            trace["step"], trace["reconstruction"], lw=1, label=label, **style
        )
        axes[row, column].set(title=f"batch {task['batch']}", ylim=(-0.05, 1.05))
    for row in range(0, len(axes), 2):
        axes[row, 0].set_ylabel("entropy, floor 0 to ceiling 1")
        axes[row + 1, 0].set_ylabel("reconstruction, nats")
    for axis in axes[1]:
        axis.legend(fontsize=6.5)
    save_figure(figure, path)


def main() -> None:
    """Write summary.json, results.md and the figures beside the journal."""
    parts, out = begin(__doc__ or "", HERE)
    tables = {"Study: five arms over five seeds": arms_table(parts["arms"])}
    text = [
        "# What the study found\n\nMade by `report.py` from `journal.jsonl`; intervals are 95 % "
        "over seeds, by Student's t.\n\n## Five arms\n\n" + markdown(arms_table(parts["arms"])),
        f"\nSettings, chosen on validation rows with one seed: `{json.dumps(best(parts['tune']))}`."
        "\n\n![Entropy, reconstruction and bound over training](arms.svg)\n",
    ]
    draw_arms(parts["arms"], out / "arms.svg")
    if parts["curves"]:
        draw_curves(parts["curves"], out / "curves.svg")
        text.append(
            "\n## Entropy and reconstruction, method by method\n\n![Entropy and reconstruction of "
            "six methods](curves.svg)\n\n" + markdown(curves_table(parts["curves"]))
        )
    text.append("\n## Settings tried\n\n" + markdown(tuning_table(parts["tune"])))
    write_report(out, "".join(text), {"tables": tables})


if __name__ == "__main__":
    main()

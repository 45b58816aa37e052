"""Write summary.json from the study that randaug-study commits as its example."""

import json
import warnings
from pathlib import Path
from typing import Any

from randaug_study.report import Report
from randaug_study.study import Journal, Study

EXAMPLE = Path(__file__).parents[3] / "packages" / "randaug-study" / "examples" / "fashion_mnist"


def summary() -> dict[str, Any]:
    """Headlines, tables and figures for the station."""
    study = Study.from_toml(EXAMPLE / "study.toml")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = Report.of(study, Journal(EXAMPLE / "runs.jsonl").runs(study))
    rows = [*report.comparisons, *report.equal_compute]
    seeds = len({seed for _, seed in report.runs})
    return {
        "headlines": [
            f"{study.name}, {seeds} seeds, margin {study.margin:g} points: "
            f"{study.baseline} - {study.control} {report.control}",
            *(f"{c.arm} - {c.reference} {c.difference}: {c.verdict}" for c in rows),
        ],
        "tables": {
            f"The study: differences in test accuracy, points, margin {study.margin:g}": {
                "arm - reference": [f"{c.arm} - {c.reference}" for c in rows],
                "pairs": [c.difference.n for c in rows],
                "difference": [round(c.difference.mean, 2) for c in rows],
                "95 % from": [round(c.difference.low, 2) for c in rows],
                "to": [round(c.difference.high, 2) for c in rows],
                "p equivalence (TOST, Holm)": [f"{c.p_equivalence:.2g}" for c in rows],
                "shown": [c.verdict for c in rows],
            }
        },
        "figures": [_entropy(report)],
    }


def _entropy(report: Report) -> dict[str, Any]:
    lines = [r.controller for (_, _), r in report.runs.items() if r.controller]
    columns = list(zip(*lines, strict=True))
    series = {
        "name": "AdvAA, M = 4",
        "x": [n + 1 for n in range(len(columns))],
        "y": [round(sum(column) / len(column), 5) for column in columns],
        "low": [min(column) for column in columns],
        "high": [max(column) for column in columns],
    }
    return {
        "title": "The study: entropy of AdvAA's controller over its maximum",
        "x_label": "epoch",
        "y_label": "1 is random",
        "series": [series],
    }


if __name__ == "__main__":
    text = json.dumps(summary(), indent=1) + "\n"
    (Path(__file__).parent / "summary.json").write_text(text, encoding="utf-8")

"""Resamples from counts: against fairlearn's MetricFrame, and at the size of a whole audit.

`python packages/vpsa-fair/benchmarks/resamples.py` runs both in one process, checks that they find
the same accuracy of every group and intervals of the same width, and prints a table of ratios of
process time. `--readme` writes that table into the package's README.
"""

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import argparse
import importlib.metadata
import importlib.util
import json
import platform
import re
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from vpsa_fair import CLEAN, Cell, Counts, Result

README = Path(__file__).parents[1] / "README.md"
ROWS, GROUPS, RESAMPLES = 10_000, 8, 2_000
PEER = "MetricFrame(n_boot=2000) / ours, 10,000 rows, 8 groups"
AUDIT = "CPU seconds, 8 groups x 10 perturbations x 11 levels x 2,000 resamples"
BARS = {PEER: (100, None), AUDIT: (None, 1.0)}


def cpu(run: Callable[[], object]) -> float:
    """Process time of one call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def rows(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Right or wrong, and the group, of every row."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, GROUPS, ROWS)
    return rng.random(ROWS) < 0.75 + 0.02 * group, np.array([f"g{g}" for g in group])


def ours(
    correct: np.ndarray, group: np.ndarray, resamples: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Accuracy and interval of every group, each row a unit of its own, as the peer has it."""
    hits = correct[:, None].astype(float)
    counts = Counts(
        identity=np.arange(ROWS).astype(str),
        groups={"group": group},
        cells=(CLEAN,),
        hits={"correct": hits},
        trials={"correct": np.ones_like(hits)},
    )
    e = Result(counts, n_boot=resamples).estimates()
    return e.response[:-1, 0], e.low[:-1, 0], e.high[:-1, 0]


def fairlearn(
    correct: np.ndarray, group: np.ndarray, resamples: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same from fairlearn, with the cheapest accuracy (scikit-learn's takes four times)."""
    from fairlearn.metrics import MetricFrame

    frame = MetricFrame(
        metrics=lambda y_true, y_pred: float((np.asarray(y_true) == np.asarray(y_pred)).mean()),
        y_true=np.ones(ROWS, dtype=int),
        y_pred=correct.astype(int),
        sensitive_features=group,
        n_boot=resamples,
        ci_quantiles=[0.025, 0.975],
        random_state=0,
    )
    low, high = (np.asarray(q, dtype=float) for q in frame.by_group_ci)
    return np.asarray(frame.by_group, dtype=float), low, high


def race(turns: int, resamples: int) -> float:
    """Process time of fairlearn (one run: minutes) over the median of ours, if they agree."""
    correct, group = rows()
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    own = [cpu(lambda: found.append(ours(correct, group, resamples))) for _ in range(turns + 1)][1:]
    theirs = cpu(lambda: found.append(fairlearn(correct, group, resamples)))
    own += [cpu(lambda: ours(correct, group, resamples)) for _ in range(turns)]
    a, b = found[0], found[-1]
    np.testing.assert_allclose(a[0], b[0], atol=1e-12)
    np.testing.assert_allclose(
        a[2] - a[1], b[2] - b[1], rtol=0.3 if resamples < RESAMPLES else 0.15
    )
    return theirs / median(own)


def audit_counts(identities: int = 2_000) -> Counts:
    """Counts of a verification audit: two measures, 1 + 10 x 10 cells."""
    rng = np.random.default_rng(0)
    cells = (CLEAN, *(Cell(f"p{p}", s, s / 10) for p in range(10) for s in range(1, 11)))
    shape = (identities, len(cells))
    trials = np.full(shape, 20.0)
    measures = ("genuine", "impostor")
    return Counts(
        identity=np.arange(identities).astype(str),
        groups={"group": np.array([f"g{i % GROUPS}" for i in range(identities)])},
        cells=cells,
        hits={m: rng.binomial(20, 0.8, size=shape).astype(float) for m in measures},
        trials=dict.fromkeys(measures, trials),
        order={"impostor": 2},
        chance=0.5,
    )


def audit_seconds(turns: int) -> float:
    """Median process time of all curves with bands and the AUC matrix with intervals.

    2,000 identities, genuine and impostor trials.
    """
    counts = audit_counts()

    def run() -> None:
        result = Result(counts, n_boot=RESAMPLES)
        result.matrix(margins=True)

    return median(cpu(run) for _ in range(turns))


def markdown(report: dict) -> str:
    """The table of the README."""
    lines = ["| time of | ratio |", "|---|---|"]
    for name, figure in report["ratios"].items():
        lines.append(f"| {name} | {figure:.0f} |")
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    lines += [
        "",
        "Process time in one process, one thread; medians of ours, one run of the peer. Every row "
        "has a weight of its own, as the peer has it; the peer got the cheapest metric function "
        f"that computes an accuracy. {versions}.",
    ]
    return "\n".join(lines)


def races(report: dict, *, bars: bool) -> list[dict]:
    """One row a figure, with the bar that it must keep; without, after only a few turns."""
    rows = []
    for name, value in {**report["ratios"], **report["seconds"]}.items():
        least, most = BARS.get(name, (None, None)) if bars else (None, None)
        ends = {"at_least": least, "at_most": most}
        row = {"what": name, "value": value}
        rows.append(row | {end: bar for end, bar in ends.items() if bar is not None})
    return rows


def missed_bars(rows: list[dict]) -> list[str]:
    """One line for every bar that was not reached."""
    missed = []
    for row in rows:
        value, least, most = row["value"], row.get("at_least"), row.get("at_most")
        if least is not None and not value >= least:
            missed.append(f"{row['what']}: {value:.4g}, bar at least {least:g}")
        if most is not None and not value <= most:
            missed.append(f"{row['what']}: {value:.4g}, bar at most {most:g}")
    return missed


def write_readme(table: str) -> None:
    """Put the table between the README's markers."""
    text = README.read_text()
    marked = re.compile(r"(<!-- bench -->\n).*?(<!-- /bench -->)", re.DOTALL)
    if not marked.search(text):
        raise SystemExit(f"{README} has no <!-- bench --> markers")
    new = README.with_suffix(".new")
    new.write_text(marked.sub(lambda m: m[1] + "\n" + table + "\n\n" + m[2], text))
    os.replace(new, README)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="100 resamples: does it run at all")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--readme", action="store_true", help="write the table into the README")
    arguments = parser.parse_args(argv)
    warnings.simplefilter("ignore")  # the peer's dependencies announce changes
    turns = 1 if arguments.quick else 5
    resamples = 100 if arguments.quick else RESAMPLES
    packages = ["vpsa-fair", "numpy"]
    ratios = {}
    if importlib.util.find_spec("fairlearn") is None:
        print("fairlearn is not installed: no race against it", file=sys.stderr)
    else:
        packages += ["fairlearn", "pandas"]
        ratios[PEER] = race(turns, resamples)
    report = {
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in packages},
        "ratios": ratios,
        "seconds": {AUDIT: audit_seconds(turns)},
    }
    table = markdown(report)
    print(table)
    for name, figure in report["seconds"].items():
        print(f"{name}: {figure:.2f}")
    report["races"] = races(report, bars=not arguments.quick)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    if arguments.readme:
        write_readme(table)
    missed = missed_bars(report["races"])
    for line in missed:
        print(f"bar missed: {line}", file=sys.stderr)
    return int(bool(missed))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())

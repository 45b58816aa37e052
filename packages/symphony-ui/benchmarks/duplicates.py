"""Race of the exact near-duplicate search against scikit-learn and faiss, in one process.

    python benchmarks/duplicates.py [--rows 20000] [--dim 128] [--rounds 5] [--quick]
        [--json FILE] [--readme]

First the pairs found are compared with those of a float64 product of all rows with all rows and
with each peer's; then the contestants run in turn, round after round, with a rest between them so
that the idle threads of one do not spin into the time of the next. faiss is left out where it is
not installed.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _report import finish, installed, rewrite_readme
from sklearn.neighbors import NearestNeighbors
from symphony_ui.analysis import duplicates

Pairs = set[tuple[int, int]]
LEAST_SPEEDUP = {"scikit-learn": 4.0, "faiss-cpu": 2.0}


def planted(rows: int, dim: int, clusters: int = 50) -> np.ndarray:
    """Random unit vectors, ``(rows, dim)`` float32, in which clusters of 2 to 9 are planted."""
    random = np.random.default_rng(0)
    X = random.normal(size=(rows, dim))
    at = 0
    for number in range(clusters):
        size = 2 + number % 8
        X[at : at + size] = X[at] + 0.05 * random.normal(size=(size, dim))
        at += size
    X = X[random.permutation(rows)]
    return (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32)


def brute_force(X: np.ndarray, cosine: float) -> tuple[Pairs, Pairs]:
    """The pairs that must be found and those that may be: float64, a rounding apart."""
    unit = X.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    must, may = set(), set()
    for start in range(0, len(X), 500):
        product = unit[start : start + 500] @ unit.T
        for found, bound in ((must, cosine + 1e-12), (may, cosine - 1e-12)):
            rows, columns = np.divmod(np.flatnonzero(product >= bound), len(X))
            rows += start
            found.update(zip(rows[rows < columns], columns[rows < columns], strict=True))
    return must, may


def contestants(X: np.ndarray, cosine: float) -> dict[str, Callable[[], Pairs]]:
    """Each contestant's search, as a function that gives its pairs."""
    radius = float(np.sqrt(2 - 2 * cosine))
    tree = NearestNeighbors(algorithm="brute").fit(X)

    def ours() -> Pairs:
        return set(map(tuple, duplicates(X, threshold=cosine).pairs.tolist()))

    def scikit_learn() -> Pairs:
        near = tree.radius_neighbors(X, radius=radius, return_distance=False)
        return {(i, j) for i, row in enumerate(near) for j in row.tolist() if i < j}

    found: dict[str, Callable[[], Pairs]] = {"symphony-ui": ours, "scikit-learn": scikit_learn}
    try:
        import faiss
    except ImportError:
        return found
    index = faiss.IndexFlatIP(X.shape[1])
    index.add(X)

    def flat() -> Pairs:
        bounds, _, near = index.range_search(X, cosine)
        rows = np.repeat(np.arange(len(X)), np.diff(bounds.astype(np.int64)))
        return set(zip(rows[rows < near].tolist(), near[rows < near].tolist(), strict=True))

    found["faiss-cpu"] = flat
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Race of exact near-duplicate searches.")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--cosine", type=float, default=0.98)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="few rows: does it run at all")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--readme", action="store_true", help="rewrite the README's table")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rows, arguments.rounds = 2000, 2
    X = planted(arguments.rows, arguments.dim)
    searches = contestants(X, arguments.cosine)
    must, may = brute_force(X, arguments.cosine)
    errors = {}
    for name, search in searches.items():
        pairs = search()
        errors[name] = {"missed": len(must - pairs), "false": len(pairs - may)}
    if any(errors["symphony-ui"].values()):
        raise SystemExit(f"ours is wrong: {errors['symphony-ui']}")
    seconds: dict[str, list[float]] = {name: [] for name in searches}
    for _ in range(arguments.rounds):
        for name, search in searches.items():
            time.sleep(0.5)
            start = time.perf_counter()
            search()
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    base = medians["symphony-ui"]
    threads = os.environ.get("OMP_NUM_THREADS", os.cpu_count())
    lines = [
        "| exact search of near duplicates | x our time | pairs missed | false pairs |",
        "|---|---|---|---|",
    ]
    for name, median in medians.items():
        wrong = errors[name]
        cells = (
            f"{name} {installed(name) or 'from source'} | {median / base:.2f} | {wrong['missed']}"
        )
        lines.append(f"| {cells} | {wrong['false']} |")
    note = (
        f"{arguments.rows:,} x {arguments.dim}, cosine at least {arguments.cosine}, {len(must)} "
        f"pairs, {threads} threads, medians of {arguments.rounds} turns, numpy {np.__version__}. "
        "Made by `uv run nox -s bench -- symphony-ui --readme`."
    )
    text = "\n".join([*lines, "", note])
    print(f"{text}\nours: {base:.3f} s; load {os.getloadavg()[0]:.1f}, {platform.machine()}")
    if arguments.readme:
        rewrite_readme("duplicates", text)
    races = []
    for name, median in medians.items():
        row = {
            "what": f"exact near duplicates: time of {name} / symphony-ui",
            "value": median / base,
        }
        if name in LEAST_SPEEDUP:
            bar = {} if arguments.quick else {"at_least": LEAST_SPEEDUP[name]}
            races.append(row | bar)
    for word, wrong in errors["symphony-ui"].items():
        races.append({"what": f"exact near duplicates: pairs {word}", "value": wrong, "at_most": 0})
    setting = {"rows": arguments.rows, "dim": arguments.dim, "cosine": arguments.cosine}
    names = ("symphony-ui", "scikit-learn", "faiss-cpu", "numpy")
    return finish(
        races, names, arguments.json, **setting, threads=threads, seconds=seconds, errors=errors
    )


if __name__ == "__main__":
    sys.exit(main())

"""Hamming neighbours of packed codes against cosine neighbours of float features, and faiss.

`python packages/lv-ssl/benchmarks/hamming.py` checks first that all find the same distances,
then lets each search in a process of its own, and prints a table of ratios: time of the search,
and memory of vectors, search and result together. `--readme` writes that table into the README.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from lv_ssl import hamming_knn, pack_bits

README = Path(__file__).parents[1] / "README.md"
BITS, K, BLOCK = 2048, 20, 512
ROWS, QUICK_ROWS = 60_000, 4_000
FAISS_SHARE = 10  # it searches a tenth of the queries, and its time is taken ten times
BARS = {
    ("torch, float32", "seconds"): {"at_least": 1.3},
    ("torch, float32", "mebibytes"): {"at_least": 15.0},
}


def codes(rows: int) -> np.ndarray:
    """Random codes, the same each time."""
    g = np.random.default_rng(0)
    return g.integers(0, 256, (rows, BITS // 8), dtype=np.uint8)


def floats(rows: int) -> torch.Tensor:
    """As many random float features of unit length."""
    x = torch.randn(rows, BITS, generator=torch.Generator().manual_seed(0))
    return F.normalize(x, dim=1, out=x)


def cosine_knn(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The usual search in torch: a product and the largest of each row, a block at a time."""
    cosines, indices = torch.empty(len(x), K), torch.empty(len(x), K, dtype=torch.int64)
    for start in range(0, len(x), BLOCK):
        rows = slice(start, start + BLOCK)
        torch.topk(x[rows] @ x.T, K, dim=1, out=(cosines[rows], indices[rows]))
    return cosines, indices


def faiss_index(packed: np.ndarray, threads: int):
    """The peer: an exact binary index."""
    import faiss

    faiss.omp_set_num_threads(threads)
    index = faiss.IndexBinaryFlat(8 * packed.shape[1])
    index.add(packed)
    return index


def check_equal(threads: int) -> None:
    """Stop unless all three find the same distances."""
    bits = np.random.default_rng(1).integers(0, 2, (3000, BITS), dtype=np.uint8)
    packed = pack_bits(bits)
    ours = hamming_knn(packed, packed, K, threads=threads).distances
    theirs, _ = faiss_index(packed, threads).search(packed, K)
    signs = F.normalize(2 * torch.from_numpy(bits).float() - 1, dim=1)
    cosines, _ = cosine_knn(signs)
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(ours, ((1 - cosines) * BITS / 2).round().numpy())


def search(name: str, rows: int, threads: int) -> None:
    """Print the seconds of one search, and the MiB of everything above an idle process."""

    def status(key: str) -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))

    small = codes(100), floats(100)
    measured = Path("/proc/self/clear_refs").exists()
    racers = {
        "lv-ssl": (codes, lambda x: hamming_knn(x, x, K, threads=threads), 1),
        "torch, float32": (floats, cosine_knn, 1),
        "faiss, binary": (
            codes,
            lambda x: faiss_index(x, threads).search(x[: len(x) // FAISS_SHARE], K),
            FAISS_SHARE,
        ),
    }
    make, run, share = racers[name]
    run(small[0] if make is codes else small[1])  # warm
    if measured:
        before = status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # starts the peak anew
    x = make(rows)
    start = time.perf_counter()
    kept = run(x)
    seconds = share * (time.perf_counter() - start)
    assert len(kept) == 2
    peak = status("VmHWM") - before if measured else float("nan")
    print(json.dumps({"seconds": seconds, "mebibytes": peak}))


def race(rows: int, threads: int) -> dict[str, dict[str, float]]:
    """Name to seconds and MiB."""
    found = {}
    for name in ("lv-ssl", "torch, float32", "faiss, binary"):
        command = [sys.executable, __file__, "--search", name, str(rows)]
        command += ["--threads", str(threads)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[name] = json.loads(done.stdout)
    return found


def ratios(report: dict) -> dict[str, dict[str, float]]:
    """What a peer takes over what we take."""
    ours = report["found"]["lv-ssl"]
    return {
        name: {key: taken[key] / ours[key] for key in ("seconds", "mebibytes")}
        for name, taken in report["found"].items()
    }


def markdown(report: dict) -> str:
    """The table of the README."""
    lines = ["| search | time / ours | memory / ours |", "|---|---|---|"]
    for name, ratio in ratios(report).items():
        lines.append(f"| {name} | {ratio['seconds']:.2f} | {ratio['mebibytes']:.1f} |")
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    ours = report["found"]["lv-ssl"]["mebibytes"]
    lines += [
        "",
        f"All {K} nearest of {report['rows']:,} x {report['rows']:,} random codes of {BITS:,} "
        f"bits, or as many float32 features by cosine; {report['threads']} threads, exact. Memory "
        f"is that of vectors, search and result together (ours: {ours:.0f} MiB), each in a "
        f"process of its own; faiss searched a tenth of the queries, taken ten times. {versions}.",
    ]
    return "\n".join(lines)


def races(report: dict) -> list[dict]:
    """One row a figure, with the bar that it must keep; without, where few rows were searched."""
    rows = []
    for name, ratio in ratios(report).items():
        for key, word in (("seconds", "time"), ("mebibytes", "memory")):
            row = {"what": f"{word} of {name} / lv-ssl", "value": ratio[key]}
            if name != "lv-ssl":
                rows.append(row if report["quick"] else row | BARS.get((name, key), {}))
    return rows


def missed_bars(races: list[dict]) -> list[str]:
    """One line for every bar that was not reached."""
    missed = []
    for race in races:
        value, least, most = race["value"], race.get("at_least"), race.get("at_most")
        if least is not None and not value >= least:
            missed.append(f"{race['what']}: {value:.4g}, at least {least:.4g} is claimed")
        if most is not None and not value <= most:
            missed.append(f"{race['what']}: {value:.4g}, at most {most:.4g} is claimed")
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


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="few rows: does it run at all")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--readme", action="store_true", help="write the table into the README")
    parser.add_argument("--search", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    arguments = parse(argv)
    torch.set_num_threads(arguments.threads)
    if arguments.search:
        search(arguments.search[0], int(arguments.search[1]), arguments.threads)
        return 0
    check_equal(arguments.threads)
    rows = QUICK_ROWS if arguments.quick else ROWS
    names = ("lv-ssl", "faiss-cpu", "numpy", "torch")
    report = {
        "rows": rows,
        "threads": arguments.threads,
        "quick": arguments.quick,
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in names},
        "found": race(rows, arguments.threads),
    }
    report["races"] = races(report)
    table = markdown(report)
    print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    if arguments.readme:
        write_readme(table)
    missed = missed_bars(report["races"])
    for line in missed:
        print(f"bar missed: {line}", file=sys.stderr)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())

"""NT-Xent, streamed, against lightly's and the dense form: time forward and backward, and memory.

`python packages/er-ssl/benchmarks/contrastive.py` checks first that all three compute the same,
then races them in turns in one process, then measures each one's memory in a process of its own,
and prints a table of ratios. `--readme` writes that table into the package's README.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from er_ssl import NTXentLoss

README = Path(__file__).parents[1] / "README.md"
DIM, TEMPERATURE = 128, 0.1
TURNS = {512: 60, 1024: 40, 4096: 9, 8192: 5, 16384: 3, 32768: 1, 49152: 1}
RACED = (512, 4096, 16384)  # rows at which the peers run too
QUICK = (512, 1024)
MEMORY_OF_PEERS = (512, 4096, 16384)
LEAST_SPEEDUP = {512: 1 / 1.2, 4096: 4.0, 16384: 4.0}  # over lightly
MOST_MEBIBYTES = {4096: 40, 16384: 100, 49152: 1024}


def dense(z1: torch.Tensor, z2: torch.Tensor) -> torch.Tensor:
    """The whole matrix and a cross-entropy, as a short implementation has it."""
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    logits = (z @ z.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    return F.cross_entropy(logits, torch.arange(len(z)).roll(len(z1)))


def lightly_loss():
    """The peer's loss."""
    from lightly.loss import NTXentLoss as Lightly

    return Lightly(temperature=TEMPERATURE)


LOSSES = {
    "er-ssl": lambda: NTXentLoss(temperature=TEMPERATURE),
    "lightly": lightly_loss,
    "dense": lambda: dense,
}


def pair(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two views of `rows / 2` instances, the same each time."""
    g = torch.Generator().manual_seed(rows)
    z1 = torch.randn(rows // 2, DIM, generator=g)
    z2 = z1 + torch.randn(rows // 2, DIM, generator=g)
    return z1.requires_grad_(), z2.requires_grad_()


def step(loss, z1: torch.Tensor, z2: torch.Tensor) -> float:
    """Seconds of one forward and backward."""
    z1.grad = z2.grad = None
    start = time.perf_counter()
    loss(z1, z2).backward()
    return time.perf_counter() - start


def check_equal(losses: dict) -> None:
    """Stop unless all losses and gradients agree in float32."""
    z1, z2 = pair(2048)
    values, slopes = {}, {}
    for name, loss in losses.items():
        value = loss(z1, z2)
        values[name], slopes[name] = value.detach(), torch.autograd.grad(value, z1)[0]
    for name in losses:
        torch.testing.assert_close(values[name], values["er-ssl"], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(slopes[name], slopes["er-ssl"], rtol=1e-3, atol=1e-8)


def race(losses: dict, sizes: tuple[int, ...]) -> dict[int, dict[str, float]]:
    """Rows to the median seconds of each loss, taken in turns."""
    medians = {}
    for rows in sizes:
        z1, z2 = pair(rows)
        racers = losses if rows in RACED or rows in QUICK else {"er-ssl": losses["er-ssl"]}
        taken = {name: [] for name in racers}
        for loss in racers.values():
            if rows <= 16384:
                step(loss, z1, z2)  # warm
        for _ in range(TURNS[rows]):
            for name, loss in racers.items():
                taken[name].append(step(loss, z1, z2))
        medians[rows] = {name: statistics.median(times) for name, times in taken.items()}
    return medians


def peak(name: str, rows: int) -> None:
    """Print the MiB that one step takes above what is there before it."""

    def status(key: str) -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))

    loss = LOSSES[name]()
    step(loss, *pair(16))
    z1, z2 = pair(rows)
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # starts the peak anew
    step(loss, z1, z2)
    print(status("VmHWM") - before)


def memory(names: list[str], sizes: tuple[int, ...], threads: int) -> dict[int, dict[str, float]]:
    """Rows to the peak MiB of each loss, each in a fresh process; nothing but on Linux."""
    if not Path("/proc/self/clear_refs").exists():
        return {}
    table = {}
    for rows in sizes:
        racers = names if rows in MEMORY_OF_PEERS or rows in QUICK else ["er-ssl"]
        table[rows] = {}
        for name in racers:
            command = [sys.executable, __file__, "--peak", name, str(rows)]
            command += ["--threads", str(threads)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            table[rows][name] = float(done.stdout)
    return table


def markdown(report: dict) -> str:
    """The table of the README."""
    lines = [
        "| rows (2B) | time: lightly / er-ssl | dense / er-ssl | er-ssl / er-ssl at 4,096 "
        "| memory: er-ssl | lightly | dense |",
        "|---|---|---|---|---|---|---|",
    ]
    unit = report["seconds"].get(4096, {}).get("er-ssl")
    for rows, seconds in report["seconds"].items():
        ours = seconds["er-ssl"]
        ratios = [
            f"{seconds[name] / ours:.1f}" if name in seconds else "-"
            for name in ("lightly", "dense")
        ]
        peaks = report["mebibytes"].get(rows, {})
        sizes = [
            f"{peaks[name]:.0f} MiB" if name in peaks else "-"
            for name in ("er-ssl", "lightly", "dense")
        ]
        share = ours / unit if unit else None
        growth = "-" if share is None else f"{share:.3f}" if share < 1 else f"{share:.0f}"
        lines.append(f"| {rows:,} | {' | '.join([*ratios, growth, *sizes])} |")
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    lines += [
        "",
        f"Forward and backward in float32, d = {DIM}, temperature {TEMPERATURE}, medians in turns, "
        f"{report['threads']} threads; memory above what stood before the step, in a process of "
        f"its own. {versions}.",
    ]
    return "\n".join(lines)


def races(report: dict) -> list[dict]:
    """One row a figure, with the bar that it must keep; without, where only few rows were raced."""
    rows = []
    for size, seconds in report["seconds"].items():
        for peer in ("lightly", "dense"):
            if peer in seconds:
                row = {"what": f"{size:,} rows: time of {peer} / er-ssl"}
                row["value"] = seconds[peer] / seconds["er-ssl"]
                if peer == "lightly" and size in LEAST_SPEEDUP and not report["quick"]:
                    row["at_least"] = LEAST_SPEEDUP[size]
                rows.append(row)
    for size, peaks in report["mebibytes"].items():
        row = {"what": f"{size:,} rows: MiB of er-ssl", "value": peaks["er-ssl"]}
        if size in MOST_MEBIBYTES and not report["quick"]:
            row["at_most"] = MOST_MEBIBYTES[size]
        rows.append(row)
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
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--readme", action="store_true", help="write the table into the README")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    arguments = parse(argv)
    torch.set_num_threads(arguments.threads)
    if arguments.peak:
        peak(arguments.peak[0], int(arguments.peak[1]))
        return 0
    losses = {name: make() for name, make in LOSSES.items()}
    check_equal(losses)
    sizes = QUICK if arguments.quick else tuple(rows for rows in TURNS if rows != 1024)
    report = {
        "threads": arguments.threads,
        "quick": arguments.quick,
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in ("er-ssl", "lightly", "torch")},
        "seconds": race(losses, sizes),
        "mebibytes": memory(list(losses), sizes, arguments.threads),
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

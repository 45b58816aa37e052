"""The linear solve and the parallel backward against their peers; growth and memory.

    python packages/deeppcr/benchmarks/linear.py [--quick] [--rounds N] [--json FILE] [--readme]

Contenders take turns on one thread and are checked first to compute the same thing; a figure is
the median time of the peer over that of deeppcr. The loops have their weights unbound.
pararnn-torch pins an older triton, so it is not in the `bench` group: where it was installed by
`pip install --no-deps pararnn-torch` it takes part. Exit 1 where a bar is missed.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import torch
from deeppcr import DenseStep, affine_scan, bench, kernel, sequential_forward
from deeppcr.__main__ import write

README = Path(__file__).parents[1] / "README.md"
DENSE = [(256, 8), (1024, 1), (1024, 4), (1024, 8), (4096, 8)]
STACKS = [(1024, 4), (1024, 8), (4096, 4), (4096, 8), (4096, 16), (4096, 32)]
BARS = {  # peer over ours; the last two are upper bounds
    ("associative_scan", "kernel"): 20,
    ("associative_scan", "torch"): 3,
    ("pararnn-torch", "kernel"): 2,
    ("pararnn-torch", "torch"): 2,
    ("backward", 4096, 4, "kernel"): 200,
    ("backward", 4096, 8, "kernel"): 100,
    ("backward", 4096, 16, "kernel"): 8,
    ("backward", 4096, 8, "torch"): 40,
    ("nn.RNN", 4096, 8, "kernel"): 100,
    ("growth",): 4.8,
    ("memory",): 1.0,
}


NAMES = {"backward": "backward of autograd, tanh stack", "nn.RNN": "backward of torch.nn.RNN"}
SINGLE = {
    "growth": "kernel's time at L=16384 / at L=4096, d=8",
    "memory, kernel": "memory of a backward / 4 L d² floats plus 20 MB, kernel",
    "memory, torch": "memory of a backward / 4 L d² floats plus 20 MB, pure torch",
}


@contextmanager
def without_kernel() -> Iterator[None]:
    """As on a machine that has no compiler."""
    library, kernel.library = kernel.library, lambda: None
    try:
        yield
    finally:
        kernel.library = library


def in_torch(run):
    """The same run without the kernel."""

    def alone():
        with without_kernel():
            return run()

    return alone


def combine(earlier, later):
    """The rule of the generic scan: the map of two blocks of steps."""
    return later[0] @ earlier[0], (later[0] @ earlier[1].unsqueeze(-1)).squeeze(-1) + later[1]


def solvers(length, width):
    """Contenders of one dense solve; the peers first."""
    A, b = bench.chain(length, width)
    A[0] = 0  # the peers read the first block
    runs = {}
    try:
        from torch._higher_order_ops import associative_scan

        def scan():
            return associative_scan(combine, (A, b), 0, combine_mode="generic")[1]

        runs["associative_scan"] = scan
    except ImportError:
        print("this torch has no associative_scan: left out", file=sys.stderr)
    try:
        from pararnn.solvers.scan import scan_dense

        runs["pararnn-torch"] = lambda: scan_dense(A[None], b[None])[0]
    except ImportError:
        print("pararnn-torch is not installed: left out", file=sys.stderr)
    runs["kernel"] = lambda: affine_scan(A, b)
    runs["torch"] = in_torch(runs["kernel"])
    return runs


def solve_rows(cells, rounds):
    """One row a cell, with the ratio of every peer to ours."""
    rows = []
    for length, width in cells:
        runs = solvers(length, width)
        bench.check_alike({name: (run(),) for name, run in runs.items()})
        taken = bench.race(runs, rounds=rounds)
        for peer in ("associative_scan", "pararnn-torch"):
            if peer in taken:
                ratios = {ours: taken[peer] / taken[ours] for ours in ("kernel", "torch")}
                rows.append({"peer": peer, "L": length, "d": width, **ratios})
    return rows


def stack_row(length, width, rounds):
    """Autograd through the loop of a tanh stack, against ours."""
    leaves = z0, weights, biases = bench.tanh_stack(length, width)
    cotangent = torch.randn(length, width, generator=torch.Generator().manual_seed(1))
    theirs = bench.unbound_loop(*leaves)
    ours = sequential_forward(DenseStep(), z0, None, (weights, biases), per_layer_params=True)

    def backward(states):
        return lambda: torch.autograd.grad(states, leaves, cotangent, retain_graph=True)

    runs = {"peer": backward(theirs), "kernel": backward(ours)}
    return {"peer": "backward", "L": length, "d": width, **ratios_of(runs, rounds)}


def rnn_row(length, width, rounds):
    """The backward of torch.nn.RNN, against ours with the same weights."""
    torch.manual_seed(0)
    peer = torch.nn.RNN(width, width)
    xs = torch.randn(length, width)
    leaves = list(peer.parameters())
    theirs = peer(xs)[0]
    w_ih, w_hh, b_ih, b_hh = leaves
    inputs = torch.nn.functional.linear(xs, w_ih, b_ih)
    ours = sequential_forward(DenseStep(), torch.zeros(width), inputs, (w_hh, b_hh))
    cotangent = torch.randn_like(theirs)

    def backward(states):
        return lambda: torch.autograd.grad(states, leaves, cotangent, retain_graph=True)

    runs = {"peer": backward(theirs), "kernel": backward(ours)}
    return {"peer": "nn.RNN", "L": length, "d": width, **ratios_of(runs, rounds)}


def ratios_of(runs, rounds):
    """The peer's time over ours, with the kernel and without."""
    runs["torch"] = in_torch(runs["kernel"])
    bench.check_alike({name: run() for name, run in runs.items()})
    taken = bench.race(runs, rounds=rounds)
    return {ours: taken["peer"] / taken[ours] for ours in ("kernel", "torch")}


def growth(rounds):
    """Time of the kernel's solve at four times the length."""
    runs = {}
    for length in (4096, 16384):
        A, b = bench.chain(length, 8)
        runs[length] = lambda A=A, b=b: affine_scan(A, b)
    taken = bench.race(runs, rounds=4 * rounds)
    return taken[16384] / taken[4096]


def memory(kind):
    """Peak of a backward at L=16384, d=16, over 4 L d^2 floats plus 20 MB; in a fresh process."""
    environment = os.environ | {"DEEPPCR_KERNEL": "1" if kind == "kernel" else "0"}
    command = [sys.executable, __file__, "--measure-memory"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return int(done.stdout) / (4 * 16384 * 16 * 16 * 4 + 20e6)


def measure_memory():
    """Bytes that the resident set grew by in a backward that had run at a small size before."""
    torch.set_num_threads(1)
    for length in (64, 16384):
        leaves = bench.tanh_stack(length, 16)
        z0, weights, biases = leaves
        states = sequential_forward(DenseStep(), z0, None, (weights, biases), per_layer_params=True)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
        torch.autograd.grad(states, leaves, torch.ones_like(states))
        status = Path("/proc/self/status").read_text()
        peak = 1024 * int(status.split("VmHWM:")[1].split()[0])
    print(peak - resident)


def markdown(rows, single, setting):
    """The README's table."""
    lines = ["| against | L | d | kernel | pure torch |", "|---|---|---|---|---|"]
    for row in rows:
        cells = (f"{row[kind]:.3g} x" for kind in ("kernel", "torch"))
        lines.append(f"| {name_of(row['peer'])} | {row['L']} | {row['d']} | {' | '.join(cells)} |")
    lines += [
        "",
        f"The kernel's time grows {single['growth']:.1f} times from L=4096 to 16384 (d=8); a "
        f"backward at L=16384, d=16 takes {single['memory, kernel']:.2f} of 4 L d² floats plus "
        f"20 MB with the kernel, {single['memory, torch']:.2f} without. {setting}",
    ]
    return lines


def fill(lines):
    """Write the table between the README's markers."""
    begin, end = "<!-- linear: begin -->\n", "<!-- linear: end -->"
    before, rest = README.read_text().split(begin)
    write(README, before + begin + "\n".join(lines) + "\n" + end + rest.split(end)[1])


def races(rows, single, quick):
    """One row a figure, with the bar that it must keep; without, where the sizes were small."""
    found = []

    def add(what, value, **bar):
        found.append({"what": what, "value": value, **({} if quick else bar)})

    for row in rows:
        for kind in ("kernel", "torch"):
            peer, cell = row["peer"], (row["L"], row["d"])
            bar = BARS.get((peer, *cell, kind), BARS.get((peer, kind)))
            if (peer, kind) == ("associative_scan", "torch") and row["L"] > 1024:
                bar = None
            what = f"time of {name_of(peer)} / ours by {kind}, L={row['L']}, d={row['d']}"
            add(what, row[kind], **({} if bar is None else {"at_least": bar}))
    for name, value in single.items():
        add(SINGLE[name], value, at_most=BARS[name.split(",")[0],])
    return found


def name_of(peer):
    """How a table calls a race."""
    return NAMES.get(peer, f"solve of {peer}")


def missed_bars(races):
    """One line for every bar that was not reached."""
    missed = []
    for race in races:
        value, least, most = race["value"], race.get("at_least"), race.get("at_most")
        if least is not None and not value >= least:
            missed.append(f"{race['what']}: {value:.4g}, at least {least:.4g} is claimed")
        if most is not None and not value <= most:
            missed.append(f"{race['what']}: {value:.4g}, at most {most:.4g} is claimed")
    return missed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes: that everything runs")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--readme", action="store_true", help="fill the README's table")
    parser.add_argument("--measure-memory", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure_memory:
        return measure_memory()
    torch.set_num_threads(1)
    rounds = 2 if options.quick else options.rounds
    rows = solve_rows(DENSE[:1] if options.quick else DENSE, rounds)
    for length, width in [(256, 8)] if options.quick else STACKS:
        rows.append(stack_row(length, width, min(rounds, 5)))
    for length in (256,) if options.quick else (1024, 4096):
        rows.append(rnn_row(length, 8, min(rounds, 5)))
    single = {"growth": growth(rounds)}
    single |= {f"memory, {kind}": memory(kind) for kind in ("kernel", "torch")}
    raced = [name for name in ("pararnn-torch",) if any(row["peer"] == name for row in rows)]
    versions = {name: metadata.version(name) for name in ("deeppcr", "torch", *raced)}
    named = ", ".join(f"{name} {version.split('+')[0]}" for name, version in versions.items())
    setting = f"Medians, one thread, {platform.machine()}; {named}."
    found = races(rows, single, options.quick)
    lines = markdown(rows, single, setting)
    print("\n".join(lines))
    if options.json:
        report = {"threads": 1, "versions": versions, "races": found, "rows": rows}
        write(options.json, json.dumps(report | {"single": single}, indent=2))
    if options.readme:
        fill(lines)
    missed = missed_bars(found)
    for line in missed:
        print(f"bar missed: {line}", file=sys.stderr)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())

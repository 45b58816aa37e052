"""What `method="auto"` costs against the plain loop, and what Newton gains where it can.

    python packages/deeppcr/benchmarks/auto.py [--quick] [--json FILE] [--readme]

Every row first checks that both give the same states (bitwise where the loop ran). Times are of
one thread, interleaved, each after an untimed call of its own, so that neither pays for what the
other left behind; a ratio is the median over rounds of loop and ours side by side. A cell above
the bar is raced again, at most twice, and its last race counts: a burst of the machine's does not
come thrice. Loops have their weights unbound; "fewest calls" is one that fuses all it can.
`--readme` writes the summary into the README between its markers. Exit 1 where a bar is missed.
"""

import argparse
import json
import statistics
import sys
import time
from importlib import metadata
from itertools import repeat
from pathlib import Path

import deeppcr as dp
import torch
from deeppcr import bench, kernel
from deeppcr.__main__ import write
from linear import missed_bars, without_kernel

README = Path(__file__).parents[1] / "README.md"
ALLOWANCE = 60e-6  # s, that any call may cost beside the loop
GRID = [(n, d, b) for n in (16, 64, 256, 1024, 4096) for d in (1, 4, 16, 64) for b in (1, 16, 256)]
CHAINS = ("any step", "known derivative", "stack")
LOOPS = (*CHAINS, "stack, fewest calls")  # what Newton races
UNSTABLE = [
    (kind, n, d, gain)
    for kind in CHAINS
    for n in (1024, 4096)
    for d in (1, 4, 8)
    for gain in (1.5, 2.0, 3.0)
]
BARS = {
    (kind, d): bar for kind in ("known derivative", "stack") for d, bar in ((4, 10.0), (8, 5.0))
}
LONG = 4096


def tanh_step(z, x, w):
    return torch.tanh(z @ w.mT + x)


def loop(step, z, rows):
    """The plain loop over ``(x, params)`` of one step after another."""
    states = []
    for x, params in rows:
        z = step(z, x, params)
        states.append(z)
    return torch.stack(states)


def chain(length, width, batch, gain):
    """A tanh recurrence whose matrix has all singular values ``gain``."""
    g = torch.Generator().manual_seed(0)
    w = gain * torch.linalg.qr(torch.randn(width, width, generator=g))[0]
    return torch.zeros(batch, width), 0.1 * torch.randn(length, batch, width, generator=g), w


def race(ours, theirs, rounds):
    """Medians of seconds of theirs and ours, and of ours over theirs."""
    pairs = []
    for _ in range(rounds):
        seconds = []
        for run in (theirs, ours):
            run()
            start = time.thread_time()
            run()
            seconds.append(time.thread_time() - start)
        pairs.append(seconds)
    base = statistics.median(p[0] for p in pairs)
    return base, statistics.median(p[1] for p in pairs), statistics.median(b / a for a, b in pairs)


def contenders(kind, length, width, batch, gain, options):
    """The plain loop and ours on one chain; a step of its own in every layer of a stack."""
    if kind.startswith("stack"):
        g = torch.Generator().manual_seed(0)
        weights = gain * torch.linalg.qr(torch.randn(length, width, width, generator=g))[0]
        biases = 0.1 * torch.randn(length, width, generator=g)
        z0, layers = torch.randn(width, generator=g), (weights, biases)
        step, args = dp.DenseStep(), (z0, None, layers)

        def theirs():
            if kind != "stack":
                return bench.unbound_loop(z0, *layers)
            return loop(step, z0, zip(repeat(None), zip(*map(torch.unbind, layers), strict=True)))

        options = {"per_layer_params": True, **options}
    else:
        args = z0, xs, w = chain(length, width, batch, gain)
        step = tanh_step if kind == "any step" else dp.DenseStep()

        def theirs():
            return loop(step, z0, zip(xs.unbind(0), repeat(w)))

    return theirs, lambda: dp.parallel_forward(step, *args, **options)


def row(kind, length, width, batch, gain, **options):
    """One race of `parallel_forward` against the loop."""
    theirs, ours = contenders(kind, length, width, batch, gain, options)
    run, want = ours(), theirs()
    report, error = run.report, float((run.states - want).abs().max())
    if not (torch.equal(run.states, want) if report.fell_back else error < 1e-3):
        raise SystemExit(f"states differ by {error}: {kind}, L={length}, d={width}, batch={batch}")
    del run, want
    rounds = {16: 101, 64: 51, 256: 31, 1024: 15}.get(length, 7)
    loop_seconds, seconds, ratio = race(ours, theirs, rounds)
    return {
        "kind": kind, "L": length, "d": width, "batch": batch, "gain": gain,
        "loop": loop_seconds, "ours": seconds, "ratio": ratio, "speedup": 1 / ratio,
        "method": report.method, "reason": report.reason, "iterations": report.iterations,
    }  # fmt: skip


def excess(r):
    """Seconds beyond 1.15 times the loop."""
    return r["ours"] - 1.15 * r["loop"]


def until_allowed(cell):
    """The row of a cell of the grid, of its first race within the bar or its third."""
    for _ in range(3):
        r = row("any step", *cell, 0.9)
        if excess(r) <= ALLOWANCE:
            break
    return r


def summary(auto, unstable, forward):
    """The README's table, as lines."""
    long = [r["ratio"] for r in auto if r["L"] >= 256]
    worst = max(auto, key=excess)
    beyond = max(1e6 * excess(worst), 0)
    lines = [
        "| what | cells | time over the loop's |",
        "|---|---|---|",
        f"| `auto`, gain 0.9, all L | {len(auto)} "
        f"| at most 1.15 plus {beyond:.0f} microseconds (bar: 60) |",
        f"| `auto`, gain 0.9, L from 256 on | {len(long)} | {min(long):.2f} to {max(long):.2f} |",
    ]
    for kind in CHAINS:
        ratios = [r["ratio"] for r in unstable if r["kind"] == kind]
        cells = f"| `auto`, gain 1.5 to 3, the loop's bits, {kind} | {len(ratios)} "
        lines.append(f"{cells}| at most {max(ratios):.2f} (bar: 1.4) |")
    for r in forward:
        with_kernel = "" if r["kernel"] else ", pure torch"
        cell = f"Newton to 1e-4, {r['kind']}{with_kernel}, L={r['L']}, d={r['d']}"
        lines.append(f"| {cell} | 1 | 1/{r['speedup']:.1f}, {r['iterations']} iterations |")
    return lines


def races(auto, unstable, forward, quick):
    """One row a figure, with the bar that it must keep; without, where the sizes were small."""
    left = sum(r["method"] != "sequential" for r in unstable)
    rows = [
        {
            "what": "microseconds of `auto` beyond 1.15 times the loop, worst cell of the grid",
            "value": max(1e6 * excess(max(auto, key=excess)), 0),
            "at_most": 1e6 * ALLOWANCE,
        },
        {"what": "unstable chains on which `auto` left the loop", "value": left, "at_most": 0},
    ]
    for kind in CHAINS:
        value = max(r["ratio"] for r in unstable if r["kind"] == kind)
        what = f"time of `auto` / the loop, gain 1.5 to 3, {kind}, worst cell"
        rows.append({"what": what, "value": value, "at_most": 1.4})
    for r in forward:
        how = "kernel" if r["kernel"] else "pure torch"
        what = f"time of the loop / Newton to 1e-4 by {how}, {r['kind']}, L={r['L']}, d={r['d']}"
        bar = BARS.get((r["kind"], r["d"])) if r["kernel"] else None
        rows.append({"what": what, "value": r["speedup"]} | ({"at_least": bar} if bar else {}))
    return [{k: row[k] for k in ("what", "value")} for row in rows] if quick else rows


def fill(lines):
    """Writes the table between the README's markers."""
    text = README.read_text()
    begin, end = "<!-- auto: begin -->\n", "<!-- auto: end -->"
    before, rest = text.split(begin)
    write(README, before + begin + "\n".join(lines) + "\n" + end + rest.split(end)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="L up to 1024, batch up to 16")
    parser.add_argument("--json", type=Path, help="write all rows to this file")
    parser.add_argument("--readme", action="store_true", help="fill the README's table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    grid = [c for c in GRID if not options.quick or (c[0] <= 1024 and c[2] <= 16)]
    solver = dp.Newton(atol=1e-4, rtol=1e-4)
    newton = {"method": "newton", "solver": solver}
    forward = []
    with torch.no_grad():
        auto = [until_allowed(cell) for cell in grid]
        unstable = [row(kind, n, d, 1, gain) for kind, n, d, gain in UNSTABLE]
        for width in (4, 8):
            for kind in LOOPS:
                r = row(kind, LONG, width, 1, 0.9, **newton)
                forward.append({**r, "kernel": kernel.library() is not None})
                with without_kernel():
                    r = row(kind, LONG, width, 1, 0.9, **newton)
                forward.append({**r, "kernel": False})
    for r in (*auto, *unstable, *forward):
        cells = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in r.items())
        print("  ".join(cells))
    worst = max(auto, key=excess)
    print(f"worst cell: L {worst['L']}, d {worst['d']}, batch {worst['batch']}, {worst['method']}")
    found = races(auto, unstable, forward, options.quick)
    lines = summary(auto, unstable, forward)
    print("\n".join(lines))
    print(f"torch {torch.__version__}, one thread, kernel {kernel.library() is not None}")
    if options.json:
        versions = {name: metadata.version(name) for name in ("deeppcr", "torch")}
        report = {"threads": 1, "versions": versions, "races": found}
        report |= {"auto": auto, "unstable": unstable, "forward": forward}
        write(options.json, json.dumps(report, indent=2))
    if options.readme:
        fill(lines)
    missed = missed_bars(found)
    for line in missed:
        print(f"bar missed: {line}", file=sys.stderr)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())

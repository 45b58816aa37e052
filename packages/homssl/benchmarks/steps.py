"""What a step costs: A-SSL against H-SSL, a group convolution against a plain one and e2cnn's.

`python packages/homssl/benchmarks/steps.py` checks first that both losses are one number and that
e2cnn's layer computes what ours does, then races them in turns in one process, by process time,
and prints a table of ratios. `--readme` writes that table into the package's README.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from homssl import ASSL, HSSL, Cyclic, GroupConv2d, group_convnet, step_seconds
from torch import nn

README = Path(__file__).parents[1] / "README.md"
LAYERS = ((16, 32, 16), (32, 32, 14), (64, 16, 8))  # fields, batch, side
VIEWS = (2, 4)
BARS = {
    "A-SSL / H-SSL, 2 views": {"at_least": 1.7},
    "A-SSL / H-SSL, 4 views": {"at_least": 3.2},
    "GroupConv2d / Conv2d": {"at_most": 1.10},
    "GroupConv2d / e2cnn": {"at_most": 1.15},
}


def steps(turns: int) -> dict[str, float]:
    """The time of an A-SSL step over that of an H-SSL step, by the number of views."""
    group, x, ratios = Cyclic(4), torch.randn(64, 1, 28, 28), {}
    torch.manual_seed(0)
    encoder = group_convnet(group)
    for views in VIEWS:
        h, a = HSSL(encoder, group, views=views), ASSL(encoder, group, views=views)
        out = h(x, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(a(x, elements=out.elements).loss, out.loss, atol=1e-5, rtol=0)
        taken = step_seconds({"h": h, "a": a}, x, turns=turns)
        ratios[f"A-SSL / H-SSL, {views} views"] = taken["a"] / taken["h"]
    return ratios


def peer(layer: GroupConv2d) -> tuple[nn.Module, Callable[[torch.Tensor], object]] | None:
    """e2cnn's layer with the weights of ours set to its, and what wraps its input."""
    try:
        from e2cnn import gspaces
        from e2cnn import nn as enn
    except ImportError:
        return None
    plane = gspaces.Rot2dOnR2(4)
    fields = enn.FieldType(plane, layer.in_channels * [plane.regular_repr])
    theirs = enn.R2Conv(fields, fields, layer.kernel_size, padding=layer.padding)
    kernel, bias = theirs.expand_parameters()
    with torch.no_grad():
        c = layer.in_channels
        layer.weight.copy_(kernel.view(c, 4, c, 4, 3, 3)[:, 0])
        layer.bias.copy_(bias.view(c, 4)[:, 0])
    return theirs, lambda z: enn.GeometricTensor(z.flatten(1, 2), fields)


def race(racers: dict[str, Callable[[], object]], turns: int) -> dict[str, float]:
    """Median process time of each, in turns."""
    taken: dict[str, list[float]] = {name: [] for name in racers}
    for turn in range(turns + 1):
        for name, run in racers.items():
            start = time.process_time()
            run()
            if turn:
                taken[name].append(time.process_time() - start)
    return {name: median(times) for name, times in taken.items()}


def layers(turns: int) -> dict[str, list[float]]:
    """Ratios of one layer's times, for each size: forward and backward, and eval forward."""
    ratios: dict[str, list[float]] = {}
    for fields, batch, side in LAYERS:
        torch.manual_seed(0)
        z = torch.randn(batch, fields, 4, side, side, requires_grad=True)
        layer = GroupConv2d(fields, fields, 3, Cyclic(4))
        plain = nn.Conv2d(4 * fields, 4 * fields, 3, padding=1)
        runs = {
            "ours": lambda layer=layer, z=z: layer(z),
            "plain": lambda plain=plain, z=z: plain(z.flatten(1, 2)),
        }
        modules: dict[str, nn.Module] = {"ours": layer, "plain": plain}
        if (found := peer(layer)) is not None:
            theirs, wrap = found
            modules["e2cnn"] = theirs
            runs["e2cnn"] = lambda theirs=theirs, wrap=wrap, z=z: theirs(wrap(z)).tensor
            torch.testing.assert_close(runs["e2cnn"](), layer(z).flatten(1, 2))

        def both_ways(name: str, runs=runs, modules=modules, z=z) -> None:
            z.grad = None
            modules[name].zero_grad()
            runs[name]().sum().backward()

        @torch.no_grad()
        def forward(name: str, runs=runs) -> None:
            runs[name]()

        both = race({name: lambda name=name: both_ways(name) for name in runs}, turns)
        for module in modules.values():
            module.eval()
        alone = race({name: lambda name=name: forward(name) for name in runs}, turns)
        for name, label in (("plain", "Conv2d"), ("e2cnn", "e2cnn")):
            if name in runs:
                ratios.setdefault(f"GroupConv2d / {label}", []).append(both["ours"] / both[name])
                eval_label = f"GroupConv2d / {label}, eval forward"
                ratios.setdefault(eval_label, []).append(alone["ours"] / alone[name])
    return ratios


def markdown(report: dict) -> str:
    """The table of the README."""
    lines = ["| time of | ratio |", "|---|---|"]
    for name, ratio in report["ratios"].items():
        values = ratio if isinstance(ratio, list) else [ratio]
        lines.append(f"| {name} | {', '.join(f'{value:.2f}' for value in values)} |")
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    sizes = "; ".join(f"{fields} fields, batch {b}, {s}x{s}" for fields, b, s in LAYERS)
    lines += [
        "",
        "Medians in turns in one process, process time, float32, "
        f"{report['threads']} thread(s). A step is forward and backward of a C4 network of widths "
        f"5, 10, 20 on 64 images of 28x28; a layer, forward and backward of 3x3 kernels, of "
        f"{sizes}. {versions}.",
    ]
    return "\n".join(lines)


def races(report: dict) -> list[dict]:
    """One row a figure, with the bar that it must keep; without, after only a few turns."""
    rows = []
    for name, ratio in report["ratios"].items():
        many = isinstance(ratio, list)
        for size, value in zip(LAYERS, ratio, strict=False) if many else [((), ratio)]:
            what = f"{name}, {size[0]} fields" if size else name
            row = {"what": f"time of {what}", "value": value}
            rows.append(row if report["quick"] else row | BARS.get(name, {}))
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


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="few turns: does it run at all")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--readme", action="store_true", help="write the table into the README")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")  # the peer is of 2023
    turns = 3 if arguments.quick else 25
    packages = ["homssl", "torch"]
    with_peer = importlib.util.find_spec("e2cnn") is not None
    if with_peer:
        packages.append("e2cnn")
    else:
        print("e2cnn is not installed: no race against it", file=sys.stderr)
    report = {
        "threads": arguments.threads,
        "quick": arguments.quick,
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in packages},
        "ratios": {**steps(turns), **layers(turns)},
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

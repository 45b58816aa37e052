"""Targets against quadrature, a step against SimCLR's and ESSL's, views against kornia's.

`python packages/duet/benchmarks/race.py` checks first that both sides compute the same, then races
them in turns in one process, by process time, and prints a table of ratios. `--readme` writes that
table into the package's README.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import math
import os
import platform
import re
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
from duet import (
    ParamView,
    gaussian_target,
    rotation,
    scale,
    transform,
    von_mises_target,
)
from duet.baselines import ESSL, SimCLR
from duet.encoders import ConvNet, ProjectionHead
from duet.kornia import read_kornia
from duet.model import Duet
from duet.views import disc
from torch import Tensor, nn

README = Path(__file__).parents[1] / "README.md"
RATIO_OF = {
    "targets, von Mises": "quadrature / ours",
    "targets, Gaussian": "quadrature / ours",
    "step": "DUET / SimCLR",
    "step, ESSL": "ESSL / DUET",
    "views": "kornia / ours",
}
BARS = {
    "targets, von Mises": (10.0, None),
    "targets, Gaussian": (10.0, None),
    "step": (None, 1.03),
    "step, ESSL": (1.0, None),
    "views": (1.5, None),
}


def race(racers: dict[str, Callable[[], object]], turns: int, each: int = 1) -> dict[str, float]:
    """Median process time of each, in turns, every other turn backwards."""
    taken: dict[str, list[float]] = {name: [] for name in racers}
    for turn in range(turns + 2):
        for name, run in list(racers.items())[:: -1 if turn % 2 else 1]:
            start = time.process_time()
            for _ in range(each):
                run()
            if turn > 1:
                taken[name].append(time.process_time() - start)
    return {name: median(times) for name, times in taken.items()}


def quadrature(p: Tensor, density: Callable[[Tensor], torch.distributions.Distribution],
               length: float, bins: int, points: int = 100) -> Tensor:  # fmt: skip
    """As the paper's code: a density on 100 points a bin, both ends included, summed by bins."""
    grid = torch.linspace(0, length, bins * points, dtype=p.dtype)
    mass = density(length * p.unsqueeze(1)).log_prob(grid).exp().view(len(p), bins, points).sum(2)
    return mass / mass.sum(1, keepdim=True)


def targets(turns: int, batch: int = 1024, bins: int = 8) -> dict[str, float]:
    """The time of the paper's code over that of the closed form."""
    p = torch.rand(batch, generator=torch.Generator().manual_seed(0))

    def normal(mean: Tensor) -> torch.distributions.Distribution:
        return torch.distributions.Normal(mean, 0.2)

    def mises(mean: Tensor) -> torch.distributions.Distribution:
        return torch.distributions.VonMises(mean, torch.tensor(3.0, dtype=mean.dtype))

    ratios, pairs = {}, {
        "targets, von Mises": (lambda: quadrature(p, mises, 2 * math.pi, bins),
                               lambda: von_mises_target(p, bins, 3.0)),
        "targets, Gaussian": (lambda: quadrature(p, normal, 1.0, bins),
                              lambda: gaussian_target(p, bins, 0.2)),
    }  # fmt: skip
    for name, (theirs, ours) in pairs.items():
        torch.testing.assert_close(theirs(), ours(), atol=4e-3, rtol=0)
        taken = race({"theirs": theirs, "ours": ours}, turns, each=5)
        ratios[name] = taken["theirs"] / taken["ours"]
    return ratios


def steps(turns: int, batch: int = 128) -> dict[str, float]:
    """A training step of DUET over one of SimCLR, and one of ESSL over one of DUET."""
    images = torch.rand(batch, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    view = ParamView([scale(), rotation()])
    same_with_one_bin(images, view)

    def encoder() -> ConvNet:
        return ConvNet(3, features=256)

    models = {
        "simclr": SimCLR(encoder(), view),
        "duet": Duet(encoder(), [rotation(bins=8)], view=view),
        "essl": ESSL(encoder(), view),
    }
    draws = torch.Generator().manual_seed(0)

    def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        model.step(images, generator=draws).loss.backward()
        optimizer.step()

    racers = {
        name: partial(step, model, torch.optim.AdamW(model.parameters()))
        for name, model in models.items()
    }
    taken = race(racers, turns)
    return {"step": taken["duet"] / taken["simclr"], "step, ESSL": taken["essl"] / taken["duet"]}


def same_with_one_bin(images: Tensor, view: ParamView) -> None:
    """With one bin, DUET is SimCLR: the same loss from the same weights."""
    torch.manual_seed(0)
    encoder, head = ConvNet(3, features=64), ProjectionHead(64)
    turn = rotation(bins=1)
    one = ParamView([scale(), turn])
    ours = Duet(encoder, [turn], view=one, head=head)
    losses = [
        model.step(images, generator=torch.Generator().manual_seed(0)).loss
        for model in (ours, SimCLR(encoder, view, head=head))
    ]
    if not losses[0].equal(losses[1]):
        raise SystemExit(f"one bin gives {losses[0].item()}, SimCLR {losses[1].item()}")


def views(turns: int) -> dict[str, float]:
    """Rotation and resized crop by kornia over ours in one, on 256 images of 3 x 32 x 32."""
    try:
        import kornia.augmentation as K
    except ImportError:
        return {}
    factors, ratio = [scale(), rotation()], (3 / 4, 4 / 3)
    both = K.AugmentationSequential(
        K.RandomResizedCrop((32, 32), scale=(0.2, 1.0), align_corners=False),
        K.RandomRotation(180.0, p=1.0, align_corners=False),
        data_keys=["input"],
    )
    smooth = torch.rand(64, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    smooth = nn.functional.interpolate(smooth, size=(32, 32), mode="bicubic").clamp(0, 1)
    theirs = both(smooth)
    ours = ParamView(factors, ratio=ratio).apply(smooth, read_kornia(both._params, factors))
    inside = disc((26, 26), smooth)  # in kornia's the rim mixes with what is outside
    error = ((theirs - ours)[:, :, 3:-3, 3:-3].abs() * inside).mean().item()
    turned = ((theirs - transform(ours, factors[1], 0.6))[:, :, 3:-3, 3:-3].abs() * inside).mean()
    print(f"views: both differ by {error:.4f} on average, turned by 36 degrees by {turned:.4f}")
    if error > 4e-3 or turned < 5 * error:
        raise SystemExit("kornia and this package do not compute the same view")
    x = torch.rand(256, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    view, draws = ParamView(factors, ratio=ratio), torch.Generator().manual_seed(0)
    pair = nn.Sequential(
        K.RandomResizedCrop((32, 32), scale=(0.2, 1.0)), K.RandomRotation(180.0, p=1.0)
    )
    taken = race({"theirs": lambda: pair(x), "ours": lambda: view(x, draws)}, turns)
    return {"views": taken["theirs"] / taken["ours"]}


def markdown(report: dict) -> str:
    """The table of the README."""
    lines = ["| what | times | ratio |", "|---|---|---|"]
    for name, ratio in report["ratios"].items():
        lines.append(f"| {name.split(', ESSL')[0]} | {RATIO_OF[name]} | {ratio:.2f} |")
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    lines += [
        "",
        f"Medians in turns in one process, process time, float32, {report['threads']} thread(s). "
        "Targets: 1,024 parameters, 8 bins, against 100 points a bin. A step: views, forward, "
        "backward and AdamW on 128 images of 3x32x32, the same four-layer encoder of 256 "
        "features; what DUET projects is an eighth as wide. Views: crop and "
        "rotation of 256 images of 3x32x32. "
        f"{versions}.",
    ]
    return "\n".join(lines)


def races(report: dict, *, bars: bool) -> list[dict]:
    """One row a figure, with the bar that it must keep; without, after only a few turns."""
    rows = []
    for name, value in report["ratios"].items():
        least, most = BARS.get(name, (None, None)) if bars else (None, None)
        ends = {"at_least": least, "at_most": most}
        row = {"what": f"{name}: {RATIO_OF[name]}", "value": value}
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
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="few turns: does it run at all")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--readme", action="store_true", help="write the table into the README")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")  # of the peer
    packages = ["duet", "torch"]
    if importlib.util.find_spec("kornia") is not None:
        packages.append("kornia")
    else:
        print("kornia is not installed: no race against it", file=sys.stderr)
    few = arguments.quick
    report = {
        "threads": arguments.threads,
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in packages},
        "ratios": {
            **targets(3 if few else 50),
            **steps(3 if few else 60),
            **views(3 if few else 40),
        },
    }
    table = markdown(report)
    print(table)
    report["races"] = races(report, bars=not few)
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

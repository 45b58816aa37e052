"""Batches against torchvision, timm and kornia: the same images, two operations, magnitude 9.

`python packages/randaug-study/benchmarks/augment.py` checks what each computes, then races them in
turns in one process, uint8 in and out. `--readme` writes the table of the README.
"""

import argparse
import importlib.metadata
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

import numpy as np
import torch
import torchvision.transforms as v1
from PIL import Image
from randaug_study import RandAugment
from timm.data.auto_augment import rand_augment_transform
from torch import Tensor
from torchvision.transforms import v2

README = Path(__file__).parents[1] / "README.md"
ONE_BY_ONE, TIMM, KORNIA = "torchvision v2, tensors", "timm, PIL", "kornia, batch of floats"
PIL_PATHS = ("torchvision v1, PIL", "torchvision v2, PIL", TIMM)
BARS = {ONE_BY_ONE: 12.0, TIMM: 5.0, KORNIA: 1.5}


def natural(batch: int, size: int) -> Tensor:
    """Smooth random images with some noise, uint8 ``(batch, 3, size, size)``."""
    g = torch.Generator().manual_seed(0)
    coarse = torch.rand(batch, 3, 5, 5, generator=g)
    fine = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
    noise = 0.02 * torch.randn(batch, 3, size, size, generator=g)
    return ((fine + noise).clamp(0, 1) * 255).to(torch.uint8)


def peers(x: Tensor) -> dict[str, Callable[[], object]]:
    """A batch by each peer, as tensors of uint8; PIL's images are at hand, which favours them."""
    import kornia.augmentation as kornia

    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in x]
    names = (ONE_BY_ONE, "torchvision v1, PIL", "torchvision v2, PIL", TIMM)
    transforms = (
        v2.RandAugment(), v1.RandAugment(), v2.RandAugment(),
        rand_augment_transform("rand-m9-n2-p1-inc1", {}),
    )  # fmt: skip

    def by_pil(transform: Callable) -> Callable[[], Tensor]:
        def run() -> Tensor:
            done = [np.asarray(transform(picture)) for picture in pictures]
            return torch.from_numpy(np.stack(done)).permute(0, 3, 1, 2)

        return run

    racers = {name: by_pil(t) for name, t in zip(names[1:], transforms[1:], strict=True)}
    tensors, whole = transforms[0], kornia.auto.RandAugment(n=2, m=9)
    racers[ONE_BY_ONE] = lambda: torch.stack([tensors(image) for image in x])
    racers[KORNIA] = lambda: (whole(x.float() / 255) * 255).round().to(torch.uint8)
    return racers


def same(x: Tensor) -> dict[str, float]:
    """The share of grey levels that are ours, with our plan: torchvision on tensors, and on PIL."""
    aug, theirs = RandAugment(), v2.RandAugment()
    plan = aug.sample(len(x), key=0)
    ours = aug.apply(x, plan)
    if not torch.equal(RandAugment(backend="opencv").apply(x, plan), ours):
        raise SystemExit("the backends differ")
    height, width = x.shape[2:]
    equal = {}
    for kind in ("tensors", "PIL"):
        done = []
        for i, image in enumerate(x):
            picture = (
                image if kind == "tensors" else Image.fromarray(image.permute(1, 2, 0).numpy())
            )
            for step in range(plan.steps):
                op, bin = plan.names[i][step], int(plan.bin[i, step])
                values = aug.space.values(op, height, width)
                value = int(plan.sign[i, step]) * values[bin] if values else 0.0
                picture = theirs._apply_image_or_video_transform(
                    picture, op, value, theirs.interpolation, theirs._fill
                )
            done.append(picture if kind == "tensors" else v2.functional.pil_to_tensor(picture))
        equal[kind] = (torch.stack(done) == ours).double().mean().item()
    if equal["tensors"] < 1:
        raise SystemExit(f"torchvision's result is ours in a share of {equal['tensors']} only")
    return equal


def race(racers: dict[str, Callable[[], object]], turns: int) -> dict[str, float]:
    """Median time of each, in turns, every other turn backwards.

    By the clock; of one thread, process time, which other work on the machine disturbs less.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    taken: dict[str, list[float]] = {name: [] for name in racers}
    for turn in range(turns + 1):
        for name, run in list(racers.items())[:: -1 if turn % 2 else 1]:
            start = clock()
            run()
            if turn:
                taken[name].append(clock() - start)
    return {name: median(times) for name, times in taken.items()}


def ours(x: Tensor, backend: str = "torch") -> Callable[[], object]:
    """Our batch, another key each time."""
    aug, step = RandAugment(backend=backend), iter(range(10**9))
    return lambda: aug(x, key=(0, next(step)))


def contests(turns: int) -> dict[str, dict[str, float]]:
    """The ratios, peer over ours, at each size; and how the time grows with the pixels."""
    ratios: dict[str, dict[str, float]] = {}
    for size, batch in ((32, 512), (224, 32)):
        x = natural(batch, size)
        mine = {"torch": ours(x), "opencv": ours(x, "opencv")}
        taken = race(mine | peers(x), turns)
        for backend in mine:
            key = f"{size}, {backend}"
            ratios[key] = {n: t / taken[backend] for n, t in taken.items() if n not in mine}
    taken = race({str(size): ours(natural(32, size)) for size in (112, 224)}, turns)
    ratios["growth"] = {"four times the pixels": taken["224"] / taken["112"] / 4}
    return ratios


def races(ratios: dict[str, dict[str, float]], *, bars: bool) -> list[dict]:
    """One row a figure, with the bar that it must keep; without, after only a few turns."""
    rows = []
    for name, value in ratios["32, torch"].items():
        rows.append({"what": f"32x32, batch 512: {name} / ours", "value": value})
        if name in BARS:
            rows[-1]["at_least"] = BARS[name]
    large = {backend: ratios[f"224, {backend}"] for backend in ("torch", "opencv")}
    best_pil = min(large["torch"][name] for name in PIL_PATHS)
    rows.append({"what": "224x224, batch 32: best PIL path / ours", "value": best_pil})
    rows[-1]["at_least"] = 1.0
    best = min(large["opencv"].values())
    rows.append({"what": "224x224, batch 32: best peer / ours, opencv", "value": best})
    rows[-1]["at_least"] = 3.0
    growth = ratios["growth"]["four times the pixels"]
    rows.append({"what": "time of four times the pixels, over four times the time"})
    rows[-1] |= {"value": growth, "at_most": 1.25}
    if not bars:
        rows = [{"what": row["what"], "value": row["value"]} for row in rows]
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


def markdown(report: dict) -> str:
    """The table of the README."""
    ratios = report["ratios"]
    columns = ("32, torch", "32, opencv", "224, torch", "224, opencv")
    lines = ["| time of theirs / ours | " + " | ".join(columns) + " |", "|---" * 5 + "|"]
    for name in ratios["32, torch"]:
        figures = " | ".join(f"{ratios[column][name]:.1f}" for column in columns)
        lines.append(f"| {name} | {figures} |")
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    lines += [
        "",
        "Medians in turns in one process, "
        f"{'process time' if report['threads'] == 1 else 'by the clock'}, "
        f"{report['threads']} thread(s), N=2, M=9, uint8 in and out: 512 images of 3x32x32, 32 of "
        "3x224x224. torchvision on tensors gives our bytes for our plan; on PIL, "
        f"{report['equal']['PIL']:.1%} of them (it warps from other half pixels). timm and "
        "kornia do a similar job, not the same: timm draws from 15 operations of its own "
        "ranges, kornia from its own list, without replacement, in floats that no step rounds. "
        "Four times the pixels take "
        f"{4 * ratios['growth']['four times the pixels']:.1f} times the time. "
        f"{versions}.",
    ]
    return "\n".join(lines)


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
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="few turns: does it run at all")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--readme", action="store_true", help="write the table into the README")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")  # of the peers
    packages = ("randaug-study", "torch", "torchvision", "timm", "kornia", "pillow")
    packages += ("opencv-python-headless",)
    report = {
        "threads": arguments.threads,
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in packages},
        "equal": same(natural(200, 32)),
        "ratios": contests(2 if arguments.quick else 5),
    }
    table = markdown(report)
    print(table)
    report["races"] = races(report["ratios"], bars=not arguments.quick)
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

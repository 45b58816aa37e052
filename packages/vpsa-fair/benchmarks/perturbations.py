"""Perturbing 64 images of 150x150 against imagecorruptions, severity by severity.

`python packages/vpsa-fair/benchmarks/perturbations.py` checks first that both compute the same (to
one grey value; of noise, the moments), then races them in turns in one process, by process time,
and prints a table of ratios; `--readme` writes it into the package's README. At each severity our
time includes hashing the pixels; of all five together, hashing them once, as a sweep does.
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
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from vpsa_fair.draws import pixel_keys
from vpsa_fair.perturb import contrast, gaussian_blur, gaussian_noise, motion_blur
from vpsa_fair.perturbation import Perturbation

README = Path(__file__).parents[1] / "README.md"
IMAGES, SIDE = 64, 150
BAR = 10
RACES: dict[str, tuple[Perturbation, tuple[float, ...], float | None]] = {
    "gaussian_blur": (gaussian_blur(), (1, 2, 3, 4, 6), BAR),
    "gaussian_noise": (
        gaussian_noise(),
        tuple(255 * s for s in (0.08, 0.12, 0.18, 0.26, 0.38)),
        BAR,
    ),
    "contrast": (contrast("down"), (0.6, 0.7, 0.8, 0.9, 0.95), BAR),
    "motion_blur": (motion_blur(), (10, 15, 15, 15, 20), None),  # other kernels: no check, no bar
}


def pictures(count: int = IMAGES, seed: int = 0) -> np.ndarray:
    """Images with structure at many scales, as photographs have."""
    rng = np.random.default_rng(seed)
    field = rng.normal(size=(count, SIDE, SIDE, 3)).cumsum(1).cumsum(2)
    low, high = field.min((1, 2, 3), keepdims=True), field.max((1, 2, 3), keepdims=True)
    return np.rint((field - low) / (high - low) * 255).astype(np.uint8)


def peer() -> Callable[[np.ndarray, str, int], np.ndarray] | None:
    """Imagecorruptions' function, its calls adapted to today's scikit-image and setuptools."""
    if importlib.util.find_spec("imagecorruptions") is None:
        return None
    if importlib.util.find_spec("pkg_resources") is None:
        stand_in = types.ModuleType("pkg_resources")
        stand_in.resource_filename = lambda _, name: name  # only its frost needs the answer
        sys.modules["pkg_resources"] = stand_in
    from imagecorruptions import corrupt, corruptions

    blur = corruptions.gaussian

    def gaussian(image: np.ndarray, **options: object) -> np.ndarray:
        if options.pop("multichannel", False):
            options["channel_axis"] = -1
        return blur(image, **options)

    corruptions.gaussian = gaussian
    return lambda image, name, severity: corrupt(image, severity=severity, corruption_name=name)


def check(name: str, ours: np.ndarray, theirs: np.ndarray, clean: np.ndarray) -> None:
    """Raise unless both computed the same."""
    if name == "motion_blur":
        return
    if name == "gaussian_noise":
        inside = np.abs(clean.astype(int) - 127) < 20
        for moment in (np.mean, np.std):
            got, want = (moment(x[inside].astype(float) - clean[inside]) for x in (ours, theirs))
            np.testing.assert_allclose(got, want, atol=1.0)  # theirs cuts where ours rounds
        return
    off = np.abs(ours.astype(int) - theirs)
    if off.max() > 1:
        raise SystemExit(f"{name}: both differ by {off.max()} grey values")


def cpu(run: Callable[[], object]) -> float:
    """Process time of one call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def race(turns: int, count: int) -> dict[str, list[float]]:
    """For each perturbation, the peer's time over ours: five severities, then their sums."""
    corrupt = peer()
    if corrupt is None:
        raise SystemExit("imagecorruptions is not installed: see the bench group")
    images, ratios = pictures(count), {}
    keys = pixel_keys(images)
    for name, (one, levels, _) in RACES.items():
        medians = []
        for severity, level in enumerate(levels, start=1):

            def theirs(name: str = name, severity: int = severity) -> np.ndarray:
                return np.stack([corrupt(image, name, severity) for image in images])

            def ours(one: Perturbation = one, level: float = level) -> np.ndarray:
                return one(images, level)

            check(name, ours(), theirs(), images)

            def keyed(one: Perturbation = one, level: float = level) -> np.ndarray:
                return one(images, level, keys=keys)

            taken = [(cpu(theirs), cpu(ours), cpu(keyed)) for _ in range(turns)]
            medians.append([median(column) for column in zip(*taken, strict=True)])
        hashing = median(cpu(lambda: pixel_keys(images)) for _ in range(turns))
        peers, _, own = (sum(column) for column in zip(*medians, strict=True))
        ratios[name] = [*(theirs / ours for theirs, ours, _ in medians), peers / (own + hashing)]
    return ratios


def markdown(report: dict) -> str:
    """A table for people."""
    head = "| imagecorruptions' time / ours | severity 1 | 2 | 3 | 4 | 5 | all |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for name, ratios in report["ratios"].items():
        lines.append(f"| {name} | {' | '.join(f'{ratio:.0f}x' for ratio in ratios)} |")
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    lines += [
        "",
        f"{report['images']} images of {SIDE}x{SIDE}, process time in one process, one thread, "
        f"medians in turns; at each severity ours hashes the pixels, for all it hashes them once, "
        f"as a sweep does. Motion blur: the same lengths, other kernels. {versions}.",
    ]
    return "\n".join(lines)


def races(report: dict, *, bars: bool) -> list[dict]:
    """One row a perturbation, all severities together, with the bar that it must keep."""
    rows = []
    for name, ratios in report["ratios"].items():
        bar = {"at_least": RACES[name][2]} if bars and RACES[name][2] is not None else {}
        rows.append({"what": f"{name}, imagecorruptions / ours", "value": ratios[-1]} | bar)
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
    marked = re.compile(r"(<!-- perturbations -->\n).*?(<!-- /perturbations -->)", re.DOTALL)
    if not marked.search(text):
        raise SystemExit(f"{README} has no <!-- perturbations --> markers")
    new = README.with_suffix(".new")
    new.write_text(marked.sub(lambda m: m[1] + "\n" + table + "\n\n" + m[2], text))
    os.replace(new, README)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few turns and images: does it run")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--readme", action="store_true", help="write the table into the README")
    arguments = parser.parse_args(argv)
    warnings.simplefilter("ignore")  # the peer is of 2020
    count, turns = (8, 1) if arguments.quick else (IMAGES, 7)
    packages = ["numpy", "imagecorruptions", "scikit-image", "pillow"]
    report = {
        "images": count,
        "ratios": race(turns, count),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in packages},
    }
    table = markdown(report)
    print(table)
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
    sys.exit(main())

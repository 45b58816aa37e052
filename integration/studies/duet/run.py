"""The study behind duet's station: pose, classes, controlled generation, masks, two factors.

Run it, and read `report.py`:

    uv run --package tenfold --group study python integration/studies/duet/run.py --jobs 2
"""

from pathlib import Path
from typing import Any

import torch
from tenfold.data.images import Split, fashion_mnist
from tenfold.data.photos import photo_crops
from tenfold.duet_runs import (
    LAMBDA,
    NOISE,
    Recipe,
    decoder_of,
    generation,
    hidden,
    made,
    pixels,
    probes,
    read_both,
    read_relative,
    readouts,
    train,
    transfer,
    two_factors,
)
from tenfold.study import Task, journal_of, run_tasks, study_parser

HERE = Path(__file__).parent
KINDS = ("duet", "simclr", "essl", "untrained")
WEAKER = (5.0, 50.0)  # lambdas beside the main one
FACTORS = ((LAMBDA, LAMBDA), (LAMBDA, 0.0), (0.0, LAMBDA))  # of rotation and mirror image
DONE = {  # seeds of each part that was run; the rest is in "whole"
    "duet": 3, "simclr": 3, "essl": 2, "untrained": 1, "noise": 1, "mask": 0, "factors": 1,
    "relative": 1, "lambda": 0, "colour": 0,
}  # fmt: skip
LONG: dict[str, Any] = {"train": 8000, "steps": 700, "decoder_steps": 420, "batch": 128}
SIZES: dict[str, dict[str, Any]] = {
    "full": LONG | {"seeds": DONE},
    "whole": LONG | {"seeds": dict.fromkeys(DONE, 3)},
    "smoke": {"train": 160, "steps": 4, "decoder_steps": 3, "batch": 32,
              "seeds": dict.fromkeys(DONE, 1)},
}  # fmt: skip


def execute(task: Task) -> dict[str, Any]:
    """Train one network, and measure it."""
    torch.set_num_threads(1)
    return PARTS[task["part"]](task, fashion_mnist(task["train"]))


def recipe_of(task: Task) -> Recipe:
    """How long a task trains."""
    return Recipe(task["steps"], task["decoder_steps"], task["batch"])


def compared(task: Task, split: Split) -> dict[str, Any]:
    """One method: pose, classes, generation, transfer."""
    method, images = made(task["kind"], task["seed"], weights=task["weight"]), pixels(split.train)
    found: dict[str, Any] = {"terms": {}}
    if task["kind"] != "untrained":
        found["terms"] = train(method, images, recipe_of(task), task["seed"])
    method.eval()
    found |= readouts(method, split) | probes(method, split)
    decoder = decoder_of(method, images, recipe_of(task), task["seed"], noise=0.0)
    found["generation"] = generation(method, decoder, split)
    return found | {
        "transfer": transfer(method, train=len(split.train) // 2, test=len(split.train) // 8)
    }


def noisy(task: Task, split: Split) -> dict[str, Any]:
    """DUET again, and a decoder that learned from features with noise on them."""
    method, images = made("duet", task["seed"]), pixels(split.train)
    found: dict[str, Any] = {"terms": train(method, images, recipe_of(task), task["seed"])}
    found |= readouts(method, split)
    decoder = decoder_of(method, images, recipe_of(task), task["seed"], noise=task["noise"])
    return found | {"generation": generation(method, decoder, split)}


def masked(task: Task, split: Split) -> dict[str, Any]:
    """DUET trained on discs: what it reads of discs, where corners say nothing."""
    method = made("duet", task["seed"], mask=True)
    found: dict[str, Any] = {
        "terms": train(method, pixels(split.train), recipe_of(task), task["seed"])
    }
    return found | readouts(method, split) | probes(method, split)


def both(task: Task, split: Split) -> dict[str, Any]:
    """DUET with two factors, each with a lambda of its own."""
    factors = two_factors()
    weights = dict(zip([factor.name for factor in factors], task["weights"], strict=True))
    method = made("duet", task["seed"], factors=factors, weights=weights)
    terms = train(method, pixels(split.train), recipe_of(task), task["seed"])
    return {"terms": terms} | read_both(method, split)


def relative(task: Task, split: Split) -> dict[str, Any]:
    """DUET on images that were turned by an angle that nobody knows."""
    method = made("duet", task["seed"], relative=task["relative"])
    images, test = hidden(pixels(split.train), 1), hidden(pixels(split.test), 2)
    terms = train(method, images, recipe_of(task), task["seed"])
    return {"terms": terms} | read_relative(method, test)


def coloured(task: Task, split: Split) -> dict[str, Any]:
    """A method trained on the colour crops themselves."""
    crops = photo_crops(len(split.train))
    method = made(task["kind"], task["seed"], channels=3)
    found: dict[str, Any] = {"terms": {}}
    if task["kind"] != "untrained":
        found["terms"] = train(method, pixels(crops.train), recipe_of(task), task["seed"])
    method.eval()
    return found | {
        "transfer": transfer(method, train=len(split.train) // 2, test=len(split.train) // 8)
    }


PARTS = {
    "methods": compared,
    "noise": noisy,
    "lambda": compared,
    "mask": masked,
    "factors": both,
    "relative": relative,
    "colour": coloured,
}


def tasks(size: dict[str, Any]) -> list[Task]:
    """Every run, the telling part first."""
    listed: list[Task] = []

    def add(part: str, seeds: int, **task: Any) -> None:
        listed.extend({"part": part, "seed": seed} | task for seed in range(seeds))

    seeds = size["seeds"]
    for kind in KINDS:
        add("methods", seeds[kind], kind=kind, weight=LAMBDA)
    add("noise", seeds["noise"], noise=NOISE)
    add("mask", seeds["mask"])
    for pair in FACTORS:
        add("factors", seeds["factors"], weights=list(pair))
    for known in (True, False):
        add("relative", seeds["relative"], relative=known)
    for weight in WEAKER:
        add("lambda", seeds["lambda"], kind="duet", weight=weight)
    for kind in ("duet", "simclr", "untrained"):
        add("colour", seeds["colour"], kind=kind)
    same = {name: size[name] for name in ("train", "steps", "decoder_steps", "batch")}
    return [task | same for task in listed]


def main() -> None:
    """Fill the journal."""
    parser = study_parser(__doc__ or "", takes="an hour")
    parser.add_argument("--whole", action="store_true", help="three seeds of every part")
    args = parser.parse_args()
    size = SIZES["smoke" if args.smoke else "whole" if args.whole else "full"]
    run_tasks(tasks(size), execute, journal_of(args, HERE), jobs=args.jobs)


if __name__ == "__main__":
    main()

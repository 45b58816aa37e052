"""The study behind homssl's station: structure removed, base size, topographic distance.

Run it, and read `report.py`:

    uv run --package tenfold --group study python integration/studies/homssl/run.py --jobs 2
"""

from pathlib import Path
from typing import Any

import torch
from tenfold.data.images import Split, fashion_mnist
from tenfold.fiber_runs import (
    ARMS,
    GALLERY,
    Arm,
    Framework,
    class_probes,
    fit_framework,
    framework_of,
    pooled_probe,
    reach,
    retrieve,
    shift_framework,
)
from tenfold.probes import Accuracy
from tenfold.study import Task, journal_of, run_tasks, study_parser
from tenfold.training import Schedule

HERE = Path(__file__).parent
BATCH, LR, SEEDS = 96, 3e-3, 3
OFFSETS, BASES = (1, 2, 3, 5, 7), (1, 2, 4, 8)  # cells
SIZES: dict[str, dict[str, Any]] = {
    "full": {"train": 8000, "seeds": SEEDS, "epochs": {"failure": 2, "turns": 1, "shifts": 2}},
    "smoke": {"train": 192, "seeds": 1, "epochs": {"failure": 1, "turns": 1, "shifts": 1}},
}


def execute(task: Task) -> dict[str, Any]:
    """Train one network, and measure it before or after."""
    torch.set_num_threads(1)
    split = fashion_mnist(task["train"])
    framework = made(task)
    losses: list[float] = []
    if task["epochs"]:
        schedule = Schedule(task["epochs"], BATCH, LR)
        images = torch.tensor(split.train)
        losses = fit_framework(framework, images, schedule=schedule, seed=task["seed"])
    found: dict[str, Any] = {"loss": [round(x, 5) for x in (losses[:1] + losses[-10:])]}
    return found | (shifts if task["part"] == "shifts" else turns)(framework, split)


def made(task: Task) -> Framework:
    """The framework that a task names, before its training."""
    cell = {name: task[name] for name in ("base_size", "distance")}
    if task["part"] == "shifts":
        return shift_framework(task["loss"], task["seed"], **cell)
    return framework_of(Arm(task["net"], task["loss"]), task["seed"], **cell)


def turns(framework: Framework, split: Split) -> dict[str, Any]:
    """Retrieval over quarter turns, and the classes."""
    found = retrieve(framework, torch.tensor(split.test[:GALLERY]))
    return {
        "turned": {str(angle): counts(share) for angle, share in found.turned.items()},
        "pretext": {str(g): counts(share) for g, share in found.pretext.items()},
        "probes": {name: counts(p) for name, p in class_probes(framework, split).items()},
    }


def shifts(framework: Framework, split: Split) -> dict[str, Any]:
    """Retrieval over shifts along a row, and the classes."""
    found = reach(framework, torch.tensor(split.test[:GALLERY]), list(OFFSETS))
    return {
        "reach": {str(g): counts(share) for g, share in found.items()},
        "probes": {"pooled": counts(pooled_probe(framework, split))},
    }


def counts(share: Accuracy) -> list[int]:
    """How many were right, and of how many."""
    return [share.right, share.n]


def tasks(size: dict[str, Any]) -> list[Task]:
    """Every run, the telling part first."""
    epochs, seeds = size["epochs"], range(size["seeds"])
    arms = [(arm.net, arm.loss, epochs["failure"]) for arm in (*ARMS, Arm("C4", "images"))]
    arms += [(net, "fibers", 0) for net in ("C4", "plain")]
    listed = [
        {"part": "failure", "net": net, "loss": loss, "epochs": long, "base_size": 1,
         "distance": None, "seed": seed}
        for seed in seeds for net, loss, long in arms
    ]  # fmt: skip
    turned = [("fibers", base, far) for far in (1, 2) for base in (1, 2, 3)]
    turned += [("images", 1, far) for far in (1, 2)]
    listed += [
        {"part": "turns", "net": "C4", "loss": loss, "epochs": epochs["turns"], "base_size": base,
         "distance": far, "seed": seed}
        for seed in seeds for loss, base, far in turned
    ]  # fmt: skip
    shifted = [("fibers", base, far, epochs["shifts"]) for far in OFFSETS for base in BASES]
    shifted += [("images", 4, far, epochs["shifts"]) for far in OFFSETS]
    shifted += [("fibers", base, 1, 0) for base in BASES]
    listed += [
        {"part": "shifts", "loss": loss, "epochs": long, "base_size": base, "distance": far,
         "seed": seed}
        for seed in seeds for loss, base, far, long in shifted
    ]  # fmt: skip
    return [task | {"train": size["train"]} for task in listed]


def main() -> None:
    """Fill the journal."""
    args = study_parser(__doc__ or "", takes="half an hour").parse_args()
    size = SIZES["smoke" if args.smoke else "full"]
    run_tasks(tasks(size), execute, journal_of(args, HERE), jobs=args.jobs)


if __name__ == "__main__":
    main()

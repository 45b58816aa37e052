"""The study behind ema-scaling's station: the same training at 8 and 16 times the batch.

Run it, and then `report.py`:

    uv run --package tenfold python integration/studies/ema_scaling/run.py --jobs 2
"""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from ema_scaling import Recipe
from tenfold.at_batch import Curve, Training, centred, supervised
from tenfold.classifiers import CausalTransformer, ImageTransformer, conv_classifier
from tenfold.data.images import Split, fashion_mnist
from tenfold.data.text import sotu, windows
from tenfold.feedback import byol, pseudo_labels
from tenfold.methods import seeded
from tenfold.study import Task, journal_of, run_tasks, study_parser
from torch import Tensor

HERE = Path(__file__).parent
BATCH, CONTEXT, BLOCK = 32, 16, 4096  # base batch; symbols of a text sample; samples of a point
MODELS = ("CNN", "ViT", "causal transformer")
FEEDBACK = ("BYOL", "pseudo-labels")
RECIPES: dict[tuple[str, str], dict[str, Any]] = {
    ("CNN", "sgd"): {"lr": 0.002, "ema_decay": 0.998},
    ("CNN", "adamw"): {"lr": 1e-4, "weight_decay": 0.05, "ema_decay": 0.998},
    ("ViT", "sgd"): {"lr": 0.0015, "ema_decay": 0.998},
    ("ViT", "adamw"): {"lr": 1e-4, "weight_decay": 0.05, "ema_decay": 0.998},
    ("causal transformer", "sgd"): {"lr": 0.02, "ema_decay": 0.998},
    ("causal transformer", "adamw"): {"lr": 2e-4, "weight_decay": 0.05, "ema_decay": 0.998},
    ("BYOL", "sgd"): {"lr": 0.03, "ema_decay": 0.99},
    ("pseudo-labels", "sgd"): {"lr": 0.004, "ema_decay": 0.995},
}
SIZES: dict[str, dict[str, Any]] = {
    "full": {"blocks": 12, "block": BLOCK, "start": 4 * BLOCK, "kappas": (8, 16), "test": 2000},
    "smoke": {"blocks": 2, "block": 256, "start": 256, "kappas": (8,), "test": 256},
}


@cache
def images(test: int) -> Split:
    """Fashion-MNIST, tested on the first ``test`` of the 2,000 rows."""
    split = fashion_mnist()
    labels = split.train_labels, split.test_labels[:test]
    return Split(split.name, split.train, labels[0], split.test[:test], labels[1], split.classes)


@cache
def pixels(test: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Centred training and test images, and their labels."""
    return centred(images(test))


@cache
def symbols(test: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Windows of text and the symbols that follow; ``test`` windows spread over the test text."""
    text = sotu()
    train = torch.tensor(windows(text.train, CONTEXT + 1)).long()
    held = torch.tensor(windows(text.test, CONTEXT + 1)).long()
    held = held[:: len(held) // test][:test]
    return (train[:, :-1], train[:, 1:]), (held[:, :-1], held[:, 1:])


def execute(task: Task) -> Curve:
    """Train one run; what was measured, to six digits."""
    recipe = Recipe(
        batch=BATCH,
        optimizer=task["optimizer"],
        samples=task["samples"],
        warmup_samples=task["samples"] / 12,
        **RECIPES[task["model"], task["optimizer"]],
    )
    points, seed = task["points"], task["seed"]
    training = Training(recipe, task["kappa"], start=task["start"], points=points, seed=seed)
    if task["model"] == "BYOL":
        curve = byol(training, images(task["test"]), rule=task["rule"])
    elif task["model"] == "pseudo-labels":
        curve = pseudo_labels(training, images(task["test"]), rule=task["rule"])
    elif task["model"] == "causal transformer":
        size = len(sotu().alphabet)
        model = seeded(seed, lambda: CausalTransformer(size, context=CONTEXT))
        curve = supervised(training, model, *symbols(task["test"]))
    else:
        make = {"CNN": conv_classifier, "ViT": lambda: ImageTransformer(depth=3)}[task["model"]]
        curve = supervised(training, seeded(seed, make), *pixels(task["test"]))
    return {name: [float(f"{value:.6g}") for value in column] for name, column in curve.items()}


def common(size: dict[str, Any], seed: int) -> Task:
    """What all tasks of a size and a seed share."""
    return {
        "seed": seed,
        "samples": size["blocks"] * size["block"],
        "points": size["blocks"],
        "test": size["test"],
        "start": 0,
    }


def supervised_tasks(size: dict[str, Any], seeds: int) -> list[Task]:
    """Every model and optimizer at every batch; AdamW also with the large batch from later on."""
    tasks: list[Task] = []
    for seed in range(seeds):
        for model in MODELS:
            for optimizer in ("sgd", "adamw"):
                arm = {"part": "supervised", "model": model, "optimizer": optimizer}
                for kappa in (1, *size["kappas"]):
                    tasks.append(arm | common(size, seed) | {"kappa": kappa})
                    if optimizer == "adamw" and kappa > 1:
                        tasks.append(tasks[-1] | {"start": size["start"]})
    return tasks


def feedback_tasks(size: dict[str, Any], seeds: int) -> list[Task]:
    """BYOL and pseudo-labels at the base batch, and at 8 times it with the rule and without."""
    tasks: list[Task] = []
    for seed in range(seeds):
        for model in FEEDBACK:
            for kappa, rule in ((1, True), (8, True), (8, False)):
                arm = {"part": "feedback", "model": model, "optimizer": "sgd"}
                tasks.append(arm | common(size, seed) | {"kappa": kappa, "rule": rule})
    return tasks


def main() -> None:
    """Fill the journal."""
    parser = study_parser(__doc__ or "", takes="half an hour")
    parser.add_argument("--seeds", type=int, help="5 by default, 2 with --smoke")
    parser.add_argument("--models", nargs="+", choices=[*MODELS, *FEEDBACK], help="some of them")
    args = parser.parse_args()
    size = SIZES["smoke" if args.smoke else "full"]
    seeds = args.seeds or (2 if args.smoke else 5)
    tasks = [*feedback_tasks(size, seeds), *supervised_tasks(size, seeds)]
    chosen = [task for task in tasks if task["model"] in (args.models or [*MODELS, *FEEDBACK])]
    run_tasks(chosen, execute, journal_of(args, HERE), jobs=args.jobs)


if __name__ == "__main__":
    main()

"""The study behind lv-ssl's station: families, rates, bits, and whose uncertainty can be believed.

Run it, and read `report.py`:

    uv run --package tenfold --group study python integration/studies/lv_ssl/run.py --jobs 2
"""

import math
from pathlib import Path
from typing import Any

import torch
from lv_ssl import (
    calibration,
    embed,
    fine_tuning,
    linear_probe,
    regression_probe,
    with_factors,
)
from tenfold.augment import plain
from tenfold.data.images import fashion_mnist
from tenfold.encoders import small_encoder
from tenfold.latents import Latents, Recipe, as_numbers, curve_of, fit_latents, measure_latents
from tenfold.methods import seeded
from tenfold.study import Task, journal_of, run_tasks, study_parser
from tenfold.training import Schedule
from torch import Tensor, nn

HERE = Path(__file__).parent
FEATURES, SEEDS = 128, 3
BETAS = (0.0, 1e-3, 1e-2, 1e-1, 10.0)  # the last must collapse
KEEP = [8, 16, 32, 64, 128, 256, 512, 1024, 2048]
SIZES = {
    "full": {"epochs": 4, "train": 8000, "dims": 1, "seeds": SEEDS, "tuned": 3},
    "smoke": {"epochs": 1, "train": 512, "dims": 8, "seeds": 1, "tuned": 1},
}
ARMS: dict[str, dict[str, Any]] = {
    "untrained, vmf": {"family": "vmf", "dim": 64, "epochs": 0},
    "no noise": {"family": "none", "dim": 256},
    "normal": {"family": "normal", "dim": 64},
    "normal, mc": {"family": "normal", "dim": 64, "samples": 4, "estimator": "mc"},
    "bernoulli": {"family": "bernoulli", "dim": 256, "gain": False},
    "bernoulli, gain": {"family": "bernoulli", "dim": 256},
    "bernoulli, gain, mc": {"family": "bernoulli", "dim": 256, "samples": 4, "estimator": "mc"},
    "normal, degraded views": {"family": "normal", "dim": 64, "augment": "degraded"},
    "bernoulli, gain, degraded views": {"family": "bernoulli", "dim": 256, "augment": "degraded"},
    "categorical, gain": {"family": "categorical", "dim": 256},
    "power spherical": {"family": "power_spherical", "dim": 64},
    "vmf": {"family": "vmf", "dim": 64},
    "vmf, mc": {"family": "vmf", "dim": 64, "samples": 4, "estimator": "mc"},
}
WIDE: dict[str, dict[str, Any]] = {
    "no noise": {"family": "none", "dim": 2048},
    "bernoulli": {"family": "bernoulli", "dim": 2048, "gain": False},
    "bernoulli, gain": {"family": "bernoulli", "dim": 2048},
}


def trained(task: Task) -> tuple[Latents, Any]:
    """The encoder and head that a task names, and the images."""
    split = fashion_mnist(task["train"])
    recipe = Recipe(**task["recipe"])
    schedule = Schedule(epochs=task["epochs"], batch=min(256, task["train"]))
    latents = fit_latents(
        recipe,
        seeded(task["seed"], small_encoder),
        torch.tensor(split.train),
        features=FEATURES,
        schedule=schedule,
        seed=task["seed"],
    )
    return latents, split


def execute(task: Task) -> dict[str, Any]:
    """Train and measure one run."""
    latents, split = trained(task)
    result: dict[str, Any] = {"collapsed": latents.collapsed}
    if task["part"] == "protocols":
        return result | protocols(latents, split, task)
    if task["part"] == "beta":
        images = torch.tensor(split.test)
        rate = float(latents.posterior(images).kl().mean()) / math.log(2)
        return result | {"rate": round(rate, 5)}
    result |= as_numbers(measure_latents(latents, split))
    if task["part"] == "wide" and latents.head.family == "bernoulli":
        keep = sorted({min(n, latents.head.dim) for n in KEEP})
        result["curve"] = curve_of(latents, split, keep).to_table()
    return result


def protocols(latents: Latents, split: Any, task: Task) -> dict[str, Any]:
    """Fine-tuning, calibration with and without samples, and regression on known factors."""
    train, test = torch.tensor(split.train), torch.tensor(split.test)
    y, y_test = torch.tensor(split.train_labels), torch.tensor(split.test_labels)
    tuned = fine_tuning(
        latents.encoder, latents.head, (train, y), (test, y_test),
        prepare=plain, epochs=task["tuned"], seed=task["seed"],
    )  # fmt: skip
    q, q_test = latents.posterior(train), latents.posterior(test)
    classifier = linear_probe(q.mean, y, classes=10, l2=1e-2)
    g = torch.Generator().manual_seed(task["seed"])
    marginal = classifier.marginal(q_test.rsample(16, generator=g)).numpy()
    plain_rows = classifier.log_probs(q_test.mean).exp().numpy()
    return {
        "fine-tuning": {"linear": tuned.linear, "sample": tuned.sample, "mean": tuned.mean},
        "ece": {
            "mean": calibration(plain_rows, y_test.numpy()).ece,
            "samples": calibration(marginal, y_test.numpy()).ece,
        },
        "r2": factors(latents, train, test, task["seed"]),
    }


def factors(latents: Latents, train: Tensor, test: Tensor, seed: int) -> dict[str, list[float]]:
    """R^2 of angle, scale and brightness, from features, means and the images' own pixels."""
    g = torch.Generator().manual_seed(seed)
    made = [with_factors(x, generator=g) for x in (train, test)]
    targets = [torch.stack([m.angle, m.scale.log(), m.brightness.log()], 1) for m in made]
    views: dict[str, Any] = {
        "pixels": lambda x: embed(nn.Flatten(), x, prepare=plain),
        "features": latents.features,
        "mean": lambda x: latents.posterior(x).mean,
    }
    found = {}
    for name, view in views.items():
        x, x_test = (view(m.images) for m in made)
        fitted = regression_probe(x, targets[0], penalty=0.03 * len(x))
        found[name] = [round(r2, 4) for r2 in fitted.r2(x_test, targets[1])]
    return found


def tasks(size: dict[str, int]) -> list[Task]:
    """Every run, the cheap and telling parts first."""

    def task(part: str, name: str, recipe: dict[str, Any], seed: int) -> Task:
        recipe = dict(recipe)
        epochs = recipe.pop("epochs", size["epochs"])
        recipe["dim"] = max(8, recipe["dim"] // size["dims"])
        made = {"part": part, "name": name, "recipe": recipe, "seed": seed, "epochs": epochs}
        made |= {"train": size["train"]}
        return made | ({"tuned": size["tuned"]} if part == "protocols" else {})

    seeds = range(size["seeds"])
    listed = [task("arms", name, arm, seed) for seed in seeds for name, arm in ARMS.items()]
    listed += [task("wide", name, arm, seed) for seed in seeds for name, arm in WIDE.items()]
    swept = [(f"{beta:g}", {"dim": 256, "gain": True, "beta": beta}) for beta in BETAS]
    listed += [task("beta", *arm, seed) for seed in seeds for arm in swept]
    chosen = ("bernoulli, gain", "vmf")
    listed += [task("protocols", name, ARMS[name], seed) for seed in seeds for name in chosen]
    return listed


def main() -> None:
    """Fill the journal."""
    args = study_parser(__doc__ or "", takes="half an hour").parse_args()
    size = SIZES["smoke" if args.smoke else "full"]
    journal = journal_of(args, HERE)
    run_tasks(tasks(size), execute, journal, jobs=args.jobs, label="runs")


if __name__ == "__main__":
    main()

"""The study behind er-ssl's station: what collapses, what the entropy prevents, what it costs.

Run it, and read `report.py`:

    uv run --package tenfold --group study python integration/studies/er_ssl/run.py --jobs 2
"""

from pathlib import Path
from typing import Any

import torch
from er_ssl import ERLoss, NTXentLoss
from tenfold.data.images import fashion_mnist
from tenfold.encoders import small_encoder
from tenfold.methods import Method, contrastive, distillation, fit, seeded, untrained
from tenfold.study import Task, journal_of, run_tasks, study_parser
from tenfold.training import Schedule
from torch import nn

HERE = Path(__file__).parent
FEATURES = 128
SEEDS = 5
ARMS = ("random init", "bare distillation", "bare distillation + ER", "SimCLR", "SimCLR + ER")
KAPPAS, WEIGHTS = (5.0, 10.0, 20.0), (0.5, 1.0, 2.0)
SIZES = {
    "full": {"tune": 5, "arms": 12, "curves": 8, "train": 8000},
    "smoke": {"tune": 1, "arms": 1, "curves": 1, "train": 1536},
}


def make(task: Task, encoder: nn.Module, images: torch.Tensor) -> Method:
    """The method that a task names."""
    kappa, weight = task.get("kappa", 10.0), task.get("weight", 1.0)
    name, decay = task["method"], task.get("decay", 0.0)
    if name == "SimCLR":
        return contrastive(encoder, NTXentLoss(1 / kappa), features=FEATURES)
    if name == "SimCLR + ER":
        return contrastive(encoder, ERLoss(kappa, entropy_weight=weight), features=FEATURES)
    if name in ("bare distillation", "bare distillation + ER", "BYOL", "BYOL + ER"):
        return distillation(
            encoder,
            decay=decay,
            predictor=name.startswith("BYOL"),
            entropy_weight=weight if name.endswith("ER") else 0.0,
            kappa=kappa,
            features=FEATURES,
        )
    import clusters  # lightly and scikit-learn, where they are needed

    if name in ("DINO", "DINO + ER"):
        return clusters.dino(encoder, decay=decay, er=name.endswith("ER"), features=FEATURES)
    if name == "SwAV":
        return clusters.swav(encoder, features=FEATURES)
    if name == "DeepCluster":
        return clusters.deepcluster(encoder, images, features=FEATURES, seed=task["seed"])
    raise ValueError(f"unknown method {name!r}")


def execute(task: Task) -> dict[str, Any]:
    """Train and measure one run."""
    split = fashion_mnist(task["train"])
    if task["part"] == "tune":
        split = split.validation(len(split.train) // 8)
    encoder = seeded(task["seed"], small_encoder)
    if task["method"] == "random init":
        run = untrained(encoder, split)
    else:
        images = torch.tensor(split.train)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(task["seed"])
            method = make(task, encoder, images)
        schedule = Schedule(epochs=task["epochs"], batch=task["batch"])
        run = fit(method, split, schedule=schedule, seed=task["seed"])
    return {
        "probe": [run.probe.right, run.probe.n],
        "knn": [run.knn.right, run.knn.n],
        "std": run.std,
        "rank": run.rank,
        "loss": run.loss if run.loss == run.loss else None,
        "trace": {name: [round(x, 5) for x in column] for name, column in run.trace.items()},
    }


def tuning_tasks(size: dict[str, int]) -> list[Task]:
    """One seed, validation rows: kappa of all three, the entropy's weight of the two with ER."""
    common = {"part": "tune", "seed": 100, "batch": 256, "epochs": size["tune"]}
    common["train"] = size["train"]
    grid = [
        {"method": method, "kappa": kappa, "weight": weight, **common}
        for method in ("bare distillation + ER", "SimCLR + ER")
        for kappa in KAPPAS
        for weight in WEIGHTS
    ]
    return [{"method": "SimCLR", "kappa": kappa, **common} for kappa in KAPPAS] + grid


def best(tuned: list[tuple[Task, dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """The settings of each method with the most right answers on the validation rows."""
    chosen: dict[str, tuple[int, dict[str, float]]] = {}
    for task, result in tuned:
        settings = {name: task[name] for name in ("kappa", "weight") if name in task}
        right = result["probe"][0]
        if task["method"] not in chosen or right > chosen[task["method"]][0]:
            chosen[task["method"]] = right, settings
    return {method: settings for method, (_, settings) in chosen.items()}


def arm_tasks(size: dict[str, int], settings: dict[str, dict[str, float]]) -> list[Task]:
    """Five arms, paired seeds."""
    common = {"part": "arms", "batch": 256, "epochs": size["arms"], "train": size["train"]}
    return [
        {"method": arm, "seed": seed, **common, **settings.get(arm, {})}
        for seed in range(SEEDS)
        for arm in ARMS
    ]


def curve_tasks(size: dict[str, int]) -> list[Task]:
    """Entropy and reconstruction over training, over two decays and two batch sizes, one seed."""
    common = {"part": "curves", "epochs": size["curves"], "train": size["train"]}
    taught = [
        {"method": method, "decay": decay}
        for method in ("BYOL", "BYOL + ER", "DINO", "DINO + ER")
        for decay in (0.8, 0.99)
    ]
    return [
        {**arm, "batch": batch, "seed": 0, **common}
        for batch in (64, 512)
        for arm in [*taught, {"method": "SwAV"}, {"method": "DeepCluster"}]
    ]


def main() -> None:
    """Fill the journal."""
    args = study_parser(__doc__ or "", takes="an hour").parse_args()
    size = SIZES["smoke" if args.smoke else "full"]
    journal = journal_of(args, HERE)
    tuned = run_tasks(tuning_tasks(size), execute, journal, jobs=args.jobs, label="tuning")
    arms = arm_tasks(size, best(tuned))
    run_tasks(arms, execute, journal, jobs=args.jobs, label="arms")
    run_tasks(curve_tasks(size), execute, journal, jobs=args.jobs, label="curves")


if __name__ == "__main__":
    main()

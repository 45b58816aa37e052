"""er-ssl: bare distillation collapses, and with the entropy it does not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tenfold.station import Context, Images, Lines, Series, StationResult, Verdict

if TYPE_CHECKING:
    from torch import nn

    from tenfold.methods import Method, Run

STUDY = Path(__file__).parents[3] / "studies" / "er_ssl" / "summary.json"
EPOCHS = {"small": 4, "paper": 100}
BATCH = {"small": 256, "paper": 512}
ROWS = 16384  # of the memory comparison
ARMS = ("bare distillation", "bare distillation + ER", "SimCLR", "SimCLR + ER")
KEPT = 10_000  # images of either part whose features the next stations get
RULE = (
    "Reproduced means, for every seed: bare distillation ends with a spread of the embeddings "
    "below 0.15 and its entropy in the lowest tenth between floor and ceiling, and with the "
    "entropy in the loss the spread is above 0.9 and the entropy above that tenth. Partly: one of "
    "the two halves. Probe differences of a point are inside the seeds, and decide nothing."
)
SETUP = """
import torch
from er_ssl import NTXentLoss
def dense(z1, z2):
    z = torch.nn.functional.normalize(torch.cat([z1, z2]), dim=1)
    logits = (z @ z.T / 0.1).fill_diagonal_(-torch.inf)
    return torch.nn.functional.cross_entropy(logits, torch.arange(len(z)).roll(len(z1)))
def go(loss, n):
    z1, z2 = (torch.randn(n, 128, requires_grad=True) for _ in range(2))
    loss(z1, z2).backward()
go({loss}, 64)
"""


class Station:
    """Self-supervised training on real images, with and without the entropy term."""

    claim = (
        "Distillation methods keep the entropy of their embeddings only implicitly; with the "
        "entropy-reconstruction bound as objective, training stays stable with smaller batches "
        "and smaller EMA coefficients, at competitive accuracy."
    )
    budget_s = 110
    needs: tuple[str, ...] = ()

    def run(self, context: Context) -> StationResult:
        """Train five arms a seed, then measure the memory of the contrastive loss."""
        from tenfold.data.images import at_scale
        from tenfold.encoders import resnet18, small_encoder
        from tenfold.training import Schedule

        split = at_scale(context.scale, context.data_root)
        paper = context.scale == "paper"
        encoder, features = (resnet18, 512) if paper else (small_encoder, 128)
        schedule = Schedule(EPOCHS[context.scale], BATCH[context.scale])
        jobs = [(seed, arm) for seed in range(context.seeds) for arm in ARMS]
        steps = schedule.steps(len(split.train))
        runs: dict[str, list[Run]] = {}
        features_of: dict[str, np.ndarray] = {}
        for n, (seed, arm) in enumerate(jobs):
            if arm == ARMS[0]:
                runs.setdefault("random init", []).append(_untrained(encoder, split, seed, context))

            def progress(done: int, total: int, before: int = n * steps) -> None:
                context.progress(before + done, len(jobs) * steps)

            run, trained = _trained(
                arm, encoder, features, split, schedule, seed, context, progress
            )
            runs.setdefault(arm, []).append(run)
            if seed == 0 and arm == ARMS[-1]:
                features_of = _features(trained, split, context)
        memory = _memory()
        verdict = judge(runs)
        return StationResult(
            verdict=verdict,
            headline=_headline(runs),
            tables=_tables(runs, memory),
            figures=[*_curves(runs), _views(split.train)],
            notes=[
                RULE,
                f"{split.name}; {schedule.epochs} epochs of batch {schedule.batch}, "
                f"{context.seeds} seed(s); kappa 10; intervals of the probe are Wilson's over the "
                "test images, and say nothing of the seeds: the study has five, and longer runs.",
                "The random encoder's probe is a strong baseline at this size: look at spread, "
                "rank and entropy.",
            ],
            arrays=features_of,
        )


def _untrained(encoder: Any, split: Any, seed: int, context: Context) -> "Run":
    from tenfold.methods import seeded, untrained

    channels = split.train.shape[1]
    drawn = seeded(seed, lambda: encoder(channels)).to(context.device)
    return untrained(drawn, split, device=context.device)


def _trained(
    arm: str,
    encoder: Any,
    features: int,
    split: Any,
    schedule: Any,
    seed: int,
    context: Context,
    progress: Callable[[int, int], None],
) -> tuple["Run", "nn.Module"]:
    import torch

    from tenfold.methods import fit, seeded

    channels = split.train.shape[1]
    drawn = seeded(seed, lambda: encoder(channels)).to(context.device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        method = _method(arm, drawn, features)
    for module in method.modules:
        module.to(context.device)
    run = fit(method, split, schedule=schedule, seed=seed, device=context.device, progress=progress)
    return run, method.encoder


def _features(encoder: "nn.Module", split: Any, context: Context) -> dict[str, np.ndarray]:
    """The encoder's features of the first training and test images, as half precision."""
    import torch

    from tenfold.training import embed

    parts = {"train": split.train[:KEPT], "test": split.test[:KEPT]}
    return {
        name: embed(encoder, torch.tensor(images, device=context.device)).cpu().numpy().astype("f2")
        for name, images in parts.items()
    }


def _method(arm: str, encoder: "nn.Module", features: int) -> "Method":
    from er_ssl import ERLoss, NTXentLoss

    from tenfold.methods import contrastive, distillation

    if arm == "SimCLR":
        return contrastive(encoder, NTXentLoss(temperature=0.1), features=features)
    if arm == "SimCLR + ER":
        return contrastive(encoder, ERLoss(kappa=10.0), features=features)
    weight = float(arm.endswith("ER"))
    return distillation(
        encoder, decay=0.0, predictor=False, entropy_weight=weight, features=features
    )


def _level(run: "Run") -> float:
    """Where the entropy ended, from its floor (0) to its ceiling (1)."""
    last = {name: column[-1] for name, column in run.trace.items()}
    height = last["entropy_ceiling"] - last["entropy_floor"]
    return (last["entropy"] - last["entropy_floor"]) / height


def judge(runs: dict[str, list["Run"]]) -> Verdict:
    """The verdict by `RULE`."""
    collapsed = all(r.std < 0.15 and _level(r) < 0.1 for r in runs[ARMS[0]])
    prevented = all(r.std > 0.9 and _level(r) > 0.1 for r in runs[ARMS[1]])
    if collapsed and prevented:
        return "reproduced"
    return "partly" if collapsed or prevented else "not at this scale"


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _headline(runs: dict[str, list["Run"]]) -> str:
    bare, kept = runs[ARMS[0]], runs[ARMS[1]]
    probes = [_probe(several) for several in (bare, kept)]
    return (
        f"spread {_mean([r.std for r in bare]):.2f} of 1 without the entropy (collapse), "
        f"{_mean([r.std for r in kept]):.2f} with it; effective rank "
        f"{_mean([r.rank for r in bare]):.0f} and {_mean([r.rank for r in kept]):.0f}; probe "
        f"{probes[0]} and {probes[1]}"
    )


def _probe(runs: list["Run"]) -> str:
    """One seed: share and interval over test images. Several: their mean and range."""
    if len(runs) == 1:
        return str(runs[0].probe)
    shares = [100 * run.probe.value for run in runs]
    return f"{_mean(shares):.1f} % ({min(shares):.1f} to {max(shares):.1f} over seeds)"


def _tables(runs: dict[str, list["Run"]], memory: dict[str, float]) -> dict[str, dict[str, Any]]:
    rows = [(arm, seed, run) for arm, several in runs.items() for seed, run in enumerate(several)]
    arms = {
        "arm": [arm for arm, _, _ in rows],
        "seed": [seed for _, seed, _ in rows],
        "linear probe": [str(run.probe) for _, _, run in rows],
        "20 neighbours": [str(run.knn) for _, _, run in rows],
        "spread (0 to 1)": [f"{run.std:.3f}" if run.trace else "" for _, _, run in rows],
        "effective rank": [run.rank for _, _, run in rows],
        "entropy, floor 0 to ceiling 1": [
            f"{_level(run):.3f}" if run.trace else "" for _, _, run in rows
        ],
    }
    cost = {"contrastive loss": list(memory), "extra memory, MiB": list(memory.values())}
    tables = {"Five arms": arms, f"Forward and backward at {ROWS} rows of 128": cost}
    if STUDY.is_file():
        tables |= json.loads(STUDY.read_text(encoding="utf-8"))["tables"]
    return tables


def _memory() -> dict[str, float]:
    from tenfold.memory import extra_mebibytes

    names = {"streamed (er_ssl.NTXentLoss)": "NTXentLoss(0.1)", "dense (cross_entropy)": "dense"}
    found = {
        name: extra_mebibytes(SETUP.replace("{loss}", loss), f"go({loss}, {ROWS // 2})")
        for name, loss in names.items()
    }
    return {name: round(mebibytes, 1) for name, mebibytes in found.items() if mebibytes is not None}


def _curves(runs: dict[str, list["Run"]]) -> list[Lines]:
    trained = {arm: several[0].trace for arm, several in runs.items() if several[0].trace}
    sample = next(iter(trained.values()))
    levels = [("floor: one point", sample["entropy_floor"][-1])]
    levels += [("ceiling", sample["entropy_ceiling"][-1])]
    none: list[tuple[str, float]] = []
    figures = []
    for column, title, marks in (
        ("entropy", "Entropy of what is predicted", levels),
        ("reconstruction", "Reconstruction: mean log density of one view given the other", none),
        ("bound", "Their sum bounds the information that two views share",
         [("ceiling", sample["ceiling"][-1])]),
    ):  # fmt: skip
        series = [Series(arm, trace["step"], trace[column]) for arm, trace in trained.items()]
        figures.append(Lines(title, "optimizer step", "nats", series, marks))
    return figures


def _views(images: np.ndarray) -> Images:
    import torch

    from tenfold.augment import views

    chosen = torch.tensor(images[:6])
    generator = torch.Generator().manual_seed(0)
    rows = [chosen, *(_grey(views(chosen, generator)) for _ in range(2))]
    stacked = torch.stack(rows, 1).flatten(0, 1).permute(0, 2, 3, 1).squeeze(-1).numpy()
    return Images("Images, and two views of each", stacked, ["image", "view", "view"] * 6)


def _grey(x: Any) -> Any:
    import torch

    return ((x + 1) * 127.5).clamp(0, 255).to(torch.uint8)

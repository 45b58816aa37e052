"""homssl: one loss in two ways, what it costs, and what is left when the structure is removed."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tenfold.station import Context, Lines, Series, StationResult, Verdict, committed_study

if TYPE_CHECKING:
    import torch
    from homssl import Certificate
    from torch import nn

    from tenfold.data.images import Split
    from tenfold.fiber_runs import Arm, Found, Framework
    from tenfold.identity import Gap
    from tenfold.probes import Accuracy

STUDY = Path(__file__).parents[3] / "studies" / "homssl" / "summary.json"
EPOCHS = {"small": 1, "paper": 20}
BATCH = {"small": 96, "paper": 256}
LR = 3e-3
IDENTITY_IMAGES = 64
SHOWN = 8  # turned images whose nearest are drawn
LEAST = 1e-18  # where an error of zero is drawn on a logarithmic axis
RULE = (
    "Reproduced means both. Identity: for C4, D4 and translations on a torus, with InfoNCE and "
    "with BYOL, A-SSL's and H-SSL's loss on one draw differ by at most 1e-12 and their gradients "
    "by at most 1e-11 of their norm, while the wrong sign of the index and the network without "
    "structure each move the loss by more than 1e-3. Failure: for every seed, an image turned by "
    "90, 180 or 270 degrees is found again at a rate of at least 0.95 by the C4 net under H-SSL "
    "and 0.9 by the plain net under A-SSL, and at 90 and 270 degrees at most 0.15 by the plain "
    "net under H-SSL, though that finds its own fibers at 0.9. Partly: one of the two."
)

Runs = Sequence[Mapping["Arm", "Found"]]


class Station:
    """H-SSL and A-SSL on one draw, their time, a certificate, and three trainings."""

    claim = (
        "Self-supervision on the features of an augmentation-homomorphic extractor may subsume "
        "the use of input augmentations, and fails when representational structure is removed; "
        "its parameters relate to those of augmentation-based self-supervised learning."
    )
    budget_s = 60
    needs: tuple[str, ...] = ()

    def run(self, context: Context) -> StationResult:
        """Compare both losses, time them, train three arms a seed, and look each image up."""
        import torch

        from tenfold.augment import plain
        from tenfold.data.images import at_scale
        from tenfold.fiber_runs import GALLERY, REMOVED, STRUCTURED
        from tenfold.identity import gaps, step_seconds_of

        split = at_scale(context.scale, context.data_root)
        few = plain(torch.tensor(split.train[:IDENTITY_IMAGES], device=context.device))
        identity, seconds = gaps(few.double()), step_seconds_of(few)
        runs, first = _train(context, split)
        nets = {str(arm): first[arm].branch.encoder for arm in (STRUCTURED, REMOVED)}
        certificates = certify(nets, few[:8].double())
        return StationResult(
            verdict=judge(identity, runs),
            headline=_headline(identity, seconds, runs),
            tables={
                "An image turned by 90 degrees, and what each arm takes for it": _neighbours(
                    first, split, context
                ),
                "Both losses on one draw, float64": identity_table(identity),
                "Seconds of a forward and backward pass, 64 images": _seconds_table(seconds),
                f"Found again among {GALLERY} test images, % (95 % interval)": _retrieval_table(
                    runs
                ),
                "Certificate: error of each layer": _certificate_table(certificates),
                **(study := committed_study(STUDY))["tables"],
            },
            figures=[
                _retrieval_figure(runs),
                _certificate_figure(certificates),
                *study["figures"],
            ],
            notes=[
                RULE,
                f"{split.name}; {EPOCHS[context.scale]} epoch(s) of batch {BATCH[context.scale]}, "
                f"{context.seeds} seed(s); InfoNCE on one fiber of four, two views. The plain net "
                "is the C4 net's twin of the same tensors, with four times its weights. Intervals "
                "are Wilson's over the test images, and say nothing of the seeds: the study has "
                "three, and longer runs.",
                "Many garments look alike upside down, so 180 degrees says little.",
                "The times are no claim of the paper's abstract: they follow from one pass of the "
                "encoder in the place of one a view.",
                *study["headlines"],
            ],
        )


def _train(
    context: Context, split: "Split"
) -> tuple[list[dict["Arm", "Found"]], dict["Arm", "Framework"]]:
    """What every arm of every seed finds, and the first seed's arms themselves."""
    import torch

    from tenfold.fiber_runs import ARMS, GALLERY, fit_framework, framework_of, retrieve
    from tenfold.training import Schedule

    schedule = Schedule(EPOCHS[context.scale], BATCH[context.scale], LR)
    images = torch.tensor(split.train, device=context.device)
    gallery = torch.tensor(split.test[:GALLERY], device=context.device)
    jobs = [(seed, arm) for seed in range(context.seeds) for arm in ARMS]
    passes = [2 if arm.loss == "images" else 1 for _, arm in jobs]
    steps = schedule.steps(len(images))
    runs: list[dict[Arm, Found]] = [{} for _ in range(context.seeds)]
    first: dict[Arm, Framework] = {}
    for n, (seed, arm) in enumerate(jobs):

        def progress(done: int, total: int, n: int = n) -> None:
            before = sum(passes[:n]) * steps
            context.progress(before + passes[n] * done, sum(passes) * steps)

        framework = framework_of(
            arm, seed, channels=images.shape[1], large=context.scale == "paper"
        ).to(context.device)
        fit_framework(framework, images, schedule=schedule, seed=seed, progress=progress)
        runs[seed][arm] = retrieve(framework, gallery)
        first.setdefault(arm, framework)
    return runs, first


def certify(nets: Mapping[str, "nn.Module"], x: "torch.Tensor") -> dict[str, "Certificate"]:
    """Certificates of networks over C4 in eval mode, and of the first with one layer set free."""
    from homssl import Cyclic, GroupConv2d, equivariance_error, unstructured
    from torch import nn

    nets = {name: copy.deepcopy(net).eval().to(x) for name, net in nets.items()}
    name, whole = next(iter(nets.items()))
    spoilt = copy.deepcopy(whole)
    place = next(n for n, m in whole.named_children() if isinstance(m, GroupConv2d))
    freed = unstructured(nn.Sequential(whole.get_submodule(place)))
    setattr(spoilt, place, freed.get_submodule("0"))
    nets[f"{name}, layer {place} set free"] = spoilt.eval()
    return {name: equivariance_error(net, x, Cyclic(4)) for name, net in nets.items()}


def judge(identity: Sequence["Gap"], runs: Runs) -> Verdict:
    """The verdict by `RULE`."""
    halves = all(gap.holds for gap in identity), all(failed(found) for found in runs)
    if all(halves):
        return "reproduced"
    return "partly" if any(halves) else "not at this scale"


def failed(found: Mapping["Arm", "Found"]) -> bool:
    """Whether H-SSL failed without structure, and nothing else did."""
    from tenfold.fiber_runs import AUGMENTED, REMOVED, STRUCTURED

    def turned(arm: "Arm", *angles: int) -> list[float]:
        return [found[arm].turned[angle].value for angle in angles]

    return (
        min(turned(STRUCTURED, 90, 180, 270)) >= 0.95
        and min(turned(AUGMENTED, 90, 180, 270)) >= 0.9
        and max(turned(REMOVED, 90, 270)) <= 0.15
        and min(share.value for share in found[REMOVED].pretext.values()) >= 0.9
    )


def _headline(
    identity: Sequence["Gap"], seconds: Mapping[int, tuple[float, float]], runs: Runs
) -> str:
    from tenfold.fiber_runs import ARMS, REMOVED

    worst = max(gap.loss for gap in identity if gap.equal)
    least = min(gap.loss for gap in identity if not gap.equal)
    ratios = " and ".join(f"{a / h:.2f} times for {k}" for k, (a, h) in seconds.items())
    first = runs[0]
    shares = "; ".join(f"{arm}: {first[arm].turned[90]}" for arm in ARMS)
    pretext = min(share.value for share in first[REMOVED].pretext.values())
    return (
        f"A-SSL's and H-SSL's loss on one draw differ by {worst:.0e} nats at most (the wrong sign, "
        f"or no structure: {least:.2g} at least); A-SSL's step takes {ratios} views; an image "
        f"turned by 90 degrees is found by {shares}, though {REMOVED} finds its own fibers at "
        f"{100 * pretext:.1f} %"
    )


def identity_table(identity: Sequence["Gap"]) -> dict[str, list[Any]]:
    """One row a group and objective."""
    return {
        "network, objective": [gap.what for gap in identity],
        "A-SSL, nats": [round(gap.images, 6) for gap in identity],
        "H-SSL, nats": [round(gap.fibers, 6) for gap in identity],
        "|A - H|": [f"{gap.loss:.1e}" for gap in identity],
        "gradients apart, relative": [f"{gap.gradient:.1e}" for gap in identity],
        "ought to be equal": ["yes" if gap.equal else "no" for gap in identity],
        "holds": ["yes" if gap.holds else "no" for gap in identity],
    }


def _seconds_table(seconds: Mapping[int, tuple[float, float]]) -> dict[str, list[Any]]:
    return {
        "views": list(seconds),
        "A-SSL": [round(a, 4) for a, _ in seconds.values()],
        "H-SSL": [round(h, 4) for _, h in seconds.values()],
        "A-SSL over H-SSL": [round(a / h, 2) for a, h in seconds.values()],
    }


def _retrieval_table(runs: Runs) -> dict[str, list[Any]]:
    rows = [(arm, seed, found) for seed, run in enumerate(runs) for arm, found in run.items()]
    table: dict[str, list[Any]] = {
        "arm": [str(arm) for arm, _, _ in rows],
        "seed": [seed for _, seed, _ in rows],
    }
    for angle in rows[0][2].turned:
        table[f"turned by {angle}"] = [_short(found.turned[angle]) for _, _, found in rows]
    table["own fibers, worst"] = [
        _short(min(found.pretext.values(), key=lambda share: share.value)) for _, _, found in rows
    ]
    return table


def _short(share: "Accuracy") -> str:
    low, high = share.interval
    return f"{100 * share.value:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def _retrieval_figure(runs: Runs) -> Lines:
    series = []
    for arm in runs[0]:
        shares = [[run[arm].turned[angle] for run in runs] for angle in runs[0][arm].turned]
        mean = [100 * sum(s.value for s in column) / len(column) for column in shares]
        low = [100 * min(s.interval[0] for s in column) for column in shares]
        high = [100 * max(s.interval[1] for s in column) for column in shares]
        series.append(Series(str(arm), [float(a) for a in runs[0][arm].turned], mean, low, high))
    count = next(iter(runs[0].values())).turned[0].n
    return Lines("The turned image, found again by one fiber", "degrees", "top 1, %",
                 series, [("chance", 100 / count)])  # fmt: skip


def _neighbours(
    first: Mapping["Arm", "Framework"], split: "Split", context: Context
) -> dict[str, list[Any]]:
    """One row an image: turned, and the upright one that each arm finds nearest."""
    import torch

    from tenfold.fiber_runs import GALLERY, nearest

    def picture(image: np.ndarray) -> np.ndarray:
        shown = image[0] if len(image) == 1 else np.moveaxis(image, 0, 2)
        return np.ascontiguousarray(shown)

    gallery = torch.tensor(split.test[:GALLERY], device=context.device)
    rows = range(SHOWN)
    table: dict[str, list[Any]] = {
        "turned": [picture(np.rot90(split.test[n], 1, (-2, -1))) for n in rows]
    }
    for arm, framework in first.items():
        found = nearest(framework, gallery, 90).tolist()
        table[str(arm)] = [picture(split.test[found[n]]) for n in rows]
        table[f"{arm}:"] = ["found" if found[n] == n else "another" for n in rows]
    return table


def _certificate_table(certificates: Mapping[str, "Certificate"]) -> dict[str, list[Any]]:
    rows = [(name, found, row) for name, found in certificates.items() for row in found.layers]
    return {
        "network": [name for name, _, _ in rows],
        "layer": [row.name for _, _, row in rows],
        "module": [row.kind for _, _, row in rows],
        "relative error": [f"{row.error:.1e}" for _, _, row in rows],
        "verdict": [
            "first failing" if row.name == found.first_failing else "" for _, found, row in rows
        ],
    }


def _certificate_figure(certificates: Mapping[str, "Certificate"]) -> Lines:
    series = []
    for name, found in certificates.items():
        errors = [max(row.error, LEAST) for row in found.layers]
        series.append(Series(name, [float(n) for n in range(len(errors))], errors))
    tolerance = [found.tolerance for found in certificates.values() if found.tolerance is not None]
    return Lines("Certificate: each layer's error (0 at 1e-18)",
                 "layer, in the order in which it runs", "relative error, float64",
                 series, [("tolerance", tolerance[0])], log_y=True)  # fmt: skip

"""lv-ssl: accuracy over bits, and an uncertainty that rises with what an image has lost."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tenfold.station import Context, Images, Lines, Series, StationResult, Verdict

if TYPE_CHECKING:
    from lv_ssl import RateAccuracy

    from tenfold.data.images import Split
    from tenfold.latents import Latents, Measured

STUDY = Path(__file__).parents[3] / "studies" / "lv_ssl" / "summary.json"
EPOCHS = {"small": 3, "paper": 100}
BATCH = {"small": 256, "paper": 512}
BITS = {"small": 256, "paper": 2048}
DIRECTIONS = 64  # dimension of the sphere
SCORES = {"bits": "entropy", "directions": "1 / kappa"}
RULE = (
    "Partly is the most that this size can say, for the abstract's fine-tuned accuracies are of a "
    "ResNet50 on CIFAR10 and ImageNet. It means one of two halves for every seed, and the headline "
    "says which. Compression: a linear probe on the hard bits is within 8 points of the float "
    "features', and more bits never cost more than a point. Uncertainty, of the directions: the "
    "rank correlation of mean uncertainty and level is at least 0.8 over blur and over cropping, "
    "and it tells wrong nearest neighbours from right ones with an AUROC above 0.55."
)


@dataclass(frozen=True)
class Pair:
    """One seed: an encoder under bits and one under directions, measured."""

    bits: "Measured"
    curve: "RateAccuracy"
    directions: "Measured"


class Station:
    """Two heads on real images: codes of bits, and directions that know how sure they are."""

    claim = (
        "Contrastive models with latent variables attribute an uncertainty to their inputs, are "
        "better after fine-tuning, and give highly compressed representations (588x) that are "
        "useful for classification and regression."
    )
    budget_s = 40
    needs: tuple[str, ...] = ()

    def run(self, context: Context) -> StationResult:
        """Train both heads for every seed, prune bits, blur and crop."""
        from tenfold.data.images import at_scale

        split = at_scale(context.scale, context.data_root)
        pairs: list[Pair] = []
        for seed in range(context.seeds):
            pair, latents = _one_seed(context, split, seed)
            pairs.append(pair)
        tables = _tables(pairs, split, BITS[context.scale])
        if STUDY.is_file():
            tables |= json.loads(STUDY.read_text(encoding="utf-8"))["tables"]
        return StationResult(
            verdict=judge(pairs),
            headline=_headline(pairs, BITS[context.scale]),
            tables=tables,
            figures=[*_figures(pairs), *_extremes(latents, split)],
            notes=[
                RULE,
                f"{split.name}; {EPOCHS[context.scale]} epochs of batch {BATCH[context.scale]}, "
                f"{context.seeds} seed(s); bits: Bernoulli with a gain; directions: von "
                "Mises-Fisher, 4 samples inside the logarithm (MCInfoNCE).",
                "588 is 224 x 224 x 3 x 8 bits over 2,048; against 2,048 float32 features the "
                "same code saves a factor of 32.",
            ],
        )


def _one_seed(context: Context, split: "Split", seed: int) -> tuple[Pair, "Latents"]:
    """Train and measure both heads; the directions' latents too, for their images."""
    import torch

    from tenfold.encoders import resnet18, small_encoder
    from tenfold.latents import Recipe, curve_of, fit_latents, measure_latents
    from tenfold.methods import seeded
    from tenfold.training import Schedule

    schedule = Schedule(EPOCHS[context.scale], BATCH[context.scale])
    make, width = (resnet18, 512) if context.scale == "paper" else (small_encoder, 128)
    images = torch.tensor(split.train, device=context.device)
    bits, channels = BITS[context.scale], split.train.shape[1]
    recipes = {
        "bits": Recipe("bernoulli", bits),
        "directions": Recipe("vmf", DIRECTIONS, samples=4, estimator="mc"),
    }
    steps = schedule.steps(len(images))
    found: dict[str, Measured] = {}
    latents: dict[str, Latents] = {}
    for n, (name, recipe) in enumerate(recipes.items()):

        def progress(done: int, total: int, before: int = seed * 2 + n) -> None:
            context.progress(before * steps + done, context.seeds * 2 * steps)

        encoder = seeded(seed, lambda: make(channels)).to(context.device)
        latents[name] = fit_latents(
            recipe, encoder, images,
            features=width, schedule=schedule, seed=seed, progress=progress,
        )  # fmt: skip
        found[name] = measure_latents(
            latents[name], split, device=context.device, only=SCORES[name]
        )
    keep = [2**n for n in range(3, 12) if 2**n < bits]
    curve = curve_of(latents["bits"], split, [*keep, bits], device=context.device)
    return Pair(found["bits"], curve, found["directions"]), latents["directions"]


def judge(pairs: Sequence[Pair]) -> Verdict:
    """The verdict by `RULE`."""
    return "partly" if any(halves(pairs)) else "not at this scale"


def halves(pairs: Sequence[Pair]) -> tuple[bool, bool]:
    """Whether compression and uncertainty each held for every seed."""
    compressed = all(
        p.bits.probes["bits"].value >= p.bits.probes["features"].value - 0.08
        and p.curve.falls() <= 0.01
        for p in pairs
    )
    score = SCORES["directions"]
    uncertain = all(
        p.directions.auroc[score] > 0.55
        and all(m.correlation >= 0.8 for m in p.directions.rises[score].values())
        for p in pairs
    )
    return compressed, uncertain


def _headline(pairs: Sequence[Pair], bits: int) -> str:
    first, score = pairs[0], SCORES["directions"]
    rises = first.directions.rises[score]
    compressed, uncertain = ("held" if half else "did not hold" for half in halves(pairs))
    return (
        f"compression {compressed}: {bits} hard bits {first.bits.probes['bits']}, float features "
        f"{first.bits.probes['features']}; uncertainty {uncertain}: rank correlation with blur "
        f"{rises['blur'].correlation:+.2f} (shuffled {rises['blur'].control:+.2f}), with cropping "
        f"{rises['crop'].correlation:+.2f} ({rises['crop'].control:+.2f}), AUROC "
        f"{first.directions.auroc[score]:.3f}"
    )


def _tables(pairs: Sequence[Pair], split: "Split", bits: int) -> dict[str, dict[str, Any]]:
    from lv_ssl import CompressionReport

    shape = split.train.shape[1:]
    sizes = CompressionReport(shape, 8, bits, 512 if bits == 2048 else 128)
    paper = CompressionReport((224, 224, 3), 8, 2048)
    saved = {
        "code": [f"{bits} bits, here", "2048 bits, the paper's size"],
        "times less than the image": [sizes.ratio, paper.ratio],
        "float32 features": [sizes.features, paper.features],
        "times less than those": [sizes.feature_ratio, paper.feature_ratio],
    }
    heads = [
        (seed, name, measured)
        for seed, pair in enumerate(pairs)
        for name, measured in (("bits", pair.bits), ("directions", pair.directions))
    ]
    table = {
        "latents": [name for _, name, _ in heads],
        "seed": [seed for seed, _, _ in heads],
        "probe, float features": [str(m.probes["features"]) for _, _, m in heads],
        "probe, posterior mean": [str(m.probes["mean"]) for _, _, m in heads],
        "probe, hard bits": [str(m.probes.get("bits", "")) for _, _, m in heads],
        "rate, bits": [round(m.rate, 1) for _, _, m in heads],
        "uncertainty": [SCORES[name] for _, name, _ in heads],
        "AUROC of wrong neighbours": [round(m.auroc[SCORES[n]], 3) for _, n, m in heads],
    }
    for change in ("blur", "crop"):
        column = [m.rises[SCORES[name]][change] for _, name, m in heads]
        table[f"rank correlation, {change}"] = [round(m.correlation, 3) for m in column]
        table[f"shuffled, {change}"] = [round(m.control, 3) for m in column]
    return {"What the latents are worth": table, "What a code saves": saved}


def _figures(pairs: Sequence[Pair]) -> list[Lines]:
    first = pairs[0]
    kept = [
        Series(f"hard bits, seed {n}", pair.curve.bits, [100 * a for a in pair.curve.accuracy])
        for n, pair in enumerate(pairs)
    ]
    levels = [
        (f"{name}, seed 0", 100 * first.bits.probes[key].value)
        for name, key in (("float features", "features"), ("probabilities", "mean"))
    ]
    figures = [
        Lines("Accuracy over bits: those of lowest rate pruned", "bits", "linear probe, %",
              kept, levels, log_x=True)
    ]  # fmt: skip
    for change, label in (("blur", "sigma of the blur, pixels"), ("crop", "area lost, share")):
        lines = []
        for name, measured in (("directions", first.directions), ("bits", first.bits)):
            found = measured.rises[SCORES[name]][change]
            share = 100 * (found.mean / found.mean[0] - 1)
            lines.append(Series(f"{name}: {SCORES[name]}", found.levels.tolist(), share.tolist()))
        figures.append(
            Lines(f"Uncertainty over {change}", label, "mean, % above the clean image's", lines)
        )
    return figures


def _extremes(latents: "Latents", split: "Split") -> list[Images]:
    import torch

    uncertainty = latents.posterior(torch.tensor(split.test, device=_device(latents)))
    order = np.argsort(uncertainty.uncertainty().cpu().numpy())
    rows = {"Least certain test images": order[::-1][:12], "Most certain": order[:12]}
    return [
        Images(title, _pictures(split.test[chosen]), _captions(split, chosen))
        for title, chosen in rows.items()
    ]


def _pictures(images: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(images[:, 0] if images.shape[1] == 1 else np.moveaxis(images, 1, 3))


def _captions(split: "Split", rows: np.ndarray) -> list[str]:
    labels = split.test_labels[rows]
    return [split.classes[n] if split.classes else str(n) for n in labels]


def _device(latents: "Latents") -> Any:
    return next(latents.encoder.parameters()).device

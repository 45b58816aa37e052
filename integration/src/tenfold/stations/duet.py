"""duet: the angle read off the group axis, the axis shifted and decoded, and what features hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tenfold.station import (
    Context,
    Explorer,
    Lines,
    Series,
    StationResult,
    Verdict,
    committed_study,
)

if TYPE_CHECKING:
    import torch
    from duet import Duet
    from duet.decoder import Decoder

    from tenfold.data.images import Split
    from tenfold.duet_runs import Kind

STUDY = Path(__file__).parents[3] / "studies" / "duet" / "summary.json"
STEPS = {"small": 240, "paper": 8000}
DECODER_STEPS = {"small": 160, "paper": 2000}
BATCH = {"small": 128, "paper": 256}
SHOWN, EXPLORED = 4, 400  # images of the grid, images to look through
KINDS: tuple["Kind", ...] = ("duet", "simclr")
RULE = (
    "Reproduced means all three, for every seed. Read: the median error of the angle read off the "
    "group marginal is at most 25 degrees (chance 90), and at most 1.5 times as large where a disc "
    "hides the corners. Hold: the linear probe of the classes is at least SimCLR's minus 2 points, "
    "and the error of the angle by ridge regression on all features at most 0.7 of SimCLR's. "
    "Steer: an image that is decoded after a shift of 45, 90 or 135 degrees is nearer to the truth "
    "than without the shift and than after the opposite one, on average. Partly: the first of "
    "them. The study has longer runs, and stricter bars."
)


@dataclass(frozen=True)
class Run:
    """What one seed found.

    Attributes:
        read: by method, as `tenfold.duet_runs.readouts`.
        holds: by method, as `tenfold.duet_runs.probes`.
        steered: DUET's, as `tenfold.duet_runs.generation`.
    """

    read: Mapping[str, Mapping[str, Any]]
    holds: Mapping[str, Mapping[str, Any]]
    steered: Sequence[Mapping[str, Any]]


class Station:
    """DUET and SimCLR trained alike on rotated images, and a decoder above DUET."""

    claim = (
        "Representations that are a matrix, content by group, and equivariant to what is done to "
        "the input keep that information and stay expressive: unlike those of SimCLR and ESSL "
        "they can be steered to generate images, with lower reconstruction error, and they "
        "classify and transfer better."
    )
    budget_s = 80
    needs: tuple[str, ...] = ()

    def run(self, context: Context) -> StationResult:
        """Train both a seed, read the angle, shift and decode, and probe."""
        from tenfold.data.images import at_scale

        split = at_scale(context.scale, context.data_root)
        runs, first, decoder = _train(context, split)
        study = committed_study(STUDY)
        return StationResult(
            verdict=judge(runs),
            headline=headline(runs),
            tables={
                "Shifted in the representation, then decoded; the truth beneath": _grid(
                    first, decoder, split, context
                ),
                "Pose and classes": methods_table(runs),
                "Mean squared error of what is decoded after a shift": steered_table(runs),
                **study["tables"],
            },
            figures=[
                angle_figure(runs[0].read["duet"]["angles"]),
                steered_figure(runs),
                _explorer(first, split, context),
                *study["figures"],
            ],
            notes=[
                RULE,
                f"{split.name}; {STEPS[context.scale]} steps of batch {BATCH[context.scale]}, "
                f"{context.seeds} seed(s): a crop and a rotation by any angle; lambda 500 in the "
                "mean form of the content loss; the decoder has "
                f"{DECODER_STEPS[context.scale]} steps. The intervals of the study are over three "
                "seeds.",
                "Shift, yardsticks and the readout are our choice: the paper's code has none.",
                "Dresses, trousers and bags look nearly the same upside down, so their angle is "
                "read worst, and half a turn says little.",
                *study["headlines"],
            ],
        )


def _train(context: Context, split: "Split") -> tuple[list[Run], "Duet", "Decoder"]:
    """What every seed finds, and the first seed's DUET and decoder."""
    from tenfold.duet_runs import (
        Recipe,
        decoder_of,
        generation,
        made,
        pixels,
        probes,
        readouts,
        train,
    )

    steps, more = STEPS[context.scale], DECODER_STEPS[context.scale]
    recipe = Recipe(steps, more, BATCH[context.scale])
    images = pixels(split.train).to(context.device)
    whole = context.seeds * (2 * steps + more)
    done, runs = 0, list[Run]()
    kept: list[tuple[Duet, Decoder]] = []

    def progress(now: int, _total: int) -> None:
        context.progress(done + now, whole)

    for seed in range(context.seeds):
        methods = {kind: made(kind, seed, channels=images.shape[1]) for kind in KINDS}
        for method in methods.values():
            train(method.to(context.device), images, recipe, seed, progress)
            done += steps
        ours = cast("Duet", methods["duet"])
        decoder = decoder_of(ours, images, recipe, seed, progress)
        done += more
        kept.append((ours, decoder))
        where = {"device": context.device}
        runs.append(Run(
            read={kind: readouts(method, split, **where) for kind, method in methods.items()},
            holds={kind: probes(method, split, **where) for kind, method in methods.items()},
            steered=generation(ours, decoder, split, **where),
        ))  # fmt: skip
    return runs, *kept[0]


def judge(runs: Sequence[Run]) -> Verdict:
    """The verdict by `RULE`."""
    if all(reads(run) and holds(run) and steers(run) for run in runs):
        return "reproduced"
    return "partly" if all(reads(run) for run in runs) else "not at this scale"


def reads(run: Run) -> bool:
    """Whether the angle is there to be read, and not in the corners."""
    found = run.read["duet"]
    median, masked = found["readout"]["median"], found["masked"]["median"]
    return median <= 25 and masked <= 1.5 * median


def holds(run: Run) -> bool:
    """Whether classes and angle are in the features, next to SimCLR's."""
    ours, theirs = run.holds["duet"], run.holds["simclr"]
    shares = [100 * h["classes"]["matrix"][0] / h["classes"]["matrix"][1] for h in (ours, theirs)]
    return shares[0] >= shares[1] - 2 and ours["ridge"]["mean"] <= 0.7 * theirs["ridge"]["mean"]


def steers(run: Run) -> bool:
    """Whether a shift brings the decoded image nearer to the truth than both yardsticks."""
    rows = [row for row in run.steered if row["what"] == "image" and row["amount"] < 180]
    return all(row["moved"] < min(row["still"], row["wrong"]) for row in rows)


def headline(runs: Sequence[Run]) -> str:
    """The first seed in one sentence."""
    from tenfold.probes import Accuracy

    run = runs[0]
    read = run.read["duet"]
    shares = [str(Accuracy(*run.holds[kind]["classes"]["matrix"])) for kind in KINDS]
    ridge = [run.holds[kind]["ridge"]["mean"] for kind in KINDS]
    rows = [row for row in run.steered if row["what"] == "image" and row["amount"] < 180]
    ratios = [[row["moved"] / row[name] for row in rows] for name in ("still", "wrong")]
    spans = [f"{min(r):.2f} to {max(r):.2f}" for r in ratios]
    medians = read["readout"]["median"], read["masked"]["median"]
    return (
        f"the angle is read off the marginal with a median error of {medians[0]:.1f} degrees "
        f"(chance 90; corners hidden {medians[1]:.1f}); classes by a linear probe: DUET "
        f"{shares[0]}, SimCLR {shares[1]}; angle by ridge regression {ridge[0]:.0f} and "
        f"{ridge[1]:.0f} degrees on average; shifted by 45 to 135 degrees and decoded, the error "
        f"is {spans[0]} of that without the shift and {spans[1]} of that after the opposite one"
    )


def methods_table(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """One row a seed and method."""
    from tenfold.probes import Accuracy

    rows = [(seed, kind, run) for seed, run in enumerate(runs) for kind in KINDS]

    def read(name: str, part: str) -> list[float]:
        return [round(run.read[kind][part][name], 1) for _, kind, run in rows]

    return {
        "method": [{"duet": "DUET", "simclr": "SimCLR"}[kind] for _, kind, _ in rows],
        "seed": [seed for seed, _, _ in rows],
        "angle off the marginal, median, degrees": read("median", "readout"),
        "mean": read("mean", "readout"),
        "median, corners hidden": read("median", "masked"),
        "angle by ridge on all features, mean": [
            round(run.holds[kind]["ridge"]["mean"], 1) for _, kind, run in rows
        ],
        "classes, linear probe": [
            str(Accuracy(*run.holds[kind]["classes"]["matrix"])) for _, kind, run in rows
        ],
    }


def steered_table(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """One row a seed and shift."""
    rows = [
        (seed, row)
        for seed, run in enumerate(runs)
        for row in run.steered
        if row["what"] == "image"
    ]
    names = {"moved": "shifted", "still": "not shifted", "wrong": "shifted the opposite way",
             "oracle": "oracle: the moved image itself"}  # fmt: skip
    table: dict[str, list[Any]] = {
        "seed": [seed for seed, _ in rows],
        "shift, degrees": [row["amount"] for _, row in rows],
    }
    for name, label in names.items():
        table[label] = [round(row[name], 4) for _, row in rows]
    return table


def angle_figure(angles: Sequence[Sequence[float]]) -> Lines:
    """The angle that was read over the true one: median and quartiles."""
    x = [row[0] for row in angles]
    low, mid, high = ([row[0] + row[n] for row in angles] for n in (1, 2, 3))
    return Lines(
        "Angle read against true angle (seed 0)", "true angle, degrees", "read, degrees",
        [Series("DUET: median, between the quartiles", x, mid, low, high),
         Series("exact", x, x)],
    )  # fmt: skip


def steered_figure(runs: Sequence[Run]) -> Lines:
    """Error of what is decoded after a shift, with its yardsticks, the mean over the seeds."""
    names = {"moved": "shifted", "still": "not shifted", "wrong": "shifted the opposite way",
             "oracle": "oracle: the moved image itself"}  # fmt: skip
    rows = [[row for row in run.steered if row["what"] == "image"] for run in runs]
    x = [row["amount"] for row in rows[0]]
    series = []
    for name, label in names.items():
        values = np.array([[row[name] for row in one] for one in rows])
        series.append(Series(label, x, values.mean(0).tolist(), values.min(0).tolist(),
                             values.max(0).tolist()))  # fmt: skip
    return Lines("Shift and decode", "shift, degrees", "mean squared error", series)


def _grid(
    method: "Duet", decoder: "Decoder", split: "Split", context: Context
) -> dict[str, list[Any]]:
    """Two rows an image: what was made after each shift, and the truth."""
    from duet.grid import controlled_grid, to_pixels

    from tenfold.duet_runs import TURN, pixels

    images = pixels(split.test[_one_a_class(split)[:SHOWN]]).to(context.device)
    grid = controlled_grid(method, decoder, images, TURN)
    table: dict[str, list[Any]] = {
        "": [what for _ in grid.starts for what in ("made", "truth")],
        "encoded": [to_pixels(start) for start in grid.starts for _ in range(2)],
    }
    for n, value in enumerate(grid.values):
        pairs = zip(grid.made[:, n], grid.truth[:, n], strict=True)
        table[f"{value:+.0f} degrees"] = [to_pixels(image) for pair in pairs for image in pair]
    return table


def _one_a_class(split: "Split") -> list[int]:
    """The first test image of each class, those that show their angle best first."""
    order = [9, 7, 5, 2, 6, 4, 0, 1, 8, 3]  # boots, shoes and sleeves before dresses
    first = {int(c): int(np.argmax(split.test_labels == c)) for c in np.unique(split.test_labels)}
    return [first[c] for c in order if c in first]


def _explorer(method: "Duet", split: "Split", context: Context) -> Explorer:
    """Turned test images, what was read of each, and how far that was off."""
    from duet.grid import to_pixels

    from tenfold.duet_runs import TURN, pixels, read, turned

    count = min(EXPLORED, len(split.test))
    view, p = turned(pixels(split.test[:count]).to(context.device), seed=17)
    said: torch.Tensor = read(method, view)
    error = ((360 * (said - p)).cpu() + 180) % 360 - 180
    table = {
        "image": np.stack([to_pixels(image) for image in view]),
        "class": [split.classes[n] for n in split.test_labels[:count]],
        "true angle": (360 * p - 180).cpu().round().tolist(),
        "angle read": TURN.denormalise(said).cpu().round().tolist(),
        "error": error.round().tolist(),
    }
    return Explorer(
        f"The angle of {count} turned test images, as DUET reads it",
        table,
        [
            [("Scatter", {"x": "true angle", "y": "angle read", "color": "class"})],
            [("Summary", {})],
            [("Instances", {"media": "image"})],
        ],
    )

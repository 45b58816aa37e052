"""deeppcr: a backward over thousands of steps as one solve, and a sampler's steps together."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tenfold.station import Context, Images, Lines, Series, StationResult, Verdict, committed_study

if TYPE_CHECKING:
    from tenfold.chains import Race, Sampled

STUDY = Path(__file__).parents[3] / "studies" / "deeppcr" / "summary.json"
DEPTHS, WIDTHS = (16, 64, 256, 1024, 4096), (4, 8)
LENGTHS = (1, 2, 3, 16, 100, 1000, 1024, 1025, 4096)  # of chains whose sweeps are counted
CELLS, CELL_STEPS = ("RNN", "GRU"), 1024
STEPS, CLASSES = 100, (7, 10)  # of a sampler; a striped 3 and a 2 with a dot
LABELS = {"ddim": "DDIM", "euler": "Euler", "ddpm": "DDPM"}
ZOOM = 8  # of a sampled image's side
TOLERANCE = 1e-3  # of a sampler's residual, in units of the sample
RULE = (
    "Partly is the most that a CPU can say, for the abstract's factors and a time that grows with "
    "log2 L are a GPU's. It means all of: ceil(log2 L) sweeps at every length; gradients that "
    "equal autograd's to 1e-4 of their length in single precision and 1e-10 in double; at depth "
    "4,096 and width 8 a backward at least 40 times as fast as autograd's; and every sampler's 100 "
    "steps in at most 20 rounds, its images within 1e-3 of the loop's. On a GPU, reproduced means "
    "these and a backward that takes at most twice as long at 4,096 layers as at 256."
)


class Station:
    """Deep tanh networks, recurrent cells, and three samplers of a tiny diffusion model."""

    claim = (
        "Sequential operations of L steps, as layers of a network or of a sampler, take O(log2 L) "
        "when solved as one system: up to 30x (forward) and 200x (backward) faster in multi-layer "
        "perceptrons, 7x in training ResNets of up to 1024 layers, 11x in diffusion."
    )
    budget_s = 40
    needs: tuple[str, ...] = ()

    def run(self, context: Context) -> StationResult:
        """Compare gradients and race them, count sweeps, and sample both ways."""
        from tenfold.chains import cell_race, forward_race, race, sampler, sweeps

        jobs = [(width, depth) for width in WIDTHS for depth in DEPTHS]
        device, classes = context.device, CLASSES * context.seeds
        done, total = 0, len(jobs) + len(WIDTHS) + len(CELLS) + 4 * len(LABELS)

        def counted(steps: int = 1) -> None:
            nonlocal done
            done += steps
            context.progress(done, total)

        races: list[Race] = []
        for width, depth in jobs:
            races.append(race(depth, width, device=device))
            counted()
        forward: dict[int, dict[str, float]] = {}
        for width in WIDTHS:
            forward[width] = forward_race(DEPTHS[-1], width, device=device)
            counted()
        cells: dict[str, dict[str, float]] = {}
        for name in CELLS:
            cells[name] = cell_race(name, CELL_STEPS, WIDTHS[-1], device=device)
            counted()
        sampled: list[Sampled] = []
        for name in LABELS:
            sampled.append(sampler(name, STEPS, classes, tol=TOLERANCE, device=device))
            counted(4)
        counts = sweeps(LENGTHS)
        study = committed_study(STUDY)
        return StationResult(
            verdict=judge(races, counts, sampled, device),
            headline=_headline(races, sampled),
            tables=_tables(races, forward, cells, counts, sampled) | study["tables"],
            figures=[
                *_figures(races, counts, sampled),
                _images(sampled),
                *study["figures"],
            ],
            notes=[RULE, *_notes(device, len(classes)), *study["headlines"]],
        )


def judge(
    races: Sequence["Race"],
    counts: Mapping[int, int],
    sampled: Sequence["Sampled"],
    device: str = "cpu",
) -> Verdict:
    """The verdict by `RULE`."""
    deepest = max(races, key=lambda race: (race.depth, race.width))
    holds = (
        all(count == log2_ceiling(length) for length, count in counts.items())
        and all(race.error <= 1e-4 and race.exact <= 1e-10 for race in races)
        and deepest.gain >= 40
        and all(one.rounds <= 20 and one.error <= 1e-3 for one in sampled)
    )
    if not holds:
        return "not at this scale"
    shallow = {race.width: race for race in races if race.depth == 256}
    flat = deepest.width in shallow and deepest.parallel <= 2 * shallow[deepest.width].parallel
    return "reproduced" if device != "cpu" and flat else "partly"


def log2_ceiling(length: int) -> int:
    """``ceil(log2 length)``, without rounding."""
    return (length - 1).bit_length()


def _headline(races: Sequence["Race"], sampled: Sequence["Sampled"]) -> str:
    gains = [f"{race.gain:.0f} times (width {race.width})" for race in _deepest(races)]
    rounds = ", ".join(f"{LABELS[one.name]} {one.rounds}" for one in sampled)
    error = max(one.error for one in sampled)
    return (
        f"backward of {DEPTHS[-1]:,} layers {' and '.join(gains)} as fast as autograd's, equal to "
        f"rounding; of {STEPS} denoising steps, rounds that wait for one another: {rounds}, images "
        f"within {error:.0e}"
    )


def _deepest(races: Sequence["Race"]) -> list["Race"]:
    return [race for race in races if race.depth == DEPTHS[-1]]


def _tables(
    races: Sequence["Race"],
    forward: Mapping[int, Mapping[str, float]],
    cells: Mapping[str, Mapping[str, float]],
    counts: Mapping[int, int],
    sampled: Sequence["Sampled"],
) -> dict[str, dict[str, list[Any]]]:
    return {
        "Backward of a tanh network": {
            "layers": [race.depth for race in races],
            "width": [race.width for race in races],
            "difference, float32": [float(f"{race.error:.1e}") for race in races],
            "difference, float64": [float(f"{race.exact:.1e}") for race in races],
            "autograd, ms": [_ms(race.loop) for race in races],
            "one solve, ms": [_ms(race.parallel) for race in races],
            "times as fast": [round(race.gain, 1) for race in races],
        },
        f"Forward of a tanh recurrence, {DEPTHS[-1]:,} steps": {
            "width": list(forward),
            "Newton's iterations": [row["iterations"] for row in forward.values()],
            "largest difference": [float(f"{row['error']:.1e}") for row in forward.values()],
            "loop, ms": [_ms(row["loop"]) for row in forward.values()],
            "Newton, ms": [_ms(row["newton"]) for row in forward.values()],
            "times as fast": [round(row["loop"] / row["newton"], 1) for row in forward.values()],
        },
        f"Backward of a recurrent cell, {CELL_STEPS:,} steps, width {WIDTHS[-1]}": {
            "cell": list(cells),
            "difference, float32": [float(f"{cell['error']:.1e}") for cell in cells.values()],
            "torch.nn, ms": [_ms(cell["torch"]) for cell in cells.values()],
            "deeppcr, ms": [_ms(cell["deeppcr"]) for cell in cells.values()],
            "times as fast": [round(c["torch"] / c["deeppcr"], 1) for c in cells.values()],
        },
        "Sweeps of cyclic reduction": {
            "steps L": list(counts),
            "sweeps": list(counts.values()),
            "ceil(log2 L)": [log2_ceiling(length) for length in counts],
        },
        f"Samplers, {STEPS} steps": {
            "sampler": [LABELS[one.name] for one in sampled],
            "rounds": [one.rounds for one in sampled],
            "loop's rounds": [STEPS] * len(sampled),
            "pixels differ by": [float(f"{one.error:.1e}") for one in sampled],
            "rows of the model": [one.rows for one in sampled],
            "loop's rows": [one.loop_rows for one in sampled],
        },
    }


def _ms(seconds: float) -> float:
    return float(f"{1e3 * seconds:.3g}")


def _figures(
    races: Sequence["Race"], counts: Mapping[int, int], sampled: Sequence["Sampled"]
) -> list[Lines]:
    lines = []
    for width in WIDTHS:
        rows = [race for race in races if race.width == width]
        depths = [race.depth for race in rows]
        loop, parallel = ([1e3 * getattr(r, who) for r in rows] for who in ("loop", "parallel"))
        lines.append(Series(f"autograd through the loop, width {width}", depths, loop))
        lines.append(Series(f"one solve, width {width}", depths, parallel))
    lengths = list(counts)
    counted = Series("counted", lengths, list(counts.values()))
    formula = Series("ceil(log2 L)", lengths, [log2_ceiling(length) for length in lengths])
    residuals = [
        Series(LABELS[one.name], list(range(1, len(one.residuals) + 1)), list(one.residuals))
        for one in sampled
    ]
    title = "Backward over depth, tanh network"
    return [
        Lines(title, "layers", "milliseconds", lines, log_x=True, log_y=True),
        Lines("Sweeps of cyclic reduction", "steps", "sweeps", [counted, formula], log_x=True),
        Lines(
            f"Samplers: what {STEPS} steps still miss",
            "round",
            "largest residual",
            residuals,
            levels=[("tolerance", TOLERANCE)],
            log_y=True,
        ),
    ]


def _images(sampled: Sequence["Sampled"]) -> Images:
    images: list[np.ndarray] = []
    captions: list[str] = []
    for one in sampled:
        images += [one.loop, one.parallel]
        captions += [f"{LABELS[one.name]}, loop"] * len(one.loop)
        captions += [f"{LABELS[one.name]}, {one.rounds} rounds"] * len(one.loop)
    large = np.concatenate(images).repeat(ZOOM, 1).repeat(ZOOM, 2)
    return Images(f"The same noise by a loop of {STEPS} calls, and together", large, captions)


def _notes(device: str, images: int) -> list[str]:
    from deeppcr import kernel

    how = (
        "On a CPU the solve is a serial loop in C, which does the least work"
        if kernel.library() is not None
        else "No compiler was there when deeppcr was installed: the solve is in pure torch"
    )
    return [
        f"Times are medians of turns on {device}, one thread, both ways in turn, in the "
        "state that this machine was in; one sample, so the loop spends its time on what Python "
        "and autograd need for a step. Its weights are unbound before it starts. The study's table "
        "has larger batches and widths, and where the loop wins.",
        f"{how}: the gain is over autograd's steps, not of log-depth. What log-depth gains in wall "
        "time, for layers as for denoising steps, only a GPU shows (--device cuda).",
        "A sampler's rounds are calls of the model that wait for one another. Each takes all steps "
        "at once, so that on a CPU sampling together takes longer than the loop.",
        "The diffusion model is ours (0.7 M weights, digits of scikit-learn in three styles, "
        f"16x16); {images} images a sampler, and DDPM adds the same noise both ways.",
    ]

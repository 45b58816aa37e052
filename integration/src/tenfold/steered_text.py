"""SmolLM2, or any causal model, steered by degrees: fits, controls, and what a strength does."""

import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from act_steer import Steering, UnboundedWarning, fit
from act_steer.apply import StrengthWarning
from act_steer.transport import Support

from tenfold.data.sentences import Sides, Task, neutral
from tenfold.text_scores import (
    Estimate,
    Scores,
    continuations,
    contrast,
    mean,
    perplexity_ratio,
    score,
    tone,
    with_keyword,
)

if TYPE_CHECKING:
    from torch import Tensor

STRENGTHS = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Arm:
    """How maps are fitted.

    Attributes:
        method: of act-steer: ``linear``, ``mean``, ``gaussian``, ``aura``.
        modules: of `act_steer.fit`: ``norms``, ``attention`` (its outputs), ``mlp``.
        support: ``minmax``, the range of the source, or ``all``, which can be folded.
        shuffled: the control: what is source and what is target is drawn by lot.
    """

    method: str
    modules: str
    support: Support
    shuffled: bool = False

    def __str__(self) -> str:
        reach = {"minmax": "", "all": ", anywhere"}.get(str(self.support), f", {self.support}")
        lot = ", labels by lot" if self.shuffled else ""
        name = {"aura": "AurA"}.get(self.method, self.method.capitalize())
        return f"{name}, {self.modules}{reach}{lot}"


LINEAR = Arm("linear", "norms", "minmax")
MEAN = Arm("mean", "norms", "all")
FOLDABLE = Arm("linear", "attention", "all")
CONTROL = Arm("linear", "norms", "minmax", shuffled=True)


def fit_arm(
    model: Any, tokenizer: Any, sides: Sides, arm: Arm, *, few: int | None = None, seed: int = 0
) -> Steering:
    """Fit an arm's maps on some of the sentences.

    Args:
        model: a causal model of transformers.
        tokenizer: its tokenizer.
        sides: the sentences.
        arm: how.
        few: how many a side, drawn by ``seed``; all of them by default, in their order.
        seed: of that draw, and of the lot of the control.
    """
    source, target = chosen(sides, few, seed)
    if arm.shuffled:
        source, target = by_lot(source, target, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnboundedWarning)  # arms without limits are there to see
        return fit(
            model, source, target, tokenizer=tokenizer, method=arm.method, modules=arm.modules,
            support=arm.support, progress=False,
        )  # fmt: skip


def chosen(sides: Sides, few: int | None, seed: int) -> tuple[list[str], list[str]]:
    """Return ``few`` sentences a side, drawn without replacement; all where it is None.

    Raises:
        ValueError: if a side has not that many.
    """
    if few is None:
        return list(sides.source), list(sides.target)
    if not 1 <= few <= min(len(sides.source), len(sides.target)):
        counts = f"{len(sides.source)} and {len(sides.target)}"
        raise ValueError(f"few must be between 1 and what each side has, {counts}; got {few}")
    rng = np.random.default_rng([seed, 1])
    source, target = (
        [side[int(n)] for n in rng.permutation(len(side))[:few]]
        for side in (sides.source, sides.target)
    )
    return source, target


def by_lot(source: list[str], target: list[str], seed: int) -> tuple[list[str], list[str]]:
    """Return two sides of the same sizes, each half of source and half of target."""
    rng = np.random.default_rng([seed, 2])
    swapped = min(len(source), len(target)) // 2
    source, target = (
        [side[int(n)] for n in rng.permutation(len(side))] for side in (source, target)
    )
    return target[:swapped] + source[swapped:], source[:swapped] + target[swapped:]


@contextmanager
def steered(model: Any, steering: Steering | None, strength: "float | Tensor") -> Iterator[None]:
    """The model at a strength, negative ones without a warning; None leaves it as it is."""
    if steering is None:
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StrengthWarning)
        with steering.apply(model, strength=strength):
            yield


@dataclass(frozen=True)
class Held:
    """What a model makes of the held-out sentences of a task, and of neutral ones.

    Attributes:
        target: scores of the target's sentences.
        source: of the source's.
        neutral: of the neutral ones.
    """

    target: Scores
    source: Scores
    neutral: Scores


def held_out(
    model: Any,
    tokenizer: Any,
    task: Task,
    *,
    few: int | None = None,
    neutrals: int | None = None,
    batch: int = 32,
    known: Scores | None = None,
) -> Held:
    """Score the held-out sentences, or the first ``few`` of each kind.

    Args:
        model: a causal model of transformers.
        tokenizer: its tokenizer.
        task: whose sentences.
        few: of each kind; None is all of them.
        neutrals: of the neutral ones, where these are to be fewer.
        batch: of `score`.
        known: what the model makes of the neutral sentences, where that was scored before.
    """
    target, source, beside = (
        texts[:few] for texts in (task.held_out.target, task.held_out.source, neutral())
    )
    return Held(
        score(model, tokenizer, target, batch=batch),
        score(model, tokenizer, source, batch=batch),
        known or score(model, tokenizer, beside[:neutrals], batch=batch),
    )


@dataclass(frozen=True)
class Effect:
    """What a strength does to the held-out sentences, each compared with itself, unsteered.

    Attributes:
        strength: 0 is the model as it is.
        target: gain of the target's sentences, nats per token, the mean over sentences.
        source: gain of the source's sentences.
        contrast: the gain of the target's less that of the source's.
        perplexity: of neutral sentences, as a multiple of the unsteered.
    """

    strength: float
    target: Estimate
    source: Estimate
    contrast: Estimate
    perplexity: Estimate

    @classmethod
    def of(cls, strength: float, now: Held, plain: Held) -> "Effect":
        """Compare two scorings of the same sentences."""
        gained = now.target.per_token - plain.target.per_token
        lost = now.source.per_token - plain.source.per_token
        return cls(
            strength,
            mean(gained),
            mean(lost),
            contrast(gained, lost),
            perplexity_ratio(now.neutral, plain.neutral),
        )

    def __str__(self) -> str:
        return f"strength {self.strength:g}: {self.contrast} nats, perplexity x {self.perplexity}"


def effects(
    model: Any,
    tokenizer: Any,
    task: Task,
    steering: Steering,
    plain: Held,
    *,
    strengths: Sequence[float] = STRENGTHS,
    few: int | None = None,
) -> list[Effect]:
    """Return what each strength does, in the order of ``strengths``.

    Args:
        model: a causal model of transformers.
        tokenizer: its tokenizer.
        task: whose held-out sentences are scored.
        steering: maps that were fitted on its other sentences.
        plain: `held_out` of the unsteered model, of as many sentences.
        strengths: to apply.
        few: of `held_out`.
    """
    found = []
    for strength in strengths:
        with steered(model, steering, strength):
            found.append(Effect.of(strength, held_out(model, tokenizer, task, few=few), plain))
    return found


def to_table(arm: object, found: Sequence[Effect]) -> dict[str, list[Any]]:
    """Return a row a strength: the maps, contrast, both gains, and the perplexity beside."""
    return {
        "maps": [str(arm)] * len(found),
        "strength": [effect.strength for effect in found],
        "contrast, nats per token": [str(effect.contrast) for effect in found],
        "target": [round(effect.target.value, 2) for effect in found],
        "source": [round(effect.source.value, 2) for effect in found],
        "neutral perplexity, times": [str(effect.perplexity) for effect in found],
    }


@dataclass(frozen=True)
class Sample:
    """Sampled continuations at one strength.

    Attributes:
        strength: 0 is the model as it is.
        openers: what they begin with.
        texts: what the model wrote, one an opener.
        hits: how many of them hold a keyword of the task.
        tones: ``(N,)``, VADER's compound of each.
        perplexity: of opener and text under the unsteered model.
    """

    strength: float
    openers: Sequence[str]
    texts: Sequence[str]
    hits: int
    tones: np.ndarray
    perplexity: float


def sample(
    model: Any,
    tokenizer: Any,
    openers: Sequence[str],
    keywords: Collection[str],
    steering: Steering | None,
    strength: float,
    *,
    tokens: int = 24,
    seed: int = 0,
) -> Sample:
    """Sample one continuation of each opener at a strength, and say what is in them.

    Args:
        model: a causal model of transformers, unsteered.
        tokenizer: its tokenizer.
        openers: beginnings, in one batch.
        keywords: of the task, in lower case.
        steering: maps, or None.
        strength: to apply.
        tokens: to sample.
        seed: of the samples.
    """
    with steered(model, steering, strength):
        texts = continuations(model, tokenizer, openers, tokens=tokens, seed=seed)
    return _judged(model, tokenizer, openers, texts, keywords, (strength,))[0]


def samples(
    model: Any,
    tokenizer: Any,
    openers: Sequence[str],
    keywords: Collection[str],
    steering: Steering,
    strengths: Sequence[float],
    *,
    tokens: int = 24,
    seed: int = 0,
) -> list[Sample]:
    """Sample at several strengths in one batch, where each row has its own; see `sample`.

    On a processor one batch of forty rows takes a third of the time of five batches of eight.
    """
    import torch

    rows = torch.tensor(strengths, dtype=torch.float32).repeat_interleave(len(openers))
    with steered(model, steering, rows):
        texts = continuations(
            model, tokenizer, list(openers) * len(strengths), tokens=tokens, seed=seed
        )
    return _judged(model, tokenizer, openers, texts, keywords, strengths)


def _judged(
    model: Any,
    tokenizer: Any,
    openers: Sequence[str],
    texts: Sequence[str],
    keywords: Collection[str],
    strengths: Sequence[float],
) -> list[Sample]:
    """What is in the texts of each strength, an opener after the other."""
    n = len(openers)
    whole = [f"{openers[k % n]}{text}" for k, text in enumerate(texts)]
    scores = score(model, tokenizer, whole)
    found = []
    for k, strength in enumerate(strengths):
        own = slice(k * n, k * n + n)
        part = list(texts[own])
        perplexity = float(np.exp(-scores.total[own].sum() / scores.tokens[own].sum()))
        hits = with_keyword(part, keywords)
        found.append(Sample(strength, list(openers), part, hits, tone(part), perplexity))
    return found

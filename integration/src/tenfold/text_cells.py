"""What a study of steered sentences found, by task, maps and strength."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tenfold.steered_text import Arm
from tenfold.text_scores import Estimate, Scores, contrast, perplexity_ratio


@dataclass(frozen=True)
class Cell:
    """One task, arm and strength: gains a sentence, the mean over the seeds.

    Attributes:
        target: ``(N,)`` nats per token.
        source: ``(M,)``.
        neutral: ``(K,)`` nats that a neutral sentence loses.
        tokens: ``(K,)``.
        seeds: the contrast of each seed.
    """

    target: np.ndarray
    source: np.ndarray
    neutral: np.ndarray
    tokens: np.ndarray
    seeds: tuple[float, ...]

    @classmethod
    def of(cls, results: list[dict[str, Any]]) -> "Cell":
        """Average the results of several seeds, sentence by sentence."""
        target, source, neutral = (
            np.array([r[name] for r in results]) for name in ("target", "source", "neutral")
        )
        seeds = target.mean(1) - source.mean(1)
        return cls(target.mean(0), source.mean(0), neutral.mean(0),
                   np.array(results[0]["tokens"]), tuple(seeds.tolist()))  # fmt: skip

    @property
    def contrast(self) -> Estimate:
        """The target's gain less the source's; the interval is over the sentences."""
        return contrast(self.target, self.source)

    @property
    def perplexity(self) -> Estimate:
        """Of neutral sentences, as a multiple of the unsteered; over seeds the geometric mean."""
        zero = np.zeros(len(self.tokens))
        return perplexity_ratio(Scores(-self.neutral, self.tokens), Scores(zero, self.tokens))


Cells = dict[tuple[str, str, float], Cell]


def label(arm: dict[str, Any] | None) -> str:
    """How tables call an arm."""
    return str(Arm(**arm)) if arm else "unsteered"


def collected(runs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> Cells:
    """Cells by task, arm and strength."""
    grouped: dict[tuple[str, str, float], list[dict[str, Any]]] = defaultdict(list)
    for task, result in sorted(runs, key=lambda run: run[0]["seed"]):
        for strength, found in result.items():
            grouped[task["task"], label(task["arm"]), float(strength)].append(found)
    return {key: Cell.of(results) for key, results in grouped.items()}


def apart(first: Cell, second: Cell) -> tuple[Estimate, Estimate]:
    """Contrast of the first less the second's, and the ratio of their perplexities, paired."""
    gained = contrast(first.target - second.target, first.source - second.source)
    cost = perplexity_ratio(
        Scores(-first.neutral, first.tokens), Scores(-second.neutral, second.tokens)
    )
    return gained, cost

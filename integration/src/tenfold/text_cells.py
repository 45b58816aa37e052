"""What a study of steered sentences found, by task, maps and strength."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
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
        draws: what each seed found, by seed.
    """

    target: np.ndarray
    source: np.ndarray
    neutral: np.ndarray
    tokens: np.ndarray
    draws: Mapping[int, Mapping[str, Any]]

    @classmethod
    def of(cls, draws: Mapping[int, Mapping[str, Any]]) -> "Cell":
        """Average the results of several seeds, sentence by sentence."""
        target, source, neutral = (
            np.array([found[name] for found in draws.values()]).mean(0)
            for name in ("target", "source", "neutral")
        )
        tokens = next(iter(draws.values()))["tokens"]
        return cls(target, source, neutral, np.array(tokens), draws)

    def on(self, seeds: Collection[int]) -> "Cell":
        """The same of some of the seeds alone.

        Raises:
            ValueError: if it has none of them.
        """
        kept = {seed: found for seed, found in self.draws.items() if seed in seeds}
        if not kept:
            raise ValueError(f"there are seeds {sorted(self.draws)}, none of {sorted(seeds)}")
        return Cell.of(kept)

    @property
    def seeds(self) -> tuple[float, ...]:
        """The contrast of each seed."""
        return tuple(
            float(np.mean(found["target"]) - np.mean(found["source"]))
            for found in self.draws.values()
        )

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
    grouped: dict[tuple[str, str, float], dict[int, dict[str, Any]]] = defaultdict(dict)
    for task, result in sorted(runs, key=lambda run: run[0]["seed"]):
        for strength, found in result.items():
            grouped[task["task"], label(task["arm"]), float(strength)][task["seed"]] = found
    return {key: Cell.of(results) for key, results in grouped.items()}


def apart(first: Cell, second: Cell) -> tuple[Estimate, Estimate]:
    """Contrast of the first less the second's, and the ratio of their perplexities, paired.

    Of the draws that both have: a mean of three is not set against a single one.
    """
    first, second = on_the_same(first, second)
    gained = contrast(first.target - second.target, first.source - second.source)
    cost = perplexity_ratio(
        Scores(-first.neutral, first.tokens), Scores(-second.neutral, second.tokens)
    )
    return gained, cost


def on_the_same(*cells: Cell) -> list[Cell]:
    """Cells on the draws that all of them have.

    Raises:
        ValueError: if there is none.
    """
    shared = set.intersection(*(set(cell.draws) for cell in cells))
    return [cell.on(shared) for cell in cells]

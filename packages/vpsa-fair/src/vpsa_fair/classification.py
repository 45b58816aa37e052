"""Classification: is the highest of a model's scores that of the right class?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpsa_fair.errors import DataError, ModelError
from vpsa_fair.population import Population, Tally

__all__ = ["Classification", "FrozenClassification"]


@dataclass(frozen=True, eq=False)
class Classification:
    """A trial an image: the model's scores of the classes, against the label.

    Attributes:
        labels: ``(N,)`` right classes, 0 to C - 1. The model returns ``(N, C)`` scores where an
            embedding would stand.

    Source:
        RichardWebster et al. 2018, M-AFC classification. Classes with equal scores share the
        trial, so a model that says nothing has the response of chance.

    Example:
        >>> images = Population.of(["1", "2", "3"])
        >>> scores = np.array([[2.0, 1.0], [0.0, 3.0], [1.0, 1.0]])
        >>> frozen = Classification([0, 0, 1]).freeze(scores, images)
        >>> frozen.count(scores)["correct"][0].tolist()
        [1.0, 0.0, 0.5]
    """

    labels: Sequence[int] | NDArray[np.integer]

    def freeze(
        self,
        clean: NDArray[np.floating],
        population: Population,
        groupings: Sequence[str | Sequence[str]] = (),
    ) -> "FrozenClassification":
        """Return the protocol with the number of classes; groupings change nothing.

        Raises:
            DataError: if labels are missing, or are no whole numbers from 0.
            ModelError: if the model has too few scores for the labels.
        """
        labels = np.asarray(self.labels)
        if labels.shape != (len(population),):
            raise DataError(f"labels must be ({len(population)},), got {labels.shape}")
        if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
            kinds = f"{labels.dtype} from {labels.min()}"
            raise DataError(f"labels must be whole numbers from 0, got {kinds}")
        if clean.shape[1] < 2 or labels.max() >= clean.shape[1]:
            need, got = max(int(labels.max()) + 1, 2), clean.shape[1]
            raise ModelError(f"the model must score at least {need} classes, it scores {got}")
        return FrozenClassification(labels.astype(np.int64), population, clean.shape[1])


@dataclass(frozen=True, eq=False)
class FrozenClassification:
    """A classification of known width.

    Attributes:
        labels: ``(N,)`` right classes.
        population: the identities that are counted; often each image is one.
        classes: how many scores an image has.
    """

    labels: NDArray[np.int64]
    population: Population
    classes: int

    @property
    def response(self) -> tuple[str, ...]:
        """The one measure."""
        return ("correct",)

    @property
    def order(self) -> dict[str, int]:
        """No trial belongs to two identities."""
        return {}

    @property
    def chance(self) -> float:
        """One over the number of classes."""
        return 1 / self.classes

    @property
    def description(self) -> str:
        """One line for people."""
        return f"classification, {self.classes} classes"

    def count(self, probes: NDArray[np.floating]) -> Tally:
        """Return hits and trials of every identity.

        Args:
            probes: ``(N, C)`` scores of the perturbed images, in the order of the data.

        Returns:
            ``correct``: hits and trials, ``(I,)`` each.
        """
        best = probes == probes.max(axis=1, keepdims=True)
        right = best[np.arange(len(probes)), self.labels] / best.sum(axis=1)
        per_identity = self.population.per_identity
        return {"correct": (per_identity(right), per_identity(np.ones(len(probes))))}

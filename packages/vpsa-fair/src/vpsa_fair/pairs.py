"""Verification on a list of pairs, as the public test sets give them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vpsa_fair.counts import Labels, crossings
from vpsa_fair.errors import DataError
from vpsa_fair.matching import Impostors
from vpsa_fair.population import Population, Tally
from vpsa_fair.scores import Similarity, Vectors, prepared
from vpsa_fair.thresholds import at_fmr, best_accuracy

__all__ = ["FrozenPairs", "PairList"]

CHUNK = 4096  # pairs whose embeddings stand side by side


@dataclass(frozen=True, eq=False)
class PairList:
    """Verification where somebody else chose the pairs: image a is clean, image b is perturbed.

    Attributes:
        a: ``(P,)`` indices of images.
        b: ``(P,)`` likewise.
        same: ``(P,)`` bool: one identity or two. It must agree with the data's identities.
        threshold: ``"fmr"`` or ``"accuracy"`` on the clean pairs of the list, or a number: a
            cosine, or a distance if ``similarity`` is ``"euclidean"``.
        fmr: target of ``"fmr"``.
        impostors: which listed impostor pairs a group answers for.
        side: what is perturbed: ``b`` only (``probe``), or ``both``.
        similarity: ``cosine`` or ``euclidean``.

    Raises:
        DataError: if the three are not of one length, or empty.

    Source:
        The pair lists of LFW, RFW and BFW.

    Example:
        >>> people = Population.of(["a", "a", "b"])
        >>> clean = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
        >>> frozen = PairList([0, 0], [1, 2], [True, False], threshold=0.5).freeze(clean, people)
        >>> {name: hits.tolist() for name, (hits, _) in frozen.count(clean).items()}
        {'genuine': [1.0, 0.0], 'impostor': [1.0, 1.0]}
    """

    a: Sequence[int] | NDArray[np.integer]
    b: Sequence[int] | NDArray[np.integer]
    same: Sequence[bool] | NDArray[np.bool_]
    threshold: float | Literal["fmr", "accuracy"] = "accuracy"
    fmr: float = 0.01
    impostors: Impostors = "all"
    side: Literal["probe", "both"] = "probe"
    similarity: Similarity = "cosine"

    def __post_init__(self) -> None:
        if isinstance(self.threshold, str) and self.threshold not in ("fmr", "accuracy"):
            raise ValueError(
                f"threshold must be 'fmr', 'accuracy' or a number, got {self.threshold!r}"
            )
        if self.impostors not in ("within", "across", "all"):
            raise ValueError(f"impostors must be within, across or all, got {self.impostors!r}")
        if not len(self.a) == len(self.b) == len(self.same) or not len(self.a):
            got = f"{len(self.a)}, {len(self.b)} and {len(self.same)}"
            raise DataError(f"a, b and same must be of one length above 0, got {got}")

    def freeze(
        self,
        clean: NDArray[np.floating],
        population: Population,
        groupings: Sequence[str | Sequence[str]] = (),
    ) -> "FrozenPairs":
        """Return the protocol with its threshold and its clean images a.

        Raises:
            DataError: if a pair names no image, or contradicts the identities of the data.
        """
        a, b = np.asarray(self.a, np.int64), np.asarray(self.b, np.int64)
        same = np.asarray(self.same, bool)
        outside = (np.minimum(a, b) < 0) | (np.maximum(a, b) >= len(population))
        wrong = outside.copy()
        wrong[~outside] = (
            population.identity[a[~outside]] == population.identity[b[~outside]]
        ) != same[~outside]
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            why = "no image of the data" if outside[row] else "an identity that the data denies"
            raise DataError(f"pair {row} ({a[row]}, {b[row]}, {bool(same[row])}) names {why}")
        own = () if self.impostors == "all" else crossings(groupings)
        labels = {name: population.labels(name) for name in own}
        frozen = FrozenPairs(self, population, a, b, same, labels, prepared(clean, self.similarity))
        if not isinstance(self.threshold, str):
            sign = -1 if self.similarity == "euclidean" else 1
            tau = sign * self.threshold
        else:
            scores = frozen.scores(frozen.gallery)
            genuine, impostor = scores[same], scores[~same]
            if self.threshold == "accuracy":
                tau = best_accuracy(lambda: iter([impostor]), len(impostor), genuine)
            else:
                tau = at_fmr(lambda: iter([impostor]), len(impostor), genuine, self.fmr)
        frozen.tau.append(float(np.float32(tau)))
        return frozen


@dataclass(frozen=True, eq=False)
class FrozenPairs:
    """A pair list whose threshold is fixed.

    Attributes:
        protocol: as it was asked for.
        population: the identities that are counted.
        a: ``(P,)`` indices of the clean images.
        b: ``(P,)`` of the perturbed ones.
        same: ``(P,)`` bool.
        groupings: ``(I,)`` labels for each grouping that has impostor pairs of its own.
        gallery: ``(N, d)`` prepared clean embeddings.
    """

    protocol: PairList
    population: Population
    a: NDArray[np.int64]
    b: NDArray[np.int64]
    same: NDArray[np.bool_]
    groupings: dict[str, Labels]
    gallery: Vectors
    tau: list[float] = field(default_factory=list)

    @property
    def threshold(self) -> float:
        """On the score: the cosine, or the distance with a minus."""
        return self.tau[0]

    @property
    def response(self) -> tuple[str, ...]:
        """Balanced accuracy: the mean of both rates."""
        return ("genuine", "impostor")

    @property
    def order(self) -> dict[str, int]:
        """Impostor pairs belong to two identities."""
        return {"impostor": 2} | {f"impostor@{name}": 2 for name in self.groupings}

    @property
    def chance(self) -> float:
        """Of the balanced accuracy."""
        return 0.5

    @property
    def description(self) -> str:
        """One line for people."""
        shown = "distance at most" if self.protocol.similarity == "euclidean" else "cosine at least"
        where = f"impostors {self.protocol.impostors}, perturbed: {self.protocol.side}"
        return f"verification of {len(self.a)} pairs, {shown} {abs(self.threshold):.4g}, {where}"

    def scores(self, probe: Vectors) -> NDArray[np.float32]:
        """``(P,)`` scores of the pairs."""
        gallery = probe if self.protocol.side == "both" else self.gallery
        found = np.empty(len(self.a), np.float32)
        for start in range(0, len(self.a), CHUNK):
            part = slice(start, start + CHUNK)
            x, y = gallery[self.a[part]], probe[self.b[part]]
            if self.protocol.similarity == "cosine":
                found[part] = np.einsum("pd,pd->p", x, y)
            else:
                found[part] = -np.sqrt(np.einsum("pd,pd->p", x - y, x - y))
        return found

    def count(self, probes: NDArray[np.floating]) -> Tally:
        """Return hits and trials of every identity.

        Args:
            probes: ``(N, d)`` embeddings of the perturbed images, in the order of the data.

        Returns:
            ``genuine``, ``impostor`` and ``impostor@...``, ``(I,)`` each. An impostor pair is
            entered at both of its identities.
        """
        match = self.scores(prepared(probes, self.protocol.similarity)) >= np.float32(
            self.threshold
        )
        first, second = self.population.identity[self.a], self.population.identity[self.b]
        tally = {"genuine": self._sums([first], match, self.same)}
        tally["impostor"] = self._sums([first, second], ~match, ~self.same)
        for name, labels in self.groupings.items():
            inside = labels[first] == labels[second]
            wanted = inside if self.protocol.impostors == "within" else ~inside
            tally[f"impostor@{name}"] = self._sums([first, second], ~match, ~self.same & wanted)
        return tally

    def _sums(
        self, whose: list[NDArray[np.int64]], right: NDArray[np.bool_], asked: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        size = len(self.population.names)
        hits, trials = np.zeros(size), np.zeros(size)
        for identity in whose:
            np.add.at(hits, identity, right & asked)
            np.add.at(trials, identity, asked)
        return hits, trials

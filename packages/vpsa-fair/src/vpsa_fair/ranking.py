"""Identification and forced choice: which gallery image is most like the probe."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpsa_fair.counts import Labels, crossings
from vpsa_fair.errors import DataError
from vpsa_fair.kafc import from_counts
from vpsa_fair.matching import Pairing
from vpsa_fair.population import Population, Tally
from vpsa_fair.scores import Similarity, Vectors, blocks, prepared, tile

__all__ = ["ForcedChoice", "FrozenRanking", "Identification"]


@dataclass(frozen=True)
class Identification:
    """Closed-set search: is the probe's identity among the ``rank`` best of the gallery?

    The gallery is clean, the probe is perturbed. An identity's score is that of its best gallery
    image; equal scores are broken at random, in expectation, so hits may be fractions.

    Attributes:
        rank: how many identities may be named.
        pairs: ``cross-image``: an image never meets itself or a copy of itself in the gallery;
            ``same-image``: it meets itself only, and its identity's other images leave.
        similarity: ``cosine`` or ``euclidean``.

    Source:
        ISO/IEC 19795-1, closed-set identification.

    Example:
        >>> people = Population.of(["a", "a", "b", "b"])
        >>> clean = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
        >>> frozen = Identification().freeze(clean, people)
        >>> frozen.count(clean[[0, 2, 2, 3]])["rank-1"][0].tolist()
        [1.0, 2.0]
    """

    rank: int = 1
    pairs: Pairing = "cross-image"
    similarity: Similarity = "cosine"

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank must be at least 1, got {self.rank}")
        _check_pairs(self.pairs)

    @property
    def name(self) -> str:
        """Of the measure."""
        return f"rank-{self.rank}"

    def freeze(
        self,
        clean: NDArray[np.floating],
        population: Population,
        groupings: Sequence[str | Sequence[str]] = (),
    ) -> "FrozenRanking":
        """Return the protocol with its clean gallery; groupings have no gallery of their own.

        Raises:
            DataError: if no image has a partner, or there are no more identities than ``rank``.
        """
        identities = len(population.names)
        if identities <= self.rank:
            raise DataError(f"rank {self.rank} needs more identities, there are {identities}")
        return _frozen(self, clean, population, {}, self.rank / identities)


@dataclass(frozen=True)
class ForcedChoice:
    """k alternatives, one of them right, in closed form over all sets of distractors.

    The probe is perturbed; the right image and the k - 1 distractors are clean. Every genuine pair
    is a trial, whose hit is the probability of the right choice.

    Attributes:
        k: alternatives, the right one included.
        impostors: where a group's distractors come from: ``all`` images of other identities, or
            only those ``within`` the group.
        pairs: ``cross-image`` or ``same-image``, as in verification.
        similarity: ``cosine`` or ``euclidean``.

    Source:
        RichardWebster et al. 2018, without its draws.

    Example:
        >>> people = Population.of(["a", "a", "b", "b"])
        >>> clean = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
        >>> frozen = ForcedChoice(k=2).freeze(clean, people)
        >>> frozen.count(clean[[0, 2, 2, 3]])["2-AFC"][0].tolist()
        [1.0, 2.0]
    """

    k: int = 2
    impostors: str = "all"
    pairs: Pairing = "cross-image"
    similarity: Similarity = "cosine"

    def __post_init__(self) -> None:
        if self.k < 2:
            raise ValueError(f"k must be at least 2, got {self.k}")
        if self.impostors not in ("all", "within"):
            raise ValueError(f"impostors must be 'all' or 'within', got {self.impostors!r}")
        _check_pairs(self.pairs)

    @property
    def name(self) -> str:
        """Of the measure."""
        return f"{self.k}-AFC"

    def freeze(
        self,
        clean: NDArray[np.floating],
        population: Population,
        groupings: Sequence[str | Sequence[str]] = (),
    ) -> "FrozenRanking":
        """Return the protocol with its clean gallery.

        Raises:
            DataError: if no image has a partner, or an identity meets fewer than k - 1 distractors.
        """
        images = np.bincount(population.identity)
        fewest = len(population) - int(images.max())
        if fewest < self.k - 1:
            raise DataError(f"{self.k}-AFC needs {self.k - 1} distractors, there are {fewest}")
        names = crossings(groupings) if self.impostors == "within" else ()
        labels = {name: population.labels(name) for name in names}
        return _frozen(self, clean, population, labels, 1 / self.k)


@dataclass(frozen=True, eq=False)
class FrozenRanking:
    """An identification or a forced choice whose gallery is fixed.

    Attributes:
        protocol: as it was asked for.
        population: the identities that are counted.
        rows: ``(N,)`` the images in the order of their identities.
        gallery: ``(N, d)`` clean embeddings in that order.
        groupings: ``(I,)`` labels for each grouping that has distractors of its own.
        chance: the response of a model that guesses.
    """

    protocol: Identification | ForcedChoice
    population: Population
    rows: NDArray[np.int64]
    gallery: Vectors
    groupings: Mapping[str, Labels]
    chance: float

    @property
    def response(self) -> tuple[str, ...]:
        """The one measure."""
        return (self.protocol.name,)

    @property
    def order(self) -> dict[str, int]:
        """No trial belongs to two identities."""
        return {}

    @property
    def description(self) -> str:
        """One line for people."""
        p = self.protocol
        kind = "identification" if isinstance(p, Identification) else "forced choice"
        where = f", distractors {p.impostors}" if isinstance(p, ForcedChoice) else ""
        return f"{kind}, {p.name}, {p.similarity}, {p.pairs} pairs{where}"

    def count(self, probes: NDArray[np.floating]) -> Tally:
        """Return hits and trials of every identity.

        Args:
            probes: ``(N, d)`` embeddings of the perturbed images, in the order of the data.

        Returns:
            The measure, and ``...@grouping`` where distractors are of the group: ``(I,)`` each.
        """
        probe = prepared(probes, self.protocol.similarity)[self.rows]
        if isinstance(self.protocol, Identification):
            return {self.protocol.name: self._identified(probe, self.protocol.rank)}
        tally = {self.protocol.name: self._chosen(probe, None, self.protocol.k)}
        for name, labels in self.groupings.items():
            key = f"{self.protocol.name}@{name}"
            tally[key] = self._chosen(probe, labels, self.protocol.k)
        return tally

    @property
    def _ids(self) -> NDArray[np.int64]:
        return self.population.identity[self.rows]

    def _identified(
        self, probe: Vectors, rank: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        ids = self._ids
        starts = np.flatnonzero(np.diff(ids, prepend=-1))
        every = np.arange(len(ids))
        size = len(self.population.names)
        hits, trials = np.zeros(size), np.zeros(size)
        for r in _rows(len(ids)):
            own, trial = self._partners(every[r], every)
            scores = tile(probe[r], self.gallery, self.protocol.similarity)
            scores[own & ~trial] = -np.inf
            best = np.maximum.reduceat(scores, starts, axis=1)  # (n, I)
            mine = best[np.arange(len(best)), ids[r]]
            there = mine > -np.inf
            above = (best > mine[:, None]).sum(axis=1)
            tied = (best == mine[:, None]).sum(axis=1)  # the own identity included
            right = np.clip((rank - above) / np.maximum(tied, 1), 0, 1)
            np.add.at(hits, ids[r], np.where(there, right, 0))
            np.add.at(trials, ids[r], there)
        return hits, trials

    def _chosen(
        self, probe: Vectors, labels: Labels | None, k: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        ids, size = self._ids, len(self.population.names)
        groups = np.zeros(size, np.int64) if labels is None else np.unique(
            labels, return_inverse=True
        )[1]  # fmt: skip
        hits, trials = np.zeros(size), np.zeros(size)
        for group in range(groups.max() + 1):
            member = groups[ids] == group
            pool = np.flatnonzero(member)
            for r in _rows(len(pool)):
                some = pool[r]
                own, trial = self._partners(some, pool)
                scores = tile(probe[some], self.gallery[pool], self.protocol.similarity)
                row, column = np.nonzero(trial)
                genuine = scores[row, column]
                scores[own] = np.inf  # neither below a genuine score nor equal to one
                below, tied = _compared(scores, row, genuine)
                number = len(pool) - own.sum(axis=1)[row]
                for n in np.unique(number):
                    if n >= k - 1:
                        these = number == n
                        right = from_counts(below[these], tied[these], int(n), k)
                        np.add.at(hits, ids[some[row[these]]], right)
                        np.add.at(trials, ids[some[row[these]]], 1)
        return hits, trials

    def _partners(
        self, some: NDArray[np.int64], pool: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Where probes and gallery show one identity, and which of these are trials."""
        ids, images = self._ids, self.population.image[self.rows]
        own = ids[some][:, None] == ids[pool][None]
        if self.protocol.pairs == "same-image":
            return own, some[:, None] == pool[None]
        return own, own & (images[some][:, None] != images[pool][None])


def _rows(count: int) -> Iterator[slice]:
    """Slices of probes, each of which meets the whole gallery."""
    return blocks(count, 128)


def _compared(
    scores: NDArray[np.float32], row: NDArray[np.int64], genuine: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many scores of its row lie below each genuine score, and how many are equal."""
    below, tied = np.zeros(len(row), np.int64), np.zeros(len(row), np.int64)
    starts = np.searchsorted(row, np.arange(len(scores) + 1))
    for index, line in enumerate(scores):
        part = slice(starts[index], starts[index + 1])
        if part.stop > part.start:
            line.sort()
            below[part] = np.searchsorted(line, genuine[part], side="left")
            tied[part] = np.searchsorted(line, genuine[part], side="right") - below[part]
    return below, tied


def _check_pairs(pairs: str) -> None:
    if pairs not in ("cross-image", "same-image"):
        raise ValueError(f"pairs must be 'cross-image' or 'same-image', got {pairs!r}")


def _frozen(
    protocol: Identification | ForcedChoice,
    clean: NDArray[np.floating],
    population: Population,
    groupings: Mapping[str, Labels],
    chance: float,
) -> FrozenRanking:
    if protocol.pairs == "cross-image":
        codes = population.identity * (population.image.max() + 1) + population.image
        distinct = np.unique(codes) // (population.image.max() + 1)
        if np.bincount(distinct).max() < 2:
            need = "the data must have two images of one identity"
            raise DataError(f"there is no genuine pair: {need}")
    rows = np.argsort(population.identity, kind="stable")
    gallery = prepared(clean, protocol.similarity)[rows]
    return FrozenRanking(protocol, population, rows, gallery, groupings, chance)

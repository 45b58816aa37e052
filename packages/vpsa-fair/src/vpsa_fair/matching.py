"""Which pairs of images are trials, and how many of them match: whole numbers, counted in tiles."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vpsa_fair.counts import Labels
from vpsa_fair.population import Population, Tally
from vpsa_fair.scores import Similarity, Vectors, blocks, tile

__all__ = ["Impostors", "Pairing", "Trials"]

Impostors = Literal["within", "across", "all"]
Pairing = Literal["cross-image", "same-image"]


@dataclass(frozen=True, eq=False)
class Trials:
    """All pairs of N images, sorted by identity so that genuine pairs lie beside the diagonal.

    Attributes:
        population: the identities that are counted.
        groupings: ``(I,)`` labels for each grouping that has impostor pairs of its own.
        pairs: genuine pairs are of two different images, or of an image and itself.
        impostors: of a grouping: ``within`` a group, ``across`` groups; ``all`` needs no grouping.
        similarity: how scores are taken.
    """

    population: Population
    groupings: Mapping[str, Labels]
    pairs: Pairing
    impostors: Impostors
    similarity: Similarity

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """``(N,)`` the images in the order of their identities."""
        return np.argsort(self.population.identity, kind="stable")

    @cached_property
    def ids(self) -> NDArray[np.int64]:
        """``(N,)`` identities in that order."""
        return self.population.identity[self.rows]

    @cached_property
    def images(self) -> NDArray[np.int64]:
        """``(N,)`` codes of the pixels in that order."""
        return self.population.image[self.rows]

    @cached_property
    def number(self) -> dict[str, NDArray[np.float64]]:
        """``(I,)`` trials of each measure; an impostor pair counts at both of its identities."""
        images = self._per_identity(np.ones(len(self.ids)))
        total = len(self.ids)
        if self.pairs == "same-image":
            genuine = images.copy()
        else:
            codes = self.ids * (self.images.max() + 1) + self.images
            _, same, repeats = np.unique(codes, return_inverse=True, return_counts=True)
            genuine = images**2 - self._per_identity(repeats[same])  # no pair of equal pixels
        found = {"genuine": genuine, "impostor": 2 * images * (total - images)}
        for name, labels in self.groupings.items():
            groups, codes = np.unique(labels, return_inverse=True)
            size = np.bincount(codes, images, len(groups))[codes]
            others = size - images if self.impostors == "within" else total - size
            found[f"impostor@{name}"] = 2 * images * others
        return found

    @cached_property
    def impostor_pairs(self) -> int:
        """How many unordered pairs of images show two identities."""
        return int(self.number["impostor"].sum()) // 4

    def few_pairs(self, needed: float) -> dict[str, int]:
        """Groups with fewer unordered impostor pairs than needed, and how many they have."""
        found = {}
        share = 4 if self.impostors == "within" else 2  # entries of one unordered pair in a group
        for name, labels in self.groupings.items():
            for group in np.unique(labels):
                pairs = int(self.number[f"impostor@{name}"][labels == group].sum()) // share
                if pairs < needed:
                    found[f"{name}={group}"] = pairs
        return found

    def count(self, gallery: Vectors, probe: Vectors, threshold: float) -> Tally:
        """Return hits and trials of every identity at a threshold.

        Args:
            gallery: ``(N, d)`` prepared embeddings, ordered as ``rows``.
            probe: ``(N, d)`` likewise.
            threshold: a pair matches if its score is at least that.

        Returns:
            For each measure hits and trials, ``(I,)`` each, whole numbers.
        """
        columns = self._columns
        genuine = np.zeros(len(probe))
        matched = np.zeros((len(probe), columns.shape[1]))  # by image and the partner's group
        for r in blocks(len(probe)):
            for c in blocks(len(probe)):
                match = tile(gallery[r], probe[c], self.similarity) >= np.float32(threshold)
                if (own := self._own(r, c)) is not None:
                    genuine[r] += (match & self._genuine(own, r, c)).sum(axis=1)
                    match &= ~own
                ones = match.astype(np.float32)
                matched[r] += ones @ columns[c]
                matched[c] += ones.T @ columns[r]
        return self._tally(genuine, matched)

    def _tally(self, genuine: NDArray[np.float64], matched: NDArray[np.float64]) -> Tally:
        number, every = self.number, self._per_identity(matched[:, 0])
        tally = {
            "genuine": (self._per_identity(genuine), number["genuine"]),
            "impostor": (number["impostor"] - every, number["impostor"]),
        }
        column = 1
        for name, labels in self.groupings.items():
            groups, codes = np.unique(labels, return_inverse=True)
            inside = matched[np.arange(len(matched)), column + codes[self.ids]]
            wrong = self._per_identity(inside)
            wrong = every - wrong if self.impostors == "across" else wrong
            key = f"impostor@{name}"
            tally[key] = (number[key] - wrong, number[key])
            column += len(groups)
        return tally

    def clean_impostors(self, vectors: Vectors) -> Iterator[NDArray[np.float32]]:
        """Scores of the unordered impostor pairs, in pieces."""
        for scores, own, r, c in self._upper(vectors):
            wanted = ~own
            if r == c:
                wanted &= np.triu(np.ones(scores.shape, bool), 1)
            yield scores[wanted]

    def clean_genuine(self, vectors: Vectors) -> NDArray[np.float32]:
        """Scores of the unordered genuine pairs, ``(G,)``."""
        found = [np.zeros(0, np.float32)]
        for scores, own, r, c in self._upper(vectors):
            if own.any():
                wanted = self._genuine(own, r, c)
                if r == c:
                    wanted &= np.triu(np.ones(scores.shape, bool))
                found.append(scores[wanted])
        return np.concatenate(found)

    def _upper(
        self, vectors: Vectors
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_], slice, slice]]:
        for r in blocks(len(vectors)):
            for c in blocks(len(vectors)):
                if c.start >= r.start:
                    scores = tile(vectors[r], vectors[c], self.similarity)
                    own = self._own(r, c)
                    yield scores, np.zeros(scores.shape, bool) if own is None else own, r, c

    def _own(self, r: slice, c: slice) -> NDArray[np.bool_] | None:
        """Where a tile pairs an identity with itself; None if nowhere."""
        rows, cols = self.ids[r], self.ids[c]
        if rows[-1] < cols[0] or cols[-1] < rows[0]:
            return None
        return rows[:, None] == cols[None]

    def _genuine(self, own: NDArray[np.bool_], r: slice, c: slice) -> NDArray[np.bool_]:
        """Where a tile has genuine trials."""
        if self.pairs == "same-image":
            return np.arange(r.start, r.stop)[:, None] == np.arange(c.start, c.stop)[None]
        return own & (self.images[r][:, None] != self.images[c][None])

    @cached_property
    def _columns(self) -> NDArray[np.float32]:
        """``(N, 1 + groups)``: ones, then the membership of every group of every grouping."""
        found = [np.ones((len(self.ids), 1), np.float32)]
        for labels in self.groupings.values():
            groups, codes = np.unique(labels, return_inverse=True)
            found.append(np.eye(len(groups), dtype=np.float32)[codes[self.ids]])
        return np.concatenate(found, axis=1)

    def _per_identity(self, values: NDArray[np.generic]) -> NDArray[np.float64]:
        sums = np.zeros(len(self.population.names))
        np.add.at(sums, self.ids, values)
        return sums

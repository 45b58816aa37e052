"""Verification: do two images show the same identity, by one threshold frozen on clean images."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vpsa_fair.counts import crossings
from vpsa_fair.errors import DataError, ResolutionWarning
from vpsa_fair.matching import Impostors, Pairing, Trials
from vpsa_fair.population import Population, Tally
from vpsa_fair.scores import Similarity, Vectors, prepared
from vpsa_fair.shepherd import shepherd
from vpsa_fair.thresholds import at_fmr, best_accuracy

__all__ = ["FrozenVerification", "Response", "Verification"]

Response = Literal["balanced", "tmr", "tnmr"]
MEASURES = {"balanced": ("genuine", "impostor"), "tmr": ("genuine",), "tnmr": ("impostor",)}


@dataclass(frozen=True)
class Verification:
    """Every image against every other: the gallery is clean, the probe is perturbed.

    A genuine pair is right if its score reaches the threshold, an impostor pair if it does not. The
    threshold is one for all groups and levels, and comes from clean images only.

    Attributes:
        threshold: ``"fmr"``: the lowest with a false match rate of at most ``fmr`` over all clean
            impostor pairs; ``"accuracy"``: the best balanced accuracy; ``"shepherd"``: the
            predecessor's perfect start, which also drops images; or a number: a cosine, or a
            distance if ``similarity`` is ``"euclidean"``.
        fmr: target of ``"fmr"``.
        impostors: which pairs a group answers for: ``within`` the group, ``across`` groups, or
            ``all``. It holds for groupings; the whole population always has all pairs.
        pairs: ``cross-image``: two different images of an identity; ``same-image``: an image and
            its own perturbed version, the predecessor's match to sample.
        side: what is perturbed: the ``probe``, or ``both``.
        similarity: ``cosine`` or ``euclidean``.
        response: ``balanced``: mean of true match and true non-match rate; ``tmr``; ``tnmr``.

    Raises:
        ValueError: if an option is none, or same-image pairs are perturbed on both sides.

    Source:
        Notes to "Fair SA", 1.3. The predecessor's "all" score tends to 1 when every score
        collapses, hence the balanced accuracy.

    Example:
        >>> people = Population.of(["a", "a", "b", "b"])
        >>> clean = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
        >>> frozen = Verification(threshold=0.5).freeze(clean, people)
        >>> hits, trials = frozen.count(clean[[0, 2, 2, 3]])["genuine"]
        >>> hits.tolist(), trials.tolist()
        ([1.0, 2.0], [2.0, 2.0])
    """

    threshold: float | Literal["fmr", "accuracy", "shepherd"] = "fmr"
    fmr: float = 0.01
    impostors: Impostors = "within"
    pairs: Pairing = "cross-image"
    side: Literal["probe", "both"] = "probe"
    similarity: Similarity = "cosine"
    response: Response = "balanced"

    def __post_init__(self) -> None:
        legal: dict[str, tuple[str, ...]] = {
            "impostors": ("within", "across", "all"),
            "pairs": ("cross-image", "same-image"),
            "side": ("probe", "both"),
            "similarity": ("cosine", "euclidean"),
            "response": tuple(MEASURES),
        }
        if isinstance(self.threshold, str):
            legal["threshold"] = ("fmr", "accuracy", "shepherd")
        for name, words in legal.items():
            if getattr(self, name) not in words:
                raise ValueError(f"{name} must be one of {words}, got {getattr(self, name)!r}")
        if not 0 <= self.fmr < 1:
            raise ValueError(f"fmr must be from 0 to below 1, got {self.fmr}")
        if self.pairs == "same-image" and self.side == "both":
            raise ValueError("same-image pairs perturbed on both sides are equal: use side='probe'")

    def freeze(
        self,
        clean: NDArray[np.floating],
        population: Population,
        groupings: Sequence[str | Sequence[str]] = (),
    ) -> "FrozenVerification":
        """Return the protocol with its threshold and its clean gallery.

        Args:
            clean: ``(N, d)`` embeddings of the clean images.
            population: who is on them.
            groupings: attributes, and tuples of attributes to cross.

        Returns:
            What counts the hits of perturbed embeddings.

        Raises:
            DataError: if there is no genuine or no impostor pair.
        """
        kept, given = np.arange(len(population)), self.threshold
        if given == "shepherd":
            found = shepherd(clean, population.identity, similarity=self.similarity)
            kept, population = np.flatnonzero(found.kept), population.keep(found.kept)
            given = found.threshold
        elif not isinstance(given, str) and self.similarity == "euclidean":
            given = -given
        own = () if self.impostors == "all" else crossings(groupings)
        labels = {name: population.labels(name) for name in own}
        trials = Trials(population, labels, self.pairs, self.impostors, self.similarity)
        rows = kept[trials.rows]
        gallery = prepared(clean, self.similarity)[rows]
        for name, what in (("genuine", "images of one identity"), ("impostor", "identities")):
            if not trials.number[name].sum():
                raise DataError(f"there is no {name} pair: the data must have two {what}")
        tau = self._from_clean(trials, gallery) if isinstance(given, str) else given
        return FrozenVerification(self, trials, rows, gallery, float(np.float32(tau)))

    def _from_clean(self, trials: Trials, gallery: Vectors) -> float:
        genuine, number = trials.clean_genuine(gallery), trials.impostor_pairs
        if self.threshold == "accuracy":
            return best_accuracy(lambda: trials.clean_impostors(gallery), number, genuine)
        if self.fmr > 0:
            self._warn(number, trials.few_pairs(3 / self.fmr))
        return at_fmr(lambda: trials.clean_impostors(gallery), number, genuine, self.fmr)

    def _warn(self, number: int, few: dict[str, int]) -> None:
        """By the rule of three: n trials without an error show a rate below 3 / n only."""
        if number < 3 / self.fmr:
            text = (
                f"{number} impostor pairs resolve a false match rate of {3 / number:.2g} at best, "
                f"and the target is {self.fmr:g}: take more images or a higher fmr"
            )
            warnings.warn(text, ResolutionWarning, stacklevel=5)
        elif few:
            listed = ", ".join(f"{group} ({pairs})" for group, pairs in few.items())
            text = (
                f"too few impostor pairs for a false match rate of {self.fmr:g} in {listed}: "
                f"{3 / self.fmr:.0f} are needed to see it"
            )
            warnings.warn(text, ResolutionWarning, stacklevel=5)


@dataclass(frozen=True, eq=False)
class FrozenVerification:
    """A verification whose threshold and gallery are fixed.

    Attributes:
        protocol: as it was asked for.
        trials: the pairs.
        rows: ``(N,)`` which embeddings it reads, in the order of the trials.
        gallery: ``(N, d)`` clean embeddings in that order.
        threshold: on the score: the cosine, or the distance with a minus.
    """

    protocol: Verification
    trials: Trials
    rows: NDArray[np.int64]
    gallery: Vectors
    threshold: float

    @property
    def population(self) -> Population:
        """The identities that are counted."""
        return self.trials.population

    @property
    def response(self) -> tuple[str, ...]:
        """The measures whose mean is the response."""
        return MEASURES[self.protocol.response]

    @property
    def order(self) -> dict[str, int]:
        """The measures whose trials belong to two identities."""
        return {name: 2 for name in self.trials.number if name != "genuine"}

    @property
    def chance(self) -> float:
        """The response of a model that has collapsed: half, or none of one side."""
        return 0.5 if self.protocol.response == "balanced" else 0.0

    @property
    def description(self) -> str:
        """One line for people."""
        p, value = self.protocol, abs(self.threshold)
        shown = "distance at most" if p.similarity == "euclidean" else "cosine at least"
        source = p.threshold if isinstance(p.threshold, str) else "given"
        source = f"FMR {p.fmr:g} on clean images" if source == "fmr" else source
        where = f"{p.pairs} pairs, impostors {p.impostors}, perturbed: {p.side}"
        return f"verification, {shown} {value:.4g} ({source}), {where}"

    def count(self, probes: NDArray[np.floating]) -> Tally:
        """Return hits and trials of every identity.

        Args:
            probes: ``(N, d)`` embeddings of the perturbed images, in the order of the data.

        Returns:
            ``genuine``, ``impostor``, and ``impostor@...`` for each grouping: hits and trials,
            ``(I,)`` each, whole numbers. An impostor pair is entered at both of its identities.
        """
        probe = prepared(probes, self.protocol.similarity)[self.rows]
        gallery = probe if self.protocol.side == "both" else self.gallery
        return self.trials.count(gallery, probe, self.threshold)

"""What a protocol is, and all that are here, under one name."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vpsa_fair.classification import Classification
from vpsa_fair.kafc import kafc
from vpsa_fair.pairs import PairList
from vpsa_fair.population import Population, Tally
from vpsa_fair.ranking import ForcedChoice, Identification
from vpsa_fair.verification import Verification

__all__ = [
    "AnyProtocol",
    "Classification",
    "ForcedChoice",
    "FrozenProtocol",
    "Identification",
    "PairList",
    "Verification",
    "kafc",
]


class FrozenProtocol(Protocol):
    """A protocol that has seen the clean embeddings; yours may have any class with these."""

    @property
    def population(self) -> Population:
        """The identities that are counted."""
        ...

    @property
    def response(self) -> tuple[str, ...]:
        """The measures whose mean rate is the response."""
        ...

    @property
    def order(self) -> Mapping[str, int]:
        """2 for measures whose trials are entered at two identities."""
        ...

    @property
    def chance(self) -> float:
        """The response of a model that guesses."""
        ...

    @property
    def description(self) -> str:
        """One line for people."""
        ...

    def count(self, probes: NDArray[np.floating]) -> Tally:
        """Hits and trials of every identity, for ``(N, d)`` embeddings of perturbed images."""
        ...


class AnyProtocol(Protocol):
    """What an audit takes as ``protocol``."""

    def freeze(
        self,
        clean: NDArray[np.floating],
        population: Population,
        groupings: Sequence[str | Sequence[str]] = (),
    ) -> FrozenProtocol:
        """The protocol after it has seen ``(N, d)`` clean embeddings."""
        ...

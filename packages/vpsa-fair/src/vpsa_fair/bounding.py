"""One range of levels for all groups: up to where the whole population has lost its response."""

import math
from dataclasses import dataclass

import numpy as np

from vpsa_fair.data import Faces
from vpsa_fair.errors import LevelError
from vpsa_fair.levels import Levels
from vpsa_fair.models import Embed
from vpsa_fair.perturbation import Perturbation
from vpsa_fair.population import Tally
from vpsa_fair.protocols import AnyProtocol, FrozenProtocol
from vpsa_fair.store import Memory
from vpsa_fair.sweep import Spent, Step, Sweep
from vpsa_fair.verification import Verification

__all__ = ["Bounder", "bound"]


@dataclass(eq=False)
class Bounder:
    """Finds ranges for one model, one set of images and one protocol; embeds clean images once.

    Attributes:
        embed: the model.
        data: the images; a few hundred are enough.
        protocol: whose response falls; None is verification at its best clean accuracy.
        floor: the response to reach, between chance and the clean response.
        precision: relative, of the level that is found.
        seed: of random perturbations.
        batch: images a call of the model.
        spent: images that went through the model are added to its ``bound``.

    Raises:
        LevelError: if the precision is none.
    """

    embed: Embed
    data: Faces
    protocol: AnyProtocol | None = None
    floor: float = 0.55
    precision: float = 0.05
    seed: int = 0
    batch: int = 64
    spent: Spent | None = None

    def __post_init__(self) -> None:
        if not 0 < self.precision < 1:
            raise LevelError(f"precision must be between 0 and 1, got {self.precision}")
        self.spent = Spent() if self.spent is None else self.spent
        self._sweep = Sweep(
            self.embed, self.data, Memory(), "bound", self.seed, self.batch, False, False
        )
        self._frozen: FrozenProtocol | None = None

    def levels(self, perturbation: Perturbation) -> Levels:
        """The perturbation's grid, stretched to the level where the pooled response is lost.

        Args:
            perturbation: its grid gives the axis, the number of levels and where to begin.

        Returns:
            The grid up to the lowest level found whose response is at most ``floor``, or up to the
            highest legal level (or 1,024 times the grid's last) if none is.

        Raises:
            LevelError: if the clean response is not above the floor.
        """
        clean = self._response(Step())
        if not clean > self.floor:
            raise LevelError(f"floor ({self.floor}) must be below the clean response, {clean:.4f}")
        low, high = 0.0, perturbation.levels.values[-1]
        most = min(perturbation.bounds[1], 1024 * high)
        while self._response(Step(perturbation, high)) > self.floor:
            if high >= most:
                return perturbation.levels.up_to(high)
            low, high = high, min(2 * high, most)
        while high - low > self.precision * high:
            middle = (low + high) / 2
            if perturbation.bounds[0] > middle:
                break
            if self._response(Step(perturbation, middle)) > self.floor:
                low = middle
            else:
                high = middle
        digits = 2 - math.floor(math.log10(self.precision * high))
        return perturbation.levels.up_to(min(round(high, digits), most))

    def _response(self, step: Step) -> float:
        """Of everybody, whatever group."""
        self._sweep.fill([step])
        spent = self._sweep.spent
        if self.spent is not None:
            self.spent.bound += spent.sweep
        spent.sweep = 0
        vectors = self._sweep.embeddings(step)
        if self._frozen is None:
            protocol = Verification("accuracy") if self.protocol is None else self.protocol
            self._frozen = protocol.freeze(vectors, self.data.population, ())
        return pooled(self._frozen.count(vectors), self._frozen.response)


def pooled(tally: Tally, response: tuple[str, ...]) -> float:
    """The response of all identities together: the mean of the measures' rates."""
    rates = [tally[name][0].sum() / tally[name][1].sum() for name in response]
    return float(np.mean(rates))


def bound(
    embed: Embed,
    data: Faces,
    perturbation: Perturbation,
    *,
    protocol: AnyProtocol | None = None,
    floor: float = 0.55,
    precision: float = 0.05,
    seed: int = 0,
    spent: Spent | None = None,
) -> Levels:
    """Return levels that end where the pooled population has lost its response.

    One range serves all groups: with ranges of their own, areas could not be compared.

    Args:
        embed: the model.
        data: the images; a few hundred are enough.
        perturbation: its grid gives the axis, the number of levels and where to begin.
        protocol: whose response falls; None is verification at its best clean accuracy.
        floor: the response to reach, between chance and the clean response.
        precision: relative, of the level that is found.
        seed: of random perturbations.
        spent: images that went through the model are added to its ``bound``.

    Returns:
        The grid, stretched or shrunk.

    Raises:
        LevelError: if the clean response is not above the floor.

    Source:
        Notes to "Fair SA": bounding, by doubling and bisection on the pooled population.
    """
    return Bounder(embed, data, protocol, floor, precision, seed, spent=spent).levels(perturbation)

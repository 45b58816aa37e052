"""An audit: sweep, threshold, counts, result."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vpsa_fair.counts import CLEAN, Cell, Counts
from vpsa_fair.data import Faces
from vpsa_fair.errors import DataError
from vpsa_fair.models import Embed
from vpsa_fair.perturbation import Perturbation
from vpsa_fair.population import Population
from vpsa_fair.protocols import AnyProtocol, FrozenProtocol
from vpsa_fair.result import Result
from vpsa_fair.store import Memory, Store, group_digest
from vpsa_fair.sweep import Spent, Step, Sweep, steps
from vpsa_fair.verification import Verification

__all__ = ["Audit"]


@dataclass(eq=False)
class Audit:
    """Which group breaks under which perturbation: the whole question, ready to run.

    Attributes:
        embed: ``(n, H, W, C)`` uint8 to ``(n, d)``, or pre-computed embeddings.
        data: images, identities, attributes.
        perturbations: each with its levels; names must differ.
        protocol: what is counted.
        groups: attributes, and tuples of attributes to cross; all attributes if empty.
        seed: of random perturbations and of the bootstrap.
        cache: folder of embeddings, which other processes may fill too; None keeps them in memory.
        model: name of the model; embeddings of one name are taken to be of one model.
        batch: images a call of the model.
        selftest: whether at most 64 images go through the model first, to compare batch sizes.
        example: image whose perturbed versions the report shows; None shows none.
        stale: seconds without a sign of life after which another host's claim is void.
        progress: whether a bar is shown; None shows it on a terminal.
        spent: images that went through the model in this process.

    Raises:
        DataError: if there is no perturbation or attribute, or two perturbations share a name.

    Example:
        >>> from vpsa_fair.perturb import gaussian_blur
        >>> images = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 3), dtype=np.uint8)
        >>> data = Faces.from_arrays(images, list("aabbccdd"), {"tone": list("xxxxyyyy")})
        >>> flat = lambda x: x.reshape(len(x), -1) / 255
        >>> audit = Audit(flat, data, [gaussian_blur([1, 2])], Verification("accuracy"))
        >>> audit.run().counts.protocol[:12], str(audit.spent)
        ('verification', '24 in the sweep, 16 in self-tests, 0 in bounding')
    """

    embed: Embed
    data: Faces
    perturbations: Sequence[Perturbation]
    protocol: AnyProtocol = field(default_factory=Verification)
    groups: Sequence[str | Sequence[str]] = ()
    seed: int = 0
    cache: str | os.PathLike[str] | None = None
    model: str = "model"
    batch: int = 64
    selftest: bool = True
    example: int | None = 0
    stale: float = 600.0
    progress: bool | None = None
    spent: Spent = field(default_factory=Spent)

    def __post_init__(self) -> None:
        names = [one.name for one in self.perturbations]
        if not names:
            raise DataError("an audit needs a perturbation, got none")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise DataError(f"two perturbations are called {twice[0]!r}: give one of them a name")
        if self.batch < 1:
            raise ValueError(f"batch must be at least 1, got {self.batch}")
        self.groups = [g if isinstance(g, str) else tuple(g) for g in self.groups]
        self.groups = self.groups or list(self.data.attributes)
        if not self.groups:
            raise DataError("the data must have an attribute to group by")
        for grouping in self.groups:
            self.data.population.labels(grouping)

    @property
    def images(self) -> int:
        """How many images the whole sweep sends through the model: N x (1 + sum of levels)."""
        return len(self.data) * len(steps(self.perturbations))

    @cached_property
    def sweep(self) -> Sweep:
        """What embeds and keeps."""
        store = Memory() if self.cache is None else Store(self.cache, stale=self.stale)
        nonzero = getattr(self.protocol, "similarity", None) == "cosine"
        return Sweep(
            self.embed, self.data, store, self.model, self.seed, self.batch, nonzero,
            self.progress, self.spent,
        )  # fmt: skip

    @cached_property
    def population(self) -> Population:
        """Identities and groups, with copies of images known as such."""
        found = self.data.population
        return replace(found, image=Population.of(self.data.identity, keys=self.data.keys).image)

    def fill(self) -> "FrozenProtocol":
        """Embed what is missing; all that a process has to do that helps another.

        Returns:
            The protocol with the threshold of the clean embeddings.
        """
        wanted = steps(self.perturbations)
        if self.selftest and self.sweep.missing(wanted):
            self.sweep.test_model()
        self.sweep.fill(wanted[:1])
        frozen = self.protocol.freeze(
            self.sweep.embeddings(wanted[0]), self.population, list(self.groups)
        )
        self.sweep.fill(wanted)
        return frozen

    def run(self, *, resume: bool = True) -> Result:
        """Run what has not been run, and count.

        Args:
            resume: take what the cache holds; False refuses a cache that holds embeddings.

        Returns:
            The result; the same to the last byte however often the run was cut off.

        Raises:
            DataError: if data or cache cannot be used.
            ModelError: if the model's answer cannot be used.
        """
        store = self.sweep.store
        if not resume and isinstance(store, Store) and any(store.root.glob("embeddings/*.npy")):
            raise DataError(f"{store.root} holds embeddings: use resume=True, or another folder")
        frozen = self.fill()
        return Result(
            self._counts(frozen),
            groupings=tuple(g if isinstance(g, str) else tuple(g) for g in self.groups),
            seed=self.seed,
            meta=self._meta(frozen),
            examples=self._examples(),
        )

    def _counts(self, frozen: FrozenProtocol) -> Counts:
        wanted = steps(self.perturbations)
        tallies = [frozen.count(self.sweep.embeddings(step)) for step in wanted]
        places = {one.name: one.levels.positions() for one in self.perturbations}
        cells = [CLEAN]
        for one in self.perturbations:
            pairs = zip(one.levels.values, places[one.name], strict=True)
            cells += [Cell(one.name, level, float(place)) for level, place in pairs]
        table = {
            name: [np.stack([tally[name][part] for tally in tallies], axis=1) for part in (0, 1)]
            for name in tallies[0]
        }
        return Counts(
            identity=frozen.population.names,
            groups=frozen.population.groups,
            cells=tuple(cells),
            hits={name: hits for name, (hits, _) in table.items()},
            trials={name: trials for name, (_, trials) in table.items()},
            response=frozen.response,
            order=frozen.order,
            chance=frozen.chance,
            protocol=frozen.description,
            axes={one.name: one.axis for one in self.perturbations},
        )

    def _meta(self, frozen: FrozenProtocol) -> dict[str, object]:
        """What decides the result; nothing of how often it was interrupted."""
        return {
            "protocol": frozen.description,
            "model": self.model,
            "seed": self.seed,
            "images": len(self.data),
            "embedded": self.images,
            "data": group_digest(self.data.keys),
            "perturbations": [step.signature(self.seed) for step in steps(self.perturbations)[1:]],
        }

    def _examples(self) -> dict[str, NDArray[np.uint8]]:
        if self.example is None:
            return {}
        part = slice(self.example, self.example + 1)
        image, keys = self.data.batch(part), self.data.keys[part]
        if not len(image):
            raise DataError(f"example {self.example} is none of {len(self.data)} images")
        strips = {}
        for one in self.perturbations:
            shown = [Step(one, level).images(image, self.seed, keys) for level in one.levels.values]
            strip = np.concatenate([image, *shown])
            strips[one.name] = np.repeat(strip, 3, axis=3) if strip.shape[3] == 1 else strip
        return strips

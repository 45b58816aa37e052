"""The sweep: every image at every level goes through the model once, ever."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vpsa_fair.data import Faces
from vpsa_fair.errors import DataError, ModelError
from vpsa_fair.models import Embed, Precomputed, embedded, self_test
from vpsa_fair.perturbation import Perturbation
from vpsa_fair.store import Memory, Store, digest, group_digest

__all__ = ["Spent", "Step", "Sweep", "perturbed"]

Vectors = NDArray[np.float32]
Advance = Callable[[int], object]
SHARD = 512  # images of one file: what a kill can cost


@dataclass
class Spent:
    """How many images this process sent through the model, and what for."""

    sweep: int = 0
    selftest: int = 0
    bound: int = 0

    def __str__(self) -> str:
        return f"{self.sweep} in the sweep, {self.selftest} in self-tests, {self.bound} in bounding"


@dataclass(frozen=True)
class Step:
    """A perturbation at a level; neither of them is the clean step."""

    perturbation: Perturbation | None = None
    level: float = 0.0

    @property
    def name(self) -> str:
        """Of the perturbation; empty if clean."""
        return self.perturbation.name if self.perturbation else ""

    def images(
        self, images: NDArray[np.uint8], seed: int, keys: Sequence[bytes]
    ) -> NDArray[np.uint8]:
        """The batch as this step leaves it."""
        if self.perturbation is None:
            return images
        return self.perturbation(images, self.level, seed=seed, keys=keys)

    def signature(self, seed: int) -> str:
        """What decides the pixels."""
        return self.perturbation.signature(self.level, seed) if self.perturbation else "clean"


def steps(perturbations: Sequence[Perturbation]) -> list[Step]:
    """The clean step, then every level of every perturbation."""
    return [Step(), *(Step(p, level) for p in perturbations for level in p.levels.values)]


@dataclass(eq=False)
class Sweep:
    """Embeds data at steps, and keeps what it has.

    Attributes:
        embed: the model, or :class:`~vpsa_fair.models.Precomputed`.
        data: the images.
        store: where embeddings are kept.
        model: name of the model; part of the name of every file.
        seed: of random perturbations.
        batch: images a call of the model.
        nonzero: whether a zero vector is an error.
        progress: whether a bar is shown; None shows it on a terminal.
        spent: images that went through the model in this process.
    """

    embed: Embed
    data: Faces
    store: Memory | Store
    model: str
    seed: int = 0
    batch: int = 64
    nonzero: bool = True
    progress: bool | None = None
    spent: Spent = field(default_factory=Spent)
    width: int | None = None

    def name(self, step: Step, part: slice) -> str:
        """The name of a file: a hash of model, pixels and perturbation."""
        keys = self.data.keys[part]
        return digest(1, self.model, step.signature(self.seed), group_digest(keys), len(keys))

    def shards(self) -> Iterator[slice]:
        """The images in pieces, each of which is a file at every step."""
        for start in range(0, len(self.data), SHARD):
            yield slice(start, min(start + SHARD, len(self.data)))

    def missing(self, wanted: Sequence[Step]) -> list[tuple[Step, slice]]:
        """What is not there yet, image by image, so that a file is read once for all steps."""
        return [
            (step, part)
            for part in self.shards()
            for step in wanted
            if not self.store.has(self.name(step, part), part.stop - part.start)
        ]

    def fill(self, wanted: Sequence[Step]) -> None:
        """Embed what is missing, and wait for what others are at.

        Args:
            wanted: steps.

        Raises:
            ModelError: if the model's answer cannot be used.
        """
        if isinstance(self.embed, Precomputed):
            return
        from tqdm import tqdm  # here, since it is a quarter of the time of importing the package

        todo = self.missing(wanted)
        images = sum(part.stop - part.start for _, part in todo)
        hidden = None if self.progress is None else not self.progress
        with tqdm(total=images, unit="img", disable=hidden, desc="sweep", leave=False) as bar:
            while todo:
                left = [task for task in todo if not self._do(*task, bar.update)]
                if len(left) == len(todo):
                    time.sleep(0.1)  # somebody else is at all that is left
                todo = left

    def embeddings(self, step: Step) -> Vectors:
        """``(N, d)`` embeddings at a step that was filled.

        Raises:
            DataError: if they are not there.
        """
        if isinstance(self.embed, Precomputed):
            return self._precomputed(self.embed, step)
        parts = [self._load(step, part) for part in self.shards()]
        found = [vectors for vectors in parts if vectors is not None]
        if len(found) < len(parts):
            raise DataError(f"embeddings at {step.signature(self.seed)} are gone: run again")
        if len({vectors.shape[1] for vectors in found}) > 1:
            raise ModelError(f"embeddings at {step.signature(self.seed)} are not of one width")
        return np.concatenate(found)

    def test_model(self) -> None:
        """Put at most 64 images through the model, and compare with what an earlier run stored.

        Raises:
            ModelError: if batch sizes give different answers, or the folder holds another model's.
        """
        if isinstance(self.embed, Precomputed):
            return
        part = slice(0, min(32, len(self.data)))
        images, names = self.data.batch(part), self.data.ids[part]
        answer = self_test(self.embed, images, names, nonzero=self.nonzero)
        self.spent.selftest += 2 * len(names)
        self.store.note(event="selftest", model=self.model, images=2 * len(names))
        name = digest("selftest", self.model, group_digest(self.data.keys[part]))
        before = self.store.settle(name, answer)
        scale = float(np.abs(before).max()) or 1.0
        if before.shape != answer.shape or np.abs(before - answer).max() > 0.05 * scale:
            raise ModelError(
                f"the folder holds embeddings of another model under the name {self.model!r}: "
                "give another folder, or model='a name of its own'"
            )

    def _do(self, step: Step, part: slice, advance: Advance) -> bool:
        """Embed one shard at one step unless somebody else is at it; True if it is there."""
        name, count = self.name(step, part), part.stop - part.start
        with self.store.claim(name) as ours:
            if self._load(step, part) is None:
                if not ours:
                    return False
                started = time.perf_counter()
                self.store.save(name, self._embed(step, part, name, advance))
                self.store.note(
                    event="embedded", step=step.signature(self.seed), first=part.start,
                    images=count, file=name, seconds=round(time.perf_counter() - started, 3),
                )  # fmt: skip
            else:
                advance(count)
        return True

    def _embed(self, step: Step, part: slice, name: str, advance: Advance) -> Vectors:
        found = []
        for start in range(part.start, part.stop, self.batch):
            some = slice(start, min(start + self.batch, part.stop))
            images = step.images(self.data.batch(some), self.seed, self.data.keys[some])
            vectors = embedded(
                self.embed, images, self.data.ids[some], width=self.width, nonzero=self.nonzero
            )
            self.width = vectors.shape[1]
            found.append(vectors)
            self.spent.sweep += len(vectors)
            self.store.alive(name)
            advance(len(vectors))
        return np.concatenate(found)

    def _load(self, step: Step, part: slice) -> Vectors | None:
        return self.store.load(self.name(step, part), part.stop - part.start)

    def _precomputed(self, source: Precomputed, step: Step) -> Vectors:
        given = source.embeddings(step.name, step.level)
        if len(given) != len(self.data):
            name = source.name(step.name, step.level)
            raise DataError(f"{name!r} must have {len(self.data)} embeddings, got {len(given)}")
        blank = np.broadcast_to(np.uint8(0), (len(given), 1, 1, 1))
        return embedded(
            lambda _: given, blank, self.data.ids, width=self.width, nonzero=self.nonzero
        )


def perturbed(
    data: Faces, perturbations: Sequence[Perturbation], *, seed: int = 0, batch: int = 64
) -> Iterator[tuple[str, float, slice, NDArray[np.uint8]]]:
    """Go through all images that an audit would embed, for a model that is run elsewhere.

    Args:
        data: the images.
        perturbations: of the audit.
        seed: of the audit.
        batch: images at a time.

    Yields:
        Name of the perturbation (empty: clean), level, which images, and ``(n, H, W, C)`` uint8.
    """
    for step in steps(perturbations):
        for start in range(0, len(data), batch):
            part = slice(start, min(start + batch, len(data)))
            images = step.images(data.batch(part), seed, data.keys[part])
            yield step.name, step.level, part, images

"""What a perturbation is: a name, a grid of levels, legal bounds, and a function of batches."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vpsa_fair.counts import Axis
from vpsa_fair.draws import draws, keys_or_own
from vpsa_fair.errors import LevelError
from vpsa_fair.levels import Levels, as_levels

__all__ = ["Draws", "Grid", "Perturbation", "custom"]

Pixels = NDArray[np.uint8]
Grid = Levels | Sequence[float]


@dataclass(frozen=True)
class Draws:
    """The random numbers of a batch: each image has its own, the same at every level."""

    seed: int
    name: str
    images: Pixels
    keys: Sequence[bytes] | None

    def uniform16(self, count: int) -> Iterator[NDArray[np.uint16]]:
        """``count`` 16-bit numbers for each image of the batch, one image after the other."""
        for key in keys_or_own(self.images, self.keys):
            yield draws(self.seed, self.name, key, count)


@dataclass(frozen=True)
class Perturbation:
    """Something that is done to images in degrees; 0 leaves every byte as it is.

    Attributes:
        name: a word, unique within an audit; it is part of the key of the random numbers.
        levels: the grid, without the 0; a sequence of numbers is a grid on the linear axis.
        apply: ``(images, level, draws) -> images`` on ``(N, H, W, C)`` uint8 batches, for levels
            above 0. Images are read-only, and what happens to one must not depend on the others.
        bounds: the legal levels, both ends included.
        unit: of the levels, for people.
        settings: text of all that decides the result besides the level; names cached embeddings.

    Raises:
        LevelError: if a level of the grid lies outside of the bounds.
        ValueError: if the name is not made of letters, digits, ``_``, ``-`` and ``.``.

    Source:
        RichardWebster et al. 2018: every perturbation carries its legal bounds.

    Example:
        >>> from vpsa_fair.perturb import gaussian_blur
        >>> line = np.array([0, 0, 0, 200, 0, 0, 0], np.uint8).reshape(1, 1, 7, 1)
        >>> gaussian_blur([1.0])(line, 1.0).ravel().tolist()
        [1, 11, 48, 80, 48, 11, 1]
    """

    name: str
    levels: Levels
    apply: Callable[[Pixels, float, Draws], Pixels]
    bounds: tuple[float, float]
    unit: str = ""
    settings: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", self.name):
            need = "letters, digits, '_', '-' and '.'"
            raise ValueError(f"a perturbation's name must be made of {need}, got {self.name!r}")
        object.__setattr__(self, "levels", as_levels(self.levels))
        for level in self.levels.values:
            self.check(level)

    def __call__(
        self, images: Pixels, level: float, *, seed: int = 0, keys: Sequence[bytes] | None = None
    ) -> Pixels:
        """Return the batch at one level.

        Args:
            images: ``(N, H, W, C)`` uint8.
            level: in the unit, inside the bounds; 0 is the identity, byte for byte.
            seed: of the audit; only random perturbations use it.
            keys: N digests of the images; None computes them. Whoever calls for many levels
                saves time with :func:`~vpsa_fair.draws.pixel_keys`.

        Returns:
            ``(N, H, W, C)`` uint8, a new array.

        Raises:
            LevelError: if the level is out of bounds.
            ValueError: if the images are no uint8 batch, or ``apply`` returns none.
        """
        self.check(level)
        if images.ndim != 4 or images.dtype != np.uint8:
            got = f"{images.dtype} {images.shape}"
            raise ValueError(f"images must be uint8 (N, H, W, C), got {got}")
        if level == 0 or images.size == 0:
            return images.copy()
        view = images.view()
        view.flags.writeable = False
        out = self.apply(view, float(level), Draws(seed, self.name, view, keys))
        if out.shape != images.shape or out.dtype != np.uint8:
            want, got = f"uint8 {images.shape}", f"{out.dtype} {out.shape}"
            raise ValueError(f"{self.name} must return {want}, got {got}")
        return out

    @property
    def axis(self) -> Axis:
        """The declared axis, as the counts hold it."""
        return Axis(self.levels.axis, 0.0, self.unit)

    def check(self, level: float) -> None:
        """Raise :class:`LevelError` if a level is neither 0 nor inside the bounds."""
        low, high = self.bounds
        if not (level == 0 or low <= level <= high):
            unit = f" {self.unit}" if self.unit else ""
            raise LevelError(
                f"{self.name} takes levels from {low:g} to {high:g}{unit}, got {level}"
            )

    def at(self, levels: "Levels | Sequence[float]") -> "Perturbation":
        """The same perturbation on another grid."""
        return replace(self, levels=as_levels(levels))

    def signature(self, level: float, seed: int) -> str:
        """Text that is equal exactly where the pixels are: names what a cache holds."""
        return f"{self.name}({self.settings})@{float(level)!r}#{seed}"


def custom(
    name: str,
    function: Callable[[Pixels, float], Pixels],
    levels: "Levels | Sequence[float]",
    *,
    bounds: tuple[float, float] = (0.0, float("inf")),
    unit: str = "",
    version: str,
) -> Perturbation:
    """Make a perturbation of a function of yours.

    Args:
        name: unique within an audit.
        function: ``(images, level) -> images`` on uint8 ``(N, H, W, C)`` batches. It is never
            called at level 0, gets read-only images, and must treat each image by itself.
        levels: the grid, ascending, without the 0.
        bounds: the legal levels.
        unit: of the levels, for people.
        version: any text; change it whenever the function changes, since the cache can't see that.

    Returns:
        The perturbation.

    Example:
        >>> invert = custom("invert", lambda x, s: 255 - x if s > 0.5 else x, [1.0], version="1")
        >>> int(invert(np.zeros((1, 2, 2, 3), np.uint8), 1.0).max())
        255
    """
    grid = as_levels(levels)
    return Perturbation(name, grid, lambda x, s, _: function(x, s), bounds, unit, f"own {version}")


def or_default(levels: Grid | None, default: Levels) -> Levels:
    """A grid, or the default if it is None."""
    return default if levels is None else as_levels(levels)


def sign_of(direction: str) -> int:
    """1 for ``up``, -1 for ``down``."""
    if direction not in ("up", "down"):
        raise ValueError(f"direction must be 'up' or 'down', got {direction!r}")
    return 1 if direction == "up" else -1


def need_channels(images: Pixels, allowed: tuple[int, ...], name: str) -> None:
    """Raise unless the images have as many channels as a perturbation takes."""
    if images.shape[3] not in allowed:
        need = " or ".join(map(str, allowed))
        raise ValueError(f"{name} needs images of {need} channels, got {images.shape[3]}")

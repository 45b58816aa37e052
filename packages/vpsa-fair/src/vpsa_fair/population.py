"""Who is on the images: identities, their groups, and which images are the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vpsa_fair.counts import CROSS, UNKNOWN, Labels, grouping_name
from vpsa_fair.errors import DataError

__all__ = ["Conflicts", "Population", "Tally", "cleaned"]

Codes = NDArray[np.int64]
Conflicts = Literal["error", "unknown"]
Tally = dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
"""For each measure its hits and trials, ``(I,)`` each."""


@dataclass(frozen=True, eq=False)
class Population:
    """N images of I identities.

    Attributes:
        identity: ``(N,)`` which identity an image shows, 0 to I - 1.
        names: ``(I,)`` names of the identities, sorted.
        groups: for each attribute ``(I,)`` labels, ``"unknown"`` where there is none.
        image: ``(N,)`` codes that are equal exactly where two images have the same pixels.
    """

    identity: Codes
    names: Labels
    groups: Mapping[str, Labels]
    image: Codes

    @classmethod
    def of(
        cls,
        identity: Sequence[object] | NDArray[np.generic],
        attributes: Mapping[str, Sequence[object] | NDArray[np.generic]] | None = None,
        keys: Sequence[bytes] | None = None,
        *,
        conflicts: Conflicts = "error",
    ) -> "Population":
        """Return the population that labels of images describe.

        Args:
            identity: ``(N,)`` labels.
            attributes: for each attribute ``(N,)`` labels; None, NaN and blanks are missing. An
                identity with a label on some images only has that label.
            keys: N hashes of the pixels; None takes all images as different.
            conflicts: an identity with two labels is an ``error``, or its label is ``unknown``.

        Returns:
            The population.

        Raises:
            DataError: if lengths differ, an identity is missing, or has two labels of an attribute.

        Example:
            >>> some = Population.of(["b", "a", "b"], {"tone": ["x", None, ""]})
            >>> some.names.tolist(), some.groups["tone"].tolist()
            (['a', 'b'], ['unknown', 'x'])
        """
        labels = cleaned(identity)
        if (labels == "").any():
            row = int(np.flatnonzero(labels == "")[0])
            raise DataError(f"image {row} has no identity: name one for every image")
        names, codes = np.unique(labels, return_inverse=True)
        groups = {}
        for attribute, values in (attributes or {}).items():
            if len(values) != len(labels):
                want, got = len(labels), len(values)
                raise DataError(f"attribute {attribute!r} must have {want} labels, got {got}")
            groups[attribute] = _of_identities(attribute, cleaned(values), codes, names, conflicts)
        if keys is not None and len(keys) != len(labels):
            raise DataError(f"keys must be one for each of {len(labels)} images, got {len(keys)}")
        image = np.arange(len(labels)) if keys is None else _codes(keys)
        return cls(codes.astype(np.int64), names, groups, image)

    def __len__(self) -> int:
        return len(self.identity)

    def labels(self, grouping: str | Sequence[str]) -> Labels:
        """``(I,)`` labels of one attribute or of crossed ones, joined as the counts join them.

        Raises:
            DataError: if there is no such attribute.
        """
        single = isinstance(grouping, str) and grouping in self.groups
        parts = [str(grouping)] if single else grouping_name(grouping).split(CROSS)
        for part in parts:
            if part not in self.groups:
                raise DataError(f"no attribute {part!r}; there are {sorted(self.groups)}")
        rows = zip(*(self.groups[part].tolist() for part in parts), strict=True)
        return np.array([CROSS.join(row) for row in rows], dtype=np.str_)

    def keep(self, images: NDArray[np.bool_]) -> "Population":
        """The population of some of the images, and of the identities that they show."""
        shown, codes = np.unique(self.identity[images], return_inverse=True)
        groups = {name: labels[shown] for name, labels in self.groups.items()}
        return Population(codes.astype(np.int64), self.names[shown], groups, self.image[images])

    def per_identity(self, values: NDArray[np.generic]) -> NDArray[np.float64]:
        """``(I,)`` sums of ``(N,)`` values of images."""
        sums = np.zeros(len(self.names))
        np.add.at(sums, self.identity, values)
        return sums


def cleaned(values: Sequence[object] | NDArray[np.generic]) -> Labels:
    """Labels as text without blanks around; None and NaN become the empty text."""
    listed = values.tolist() if isinstance(values, np.ndarray) else list(values)
    texts = ["" if value is None or value != value else str(value).strip() for value in listed]
    return np.array(texts, dtype=np.str_)


def _codes(keys: Sequence[bytes]) -> Codes:
    seen: dict[bytes, int] = {}
    return np.array([seen.setdefault(key, len(seen)) for key in keys], dtype=np.int64)


def _of_identities(
    attribute: str, values: Labels, codes: Codes, names: Labels, conflicts: Conflicts
) -> Labels:
    """One label an identity."""
    if conflicts not in ("error", "unknown"):
        raise ValueError(f"conflicts must be 'error' or 'unknown', got {conflicts!r}")
    found: dict[int, str] = {}
    for code, value in zip(codes.tolist(), values.tolist(), strict=True):
        if value and found.setdefault(code, value) not in (value, UNKNOWN):
            if conflicts == "error":
                both = f"{found[code]!r} and {value!r}"
                raise DataError(
                    f"identity {str(names[code])!r} has two labels of {attribute!r}, {both}: mend "
                    "the table, or give conflicts='unknown'"
                )
            found[code] = UNKNOWN
    return np.array([found.get(code, UNKNOWN) for code in range(len(names))], dtype=np.str_)

"""Images with identities and attributes: from arrays, or from a table of files."""

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpsa_fair.draws import pixel_keys
from vpsa_fair.errors import DataError
from vpsa_fair.images import read_image
from vpsa_fair.population import Conflicts, Population, cleaned

__all__ = ["Faces", "read_rows"]

Column = Sequence[object] | NDArray[np.generic]
CHUNK = 64


@dataclass(frozen=True, eq=False)
class Faces:
    """N images, who is on them, and attributes that somebody else named.

    Make one with :meth:`from_arrays`, :meth:`from_csv` or a loader. The images need not be faces.

    Attributes:
        ids: ``(N,)`` names of the images for messages: paths, or places in the array.
        identity: ``(N,)`` labels.
        attributes: for each attribute ``(N,)`` labels, blank where missing.
        pixels: ``(N, H, W, C)`` uint8, or None if the images are files.
        root: folder of the files.
        size: ``(H, W)`` that files are resized to, or None if they are of one size.
        conflicts: if images of an identity have two labels: ``error``, or ``unknown``.

    Raises:
        DataError: if lengths differ or there is no image.
    """

    ids: tuple[str, ...]
    identity: tuple[str, ...]
    attributes: Mapping[str, tuple[str, ...]]
    pixels: NDArray[np.uint8] | None = None
    root: Path = field(default_factory=Path)
    size: tuple[int, int] | None = None
    conflicts: Conflicts = "error"

    def __post_init__(self) -> None:
        if not self.ids:
            raise DataError("there is no image")
        for name, labels in {"identity": self.identity, **self.attributes}.items():
            if len(labels) != len(self.ids):
                raise DataError(
                    f"{name!r} must have a label for each of {len(self.ids)} images, "
                    f"got {len(labels)}"
                )

    @classmethod
    def from_arrays(
        cls,
        images: NDArray[np.uint8],
        identity: Column | None = None,
        attributes: Mapping[str, Column] | None = None,
        *,
        conflicts: Conflicts = "error",
    ) -> "Faces":
        """Return images in memory with their labels.

        Args:
            images: ``(N, H, W, 3)``, ``(N, H, W, 1)`` or ``(N, H, W)`` uint8.
            identity: ``(N,)`` labels; None makes every image an identity of its own.
            attributes: for each attribute ``(N,)`` labels; None, NaN and blanks are missing.
            conflicts: see the class.

        Returns:
            The data.

        Raises:
            DataError: if the images are no such array, or lengths differ.

        Example:
            >>> blank = np.zeros((4, 8, 8), np.uint8)
            >>> Faces.from_arrays(blank, list("aabb"), {"tone": list("xxyy")})
            4 images of 2 identities, tone: x 1, y 1
        """
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.ndim not in (3, 4):
            got = f"{images.dtype} {images.shape}"
            raise DataError(f"images must be uint8 (N, H, W) or (N, H, W, C), got {got}")
        pixels = images[..., None] if images.ndim == 3 else images
        if pixels.shape[3] not in (1, 3) or not pixels.size:
            raise DataError(f"images must have 1 or 3 channels and some pixels, got {images.shape}")
        ids = tuple(map(str, range(len(pixels))))
        who = ids if identity is None else tuple(cleaned(identity).tolist())
        labels = {k: tuple(cleaned(v).tolist()) for k, v in (attributes or {}).items()}
        return cls(ids, who, labels, pixels, conflicts=conflicts)

    @classmethod
    def from_paths(
        cls,
        paths: Sequence[str | os.PathLike[str]],
        identity: Column | None = None,
        attributes: Mapping[str, Column] | None = None,
        *,
        root: str | os.PathLike[str] = ".",
        size: tuple[int, int] | None = None,
        conflicts: Conflicts = "error",
    ) -> "Faces":
        """Return image files with their labels; files are read when they are needed.

        Args:
            paths: N files, below ``root``.
            identity: ``(N,)`` labels; None makes every image an identity of its own.
            attributes: for each attribute ``(N,)`` labels; None, NaN and blanks are missing.
            root: folder of the paths.
            size: ``(H, W)`` that all are resized to; None if they are of one size.
            conflicts: see the class.

        Returns:
            The data.

        Raises:
            DataError: if a file is not there, or lengths differ.
        """
        ids = tuple(Path(path).as_posix() for path in paths)
        for path in ids:
            if not (Path(root) / path).is_file():
                raise DataError(f"there is no file {Path(root) / path}")
        who = ids if identity is None else tuple(cleaned(identity).tolist())
        labels = {k: tuple(cleaned(v).tolist()) for k, v in (attributes or {}).items()}
        return cls(ids, who, labels, None, Path(root), size, conflicts)

    @classmethod
    def from_csv(
        cls,
        table: str | os.PathLike[str],
        *,
        root: str | os.PathLike[str] | None = None,
        path: str = "path",
        identity: str | None = "identity",
        attributes: Sequence[str] = (),
        size: tuple[int, int] | None = None,
        conflicts: Conflicts = "error",
    ) -> "Faces":
        """Return the image files that a table lists.

        Args:
            table: CSV with a header, in UTF-8.
            root: folder of the paths; None takes the table's.
            path: column of the files.
            identity: column of the identities; None makes every image its own.
            attributes: columns of the attributes; empty fields are missing.
            size: ``(H, W)`` that all are resized to; None if they are of one size.
            conflicts: see the class.

        Returns:
            The data, in the order of the table.

        Raises:
            DataError: if a column or a file is not there; it names the table and the line.
        """
        wanted = [path, *([] if identity is None else [identity]), *attributes]
        rows = read_rows(table, wanted)
        folder = Path(table).parent if root is None else Path(root)
        for line, row in enumerate(rows, start=2):
            if not row[path] or not (folder / row[path]).is_file():
                raise DataError(
                    f"{Path(table)}, line {line}: there is no file {folder / row[path]}"
                )
            if identity is not None and not row[identity]:
                raise DataError(f"{Path(table)}, line {line}: {identity!r} is empty")
        ids = tuple(row[path] for row in rows)
        who = ids if identity is None else tuple(row[identity] for row in rows)
        labels = {name: tuple(row[name] for row in rows) for name in attributes}
        return cls(ids, who, labels, None, folder, size, conflicts)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        parts = [f"{len(self)} images of {len(self.population.names)} identities"]
        for name, labels in self.population.groups.items():
            groups, counts = np.unique(labels, return_counts=True)
            listed = (f"{group} {count}" for group, count in zip(groups, counts, strict=True))
            parts.append(f"{name}: {', '.join(listed)}")
        return ", ".join(parts[:2]) if len(parts) == 2 else "; ".join(parts)

    def batch(self, part: slice) -> NDArray[np.uint8]:
        """Return some of the images.

        Args:
            part: which.

        Returns:
            ``(n, H, W, C)`` uint8; not to be written to.

        Raises:
            DataError: if a file cannot be read, or is of another size than the first.
        """
        if self.pixels is not None:
            return self.pixels[part]
        names = self.ids[part]
        images = [read_image(self.root / name, size=self.size) for name in names]
        for name, image in zip(names, images, strict=True):
            if image.shape != self.shape:
                want = " x ".join(map(str, self.shape[:2]))
                got = " x ".join(map(str, image.shape[:2]))
                raise DataError(f"{name} is {got}, the first image is {want}: give size=(H, W)")
        return np.stack(images)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """``(H, W, C)`` of every image."""
        if self.pixels is not None:
            return self.pixels.shape[1:]
        return read_image(self.root / self.ids[0], size=self.size).shape

    @cached_property
    def keys(self) -> list[bytes]:
        """N hashes of the pixels; reads every image once."""
        found: list[bytes] = []
        for start in range(0, len(self), CHUNK):
            found += pixel_keys(self.batch(slice(start, start + CHUNK)))
        return found

    @cached_property
    def population(self) -> Population:
        """Identities and groups, without a look at the pixels."""
        return Population.of(self.identity, self.attributes, conflicts=self.conflicts)

    def take(self, images: Sequence[int] | NDArray[np.integer]) -> "Faces":
        """Some of the images, by their places."""
        places = np.asarray(images, np.int64)
        return Faces(
            tuple(self.ids[i] for i in places),
            tuple(self.identity[i] for i in places),
            {name: tuple(labels[i] for i in places) for name, labels in self.attributes.items()},
            None if self.pixels is None else self.pixels[places],
            self.root,
            self.size,
            self.conflicts,
        )


def read_rows(
    table: str | os.PathLike[str], wanted: Sequence[str], *, delimiter: str = ","
) -> list[dict[str, str]]:
    """Return the rows of a CSV file, with blanks stripped.

    Args:
        table: CSV with a header, in UTF-8, with or without a byte order mark.
        wanted: columns that must be there.
        delimiter: between fields.

    Returns:
        A dictionary for each row, of the wanted columns.

    Raises:
        DataError: if the file or a column is missing, or there is no row.
    """
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=delimiter)
            there = list(reader.fieldnames or [])
            if missing := [name for name in wanted if name not in there]:
                raise DataError(f"{Path(table)} has no column {missing[0]!r}; it has {there}")
            rows = [{name: (row[name] or "").strip() for name in wanted} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{Path(table)} cannot be read as a table: {error}") from error
    if not rows:
        raise DataError(f"{Path(table)} has no row below its header")
    return rows

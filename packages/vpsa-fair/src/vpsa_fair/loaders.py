"""The folder layouts of five public sets; none of them is downloaded, and none comes with this."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from vpsa_fair.data import Faces, read_rows
from vpsa_fair.errors import DataError
from vpsa_fair.population import Conflicts

__all__ = ["bfw", "celeba", "fairface", "lfw", "lfw_pairs", "rfw"]

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".webp")
Root = str | os.PathLike[str]
Size = tuple[int, int] | None


def lfw(root: Root, *, attributes: Root | None = None, size: Size = None) -> Faces:
    """Return Labelled Faces in the Wild: ``root/NAME/NAME_0001.jpg``.

    Args:
        root: folder of the identities.
        attributes: CSV with a column ``identity`` and one for each attribute, or None.
        size: ``(H, W)`` to resize to.

    Returns:
        The data; identities that the table lacks are ``unknown``.

    Raises:
        DataError: if there is no image below ``root``.
    """
    paths = _images(Path(root), depth=2)
    people = [path.parent.name for path in paths]
    labels = {} if attributes is None else _joined(Path(attributes), people)
    return _faces(root, paths, people, labels, size)


def lfw_pairs(table: Root, data: Faces) -> tuple[list[int], list[int], list[bool]]:
    """Return the pairs of a ``pairs.txt``, as LFW and RFW write them, as indices into the data.

    A genuine line is ``NAME 1 2``; an impostor line is ``NAME 1 OTHER 4``. Fields are separated by
    tabs or blanks; a first line of counts is skipped.

    Args:
        table: the text file.
        data: what a loader returned; an image is found by ``NAME_0001`` and the like.

    Returns:
        Indices a and b and whether they show one identity, for
        :class:`~vpsa_fair.pairs.PairList`.

    Raises:
        DataError: if a line is no pair, or names an image that is not there.
    """
    places = {Path(name).stem: place for place, name in enumerate(data.ids)}
    a: list[int] = []
    b: list[int] = []
    same: list[bool] = []
    for number, line in enumerate(_lines(table), start=1):
        fields = line.split("\t") if "\t" in line else line.split()
        if len(fields) < 3 and number == 1:
            continue
        if len(fields) == 3:
            names = [(fields[0], fields[1]), (fields[0], fields[2])]
        elif len(fields) == 4:
            names = [(fields[0], fields[1]), (fields[2], fields[3])]
        else:
            raise DataError(f"{Path(table)}, line {number}: no pair: {line!r}")
        for (name, image), column in zip(names, (a, b), strict=True):
            if not image.isdigit():
                raise DataError(f"{Path(table)}, line {number}: {image!r} is no image number")
            stem = f"{name}_{int(image):04d}"
            if stem not in places:
                raise DataError(f"{Path(table)}, line {number}: there is no image {stem}")
            column.append(places[stem])
        same.append(len(fields) == 3)
    if not a:
        raise DataError(f"{Path(table)} holds no pair")
    return a, b, same


def rfw(root: Root, *, size: Size = None) -> Faces:
    """Return Racial Faces in the Wild: ``root/RACE/IDENTITY/IMAGE.jpg``, attribute ``race``.

    Args:
        root: folder of the races, usually ``test/data``.
        size: ``(H, W)`` to resize to.

    Returns:
        The data; an identity's name is ``RACE/IDENTITY``.

    Raises:
        DataError: if there is no image below ``root``.
    """
    paths = _images(Path(root), depth=3)
    people = [path.parent.as_posix() for path in paths]
    return _faces(root, paths, people, {"race": [path.parts[0] for path in paths]}, size)


def bfw(root: Root, *, size: Size = None) -> Faces:
    """Return Balanced Faces in the Wild: ``root/ETHNICITY_GENDER/IDENTITY/IMAGE.jpg``.

    Args:
        root: folder of the eight groups, such as ``asian_females``.
        size: ``(H, W)`` to resize to.

    Returns:
        The data, with attributes ``ethnicity`` and ``gender`` as the folders name them.

    Raises:
        DataError: if there is no image, or a folder is not named so.
    """
    paths = _images(Path(root), depth=3)
    ethnicity: list[str] = []
    gender: list[str] = []
    for path in paths:
        first, _, second = path.parts[0].partition("_")
        if not first or not second:
            raise DataError(f"{Path(root) / path.parts[0]} must be named ETHNICITY_GENDER")
        ethnicity.append(first)
        gender.append(second)
    people = [path.parent.as_posix() for path in paths]
    return _faces(root, paths, people, {"ethnicity": ethnicity, "gender": gender}, size)


def celeba(
    root: Root,
    *,
    attributes: Sequence[str] = ("Male",),
    images: str = "img_align_celeba",
    size: Size = None,
    conflicts: Conflicts = "unknown",
) -> Faces:
    """Return CelebA: ``root/img_align_celeba/000001.jpg`` and its text files.

    Args:
        root: folder with ``identity_CelebA.txt`` and ``list_attr_celeba.txt``.
        attributes: columns of the second, whose values 1 and -1 become ``yes`` and ``no``.
        images: folder of the images below ``root``.
        size: ``(H, W)`` to resize to.
        conflicts: CelebA labels images, so an identity may have both values: it is ``unknown``
            then, or an ``error``.

    Returns:
        The data: the images that are there.

    Raises:
        DataError: if a file or an attribute is missing, or a line cannot be read.
    """
    folder = Path(root)
    people = {}
    for number, line in enumerate(_lines(folder / "identity_CelebA.txt"), start=1):
        fields = line.split()
        if len(fields) != 2:
            raise DataError(f"{folder / 'identity_CelebA.txt'}, line {number}: {line!r}")
        people[fields[0]] = fields[1]
    table = folder / "list_attr_celeba.txt"
    lines = _lines(table)
    header = lines[1].split() if len(lines) > 2 else []
    if missing := [name for name in attributes if name not in header]:
        raise DataError(f"{table} has no attribute {missing[0]!r}; it has {header}")
    columns = {name: header.index(name) + 1 for name in attributes}
    names: list[Path] = []
    labels: dict[str, list[str]] = {name: [] for name in attributes}
    for number, line in enumerate(lines[2:], start=3):
        fields = line.split()
        if len(fields) != len(header) + 1 or fields[0] not in people:
            raise DataError(f"{table}, line {number}: {line[:40]!r} does not fit the header")
        if (folder / images / fields[0]).is_file():
            names.append(Path(images) / fields[0])
            for name, column in columns.items():
                labels[name].append({"1": "yes", "-1": "no"}.get(fields[column], ""))
    who = [people[path.name] for path in names]
    return Faces.from_paths(names, who, labels, root=root, size=size, conflicts=conflicts)


def fairface(
    root: Root,
    *,
    table: Root = "fairface_label_val.csv",
    attributes: Sequence[str] = ("race", "gender"),
    size: Size = None,
) -> Faces:
    """Return FairFace: a CSV with a column ``file`` and its attributes, and the images.

    FairFace has no identities, so every image is one: for same-image pairs and classification.

    Args:
        root: folder of the table, which its paths are relative to.
        table: name of the CSV below ``root``.
        attributes: columns of it.
        size: ``(H, W)`` to resize to.

    Returns:
        The data.

    Raises:
        DataError: if the table, a column or a file is missing.
    """
    path = Path(root) / table
    return Faces.from_csv(path, path="file", identity=None, attributes=attributes, size=size)


def _images(root: Path, depth: int) -> list[Path]:
    """Image files that lie so many names below ``root``, sorted, relative to it."""
    found = sorted(
        path.relative_to(root)
        for path in root.glob("/".join("*" * depth))
        if path.suffix.lower() in ENDINGS and path.is_file()
    )
    if not found:
        shape = "/".join(["FOLDER"] * (depth - 1) + ["IMAGE"])
        raise DataError(f"there is no {root}/{shape} with one of {', '.join(ENDINGS)}")
    return found


def _faces(
    root: Root, paths: list[Path], people: list[str], labels: Mapping[str, list[str]], size: Size
) -> Faces:
    return Faces.from_paths(paths, people, labels, root=root, size=size)


def _joined(table: Path, people: list[str]) -> dict[str, list[str]]:
    """The columns of a table of identities, for every image."""
    lines = _lines(table)
    names = [name.strip() for name in lines[0].split(",")]
    rows = {row["identity"]: row for row in read_rows(table, ["identity", *names])}
    wanted = [name for name in names if name != "identity"]
    return {name: [rows.get(who, {}).get(name, "") for who in people] for name in wanted}


def _lines(path: Root) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{Path(path)} cannot be read: {error}") from error

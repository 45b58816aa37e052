"""Results of stations on the disk, under a key made of everything that they depend on."""

import ast
import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tenfold.station import PACKAGES, Explorer, Images, Lines, Series, StationResult

FORMAT, VERSION = "tenfold station", 1
_KINDS: dict[str, Any] = {
    kind.__name__: kind for kind in (Series, Lines, Images, Explorer, StationResult)
}


SHARED = Path(__file__).parent
STUDIES = SHARED.parents[1] / "studies"


def key_of(
    station: Path, options: Mapping[str, Any], needs: Sequence[str], *, studies: Path = STUDIES
) -> str:
    """Return the key of a station's result: 16 hexadecimal digits.

    It covers the station's source, its package's, that of every package which its imports reach,
    all of tenfold outside ``stations/`` with the data there, the JSON of the package's study, and
    the versions of torch and numpy.

    Args:
        station: the station's source; its stem is the import name of its package.
        options: what the run was asked for, as JSON holds it.
        needs: keys of the stations that it builds on.
        studies: folder of the committed studies.
    """
    digest = hashlib.blake2b(digest_size=8)
    sources = {f"station {station.name}": station}
    for path in _files(SHARED):
        name = path.relative_to(SHARED).as_posix()
        if not name.startswith("stations/"):
            sources[f"tenfold {name}"] = path
    for package in sorted(_packages(station)):
        sources |= {f"{package} {name}": path for name, path in _installed(package).items()}
    for path in sorted((studies / station.stem).glob("*.json")):
        sources[f"study {path.name}"] = path
    for name, path in sources.items():
        digest.update(name.encode() + b"\0" + hashlib.blake2b(path.read_bytes()).digest())
    versions = {name: importlib.metadata.version(name) for name in ("torch", "numpy")}
    for part in (options, versions, list(needs)):
        digest.update(json.dumps(part, sort_keys=True).encode() + b"\0")
    return digest.hexdigest()


def _packages(station: Path) -> set[str]:
    """The station's own package, and those that its imports reach through tenfold's modules."""
    found, seen, ahead = {station.stem}, set[Path](), [station]
    while ahead:
        path = ahead.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in _imports(path):
            top, *rest = name.split(".")
            if top in PACKAGES:
                found.add(top)
            elif top == "tenfold" and rest:
                module = SHARED.joinpath(*rest)
                choices = (module.with_suffix(".py"), module / "__init__.py")
                ahead += [choice for choice in choices if choice.is_file()]
    return found


def _imports(path: Path) -> Iterable[str]:
    """Dotted names that a module imports anywhere; of ``from a import b`` both a and a.b."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _installed(package: str) -> dict[str, Path]:
    """The files of an import package or module by their name in it; none if it is not there."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        return {}
    folders = [Path(folder) for folder in spec.submodule_search_locations or []]
    files = {p.relative_to(folder).as_posix(): p for folder in folders for p in _files(folder)}
    if not folders and spec.has_location and spec.origin:
        files["module"] = Path(spec.origin)
    return files


def _files(folder: Path) -> Iterable[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".pyc")


def save(folder: Path, result: StationResult, seconds: float) -> None:
    """Write a result as JSON and npz; the folder appears whole or not at all.

    What a killed run left half-written beside it is removed once it is an hour old.

    Args:
        folder: ``<cache>/<station>/<key>``.
        result: what the station found.
        seconds: how long it took.

    Raises:
        TypeError: if the result holds what JSON and npz cannot.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    for stale in folder.parent.glob(".draft-*"):
        if time.time() - stale.stat().st_mtime > 3600:
            shutil.rmtree(stale, ignore_errors=True)
    arrays: dict[str, np.ndarray] = {}
    content = {"format": FORMAT, "version": VERSION, "seconds": seconds}
    content["result"] = _plain(result, arrays)
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".draft-"))
    try:
        np.savez(draft / "arrays.npz", allow_pickle=False, **arrays)
        (draft / "result.json").write_text(json.dumps(content, allow_nan=True), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def load(folder: Path) -> tuple[StationResult, float] | None:
    """Return what `save` wrote and the seconds it took; None where that cannot be read whole."""
    try:
        content = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        if content["format"] != FORMAT or content["version"] != VERSION:
            return None
        with (
            (folder / "arrays.npz").open("rb") as file,
            np.load(file, allow_pickle=False) as arrays,
        ):
            result = _object(content["result"], dict(arrays))
        return (result, float(content["seconds"])) if isinstance(result, StationResult) else None
    except Exception:  # what spoilt bytes raise has no end; a result that is not read is made anew
        return None


def _plain(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """JSON's form of a value; arrays are put aside and named."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _plain(getattr(value, f.name), arrays) for f in dataclasses.fields(value)}
        return {"kind": type(value).__name__, **fields}
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise TypeError("a station's result holds an array of objects, which is not kept")
        name = f"a{len(arrays)}"
        arrays[name] = value
        return {"array": name}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {"table": [[str(name), _plain(v, arrays)] for name, v in value.items()]}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(v, arrays) for v in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"a station's result holds {type(value).__name__}, which is not kept")


def _object(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """What `_plain` was made of; sequences come back as tuples."""
    if isinstance(value, list):
        return tuple(_object(v, arrays) for v in value)
    if not isinstance(value, dict):
        return value
    if kind := value.get("kind"):
        fields = {name: _object(v, arrays) for name, v in value.items() if name != "kind"}
        return _KINDS[kind](**fields)
    if "array" in value:
        return arrays[value["array"]]
    return {name: _object(v, arrays) for name, v in value["table"]}

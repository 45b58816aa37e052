"""Results of stations on the disk, under a key made of everything that they depend on."""

import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tenfold.station import Images, Lines, Series, StationResult

FORMAT, VERSION = "tenfold station", 1
_KINDS: dict[str, Any] = {kind.__name__: kind for kind in (Series, Lines, Images, StationResult)}


def key_of(station: Path, options: Mapping[str, Any], needs: Sequence[str]) -> str:
    """Return the key of a station's result: 16 hexadecimal digits.

    Args:
        station: the station's source; its stem is the import name of its package.
        options: what the run was asked for, as JSON holds it.
        needs: keys of the stations that it builds on.
    """
    digest = hashlib.blake2b(digest_size=8)
    spec = importlib.util.find_spec(station.stem)
    folders = list(spec.submodule_search_locations or []) if spec else []
    shared = Path(__file__).parent
    sources = [station, *(path for folder in folders for path in _files(Path(folder)))]
    sources += [
        path for path in _files(shared) if "stations" not in path.parts[len(shared.parts) :]
    ]
    for path in sources:
        digest.update(path.name.encode() + b"\0" + hashlib.blake2b(path.read_bytes()).digest())
    versions = {name: importlib.metadata.version(name) for name in ("torch", "numpy")}
    for part in (options, versions, list(needs)):
        digest.update(json.dumps(part, sort_keys=True).encode() + b"\0")
    return digest.hexdigest()


def _files(folder: Path) -> Iterable[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".pyc")


def save(folder: Path, result: StationResult, seconds: float) -> None:
    """Write a result as JSON and npz; the folder appears whole or not at all.

    Args:
        folder: ``<cache>/<station>/<key>``.
        result: what the station found.
        seconds: how long it took.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
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
    """Return what `save` wrote and the seconds it took; None where there is nothing to read."""
    if not (folder / "result.json").is_file():
        return None
    content = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    if content.get("format") != FORMAT or content.get("version") != VERSION:
        return None
    with np.load(folder / "arrays.npz", allow_pickle=False) as arrays:
        return _object(content["result"], dict(arrays)), float(content["seconds"])


def _plain(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """JSON's form of a value; arrays are put aside and named."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _plain(getattr(value, f.name), arrays) for f in dataclasses.fields(value)}
        return {"kind": type(value).__name__, **fields}
    if isinstance(value, np.ndarray):
        name = f"a{len(arrays)}"
        arrays[name] = value
        return {"array": name}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {"table": [[str(name), _plain(v, arrays)] for name, v in value.items()]}
    if isinstance(value, Sequence) and not isinstance(value, str):
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
    if "array" in value:
        return arrays[value["array"]]
    if "table" in value:
        return {name: _object(v, arrays) for name, v in value["table"]}
    kind = _KINDS[value["kind"]]
    return kind(**{name: _object(v, arrays) for name, v in value.items() if name != "kind"})

"""An audit from a TOML file, so that a run is a file that can be kept beside its result."""

import importlib
import importlib.util
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vpsa_fair import loaders, perturb
from vpsa_fair.audit import Audit
from vpsa_fair.data import Faces, read_rows
from vpsa_fair.errors import DataError
from vpsa_fair.levels import Levels, linear, log
from vpsa_fair.models import Precomputed
from vpsa_fair.perturbation import Perturbation
from vpsa_fair.protocols import (
    AnyProtocol,
    Classification,
    ForcedChoice,
    Identification,
    PairList,
    Verification,
)
from vpsa_fair.result import Result

__all__ = ["Config", "load_callable", "read_config"]

_SECTIONS = {
    "model": {"embed", "precomputed", "name", "batch", "selftest"},
    "data": {
        "csv",
        "layout",
        "root",
        "path",
        "identity",
        "attributes",
        "size",
        "conflicts",
        "images",
        "table",
    },
    "audit": {"groups", "seed", "example"},
    "result": {"n_boot", "confidence", "interval", "min_identities"},
    "run": {"out"},
}
_LAYOUTS = ("bfw", "celeba", "fairface", "lfw", "rfw")
_KINDS = (
    "contrast",
    "downscale",
    "exposure",
    "gaussian_blur",
    "gaussian_noise",
    "hue",
    "jpeg",
    "motion_blur",
    "occlusion",
    "rotation",
    "salt_and_pepper",
    "saturation",
)


@dataclass(frozen=True, eq=False)
class Config:
    """What a configuration file says, ready to run.

    Attributes:
        audit: the audit, its cache in the output folder.
        out: folder of embeddings, tables and report.
        settings: of the result: resamples, confidence, intervals, minimum size.
    """

    audit: Audit
    out: Path
    settings: Mapping[str, Any]

    def run(self, *, resume: bool = True) -> Result:
        """Runs the audit, saves the result and its report into ``out``."""
        result = replace(self.audit.run(resume=resume), **self.settings)
        result.save(self.out)
        result.report(self.out / "report.html")
        return result


def read_config(
    path: str | os.PathLike[str], *, out: str | os.PathLike[str] | None = None
) -> Config:
    """Reads a configuration.

    Paths in it are relative to the file. Sections: ``[model]`` (``embed = "module:function"`` or
    ``"file.py:function"``, or ``precomputed = "folder"``), ``[data]`` (``csv`` and its columns),
    ``[protocol]`` (``kind`` and its options), ``[[perturbation]]`` (``kind``, ``levels``, options;
    all twelve if there is none), ``[audit]``, ``[result]``, ``[run]`` (``out``).

    Args:
        path: TOML file. **It names code that is run**: use only your own.
        out: folder that takes the place of the file's.

    Returns:
        The configuration.

    Raises:
        DataError: if the file cannot be read, or a section or key is unknown or missing.
    """
    source = Path(path)
    try:
        table = tomllib.loads(source.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{source} is no TOML: {error}") from error
    _check_keys(table, source)
    folder = source.parent
    data = _data(table.get("data", {}), folder)
    model, audit = table.get("model", {}), table.get("audit", {})
    place = Path(out) if out is not None else folder / table.get("run", {}).get("out", "run")
    chosen = [_perturbation(entry, i) for i, entry in enumerate(table.get("perturbation", []))]
    return Config(
        audit=Audit(
            embed=_model(model, folder),
            data=data,
            perturbations=chosen or perturb.standard(),
            protocol=_protocol(dict(table.get("protocol", {})), data, folder / _csv(table)),
            groups=[g if isinstance(g, str) else tuple(g) for g in audit.get("groups", [])],
            cache=place,
            model=model.get("name", model.get("embed", "precomputed")),
            batch=model.get("batch", 64),
            selftest=model.get("selftest", "precomputed" not in model),
            **{key: audit[key] for key in ("seed", "example") if key in audit},
        ),
        out=place,
        settings=table.get("result", {}),
    )


def _check_keys(table: Mapping[str, Any], source: Path) -> None:
    known = {*_SECTIONS, "protocol", "perturbation"}
    if extra := sorted(set(table) - known):
        raise DataError(f"{source}: unknown section {extra[0]!r}; there are {sorted(known)}")
    for name, keys in _SECTIONS.items():
        section = table.get(name, {})
        if not isinstance(section, Mapping):
            raise DataError(f"{source}: [{name}] must be a table, got {section!r}")
        if extra := sorted(set(section) - keys):
            raise DataError(f"{source}: unknown key {extra[0]!r} in [{name}]; {sorted(keys)}")


def _data(section: Mapping[str, Any], folder: Path) -> Faces:
    if ("csv" in section) == ("layout" in section):
        layouts = ", ".join(_LAYOUTS)
        raise DataError(f"[data] needs either csv = 'FILE' or layout = one of {layouts}")
    options = {k: v for k, v in section.items() if k not in ("csv", "layout", "root", "size")}
    options["size"] = tuple(section["size"]) if "size" in section else None
    root = folder / section["root"] if "root" in section else None
    try:
        if "csv" in section:
            return Faces.from_csv(folder / section["csv"], root=root, **options)
        if section["layout"] not in _LAYOUTS or root is None:
            raise DataError(f"[data] needs root and one of {_LAYOUTS}, got {section['layout']!r}")
        if isinstance(options.get("attributes"), str):  # lfw's is a table
            options["attributes"] = folder / options["attributes"]
        return getattr(loaders, section["layout"])(root, **options)
    except TypeError as error:
        raise DataError(f"[data]: {error}") from error


def _model(section: Mapping[str, Any], folder: Path) -> Any:
    if ("embed" in section) == ("precomputed" in section):
        raise DataError("[model] needs either embed = 'module:function' or precomputed = 'FOLDER'")
    if "precomputed" in section:
        return Precomputed(folder / section["precomputed"])
    return load_callable(section["embed"], folder)


def load_callable(target: str, folder: str | os.PathLike[str] = ".") -> Any:
    """The function that a configuration names.

    Args:
        target: ``package.module:name`` or ``path/to/file.py:name``.
        folder: what a file's path is relative to.

    Returns:
        The function.

    Raises:
        DataError: if there is none of that name.

    Example:
        >>> load_callable("math:sqrt")(4.0)
        2.0
    """
    place, _, name = target.rpartition(":")
    if not place or not name:
        raise DataError(f"a model is module:function or file.py:function, got {target!r}")
    try:
        if place.endswith(".py"):
            file = Path(folder) / place
            spec = importlib.util.spec_from_file_location(file.stem, file)
            if spec is None or spec.loader is None:
                raise ImportError(f"{file} is no Python file")
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
        found = getattr(module, name)
    except Exception as error:  # whatever a user's file may raise
        raise DataError(f"{target} cannot be loaded: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise DataError(f"{target} must be callable, got {type(found).__name__}")
    return found


def _perturbation(entry: Mapping[str, Any], index: int) -> Perturbation:
    options = dict(entry)
    kind = options.pop("kind", None)
    if kind not in _KINDS:
        have = ", ".join(_KINDS)
        raise DataError(f"[[perturbation]] {index + 1}: kind must be one of {have}, got {kind!r}")
    if "levels" in options:
        options["levels"] = _levels(options["levels"])
    try:
        return getattr(perturb, kind)(**options)
    except TypeError as error:
        raise DataError(f"[[perturbation]] {index + 1} ({kind}): {error}") from error


def _levels(value: Any) -> Levels:
    """A list of levels, or a table with low, high, count, axis and offset."""
    if isinstance(value, list):
        return Levels(tuple(float(v) for v in value))
    if not isinstance(value, Mapping) or not {"low", "high", "count"} <= set(value):
        raise DataError(f"levels must be a list or a table of low, high and count, got {value!r}")
    options = dict(value)
    axis = options.pop("axis", "linear")
    grids = {"linear": linear, "log": log}
    if axis not in grids:
        raise DataError(f"axis must be 'linear' or 'log', got {axis!r}")
    return grids[axis](**options)


def _csv(table: Mapping[str, Any]) -> str:
    return str(table.get("data", {}).get("csv", "."))


def _protocol(options: dict[str, Any], data: Faces, table: Path) -> AnyProtocol:
    kind = options.pop("kind", "verification")
    plain = {
        "verification": Verification,
        "identification": Identification,
        "forced-choice": ForcedChoice,
    }
    try:
        if kind in plain:
            return plain[kind](**options)
        if kind == "classification":
            column = options.pop("labels", "label")
            rows = read_rows(table, [column])
            return Classification([int(row[column]) for row in rows], **options)
        if kind == "pairs":
            folder = table if table.is_dir() else table.parent
            if "lfw" in options:
                found = loaders.lfw_pairs(folder / options.pop("lfw"), data)
                return PairList(*found, **options)
            rows = read_rows(folder / options.pop("csv"), ["a", "b", "same"])
            a, b, same = (np.array([int(row[k]) for row in rows]) for k in ("a", "b", "same"))
            return PairList(a, b, same.astype(bool), **options)
    except (TypeError, KeyError, ValueError) as error:
        raise DataError(f"[protocol] {kind}: {error}") from error
    kinds = ", ".join([*plain, "classification", "pairs"])
    raise DataError(f"[protocol] kind must be one of {kinds}, got {kind!r}")

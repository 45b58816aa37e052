"""Maps in safetensors files: tensors, and one JSON header that says what they are."""

import json
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from act_steer.aura import AurA
from act_steer.chain import ChainTransport
from act_steer.errors import SteeringFileError
from act_steer.moments import Moments
from act_steer.ot import FullGaussianTransport
from act_steer.quantile import QuantileTransport
from act_steer.transport import (
    AffineTransport,
    GaussianTransport,
    LinearTransport,
    MeanTransport,
    Transport,
)

Setting: TypeAlias = str | int | float | bool | list["Setting"] | None

FORMAT, VERSION, HEADER = "act-steer", 1, "act-steer"
KINDS = (
    AffineTransport,
    LinearTransport,
    MeanTransport,
    GaussianTransport,
    AurA,
    QuantileTransport,
    FullGaussianTransport,
)
_BY_NAME = {kind.method: kind for kind in KINDS}
_MOMENTS = [f.name for f in fields(Moments) if f.name not in ("n", "m")]


def write_maps(
    path: Path,
    maps: Mapping[str, Transport],
    metadata: Mapping[str, Setting],
    *,
    moments: bool = True,
) -> None:
    """Write maps to a safetensors file, in one step and always with the same bytes.

    Raises:
        TypeError: if a map is not of this package, or a setting is not JSON.
    """
    tensors: dict[str, Tensor] = {}
    modules = []
    for name, transport in maps.items():
        modules.append({"module": name, **_describe(transport, moments)})
        for key, tensor in _contents(transport, moments).items():
            tensors[f"{name}|{key}"] = (
                tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            )
    header = {
        "format": FORMAT,
        "version": VERSION,
        "modules": modules,
        "metadata": dict(metadata),
    }
    # one entry only, as safetensors does not keep the order of several
    blob = save(tensors, metadata={HEADER: json.dumps(header, sort_keys=True, allow_nan=False)})
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(blob)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_maps(path: Path) -> tuple[dict[str, Transport], dict[str, Setting]]:
    """Read maps and their metadata, and check all that a file can get wrong.

    Raises:
        SteeringFileError: if something is not as `write_maps` writes it.
        OSError: if the file cannot be opened.
    """
    with open(path, "rb"):
        pass  # the system's own error for a file that is missing or not to be read
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            header = (file.metadata() or {}).get(HEADER)
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, OSError) as error:
        raise SteeringFileError(f"{path} is not a whole safetensors file: {error}") from error
    try:
        return _parse(header, tensors)
    except SteeringFileError as error:
        raise SteeringFileError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise SteeringFileError(f"{path} has a damaged header or map: {error}") from error


def _parse(
    text: str | None, tensors: dict[str, Tensor]
) -> tuple[dict[str, Transport], dict[str, Setting]]:
    if text is None:
        raise SteeringFileError(f"no {HEADER!r} header, so this is no file of maps")
    header = json.loads(text)
    if header["format"] != FORMAT or header["version"] != VERSION:
        got = f"{header['format']!r}, version {header['version']!r}"
        raise SteeringFileError(f"expected format {FORMAT!r}, version {VERSION}, got {got}")
    for key, tensor in tensors.items():
        if tensor.dtype not in (torch.float32, torch.float64, torch.bool, torch.int64):
            raise SteeringFileError(f"{key} is {tensor.dtype}; maps are float32 or float64")
        if tensor.isnan().any():
            raise SteeringFileError(f"{key} holds NaN")
    maps: dict[str, Transport] = {}
    for entry in header["modules"]:
        name = entry["module"]
        start = f"{name}|"
        keys = [key for key in tensors if key.startswith(start)]
        if name in maps or not isinstance(name, str):
            raise SteeringFileError(f"module {name!r} stands in the header twice or is no name")
        maps[name] = _build(entry, {key.removeprefix(start): tensors.pop(key) for key in keys})
    if tensors or not maps:
        extra = ", ".join(sorted(tensors)[:3]) or "no map at all"
        raise SteeringFileError(f"header and tensors do not belong together: {extra}")
    if not isinstance(header["metadata"], dict):
        raise SteeringFileError("metadata must be an object")
    return maps, header["metadata"]


def _build(entry: Mapping[str, Any], tensors: dict[str, Tensor]) -> Transport:
    transport: Transport
    if entry["kind"] == ChainTransport.method:
        shares = [ChainTransport.part_of(tensors, i) for i in range(len(entry["parts"]))]
        pairs = zip(entry["parts"], shares, strict=True)
        transport = ChainTransport(tuple(_build(part, share) for part, share in pairs))
        known = sum(len(share) for share in shares) == len(tensors)
    else:
        kind = _BY_NAME.get(entry["kind"])
        if kind is None:
            raise SteeringFileError(f"unknown kind of map {entry['kind']!r}")
        if not isinstance(entry["clamp"], bool):
            raise SteeringFileError(f"clamp must be true or false, got {entry['clamp']!r}")
        moments = _moments(entry, tensors)
        transport = kind.from_tensors(tensors, entry["clamp"], moments)
        if moments is not None and len(moments.mean_a) != transport.dim:
            raise SteeringFileError(
                f"moments of {len(moments.mean_a)} neurons, not {transport.dim}"
            )
        known = set(tensors) == set(_contents(transport, moments=True))
    if not known:
        raise SteeringFileError(f"a {entry['kind']} map does not hold {sorted(tensors)}")
    return transport


def _moments(entry: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Moments | None:
    if "n" not in entry:
        return None
    columns = {name: tensors[f"moments.{name}"] for name in _MOMENTS}
    counts = entry["n"], entry["m"]
    if any(type(count) is not int or count < 1 for count in counts):
        raise SteeringFileError(f"sample counts must be positive integers, got {counts}")
    shapes = {tuple(column.shape) for column in columns.values()}
    finite = all(torch.isfinite(column).all() for column in columns.values())
    if len(shapes) != 1 or not finite or columns["degenerate"].dtype != torch.bool:
        raise SteeringFileError(f"moments must be finite and of one shape, got {shapes}")
    return Moments(**columns, n=counts[0], m=counts[1])


def _describe(transport: Transport, moments: bool) -> dict[str, Any]:
    if isinstance(transport, ChainTransport):
        parts = [_describe(part, moments) for part in transport.parts]
        return {"kind": transport.method, "parts": parts}
    if type(transport) not in KINDS:
        raise TypeError(
            f"a {type(transport).__name__} cannot be saved: only {', '.join(_BY_NAME)} and chains"
        )
    entry: dict[str, Any] = {"kind": transport.method, "clamp": getattr(transport, "clamp", False)}
    if moments and transport.moments is not None:
        entry.update(n=transport.moments.n, m=transport.moments.m)
    return entry


def _contents(transport: Transport, moments: bool) -> dict[str, Tensor]:
    if isinstance(transport, ChainTransport):
        return {
            f"{i}.{key}": tensor
            for i, part in enumerate(transport.parts)
            for key, tensor in _contents(part, moments).items()
        }
    tensors = transport.tensors()
    if moments and transport.moments is not None:
        kept = transport.moments.tensors()
        tensors |= {f"moments.{name}": tensor for name, tensor in kept.items()}
    return tensors

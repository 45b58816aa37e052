"""The state of a ModelEMA in memory and in safetensors, and what is refused on the way back."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ema_scaling._clock import Clock
from ema_scaling._track import is_sharded, local
from ema_scaling.files import read_header, replacing

if TYPE_CHECKING:
    from ema_scaling.ema import ModelEMA

FORMAT = "ema-scaling"
VERSION = 1


def fingerprint(recipe: Mapping[str, Any]) -> str:
    """A short hash of a recipe: equal recipes, equal hashes."""
    text = json.dumps(recipe, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def state_of(ema: "ModelEMA") -> dict[str, Any]:
    """The state as a nested dict of tensors and plain values."""
    recipe = ema.recipe()
    return {
        "format": FORMAT,
        "version": VERSION,
        "recipe": recipe,
        "fingerprint": fingerprint(recipe),
        "clock": asdict(ema.clock),
        "shadow": dict(ema.average.shadow),
        "residual": dict(ema.average.residual),
        "generator": ema.generator.get_state(),
    }


def load_state(
    ema: "ModelEMA", state: Mapping[str, Any], *, kappa: float | None, strict: bool
) -> None:
    """Check a state against an average, then copy it in: all of it or nothing."""
    missing = {"format", "version", "recipe", "clock", "shadow", "residual"} - state.keys()
    if missing or state["format"] != FORMAT:
        raise ValueError(f"this is no state of {FORMAT}: it has {sorted(state)[:8]}")
    if state["version"] != VERSION:
        raise ValueError(f"the state has version {state['version']}, this package reads {VERSION}")
    _check_recipe(ema, state["recipe"], kappa, strict)
    pairs = [
        *_pairs(ema.average.shadow, state["shadow"], "average"),
        *_pairs(ema.average.residual, state["residual"], "remainder"),
    ]
    try:
        clock = Clock(**state["clock"])
    except TypeError as error:
        raise ValueError(f"the state's clock is malformed: {state['clock']}") from error
    if "generator" in state:
        try:  # on another one first: all of the state or nothing
            torch.Generator().set_state(state["generator"].cpu())
        except (RuntimeError, TypeError) as error:
            raise ValueError(f"the state's generator is malformed: {error}") from error
    with torch.no_grad():
        for mine, stored in pairs:
            local(mine).copy_(local(stored))
    ema.clock = clock
    if "generator" in state:
        ema.generator.set_state(state["generator"].cpu())


def _check_recipe(
    ema: "ModelEMA", stored: Mapping[str, Any], kappa: float | None, strict: bool
) -> None:
    mine = ema.recipe()
    if stored.get("precision") != mine["precision"]:
        raise ValueError(
            f"the state has precision {stored.get('precision')!r}, this average "
            f"{mine['precision']!r}: build it with precision={stored.get('precision')!r}"
        )
    if not strict:
        return
    for name in ("schedule", "corrected"):
        if stored.get(name) != mine[name]:
            raise ValueError(
                f"the state's {name} is {stored.get(name)}, this average's is {mine[name]}: "
                f"build it as it was, or pass strict=False to go on with the new one"
            )
    old, new = stored.get("batch"), mine["batch"]
    if kappa is None and old != new:
        raise ValueError(
            f"the state was saved at batch {old}, this average runs at batch {new}: pass "
            f"kappa={new / old if old else new:g} if the optimizer was scaled too, or build it "
            f"with batch={old}"
        )
    if kappa is not None and (not old or abs(new / old - kappa) > 1e-9 * kappa):
        raise ValueError(f"kappa = {kappa:g} does not lead from batch {old} to batch {new}")


def _pairs(
    mine: Mapping[str, Tensor], stored: Mapping[str, Tensor], what: str
) -> list[tuple[Tensor, Tensor]]:
    absent, foreign = sorted(mine.keys() - stored.keys()), sorted(stored.keys() - mine.keys())
    if absent or foreign:
        raise ValueError(
            f"the state's {what} belongs to another model: absent {absent[:5]}, "
            f"unknown {foreign[:5]}"
        )
    for name, tensor in mine.items():
        other = stored[name]
        if tensor.shape != other.shape or tensor.dtype != other.dtype:
            raise ValueError(
                f"the state's {what} of {name} is {tuple(other.shape)} {other.dtype}, the "
                f"model's {tuple(tensor.shape)} {tensor.dtype}"
            )
    return [(mine[name], stored[name]) for name in mine]


def save(ema: "ModelEMA", path: str | Path) -> None:
    """Write the state to a safetensors file."""
    if any(map(is_sharded, ema.average.shadow.values())):
        raise ValueError("the model is sharded: save it with torch.distributed.checkpoint")
    state = state_of(ema)
    tensors = {f"shadow.{name}": tensor for name, tensor in state["shadow"].items()}
    tensors |= {f"residual.{name}": tensor for name, tensor in state["residual"].items()}
    tensors["generator"] = state["generator"]
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "recipe": json.dumps(state["recipe"]),
        "fingerprint": state["fingerprint"],
        "clock": json.dumps(state["clock"]),
    }
    write_tensors(path, tensors, metadata)


def write_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """A safetensors file, written under another name and then moved."""
    plain = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(plain, temporary, metadata=dict(metadata))


def read(path: str | Path) -> dict[str, Any]:
    """The state in a file of ``save``.

    Raises:
        ValueError: if the file is damaged, of another kind, or its recipe was altered.
    """
    metadata, _ = read_header(path)
    if metadata.get("format") != FORMAT or "clock" not in metadata:
        raise ValueError(f"{path} is no average saved by {FORMAT}")
    try:
        recipe, clock = json.loads(metadata["recipe"]), json.loads(metadata["clock"])
        version = int(metadata["version"])
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} has a malformed header") from error
    if fingerprint(recipe) != metadata.get("fingerprint"):
        raise ValueError(f"{path}: the recipe does not match its fingerprint")
    parts: dict[str, dict[str, Tensor]] = {"shadow": {}, "residual": {}}
    try:
        tensors = load_file(path)
        generator = tensors.pop("generator")
        for name, tensor in tensors.items():
            part, _, key = name.partition(".")
            parts[part][key] = tensor
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    return {
        "format": FORMAT, "version": version, "recipe": recipe,
        "fingerprint": metadata["fingerprint"], "clock": clock, "generator": generator, **parts,
    }  # fmt: skip


def any_rank(flag: Tensor, sharded: Sequence[Tensor]) -> Tensor:
    """Whether the flag is set on any process that holds a part of the model."""
    import torch.distributed as dist

    total = flag.to(torch.int32)
    mesh = next(t for t in sharded if is_sharded(t)).device_mesh  # type: ignore[attr-defined]
    for dim in range(mesh.ndim):
        dist.all_reduce(total, dist.ReduceOp.MAX, group=mesh.get_group(dim))
    return total > 0

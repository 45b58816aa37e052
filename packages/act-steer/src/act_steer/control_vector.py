"""Mean maps of the residual stream as a control vector for llama.cpp: one GGUF file."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from act_steer.move import is_affine
from act_steer.sites import Site

BLOCK = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)$")
ALIGNMENT = 32
UINT32, STRING, FLOAT32 = 4, 8, 0  # the format's numbers for types


def export_gguf(
    steering: Mapping[str, Any],
    path: str | Path,
    *,
    model_hint: str = "",
    strength: float = 1.0,
) -> None:
    """Write the shifts of mean maps as a control vector, which llama.cpp adds after each block.

    Args:
        steering: mean maps of the outputs of blocks, as ``"model.layers.7"``.
        path: of the file; it is replaced at once, when all is written.
        model_hint: the model's type, as ``config.model_type`` has it.
        strength: factor of the shifts; llama.cpp has one of its own, ``--control-vector-scaled``.

    Raises:
        ValueError: if a map scales or is bounded, acts elsewhere, or on block 0, which llama.cpp
            does not steer.

    Source:
        The GGUF format, version 3, and llama.cpp's names: ``direction.7`` goes behind block 7.

    Example:
        >>> from act_steer import LinearTransport
        >>> import torch
        >>> a = torch.randn(9, 4)
        >>> export_gguf({"model.layers.7": LinearTransport.fit(a, 2 * a)}, "vector.gguf")
        Traceback (most recent call last):
        ...
        ValueError: model.layers.7 has a map that scales: a control vector only shifts, use \
method="mean"
    """
    directions: dict[int, np.ndarray] = {}
    for key, transport in steering.items():
        layer = block_of(key)
        check_shift(key, transport)
        directions[layer] = (strength * transport.shift.detach().cpu().double()).float().numpy()
    if not directions:
        raise ValueError("the steering holds no map")
    settings: dict[str, str | int] = {
        "general.architecture": "controlvector",
        "controlvector.model_hint": model_hint,
        "controlvector.layer_count": len(directions),
    }
    tensors = {f"direction.{layer}": directions[layer] for layer in sorted(directions)}
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(gguf_bytes(settings, tensors))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def block_of(key: str) -> int:
    """Return the number of the block whose output a key names.

    Raises:
        ValueError: if it names something else, or block 0.

    Example:
        >>> block_of("model.layers.7"), block_of("transformer.h.3:0")
        (7, 3)
    """
    site = Site.parse(key)
    found = BLOCK.search(site.path)
    if found is None or site.index not in (None, 0) or site.timestep is not None:
        raise ValueError(f"a control vector acts on the outputs of blocks, as layers.7; got {key}")
    if int(found[1]) == 0:
        raise ValueError(f"llama.cpp steers no block before the second one: leave {key} out")
    return int(found[1])


def check_shift(key: str, transport: Any) -> None:
    """Raise unless a map adds the same to every activation.

    Raises:
        ValueError: if it does not.
    """
    if not is_affine(transport) or bool((transport.scale != 1).any()):
        advice = 'a control vector only shifts, use method="mean"'
        raise ValueError(f"{key} has a map that scales: {advice}")
    if bool(transport.low.isfinite().any() or transport.high.isfinite().any()):
        raise ValueError(f'{key} has a map that acts on an interval only: use support="all"')


def gguf_bytes(settings: Mapping[str, str | int], tensors: Mapping[str, np.ndarray]) -> bytes:
    """Return a GGUF file of version 3: settings, and float32 vectors.

    Args:
        settings: text, or numbers that fit 32 bits.
        tensors: float32 ``(D,)`` each.
    """

    def text(value: str) -> bytes:
        raw = value.encode()
        return struct.pack("<Q", len(raw)) + raw

    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(settings))
    for name, value in settings.items():
        kind = STRING if isinstance(value, str) else UINT32
        stored = text(value) if isinstance(value, str) else struct.pack("<I", value)
        head += text(name) + struct.pack("<I", kind) + stored
    body = b""
    for name, values in tensors.items():
        head += text(name) + struct.pack("<IQIQ", 1, len(values), FLOAT32, len(body))
        body += values.astype("<f4").tobytes()
        body += bytes(-len(body) % ALIGNMENT)
    return head + bytes(-len(head) % ALIGNMENT) + body

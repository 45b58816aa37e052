"""Work affine maps into the weights: the same outputs, no hooks, a plain checkpoint."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from act_steer.absorb import (
    CONVS,
    NORMS,
    Affine,
    NotFoldable,
    Undo,
    fold_last,
    fold_norm,
    fold_output,
    fold_readers,
    gamma_offset,
    is_rms_norm,
    require,
)
from act_steer.apply import Strength, resolve
from act_steer.move import CHANNELS_FIRST, Spatial, is_affine
from act_steer.readers import is_linear, readers_of
from act_steer.sites import check_width, grouped, module_at, network_of, refuse_compiled

FLAGS = ("attention_bias", "mlp_bias", "qkv_bias", "use_bias", "use_qkv_bias", "bias")
"""Settings of transformers' configurations that say that there are biases."""


def fold(
    steering: Mapping[str, Any],
    model: Any,
    *,
    strength: Strength = 1.0,
    spatial: Spatial | None = None,
    example: Mapping[str, Any] | None = None,
    checkpoint: bool = True,
) -> Undo:
    """Change the weights of ``model`` so that it gives what it would give steered.

    Norms with a bias, Linear and convolutions take the map themselves. An RMS norm takes the
    factors, the Linears that read it take the shift; a module without weights, as an activation,
    leaves both to its readers. A larger module takes the map in the Linear that ends it, if that
    gives the same on one forward: so a shift of a residual block is a bias of its last Linear.

    Args:
        steering: affine maps without bounds, as ``support="all"`` fits them: a bounded map is no
            matrix.
        model: a module, or a pipeline of diffusers.
        strength: as for `apply`; a tensor is read once.
        spatial: as for `apply`; maps that scale the mean of a picture cannot be folded.
        example: keyword arguments of one forward, to find who reads a module; None will do for a
            language model of transformers.
        checkpoint: refuse biases that ``model.config`` has no setting for, as a checkpoint of
            ``save_pretrained`` would lose them.

    Returns:
        What takes the fold back.

    Raises:
        NotFoldable: if no weight can hold a map; the model is then as it was.

    Source:
        Ours; the paper remarks that its affine maps can be worked into the layer.

    Example:
        >>> from act_steer import MeanTransport
        >>> net, a = nn.Sequential(nn.Linear(3, 2)), torch.zeros(4, 2)
        >>> undo = fold({"0": MeanTransport.fit(a, a + 1, support="all")}, net, strength=0.5)
        >>> undo.changed
        ['0.bias']
        >>> undo()
    """
    net = network_of(model)
    refuse_compiled(net)
    rule = spatial or getattr(steering, "metadata", {}).get("spatial", "pooled")
    affines = [read(steering, net, strength, output, rule) for output in grouped(steering)]
    watched = [a.path for a in affines if needs_readers(module_at(net, a.path), a)]
    readers = readers_of(net, watched, example or example_for(net)) if watched else {}
    undo, before = Undo(), set(net.state_dict())
    try:
        for affine in affines:
            undo.path = affine.path
            fold_one(net, affine, readers.get(affine.path, []), example, undo)
        if checkpoint and set(net.state_dict()) != before:
            declare(net, before, undo)
    except BaseException:
        undo()
        raise
    undo.changed = [name for name, p in net.named_parameters() if id(p) in undo.made]
    return undo


def read(
    steering: Mapping[str, Any], net: nn.Module, strength: Strength, output: str, spatial: str
) -> Affine:
    """Return the map of one output at a strength, checked.

    Raises:
        NotFoldable: if it is not affine everywhere, or not for all timesteps.
    """
    outputs = grouped(steering)
    site, key = outputs[output][0]
    transport, module = steering[key], module_at(net, site.path)
    if site.timestep is not None:
        raise NotFoldable("it depends on the timestep, and weights do not", output)
    if not is_affine(transport):
        raise NotFoldable(f"a {type(transport).__name__} is not affine", output)
    if bool(transport.low.isfinite().any() or transport.high.isfinite().any()):
        reason = 'it acts on an interval only, and weights act everywhere: fit with support="all"'
        raise NotFoldable(reason, output)
    check_width(module, output, {key: transport})
    if site.index not in (None, 0):
        raise NotFoldable("only the first tensor of an output can be", output)
    number = float(resolve(strength, outputs)[output])
    scale, shift = transport.scale.detach().double(), transport.shift.detach().double()
    affine = Affine(site.path, 1 + number * (scale - 1), number * shift)
    if affine.scales and isinstance(module, CHANNELS_FIRST) and spatial == "pooled":
        reason = 'it scales the mean of a picture: fit with spatial="pointwise"'
        raise NotFoldable(reason, output)
    return affine


def needs_readers(module: nn.Module, affine: Affine) -> bool:
    """Whether a map has to go on to the modules that read this one."""
    if is_rms_norm(module):
        return affine.shifts
    return (
        not module._modules
        and next(module.parameters(), None) is None
        and not isinstance(module, NORMS)
    )


def fold_one(
    net: nn.Module,
    affine: Affine,
    readers: list[tuple[str, nn.Module | None]],
    example: Mapping[str, Any] | None,
    undo: Undo,
) -> None:
    """Fold one map.

    Raises:
        NotFoldable: if no weight can hold it.
    """
    module = module_at(net, affine.path)
    if isinstance(module, NORMS):
        fold_norm(net, module, affine, undo)
    elif is_linear(module) or isinstance(module, CONVS):
        fold_output(net, module, affine, undo)
    elif is_rms_norm(module):
        if affine.scales:
            weight = require(net, module, affine, "weight").double()
            offset = gamma_offset(module, affine)
            undo.set(module, "weight", affine.weight * (offset + weight) - offset)
        if affine.shifts:
            only_shift = Affine(affine.path, torch.ones_like(affine.weight), affine.bias)
            fold_readers(net, only_shift, readers, undo)
    elif not module._modules and next(module.parameters(), None) is None:
        fold_readers(net, affine, readers, undo)
    elif module._modules:
        fold_last(net, affine, example or example_for(net), undo)
    else:
        raise NotFoldable(f"a {type(module).__name__} is not known to be affine", affine.path)


def example_for(net: nn.Module) -> dict[str, Any]:
    """Return a forward for a language model of transformers: a few tokens.

    Raises:
        ValueError: if the model is none.
    """
    words = getattr(getattr(net, "config", None), "vocab_size", None)
    if not isinstance(words, int):
        raise ValueError(
            f"folding into {type(net).__name__} needs example=, the keyword arguments of a forward"
        )
    home = next(net.parameters()).device
    return {"input_ids": torch.arange(5, device=home).remainder(words).unsqueeze(0)}


def declare(net: nn.Module, before: set[str], undo: Undo) -> None:
    """Set the flags of ``net.config`` for the biases that are new, and add those that come along.

    Raises:
        NotFoldable: if a checkpoint could not be loaded again.
    """
    config = getattr(net, "config", None)
    if config is None or not hasattr(net, "save_pretrained"):
        return

    def keys() -> set[str]:
        with torch.device("meta"):
            made = getattr(type(net), "_from_config", None) or type(net).from_config  # type: ignore
            return set(made(copy.deepcopy(config)).state_dict())

    new = set(net.state_dict()) - before
    missing = new - keys()
    for flag in FLAGS:
        if not missing:
            break
        if getattr(config, flag, None) is False:
            undo.configure(config, flag, True)
            if (left := missing - keys()) == missing:
                undo.configure(config, flag, False)
            missing = left
    if missing:
        name = min(missing)
        reason = f"{type(config).__name__} has no setting for {name}: fold with checkpoint=False"
        raise NotFoldable(reason, undo.made[id(net.get_parameter(name))][1])
    for key in sorted(keys() - set(net.state_dict())):
        path, _, name = key.rpartition(".")
        module = net.get_submodule(path)
        weight = module._parameters["weight"]
        if weight is None or name != "bias":
            raise NotFoldable(f"a checkpoint of it would want {key}", path)
        undo.set(module, name, torch.zeros(len(weight), dtype=weight.dtype, device=weight.device))

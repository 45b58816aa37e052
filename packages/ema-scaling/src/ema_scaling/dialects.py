"""Recipes in other people's words: timm, Hugging Face, DINO, and a torch optimizer.

``read`` turns a table of arguments into a Recipe; ``write`` returns the same table with the
scaled values in it, each in the unit and with the built-in scaling that its code applies.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from ema_scaling import _check
from ema_scaling.recipe import Recipe
from ema_scaling.scaling import ScaledRecipe

Dialect = Literal["native", "timm", "hf", "dino"]
Args = Mapping[str, Any]

# their optimizer names -> family and weight-decay convention; what is absent is refused
_TIMM = {
    "sgd": "sgd", "nesterov": "sgd", "momentum": "sgd", "lars": "lars", "nlars": "lars",
    "adam": "adam", "adamw": "adamw", "rmsprop": "rmsprop",
}  # fmt: skip
_HF = {
    "adamw_torch": "adamw", "adamw_torch_fused": "adamw", "adamw_hf": "adamw", "sgd": "sgd",
    "rmsprop": "rmsprop",
}  # fmt: skip
_DINO = {"adamw": "adamw", "sgd": "sgd", "lars": "lars"}
_DINO_REFERENCE_BATCH = 256  # its code multiplies lr by batch / 256


def detect(args: Args) -> Dialect:
    """The dialect whose telling keys the table has; "native" if none has.

    Args:
        args: a table of training arguments.

    Returns:
        The dialect's name.

    Example:
        >>> detect({"per_device_train_batch_size": 8, "learning_rate": 5e-5})
        'hf'
    """
    if "per_device_train_batch_size" in args:
        return "hf"
    if "batch_size_per_gpu" in args:
        return "dino"
    return "timm" if "batch_size" in args and ("opt" in args or "model_ema" in args) else "native"


def read(args: Args, dialect: Dialect, *, devices: int | None = None) -> Recipe:
    """The recipe that a table of arguments describes, at its global batch.

    Args:
        args: arguments by name, in the dialect's words.
        dialect: "native" (the fields of Recipe), "timm", "hf" or "dino".
        devices: workers that share the batch, where the table does not say (``world_size``).

    Returns:
        The recipe; its batch is per-device batch times devices times accumulation steps.

    Raises:
        ValueError: if a needed argument is missing or the optimizer unknown.

    Example:
        >>> recipe = read({"batch_size": 128, "opt": "sgd", "lr": 0.1}, "timm", devices=8)
        >>> recipe.batch
        1024
    """
    _check.one_of("dialect", dialect, ("native", *_READERS))
    if dialect == "native":
        recipe = Recipe.from_dict(args)
        return recipe.with_(devices=devices) if devices else recipe
    return _READERS[dialect](args, devices or _whole(args, "world_size"))


def write(args: Args, scaled: ScaledRecipe, dialect: Dialect) -> dict[str, Any]:
    """The table of arguments with the scaled values in it; all others as they were.

    Args:
        args: the table that was read.
        scaled: what ``scale`` made of it.
        dialect: the dialect in which it was read.

    Returns:
        A new table.

    Raises:
        ValueError: if the new batch cannot be split over devices and accumulation steps.

    Example:
        >>> from ema_scaling import scale
        >>> args = {"batch_size": 128, "opt": "sgd", "lr": 0.1, "model_ema_decay": 0.999}
        >>> write(args, scale(read(args, "timm"), kappa=2), "timm")["model_ema_decay"]
        0.998001
    """
    _check.one_of("dialect", dialect, ("native", *_READERS))
    if dialect == "native":
        return {**args, **{k: v for k, v in scaled.recipe.to_dict().items() if k in args}}
    return {**args, **_WRITERS[dialect](args, scaled)}


def _need(args: Args, *names: str) -> None:
    if missing := [name for name in names if args.get(name) is None]:
        raise ValueError(f"the arguments lack {', '.join(missing)}; they have {sorted(args)}")


def _family(name: str, known: Mapping[str, str], where: str) -> str:
    if name not in known:
        raise ValueError(
            f"no batch-size rule is known for {where} = {name!r} (known: {', '.join(known)})"
        )
    return known[name]


def _whole(args: Args, name: str) -> int:
    return _check.count(name, args.get(name) or 1)


def _adaptive(family: str) -> bool:
    return family in ("adam", "adamw")


def _per_device(scaled: ScaledRecipe, accumulation: int) -> int:
    devices = scaled.recipe.devices or 1
    share, rest = divmod(scaled.recipe.batch, devices * accumulation)
    if rest:
        raise ValueError(
            f"a batch of {scaled.recipe.batch} does not split over {devices} devices with "
            f"{accumulation} accumulation steps: take a multiple of {devices * accumulation}"
        )
    return share


def _set(args: Args, values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in values.items() if v is not None and args.get(k) is not None}


def _read_timm(args: Args, devices: int) -> Recipe:
    _need(args, "batch_size", "opt")
    family = _family(str(args["opt"]).lower(), _TIMM, "opt")
    batch = _whole(args, "batch_size") * devices * _whole(args, "grad_accum_steps")
    lr = args.get("lr")
    if lr is None:  # timm then derives it from lr_base, by a scaling of its own
        _need(args, "lr_base")
        ratio = batch / (args.get("lr_base_size") or 256)
        rule = args.get("lr_base_scale") or ("sqrt" if _adaptive(family) else "linear")
        lr = _check.positive("lr_base", args["lr_base"]) * (ratio**0.5 if rule == "sqrt" else ratio)
    betas = args.get("opt_betas") or ((0.9, 0.999) if _adaptive(family) else None)
    averaged = args.get("model_ema", True)
    return Recipe(
        batch=batch, devices=devices, optimizer=family, lr=lr, min_lr=args.get("min_lr"),
        momentum=args.get("momentum") if family in ("sgd", "lars") else None,
        betas=tuple(betas) if betas else None,
        eps=args.get("opt_eps") or (1e-8 if _adaptive(family) else None),
        weight_decay=args.get("weight_decay") or 0.0,
        ema_decay=args.get("model_ema_decay") if averaged else None,
        bn_momentum=args.get("bn_momentum"), grad_clip=args.get("clip_grad"),
        epochs=args.get("epochs"), warmup_epochs=args.get("warmup_epochs"),
        intervals={k: args[k] for k in ("log_interval",) if args.get(k)},
    )  # fmt: skip


def _write_timm(args: Args, scaled: ScaledRecipe) -> dict[str, Any]:
    new = scaled.recipe
    out: dict[str, Any] = {
        "batch_size": _per_device(scaled, _whole(args, "grad_accum_steps")), "lr": new.lr,
    }  # fmt: skip
    if new.betas:
        out |= {"opt_betas": list(new.betas), "opt_eps": new.eps}
    return out | _set(args, {
        "min_lr": new.min_lr, "weight_decay": new.weight_decay, "model_ema_decay": new.ema_decay,
        "bn_momentum": new.bn_momentum, "world_size": new.devices, **new.intervals,
    })  # fmt: skip


_HF_INTERVALS = ("logging_steps", "eval_steps", "save_steps")


def _read_hf(args: Args, devices: int) -> Recipe:
    _need(args, "per_device_train_batch_size", "learning_rate")
    family = _family(args.get("optim") or "adamw_torch", _HF, "optim")
    accumulation = _whole(args, "gradient_accumulation_steps")
    steps = args.get("max_steps") or 0
    adaptive = _adaptive(family)
    return Recipe(
        batch=_whole(args, "per_device_train_batch_size") * devices * accumulation, devices=devices,
        optimizer=family, lr=args["learning_rate"],
        betas=(args.get("adam_beta1", 0.9), args.get("adam_beta2", 0.999)) if adaptive else None,
        eps=args.get("adam_epsilon", 1e-8) if adaptive else None,
        weight_decay=args.get("weight_decay") or 0.0,
        weight_decay_convention="lr-decoupled" if family == "adamw" else None,
        steps=steps if steps > 0 else None,
        epochs=args.get("num_train_epochs", 3.0) if steps <= 0 else None,
        warmup_steps=args.get("warmup_steps") or None, grad_clip=args.get("max_grad_norm") or None,
        intervals={k: args[k] for k in _HF_INTERVALS if (args.get(k) or 0) >= 1},
    )  # fmt: skip


def _write_hf(args: Args, scaled: ScaledRecipe) -> dict[str, Any]:
    new = scaled.recipe
    accumulation = _whole(args, "gradient_accumulation_steps")
    out: dict[str, Any] = {
        "per_device_train_batch_size": _per_device(scaled, accumulation), "learning_rate": new.lr,
    }  # fmt: skip
    if new.betas:
        out |= {"adam_beta1": new.betas[0], "adam_beta2": new.betas[1], "adam_epsilon": new.eps}
    if new.steps is not None:
        out["max_steps"] = new.steps
    if new.warmup_steps is not None:
        out["warmup_steps"] = round(new.warmup_steps)
    return out | _set(
        args, {"weight_decay": new.weight_decay, "world_size": new.devices, **new.intervals}
    )


def _read_dino(args: Args, devices: int) -> Recipe:
    _need(args, "batch_size_per_gpu", "lr")
    family = _family(args.get("optimizer") or "adamw", _DINO, "optimizer")
    batch = _whole(args, "batch_size_per_gpu") * devices
    return Recipe(
        batch=batch, devices=devices, optimizer=family,
        lr=_check.positive("lr", args["lr"]) * batch / _DINO_REFERENCE_BATCH,
        min_lr=args.get("min_lr"),
        momentum=0.9 if family != "adamw" else None,
        betas=(0.9, 0.999) if family == "adamw" else None,
        eps=1e-8 if family == "adamw" else None,
        weight_decay=args.get("weight_decay") or 0.0,
        weight_decay_end=args.get("weight_decay_end"),
        weight_decay_convention="lr-decoupled" if family == "adamw" else None,
        ema_decay=args.get("momentum_teacher"),
        ema_decay_end=1.0 if args.get("momentum_teacher") is not None else None,
        other_decays={k: args[k] for k in ("center_momentum",) if args.get(k) is not None},
        epochs=args.get("epochs"), warmup_epochs=args.get("warmup_epochs"),
        grad_clip=args.get("clip_grad") or None,
    )  # fmt: skip


def _write_dino(args: Args, scaled: ScaledRecipe) -> dict[str, Any]:
    new = scaled.recipe
    out: dict[str, Any] = {
        "batch_size_per_gpu": _per_device(scaled, 1),
        "lr": new.lr * _DINO_REFERENCE_BATCH / new.batch,  # its code multiplies this back
    }
    return out | _set(args, {  # it takes no betas and no eps: the report has them
        "min_lr": new.min_lr, "weight_decay": new.weight_decay,
        "weight_decay_end": new.weight_decay_end, "momentum_teacher": new.ema_decay,
        "world_size": new.devices, **new.other_decays,
    })  # fmt: skip


_READERS: dict[str, Callable[[Args, int], Recipe]] = {
    "timm": _read_timm, "hf": _read_hf, "dino": _read_dino,
}  # fmt: skip
_WRITERS: dict[str, Callable[[Args, ScaledRecipe], dict[str, Any]]] = {
    "timm": _write_timm, "hf": _write_hf, "dino": _write_dino,
}  # fmt: skip


def family_of(optimizer: Any) -> str:
    """The family of a torch optimizer, by the names of its classes.

    Raises:
        ValueError: if its rule is not known: it is never guessed.
    """
    names = {cls.__name__.lower() for cls in type(optimizer).__mro__}
    for family in ("adamw", "adam", "rmsprop", "sgd"):
        if family in names:
            return family
    kind = type(optimizer).__name__
    raise ValueError(f"no batch-size rule is known for {kind} (known: SGD, Adam, AdamW, RMSprop)")


def from_optimizer(optimizer: Any, *, batch: int, **fields: Any) -> Recipe:
    """The recipe of a torch optimizer (SGD, Adam, AdamW or RMSprop), read from its groups.

    Args:
        optimizer: any object with torch's ``param_groups``.
        batch: samples of one step, at which it was tuned.
        **fields: further fields of Recipe, such as ``ema_decay`` or ``epochs``.

    Returns:
        The recipe. The weight decay is the largest of the groups'.

    Raises:
        ValueError: if the optimizer's rule is unknown, or the groups differ in lr, betas or eps
            (``scale_optimizer_`` scales those in place).

    Example:
        >>> import torch
        >>> weights = [torch.zeros(2, requires_grad=True)]
        >>> from_optimizer(torch.optim.SGD(weights, lr=0.1, momentum=0.9), batch=32).momentum
        0.9
    """
    family = family_of(optimizer)
    groups = optimizer.param_groups
    for name in ("lr", "betas", "alpha", "eps", "momentum"):
        if len(values := {str(group[name]) for group in groups if name in group}) > 1:
            found = ", ".join(sorted(values))
            raise ValueError(f"the groups differ in {name} ({found}): use scale_optimizer_")
    first = groups[0]
    betas = tuple(float(b) for b in first["betas"]) if "betas" in first else None
    if family == "rmsprop":
        betas = (float(first["alpha"]),)
    decoupled = first.get("decoupled_weight_decay", family == "adamw")
    return Recipe(
        batch=batch, optimizer="adamw" if decoupled else family, lr=float(first["lr"]),
        betas=betas, eps=first.get("eps"), momentum=first.get("momentum"),
        weight_decay=max(float(group["weight_decay"]) for group in groups),
        weight_decay_convention="lr-decoupled" if decoupled else "coupled", **fields,
    )  # fmt: skip

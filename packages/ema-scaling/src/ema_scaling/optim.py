"""Scale a torch optimizer in place: hyper-parameters of every group, and the state they shaped."""

from collections.abc import Mapping
from typing import Any

import torch

from ema_scaling import _check, rules
from ema_scaling.dialects import family_of
from ema_scaling.recipe import LR_RULES
from ema_scaling.scaling import CONVENTIONS, Form

SCALED = ("lr", "initial_lr", "betas", "alpha", "eps", "weight_decay")
_SECOND_MOMENTS = ("exp_avg_sq", "max_exp_avg_sq", "square_avg")


def scale_optimizer_(
    optimizer: torch.optim.Optimizer,
    kappa: float,
    *,
    form: Form = "linear",
    rule: str = "auto",
    rescale_state: bool = True,
) -> None:
    """Move an optimizer to a batch kappa times as large, in place; every group keeps its ratios.

    Args:
        optimizer: SGD, Adam, AdamW or RMSprop of torch, or a subclass.
        kappa: new batch over old batch, positive.
        form: "linear", "power" or "exact", as in ``scale``.
        rule: the family whose rules hold, or "auto" for the optimizer's own.
        rescale_state: also divide second moments and the step count by kappa. The former hold
            where gradients are mostly noise; the latter keeps the bias correction in place.

    Raises:
        ValueError: if the optimizer's rule is unknown or a value has no legal form; then nothing
            has been changed.

    Source:
        Goyal et al. 2017, Malladi et al. 2022; the state's rescaling is derived here.

    Example:
        >>> weights = [torch.zeros(2, requires_grad=True)]
        >>> optimizer = torch.optim.Adam(weights, lr=1e-3, betas=(0.9, 0.999))
        >>> scale_optimizer_(optimizer, 4)
        >>> optimizer.param_groups[0]["lr"], round(optimizer.param_groups[0]["betas"][0], 12)
        (0.002, 0.6)
    """
    family = family_of(optimizer) if rule == "auto" else _check.one_of("rule", rule, LR_RULES)
    new = [scaled_group(read_group(g), family, kappa, form) for g in optimizer.param_groups]
    for group, values in zip(optimizer.param_groups, new, strict=True):
        write_group(group, values)
    if rescale_state:
        rescale_state_(optimizer, kappa)


def read_group(group: Mapping[str, Any]) -> dict[str, Any]:
    """The hyper-parameters of a group that a batch touches, as plain numbers."""
    plain: dict[str, Any] = {"decoupled": group.get("decoupled_weight_decay")}
    for name in SCALED:
        if (value := group.get(name)) is not None:
            plain[name] = list(map(float, value)) if name == "betas" else float(value)
    return plain


def scaled_group(group: Mapping[str, Any], family: str, kappa: float, form: Form) -> dict[str, Any]:
    """The hyper-parameters of ``read_group`` at a batch kappa times as large."""
    lr_rule = LR_RULES[family]
    beta_form = "linear" if form == "linear" else "power"
    new = dict(group)
    for name in ("lr", "initial_lr"):
        if name in group:
            new[name] = rules.scale_lr(group[name], kappa, rule=lr_rule)
    if "betas" in group:
        new["betas"] = list(rules.scale_betas(tuple(group["betas"]), kappa, form=beta_form))
    if "alpha" in group:
        (new["alpha"],) = rules.scale_betas((group["alpha"],), kappa, form=beta_form)
    if "eps" in group and lr_rule == "sqrt":
        new["eps"] = rules.scale_eps(group["eps"], kappa)
    if group.get("weight_decay"):
        convention = CONVENTIONS[family]
        if group["decoupled"] is not None:  # torch's Adam can be told to be AdamW
            convention = "lr-decoupled" if group["decoupled"] else "coupled"
        new["weight_decay"] = rules.scale_weight_decay(
            group["weight_decay"], kappa, convention=convention, lr_rule=lr_rule,
            lr=group["lr"], exact=form == "exact",
        )  # fmt: skip
    return new


def write_group(group: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Put the values into a group; tensors, as capturable optimizers hold them, in place."""
    for name in SCALED:
        if name not in values:
            continue
        if isinstance(group[name], torch.Tensor):
            group[name].fill_(values[name])
        else:
            group[name] = tuple(values[name]) if name == "betas" else values[name]


@torch.no_grad()
def rescale_state_(optimizer: torch.optim.Optimizer, ratio: float) -> None:
    """Move second moments and step counts to a batch ``ratio`` times as large, in place.

    Args:
        optimizer: the optimizer whose state is meant.
        ratio: new batch over old batch, positive.
    """
    ratio = _check.positive("ratio", ratio)
    for state in optimizer.state.values():
        for name in _SECOND_MOMENTS:
            if isinstance(state.get(name), torch.Tensor):
                state[name].div_(ratio)
        if isinstance(step := state.get("step"), torch.Tensor):
            step.div_(ratio)
        elif step is not None:
            state["step"] = step / ratio

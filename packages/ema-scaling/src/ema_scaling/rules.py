"""The rules: how each hyper-parameter moves when the batch grows by kappa. Floats in, floats out.

kappa is the new batch divided by the old one; it need not be whole and may be below 1.
``decay`` is the weight of the old average, ``weight = 1 - decay`` that of the new value; near
``decay = 1`` a float holds ``weight`` far more exactly, so both have functions.
"""

import math
from typing import Literal

from ema_scaling import _check

LrRule = Literal["linear", "sqrt", "none"]
BetaForm = Literal["linear", "power"]
DecayConvention = Literal["coupled", "lr-decoupled", "decoupled"]

LR_EXPONENT: dict[str, float] = {"linear": 1.0, "sqrt": 0.5, "none": 0.0}


def scale_decay(decay: float, kappa: float) -> float:
    """The EMA decay at a batch kappa times as large: ``decay ** kappa``.

    Args:
        decay: weight of the old average in one update, in [0, 1].
        kappa: new batch over old batch, positive.

    Returns:
        The decay of one update at the new batch.

    Raises:
        ValueError: if ``decay`` is outside [0, 1] or ``kappa`` is not positive and finite.

    Source:
        The EMA Scaling Rule of Busbridge et al. 2023.

    Example:
        >>> round(scale_decay(0.9999, 16), 8)
        0.9984012
    """
    return _check.fraction("decay", decay) ** _check.positive("kappa", kappa)


def scale_weight(weight: float, kappa: float) -> float:
    """The weight of the new value at a batch kappa times as large: ``1 - (1 - weight) ** kappa``.

    This is the form for BatchNorm's ``momentum`` and for any tool whose "momentum" is the share
    of the new value.

    Args:
        weight: weight of the new value in one update, in [0, 1].
        kappa: new batch over old batch, positive.

    Returns:
        The weight of one update at the new batch, exact to rounding however small it is.

    Raises:
        ValueError: if ``weight`` is outside [0, 1] or ``kappa`` is not positive and finite.

    Source:
        The EMA Scaling Rule, written for ``1 - decay``.

    Example:
        >>> round(scale_weight(0.1, 2), 12)
        0.19
    """
    weight, kappa = _check.fraction("weight", weight), _check.positive("kappa", kappa)
    return 1.0 if weight == 1 else -math.expm1(kappa * math.log1p(-weight))


def half_life(decay: float, *, batch: int = 1) -> float:
    """The number of samples after which an old value's share is halved.

    Args:
        decay: weight of the old average in one update, strictly between 0 and 1.
        batch: samples between two updates; 1 gives the half-life in updates.

    Returns:
        ``-batch * log(2) / log(decay)``, in samples.

    Raises:
        ValueError: if ``decay`` is not strictly between 0 and 1.

    Source:
        The quantity that the EMA Scaling Rule preserves.

    Example:
        >>> round(half_life(0.9999, batch=256))
        1774368
    """
    if not 0 < _check.fraction("decay", decay) < 1:
        raise ValueError(f"decay must lie strictly between 0 and 1 for a half-life, got {decay}")
    return -_check.positive("batch", batch) * math.log(2) / math.log(decay)


def decay_from_half_life(half_life: float, *, batch: int = 1) -> float:
    """The decay of one update for a half-life in samples: ``2 ** (-batch / half_life)``.

    Args:
        half_life: samples after which an old value's share is halved, positive.
        batch: samples between two updates.

    Returns:
        The weight of the old average in one update.

    Raises:
        ValueError: if an argument is not positive.

    Source:
        The inverse of ``half_life``.

    Example:
        >>> decay_from_half_life(512, batch=512)
        0.5
    """
    return 2.0 ** (-_check.positive("batch", batch) / _check.positive("half_life", half_life))


def half_life_from_weight(weight: float, *, batch: int = 1) -> float:
    """The half-life in samples of an average whose new value weighs ``weight``.

    Args:
        weight: weight of the new value in one update, strictly between 0 and 1.
        batch: samples between two updates.

    Returns:
        The half-life in samples, exact to rounding even for a weight of 1e-15.

    Raises:
        ValueError: if ``weight`` is not strictly between 0 and 1.

    Source:
        ``half_life`` for ``decay = 1 - weight``.

    Example:
        >>> round(half_life_from_weight(0.5, batch=32))
        32
    """
    if not 0 < _check.fraction("weight", weight) < 1:
        raise ValueError(f"weight must lie strictly between 0 and 1 for a half-life, got {weight}")
    return -_check.positive("batch", batch) * math.log(2) / math.log1p(-weight)


def weight_from_half_life(half_life: float, *, batch: int = 1) -> float:
    """The weight of the new value in one update, for a half-life in samples.

    Args:
        half_life: samples after which an old value's share is halved, positive.
        batch: samples between two updates.

    Returns:
        ``1 - 2 ** (-batch / half_life)``, exact to rounding.

    Raises:
        ValueError: if an argument is not positive.

    Source:
        The inverse of ``half_life_from_weight``.

    Example:
        >>> weight_from_half_life(32, batch=32)
        0.5
    """
    ratio = _check.positive("batch", batch) / _check.positive("half_life", half_life)
    return -math.expm1(-ratio * math.log(2))


def scale_lr(lr: float, kappa: float, *, rule: LrRule) -> float:
    """The learning rate at a batch kappa times as large.

    Args:
        lr: learning rate, zero or more.
        kappa: new batch over old batch, positive.
        rule: "linear" for SGD and LARS, "sqrt" for RMSProp and Adam, "none" to keep it.

    Returns:
        ``lr * kappa``, ``lr * sqrt(kappa)`` or ``lr``.

    Raises:
        ValueError: if a number is out of range or the rule unknown.

    Source:
        Goyal et al. 2017 (linear); Malladi et al. 2022 (square root).

    Example:
        >>> scale_lr(0.1, 16, rule="linear"), scale_lr(0.001, 16, rule="sqrt")
        (1.6, 0.004)
    """
    _check.one_of("rule", rule, LR_EXPONENT)
    return _check.nonnegative("lr", lr) * _check.positive("kappa", kappa) ** LR_EXPONENT[rule]


def scale_betas(
    betas: tuple[float, ...], kappa: float, *, form: BetaForm = "linear"
) -> tuple[float, ...]:
    """Adam's betas (or RMSProp's alpha) at a batch kappa times as large.

    Args:
        betas: decays of the moments, each in [0, 1).
        kappa: new batch over old batch, positive.
        form: "linear" is the published ``1 - kappa * (1 - beta)``; "power" is ``beta ** kappa``,
            the same to first order, legal for every kappa, and a constant half-life in samples.

    Returns:
        As many betas as came.

    Raises:
        ValueError: if the linear form would leave [0, 1). Nothing is clipped; the message names
            the largest legal kappa.

    Source:
        Malladi et al. 2022 (linear); the power form is our extension.

    Example:
        >>> tuple(round(b, 5) for b in scale_betas((0.9, 0.999), 16, form="power"))
        (0.1853, 0.98412)
    """
    kappa = _check.positive("kappa", kappa)
    _check.one_of("form", form, ("linear", "power"))
    for i, beta in enumerate(betas):
        if not 0 <= _check.number(f"beta{i + 1}", beta) < 1:
            raise ValueError(f"beta{i + 1} must lie in [0, 1), got {beta}")
        if form == "linear" and kappa * (1 - beta) > 1 + 1e-12:
            raise ValueError(
                f"beta{i + 1} = {beta} has no linear form at kappa = {kappa:g}: 1 - kappa * "
                f"(1 - beta{i + 1}) is negative. The largest legal kappa is {1 / (1 - beta):.6g}; "
                f"form 'power' (beta ** kappa) is legal for every kappa"
            )
    if form == "power":
        return tuple(beta**kappa for beta in betas)
    return tuple(max(0.0, 1 - kappa * (1 - beta)) for beta in betas)


def scale_eps(eps: float, kappa: float) -> float:
    """The epsilon of Adam and RMSProp at a batch kappa times as large: ``eps / sqrt(kappa)``.

    Args:
        eps: the term beside the root of the second moment, zero or more.
        kappa: new batch over old batch, positive.

    Returns:
        The scaled epsilon: gradients' noise shrinks by the same root.

    Raises:
        ValueError: if a number is out of range.

    Source:
        Malladi et al. 2022.

    Example:
        >>> scale_eps(1e-8, 16)
        2.5e-09
    """
    return _check.nonnegative("eps", eps) / math.sqrt(_check.positive("kappa", kappa))


def scale_weight_decay(
    weight_decay: float,
    kappa: float,
    *,
    convention: DecayConvention,
    lr_rule: LrRule = "sqrt",
    lr: float | None = None,
    exact: bool = False,
) -> float:
    """The weight decay that shrinks the weights by the same factor per sample.

    Args:
        weight_decay: the coefficient, zero or more.
        kappa: new batch over old batch, positive.
        convention: "coupled" adds it to the gradient (torch's SGD and Adam) and keeps it;
            "lr-decoupled" multiplies the weights by ``1 - lr * weight_decay`` (torch's AdamW);
            "decoupled" multiplies them by ``1 - weight_decay``.
        lr_rule: how the learning rate is scaled beside it.
        lr: the learning rate before scaling; the exact "lr-decoupled" form needs it.
        exact: match ``(1 - shrink) ** kappa`` exactly instead of to first order.

    Returns:
        The scaled coefficient.

    Raises:
        ValueError: if a number is out of range, or the exact form lacks ``lr``.

    Source:
        Derived here from equal contraction per sample; no equation of the paper is claimed.

    Example:
        >>> scale_weight_decay(0.05, 16, convention="lr-decoupled", lr_rule="sqrt")
        0.2
    """
    weight_decay = _check.nonnegative("weight_decay", weight_decay)
    kappa = _check.positive("kappa", kappa)
    _check.one_of("convention", convention, ("coupled", "lr-decoupled", "decoupled"))
    lr_factor = scale_lr(1.0, kappa, rule=lr_rule)
    if convention == "coupled":
        return weight_decay
    if not exact:
        return weight_decay * kappa / (lr_factor if convention == "lr-decoupled" else 1.0)
    if convention == "decoupled":
        return scale_weight(weight_decay, kappa)
    if lr is None:
        raise ValueError("the exact form of lr-decoupled weight decay needs lr=, got None")
    if not (lr := _check.nonnegative("lr", lr)):
        return weight_decay * kappa / lr_factor  # the limit: nothing shrinks
    return scale_weight(lr * weight_decay, kappa) / (lr_factor * lr)


def readout_gain(decay: float, kappa: float) -> float:
    """The gain that turns the EMA of large steps into the EMA of the kappa small ones.

    ``model + gain * (ema - model)`` equals kappa updates with ``decay`` on the straight path
    between the steps, when the stored average was updated once a step with ``decay ** kappa``.

    Args:
        decay: weight of the old average in one small update, in (0, 1].
        kappa: small updates in one large one, positive.

    Returns:
        ``decay * (1 - R) / (kappa * (1 - decay) * R)`` with ``R = decay ** kappa``; 1 at
        kappa = 1, above it for larger kappa, infinite where R vanishes.

    Raises:
        ValueError: if a number is out of range.

    Source:
        Derived here from the paper's assumption of a frozen gradient within a step.

    Example:
        >>> readout_gain(0.999, 1), round(readout_gain(0.999, 64), 4)
        (1.0, 1.0322)
    """
    decay, kappa = _check.fraction("decay", decay), _check.positive("kappa", kappa)
    if decay == 1 or kappa == 1:
        return 1.0
    kept = decay**kappa
    if kept == 0:
        return math.inf
    log = math.log(decay)
    return decay * math.expm1(kappa * log) / (kappa * math.expm1(log) * kept)


def frozen_gradient_error(
    lr: float, decay: float, kappa: float, *, order: Literal["post", "pre"] = "post"
) -> float:
    """What one large step's EMA misses of kappa small ones, per unit of a frozen gradient.

    Args:
        lr: learning rate of the small steps, zero or more.
        decay: decay of the small updates, in [0, 1].
        kappa: small steps in one large one, positive.
        order: "post" averages the model after its step (what code does), "pre" before it.

    Returns:
        Small-step EMA minus large-step EMA for gradient 1: positive for "post" (the large EMA
        leads), negative for "pre" (it lags); about ``lr * (1 - decay) * kappa * (kappa - 1) / 2``.

    Raises:
        ValueError: if a number is out of range or the order unknown.

    Source:
        The error term of the rule's derivation, in closed form; derived here.

    Example:
        >>> round(frozen_gradient_error(0.1, 0.99, 2), 12)
        0.00099
    """
    lr, decay = _check.nonnegative("lr", lr), _check.fraction("decay", decay)
    kappa = _check.positive("kappa", kappa)
    _check.one_of("order", order, ("post", "pre"))
    if decay == 1:
        return 0.0
    kept = decay**kappa
    series = (1 - kept) / (1 - decay)  # 1 + decay + ... + decay ** (kappa - 1)
    return lr * (decay * series - kappa * kept) if order == "post" else -lr * (kappa - series)

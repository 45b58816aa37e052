"""Profiles of power-function averages: which part of the past an average holds.

The average at time t has the profile ``(gamma + 1) * s ** gamma / t ** (gamma + 1)`` over the
times s in [0, t]; its relative width does not change as training goes on.
"""

import math

from ema_scaling import _check

MAX_SIGMA_REL = math.sqrt(1 / 12)  # gamma = 0, the plain mean


def gamma_to_sigma_rel(gamma: float) -> float:
    """The standard deviation of the profile relative to the run so far.

    Args:
        gamma: exponent of the profile, 0 or more.

    Returns:
        ``sqrt((gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3)))``.

    Raises:
        ValueError: if ``gamma`` is negative.

    Source:
        Karras et al. 2024, power-function EMA; the variance of the profile.

    Example:
        >>> round(gamma_to_sigma_rel(6.94), 3)
        0.1
    """
    gamma = _check.nonnegative("gamma", gamma)
    return math.sqrt((gamma + 1) / (gamma + 3)) / (gamma + 2)


def sigma_rel_to_gamma(sigma_rel: float) -> float:
    """The exponent of the profile with a given relative width.

    Args:
        sigma_rel: standard deviation relative to the run, in (0, sqrt(1/12)].

    Returns:
        ``gamma``, 0 or more.

    Raises:
        ValueError: if ``sigma_rel`` is outside its range.

    Source:
        The inverse of ``gamma_to_sigma_rel``, by Newton's method on its logarithm.

    Example:
        >>> round(sigma_rel_to_gamma(0.1), 2)
        6.94
    """
    if not 0 < _check.number("sigma_rel", sigma_rel) <= MAX_SIGMA_REL * (1 + 1e-12):
        raise ValueError(f"sigma_rel must lie in (0, {MAX_SIGMA_REL:.5f}], got {sigma_rel}")
    gamma = max(1 / sigma_rel - 3, 0.0)
    for _ in range(60):
        miss = math.log(gamma_to_sigma_rel(gamma) / sigma_rel)
        slope = 0.5 / (gamma + 1) - 0.5 / (gamma + 3) - 1 / (gamma + 2)
        step = miss / slope
        gamma = max(gamma - step, 0.0)
        if abs(step) <= 1e-15 * (gamma + 1):
            break
    return gamma


def mean_time(gamma: float) -> float:
    """The mean of the profile as a share of the run so far: ``(gamma + 1) / (gamma + 2)``.

    Args:
        gamma: exponent of the profile, 0 or more.

    Returns:
        A share of the run, in [0.5, 1).

    Raises:
        ValueError: if ``gamma`` is negative.

    Source:
        The first moment of the profile.

    Example:
        >>> mean_time(0)
        0.5
    """
    gamma = _check.nonnegative("gamma", gamma)
    return (gamma + 1) / (gamma + 2)


def inner_product(gamma_a: float, time_a: float, gamma_b: float, time_b: float) -> float:
    """The integral of the product of two profiles.

    Args:
        gamma_a: exponent of the first profile.
        time_a: its end, in samples, positive.
        gamma_b: exponent of the second profile.
        time_b: its end, in samples, positive.

    Returns:
        The inner product, in 1 / samples.

    Raises:
        ValueError: if a number is out of range.

    Source:
        Both profiles are powers on ``[0, min(time_a, time_b)]``: one integral.

    Example:
        >>> inner_product(0, 1, 0, 2)
        0.5
    """
    if time_a > time_b:
        gamma_a, time_a, gamma_b, time_b = gamma_b, time_b, gamma_a, time_a
    a, b = _check.nonnegative("gamma_a", gamma_a), _check.nonnegative("gamma_b", gamma_b)
    early, late = _check.positive("time_a", time_a), _check.positive("time_b", time_b)
    return (a + 1) * (b + 1) / (a + b + 1) * (early / late) ** b / late

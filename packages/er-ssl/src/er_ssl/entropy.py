"""Entropy of embeddings, by kernel density on the sphere or by plug-in over clusters."""

import math

import torch
from torch import Tensor

from er_ssl._checks import at_least_float32, check_choice, check_positive, check_rows, unit_rows
from er_ssl._lse import lse
from er_ssl.reconstruction import check_distributions
from er_ssl.vmf import vmf_log_normalizer


def kde_entropy(
    z: Tensor,
    *,
    kappa: float | Tensor,
    estimator: str = "joe",
    leave_one_out: bool = False,
    reference: Tensor | None = None,
    normalized: bool = True,
    block_size: int | None = None,
) -> Tensor:
    """Return the entropy of the directions of ``z``, with a von Mises-Fisher kernel density.

    Args:
        z: ``(B, D)``, any scale: rows are brought to length one.
        kappa: concentration of the kernel, positive; a 0-d tensor receives a gradient.
        estimator: ``"joe"`` averages ``-log density`` over the rows; ``"plugin"`` weights the rows
            by their density, renormalised over the batch: lower, and no average under the data.
        leave_one_out: leave a row out of its own density.
        reference: ``(M, D)`` rows that carry the kernels, for instance of an `EntropyQueue`; None
            is ``z`` itself.
        normalized: let the kernel integrate to one. False leaves ``-log C_d(kappa)`` out, a
            constant in the data.
        block_size: as in `row_logsumexp`.

    Returns:
        Scalar, nats with respect to the sphere's area, float32 or the input's float64.

    Raises:
        ValueError: on shapes that do not fit, ``kappa <= 0``, an unknown estimator, or
            ``leave_one_out`` with fewer than 2 rows or with a ``reference``.
        TypeError: on tensors that are not floating.

    Source:
        Joe 1989: ``H = -(1/k) sum_i log (1/k) sum_j C_d exp(kappa z_i . z_j)``.

    Example:
        >>> import torch
        >>> z = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0))
        >>> h = kde_entropy(z, kappa=10.0, leave_one_out=True)
        >>> print(f"{h:.2f}")  # uniform directions: log(4 pi) = 2.53
        2.53
    """
    check_rows("z", z, at_least=2 if leave_one_out else 1)
    check_choice("estimator", estimator, ("joe", "plugin"))
    check_positive("kappa", kappa)
    if reference is not None:
        check_rows("reference", reference)
        if leave_one_out:
            raise ValueError("leave_one_out=True needs reference=None: rows of z are not in it")
        if reference.shape[1] != z.shape[1]:
            got = f"{tuple(z.shape)} and {tuple(reference.shape)}"
            raise ValueError(f"z and reference must have equal columns, got {got}")
        reference = unit_rows(reference)
    log_p = log_density(
        unit_rows(z), reference, kappa, leave_one_out=leave_one_out, block_size=block_size
    )
    if normalized:
        log_p = log_p + vmf_log_normalizer(z.shape[1], kappa).to(log_p)
    weights = torch.softmax(log_p, 0) if estimator == "plugin" else 1 / len(z)
    return -(weights * log_p).sum().to(at_least_float32(z).dtype)


def log_density(
    z: Tensor,
    reference: Tensor | None,
    kappa: float | Tensor,
    *,
    leave_one_out: bool = False,
    start: int = 0,
    unit: bool = True,
    block_size: int | None = None,
) -> Tensor:
    """``(B,)``: log of the kernels' mean at each unit row, ``log C_d`` left out.

    With ``leave_one_out``, row i of ``z`` is row ``start + i`` of ``reference``.
    """
    offset = start if leave_one_out else None
    total = lse(z, reference, kappa, self_offset=offset, unit=unit, block_size=block_size)
    return total - math.log(len(z if reference is None else reference) - leave_one_out)


def plugin_entropy(p: Tensor, *, logits: bool = False) -> Tensor:
    """Return the entropy of the mean of soft cluster assignments.

    Args:
        p: ``(B, M)``, rows that sum to 1, or logits.
        logits: whether ``p`` is to pass through a softmax first.

    Returns:
        Scalar, nats, from 0 (all in one cluster) to ``log M`` (evenly used), float32 or the
        input's float64.

    Raises:
        ValueError: on other shapes, or rows that are no probabilities.
        TypeError: on tensors that are not floating.

    Source:
        ``H(W) = -sum_c p_c log p_c`` with ``p`` the mean row.

    Example:
        >>> import torch
        >>> plugin_entropy(torch.eye(4))  # log 4
        tensor(1.3863)
    """
    check_rows("p", p)
    if not logits:
        check_distributions("p", p)
    p = at_least_float32(p)
    return torch.special.entr((p.softmax(1) if logits else p).mean(0)).sum()


def entropy_limits(
    rows: int, d: int, *, kappa: float, leave_one_out: bool = False
) -> tuple[float, float]:
    """Return the least and the greatest value that `kde_entropy` (Joe's) can take.

    The least is that of equal rows: collapse. The greatest is that of a regular simplex, which so
    many rows can reach where ``d >= rows - 1``. Their difference is the ceiling of the bound.

    Args:
        rows: number of rows, at least 2.
        d: dimension, at least 2.
        kappa: concentration of the kernel, positive.
        leave_one_out: as in `kde_entropy`.

    Returns:
        Floor and ceiling, nats with respect to the sphere's area.

    Raises:
        ValueError: if ``rows < 2``, ``d < 2`` or ``kappa <= 0``.

    Source:
        Jensen's inequality on the log-sum-exp, and ``|sum_i z_i|^2 >= 0``.

    Example:
        >>> floor, ceiling = entropy_limits(256, 128, kappa=10.0)
        >>> round(ceiling - floor, 3)  # at most log 256 = 5.545
        5.534
    """
    if rows < 2:
        raise ValueError(f"rows must be at least 2, got {rows}")
    check_positive("kappa", kappa)
    constant = -float(vmf_log_normalizer(d, kappa))
    pair = -kappa / (rows - 1)  # a pair's logit on the simplex
    if leave_one_out:
        return constant - kappa, constant - pair
    log_mean = kappa + math.log1p((rows - 1) * math.exp(pair - kappa)) - math.log(rows)
    return constant - kappa, constant - log_mean

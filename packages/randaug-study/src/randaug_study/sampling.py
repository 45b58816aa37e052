"""Plans for selection: copies under keys of their own, fractional counts, enumerated, or given."""

import dataclasses
import itertools
import math
from typing import Protocol

import torch
from torch import Tensor

from randaug_study.keys import Key, uniforms
from randaug_study.plan import Plan
from randaug_study.space import Space

_COPY, _CHOICE, _COUNT, _SUBPOLICY = 101, 102, 103, 104  # purposes, which extend a caller's key


class Augmenter(Protocol):
    """What selection needs of an augmenter; `randaug_study.RandAugment` is one."""

    def sample(
        self,
        batch_size: int,
        key: Key,
        *,
        magnitude: float | None = None,
        num_ops: int | None = None,
        ids: Tensor | None = None,
    ) -> Plan:
        """Operations for each row; a fractional magnitude draws one of the two bins beside it."""
        ...

    def apply(self, x: Tensor, plan: Plan) -> Tensor:
        """The images of a plan."""
        ...


def as_tuple(key: Key) -> tuple[int, ...]:
    """A key as a tuple, to be extended."""
    return key if isinstance(key, tuple) else (key,)


def copy_key(key: Key, j: int) -> tuple[int, ...]:
    """Key of copy j of a pool: the caller's own for copy 0, so that k = 1 is plain random."""
    return as_tuple(key) if j == 0 else (*as_tuple(key), _COPY, j)


def choice_key(key: Key) -> tuple[int, ...]:
    """Key of the numbers by which a rule chooses, apart from those that draw the copies."""
    return (*as_tuple(key), _CHOICE)


def row_ids(batch: int, ids: Tensor | None) -> Tensor:
    """The rows' ids on the CPU: their numbers unless given.

    Raises:
        ValueError: unless ``ids`` are ``(batch,)``.
    """
    if ids is None:
        return torch.arange(batch)
    if ids.shape != (batch,):
        raise ValueError(f"ids must have shape ({batch},), got {tuple(ids.shape)}")
    return ids.to("cpu", torch.int64)


def draw_plan(
    aug: Augmenter,
    batch: int,
    key: Key,
    *,
    ids: Tensor | None = None,
    magnitude: float | None = None,
    num_ops: float | None = None,
) -> Plan:
    """A plan of ``aug``, where the number of operations too may lie between two whole numbers.

    Args:
        aug: the augmenter.
        batch: rows.
        key: see `randaug_study.keys.fold`.
        ids: what the draws of a row depend on besides the key.
        magnitude: passed on; fractions are drawn by the augmenter, a step at a time.
        num_ops: a fraction f above a whole number n gives a row ``n + 1`` operations with
            probability f, else n: the last is then Identity. The mean is ``num_ops``.

    Raises:
        ValueError: if ``num_ops`` is negative or not finite, or fractional where the augmenter
            has no Identity.
    """
    if num_ops is None or num_ops == int(_count(num_ops)):
        whole = None if num_ops is None else int(num_ops)
        return aug.sample(batch, key, magnitude=magnitude, num_ops=whole, ids=ids)
    most = math.ceil(num_ops)
    plan = aug.sample(batch, key, magnitude=magnitude, num_ops=most, ids=ids)
    if "Identity" not in plan.space.ops:
        raise ValueError(f"num_ops={num_ops} needs Identity among the operations {plan.space.ops}")
    u = uniforms((*as_tuple(key), _COUNT), row_ids(batch, ids), 0)
    op, sign = plan.op.clone(), plan.sign.clone()
    fewer = u >= num_ops - (most - 1)
    op[fewer, -1] = plan.space.ops.index("Identity")
    sign[fewer, -1] = 1
    return dataclasses.replace(plan, op=op, sign=sign)


def _count(num_ops: float) -> float:
    if not (0 <= num_ops < math.inf):
        raise ValueError(f"num_ops must be finite and at least 0, got {num_ops}")
    return num_ops


def space_of(aug: Augmenter) -> Space:
    """The operations and bins that the augmenter draws from."""
    return aug.sample(1, 0).space


def every_op(aug: Augmenter, magnitude: float | None, num_ops: int) -> Plan:
    """All signed variants at one magnitude, a row each: 23 of the 14 operations, 529 pairs.

    Args:
        aug: whose operations, and whose magnitude where ``magnitude`` is None.
        magnitude: a bin.
        num_ops: operations in a row, 1 or 2.

    Raises:
        ValueError: for another ``num_ops``, or a magnitude that is no bin.
    """
    if num_ops not in (1, 2):
        raise ValueError(f"num_ops must be 1 or 2 to be enumerated, got {num_ops}")
    magnitude = getattr(aug, "magnitude", None) if magnitude is None else magnitude
    space = space_of(aug)
    if magnitude is None or magnitude != int(magnitude) or not 0 <= magnitude < space.bins:
        raise ValueError(f"magnitude must be a bin from 0 to {space.bins - 1}, got {magnitude}")
    single = [
        (op, sign)
        for op, signed in enumerate(space.signed)
        for sign in ((1, -1) if signed else (1,))
    ]
    rows = torch.tensor(list(itertools.product(single, repeat=num_ops)))  # (k, num_ops, 2)
    op, sign = rows.unbind(-1)
    return Plan(op, sign, torch.full_like(op, int(magnitude)), space)


def draw_subpolicies(
    space: Space, ops: Tensor, bins: Tensor, *, batch: int, key: Key, ids: Tensor | None = None
) -> Plan:
    """A plan in which each row follows a random sub-policy, with random signs.

    Args:
        space: what the numbers mean.
        ops: numbers of operations, ``(Q, length)``.
        bins: magnitudes as bins of ``space``, ``(Q, length)``.
        batch: rows.
        key: see `randaug_study.keys.fold`.
        ids: what the draws of a row depend on besides the key.
    """
    count, length = ops.shape
    rows = row_ids(batch, ids)[:, None]
    u = uniforms((*as_tuple(key), _SUBPOLICY), rows, torch.arange(length + 1))  # (B, length + 1)
    picked = (u[:, 0] * count).long()
    op = ops.cpu()[picked]
    signed = torch.tensor(space.signed)[op]
    sign = torch.where(signed & (u[:, 1:] < 0.5), -1, 1)
    return Plan(op, sign, bins.cpu()[picked], space)

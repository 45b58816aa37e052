"""What is done to each image, as three small tensors: to record, to replay, to count."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from randaug_study.keys import Key, normals, uniforms
from randaug_study.space import Space

SPACE = Space()
FORMAT, VERSION = "randaug-study/plan", 1


@dataclass(frozen=True, eq=False)
class Plan:
    """N steps for each of B images: which operation, which sign, which bin of the magnitude.

    Args:
        op: numbers of operations in ``space.ops``, int8 ``(B, N)``.
        sign: -1 or +1, int8 ``(B, N)``; +1 where the operation has none.
        bin: bins of the magnitude, int16 ``(B, N)``, from 0 to ``space.bins - 1``.
        space: what the numbers mean.

    Raises:
        ValueError: if the shapes differ, or a number is out of range.

    Example:
        >>> from randaug_study import RandAugment
        >>> plan = RandAugment().sample(4, key=0)
        >>> plan.op.shape, plan[torch.tensor([2, 0])].names[1] == plan.names[0]
        (torch.Size([4, 2]), True)
    """

    op: Tensor
    sign: Tensor
    bin: Tensor
    space: Space = SPACE

    def __post_init__(self) -> None:
        shapes = {tuple(t.shape) for t in (self.op, self.sign, self.bin)}
        if len(shapes) > 1 or self.op.ndim != 2:
            raise ValueError(f"op, sign and bin must be (B, N) alike, got {sorted(shapes)}")
        for name, dtype in (("op", torch.int8), ("sign", torch.int8), ("bin", torch.int16)):
            given = getattr(self, name)
            if given.is_floating_point() or given.dtype == torch.bool:
                raise ValueError(f"{name} must be a tensor of integers, got {given.dtype}")
            if given.dtype != dtype or given.device.type != "cpu":
                object.__setattr__(self, name, given.to("cpu", dtype))
        if not self.op.numel():
            return
        for name, last in (("op", len(self.space.ops) - 1), ("bin", self.space.bins - 1)):
            numbers = getattr(self, name).numpy()
            if numbers.min() < 0 or numbers.max() > last:
                got = f"{numbers.min()} to {numbers.max()}"
                raise ValueError(f"{name} must be from 0 to {last}, got {got}")
        if not (abs(self.sign.numpy()) == 1).all():
            raise ValueError("sign must be -1 or +1 everywhere")

    def __len__(self) -> int:
        return len(self.op)

    def __getitem__(self, rows: Tensor | slice | Sequence[int]) -> Self:
        """The plan of some rows: an int64 or boolean tensor, a slice or a list of numbers."""
        if isinstance(rows, int):
            raise TypeError(f"rows must be a tensor, a slice or a list: [[{rows}]] is one row")
        op, sign, bin = self.op[rows], self.sign[rows], self.bin[rows]
        return dataclasses.replace(self, op=op, sign=sign, bin=bin)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Plan)
            and self.space == other.space
            and all(
                torch.equal(getattr(self, name), getattr(other, name))
                for name in ("op", "sign", "bin")
            )
        )

    @property
    def steps(self) -> int:
        """N, the number of operations an image."""
        return self.op.shape[1]

    @property
    def names(self) -> list[list[str]]:
        """The names of the operations, a list for each image."""
        return [[self.space.ops[number] for number in row] for row in self.op.tolist()]

    @staticmethod
    def cat(plans: Sequence["Plan"]) -> "Plan":
        """One plan of all rows, in order.

        Raises:
            ValueError: if there is none, or they differ in space or in number of steps.
        """
        if not plans:
            raise ValueError("cat needs at least one plan")
        first = plans[0]
        for plan in plans[1:]:
            if plan.space != first.space or plan.steps != first.steps:
                raise ValueError(
                    f"plans must share space and steps, got {plan.steps} steps of {plan.space} "
                    f"after {first.steps} of {first.space}"
                )
        op, sign, bin = (torch.cat([getattr(p, n) for p in plans]) for n in ("op", "sign", "bin"))
        return dataclasses.replace(first, op=op, sign=sign, bin=bin)

    def to_table(self) -> dict[str, list[Any]]:
        """Columns image, step, op, sign and bin, a row for each operation."""
        steps = [(i, n) for i in range(len(self)) for n in range(self.steps)]
        return {
            "image": [i for i, _ in steps],
            "step": [n for _, n in steps],
            "op": [name for row in self.names for name in row],
            "sign": self.sign.flatten().tolist(),
            "bin": self.bin.flatten().tolist(),
        }

    def to_json(self) -> str:
        """The plan as one line of JSON, for a journal."""
        space = {
            name: getattr(self.space, name)
            for name in ("ops", "bins", "ranges", "identity_at_zero")
        }
        head = {"format": FORMAT, "version": VERSION, "space": space, "steps": self.steps}
        body = {name: getattr(self, name).tolist() for name in ("op", "sign", "bin")}
        return json.dumps(head | body, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The plan that ``to_json`` wrote.

        Raises:
            ValueError: if the text is no such plan, or one of a later version.
        """
        try:
            read = json.loads(text)
            if read["format"] != FORMAT or read["version"] != VERSION:
                raise ValueError(f"format {read['format']!r}, version {read['version']!r}")
            space = Space(**read["space"] | {"ops": tuple(read["space"]["ops"])})
            shape = (len(read["op"]), int(read["steps"]))
            columns = {
                name: torch.tensor(read[name], dtype=torch.int64).view(shape)
                for name in ("op", "sign", "bin")
            }
            return cls(**columns, space=space)
        except (KeyError, TypeError, RuntimeError, ValueError, OverflowError) as error:
            raise ValueError(f"not a plan of {FORMAT}, version {VERSION}: {error}") from error


def sample_plan(
    space: Space,
    batch_size: int,
    steps: int,
    key: Key,
    *,
    magnitude: float | None,
    ids: Tensor | None = None,
    noise: float = 0.0,
    probability: float = 1.0,
) -> Plan:
    """Independent draws with replacement: an operation and a sign, uniform, for each step.

    Args:
        space: the operations to draw from.
        batch_size: B.
        steps: N.
        key: see ``fold``.
        magnitude: the bin; between two bins, one of them is drawn a step, so that the mean is
            this. None draws it, uniformly.
        ids: numbers of the images, int64 ``(B,)``, default 0 to B - 1. Row i is a function of
            the key and ``ids[i]``: steps that are asked for besides change none of the first.
        noise: standard deviation that is added to the magnitude, in bins, before it is clipped.
        probability: of a step to be done; else it is ``Identity``, which must be ``ops[0]`` and
            is not drawn otherwise.

    Returns:
        The plan.

    Raises:
        ValueError: if an argument is out of its range.
    """
    ids = _ids(ids, batch_size)[:, None]
    count = torch.arange(steps)
    u = uniforms(key, ids, torch.arange(3 * steps)).view(batch_size, steps, 3)
    if probability < 1.0:
        op = 1 + (u[..., 0] * (len(space.ops) - 1)).long()
        op.masked_fill_(uniforms(key, ids, count + (1 << 32)) >= probability, 0)
    else:
        op = (u[..., 0] * len(space.ops)).long()
    signed = torch.tensor(space.signed)[op]
    sign = torch.where(signed & (u[..., 1] < 0.5), -1, 1)
    if magnitude is None:
        bin = u[..., 2] * space.bins
    else:
        last = space.bins - 1
        if not 0 <= magnitude <= last:
            raise ValueError(f"magnitude must be from 0 to {last}, got {magnitude}")
        bin = torch.full((batch_size, steps), float(magnitude), dtype=torch.float64)
        if noise:
            bin = (bin + noise * normals(key, ids, 2 * count + (2 << 32))).clamp_(0, last)
        bin = bin + u[..., 2] if noise or magnitude != int(magnitude) else bin
    return Plan(op.to(torch.int8), sign.to(torch.int8), bin.to(torch.int16), space)


def _ids(ids: Tensor | None, batch_size: int) -> Tensor:
    """Numbers of the images, int64 ``(B,)``, on the CPU."""
    if ids is None:
        return torch.arange(batch_size)
    if ids.shape != (batch_size,) or ids.is_floating_point():
        got = f"{ids.dtype} {tuple(ids.shape)}"
        raise ValueError(f"ids must be integers of shape ({batch_size},), got {got}")
    return ids.to("cpu", torch.int64)

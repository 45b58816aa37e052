"""RandAugment on a batch: one draw for each image, one kernel for each kind of operation."""

import torch
from torch import Tensor, nn

from randaug_study import filters, tables
from randaug_study.keys import Key, fresh_key
from randaug_study.plan import Plan, sample_plan
from randaug_study.space import RANDAUGMENT, Space
from randaug_study.warp import WARPS, warp

ADAPTIVE = {
    "AutoContrast": tables.autocontrast,
    "Equalize": tables.equalize,
}
ORDER = ("Identity", *WARPS, *tables.FIXED, "Contrast", *ADAPTIVE, "Color", "Sharpness")
CHUNK_NUMBERS = 2**17  # of grey levels worked on at a time: what the caches hold


class RandAugment(nn.Module):
    """N random operations for each image of a batch, at one magnitude.

    Args:
        num_ops: N, how many operations are applied one after the other.
        magnitude: bin of their strength, 0 to ``num_magnitude_bins - 1``.
        num_magnitude_bins: number of strengths.
        interpolation: of the geometric operations, ``"nearest"`` or ``"bilinear"``.
        fill: grey level of what comes from outside, one number or one a channel; None is black.
        ops: names to draw from, default the 14 of the paper.
        identity_at_zero: makes Solarize at bin 0 the identity; as published it inverts 255.

    Raises:
        ValueError: if an argument is out of its range.

    Source:
        Cubuk et al. 2020; names and ranges as ``torchvision.transforms.v2.RandAugment``.

    Example:
        >>> aug = RandAugment()
        >>> x = torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8)
        >>> y, plan = aug(x, key=(0, 1), return_plan=True)
        >>> torch.equal(aug.apply(x, plan), y), torch.equal(aug(x, key=(0, 1)), y)
        (True, True)
    """

    ranges = "randaugment"

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: float = 9,
        num_magnitude_bins: int = 31,
        interpolation: str = "nearest",
        fill: float | tuple[float, ...] | None = None,
        *,
        ops: tuple[str, ...] | None = None,
        identity_at_zero: bool = False,
    ) -> None:
        super().__init__()
        self.space = Space(ops or RANDAUGMENT, num_magnitude_bins, self.ranges, identity_at_zero)
        if interpolation not in ("nearest", "bilinear"):
            raise ValueError(
                f"interpolation must be 'nearest' or 'bilinear', got {interpolation!r}"
            )
        self.num_ops, self.magnitude = num_ops, magnitude
        self.interpolation, self.fill = interpolation, fill

    def sample(
        self,
        batch_size: int,
        key: Key,
        *,
        ids: Tensor | None = None,
        magnitude: float | None = None,
        num_ops: int | None = None,
    ) -> Plan:
        """The plan of a batch: what ``apply`` then does."""
        steps = self.num_ops if num_ops is None else num_ops
        strength = self.magnitude if magnitude is None else magnitude
        return sample_plan(self.space, batch_size, steps, key, magnitude=strength, ids=ids)

    def apply(self, x: Tensor, plan: Plan) -> Tensor:
        """The images after the plan, as uint8 ``(B, C, H, W)`` or ``(C, H, W)``."""
        batch = x if x.ndim == 4 else x[None]
        out = run(batch.detach().contiguous(), plan, self.interpolation, self.fill)
        return out if x.ndim == 4 else out[0]

    def forward(
        self,
        x: Tensor,
        key: Key | None = None,
        *,
        ids: Tensor | None = None,
        return_plan: bool = False,
    ) -> Tensor | tuple[Tensor, Plan]:
        """Draw a plan and apply it."""
        plan = self.sample(len(x) if x.ndim == 4 else 1, fresh_key() if key is None else key, ids=ids)
        out = self.apply(x, plan)
        return (out, plan) if return_plan else out


def run(x: Tensor, plan: Plan, mode: str, fill: float | tuple[float, ...] | None) -> Tensor:
    """The images after every step of the plan, a new tensor.

    Rows stand sorted by operation while a step works on them, so that each kernel sees a slice.
    """
    level = None
    if fill is not None:
        level = torch.as_tensor(fill, dtype=torch.float32, device=x.device).expand(x.shape[1])
    if not plan.steps or not x.numel():
        return x.clone()
    rank = torch.tensor([ORDER.index(name) for name in plan.space.ops])[plan.op.long()]  # (B, N)
    place = torch.arange(len(x))  # where the rows of x stand now
    for step in range(plan.steps):
        order = rank[:, step].argsort(stable=True)
        x = x.index_select(0, place[order].to(x.device))
        _step(x, plan.space, *(t[order, step].tolist() for t in (plan.op, plan.sign, plan.bin)),
              mode, level)  # fmt: skip
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order))
    return x.index_select(0, place.to(x.device))


def _step(
    x: Tensor, space: Space, op: list[int], sign: list[int], bin: list[int], mode: str, fill: Tensor | None
) -> None:
    """One operation on each row of x, in place; equal operations stand together."""
    chunk = max(1, CHUNK_NUMBERS // x[0].numel())
    names = [space.ops[number] for number in op]
    start = 0
    while start < len(names):
        family = FAMILY[names[start]]
        stop = start
        while stop < len(names) and stop - start < chunk and FAMILY[names[stop]] == family:
            stop += 1
        rows = slice(start, stop)
        if family is not None:
            family(x[rows], space, names[rows], sign[rows], bin[rows], mode, fill)
        start = stop


def _warps(x, space, names, sign, bin, mode, fill) -> None:
    codes = [b if s > 0 else -1 - b for s, b in zip(sign, bin, strict=True)]
    x.copy_(warp(x, space, names, codes, mode, fill))


def _tables(x, space, names, sign, bin, mode, fill) -> None:
    made = x.new_empty(*x.shape[:2], 256)
    start = 0
    while start < len(names):
        name, stop = names[start], start
        while stop < len(names) and names[stop] == name:
            stop += 1
        rows = slice(start, stop)
        if name in tables.FIXED:
            which = torch.tensor([(s < 0) * space.bins + b for s, b in zip(sign[rows], bin[rows])])
            chosen = tables.fixed(space, name).view(-1, 256).index_select(0, which)
            made[rows] = chosen[:, None].to(x.device)
        elif name == "Contrast":
            made[rows] = tables.contrast(x[rows], _factor(x, space, name, sign[rows], bin[rows]))
        else:
            made[rows] = ADAPTIVE[name](x[rows])
        start = stop
    x.copy_(tables.lookup(x, made))


def _factor(x, space, name, sign, bin) -> Tensor:
    values = space.values(name, 1, 1)
    factors = [1.0 + s * values[b] for s, b in zip(sign, bin, strict=True)]
    return torch.tensor(factors, dtype=torch.float64, device=x.device)


def _color(x, space, names, sign, bin, mode, fill) -> None:
    x.copy_(filters.color(x, _factor(x, space, "Color", sign, bin)))


def _sharpness(x, space, names, sign, bin, mode, fill) -> None:
    x.copy_(filters.sharpness(x, _factor(x, space, "Sharpness", sign, bin)))


FAMILY = (
    {"Identity": None, "Color": _color, "Sharpness": _sharpness}
    | dict.fromkeys(WARPS, _warps)
    | dict.fromkeys((*tables.FIXED, "Contrast", *ADAPTIVE), _tables)
)

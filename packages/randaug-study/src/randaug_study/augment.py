"""RandAugment on a batch: one draw for each image, one kernel for each kind of operation."""

import torch
from torch import Tensor, nn

from randaug_study.keys import Key, fresh_key
from randaug_study.plan import Plan, sample_plan
from randaug_study.run import run
from randaug_study.space import RANDAUGMENT, Space


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
        level = None
        if self.fill is not None:
            level = torch.as_tensor(self.fill, dtype=torch.float32, device=x.device)
            level = level.expand(batch.shape[1])
        out = run(batch.detach().contiguous(), plan, self.interpolation, level)
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

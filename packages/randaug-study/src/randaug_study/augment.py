"""The augmenters: one draw for each image, a batch at a time."""

from typing import Any

import torch
from torch import Tensor, nn

from randaug_study import opencv
from randaug_study.images import like, rows, to_batch
from randaug_study.keys import Key, fresh_key
from randaug_study.plan import Plan, sample_plan
from randaug_study.run import run
from randaug_study.space import RANDAUGMENT, Space

Fill = float | tuple[float, ...] | None


class RandAugment(nn.Module):
    """N random operations for each image, at one magnitude.

    Args:
        num_ops: N, how many operations are applied one after the other.
        magnitude: bin of their strength, 0 to ``num_magnitude_bins - 1``; between two bins, each
            step draws one of them. None draws a bin for each step, uniformly.
        num_magnitude_bins: number of strengths.
        interpolation: of the geometric operations, ``"nearest"`` or ``"bilinear"``.
        fill: grey level of what comes from outside, a number, or one a channel; None is black.
        ops: names to draw from, default the 14 of the paper.
        ranges: what the bins span, see ``Space``.
        identity_at_zero: makes Solarize at bin 0 the identity; torchvision's inverts what is 255.
        noise: standard deviation added to the magnitude of each step, in bins.
        probability: of a step to be done at all. Below 1, ``ops`` begins with ``"Identity"``,
            which then stands for a step that is left out.
        dtype: ``"uint8"``, or ``"float"`` to take floats from 0 to 1 as well, rounded to 256
            levels on the way in.
        backend: ``"torch"``, or ``"opencv"`` for lookups and nearest warps by OpenCV on the CPU:
            the same bytes, sooner where images are large.

    Raises:
        ValueError: if an argument is out of its range.
        ImportError: if the backend is not installed.

    Source:
        Cubuk et al. 2020; names and ranges as ``torchvision.transforms.v2.RandAugment``.

    Example:
        >>> aug = RandAugment()
        >>> x = torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8)
        >>> y, plan = aug(x, key=(0, 1), return_plan=True)
        >>> torch.equal(aug.apply(x, plan), y), torch.equal(aug(x, key=(0, 1)), y)
        (True, True)
    """

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: float | None = 9,
        num_magnitude_bins: int = 31,
        interpolation: str = "nearest",
        fill: Fill = None,
        *,
        ops: tuple[str, ...] = RANDAUGMENT,
        ranges: str = "randaugment",
        identity_at_zero: bool = False,
        noise: float = 0.0,
        probability: float = 1.0,
        dtype: str = "uint8",
        backend: str = "torch",
    ) -> None:
        super().__init__()
        self.space = Space(ops, num_magnitude_bins, ranges, identity_at_zero)
        self.num_ops = steps(num_ops)
        self.interpolation = one_of("interpolation", interpolation, ("nearest", "bilinear"))
        self.dtype = one_of("dtype", dtype, ("uint8", "float"))
        self.backend = one_of("backend", backend, ("torch", "opencv"))
        if backend == "opencv":
            opencv.load()
        self.magnitude, self.fill = magnitude, fill
        self.noise, self.probability = noise, probability
        last = num_magnitude_bins - 1
        if magnitude is not None and not 0 <= magnitude <= last:
            raise ValueError(f"magnitude must be from 0 to {last} or None, got {magnitude}")
        if not noise >= 0 or (noise and magnitude is None):
            raise ValueError(f"noise must be positive and go with a magnitude, got {noise}")
        if not 0 <= probability <= 1:
            raise ValueError(f"probability must be from 0 to 1, got {probability}")
        if probability < 1 and (self.space.ops[0] != "Identity" or len(self.space.ops) < 2):
            raise ValueError("probability below 1 needs 'Identity' as the first of ops")

    def sample(
        self,
        batch_size: int,
        key: Key,
        *,
        ids: Tensor | None = None,
        magnitude: float | None = None,
        num_ops: int | None = None,
    ) -> Plan:
        """What ``apply`` is to do with each image.

        Args:
            batch_size: B.
            key: an integer or a tuple of integers such as ``(seed, epoch, step)``.
            ids: numbers of the images, int64 ``(B,)``, default 0 to B - 1. Row i depends on the
                key and ``ids[i]`` alone.
            magnitude: in place of the augmenter's own.
            num_ops: likewise.

        Returns:
            The plan of B rows.

        Raises:
            ValueError: if an argument is out of its range.
        """
        return sample_plan(
            self.space,
            batch_size,
            self.num_ops if num_ops is None else steps(num_ops),
            key,
            magnitude=self.magnitude if magnitude is None else magnitude,
            ids=ids,
            noise=self.noise,
            probability=self.probability,
        )

    def apply(self, x: Any, plan: Plan | None = None) -> Any:  # pyrefly: ignore[bad-override]
        """The images after the plan, in the form in which they came; ``x`` stays as it is.

        Args:
            x: uint8 ``(B, C, H, W)`` or ``(C, H, W)`` with 1 or 3 channels, or a PIL image.
            plan: of as many rows. Without one, ``x`` is a function, and this is
                ``nn.Module.apply``, which a module that holds the augmenter calls.

        Raises:
            TypeError: if ``x`` is of another type.
            ValueError: if it is of another shape, or the plan has another number of rows.
        """
        if plan is None:
            return super().apply(x)
        batch = to_batch(x, self.dtype)
        if len(plan) != len(batch):
            raise ValueError(f"the plan has {len(plan)} rows, and x has {len(batch)} images")
        level = fill_level(self.fill, batch)
        return like(run(batch, plan, self.interpolation, level, backend=self.backend), x)

    def forward(
        self,
        x: Any,
        *,
        key: Key | None = None,
        ids: Tensor | None = None,
        return_plan: bool = False,
    ) -> Any:
        """The images after a plan drawn for them.

        Args:
            x: see ``apply``.
            key: see ``sample``. Without one, ``(torch.initial_seed(), number of the call)``: no
                generator moves, and each worker of a ``DataLoader`` has a seed of its own.
            ids: see ``sample``.
            return_plan: return ``(images, plan)``.
        """
        plan = self.sample(rows(x), fresh_key() if key is None else key, ids=ids)
        out = self.apply(x, plan)
        return (out, plan) if return_plan else out

    def extra_repr(self) -> str:
        """N, the magnitude, the interpolation and the number of operations."""
        strength = "any" if self.magnitude is None else f"{self.magnitude:g}"
        return (
            f"num_ops={self.num_ops}, magnitude={strength} of {self.space.bins} bins, "
            f"{self.interpolation}, {len(self.space.ops)} ops, ranges {self.space.ranges}"
        )


class TrivialAugmentWide(RandAugment):
    """One random operation for each image, at a random magnitude of a wide range.

    Args:
        num_magnitude_bins: number of strengths, of which one is drawn.
        interpolation: see ``RandAugment``.
        fill: see ``RandAugment``.
        **others: the arguments by name of ``RandAugment``.

    Source:
        Müller and Hutter 2021; as ``torchvision.transforms.v2.TrivialAugmentWide``.

    Example:
        >>> TrivialAugmentWide().sample(1000, key=0).bin.unique().numel()
        31
    """

    def __init__(
        self,
        num_magnitude_bins: int = 31,
        interpolation: str = "nearest",
        fill: Fill = None,
        **others: Any,
    ) -> None:
        others.setdefault("ranges", "wide")
        super().__init__(1, None, num_magnitude_bins, interpolation, fill, **others)


class UniformAugment(RandAugment):
    """Each of N random operations done with probability 1/2, at a random magnitude.

    Args:
        num_ops: N.
        num_magnitude_bins: number of strengths, of which one is drawn; the paper's is continuous.
        interpolation: see ``RandAugment``.
        fill: see ``RandAugment``.
        **others: the arguments by name of ``RandAugment``.

    Source:
        LingChen et al. 2020: a probability and a magnitude drawn uniformly for each operation; a
        uniform probability is a probability of 1/2. The ranges are RandAugment's: our choice.

    Example:
        >>> plan = UniformAugment().sample(10_000, key=0)
        >>> round((plan.op == 0).double().mean().item(), 1)
        0.5
    """

    def __init__(
        self,
        num_ops: int = 2,
        num_magnitude_bins: int = 31,
        interpolation: str = "nearest",
        fill: Fill = None,
        **others: Any,
    ) -> None:
        others.setdefault("ops", (*RANDAUGMENT, "Invert"))
        others.setdefault("probability", 0.5)
        super().__init__(num_ops, None, num_magnitude_bins, interpolation, fill, **others)


def steps(num_ops: int) -> int:
    """The number of operations, checked."""
    if not isinstance(num_ops, int) or num_ops < 0:
        raise ValueError(f"num_ops must be a whole number from 0 on, got {num_ops!r}")
    return num_ops


def one_of(name: str, given: object, allowed: tuple[str, ...]) -> str:
    """The word, or the value of an enumeration such as torchvision's, if it is allowed."""
    word = getattr(given, "value", given)
    if word not in allowed:
        raise ValueError(f"{name} must be {' or '.join(map(repr, allowed))}, got {given!r}")
    return str(word)


def fill_level(fill: Fill, batch: Tensor) -> Tensor | None:
    """One grey level a channel, float32 ``(C,)``, or None."""
    if fill is None:
        return None
    level = torch.as_tensor(fill, dtype=torch.float32, device=batch.device)
    if level.ndim > 1 or level.numel() not in (1, batch.shape[1]):
        raise ValueError(f"fill must be a number or {batch.shape[1]} of them, got {fill!r}")
    return level.expand(batch.shape[1])

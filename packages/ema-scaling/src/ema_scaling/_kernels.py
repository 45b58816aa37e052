"""The arithmetic of one EMA update: lists that are made once, and blocks that stay in the cache.

Same dtype: one ``_foreach_lerp_`` a device and dtype. Otherwise blocks pass through a small
scratch buffer, so nothing of the model's size is ever allocated.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

Precision = Literal["fp32", "compensated", "stochastic"]
Rng = Literal["shared", "independent"]
# elements of a block, in float32 0.5 and 1 MiB: near a core's cache, and few enough calls
BLOCK = 131_072
WIDE_BLOCK = 262_144  # for the single pass of a cast


def shadow_dtype(dtype: torch.dtype, precision: Precision) -> torch.dtype:
    """The dtype in which an average of tensors of ``dtype`` is kept."""
    if dtype.is_complex or dtype == torch.float64:
        return dtype
    return torch.bfloat16 if precision == "stochastic" else torch.float32


def is_dense(tensor: Tensor) -> bool:
    """Whether its elements fill a stretch of memory without gaps or overlaps, in any order."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size == 1:
            continue
        if stride != expected:
            return False
        expected *= size
    return True


def flat(tensor: Tensor) -> Tensor:
    """All elements as one dimension, in memory's order where that is dense."""
    if tensor.is_contiguous():
        return tensor.view(-1)
    return tensor.as_strided((tensor.numel(),), (1,)) if is_dense(tensor) else tensor.reshape(-1)


def new_like(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """An uninitialised tensor with its shape and, where it is dense, its strides."""
    if is_dense(tensor):
        return torch.empty_like(tensor, dtype=dtype)
    return torch.empty(tensor.shape, dtype=dtype, device=tensor.device)


class RandomBits:
    """Random integers below 2 ** 16 for stochastic rounding, from a generator of its own.

    "shared" draws one block an update and reads it from a random place for every block of
    weights: several times faster, and roundings at different places are then correlated.
    "independent" draws for every element.
    """

    def __init__(self, generator: torch.Generator, rng: Rng) -> None:
        self.generator = generator
        self.rng = rng
        self._pool = torch.empty(0, dtype=torch.int32)
        self._offsets: list[int] = []

    def refresh(self, size: int, blocks: int) -> None:
        """Prepare an update of ``blocks`` blocks with at most ``size`` elements each."""
        if self.rng == "independent":
            return
        if self._pool.numel() != 2 * size:
            self._pool = torch.empty(2 * size, dtype=torch.int32, device=self.generator.device)
        self._pool.random_(0, 65_536, generator=self.generator)
        drawn = torch.randint(
            0, size + 1, (blocks,), generator=self.generator, device=self.generator.device
        )
        self._offsets = drawn.tolist()

    def take(self, size: int) -> Tensor:
        """Random bits for the next block."""
        if self.rng == "independent":
            fresh = torch.empty(size, dtype=torch.int32, device=self.generator.device)
            return fresh.random_(0, 65_536, generator=self.generator)
        start = self._offsets.pop()
        return self._pool[start : start + size]


@dataclass
class _Block:
    """Some small tensors, or a stretch of a large one, that fit the scratch together."""

    indices: list[int]
    start: int = 0  # of the stretch; a whole tensor starts at 0
    size: int = 0
    whole: bool = True
    shadows: list[Tensor] = field(default_factory=list)
    residuals: list[Tensor] = field(default_factory=list)
    rows: list[Tensor] = field(default_factory=list)  # of scratch, (size,)
    views: list[list[Tensor]] = field(default_factory=list)  # the rows in the tensors' shapes

    def part(self, tensor: Tensor) -> Tensor:
        """What of a tensor is in the block."""
        return tensor if self.whole else flat(tensor)[self.start : self.start + self.size]

    def load(self, row: int, tensors: list[Tensor]) -> Tensor:
        """Copy the tensors into a row of scratch, which is returned."""
        if len(tensors) == 1:
            self.views[row][0].copy_(tensors[0])
        else:
            torch._foreach_copy_(self.views[row], tensors)
        return self.rows[row]

    def store(self, row: int, tensors: list[Tensor]) -> None:
        """Copy a row of scratch back into the tensors."""
        if len(tensors) == 1:
            tensors[0].copy_(self.views[row][0])
        else:
            torch._foreach_copy_(tensors, self.views[row])


class Updater:
    """Moves a list of averages towards a list of tensors, in place.

    Args:
        shadows: the averages; their dtypes say how they are kept.
        residuals: float32 remainders beside them ("compensated"), or empty.
        sources: the tensors that they follow.
        bits: source of random bits, for averages in bfloat16; or None.
    """

    def __init__(
        self,
        shadows: Sequence[Tensor],
        residuals: Sequence[Tensor],
        sources: Sequence[Tensor],
        bits: RandomBits | None,
    ) -> None:
        self._bits = bits
        self._shadows = list(shadows)
        self._residuals = list(residuals)
        direct: dict[tuple[torch.device, torch.dtype], list[int]] = {}
        blocked: dict[tuple[torch.device, torch.dtype], list[int]] = {}
        for i, (shadow, source) in enumerate(zip(shadows, sources, strict=True)):
            passes = bool(residuals) or shadow.dtype == torch.bfloat16
            groups = blocked if passes or shadow.dtype != source.dtype else direct
            groups.setdefault((shadow.device, shadow.dtype), []).append(i)
        self._direct = [(group, [self._shadows[i] for i in group]) for group in direct.values()]
        self._blocks = [block for group in blocked.values() for block in self._packed(group)]
        self._in_order = len(self._direct) == 1 and not self._blocks
        self._size = max((block.size for block in self._blocks), default=0)

    def _packed(self, indices: list[int]) -> list[_Block]:
        """Small tensors together, large ones in stretches; all share the rows of one scratch."""
        kind = self._shadows[indices[0]].dtype
        rows = 3 if self._residuals else 2 if kind == torch.bfloat16 else 1
        limit = WIDE_BLOCK if rows == 1 else BLOCK
        blocks: list[_Block] = []
        pack = _Block([])
        for i in indices:
            size = self._shadows[i].numel()
            if size > limit:
                blocks += [
                    _Block([i], start, min(limit, size - start), whole=False)
                    for start in range(0, size, limit)
                ]
                continue
            if pack.size + size > limit:
                blocks.append(pack)
                pack = _Block([])
            pack.indices.append(i)
            pack.size += size
        if pack.indices:
            blocks.append(pack)
        widest = max(block.size for block in blocks)
        dtype = torch.float32 if kind == torch.bfloat16 else kind
        scratch = torch.empty(rows, widest, dtype=dtype, device=self._shadows[indices[0]].device)
        for block in blocks:
            block.shadows = [block.part(self._shadows[i]) for i in block.indices]
            if self._residuals:
                block.residuals = [block.part(self._residuals[i]) for i in block.indices]
            block.rows = [row[: block.size] for row in scratch]
            block.views = [_views(row, block.shadows) for row in block.rows]
        return blocks

    def update(self, sources: Sequence[Tensor], weight: float) -> None:
        """Move every average by ``weight`` of the way to its source.

        Args:
            sources: tensors in the order of the averages.
            weight: ``1 - decay``, in [0, 1].
        """
        for indices, shadows in self._direct:
            group = sources if self._in_order else [sources[i] for i in indices]
            torch._foreach_lerp_(shadows, list(group), weight)
        if self._blocks and self._bits is not None:
            self._bits.refresh(self._size, len(self._blocks))
        for block in self._blocks:
            wanted = self._wanted(block, sources)
            if block.residuals:
                _compensated(block, wanted, weight)
            elif self._bits is not None and block.shadows[0].dtype == torch.bfloat16:
                _stochastic(block, wanted, weight, self._bits.take(block.size))
            else:
                block.load(0, wanted)
                torch._foreach_lerp_(block.shadows, block.views[0], weight)

    def _wanted(self, block: _Block, sources: Sequence[Tensor]) -> list[Tensor]:
        """The parts of the sources that a block's averages follow."""
        if block.whole:
            return [sources[i] for i in block.indices]
        source, kept = sources[block.indices[0]], self._shadows[block.indices[0]]
        if source.stride() != kept.stride():  # another memory order than at the start
            source = torch.empty_like(kept, dtype=source.dtype).copy_(source)
        return [block.part(source)]


def _views(row: Tensor, tensors: list[Tensor]) -> list[Tensor]:
    """Stretches of a row in the shapes of the tensors."""
    parts = row.split([tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


def _stochastic(block: _Block, wanted: list[Tensor], weight: float, bits: Tensor) -> None:
    """Lerp in float32, add random bits below the last one kept, cut them off: unbiased."""
    mean = block.load(0, block.shadows)
    mean.lerp_(block.load(1, wanted), weight)
    mean.view(torch.int32).add_(bits.to(mean.device)).bitwise_and_(-65_536)
    block.store(0, block.shadows)


def _compensated(block: _Block, wanted: list[Tensor], weight: float) -> None:
    """``shadow + residual`` has about 48 bits: Knuth's two-sum keeps what rounding drops."""
    mean = block.load(0, block.shadows)
    rest = block.load(1, block.residuals)
    move = block.load(2, wanted)
    move.sub_(mean).sub_(rest).mul_(weight).add_(rest)  # what is to be added to the mean
    total = mean + move
    part = total - mean
    move.sub_(part)  # low part of move
    torch.sub(total, part, out=part)
    rest.copy_(mean).sub_(part).add_(move)  # and that of the old mean
    mean.copy_(total)
    block.store(0, block.shadows)
    block.store(1, block.residuals)

"""The arithmetic of one EMA update: lists that are made once, and blocks that stay in the cache.

Same dtype: one ``_foreach_lerp_`` a device and dtype. Otherwise blocks of 64 Ki elements pass
through a small scratch buffer, so nothing of the model's size is ever allocated.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

Precision = Literal["fp32", "compensated", "stochastic"]
Rng = Literal["shared", "independent"]
BLOCK = 65_536  # elements: 256 KiB of float32, about one core's cache


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


class Updater:
    """Moves a list of averages towards a list of tensors, in place.

    Args:
        shadows: the averages; their dtypes say how they are kept.
        residuals: float32 remainders beside them ("compensated"), or empty.
        sources: the tensors that they follow.
        bits: source of random bits ("stochastic"), or None.
    """

    def __init__(
        self,
        shadows: Sequence[Tensor],
        residuals: Sequence[Tensor],
        sources: Sequence[Tensor],
        bits: RandomBits | None,
    ) -> None:
        self._bits = bits
        self._direct: list[tuple[list[int], list[Tensor]]] = []
        self._blocks: list[_Block] = []
        self._shadows = list(shadows)
        self._residuals = list(residuals)
        direct: dict[tuple[torch.device, torch.dtype], list[int]] = {}
        blocked: dict[tuple[torch.device, torch.dtype], list[int]] = {}
        for i, (shadow, source) in enumerate(zip(shadows, sources, strict=True)):
            special = shadow.dtype not in (torch.float64,) and not shadow.is_complex()
            through = special and (bool(residuals) or shadow.dtype == torch.bfloat16)
            groups = blocked if through or shadow.dtype != source.dtype else direct
            groups.setdefault((shadow.device, shadow.dtype), []).append(i)
        for indices in direct.values():
            self._direct.append((indices, [self._shadows[i] for i in indices]))
        for indices in blocked.values():
            self._blocks += self._packed(indices)
        self._in_order = len(self._direct) == 1 and not self._blocks
        self._size = max((block.size for block in self._blocks), default=0)
        self._scratch: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}

    def _packed(self, indices: list[int]) -> list[_Block]:
        """Small tensors together, large ones in stretches."""
        blocks: list[_Block] = []
        pack = _Block([])
        for i in indices:
            size = self._shadows[i].numel()
            if size > BLOCK:
                blocks += [
                    _Block([i], start, min(BLOCK, size - start), whole=False)
                    for start in range(0, size, BLOCK)
                ]
                continue
            if pack.size + size > BLOCK:
                blocks.append(pack)
                pack = _Block([])
            pack.indices.append(i)
            pack.size += size
        if pack.indices:
            blocks.append(pack)
        for block in blocks:
            block.shadows = [self._part(block, self._shadows[i]) for i in block.indices]
            if self._residuals:
                block.residuals = [self._part(block, self._residuals[i]) for i in block.indices]
        return blocks

    @staticmethod
    def _part(block: _Block, tensor: Tensor) -> Tensor:
        return tensor if block.whole else flat(tensor)[block.start : block.start + block.size]

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
            self._update_block(block, sources, weight)

    def _update_block(self, block: _Block, sources: Sequence[Tensor], weight: float) -> None:
        shadow = block.shadows[0]
        if block.whole:
            wanted = [sources[i] for i in block.indices]
        else:
            index = block.indices[0]
            source, kept = sources[index], self._shadows[index]
            if source.stride() != kept.stride():  # another memory order than at the start
                source = torch.empty_like(kept, dtype=source.dtype).copy_(source)
            wanted = [self._part(block, source)]
        if block.residuals:
            self._compensated(block, wanted, weight)
        elif shadow.dtype == torch.bfloat16:
            self._stochastic(block, wanted, weight)
        else:
            _, views = self._gather(0, block, wanted, shadow.dtype)
            torch._foreach_lerp_(block.shadows, views, weight)

    def _gather(
        self, which: int, block: _Block, tensors: list[Tensor], dtype: torch.dtype
    ) -> tuple[Tensor, list[Tensor]]:
        """The tensors copied into scratch number ``which``: all of it flat, and a view of each."""
        device = block.shadows[0].device
        buffers = self._scratch.setdefault((device, dtype), [])
        while len(buffers) <= which:
            buffers.append(torch.empty(self._size, dtype=dtype, device=device))
        row = buffers[which][: block.size]
        if len(tensors) == 1:
            views = [row.view(tensors[0].shape)]
            views[0].copy_(tensors[0])
            return row, views
        views: list[Tensor] = []
        at = 0
        for tensor in tensors:
            views.append(row[at : at + tensor.numel()].view(tensor.shape))
            at += tensor.numel()
        torch._foreach_copy_(views, tensors)
        return row, views

    def _stochastic(self, block: _Block, wanted: list[Tensor], weight: float) -> None:
        """Lerp in float32; random bits below the last one kept; cut them off: unbiased."""
        mean, views = self._gather(0, block, block.shadows, torch.float32)
        target, _ = self._gather(1, block, wanted, torch.float32)
        mean.lerp_(target, weight)
        if self._bits is None:
            raise ValueError("an average in bfloat16 needs random bits")
        bits = self._bits.take(block.size)
        mean.view(torch.int32).add_(bits.to(mean.device)).bitwise_and_(-65_536)
        _scatter(block.shadows, views)

    def _compensated(self, block: _Block, wanted: list[Tensor], weight: float) -> None:
        """``shadow + residual`` has about 48 bits: Knuth's two-sum keeps what rounding drops."""
        dtype = block.shadows[0].dtype
        mean, mean_views = self._gather(0, block, block.shadows, dtype)
        rest, rest_views = self._gather(1, block, block.residuals, dtype)
        move, _ = self._gather(2, block, wanted, dtype)
        move.sub_(mean).sub_(rest).mul_(weight).add_(rest)  # what is to be added to the mean
        total = mean + move
        part = total - mean
        torch.sub(move, part, out=rest)  # low part of move
        rest.add_(mean.sub_(total.sub(part)))  # low part of the old mean
        mean.copy_(total)
        _scatter(block.shadows, mean_views)
        _scatter(block.residuals, rest_views)


def _scatter(tensors: list[Tensor], views: list[Tensor]) -> None:
    if len(tensors) == 1:
        tensors[0].copy_(views[0])
    else:
        torch._foreach_copy_(tensors, views)

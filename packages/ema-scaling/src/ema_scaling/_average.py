"""The tensors of an average: made from a model's, moved towards them, measured against them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ema_scaling._kernels import Precision, RandomBits, Updater, new_like, shadow_dtype
from ema_scaling._track import Slot, is_sharded, local


@dataclass(frozen=True)
class Lag:
    """How far the average is behind its model: a cheap check of health.

    ``distance`` is ``||model - ema||`` over the averaged tensors, ``relative`` that over
    ``||model||``, ``cosine`` the angle between the two, ``mean_age`` the average's age in
    samples if the decay of its last update had always held.
    """

    distance: float
    relative: float
    cosine: float
    mean_age: float
    samples: int

    def __str__(self) -> str:
        return (
            f"after {self.samples} samples the average is {self.relative:.3g} of the weights' "
            f"norm away (cosine {self.cosine:.6f}); its age is about {self.mean_age:.4g} samples"
        )

    def to_table(self) -> dict[str, list[float]]:
        """One row."""
        return {name: [getattr(self, name)] for name in self.__dataclass_fields__}


class Average:
    """Shadows of a model's tensors, by canonical name, with the plan of their update."""

    @torch.no_grad()
    def __init__(
        self,
        slots: Sequence[Slot],
        sources: Sequence[Tensor],
        precision: Precision,
        bits: RandomBits | None,
    ) -> None:
        self.shadow: dict[str, Tensor] = {}
        self.residual: dict[str, Tensor] = {}
        self.sharded = any(map(is_sharded, sources))
        self._names = [slot.name for slot in slots]
        self._averaged = [i for i, slot in enumerate(slots) if _is_mean(slot, sources[i])]
        averaged = set(self._averaged)
        self._copied = [i for i in range(len(slots)) if i not in averaged]
        for i, (slot, source) in enumerate(zip(slots, sources, strict=True)):
            kept_in: Precision = "fp32" if slot.is_buffer else precision
            dtype = shadow_dtype(source.dtype, kept_in) if i in averaged else source.dtype
            shadow = (
                torch.empty_like(source, dtype=dtype)
                if is_sharded(source)
                else new_like(source.detach(), dtype)
            )
            local(shadow).copy_(local(source))
            self.shadow[slot.name] = shadow
            if i in averaged and precision == "compensated" and dtype == torch.float32:
                self.residual[slot.name] = torch.zeros_like(shadow)
        plain = [i for i in self._averaged if self._names[i] not in self.residual]
        rest = [i for i in self._averaged if self._names[i] in self.residual]
        self._updaters = [
            (indices, self._updater(indices, sources, bits)) for indices in (plain, rest) if indices
        ]
        self._copies = [local(self.shadow[self._names[i]]) for i in self._copied]

    def _updater(
        self, indices: list[int], sources: Sequence[Tensor], bits: RandomBits | None
    ) -> Updater:
        names = [self._names[i] for i in indices]
        return Updater(
            [local(self.shadow[name]) for name in names],
            [local(self.residual[name]) for name in names if name in self.residual],
            [local(sources[i]) for i in indices],
            bits,
        )

    def move(self, sources: Sequence[Tensor], weight: float) -> None:
        """Move every average by ``weight`` of the way to its source, and copy the others."""
        for indices, updater in self._updaters:
            everything = len(indices) == len(sources)
            updater.update(sources if everything else [sources[i] for i in indices], weight)
        if self._copies:
            torch._foreach_copy_(self._copies, [sources[i] for i in self._copied])

    def names_of_means(self) -> list[str]:
        """Names of what is averaged; the others are copied."""
        return [self._names[i] for i in self._averaged]

    def means(self, sources: Sequence[Tensor]) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Name, average and source of what is averaged."""
        for i in self._averaged:
            yield self._names[i], self.shadow[self._names[i]], sources[i]

    def finite(self, sources: Sequence[Tensor]) -> Tensor:
        """Whether all sources of averages are finite in this process: one boolean."""
        floating = [sources[i] for i in self._averaged if sources[i].numel()]
        norms = torch._foreach_norm(floating, float("inf"))
        return torch.stack([n.abs().float().to(norms[0].device) for n in norms]).isfinite().all()

    def distances(self, sources: Sequence[Tensor]) -> tuple[float, float, float]:
        """``||model - ema||``, that over ``||model||``, and the cosine between the two."""
        dot = square_model = square_ema = square_gap = 0.0
        for _, shadow, source in self.means(sources):
            wide = torch.complex128 if shadow.is_complex() else torch.float64
            a, b = source.detach().to(wide).flatten(), shadow.to(wide).flatten()
            dot += float(torch.vdot(a, b).real)
            square_model += float(a.abs().square().sum())
            square_ema += float(b.abs().square().sum())
            square_gap += float((a - b).abs().square().sum())
        norms = (square_model * square_ema) ** 0.5
        relative = (square_gap / square_model) ** 0.5 if square_model else 0.0
        return square_gap**0.5, relative, dot / norms if norms else 1.0


def _is_mean(slot: Slot, source: Tensor) -> bool:
    return slot.policy == "average" and (source.is_floating_point() or source.is_complex())

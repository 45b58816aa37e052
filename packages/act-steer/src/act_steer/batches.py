"""Prompts as micro-batches: tokenised here, or ready-made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

Prompts: TypeAlias = Sequence[str] | Sequence[Mapping[str, Tensor]] | Sequence[Tensor]


@dataclass(frozen=True, eq=False)
class Batch:
    """One micro-batch.

    Args:
        inputs: arguments of the model, or its only argument.
        mask: ``(B, K)``, tokens that count; None where all do.
        rows: what to call its inputs in errors.
    """

    inputs: Mapping[str, Tensor] | Tensor
    mask: Tensor | None
    rows: tuple[str, ...]

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        if isinstance(self.inputs, Tensor):
            return Batch(self.inputs.to(device), self.mask, self.rows)
        inputs = {name: tensor.to(device) for name, tensor in self.inputs.items()}
        return Batch(inputs, self.mask, self.rows)

    def first(self) -> "Batch":
        """Its first row."""
        mask = None if self.mask is None else self.mask[:1]
        if isinstance(self.inputs, Tensor):
            return Batch(self.inputs[:1], mask, self.rows[:1])
        count = len(self.rows)
        inputs = {
            name: tensor[:1] if tensor.ndim and len(tensor) == count else tensor
            for name, tensor in self.inputs.items()
        }
        return Batch(inputs, mask, self.rows[:1])


def batches_of(
    side: str,
    prompts: Prompts,
    tokenizer: Callable[..., Any] | None = None,
    *,
    batch_size: int = 32,
    max_length: int = 128,
) -> list[Batch]:
    """Micro-batches of one side.

    Texts are sorted by length, padded on the right, and given the positions that they have without
    padding. Tokens that the tokenizer adds, as one for the beginning, are fed but do not count:
    their activations can be a thousand times as large as all others.

    Args:
        side: ``"source"`` or ``"target"``, for errors.
        prompts: texts; or batches: mappings of the model's arguments, whose ``attention_mask``, if
            there is one, says which tokens count (less those of a ``special_tokens_mask``); or
            batches that are the model's only argument.
        tokenizer: turns texts to ``input_ids``, as those of transformers do.
        batch_size: texts a micro-batch.
        max_length: longer texts are cut.

    Raises:
        ValueError: if there are none, or one has no token.
        TypeError: if they are of another kind, or texts come without a tokenizer.
    """
    if isinstance(prompts, (str, Tensor, Mapping)):
        kind = type(prompts).__name__
        raise TypeError(f"{side} must be a sequence of prompts or of batches, got one {kind}")
    if not len(prompts):
        raise ValueError(f"{side} has no prompts")
    if batch_size < 1 or max_length < 1:
        raise ValueError(
            f"batch_size and max_length must be positive, got {batch_size} and {max_length}"
        )
    if all(isinstance(prompt, str) for prompt in prompts):
        if tokenizer is None:
            raise TypeError(f"{side} holds texts, so tokenizer must be given")
        return _texts(side, prompts, tokenizer, batch_size, max_length)
    ready = []
    for prompt in prompts:
        if not isinstance(prompt, (Mapping, Tensor)):
            kinds = sorted({type(p).__name__ for p in prompts})
            raise TypeError(f"{side} must be texts, mappings or tensors, got {', '.join(kinds)}")
        ready.append(_ready(side, prompt, sum(len(batch.rows) for batch in ready)))
    return ready


def _texts(
    side: str, texts: Sequence[Any], tokenizer: Callable[..., Any], size: int, max_length: int
) -> list[Batch]:
    coded = tokenizer(
        list(texts), truncation=True, max_length=max_length, return_special_tokens_mask=True
    )
    ids = [list(row) for row in coded["input_ids"]]
    special = coded.get("special_tokens_mask") or [[0] * len(row) for row in ids]
    for i, row in enumerate(special):
        if len(ids[i]) == 0 or all(row):
            raise ValueError(f"{side} prompt {i} has no token that counts: {texts[i]!r}")
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    batches = []
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        length = len(ids[chosen[-1]])
        tokens = torch.zeros(len(chosen), length, dtype=torch.long)
        attention, counts = torch.zeros_like(tokens), torch.zeros_like(tokens)
        for row, i in enumerate(chosen):
            n = len(ids[i])
            tokens[row, :n], attention[row, :n] = torch.tensor(ids[i]), 1
            counts[row, :n] = 1 - torch.tensor(special[i])
        inputs = {"input_ids": tokens, "attention_mask": attention}
        rows = tuple(f"{side} prompt {i}" for i in chosen)
        batches.append(Batch(inputs, counts.bool(), rows))
    return batches


def _ready(side: str, prompt: Mapping[str, Tensor] | Tensor, before: int) -> Batch:
    if isinstance(prompt, Tensor):
        return Batch(prompt, None, _rows(side, before, len(prompt)))
    inputs = dict(prompt)
    special = inputs.pop("special_tokens_mask", None)
    mask = inputs.get("attention_mask")
    tensors = [tensor for tensor in inputs.values() if isinstance(tensor, Tensor) and tensor.ndim]
    if not tensors:
        raise ValueError(f"a batch of {side} holds no tensor: {sorted(inputs)}")
    if special is not None:
        counted = torch.ones_like(special) if mask is None else mask
        mask = counted.bool() & ~special.bool()
    first = inputs.get("input_ids", tensors[0])
    rows = _rows(side, before, len(first))
    return Batch(inputs, None if mask is None else mask.bool(), rows)


def _rows(side: str, before: int, count: int) -> tuple[str, ...]:
    return tuple(f"{side} prompt {before + i}" for i in range(count))

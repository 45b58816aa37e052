"""One number a neuron and a prompt: pooling over tokens or pixels, past the padding."""

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from act_steer.move import CHANNELS_FIRST, channel_axis
from act_steer.sites import width_of

PoolName = Literal["mean", "last", "max", "min", "median"]
Pool: TypeAlias = PoolName | Callable[[Tensor, Tensor], Tensor]
POOLS = ("mean", "last", "max", "min", "median")


def pool(
    x: Tensor, how: Pool = "mean", mask: Tensor | None = None, module: nn.Module | None = None
) -> Tensor:
    """Pool the activations of each row, in float32 or wider.

    Args:
        x: ``(B, K, D)``; ``(B, C, H, W)``, whose pixels are its tokens; or ``(B, D)``, which has
            nothing to pool.
        how: ``"mean"``, ``"last"``, ``"max"``, ``"min"``, ``"median"`` (the lower one of two), or a
            function of tokens ``(B, K, D)`` and mask ``(B, K)`` that returns ``(B, D)``.
        mask: ``(B, K)``, true for the tokens that count; None counts all.
        module: what gave ``x``, which may tell where its channels are.

    Returns:
        ``(B, D)``, without gradient.

    Raises:
        ValueError: if shapes do not fit, or a row has no token that counts.

    Source:
        Rodriguez et al. 2024, table 1 (the pooling of each method).

    Example:
        >>> x = torch.tensor([[[1.0], [3.0], [9.0]]])
        >>> pool(x, "mean", torch.tensor([[True, True, False]]))
        tensor([[2.]])
    """
    x = x.detach()
    x = x if x.dtype == torch.float64 else x.float()
    tokens = as_tokens(x, module)
    if tokens.ndim == 2:
        if mask is not None and len(mask) != len(tokens):
            raise ValueError(
                f"an output of shape {tuple(x.shape)} has lost the prompts of a"
                f" {tuple(mask.shape)} batch, as an expert's has: it cannot be pooled by prompt"
            )
        return tokens
    if mask is None:
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=x.device)
    mask = mask.to(x.device, torch.bool)
    if mask.shape != tokens.shape[:2]:
        raise ValueError(
            f"an output of {tuple(x.shape)} has {tuple(tokens.shape[:2])} tokens, and the mask is"
            f" {tuple(mask.shape)}: leave this module out, or pool with a function of your own"
        )
    if not mask.any(dim=1).all():
        raise ValueError(f"row {int((~mask.any(dim=1)).nonzero()[0])} has no token that counts")
    pooled = how(tokens, mask) if callable(how) else _pooled(tokens, mask, how)
    if pooled.shape != (len(x), tokens.shape[2]):
        expected = (len(x), tokens.shape[2])
        raise ValueError(f"pooling must return {expected}, got {tuple(pooled.shape)}")
    return pooled


def as_tokens(x: Tensor, module: nn.Module | None = None) -> Tensor:
    """View an output as tokens: ``(B, K, D)`` as it is, ``(B, C, H, W)`` as ``(B, H W, C)``.

    Outputs of two axes have no tokens and come back as they are.
    """
    if x.ndim < 2:
        raise ValueError(f"an output must have rows and neurons, got shape {tuple(x.shape)}")
    if x.ndim == 2:
        return x
    if axis_of(x, module) == 1:
        return x.flatten(2).transpose(1, 2)
    return x.flatten(1, -2)


def axis_of(x: Tensor, module: nn.Module | None = None) -> int:
    """The axis of the channels, 1 or -1; the module's width decides where it is known."""
    width = None if module is None else width_of(module)
    return channel_axis(x.shape, isinstance(module, CHANNELS_FIRST), width)


def _pooled(tokens: Tensor, mask: Tensor, how: str) -> Tensor:
    counted = mask[..., None]
    if how == "mean":
        return torch.where(counted, tokens, 0.0).sum(1) / counted.sum(1)
    if how == "max":
        return torch.where(counted, tokens, -torch.inf).amax(1)
    if how == "min":
        return torch.where(counted, tokens, torch.inf).amin(1)
    if how == "last":
        places = torch.arange(mask.shape[1], device=mask.device)
        return tokens[torch.arange(len(mask)), torch.where(mask, places, -1).amax(1)]
    if how == "median":
        ordered = torch.where(counted, tokens, torch.inf).sort(dim=1).values
        middle = (mask.sum(1) - 1) // 2
        return ordered[torch.arange(len(mask)), middle]
    raise ValueError(f"pool must be one of {', '.join(POOLS)} or a function, got {how!r}")

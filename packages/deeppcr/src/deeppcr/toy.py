"""A denoiser in closed form, for tests and figures: no weights, no training, real images out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def mixture_denoiser(
    scheduler: Any, images: Tensor, *, width: float = 0.3
) -> Callable[[Tensor, Any], Tensor]:
    """The optimal model for data that are ``images`` plus Gaussian noise of deviation ``width``.

    Args:
        scheduler: a scheduler of diffusers; its ``alphas_cumprod`` and ``prediction_type`` say
            what the model has to give.
        images: the K centres of the mixture, ``(K, ...)``.
        width: deviation of the data around their centres, positive.

    Returns:
        ``model(x, t)`` for samples ``(N, ...)`` and times ``(N,)`` or one time: noise, x0 or
        velocity.

    Raises:
        ValueError: for ``width <= 0``.

    Source:
        Bayes' rule for a mixture of Gaussians.

    Example:
        >>> from diffusers import DDIMScheduler
        >>> model = mixture_denoiser(DDIMScheduler(), torch.zeros(1, 2, 2), width=1.0)
        >>> x = torch.ones(1, 2, 2)
        >>> bool((model(x, 999) - x).abs().max() < 0.01)
        True
    """
    if not width > 0:
        raise ValueError(f"width must be positive, got {width}")
    kind = getattr(scheduler.config, "prediction_type", "epsilon")
    table = scheduler.alphas_cumprod

    def model(x: Tensor, t: Any) -> Tensor:
        times = torch.as_tensor(t, device=x.device).double().reshape(-1).expand(len(x))
        low = times.long().clamp(0, len(table) - 1)
        high, part = (low + 1).clamp_max(len(table) - 1), (times - low).to(x.dtype)
        known = table.to(x)
        a = (1 - part) * known[low] + part * known[high]
        a = a.reshape(-1, *(1 for _ in x.shape[1:]))  # (N, 1, ...)
        variance = a * width**2 + 1 - a
        away = x.unsqueeze(1) - a.sqrt().unsqueeze(1) * images.to(x)  # (N, K, ...)
        logits = -away.flatten(2).square().sum(-1) / (2 * variance.flatten(1))  # (N, K)
        weights = logits.softmax(1).reshape(*logits.shape, *(1 for _ in x.shape[1:]))
        noise = (1 - a).sqrt() * (weights * away).sum(1) / variance
        x0 = (x - (1 - a).sqrt() * noise) / a.sqrt()
        if kind == "v_prediction":
            return a.sqrt() * noise - (1 - a).sqrt() * x0
        return x0 if kind == "sample" else noise

    return model

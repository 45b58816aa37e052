"""The cells of GRU and LSTM as steps that know their derivatives."""

from __future__ import annotations

from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from deeppcr.blocks import scaled_rows
from deeppcr.steps import Pull

Weights: TypeAlias = tuple[Tensor, ...]  # weight_hh (G h, h) and, where there is one, bias_hh (G h)


class GruStep:
    """torch's GRU cell; x is the projected input ``(..., 3 h)``, its gates r, z, n in a row."""

    def __call__(self, h: Tensor, x: Tensor, params: Weights) -> Tensor:
        """The next state ``(..., h)``."""
        _, z, n, _ = self.parts(h, x, params)
        return n + z * (h - n)

    def parts(self, h: Tensor, x: Tensor, params: Weights) -> tuple[Tensor, ...]:
        """Gates r and z, candidate n, and what r multiplies, each ``(..., h)``."""
        xr, xz, xn = x.chunk(3, dim=-1)
        hr, hz, hn = F.linear(h, *params).chunk(3, dim=-1)
        r = torch.sigmoid(xr + hr)
        return r, torch.sigmoid(xz + hz), torch.tanh(xn + r * hn), hn

    def linearize(
        self, before: Tensor, after: Tensor, xs: Tensor, params: Weights
    ) -> tuple[Tensor, Pull]:
        """The Jacobians ``(L, *B, h, h)`` and their pullback."""
        r, z, n, hn = self.parts(before, xs, params)
        by_xn = (1 - z) * (1 - n.square())
        by_r, by_z, by_n = by_xn * hn * r * (1 - r), (before - n) * z * (1 - z), by_xn * r
        slopes = torch.cat([by_r, by_z, by_n], dim=-1)

        def pull(cotangent: Tensor) -> tuple[Tensor, Weights]:
            inner = cotangent.repeat(*(1 for _ in xs.shape[1:]), 3) * slopes
            kept = inner[..., : 2 * n.shape[-1]]
            return torch.cat([kept, cotangent * by_xn], dim=-1), by_weights(inner, before, params)

        return torch.diag_embed(z) + rows(slopes, params[0]), pull


class LstmStep:
    """torch's LSTM cell on the state ``[h, c]``, ``(..., 2 h)``; gates i, f, g, o in a row."""

    def __call__(self, state: Tensor, x: Tensor, params: Weights) -> Tensor:
        """The next state ``(..., 2 h)``."""
        h, c = state.chunk(2, dim=-1)
        i, f, g, o = self.parts(h, x, params)
        after = f * c + i * g
        return torch.cat([o * torch.tanh(after), after], dim=-1)

    def parts(self, h: Tensor, x: Tensor, params: Weights) -> tuple[Tensor, ...]:
        """Gates i, f, candidate g and gate o, each ``(..., h)``."""
        i, f, g, o = (x + F.linear(h, *params)).chunk(4, dim=-1)
        return torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)

    def linearize(
        self, before: Tensor, after: Tensor, xs: Tensor, params: Weights
    ) -> tuple[Tensor, Pull]:
        """The Jacobians ``(L, *B, 2 h, 2 h)`` and their pullback."""
        h, c = before.chunk(2, dim=-1)
        i, f, g, o = self.parts(h, xs, params)
        t = torch.tanh(after.chunk(2, dim=-1)[1])
        through = o * (1 - t.square())  # of h' by c'
        into_c = torch.cat([g * i * (1 - i), c * f * (1 - f), i * (1 - g.square())], dim=-1)
        into_h = t * o * (1 - o)
        size = h.shape[-1]
        c_by_h = rows(into_c, params[0][: 3 * size])
        h_by_h = rows(into_h, params[0][3 * size :]) + through.unsqueeze(-1) * c_by_h
        h_rows = torch.cat([h_by_h, torch.diag_embed(through * f)], dim=-1)
        c_rows = torch.cat([c_by_h, torch.diag_embed(f)], dim=-1)

        def pull(cotangent: Tensor) -> tuple[Tensor, Weights]:
            of_h, of_c = cotangent.chunk(2, dim=-1)
            cell = (of_c + through * of_h).repeat(*(1 for _ in xs.shape[1:]), 3)
            inner = torch.cat([cell * into_c, of_h * into_h], dim=-1)
            return inner, by_weights(inner, h, params)

        return torch.cat([h_rows, c_rows], dim=-2), pull


def rows(slopes: Tensor, weight: Tensor) -> Tensor:
    """``sum_g diag(slope_g) W_g``: ``(..., G h)`` and ``(G h, h)`` give ``(..., h, h)``."""
    size = weight.shape[-1]
    terms = zip(slopes.split(size, dim=-1), weight.split(size), strict=True)
    return sum((scaled_rows(slope, w) for slope, w in terms), torch.zeros(()).to(slopes))


def by_weights(inner: Tensor, h: Tensor, params: Weights) -> Weights:
    """Gradients of the weights from those of the gates' inputs ``(L, *B, G h)``."""
    flat = inner.flatten(0, -2)
    both = (flat.mT @ h.flatten(0, -2), flat.sum(0))
    return both[: len(params)]

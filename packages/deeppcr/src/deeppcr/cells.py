"""The cells of RNN, GRU and LSTM as steps that know their Jacobians."""

from __future__ import annotations

from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

Weights: TypeAlias = tuple[Tensor, ...]  # weight_hh (G h, h) and, where there is one, bias_hh (G h)


class TanhStep:
    """``h' = tanh(x + W h + b)`` over any leading axes; x is the projected input."""

    gates = 1

    def __call__(self, h: Tensor, x: Tensor, params: Weights) -> Tensor:
        """The next state."""
        return torch.tanh(x + F.linear(h, *params))

    def jacobian(self, h: Tensor, x: Tensor, params: Weights, after: Tensor) -> Tensor:
        """``diag(1 - h'^2) W``."""
        return (1 - after.square()).unsqueeze(-1) * params[0]


class ReluStep:
    """``h' = max(0, x + W h + b)`` over any leading axes."""

    gates = 1

    def __call__(self, h: Tensor, x: Tensor, params: Weights) -> Tensor:
        """The next state."""
        return torch.relu(x + F.linear(h, *params))

    def jacobian(self, h: Tensor, x: Tensor, params: Weights, after: Tensor) -> Tensor:
        """``diag(h' > 0) W``."""
        return (after > 0).to(after).unsqueeze(-1) * params[0]


class GruStep:
    """torch's GRU cell; x is the projected input, its gates r, z, n one after the other."""

    gates = 3

    def __call__(self, h: Tensor, x: Tensor, params: Weights) -> Tensor:
        """The next state."""
        r, z, n, _ = self.parts(h, x, params)
        return n + z * (h - n)

    def parts(self, h: Tensor, x: Tensor, params: Weights) -> tuple[Tensor, ...]:
        """Gates r and z, candidate n, and what r multiplies, each ``(..., h)``."""
        xr, xz, xn = x.chunk(3, dim=-1)
        hr, hz, hn = F.linear(h, *params).chunk(3, dim=-1)
        r = torch.sigmoid(xr + hr)
        return r, torch.sigmoid(xz + hz), torch.tanh(xn + r * hn), hn

    def jacobian(self, h: Tensor, x: Tensor, params: Weights, after: Tensor) -> Tensor:
        """Through the kept state, the update gate, and the candidate with its reset gate."""
        r, z, n, hn = self.parts(h, x, params)
        wr, wz, wn = params[0].chunk(3)
        into_n = (1 - z) * (1 - n.square())
        blocks = rows(into_n * hn * r * (1 - r), wr) + rows(into_n * r, wn)
        return torch.diag_embed(z) + rows((h - n) * z * (1 - z), wz) + blocks


class LstmStep:
    """torch's LSTM cell on the state ``[h, c]``, ``(..., 2 h)``; gates i, f, g, o."""

    gates = 4

    def __call__(self, state: Tensor, x: Tensor, params: Weights) -> Tensor:
        """The next state."""
        h, c = state.chunk(2, dim=-1)
        i, f, g, o = self.parts(h, x, params)
        after = f * c + i * g
        return torch.cat([o * torch.tanh(after), after], dim=-1)

    def parts(self, h: Tensor, x: Tensor, params: Weights) -> tuple[Tensor, ...]:
        """Gates i, f, candidate g and gate o, each ``(..., h)``."""
        i, f, g, o = (x + F.linear(h, *params)).chunk(4, dim=-1)
        return torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)

    def jacobian(self, state: Tensor, x: Tensor, params: Weights, after: Tensor) -> Tensor:
        """The four blocks of ``d [h', c'] / d [h, c]``."""
        h, c = state.chunk(2, dim=-1)
        i, f, g, o = self.parts(h, x, params)
        wi, wf, wg, wo = params[0].chunk(4)
        c_by_h = rows(g * i * (1 - i), wi) + rows(c * f * (1 - f), wf)
        c_by_h = c_by_h + rows(i * (1 - g.square()), wg)
        t = torch.tanh(after.chunk(2, dim=-1)[1])
        slope = o * (1 - t.square())
        h_by_h = rows(t * o * (1 - o), wo) + slope.unsqueeze(-1) * c_by_h
        h_rows = torch.cat([h_by_h, torch.diag_embed(slope * f)], dim=-1)
        c_rows = torch.cat([c_by_h, torch.diag_embed(f)], dim=-1)
        return torch.cat([h_rows, c_rows], dim=-2)


def rows(scale: Tensor, weight: Tensor) -> Tensor:
    """``diag(scale) weight``: ``(..., h)`` and ``(h, h)`` give ``(..., h, h)``."""
    return scale.unsqueeze(-1) * weight

"""Chains for the tests, and the loop that they are held against."""

import torch


def looped(step, z0, xs=None, params=None, *, length=None, per_layer_params=False):
    """The definition: one step after the other."""
    z, states = z0, []
    for i in range(len(xs) if length is None else length):
        x = None if xs is None else xs[i]
        p = [w[i] for w in params] if per_layer_params else params
        z = step(z, x, p)
        states.append(z)
    return torch.stack(states)


def tanh_step(z, x, params):
    """A tanh recurrence, ``params`` its matrix."""
    return torch.tanh(z @ params.mT + x)


def dense_layer(z, x, params):
    """A tanh layer, ``params`` its weight and bias."""
    weight, bias = params
    return torch.tanh(z @ weight.mT + bias)


def orthogonal(d, generator, dtype=torch.float64):
    """A random orthogonal matrix."""
    return torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=dtype))[0]


def tanh_chain(length, d, *, gain=0.9, batch=(), seed=0, dtype=torch.float64):
    """``(z0, xs, W)`` of a tanh recurrence whose matrix has all singular values ``gain``."""
    g = torch.Generator().manual_seed(seed)
    w = gain * orthogonal(d, g, dtype)
    xs = 0.1 * torch.randn(length, *batch, d, generator=g, dtype=dtype)
    return torch.randn(*batch, d, generator=g, dtype=dtype), xs, w

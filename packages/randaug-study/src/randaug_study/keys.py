"""Random numbers that are a function of a key and an image's number, and of nothing else."""

import itertools
import math

import torch
from torch import Tensor

Key = int | tuple[int, ...]

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_calls = itertools.count()


def fold(key: Key) -> int:
    """One 64-bit word for a key, by splitmix64's finaliser over its parts.

    Args:
        key: an integer, or a tuple of integers such as ``(seed, epoch, step)``. Only the lowest 64
            bits of each count, and ``7`` is the same key as ``(7,)``.

    Returns:
        An integer in [0, 2**64).

    Raises:
        TypeError: if the key is neither.

    Source:
        Steele, Lea and Flood 2014, splitmix64. Folding by parts is our choice.

    Example:
        >>> fold((0, 1)) == fold((1, 0)), fold(3) == fold((3,))
        (False, True)
    """
    parts = key if isinstance(key, tuple) else (key,)
    word = len(parts)
    for part in parts:
        if isinstance(part, bool) or not hasattr(part, "__index__"):
            raise TypeError(
                f"key must be an integer or a tuple of integers such as (seed, epoch, step), "
                f"got {key!r}"
            )
        word = _mix_word((word + _GOLDEN) & _MASK ^ part.__index__() & _MASK)
    return word


def _mix_word(word: int) -> int:
    """Splitmix64's finaliser on one integer."""
    word = (word ^ word >> 30) * _MIX[0] & _MASK
    word = (word ^ word >> 27) * _MIX[1] & _MASK
    return word ^ word >> 31


def _signed(word: int) -> int:
    """The int64 that has the bits of an unsigned word."""
    return word - (1 << 64) if word >> 63 else word


def _mix(words: Tensor) -> Tensor:
    """Splitmix64's finaliser on the bits of an int64 tensor, of any shape."""
    for shift, factor in ((30, _MIX[0]), (27, _MIX[1])):
        words = words ^ words >> shift & (1 << 64 - shift) - 1  # a shift that brings in zeros
        words = words * _signed(factor)
    return words ^ words >> 31 & (1 << 33) - 1


def uniforms(key: Key, ids: Tensor, streams: int | Tensor) -> Tensor:
    """Uniform numbers in [0, 1), each a function of the key, one id and one stream.

    Args:
        key: see ``fold``.
        ids: numbers of the images, int64 of any shape.
        streams: which draw of an image it is: a number, or an int64 tensor that broadcasts with
            ``ids``.

    Returns:
        float64 of the broadcast shape, multiples of 2**-53. No generator is read or moved.

    Example:
        >>> u = uniforms((0, 7), torch.arange(1000), 0)
        >>> bool((u[500:] == uniforms((0, 7), torch.arange(500, 1000), 0)).all())
        True
    """
    rows = _mix(ids * _signed(_GOLDEN) + _signed(fold(key)))
    streams = torch.as_tensor(streams, dtype=torch.int64, device=ids.device)
    words = _mix((rows ^ _signed(_MIX[1])) + streams * _signed(_MIX[0]))
    return (words >> 11 & (1 << 53) - 1).double() * 2.0**-53


def normals(key: Key, ids: Tensor, streams: Tensor) -> Tensor:
    """Standard normal numbers, float64, from streams s and s + 1, by Box and Muller."""
    radius = torch.sqrt(-2.0 * torch.log1p(-uniforms(key, ids, streams)))
    return radius * torch.cos(2.0 * math.pi * uniforms(key, ids, streams + 1))


def gammas(key: Key, ids: Tensor, streams: Tensor, shape: float) -> Tensor:
    """Numbers of the gamma distribution, float64, from 64 streams from each of ``streams`` on.

    Args:
        key: see ``fold``.
        ids: int64, broadcasts with ``streams``.
        streams: int64; leave 64 between two.
        shape: of the distribution, positive.

    Source:
        Marsaglia and Tsang 2000, with 20 tries, of which the first that is accepted counts; all
        are refused less than once in 1e25.
    """
    base = shape if shape >= 1.0 else shape + 1.0
    d = base - 1.0 / 3.0
    ids, streams = torch.broadcast_tensors(ids, streams)
    tries = streams[..., None] + 3 * torch.arange(20)
    x = normals(key, ids[..., None], tries)
    v = (1.0 + x / math.sqrt(9.0 * d)).clamp(min=0.0) ** 3
    u = uniforms(key, ids[..., None], tries + 2)
    accepted = torch.log1p(-u) < 0.5 * x**2 + d - d * v + d * torch.log(v)
    first = accepted.to(torch.int8).argmax(-1, keepdim=True)
    drawn = d * v.gather(-1, first).squeeze(-1)
    if shape < 1.0:
        drawn = drawn * (1.0 - uniforms(key, ids, streams + 63)) ** (1.0 / shape)
    return drawn


def fresh_key() -> Key:
    """The key of a call that names none: ``(torch.initial_seed(), number of the call)``.

    Reading the seed moves no generator, and a worker of a ``DataLoader`` has one of its own. The
    count is one for the process, so that two augmenters do not draw alike.
    """
    return torch.initial_seed(), next(_calls)

"""The kernel of a group convolution, written out as the kernel of a plain one."""

import torch
from torch import Tensor

from homssl.groups import PointGroup


def turned_kernels(group: PointGroup, size: int) -> Tensor:
    """How every element moves a ``size x size`` kernel.

    Args:
        group: rotations, perhaps with a mirror.
        size: side of the kernel.

    Returns:
        Of an exact group, where each tap comes from, int64 ``(|G|, size^2)``. Of another, float64
        matrices ``(|G|, size^2, size^2)`` that interpolate inside the disc of that diameter.

    Source:
        The rotation of the filter in Cohen & Welling 2016, section 6.

    Example:
        >>> from homssl import Cyclic
        >>> turned_kernels(Cyclic(2), 2)
        tensor([[0, 1, 2, 3],
                [3, 2, 1, 0]])
    """
    taps = size * size
    if group.exact:
        grid = torch.arange(taps).view(size, size)
        return torch.stack([group.turn(grid, g).flatten() for g in range(group.order)])
    across = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    disc = (across.view(-1, 1) ** 2 + across**2 <= (size / 2) ** 2).double()
    taps_apart = torch.eye(taps, dtype=torch.float64).view(taps, size, size) * disc
    turned = [group.turn(taps_apart, g) * disc for g in range(group.order)]
    return torch.stack(turned).flatten(2).mT


def expand_kernel(weight: Tensor, turns: Tensor, relative: Tensor | None) -> Tensor:
    """The plain kernel that computes all orientations at once.

    Args:
        weight: ``(O, I, S, k, k)``; S is 1 when lifting, else ``|G|``.
        turns: of `turned_kernels`.
        relative: ``r^-1 s``, int64 ``(|G|, |G|)``; None when lifting.

    Returns:
        ``(O |G|, I S, k, k)``: for output orientation r and input orientation s, the weight of
        the relative orientation ``r^-1 s``, turned by r.

    Source:
        Cohen & Welling 2016, equations 10 and 11.

    Example:
        >>> from homssl import Cyclic
        >>> turns = turned_kernels(Cyclic(4), 3)
        >>> expand_kernel(torch.randn(5, 2, 1, 3, 3), turns, None).shape
        torch.Size([20, 2, 3, 3])
    """
    out, into, places, size, _ = weight.shape
    order, taps = len(turns), size * size
    if relative is None:
        relative = torch.zeros(order, 1, dtype=torch.int64, device=weight.device)
    if turns.ndim == 2:
        where = relative.unsqueeze(2) * taps + turns.unsqueeze(1)  # (r, s, k^2)
        full = weight.reshape(out * into, -1).index_select(1, where.flatten())
        full = full.view(out, into, order, places, taps)
    else:
        turned = torch.einsum("oisq,rpq->oirsp", weight.flatten(3), turns.to(weight.dtype))
        rows = torch.arange(order, device=weight.device).unsqueeze(1)
        full = turned[:, :, rows, relative]
    return full.transpose(1, 2).reshape(out * order, into * places, size, size)

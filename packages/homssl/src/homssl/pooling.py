"""Batch normalisation and pooling that keep the group axis."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from homssl._checks import check_channels, check_grid
from homssl.groups import Group


class GroupBatchNorm2d(nn.BatchNorm3d):
    """Batch normalisation of fibers: statistics and scale of a channel are shared over the group.

    A `torch.nn.BatchNorm2d` on ``(B, C |G|, H, W)`` has a scale for each orientation, and breaks
    equivariance as soon as it is trained.

    Args:
        channels: C, the channels of a fiber.
        group: that of the features.
        eps: as in torch.
        momentum: as in torch, the weight of the new batch in the running statistics.

    Source:
        Cohen & Welling 2016, section 6.4.

    Example:
        >>> import torch
        >>> from homssl import Cyclic
        >>> GroupBatchNorm2d(8, Cyclic(4))(torch.randn(2, 8, 4, 5, 5)).shape
        torch.Size([2, 8, 4, 5, 5])
    """

    def __init__(
        self, channels: int, group: Group, *, eps: float = 1e-5, momentum: float | None = 0.1
    ) -> None:
        super().__init__(channels, eps=eps, momentum=momentum)
        self.group = group

    def forward(self, input: Tensor) -> Tensor:
        """Return ``(B, C, |G|, H, W)`` normalised over all but the channels."""
        check_channels("z", input, ("B", self.num_features, self.group.axis, "H", "W"))
        return super().forward(input)


class GroupPool2d(nn.Module):
    """Spatial pooling of every orientation on its own.

    Args:
        kernel_size: side of the window, which is also the stride.
        group: that of the features.
        kind: ``"avg"`` or ``"max"``.
        size: side of the input, to have the grid checked here and not at the first batch.
        allow_approximate: take grids whose pooling is not symmetric.

    Raises:
        ValueError: if the windows do not cover the grid, which breaks its symmetry.

    Source:
        Cohen & Welling 2016, section 6.3: the stride and the subgroup.

    Example:
        >>> import torch
        >>> from homssl import Cyclic
        >>> GroupPool2d(2, Cyclic(4))(torch.randn(2, 8, 4, 6, 6)).shape
        torch.Size([2, 8, 4, 3, 3])
    """

    def __init__(
        self,
        kernel_size: int,
        group: Group,
        *,
        kind: Literal["avg", "max"] = "avg",
        size: int | None = None,
        allow_approximate: bool = False,
    ) -> None:
        super().__init__()
        if kernel_size < 1 or kind not in ("avg", "max"):
            raise ValueError(
                f"kernel_size must be at least 1 and kind 'avg' or 'max', got {kernel_size} "
                f"and {kind!r}"
            )
        self.kernel_size, self.group, self.kind = kernel_size, group, kind
        self.allow_approximate = allow_approximate
        if size is not None and not allow_approximate:
            self._check(size, size)

    def _check(self, height: int, width: int) -> None:
        check_grid(self.group, height, width, reach=self.kernel_size, stride=self.kernel_size)

    def forward(self, z: Tensor) -> Tensor:
        """Return ``(B, C, |G|, H / k, W / k)``."""
        check_channels("z", z, ("B", "C", self.group.axis, "H", "W"))
        if not self.allow_approximate:
            self._check(z.shape[3], z.shape[4])
        pool = F.avg_pool2d if self.kind == "avg" else F.max_pool2d
        return pool(z.flatten(1, 2), self.kernel_size).unflatten(1, z.shape[1:3])

    def extra_repr(self) -> str:
        """The arguments, for ``print``."""
        return f"{self.kernel_size}, {self.group}, kind={self.kind!r}"


class GroupMean(nn.Module):
    """The mean over the group axis, which no element changes, or over space.

    Args:
        dim: ``"group"``: ``(B, C, |G|, ...)`` to ``(B, C, ...)``; ``"space"``:
            ``(B, C, |G|, H, W)`` to ``(B, C, |G|)``.

    Raises:
        ValueError: if ``dim`` is another word.

    Source:
        The sum over a group does not depend on where in the group it starts.

    Example:
        >>> import torch
        >>> GroupMean("space")(torch.ones(2, 8, 4, 5, 5)).shape
        torch.Size([2, 8, 4])
    """

    def __init__(self, dim: Literal["group", "space"]) -> None:
        super().__init__()
        if dim not in ("group", "space"):
            raise ValueError(f"dim must be 'group' or 'space', got {dim!r}")
        self.dim = dim

    def forward(self, z: Tensor) -> Tensor:
        """Return the mean."""
        return z.mean(2) if self.dim == "group" else z.mean((-2, -1))

    def extra_repr(self) -> str:
        """The argument, for ``print``."""
        return repr(self.dim)

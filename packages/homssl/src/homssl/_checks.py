"""Checks at the public doors: shapes, and the grids that keep a network equivariant."""

from torch import Tensor

from homssl.groups import Group


def check_channels(name: str, x: Tensor, want: tuple[int | str, ...]) -> None:
    """Raise unless ``x`` has the shape ``want``, whose words stand for any size."""
    shape = tuple(x.shape)
    fits = len(shape) == len(want) and all(
        isinstance(size, str) or got == size for got, size in zip(shape, want, strict=False)
    )
    if not fits:
        wanted = ", ".join(map(str, want))
        raise ValueError(f"{name} must be ({wanted}), got {shape}")


def check_same_grid(group: Group, kernel_size: int, padding: int, mode: str) -> None:
    """Raise where translations belong to the group and the padding does not carry them."""
    if mode not in ("zeros", "circular"):
        raise ValueError(f"padding_mode must be 'zeros' or 'circular', got {mode!r}")
    if padding < 0:
        raise ValueError(f"padding must be at least 0, got {padding}")
    if group.grid is None and not group.periodic:
        return
    if 2 * padding != kernel_size - 1:
        raise ValueError(
            f"{group} needs a padding that keeps the grid: kernel_size must be odd and padding "
            f"(kernel_size - 1) / 2, got {kernel_size} and {padding}; "
            "allow_approximate=True takes it all the same"
        )
    if group.periodic and padding and mode == "zeros":
        raise ValueError(
            f"zero padding breaks the equivariance of {group} at the border: use "
            "padding_mode='circular', or a Translation with a margin; "
            "allow_approximate=True takes it all the same"
        )


def check_grid(group: Group, height: int, width: int, *, reach: int, stride: int) -> None:
    """Raise where a stride does not step symmetrically, or not round the torus.

    ``reach`` is the kernel less the padding on both sides: windows start ``stride`` apart, and
    the last ends at the border only if ``side - reach`` is a multiple of the stride.
    """
    if group.point.n > 2 and height != width:
        raise ValueError(f"{group.point} needs square maps, got {height}x{width}")
    for side in (height, width):
        if group.point.order > 1 and (side - reach) % stride:
            raise ValueError(
                f"stride {stride} on a side of {side} is not symmetric under {group.point}: "
                f"(side - {reach}) must be a multiple of {stride}; "
                "allow_approximate=True takes it all the same"
            )
        if group.grid is not None and side % stride:
            raise ValueError(
                f"stride {stride} does not divide a side of {side}, as {group} needs; "
                "allow_approximate=True takes it all the same"
            )

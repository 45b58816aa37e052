"""Views of image batches: one draw a sample, every parameter recorded, one resampling."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from duet import changes
from duet._checks import at_least_float32, check_generator, check_parameter, full_precision
from duet.factors import Factor
from duet.layer import check_factors

EDGE = 1e-5  # of the frame, in units of half its side: what rounding may put outside


@dataclass(frozen=True)
class View:
    """Images and what made them.

    Args:
        image: ``(B, C, H, W)``, floating.
        params: of every factor by name, in ``[0, 1]``, ``(B,)``, as `DuetLoss` takes them; with a
            crop also ``crop_x``, ``crop_y`` (its place in the free space, 0 to 1) and
            ``crop_ratio`` (width over height).
    """

    image: Tensor
    params: dict[str, Tensor]

    def __str__(self) -> str:
        return f"view {tuple(self.image.shape)} by {', '.join(self.params)}"

    def to_table(self) -> dict[str, list[float]]:
        """One row a sample, one column a parameter."""
        return {name: p.tolist() for name, p in self.params.items()}


class ParamView:
    """Draws parameters for every sample, and makes the view that they say.

    Pixels are moved first, all at once: crop, then flips and what is finite, then rotation, so
    that the angle is what the finished view shows. One bilinear resampling does it; where only
    flips and quarter turns are asked for, none, and pixels are exact. Colours follow, in the order
    of the factors, then the mask.

    Args:
        factors: what is drawn, whether it is structured or not.
        size: side of the views in pixels, or ``(height, width)``; none is that of the images.
        ratio: least and largest width over height of the crop, drawn log-uniformly and narrowed
            to what fits into the image; only with `scale`.
        mask: keep the disc inside the frame only, so that corners do not give the angle away.
        padding: outside the image: ``"zeros"``, ``"border"`` or ``"reflection"``.

    Raises:
        ValueError: if a factor has no transformation, or an argument is out of range.

    Source:
        Suau et al. 2023: a crop, and one structured transformation; the order, the shape of the
        crop and one resampling for all are our choice.

    Example:
        >>> from duet import rotation, scale
        >>> view = ParamView([scale(), rotation()], size=32)
        >>> x = torch.rand(4, 3, 40, 40)
        >>> drawn = view(x, torch.Generator().manual_seed(0))
        >>> print(drawn)
        view (4, 3, 32, 32) by scale, rotation, crop_x, crop_y, crop_ratio
        >>> view.apply(x, drawn.params).equal(drawn.image)
        True
    """

    def __init__(
        self,
        factors: Sequence[Factor],
        *,
        size: int | tuple[int, int] | None = None,
        ratio: tuple[float, float] = (1.0, 1.0),
        mask: bool = False,
        padding: str = "zeros",
    ) -> None:
        self.factors = check_factors(factors)
        self.size = (size, size) if isinstance(size, int) else size
        self.ratio, self.mask, self.padding = ratio, mask, padding
        for factor in self.factors:
            if (factor.affine is None) == (factor.act is None):
                raise ValueError(f"{factor.name} must have one of affine and act, to make views")
        if self.size is not None and min(self.size) < 1:
            raise ValueError(f"size must be positive, got {self.size}")
        if not 0 < ratio[0] <= ratio[1] < math.inf:
            raise ValueError(f"ratio must be two positive numbers that rise, got {ratio}")
        if padding not in ("zeros", "border", "reflection"):
            raise ValueError(f"padding must be zeros, border or reflection, got {padding!r}")
        moving = [factor for factor in self.factors if factor.affine is not None]
        self.moving = sorted(moving, key=lambda factor: factor.cyclic)  # cyclic acts last
        self.crops = any(factor.affine is changes.zoom for factor in moving)
        self.whole = all(_is_whole(factor) for factor in moving)

    def draw(self, count: int, *, generator: torch.Generator) -> dict[str, Tensor]:
        """Parameters for ``count`` samples, where the generator is."""
        check_generator(generator)
        params = {f.name: f.draw(count, generator=generator) for f in self.factors}
        if self.crops:
            uniform = torch.rand(3, count, generator=generator, device=generator.device)
            low, high = (math.log(r) for r in self.ratio)
            params["crop_x"], params["crop_y"] = uniform[0], uniform[1]
            params["crop_ratio"] = (low + (high - low) * uniform[2]).exp()
        return params

    def __call__(self, x: Tensor, generator: torch.Generator) -> View:
        """A view of ``(B, C, H, W)``, floating in [0, 1] or uint8, by fresh parameters."""
        params = self.draw(len(x), generator=generator)
        params = {name: p.to(x.device) for name, p in params.items()}
        return View(self.apply(x, params), params)

    def apply(self, x: Tensor, params: Mapping[str, Tensor]) -> Tensor:
        """The view that ``params`` say; what is not named stays as it is.

        Args:
            x: ``(B, C, H, W)``, floating in [0, 1], or uint8, which is divided by 255.
            params: recorded parameters by name, ``(B,)`` each.

        Returns:
            ``(B, C, *size)``, floating: bit for bit the view that recorded them.

        Raises:
            ValueError: if a name is not known, or shapes or ranges do not fit.
        """
        x = _as_floating(x)
        self._check(x, params)
        with full_precision(x):  # which would round where pixels come from
            return self._make(at_least_float32(x), params).to(x.dtype)

    def _make(self, x: Tensor, params: Mapping[str, Tensor]) -> Tensor:
        """The view of images in float32 or float64."""
        values = {
            factor.name: factor.denormalise(params[factor.name].to(x.device, x.dtype))
            for factor in self.factors
            if factor.name in params
        }
        size = self.size or (x.shape[-2], x.shape[-1])
        moved = [factor for factor in self.moving if factor.name in values]
        if moved or size != tuple(x.shape[-2:]):
            matrix = self._matrix(moved, values, x)
            same = size == tuple(x.shape[-2:]) and (size[0] == size[1] or not self._turns(moved))
            if self.whole and same:
                x = _permute_pixels(x, matrix)
            else:
                x = self._resample(x, matrix, params, size)
        for factor in self.factors:
            if factor.act is not None and factor.name in values:
                x = factor.act(x, values[factor.name])
        return x * disc(size, x) if self.mask else x

    def _matrix(self, moved: Sequence[Factor], values: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Output offsets to input offsets, in pixels, ``(B, 2, 2)``: the first acts last."""
        matrix = torch.eye(2, dtype=x.dtype, device=x.device).expand(len(x), 2, 2)
        for factor in moved:
            if factor.affine is not None:
                matrix = matrix @ factor.affine(values[factor.name])
        return matrix

    def _turns(self, moved: Sequence[Factor]) -> bool:
        """Whether sides may be exchanged."""
        return any(factor.cyclic for factor in moved)

    def _resample(
        self, x: Tensor, matrix: Tensor, params: Mapping[str, Tensor], size: tuple[int, int]
    ) -> Tensor:
        """Sample the images once, bilinearly, where the matrix and the crop say."""
        height, width = size
        out = torch.tensor([width, height], dtype=x.dtype, device=x.device)
        theta = matrix / out.view(2, 1) * out  # pixels of the view to its frame
        centre = torch.zeros(len(x), 2, dtype=x.dtype, device=x.device)
        if self.crops and "crop_x" in params:
            theta, centre = self._crop(theta, matrix, params)
        theta = torch.cat([theta, centre.unsqueeze(2)], 2)
        grid = F.affine_grid(theta, [len(x), x.shape[1], height, width], align_corners=False)
        # zeros begin where the frame ends, not half a pixel before: a crop at the border is as
        # bright as elsewhere, and the disc holds nothing of what is outside the frame
        mode = "border" if self.padding == "zeros" else self.padding
        x = F.grid_sample(x, grid, mode="bilinear", padding_mode=mode, align_corners=False)
        if self.padding != "zeros":
            return x
        outside = grid.abs().amax(3) > 1 + EDGE  # (B, H, W)
        return x.masked_fill(outside.unsqueeze(1), 0)

    def _crop(
        self, theta: Tensor, matrix: Tensor, params: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The window's shape put into ``theta``, and its centre, ``(B, 2)`` in the frame."""
        place = torch.stack([params["crop_x"], params["crop_y"]], 1).to(theta)  # (B, 2)
        side = torch.linalg.det(matrix).abs().sqrt()  # of the window, as a part of the image's
        most = side.clamp_max(1).square()
        ratio = params["crop_ratio"].to(theta)
        stretch = torch.minimum(torch.maximum(ratio, most), 1 / most).sqrt()
        shape = torch.stack([stretch, 1 / stretch], 1)  # (B, 2)
        free = (1 - side.unsqueeze(1) * shape).clamp_min(0)
        return theta * shape.unsqueeze(2), (2 * place - 1) * free

    def _check(self, x: Tensor, params: Mapping[str, Tensor]) -> None:
        """Raise unless images and parameters fit one another."""
        crop = {"crop_x", "crop_y", "crop_ratio"} if self.crops else set()
        known = {factor.name for factor in self.factors} | crop
        if unknown := set(params) - known:
            raise ValueError(f"params must be among {sorted(known)}, got {sorted(unknown)}")
        if (given := crop & set(params)) and given != crop:
            raise ValueError(f"a crop needs {sorted(crop)}, got {sorted(given)}")
        for name, p in params.items():
            if p.shape != (len(x),):
                raise ValueError(f"{name} must be ({len(x)},), got {tuple(p.shape)}")
        for factor in self.factors:
            if factor.name in params:
                check_parameter(params[factor.name], cyclic=factor.cyclic)


def transform(x: Tensor, factor: Factor, p: float | Tensor) -> Tensor:
    """Images moved by one factor: ``tau_p(x)``, all else left as it is.

    Args:
        x: ``(B, C, H, W)``, floating in [0, 1], or uint8.
        factor: which.
        p: parameter in ``[0, 1]``, a number or ``(B,)``.

    Returns:
        ``(B, C, H, W)``, floating.

    Raises:
        ValueError: if ``p`` is out of range, or shapes do not fit.

    Example:
        >>> from duet import rotation4
        >>> x = torch.rand(2, 1, 5, 5)
        >>> transform(x, rotation4(), 0.375).equal(x.rot90(1, (2, 3)))  # counterclockwise
        True
    """
    x = _as_floating(x)
    p = torch.as_tensor(p, dtype=at_least_float32(x).dtype, device=x.device)
    return ParamView([factor]).apply(x, {factor.name: p.expand(len(x))})


def disc(size: tuple[int, int], like: Tensor) -> Tensor:
    """One inside the circle that touches the frame, zero outside, ``(H, W)``."""
    y, x = (
        (torch.arange(side, dtype=like.dtype, device=like.device) + 0.5) / side * 2 - 1
        for side in size
    )
    return (x.square() + y.square().unsqueeze(1) <= 1).to(like.dtype)


def _as_floating(x: Tensor) -> Tensor:
    """Images as floating; uint8 divided by 255."""
    if not isinstance(x, Tensor) or x.ndim != 4:
        got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"x must be images (B, C, H, W), got {got}")
    if x.dtype == torch.uint8:
        return x.float() / 255
    if not x.is_floating_point():
        raise TypeError(f"x must be floating or uint8, got {x.dtype}")
    return x


def _is_whole(factor: Factor) -> bool:
    """Whether all that it draws is a permutation of the pixels of a square."""
    if factor.affine is None or factor.values is None:
        return False
    matrices = factor.affine(torch.tensor(factor.values, dtype=torch.float64))
    return bool((matrices == matrices.round()).all())


def _permute_pixels(x: Tensor, matrix: Tensor) -> Tensor:
    """Pixels taken from where a matrix of whole numbers says, without interpolation."""
    height, width = x.shape[-2:]
    y, x_axis = torch.meshgrid(
        2 * torch.arange(height, device=x.device) - (height - 1),
        2 * torch.arange(width, device=x.device) - (width - 1),
        indexing="ij",
    )
    m = matrix.round().long()[:, :, :, None, None]  # (B, 2, 2, 1, 1)
    column = (m[:, 0, 0] * x_axis + m[:, 0, 1] * y + width - 1) // 2
    row = (m[:, 1, 0] * x_axis + m[:, 1, 1] * y + height - 1) // 2
    where = (row * width + column).flatten(1).unsqueeze(1)  # (B, 1, H*W)
    return x.flatten(2).gather(2, where.expand(-1, x.shape[1], -1)).view(x.shape)

"""Pictures, where matplotlib is: the marginal over the truth, what is read, the controlled grid."""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from duet.factors import Factor
from duet.grid import ControlledGrid, to_pixels
from duet.probe import pose_errors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 48  # of the heat map


def plot_marginals(marginals: Tensor, p: Tensor, factor: Factor) -> "Figure":
    """Draw the mean group marginal over the true parameter, as a heat map.

    A readable axis shows a diagonal band, a blind one the same column everywhere.

    Args:
        marginals: probabilities ``(N, G)``.
        p: true parameters in ``[0, 1]``, ``(N,)``.
        factor: whose axis it is.

    Returns:
        The figure, of one panel beside that of the exact targets.

    Raises:
        ImportError: without matplotlib.
        ValueError: if the shapes do not fit.

    Source:
        Our picture of figure 1's marginal.

    Example:
        >>> from duet import rotation
        >>> p = torch.linspace(0, 1, 200)
        >>> figure = plot_marginals(rotation().target(p), p, rotation())
        >>> [axis.get_title() for axis in figure.axes[:2]]
        ['read', 'target']
    """
    if marginals.ndim != 2 or marginals.shape != (len(p), factor.bins) or not len(p):
        got = f"{tuple(marginals.shape)} and {tuple(p.shape)}"
        raise ValueError(f"marginals must be (N, {factor.bins}) and p (N,), got {got}")
    marginals, p = marginals.detach().cpu().double(), p.detach().cpu().double()
    figure = _figure((9, 3))
    panels = figure.subplots(1, 2, sharey=True)
    extent = (factor.start, factor.end, 0, factor.bins)
    pictures = {"read": by_parameter(marginals, p), "target": by_parameter(factor.target(p), p)}
    top = max(float(picture.nan_to_num().max()) for picture in pictures.values())
    for panel, (title, picture) in zip(panels, pictures.items(), strict=True):
        drawn = panel.imshow(
            picture.T.numpy(), origin="lower", aspect="auto", extent=extent, vmin=0, vmax=top
        )
        panel.set(title=title, xlabel=f"true {factor.name}, {factor.unit}".rstrip(", "))
    panels[0].set_ylabel("bin")
    figure.colorbar(drawn, ax=panels, label="probability")
    return figure


def by_parameter(marginals: Tensor, p: Tensor) -> Tensor:
    """The mean of the rows in each of `COLUMNS` equal parts of the range, NaN where none is.

    Args:
        marginals: ``(N, G)``.
        p: ``(N,)`` in ``[0, 1]``.
    """
    column = (p * COLUMNS).long().clamp(0, COLUMNS - 1)
    total = torch.zeros(COLUMNS, marginals.shape[1], dtype=marginals.dtype)
    total.index_add_(0, column, marginals)
    return total / column.bincount(minlength=COLUMNS)[:, None]


def plot_readout(found: Tensor, true: Tensor, factor: Factor) -> "Figure":
    """Draw what was read against the truth.

    On a circle the direction of a point is the true angle and its distance from the centre the
    error in degrees; on a range, what was read over the truth.

    Args:
        found: parameters that were read, ``(N,)``.
        true: true ones, ``(N,)``.
        factor: which.

    Returns:
        The figure.

    Raises:
        ImportError: without matplotlib.
        ValueError: if the shapes differ.

    Source:
        Our choice.

    Example:
        >>> from duet import rotation
        >>> p = torch.linspace(0, 1, 9)[:8]
        >>> plot_readout(p, p, rotation()).axes[0].name
        'polar'
    """
    errors = pose_errors(found, true, cyclic=factor.cyclic)
    figure = _figure((4.4, 4.4))
    if factor.cyclic:
        axis: Any = figure.subplots(subplot_kw={"projection": "polar"})
        value = factor.start + true.detach().cpu() * (factor.end - factor.start)
        turn = 2 * math.pi * value / abs(factor.end - factor.start)
        axis.scatter(turn.tolist(), errors.errors, s=5, alpha=0.4, linewidths=0)
        axis.set_rlim(0, 180)
        axis.set_rticks([15, 45, 90, 180])
        axis.set_theta_zero_location("N")
    else:
        axis = figure.subplots()
        pairs = [factor.denormalise(x.detach().cpu()).tolist() for x in (true, found)]
        axis.scatter(*pairs, s=5, alpha=0.4, linewidths=0)
        axis.plot([factor.start, factor.end], [factor.start, factor.end], color="0.4", lw=1)
        axis.set(xlabel=f"true {factor.name}", ylabel="read")
    axis.set_title(f"{factor.name}: median error {errors.median:.3g}", fontsize=10)
    return figure


def plot_grid(grid: ControlledGrid) -> "Figure":
    """Draw a controlled grid: what was made, and the truth beneath each row.

    Args:
        grid: of `controlled_grid`.

    Returns:
        The figure; the first column is what was encoded.

    Raises:
        ImportError: without matplotlib.

    Source:
        "Controlled generation" (abstract).

    Example:
        >>> from duet import rotation
        >>> x = torch.zeros(2, 3, 1, 4, 4)
        >>> grid = ControlledGrid(rotation(), (0.0, 45.0, 90.0), x[:, 0], x, x)
        >>> len(plot_grid(grid).axes)
        16
    """
    n, k = grid.errors.shape
    figure = _figure((0.8 * (k + 1), 1.7 * n + 0.5))
    panels = figure.subplots(2 * n, k + 1, squeeze=False)
    for i in range(n):
        for row, (name, line) in enumerate((("made", grid.made[i]), ("truth", grid.truth[i]))):
            for j, image in enumerate([grid.starts[i], *line]):
                panel = panels[2 * i + row, j]
                panel.imshow(to_pixels(image), cmap="gray", vmin=0, vmax=255)
                panel.set(xticks=[], yticks=[])
                if i == 0 and row == 0:
                    title = "encoded" if j == 0 else f"{grid.values[j - 1]:+.3g}"
                    panel.set_title(title, fontsize=8)
            panels[2 * i + row, 0].set_ylabel(name, fontsize=8)
    return figure


def _figure(size: tuple[float, float]) -> "Figure":
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'duet[plot]'") from error
    return Figure(figsize=size, layout="constrained")

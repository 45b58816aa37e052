"""Figures of a study (extra ``[plot]``): every function returns a Figure and shows nothing."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from randaug_study.augment import RandAugment
from randaug_study.plan import Plan
from randaug_study.space import UNGRADED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from randaug_study.report import Report
    from randaug_study.training import Run

SHEET_BINS = (0, 6, 12, 18, 24, 30)


def _figure(width: float, height: float) -> "Figure":
    """An empty figure that belongs to no window.

    Raises:
        ImportError: if matplotlib is missing, with how to get it.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "figures need matplotlib: install the extra randaug-study[plot]"
        ) from error
    return Figure((width, height), layout="constrained")


def png(figure: "Figure") -> bytes:
    """A figure as the bytes of a PNG file, the same for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()


def forest(report: "Report") -> "Figure":
    """Paired differences with 95 % (thin) and 90 % (thick) intervals over the margin's band."""
    rows = list(report.comparisons)
    figure = _figure(7.5, 1.3 + 0.42 * max(len(rows), 1))
    axes = figure.subplots()
    margin = report.study.margin
    axes.axvspan(-margin, margin, color="tab:green", alpha=0.15, lw=0)
    axes.axvline(0, color="black", lw=0.8)
    for at, row in enumerate(rows):
        wide, narrow = row.difference, row.narrow
        axes.plot([wide.low, wide.high], [at, at], color="tab:blue", lw=1.2)
        axes.plot([narrow.low, narrow.high], [at, at], color="tab:blue", lw=4, alpha=0.6)
        axes.plot(wide.mean, at, "o", color="black", ms=4)
        axes.annotate(
            row.verdict, (1.01, at), xycoords=("axes fraction", "data"), va="center", fontsize=8
        )
    axes.set_yticks(range(len(rows)), [f"{r.arm}\n- {r.reference}" for r in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("difference in test accuracy, points (paired by seed)")
    axes.set_title(f"Band: margin of {margin:g} points. Thin 95 %, thick 90 %", fontsize=9)
    return figure


def operations(report: "Report") -> "Figure":
    """How much more often than at random each operation is trained on, over training.

    One panel an arm that chooses; a row an operation, a column a tenth of training; the mean over
    seeds. 1 is what random augmentation gives.
    """
    panels = {}
    for arm in report.study.arms:
        runs = [run for (name, _), run in report.runs.items() if name == arm.name]
        if any(run.operations for run in runs) and (arm.needs_model or arm.rule == "advaa"):
            panels[arm.name] = preference(runs)
    names = list(report.study.recipe.augmenter().space.ops)
    figure = _figure(1.6 + 2.1 * max(len(panels), 1), 4.2)
    if not panels:
        figure.text(0.5, 0.5, "no arm chooses operations", ha="center")
        return figure
    axes = np.atleast_1d(figure.subplots(1, len(panels), sharey=True))
    image: Any = None
    for axis, (name, share) in zip(axes, panels.items(), strict=True):
        image = axis.imshow(share, vmin=0.5, vmax=1.5, cmap="coolwarm", aspect="auto")
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("tenth of training", fontsize=8)
        axis.set_xticks(range(0, share.shape[1], 3), range(1, share.shape[1] + 1, 3), fontsize=8)
        axis.set_yticks(range(len(names)), names, fontsize=8)
    figure.colorbar(image, ax=list(axes), label="share over that at random")
    return figure


def preference(runs: Sequence["Run"]) -> np.ndarray:
    """Share of each operation in each tenth of training over 1 / K, ``(K, tenths)``.

    Args:
        runs: of one arm; tenths in which nothing was trained are NaN.

    Returns:
        1 where an operation is as frequent as at random.
    """
    counts = np.sum([np.array(list(run.operations.values())) for run in runs], axis=0)
    with np.errstate(invalid="ignore"):
        return counts / counts.sum(0, keepdims=True) * len(counts)


def curves(report: "Report") -> "Figure":
    """Adversarial gap, the controller's entropy, and its loss gap over training."""
    figure = _figure(10.5, 3.4)
    gap, entropy, hard = figure.subplots(1, 3)
    for arm in report.study.arms:
        runs = [run for (name, _), run in report.runs.items() if name == arm.name]
        for axis, values in (
            (gap, [run.gap for run in runs]),
            (entropy, [run.controller for run in runs]),
            (hard, [run.loss_gap for run in runs]),
        ):
            if values and values[0]:
                _band(axis, np.array(values), arm.name)
    gap.set_title("highest less mean loss of candidates, nats", fontsize=9)
    entropy.set_title("controller's entropy over its maximum", fontsize=9)
    hard.set_title("loss under controller less uniform, nats", fontsize=9)
    hard.axhline(0, color="black", lw=0.8)
    for axis in (gap, entropy, hard):
        axis.set_xlabel("training, from start to end", fontsize=8)
        if axis.lines and axis.get_legend_handles_labels()[1]:
            axis.legend(fontsize=8)
    return figure


def _band(axis: Any, values: np.ndarray, name: str) -> None:
    """The mean over runs, and lowest to highest."""
    t = np.linspace(0, 1, values.shape[1]) if values.shape[1] > 1 else np.array([0.0])
    line = axis.plot(t, values.mean(0), label=name)[0]
    axis.fill_between(t, values.min(0), values.max(0), color=line.get_color(), alpha=0.2, lw=0)


def contact_sheet(
    ops: Sequence[str],
    image: Tensor | None = None,
    *,
    bins: Sequence[int] = SHEET_BINS,
    ranges: RandAugment | None = None,
) -> "Figure":
    """Every operation (rows) at some magnitudes (columns), signed ones to both sides.

    Args:
        ops: names of operations.
        image: uint8 ``(C, H, W)``, C 1 or 3; default a drawn test card.
        bins: magnitudes, 0 to 30.
        ranges: an augmenter whose ranges are taken, default ``RandAugment``'s.

    Returns:
        The figure, labelled.

    Raises:
        ValueError: if the image has another shape or dtype.
    """
    image = card_image() if image is None else image
    if image.dtype != torch.uint8 or image.ndim != 3 or len(image) not in (1, 3):
        got = f"{image.dtype} {tuple(image.shape)}"
        raise ValueError(f"image must be uint8 (C, H, W) with C 1 or 3, got {got}")
    aug = RandAugment(ops=tuple(ops)) if ranges is None else ranges
    signs = (-1, 1)
    columns = [(-1, b) for b in reversed(bins) if b] + [(1, b) for b in bins]
    figure = _figure(1.6 + 0.85 * len(columns), 0.9 + 0.85 * len(ops))
    grid = figure.subplots(len(ops), len(columns), squeeze=False)
    for row, name in enumerate(ops):
        signed = name in _signed(aug)
        for column, (sign, magnitude) in enumerate(columns):
            axis = grid[row, column]
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if row == 0:
                axis.set_title(f"{'-' if sign < 0 else ''}{magnitude}", fontsize=8)
            if column == 0:
                axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
            if (sign in signs[:1] and not signed) or (name in UNGRADED and magnitude != bins[0]):
                continue
            shown = _apply(aug, image, name, sign, magnitude)
            axis.imshow(shown, cmap="gray", vmin=0, vmax=255)
    figure.suptitle("operation by magnitude (bin of 30)", fontsize=9)
    return figure


def _signed(aug: RandAugment) -> set[str]:
    signed = zip(aug.space.ops, aug.space.signed, strict=True)
    return {name for name, both in signed if both}


def _apply(aug: RandAugment, image: Tensor, name: str, sign: int, magnitude: int) -> np.ndarray:
    number = [[aug.space.ops.index(name)]]
    plan = Plan(
        torch.tensor(number), torch.tensor([[sign]]), torch.tensor([[magnitude]]), aug.space
    )
    out = aug.apply(image[None], plan)[0]
    return out[0].numpy() if len(out) == 1 else out.permute(1, 2, 0).numpy()


def card_image(size: int = 96) -> Tensor:
    """A colour image in which every operation is seen: ramps, a disc, edges and a letter.

    Example:
        >>> card_image().shape
        torch.Size([3, 96, 96])
    """
    y, x = torch.meshgrid(torch.linspace(0, 1, size), torch.linspace(0, 1, size), indexing="ij")
    card = torch.stack([0.25 + 0.5 * x, 0.25 + 0.5 * y, 0.75 - 0.5 * x])
    disc = (x - 0.38) ** 2 + (y - 0.42) ** 2 < 0.07
    card[:, disc] = torch.tensor([0.95, 0.75, 0.2])[:, None]
    bar = ((x - 0.75).abs() < 0.05) & (y > 0.15) | ((y - 0.8).abs() < 0.05) & (x > 0.45)
    card[:, bar] = 0.08
    return (card * 255).round().to(torch.uint8)

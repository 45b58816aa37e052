"""Pictures, where matplotlib is: the errors of a certificate, the sweep."""

from collections.abc import Sequence
from statistics import mean
from typing import TYPE_CHECKING, Any

from homssl.check import Certificate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FLOOR = 1e-17  # an error of exactly 0 has no place on a logarithmic axis


def plot_certificate(certificate: Certificate) -> "Figure":
    """Draw the equivariance error of every layer, one bar each.

    Args:
        certificate: of `equivariance_error`.

    Returns:
        The figure; layers beyond the tolerance in another colour.

    Raises:
        ImportError: without matplotlib.

    Source:
        `Certificate.layers`.

    Example:
        >>> import torch
        >>> from homssl import Cyclic, equivariance_error, group_convnet
        >>> x = torch.randn(2, 1, 28, 28)
        >>> figure = plot_certificate(equivariance_error(group_convnet(Cyclic(4)), x, Cyclic(4)))
        >>> figure.axes[0].get_xscale()
        'log'
    """
    figure = _figure((7, 1 + 0.25 * len(certificate.layers)))
    axis = figure.subplots()
    rows = certificate.layers[::-1]
    tolerance = certificate.tolerance
    largest = max((row.error for row in rows if row.error < float("inf")), default=1.0)
    errors = [max(min(row.error, 10 * max(largest, 1)), FLOOR) for row in rows]
    bad = [tolerance is not None and not row.error <= tolerance for row in rows]
    labels = [f"{row.name}  {row.kind}" for row in rows]
    axis.barh(labels, errors, left=FLOOR, color=["C3" if b else "C0" for b in bad], log=True)
    if tolerance is not None:
        axis.axvline(tolerance, color="0.3", linestyle="--", linewidth=1)
    axis.set(xlabel="relative error", title=certificate.verdict)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def plot_sweep(rows: Sequence[dict[str, Any]]) -> "Figure":
    """Draw loss and probe over the topographic distance, a line for each base size.

    Args:
        rows: fields of `SweepCell`, a dict each; runs of several seeds make a band.

    Returns:
        The figure: loss before training, after it, and the probe.

    Raises:
        ImportError: without matplotlib.
        ValueError: without rows.

    Source:
        Base size and topographic distance of the paper.

    Example:
        >>> rows = [{"base_size": 1, "distance": d, "start_loss": 5.0, "final_loss": 4.0,
        ...          "probe": 0.5} for d in (1, 2)]
        >>> [axis.get_xlabel() for axis in plot_sweep(rows).axes][0]
        'topographic distance, cells'
    """
    if not rows:
        raise ValueError("rows must hold at least one run, got none")
    figure = _figure((10, 3.2))
    titles = {
        "start_loss": "loss before training, nats",
        "final_loss": "loss after training, nats",
        "probe": "linear probe, share right",
    }
    for axis, (name, title) in zip(figure.subplots(1, 3), titles.items(), strict=True):
        for base in sorted({row["base_size"] for row in rows}):
            by_distance: dict[int, list[float]] = {}
            for row in rows:
                if row["base_size"] == base:
                    by_distance.setdefault(row["distance"], []).append(row[name])
            at = sorted(by_distance)
            axis.plot(at, [mean(by_distance[d]) for d in at], "o-", ms=3, label=f"base {base}")
            low, high = ([end(by_distance[d]) for d in at] for end in (min, max))
            axis.fill_between(at, low, high, alpha=0.2, linewidth=0)
        axis.set(xlabel="topographic distance, cells", title=title)
        axis.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False, fontsize="small")
    return figure


def _figure(size: tuple[float, float]) -> "Figure":
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'homssl[plot]'") from error
    return Figure(figsize=size, layout="constrained")

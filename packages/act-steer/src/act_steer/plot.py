"""Figures of what maps do, along the strength; needs the extra ``act-steer[plot]``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from act_steer.steering import Steering


def plot_strength(steering: Steering, *, lines: int = 8, title: str = "") -> Any:
    """A figure of the distance to the target along the strength, one line a module.

    Args:
        steering: maps that know what they were fitted on.
        lines: how many modules are drawn: those that begin farthest off.
        title: text above the figure.

    Returns:
        A matplotlib Figure; it is not shown. Each line is the root of the summed squared
        Wasserstein-2 distances of the module's neurons.

    Raises:
        ValueError: if a map has no moments.
        ImportError: without matplotlib.

    Source:
        The closed form of the distance along the interpolated map.

    Example:
        >>> import torch
        >>> from act_steer import MeanTransport
        >>> a = torch.randn(9, 4)
        >>> figure = plot_strength(Steering({"norm": MeanTransport.fit(a, a + 1)}))
        >>> [line.get_label() for line in figure.axes[0].lines]
        ['norm']
    """
    from matplotlib.figure import Figure

    strengths = np.linspace(0, 1, 21)
    curves = {
        name: [float(transport.w2(float(s)).double().norm()) for s in strengths]
        for name, transport in steering.items()
    }
    farthest = sorted(curves, key=lambda name: -curves[name][0])[:lines]
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes = figure.subplots()
    for name in (name for name in curves if name in farthest):
        axes.plot(strengths, curves[name], label=name)
    axes.set(xlabel="strength", ylabel="distance to the target (W2)", title=title, ylim=(0, None))
    axes.legend(fontsize="small")
    return figure


def plot_sweep(table: Mapping[str, Sequence[Any]], *, title: str = "") -> Any:
    """A figure of measures along the strength, a panel a measure.

    Args:
        table: a column ``strength``, and one for every measure.
        title: text above the figure.

    Returns:
        A matplotlib Figure; it is not shown.

    Raises:
        ValueError: if a column is missing or of another length.
        ImportError: without matplotlib.

    Source:
        Ours.

    Example:
        >>> figure = plot_sweep({"strength": [0, 0.5, 1], "share": [0.1, 0.6, 0.8]})
        >>> figure.axes[0].get_ylabel()
        'share'
    """
    columns = {name: list(values) for name, values in table.items()}
    strengths = columns.pop("strength", [])
    if not strengths or not columns or any(len(v) != len(strengths) for v in columns.values()):
        got = {name: len(values) for name, values in table.items()}
        raise ValueError(f"table needs strength and measures of one length, got {got}")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4 * len(columns), 3), layout="constrained")
    panels = figure.subplots(1, len(columns), squeeze=False)[0]
    for axes, (name, values) in zip(panels, columns.items(), strict=True):
        axes.plot(strengths, values, marker="o")
        axes.set(xlabel="strength", ylabel=name)
    figure.suptitle(title)
    return figure

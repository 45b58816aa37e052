"""Draws how fast Newton, Picard and Jacobi solve one chain of 4,096 steps; no clock is read."""

from pathlib import Path

import torch
from deeppcr import DenseStep, Newton, parallel_forward
from deeppcr.plot import plot_residuals
from matplotlib import rc_context

METHODS = {"Newton": "dense", "Picard": "identity", "Jacobi": "zero"}


def main() -> None:
    """Solve the chain three times, print the iterations, draw the residuals."""
    g = torch.Generator().manual_seed(0)
    w = 0.9 * torch.linalg.qr(torch.randn(8, 8, generator=g, dtype=torch.float64))[0]
    xs = 0.1 * torch.randn(4096, 8, generator=g, dtype=torch.float64)
    solver = Newton(max_iter=60, atol=1e-10, rtol=0)
    reports = {}
    for name, jacobian in METHODS.items():
        reports[name] = parallel_forward(
            DenseStep(), torch.zeros(8, dtype=torch.float64), xs, w,
            jacobian=jacobian, method="newton", solver=solver,
        ).report  # fmt: skip
        print(f"{name}: {reports[name]}")
    figure = plot_residuals(reports, title="4,096 steps of a tanh recurrence, width 8, gain 0.9")
    figure.axes[0].set_ylim(1e-17, 1e3)
    with rc_context({"svg.hashsalt": "deeppcr"}):
        figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()

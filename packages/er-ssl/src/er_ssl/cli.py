"""The command line: measure two files of embeddings, draw a trace."""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from er_ssl.bounds import er_bound
from er_ssl.diagnostics import effective_rank, embedding_std
from er_ssl.npy import read_npy
from er_ssl.trace import plot_trace, read_trace
from er_ssl.vmf import log_sphere_area


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, or 2 where it cannot be done.

    Args:
        argv: arguments; None takes those of the process.

    Returns:
        The exit code; what went wrong stands in one line on stderr.

    Example:
        >>> main(["measure", "no.npy", "no.npy"])
        2
    """
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (OSError, ValueError, TypeError, ImportError) as error:
        print(f"er-ssl: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="er-ssl", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    measure = commands.add_parser(
        "measure", help="entropy, reconstruction and bound of two views' embeddings"
    )
    measure.add_argument("z0", type=Path, help=".npy, (N, D) floats: the first view")
    measure.add_argument("z1", type=Path, help=".npy, (N, D) floats: the second view, same rows")
    measure.add_argument("--kappa", type=float, default=10.0, help="concentration (default 10)")
    measure.add_argument(
        "--leave-one-out", action="store_true", help="leave a row out of its own density"
    )
    measure.add_argument("--json", action="store_true", help="print JSON")
    measure.set_defaults(run=_measure)
    plot = commands.add_parser("plot", help="draw a monitor's trace (needs er-ssl[plot])")
    plot.add_argument("trace", type=Path, help="JSON lines, from ERMonitor.record")
    plot.add_argument("-o", "--out", type=Path, required=True, help="picture: .svg, .png or .pdf")
    plot.add_argument("--title", default="", help="stands above the picture")
    plot.set_defaults(run=_plot)
    return parser


def _measure(arguments: argparse.Namespace) -> None:
    z0, z1 = (_read_embeddings(path) for path in (arguments.z0, arguments.z1))
    report = measure(z0, z1, kappa=arguments.kappa, leave_one_out=arguments.leave_one_out)
    if arguments.json:
        print(json.dumps(report, indent=2))
        return
    for name, value in report.items():
        text = f"{value:.4f}" if isinstance(value, float) else str(value)
        print(f"{name.replace('_', ' '):24}{text:>14}")


def measure(
    z0: Tensor, z1: Tensor, *, kappa: float = 10.0, leave_one_out: bool = False
) -> dict[str, float]:
    """Return everything that ``er-ssl measure`` prints, by name.

    Args:
        z0: ``(N, D)``, the first view.
        z1: ``(N, D)``, the second view, whose entropy is in the bound.
        kappa: concentration of kernel and reconstruction.
        leave_one_out: leave a row out of its own density.

    Returns:
        Name to number; entropies, reconstruction, bound and ceilings in nats.

    Raises:
        ValueError: if the shapes differ, fewer than 2 rows came, or ``kappa <= 0``.
        TypeError: on tensors that are not floating.

    Source:
        `er_bound`, `effective_rank`, `embedding_std`.

    Example:
        >>> import torch
        >>> measure(torch.eye(4), torch.eye(4), kappa=5.0)["rows"]
        4
    """
    with torch.no_grad():
        first = er_bound(z1, z0, kappa=kappa, leave_one_out=leave_one_out)
        second = er_bound(z0, z1, kappa=kappa, leave_one_out=leave_one_out)
        rows, d = z0.shape
        return {
            "rows": rows,
            "dimension": d,
            "kappa": kappa,
            "entropy_z0": float(first.entropy),
            "entropy_z1": float(second.entropy),
            "entropy_floor": second.entropy_floor,
            "entropy_ceiling": second.entropy_ceiling,
            "entropy_uniform": log_sphere_area(d),
            "reconstruction": float(second.reconstruction),
            "bound": float(second.bound),
            "bound_ceiling": second.ceiling,
            "effective_rank_z0": float(effective_rank(z0)),
            "effective_rank_z1": float(effective_rank(z1)),
            "embedding_std_z0": float(embedding_std(z0)),
            "embedding_std_z1": float(embedding_std(z1)),
        }


def _read_embeddings(path: Path) -> Tensor:
    z = read_npy(path)
    if z.ndim != 2 or not len(z):
        raise ValueError(f"{path} must hold (N, D) embeddings, got {tuple(z.shape)}")
    bad = int((~z.isfinite()).any(1).sum())
    if bad:
        raise ValueError(f"{path} has {bad} rows with values that are not finite")
    return z


def _plot(arguments: argparse.Namespace) -> None:
    figure = plot_trace(read_trace(arguments.trace), title=arguments.title)
    from matplotlib import rc_context  # there, or plot_trace has said that it is not

    out: Path = arguments.out
    handle, temporary = tempfile.mkstemp(dir=out.parent, prefix=f".{out.stem}-", suffix=out.suffix)
    os.close(handle)
    try:
        with rc_context({"svg.hashsalt": "er-ssl"}):  # the same picture, to the byte
            figure.savefig(temporary, metadata={"Date": None} if out.suffix == ".svg" else None)
        os.replace(temporary, out)
    except BaseException:
        os.unlink(temporary)
        raise

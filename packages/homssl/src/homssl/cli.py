"""The command line: is a network equivariant; what the framework does, shown in a minute."""

import argparse
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import get_args

import torch
from torch import nn

from homssl import demo
from homssl.check import OutputKind, equivariance_error
from homssl.journal import write_csv, written
from homssl.product import parse_group


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: arguments; None takes those of the process.

    Returns:
        0; 1 where a network is not equivariant; 2 where something cannot be done, with one line
        on stderr.

    Example:
        >>> main(["check", "homssl.models:nothing", "--group", "c4"])
        2
    """
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except (OSError, ValueError, TypeError, ImportError) as error:
        print(f"homssl: {error}".replace("\n", " "), file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="homssl", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="the equivariance error of every layer of a network")
    check.add_argument(
        "model", help="package.module:name or file.py:name, a module or what makes one"
    )
    check.add_argument("--group", required=True, help="c4, d4, t14x14, s3 or c4*t7x7")
    check.add_argument("--size", type=int, default=28, help="side of the images (default 28)")
    check.add_argument("--channels", type=int, default=1, help="of the images (default 1)")
    check.add_argument("--batch", type=int, default=4, help="how many images (default 4)")
    check.add_argument("--seed", type=int, default=0, help="of the random images (default 0)")
    check.add_argument("--train", action="store_true", help="in training mode, not in eval mode")
    check.add_argument("--float32", action="store_true", help="in float32, not in float64")
    check.add_argument("--atol", type=float, help="relative error that passes")
    check.add_argument(
        "--output", choices=get_args(OutputKind), default="any", help="what the output must be"
    )
    check.add_argument("--csv", type=Path, help="write the table here")
    check.add_argument("--plot", type=Path, help="draw it here (needs homssl[plot])")
    check.set_defaults(run=_check)
    show = commands.add_parser("demo", help="the identity; a sweep; the failure without structure")
    what = show.add_mutually_exclusive_group()
    what.add_argument(
        "--sweep", choices=["distance"], help="train at base sizes and topographic distances"
    )
    what.add_argument("--failure", action="store_true", help="train with and without structure")
    show.add_argument("--out", type=Path, default=Path("homssl-demo"), help="folder of the runs")
    show.add_argument("--seeds", type=int, default=3, help="runs of every setting (default 3)")
    show.add_argument("--steps", type=int, help="optimizer steps a run")
    show.add_argument("--images", type=Path, help=".npy, (N, H, W) or (N, C, H, W), yours")
    show.add_argument("--labels", type=Path, help=".npy, (N,), their classes")
    show.set_defaults(run=_demo)
    return parser


def _check(arguments: argparse.Namespace) -> int:
    group = parse_group(arguments.group)
    net = load_model(arguments.model)
    dtype = torch.float32 if arguments.float32 else torch.float64
    generator = torch.Generator().manual_seed(arguments.seed)
    shape = (arguments.batch, arguments.channels, arguments.size, arguments.size)
    if min(shape) < 1:
        raise ValueError(f"batch, channels and size must be at least 1, got {shape}")
    x = torch.randn(shape, generator=generator, dtype=dtype)
    net = net.to(dtype).train(arguments.train)
    try:
        certificate = equivariance_error(
            net, x, group, atol=arguments.atol, output=arguments.output
        )
    except RuntimeError as error:
        raise ValueError(f"{arguments.model} fails on images {shape}: {error}") from error
    print(certificate)
    if arguments.csv:
        table = certificate.to_table()
        names = list(table)
        rows = [dict(zip(names, row, strict=True)) for row in zip(*table.values(), strict=True)]
        write_csv(arguments.csv, rows)
    if arguments.plot:
        from homssl.plots import plot_certificate

        figure = plot_certificate(certificate)
        with written(arguments.plot) as temporary:
            figure.savefig(temporary)
    return 1 if certificate.passed is False else 0


def load_model(target: str) -> nn.Module:
    """Return the network that a command line names.

    Args:
        target: ``package.module:name`` or ``path/to/file.py:name``; the name is a module, or a
            function or class that makes one without arguments.

    Returns:
        The network.

    Raises:
        ValueError: if there is none of that name.

    Source:
        The way of entry points.

    Example:
        >>> load_model("torch.nn:Identity")
        Identity()
    """
    place, _, name = target.rpartition(":")
    if not place or not name:
        raise ValueError(f"MODEL is package.module:name or file.py:name, got {target!r}")
    try:
        if place.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(place).stem, place)
            if spec is None or spec.loader is None:
                raise ImportError(f"{place} is no Python file")
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
        found = getattr(module, name)
        made = found if isinstance(found, nn.Module) else found()
    except Exception as error:  # whatever a user's file may raise
        raise ValueError(f"{target} cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(made, nn.Module):
        raise ValueError(f"{target} must be or make a torch.nn.Module, got {type(made).__name__}")
    return made


def _demo(arguments: argparse.Namespace) -> int:
    if arguments.seeds < 1 or (arguments.steps is not None and arguments.steps < 1):
        raise ValueError("--seeds and --steps must be at least 1")
    if arguments.labels and not arguments.images:
        raise ValueError("--labels are those of --images: give both")
    if not (arguments.sweep or arguments.failure):
        print(demo.show_identity())
        return 0
    needed = arguments.sweep is not None
    data = demo.read_data(arguments.images, arguments.labels, labels_needed=needed)
    run = demo.run_sweep if arguments.sweep else demo.run_failure
    source = str(arguments.images or "synthetic")
    options = {"seeds": arguments.seeds, "steps": arguments.steps, "source": source}
    for line in run(data, arguments.out, **options):
        print(line)
    return 0

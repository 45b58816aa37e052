"""The command line: train and look in a minute; measure a model that is there."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from duet import demo
from duet.decoder import Decoder
from duet.model import Duet


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: arguments; None takes those of the process.

    Returns:
        0; 1 where a median error is above ``--max-error``; 2 where something cannot be done, with
        one line on stderr.

    Example:
        >>> main(["evaluate", "nowhere.safetensors"])
        2
    """
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except (OSError, ValueError, TypeError, FloatingPointError) as error:
        print(f"duet: {error}".replace("\n", " "), file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="duet", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    show = commands.add_parser("demo", help="train on one factor, read it, move it, decode it")
    _add_data(show)
    show.add_argument("--factor", choices=list(demo.FACTORS), default="rotation")
    show.add_argument("--out", type=Path, default=Path("duet-demo"), help="folder of the results")
    show.add_argument("--steps", type=int, default=700, help="optimizer steps (default 700)")
    show.add_argument("--batch", type=int, default=128, help="images a step (default 128)")
    show.set_defaults(run=_demo)
    evaluate = commands.add_parser(
        "evaluate", help="what a saved model reads, and what a move does"
    )
    evaluate.add_argument("model", type=Path, help="of `duet demo` or Duet.save")
    _add_data(evaluate)
    evaluate.add_argument("--decoder", type=Path, help="of `duet demo` or Decoder.save")
    evaluate.add_argument("--out", type=Path, help="folder for the table and the pictures")
    evaluate.add_argument(
        "--max-error", type=float,
        help="exit 1 where a median error is above: degrees, or parts of the range",
    )  # fmt: skip
    evaluate.set_defaults(run=_evaluate)
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, help=".npz, .npy, ...idx3-ubyte(.gz) or a folder; else made pictures"
    )
    parser.add_argument("--size", type=int, help="side that pictures in folders are resized to")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (default 0)")


def _demo(arguments: argparse.Namespace) -> int:
    if arguments.steps < 1 or arguments.batch < 2:
        got = f"{arguments.steps} and {arguments.batch}"
        raise ValueError(f"--steps must be at least 1 and --batch at least 2, got {got}")
    data = demo.images_of(arguments.data, arguments.size, arguments.seed)
    _print(demo.run_demo(
        data, arguments.factor, arguments.out, steps=arguments.steps, batch=arguments.batch,
        seed=arguments.seed,
    ))  # fmt: skip
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    model = Duet.load(arguments.model)
    decoder = None if arguments.decoder is None else Decoder.load(arguments.decoder)
    data = demo.images_of(arguments.data, arguments.size, arguments.seed)
    options = {"decoder": decoder, "out": arguments.out, "seed": arguments.seed}
    try:
        _print(demo.run_evaluation(model, data, **options))
    except RuntimeError as error:  # images of other channels or sizes than the weights'
        raise ValueError(f"{arguments.model} does not fit the images: {error}") from error
    if arguments.max_error is None:
        return 0
    reports = demo.reports_of(model, data.test, None, arguments.seed)
    return int(any(not r.readout.median <= arguments.max_error for r in reports))


def _print(lines: Iterator[str]) -> None:
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())

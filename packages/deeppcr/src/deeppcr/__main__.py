"""`python -m deeppcr bench | explain | selftest`."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import torch

from deeppcr import bench, cost, kernel
from deeppcr.algorithms import ALGORITHMS
from deeppcr.scan import affine_scan


def run_bench(options: argparse.Namespace) -> int:
    """Race the loop on a grid, or measure the constants."""
    torch.set_num_threads(options.threads)
    if options.calibrate:
        rates = bench.calibrate(options.device, seconds=options.seconds)
        for name, values in rates.items():
            print(f"{name:18} " + " ".join(f"{value:.2e}" for value in values))
        write(options.calibrate, json.dumps({"costs": {options.device: rates}}, indent=1))
        return 0
    races = []
    for length, width in bench.GRIDS[options.grid]:
        for kind in (bench.backward_race, bench.solve_race):
            races.append(kind(length, width, rounds=options.rounds, device=options.device))
            print(races[-1], flush=True)
    setting = {
        "torch": torch.__version__, "python": platform.python_version(),
        "machine": platform.machine(), "threads": options.threads, "device": options.device,
        "kernel": kernel.library() is not None, "rounds": options.rounds,
    }  # fmt: skip
    print("; ".join(f"{name} {value}" for name, value in setting.items()))
    backward = [race for race in races if race.title == "backward"]
    table = {
        "L": [race.length for race in backward],
        "d": [race.width for race in backward],
        "speedup": [race.speedup("parallel") for race in backward],
    }
    if options.json:
        rows = [
            {"race": r.title, "L": r.length, "d": r.width, "seconds": dict(r.seconds)}
            for r in races
        ]
        content = {"setting": setting, "rows": rows, "table": table}
        write(options.json, json.dumps(content, indent=1))
    if options.plot:
        draw(options.plot, table)
    return 0


def draw(path: Path, table: dict[str, Any]) -> None:
    """The speed-up of the backward over depth and width, into a file."""
    try:
        from deeppcr.plot import plot_speedup

        figure = plot_speedup(table, title="backward: parallel over autograd")
    except ImportError as error:
        raise ValueError(f"--plot needs deeppcr[plot]: {error}") from error
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        figure.savefig(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def run_explain(options: argparse.Namespace) -> int:
    """Print what a solve should cost, and which method `auto` takes."""
    dense, device = not options.diagonal, options.device
    predicted = cost.predictions(options.L, options.B, options.d, dense=dense, device=device)
    if kernel.library() is None or device != "cpu":
        predicted.pop("kernel", None)
    chosen = "kernel" if "kernel" in predicted else min(predicted, key=predicted.__getitem__)
    print(f"{'dense' if dense else 'diagonal'} solve, L={options.L}, B={options.B}, d={options.d}")
    for method, seconds in sorted(predicted.items(), key=lambda item: item[1]):
        mark = "  <- auto" if method == chosen else ""
        print(f"  {method:8} {1e3 * seconds:9.3f} ms{mark}")
    if device not in cost.constants():
        print(f"no constants for {device}: the CPU's; bench --calibrate measures them")
    return 0


def run_selftest(options: argparse.Namespace) -> int:
    """Solve small systems by every method and compare with the loop; 1 if one fails."""
    failed = 0
    print("kernel: " + ("loaded" if kernel.library() is not None else "none, pure torch"))
    for name, check in CHECKS.items():
        error = check()
        good = error < 1e-9
        failed += not good
        print(f"{'ok  ' if good else 'FAIL'} {name} (error {error:.1e})")
    return min(failed, 1)


def _system(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    A, b = bench.chain(37, 5)
    return A.to(dtype), b.to(dtype), torch.ones(5, dtype=dtype)


def _states(method: str, reverse: bool) -> float:
    A, b, z = _system()
    got, error = affine_scan(A, b, z, reverse=reverse, method=method), 0.0
    for i in range(36, -1, -1) if reverse else range(37):
        z = A[i] @ z + b[i]
        error = max(error, float((got[i] - z).abs().max()))
    return error


def _gradients() -> float:
    A, b, z0 = (x.requires_grad_() for x in _system())
    z, states = z0, list[torch.Tensor]()
    for i in range(37):
        z = A[i] @ z + b[i]
        states.append(z)
    want = torch.autograd.grad(torch.stack(states).sin().sum(), (A, b, z0))
    got = torch.autograd.grad(affine_scan(A, b, z0).sin().sum(), (A, b, z0))
    return max(float((x - y).abs().max()) for x, y in zip(got, want, strict=True))


CHECKS: dict[str, Callable[[], float]] = {
    **{f"states, {m}": lambda m=m: _states(m, False) for m in ("auto", *ALGORITHMS)},
    **{f"states in reverse, {m}": lambda m=m: _states(m, True) for m in ("auto", *ALGORITHMS)},
    "gradients": _gradients,
}


def write(path: Path, text: str) -> None:
    """Write a file whole, or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    os.replace(partial, path)


def positive(text: str) -> int:
    """A positive integer, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


class Parser(argparse.ArgumentParser):
    """One line about what cannot be understood, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Ends the process with status 2."""
        self.exit(2, f"{self.prog}: {message}\n")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = Parser(prog="deeppcr", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("bench", help="race the plain loop")
    command.add_argument("--grid", choices=bench.GRIDS, default="small")
    command.add_argument("--rounds", type=positive, default=7)
    command.add_argument("--threads", type=positive, default=1)
    command.add_argument("--device", default="cpu")
    command.add_argument("--json", type=Path, metavar="FILE", help="write all times")
    command.add_argument("--plot", type=Path, metavar="FILE", help="draw speed-ups")
    command.add_argument("--calibrate", type=Path, metavar="FILE", help="measure the constants")
    command.add_argument("--seconds", type=float, default=60.0, help="for --calibrate")
    command.set_defaults(run=run_bench)
    command = commands.add_parser("explain", help="what a linear solve should cost, and by what")
    for name, default, what in (("L", 4096, "steps"), ("d", 8, "width"), ("B", 1, "batch")):
        command.add_argument(f"--{name}", type=positive, default=default, help=what)
    command.add_argument("--diagonal", action="store_true")
    command.add_argument("--device", default="cpu")
    command.set_defaults(run=run_explain)
    command = commands.add_parser("selftest", help="check this installation")
    command.set_defaults(run=run_selftest)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; one line to stderr and 2 where it cannot be done."""
    options = parse(arguments)
    try:
        return options.run(options)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"deeppcr: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

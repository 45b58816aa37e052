"""The command line: run a study, report it, compare two of its arms, show the operations."""

import argparse
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from randaug_study.space import RANDAUGMENT
from randaug_study.study import Journal, Study


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: arguments; None takes those of the process.

    Returns:
        0; 2 where something cannot be done, with one line on stderr.

    Example:
        >>> main(["report", "no-such-study.toml"])
        2
    """
    arguments = _parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _one_line
            return arguments.run(arguments)
    except (OSError, ValueError, ImportError, FloatingPointError) as error:
        print(f"randaug-study: {error}".replace("\n", " "), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "randaug-study: stopped; the journal holds what is done, go on with --resume",
            file=sys.stderr,
        )
        return 130


def _one_line(message: Warning | str, *_: object, **__: object) -> None:
    print(f"randaug-study: warning: {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="randaug-study", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run what the journal does not hold yet")
    _study_arguments(run)
    run.add_argument("--data", type=Path, required=True, help="folder of four idx files, gz or not")
    run.add_argument("--resume", action="store_true", help="go on with a journal that has runs")
    run.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    run.add_argument("--arms", nargs="+", metavar="ARM", help="only these")
    run.add_argument("--seeds", nargs="+", type=int, metavar="SEED", help="only these")
    run.set_defaults(run=_run)

    report = commands.add_parser("report", help="write report.md, summary.csv and figures")
    _study_arguments(report)
    report.add_argument("--out", type=Path, help="folder (default: beside the study)")
    report.set_defaults(run=_report)

    compare = commands.add_parser("compare", help="two arms, paired by seed")
    compare.add_argument("arm", help="name of an arm")
    compare.add_argument("reference", help="of the one it is compared with")
    _study_arguments(compare)
    compare.add_argument("--margin", type=float, help="points (default: the study's)")
    compare.set_defaults(run=_compare)

    show = commands.add_parser("show", help="a contact sheet: operations by magnitude")
    show.add_argument("image", type=Path, nargs="?", help="an image file (default: a test card)")
    show.add_argument("--ops", default="all", help="all, or names with commas between")
    show.add_argument("--wide", action="store_true", help="TrivialAugment's wide ranges")
    show.add_argument("--out", type=Path, default=Path("contact.png"), help="default contact.png")
    show.set_defaults(run=_show)
    return parser


def _study_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", type=Path, help="a TOML file of arms and seeds")
    parser.add_argument("--journal", type=Path, help="default: runs.jsonl beside the study")


def _journal(arguments: argparse.Namespace) -> Path:
    return arguments.journal or arguments.study.with_name("runs.jsonl")


def _run(arguments: argparse.Namespace) -> int:
    from randaug_study.data import read_folder
    from randaug_study.study import run_study

    study, journal = Study.from_toml(arguments.study), _journal(arguments)
    held = Journal(journal).runs(study)
    if held and not arguments.resume:
        raise ValueError(
            f"{journal} holds {len(held)} runs of this study: pass --resume to go on with it, or "
            "another --journal"
        )
    runs = run_study(
        study, read_folder(arguments.data), journal,
        jobs=arguments.jobs, arms=arguments.arms, seeds=arguments.seeds,
    )  # fmt: skip
    print(f"{len(runs)} of {len(study.tasks())} runs are in {journal}")
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from randaug_study.report import Report

    study = Study.from_toml(arguments.study)
    report = Report.of(study, _some(study, _journal(arguments)))
    for path in report.write(arguments.out or arguments.study.parent):
        print(path)
    print(report)
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from randaug_study.report import compare

    study = Study.from_toml(arguments.study)
    pair = study.arm(arguments.arm).name, study.arm(arguments.reference).name
    margin = study.margin if arguments.margin is None else arguments.margin
    found = compare(_some(study, _journal(arguments)), [pair], margin)
    if not found:
        raise ValueError(f"fewer than 2 seeds have both {pair[0]} and {pair[1]}")
    print(found[0])
    return 0


def _some(study: Study, journal: Path):
    runs = Journal(journal).runs(study)
    if not runs:
        raise ValueError(f"{journal} holds no run of this study: run it first")
    return runs


def _show(arguments: argparse.Namespace) -> int:
    from randaug_study import plots
    from randaug_study.augment import RandAugment, TrivialAugmentWide
    from randaug_study.report import replace_file

    ops = RANDAUGMENT if arguments.ops == "all" else tuple(arguments.ops.split(","))
    ranges = (TrivialAugmentWide if arguments.wide else RandAugment)(ops=ops)
    image = None if arguments.image is None else read_image(arguments.image)
    replace_file(arguments.out, plots.png(plots.contact_sheet(ops, image, ranges=ranges)))
    print(arguments.out)
    return 0


def read_image(path: Path) -> Tensor:
    """An image file as uint8 ``(C, H, W)``, C 1 or 3; transparency is dropped.

    Raises:
        ValueError: if it is no image that matplotlib reads.
        ImportError: if matplotlib is missing.
    """
    try:
        from matplotlib.image import imread
    except ImportError as error:
        raise ImportError("images need matplotlib: install randaug-study[plot]") from error
    try:
        pixels = np.asarray(imread(path))
    except (SyntaxError, ValueError, OSError) as error:
        raise ValueError(f"{path} is no image that can be read: {error}") from error
    if pixels.dtype != np.uint8:
        pixels = (pixels * 255).round().astype(np.uint8)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    channels = 3 if pixels.shape[2] >= 3 else 1
    return torch.from_numpy(pixels[..., :channels].copy()).permute(2, 0, 1).contiguous()

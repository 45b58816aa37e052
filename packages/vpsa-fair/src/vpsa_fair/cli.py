"""The command line: run an audit, read it, compare two, and let one fail a build."""

import argparse
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from vpsa_fair.counts import write_atomically
from vpsa_fair.gaps import VALUES
from vpsa_fair.paired import compare
from vpsa_fair.result import Result
from vpsa_fair.summary import Spread, Summary
from vpsa_fair.tables import Table

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: arguments; None takes those of the process.

    Returns:
        0; 1 where a check fails; 2 where something cannot be done, with one line on stderr.

    Example:
        >>> main(["check", "no-such-run", "--max-gap", "0.05"])
        2
    """
    arguments = _parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            return arguments.run(arguments)
    except (OSError, ValueError, TypeError, ImportError) as error:
        print(f"vpsa-fair: {error}".replace("\n", " "), file=sys.stderr)
        return 2


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    """A warning as one line."""
    print(f"vpsa-fair: {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vpsa-fair", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    audit = commands.add_parser("audit", help="run what a TOML file says; what exists is not rerun")
    audit.add_argument("config", type=Path, help="TOML; it names code that is run")
    audit.add_argument("--out", type=Path, help="folder, in place of the file's")
    audit.add_argument("--no-resume", action="store_true", help="refuse a folder that has results")
    audit.add_argument("--fill", action="store_true", help="only embed: help another process")
    audit.set_defaults(run=_audit)

    report = commands.add_parser("report", help="print a run; write its page and picture")
    report.add_argument("folder", type=Path, help="of a run")
    report.add_argument("--html", type=Path, help="write the page here")
    report.add_argument("--png", type=Path, help="draw the AUC matrix here (needs [plot])")
    report.add_argument("--parquet", type=Path, help="write the curves here (needs [parquet])")
    report.add_argument("--by", help="grouping, such as 'race' or 'race x gender'")
    report.add_argument("--value", choices=VALUES, default="nauc")
    report.add_argument("--ref", help="best, overall or a group: show differences")
    report.set_defaults(run=_report)

    versus = commands.add_parser("compare", help="two runs on the same identities, paired")
    versus.add_argument("a", type=Path, help="folder of a run")
    versus.add_argument("b", type=Path, help="folder of another")
    versus.add_argument("--value", choices=VALUES, default="nauc")
    versus.add_argument("--csv", type=Path, help="write the table here")
    versus.set_defaults(run=_compare)

    levels = commands.add_parser("levels", help="the grids of a configuration, and how they look")
    levels.add_argument("config", type=Path)
    levels.add_argument("--bound", action="store_true", help="find one range for all groups")
    levels.add_argument("--floor", type=float, default=0.55, help="response at the last level")
    levels.add_argument("--png", type=Path, help="draw a contact sheet here")
    levels.add_argument("--image", type=int, default=0, help="which image (default 0)")
    levels.set_defaults(run=_levels)

    check = commands.add_parser("check", help="exit 1 if a gap is too wide: a gate for CI")
    check.add_argument("folder", type=Path, help="of a run")
    check.add_argument("--max-gap", type=float, required=True, help="of the normalised AUC")
    check.add_argument(
        "--rule",
        choices=["significant", "estimate", "upper"],
        default="significant",
        help="what must exceed it: the estimate of a gap with adjusted p below --alpha (default); "
        "any estimate; the upper end of any interval",
    )
    check.add_argument("--alpha", type=float, default=0.05)
    check.add_argument("--by", help="only this grouping")
    check.add_argument("--perturbation", help="only this one, or 'clean', or 'mean'")
    check.set_defaults(run=_check)

    demo = commands.add_parser("demo", help="synthetic faces with a planted disparity")
    demo.add_argument("--out", type=Path, default=Path("vpsa-fair-demo"))
    demo.add_argument("--control", action="store_true", help="the same without the plant")
    demo.set_defaults(run=_demo)
    return parser


def _audit(arguments: argparse.Namespace) -> int:
    from vpsa_fair.config import read_config

    config = read_config(arguments.config, out=arguments.out)
    if arguments.fill:
        config.audit.fill()
        print(f"filled {config.out}: {config.audit.spent}")
        return 0
    result = config.run(resume=not arguments.no_resume)
    print(result)
    print(f"images through the model: {config.audit.spent}")
    print(f"wrote {config.out / 'report.html'}")
    return 0


def _report(arguments: argparse.Namespace) -> int:
    result = Result.load(arguments.folder)
    matrix = result.matrix(arguments.value, arguments.ref, by=arguments.by, margins=True)
    print(matrix)
    if not arguments.ref:
        print(result.summary())
    if arguments.html:
        result.report(arguments.html)
    if arguments.parquet:
        result.curves.to_parquet(arguments.parquet)
    if arguments.png:
        from vpsa_fair.plots import png

        write_atomically(arguments.png, png(matrix.plot()))
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    found = compare(Result.load(arguments.a), Result.load(arguments.b), value=arguments.value)
    print(found)
    if arguments.csv:
        found.to_csv(arguments.csv)
    return 0


def _levels(arguments: argparse.Namespace) -> int:
    from vpsa_fair.config import read_config

    audit = read_config(arguments.config).audit
    chosen = list(audit.perturbations)
    if arguments.bound:
        from vpsa_fair.bounding import bound

        chosen = [
            replace(
                one,
                levels=bound(
                    audit.embed,
                    audit.data,
                    one,
                    protocol=audit.protocol,
                    floor=arguments.floor,
                    seed=audit.seed,
                    spent=audit.spent,
                ),
            )
            for one in chosen
        ]
        print(f"images through the model: {audit.spent}")
    rows = [
        (one.name, level, float(u), one.unit)
        for one in chosen
        for level, u in zip(one.levels.values, one.levels.positions(), strict=True)
    ]
    names = ("perturbation", "level", "position", "unit")
    print(Table({name: [row[i] for row in rows] for i, name in enumerate(names)}))
    if arguments.png:
        image = audit.data.batch(slice(arguments.image, arguments.image + 1))
        if not len(image):
            raise ValueError(f"--image {arguments.image} is none of {len(audit.data)} images")
        strips = [
            np.concatenate(
                [image, *(one(image, level, seed=audit.seed) for level in one.levels.values)]
            )
            for one in chosen
        ]
        write_atomically(arguments.png, _sheet(strips))
    return 0


def _sheet(strips: Sequence[np.ndarray]) -> bytes:
    """A row for each perturbation, from clean to the strongest level, as PNG."""
    import io

    most = max(len(strip) for strip in strips)
    height, width = strips[0].shape[1:3]
    sheet = Image.new("RGB", (most * (width + 2), len(strips) * (height + 2)), "white")
    for y, strip in enumerate(strips):
        for x, frame in enumerate(np.broadcast_to(strip, (*strip.shape[:3], 3))):
            place = (x * (width + 2), y * (height + 2))
            sheet.paste(Image.fromarray(np.ascontiguousarray(frame)), place)
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    return buffer.getvalue()


def _check(arguments: argparse.Namespace) -> int:
    if not 0 <= arguments.max_gap <= 1 or not 0 < arguments.alpha < 1:
        got = f"{arguments.max_gap} and {arguments.alpha}"
        raise ValueError(f"--max-gap must lie in [0, 1] and --alpha in (0, 1), got {got}")
    result = Result.load(arguments.folder)
    summary = result.summary()
    chosen = [
        s
        for s in summary
        if arguments.by in (None, s.grouping) and arguments.perturbation in (None, s.column)
    ]
    if not chosen:
        out = ", ".join(summary.excluded) or "see --by and --perturbation"
        raise ValueError(f"nothing can be compared; left out: {out}")
    wide = [s for s in chosen if _too_wide(s, arguments)]
    if wide:
        print(Summary(tuple(wide), result.confidence, summary.excluded))
    rule = {"significant": f", adjusted p at most {arguments.alpha}", "estimate": "", "upper": ""}
    what = "upper ends of gaps" if arguments.rule == "upper" else "gaps"
    tail = rule[arguments.rule]
    print(f"{len(wide)} of {len(chosen)} {what} wider than {arguments.max_gap}{tail}")
    return int(bool(wide))


def _too_wide(s: Spread, arguments: argparse.Namespace) -> bool:
    if arguments.rule == "upper":
        return s.high > arguments.max_gap
    known = arguments.rule == "estimate" or s.p_adjusted <= arguments.alpha
    return s.gap > arguments.max_gap and known


def _demo(arguments: argparse.Namespace) -> int:
    from vpsa_fair.demo import demo_audit

    audit = demo_audit(arguments.out, plant=not arguments.control)
    result = audit.run()
    result.save(arguments.out)
    result.report(arguments.out / "report.html")
    print(result)
    print(f"images through the model: {audit.spent}")
    print(f"wrote {arguments.out / 'report.html'}")
    return 0

"""The command ``ema-scaling``: scale a recipe, convert a decay, plan, compare, synthesise, inspect.

Results go to standard output, mistakes as one line to standard error with exit status 2. A
comparison that finds no match exits with 1.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the process's exit status.

    Args:
        argv: arguments after the program's name; the process's own by default.

    Returns:
        0 if all is well, 1 if a comparison finds no match, 2 for bad input.
    """
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments) or 0)
    except BrokenPipeError:
        sys.stderr.close()  # the reader has what it wanted
        return 0
    except (ValueError, TypeError, OSError, ImportError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, OSError) and error.filename is not None:
            text = f"{error.filename}: {error.strerror}"
        print(f"ema-scaling: {text}", file=sys.stderr)
        return 2


class _Parser(argparse.ArgumentParser):
    """Argparse that reports a mistake in one line."""

    def error(self, message: str) -> Any:  # type: ignore[override]
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="ema-scaling", description="The same training at another batch size.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    for name, add, run, text in (
        ("scale", _add_scale, _scale, "a recipe file at another batch size"),
        ("convert", _add_convert, _convert, "a decay in other units"),
        ("plan", _add_plan, _plan, "the steps of a run whose batch changes"),
        ("toy", _add_toy, _toy, "the noisy parabola, with the rule and without"),
        ("compare", _add_compare, _compare, "do two groups of runs match at equal samples?"),
        ("posthoc", _add_posthoc, _posthoc, "an average of another width from snapshots"),
        ("inspect", _add_inspect, _inspect, "what is in a saved average"),
    ):
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        add(command)
        command.set_defaults(run=run)
    return parser


def _add_scale(command: argparse.ArgumentParser) -> None:
    command.add_argument("recipe", type=Path, help="TOML, JSON or YAML file")
    command.add_argument("--to", type=int, metavar="BATCH", help="the new global batch")
    command.add_argument("--kappa", type=float, help="instead of --to: new batch over old batch")
    command.add_argument("--from", dest="old", type=int, metavar="BATCH", help="the old batch")
    command.add_argument("--world", type=int, help="devices that share the old batch")
    command.add_argument("--to-world", type=int, help="devices that share the new batch")
    command.add_argument("--rule", default="auto", help="sgd, lars, rmsprop, adam or adamw")
    command.add_argument("--form", default="linear", choices=("linear", "power", "exact"))
    command.add_argument("--dialect", choices=("native", "timm", "hf", "dino"))
    command.add_argument("-o", "--output", type=Path, help="write the scaled recipe here")
    command.add_argument("--json", action="store_true", help="print the report as JSON")
    command.add_argument("--markdown", action="store_true", help="print the report as Markdown")


def _scale(arguments: argparse.Namespace) -> None:
    from ema_scaling import dialects
    from ema_scaling.files import dump_table, read_table, write_text
    from ema_scaling.scaling import scale

    table = read_table(arguments.recipe)
    if arguments.old is not None:
        table = {**table, "batch": arguments.old}
    dialect = arguments.dialect or dialects.detect(table)
    recipe = dialects.read(table, dialect, devices=arguments.world)
    to_batch = arguments.to
    if to_batch is None and arguments.kappa is None and arguments.to_world:
        to_batch = recipe.batch * arguments.to_world // (recipe.devices or 1)
    scaled = scale(
        recipe, to_batch=to_batch, kappa=arguments.kappa, form=arguments.form, rule=arguments.rule,
        devices=arguments.to_world,
    )  # fmt: skip
    written = dialects.write(table, scaled, dialect)
    if arguments.output is not None:
        write_text(arguments.output, dump_table(written, arguments.output.suffix.lower()))
    if arguments.json:
        report = {
            "kappa": scaled.kappa, "recipe": written, "steps": scaled.total_steps,
            "missing_samples": scaled.missing_samples,
            "changes": {name: list(pair) for name, pair in scaled.diff().items()},
            "cautions": {caution.code: caution.text for caution in scaled.cautions},
        }  # fmt: skip
        print(json.dumps(report, indent=2))
    else:
        print(scaled.to_markdown() if arguments.markdown else scaled)


def _add_convert(command: argparse.ArgumentParser) -> None:
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("--decay", type=float, help="weight of the old average in one update")
    source.add_argument("--one-minus", type=float, help="weight of the new value in one update")
    source.add_argument("--half-life", type=float, help="in samples")
    command.add_argument("--batch", type=int, default=1, help="samples of one update")
    units = ("decay", "one-minus", "half-life-samples", "half-life-updates", "half-life-epochs")
    command.add_argument("--to", choices=units, help="print this one only")
    command.add_argument("--to-batch", type=int, help="the new update's samples")
    command.add_argument("--dataset-size", type=int, help="samples of one epoch")


def _convert(arguments: argparse.Namespace) -> None:
    from ema_scaling import rules

    batch = arguments.batch
    if arguments.decay is not None:
        samples = rules.half_life(arguments.decay, batch=batch)
    elif arguments.one_minus is not None:
        samples = rules.half_life_from_weight(arguments.one_minus, batch=batch)
    else:
        samples = arguments.half_life
    new = arguments.to_batch or batch
    values = {
        "decay": rules.decay_from_half_life(samples, batch=new),
        "one-minus": rules.weight_from_half_life(samples, batch=new),
        "half-life-samples": samples,
        "half-life-updates": samples / new,
    }
    if arguments.dataset_size:
        values["half-life-epochs"] = samples / arguments.dataset_size
    if arguments.to is not None:
        if arguments.to not in values:
            raise ValueError(f"{arguments.to} needs --dataset-size")
        print(f"{values[arguments.to]:.12g}")
        return
    for name, value in values.items():
        print(f"{name:<18} {value:.12g}")


def _add_plan(command: argparse.ArgumentParser) -> None:
    command.add_argument("recipe", type=Path, nargs="?", help="TOML, JSON or YAML file")
    command.add_argument("--kappa", required=True, help="such as 1@0,2@30ep,6@60ep")
    command.add_argument("--batch", type=int, help="the base batch, without a recipe")
    command.add_argument("--samples", type=int, help="length of the run, without a recipe")
    command.add_argument("--epochs", type=float, help="or its length in epochs")
    command.add_argument("--dataset-size", type=int, help="samples of one epoch")
    command.add_argument("--form", default="linear", choices=("linear", "power", "exact"))
    command.add_argument("--json", action="store_true", help="print JSON")


def _plan(arguments: argparse.Namespace) -> None:
    from ema_scaling.batches import BatchSchedule
    from ema_scaling.files import read_table
    from ema_scaling.recipe import Recipe
    from ema_scaling.scaling import scale

    recipe = Recipe.from_dict(read_table(arguments.recipe)) if arguments.recipe else None
    dataset = arguments.dataset_size or (recipe.dataset_size if recipe else None)
    batch = arguments.batch or (recipe.batch if recipe else None)
    total = arguments.samples or (recipe.total_samples if recipe else None)
    if arguments.epochs and dataset:
        total = int(arguments.epochs * dataset)
    if batch is None or total is None:
        raise ValueError("a plan needs a base batch and a length: give a recipe, or --batch and "
                         "--samples (or --epochs with --dataset-size)")  # fmt: skip
    schedule = BatchSchedule.parse(arguments.kappa, dataset_size=dataset)
    rows: list[dict[str, Any]] = []
    for stage in schedule.stages(total, base_batch=batch):
        row: dict[str, Any] = {
            "from": stage.start, "to": stage.stop, "batch": stage.batch, "kappa": stage.kappa,
            "steps": stage.steps,
        }  # fmt: skip
        if recipe is not None:
            new = scale(recipe, to_batch=stage.batch, form=arguments.form).recipe
            row |= {"lr": new.lr, "betas": new.betas, "weight_decay": new.weight_decay or None}
            row |= {"ema_decay": new.ema_decay}
        rows.append({name: value for name, value in row.items() if value is not None})
    if not rows:
        raise ValueError(f"a run of {total} samples makes no step of {batch}")
    steps = sum(row["steps"] for row in rows)
    if arguments.json:
        print(json.dumps({"stages": rows, "steps": steps, "base_steps": total // batch}, indent=2))
        return
    print(_columns(rows))
    print(f"{steps} steps instead of {total // batch} at the base batch")


def _columns(rows: list[dict[str, Any]]) -> str:
    """Rows of equal keys as aligned text."""

    def show(value: Any) -> str:
        if isinstance(value, tuple):
            return "/".join(map(show, value))
        return f"{value:.6g}" if isinstance(value, float) else str(value)

    cells = [list(rows[0]), *([show(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in cells
    )


def _add_toy(command: argparse.ArgumentParser) -> None:
    command.add_argument("--kappas", default="1,8,64", help="batches, commas between")
    command.add_argument("--lr", type=float, default=1e-3)
    command.add_argument("--decay", type=float, default=0.999)
    command.add_argument("--samples", type=int, default=8192)
    command.add_argument("--feedback", type=float, default=0.0, help="pull of the EMA, 0 to 1")
    command.add_argument("--plot", type=Path, metavar="FILE", help="SVG, PNG or PDF")


def _toy(arguments: argparse.Namespace) -> None:
    from ema_scaling.toy import Parabola, rule_gap

    try:
        kappas = [int(part) for part in arguments.kappas.split(",")]
    except ValueError:
        raise ValueError(f"--kappas takes whole numbers, got {arguments.kappas!r}") from None
    parabola = Parabola(feedback=arguments.feedback)
    setting = {"lr": arguments.lr, "decay": arguments.decay, "samples": arguments.samples}
    for scaled in (True, False):
        for kappa in kappas:
            print(rule_gap(parabola, kappa, scaled=scaled, **setting))
    if arguments.plot is not None:
        from ema_scaling.plots import parabola_figure

        _save(parabola_figure(kappas, parabola, **setting), arguments.plot)


def _save(figure: Any, path: Path) -> None:
    from ema_scaling.files import replacing

    kind = path.suffix.lower().lstrip(".")
    if kind not in ("svg", "png", "pdf"):
        raise ValueError(f"a figure ends in .svg, .png or .pdf, got {str(path)!r}")
    with replacing(path) as temporary:
        figure.savefig(temporary, format=kind)


def _add_compare(command: argparse.ArgumentParser) -> None:
    command.add_argument("first", type=Path, help="a .jsonl file, or a folder of them")
    command.add_argument("second", type=Path, help="the same, of the other setting")
    command.add_argument("--key", default="loss", help="the value to compare")
    command.add_argument("--on", default="samples", help="the clock")
    command.add_argument("--start", type=float, default=0.0, help="leave out what was before")
    command.add_argument("--spread", type=float, help="a spread over seeds known from elsewhere")
    command.add_argument("--plot", type=Path, metavar="FILE", help="SVG, PNG or PDF")
    command.add_argument("--json", action="store_true", help="print JSON")


def _compare(arguments: argparse.Namespace) -> int:
    from ema_scaling.diagnose import compare, load_runs

    report = compare(
        load_runs(arguments.first), load_runs(arguments.second), arguments.key, on=arguments.on,
        start=arguments.start, spread=arguments.spread,
    )  # fmt: skip
    if arguments.plot is not None:
        from ema_scaling.plots import match_figure

        _save(match_figure(report), arguments.plot)
    if arguments.json:
        from dataclasses import asdict

        print(json.dumps(asdict(report)))
    else:
        print(report)
    return 0 if report.verdict == "match" else 1


def _add_posthoc(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", type=Path, help="snapshots of PostHocEMA")
    command.add_argument("--sigma-rel", type=float, required=True, help="the wanted width")
    command.add_argument("--time", type=float, help="its end in samples; the last by default")
    command.add_argument("--tolerance", type=float, default=1e-3, help="largest rounding")
    command.add_argument("-o", "--output", type=Path, required=True, help="safetensors file")


def _posthoc(arguments: argparse.Namespace) -> None:
    from ema_scaling.posthoc import synthesize

    report = synthesize(
        arguments.folder, arguments.output, sigma_rel=arguments.sigma_rel,
        time=arguments.time, tolerance=arguments.tolerance,
    )  # fmt: skip
    print(report)


def _add_inspect(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", type=Path, help="a safetensors file of this package")
    command.add_argument("--json", action="store_true", help="print JSON")


def _inspect(arguments: argparse.Namespace) -> None:
    from ema_scaling.files import read_header

    metadata, header = read_header(arguments.file)
    if metadata.get("format") != "ema-scaling":
        raise ValueError(f"{arguments.file} was not written by ema-scaling")
    try:
        parsed = {name: _parsed(name, text) for name, text in metadata.items()}
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{arguments.file} has a malformed header: {error}") from error
    size = sum(end - start for start, end in (entry["data_offsets"] for entry in header.values()))
    summary = {**parsed, "tensors": len(header), "bytes": size}
    if arguments.json:
        print(json.dumps(summary, indent=2))
        return
    for name, value in summary.items():
        if isinstance(value, dict):
            print(f"{name}:")
            for key, inner in value.items():
                print(f"  {key:<14} {inner}")
        elif isinstance(value, list):
            print(f"{name:<16} {len(value)} tensors")
        else:
            print(f"{name:<16} {value}")


def _parsed(name: str, text: str) -> Any:
    return json.loads(text) if name in ("recipe", "clock", "profile", "averaged") else text


if __name__ == "__main__":
    sys.exit(main())

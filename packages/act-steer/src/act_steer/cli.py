"""The command line: fit maps on two files of prompts, write with them, report, fold."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, get_args

import torch
from tqdm import tqdm

from act_steer.apply import apply
from act_steer.control_vector import export_gguf
from act_steer.fit import fit
from act_steer.fold import fold
from act_steer.runs import METHODS, Order, TargetPath
from act_steer.steering import load

SUPPORTS = ("minmax", "all", "clamp")


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: arguments; None takes those of the process.

    Returns:
        0; 1 where a folded model is not what the steered one is; 2 where something cannot be
        done, with one line on stderr.

    Example:
        >>> main(["report", "no-such.safetensors"])
        2
    """
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except (OSError, ValueError, TypeError, ImportError) as error:
        print(f"act-steer: {error}".replace("\n", " "), file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="act-steer", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, said: str, *, model: bool, maps: bool) -> Any:
        made = commands.add_parser(name, help=said, description=said)
        made.set_defaults(run=run)
        if maps:
            made.add_argument("maps", type=Path, help="file that fit wrote")
        if model:
            made.add_argument("--model", type=Path, required=True, help="folder of transformers")
        return made

    fitting = command("fit", _fit, "fit maps from source to target prompts", model=True, maps=False)
    for side in ("source", "target"):
        said = 'prompts, one a line, or .jsonl with {"text": ...}'
        fitting.add_argument(f"--{side}", type=Path, required=True, help=said)
    fitting.add_argument("--modules", default="norms", help="preset or pattern (default norms)")
    fitting.add_argument("--method", choices=list(METHODS), default="linear")
    fitting.add_argument("--order", choices=get_args(Order), default="causal")
    fitting.add_argument("--target-path", choices=get_args(TargetPath), default="clean")
    fitting.add_argument("--support", choices=SUPPORTS, help="default: the method's own")
    fitting.add_argument("--batch-size", type=int, default=32, help="texts a batch (default 32)")
    fitting.add_argument("--max-length", type=int, default=128, help="tokens (default 128)")
    fitting.add_argument("-o", "--out", type=Path, required=True, help="file to write")

    writing = command("generate", _generate, "write with a steered model", model=True, maps=True)
    writing.add_argument("--prompt", action="append", required=True, help="may come several times")
    writing.add_argument("--strength", type=float, default=1.0, help="0 to 1 (default 1)")
    writing.add_argument("--max-new-tokens", type=int, default=50)
    writing.add_argument("--temperature", type=float, default=0.0, help="0 takes the likeliest")
    writing.add_argument("--seed", type=int, default=0)

    reporting = command("report", _report, "what maps do to their samples", model=False, maps=True)
    reporting.add_argument("--csv", type=Path, help="write the table here")
    reporting.add_argument("--plot", type=Path, help="draw it here (needs act-steer[plot])")

    folding = command("fold", _fold, "a checkpoint with the maps in it", model=True, maps=True)
    folding.add_argument("--strength", type=float, default=1.0, help="0 to 1 (default 1)")
    folding.add_argument("-o", "--out", type=Path, required=True, help="new folder")

    vector = command(
        "gguf", _gguf, "mean maps as llama.cpp's control vector", model=False, maps=True
    )
    vector.add_argument("--strength", type=float, default=1.0, help="factor (default 1)")
    vector.add_argument("--model-hint", default="", help="type of the model, as llama")
    vector.add_argument("-o", "--out", type=Path, required=True, help="file to write")
    return parser


def _fit(arguments: argparse.Namespace) -> int:
    sides = read_prompts(arguments.source), read_prompts(arguments.target)
    model, tokenizer = load_model(arguments.model)
    steering = fit(
        model,
        *sides,
        tokenizer=tokenizer,
        modules=arguments.modules,
        method=arguments.method,
        order=arguments.order,
        target_path=arguments.target_path,
        support=arguments.support,
        batch_size=arguments.batch_size,
        max_length=arguments.max_length,
    )
    steering.save(arguments.out)
    print(f"{steering}: {arguments.out}")
    return 0


def _generate(arguments: argparse.Namespace) -> int:
    steering = load(arguments.maps)
    model, tokenizer = load_model(arguments.model)
    if arguments.temperature < 0 or arguments.max_new_tokens < 1:
        raise ValueError("--temperature must be at least 0 and --max-new-tokens at least 1")
    options: dict[str, Any] = {"max_new_tokens": arguments.max_new_tokens, "do_sample": False}
    if arguments.temperature:
        options |= {"do_sample": True, "temperature": arguments.temperature}
    with apply(steering, model, strength=arguments.strength), torch.random.fork_rng([]):
        torch.manual_seed(arguments.seed)
        for prompt in tqdm(arguments.prompt, desc="generate", unit="text", disable=None):
            inputs = tokenizer(prompt, return_tensors="pt")
            pad = tokenizer.pad_token_id
            pad = tokenizer.eos_token_id if pad is None else pad
            written = model.generate(**inputs, **options, pad_token_id=pad)
            print(tokenizer.decode(written[0], skip_special_tokens=True))
    return 0


def _report(arguments: argparse.Namespace) -> int:
    steering = load(arguments.maps)
    report = steering.report()
    print(report)
    if arguments.csv:
        table, text = report.to_table(), io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
        _write(arguments.csv, text.getvalue().encode())
    if arguments.plot:
        from act_steer.plot import plot_strength

        image = io.BytesIO()
        plot_strength(steering).savefig(image, format=arguments.plot.suffix[1:] or "png")
        _write(arguments.plot, image.getvalue())
    return 0


def _fold(arguments: argparse.Namespace) -> int:
    if arguments.out.exists():
        raise ValueError(f"{arguments.out} is there already: name a new folder")
    steering = load(arguments.maps)
    model, tokenizer = load_model(arguments.model)
    ids = torch.arange(16).remainder(model.config.vocab_size).unsqueeze(0)
    with torch.no_grad():
        with apply(steering, model, strength=arguments.strength):
            steered = model(ids).logits.float()
        undo = fold(steering, model, strength=arguments.strength)
        error = float((model(ids).logits.float() - steered).abs().max() / steered.abs().max())
    exact = next(model.parameters()).dtype in (torch.float32, torch.float64)
    print(f"{len(undo.changed)} parameters changed; logits differ by {error:.1e} of the largest")
    if not error < (1e-4 if exact else 3e-2):
        print("act-steer: the folded model is not the steered one: not written", file=sys.stderr)
        return 1
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=arguments.out.parent, prefix=f".{arguments.out.name}."))
    try:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        os.replace(folder, arguments.out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _gguf(arguments: argparse.Namespace) -> int:
    steering = load(arguments.maps)
    export_gguf(
        steering, arguments.out, model_hint=arguments.model_hint, strength=arguments.strength
    )
    print(f"control vector of {len(steering)} blocks: {arguments.out}")
    return 0


def load_model(folder: Path) -> tuple[Any, Any]:
    """Return the language model and the tokenizer of a folder; nothing is downloaded.

    Raises:
        ImportError: without transformers.
        OSError: if the folder holds none.
    """
    if not folder.is_dir():
        raise ValueError(f"--model must be a folder of transformers, got {folder}")
    try:
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging
    except ImportError:
        raise ImportError("this needs transformers: install act-steer[hf]") from None
    options: dict[str, Any] = {"local_files_only": True}
    shown = logging.is_progress_bar_enabled()
    try:
        if not sys.stderr.isatty():
            logging.disable_progress_bar()
        model = AutoModelForCausalLM.from_pretrained(folder, **options)
        return model.eval(), AutoTokenizer.from_pretrained(folder, **options)
    finally:
        if shown:
            logging.enable_progress_bar()


def read_prompts(path: Path) -> list[str]:
    """Return the prompts of a file: its lines that are not empty, or the ``text`` of JSON Lines.

    Raises:
        ValueError: if there are none, or a line is no JSON with a text.
    """
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if path.suffix == ".jsonl":
        texts = []
        for number, line in enumerate(lines, 1):
            try:
                text = json.loads(line)["text"]
            except (ValueError, TypeError, KeyError, RecursionError):
                text = None
            if not isinstance(text, str):
                raise ValueError(f'{path}, line {number}: must be {{"text": "..."}}')
            texts.append(text)
        lines = texts
    if not lines:
        raise ValueError(f"{path} holds no prompts")
    return lines


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)

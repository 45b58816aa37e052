"""What steering costs a token: decoding at batch 1, against the model as it is and against peers.

`python packages/act-steer/benchmarks/decode.py` makes a Llama of SmolLM2-135M's shape with weights
drawn at random (the time of a token does not depend on them; `--model FOLDER` takes another one),
checks that all that add the same shifts give the same logits, then decodes in turns in one process,
by process time, and prints a table of ratios of tokens a second.

repeng and steering-vectors cap numpy and transformers in their metadata below what is current, but
run with them: `uv pip install --no-deps --target peers repeng==0.4.0 steering-vectors==0.12.2`, and
put that folder on PYTHONPATH. Without them there is no race against them.
"""

import argparse
import copy
import importlib.metadata
import inspect
import json
import os
import platform
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np
import torch
from act_steer import LinearTransport, MeanTransport, Steering
from act_steer.apply import apply
from act_steer.fold import fold
from torch import nn

README = Path(__file__).parents[1] / "README.md"
BARS = {"folded": 0.98, "module": 0.95, "hook": 0.92}
PEERS = ("repeng", "steering-vectors")
PROMPT, STRENGTH = 16, 0.5
PLACES = {
    "mean maps of the 30 blocks": (r"model\.layers\.\d+", "mean", "all"),
    "linear maps of the 60 norms, min-max": (r".*layernorm", "linear", "minmax"),
    "linear maps of the 30 attention outputs": (r".*o_proj", "linear", "all"),
}


def smollm2_shape() -> nn.Module:
    """A Llama of the shape of SmolLM2-135M, its weights drawn with seed 0."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
        num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval().requires_grad_(False)


def maps_for(model: nn.Module, place: str) -> Steering:
    """Maps from random samples; their numbers do not matter for the time."""
    pattern, method, support = PLACES[place]
    kind = {"mean": MeanTransport, "linear": LinearTransport}[method]
    width, maps = model.config.hidden_size, {}
    g = torch.Generator().manual_seed(1)
    for name, _ in model.named_modules():
        if re.fullmatch(pattern, name):
            a, b = torch.randn(2, 32, width, generator=g)
            maps[name] = kind.fit(a, 0.9 * b + 0.05, support=support)
    return Steering(maps)


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(PROMPT)[None]).logits


def decode_seconds(model: nn.Module, tokens: int) -> float:
    """Process time of greedy decoding behind a prompt, the prompt not counted."""
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    known = inspect.signature(model.forward).parameters
    name = "cache" if "cache" in known else "past_key_values"  # transformers 5.24 renamed it
    with torch.no_grad():
        step = model(torch.arange(PROMPT)[None], use_cache=True, **{name: cache})
        start = time.process_time()
        for _ in range(tokens):
            token = step.logits[:, -1:].argmax(-1)
            step = model(token, use_cache=True, **{name: cache})
        return time.process_time() - start


@contextmanager
def with_repeng(model: nn.Module, steering: Steering) -> Iterator[None]:
    """The shifts as repeng applies them."""
    if not hasattr(np, "float_"):  # repeng 0.4 names it, numpy 2 has dropped it
        np.float_ = np.float64  # noqa: NPY201
    from repeng.control import ControlModel

    layers = model.model.layers
    wrapped = ControlModel(model, range(len(layers)))
    shifts = {n: STRENGTH * steering[f"model.layers.{n}"].shift for n in range(len(layers))}
    wrapped.set_raw_control(shifts)
    try:
        yield
    finally:
        wrapped.unwrap()


@contextmanager
def with_steering_vectors(model: nn.Module, steering: Steering) -> Iterator[None]:
    """The shifts as steering-vectors applies them."""
    from steering_vectors import SteeringVector

    shifts = {n: steering[f"model.layers.{n}"].shift for n in range(len(steering))}
    with SteeringVector(shifts).apply(model, multiplier=STRENGTH):
        yield


def racers(model: nn.Module) -> dict[str, tuple[nn.Module, Callable[[], object]]]:
    """Models and what they are steered by while they decode, by ``place: way``."""
    shared = {id(p): p for p in model.parameters()}
    found: dict[str, tuple[nn.Module, Callable[[], object]]] = {}
    for place in PLACES:
        steering = maps_for(model, place)
        for mode in ("hook", "module"):
            found[f"{place}: {mode}"] = (
                model,
                lambda s=steering, mode=mode: apply(s, model, strength=STRENGTH, mode=mode),
            )
        if PLACES[place][2] == "all":
            folded = copy.deepcopy(model, memo=dict(shared))
            fold(steering, folded, strength=STRENGTH)
            found[f"{place}: folded"] = (folded, _as_it_is)
        if place == next(iter(PLACES)):
            for peer, steered in zip(PEERS, (with_repeng, with_steering_vectors), strict=True):
                if installed(peer):
                    found[f"{place}: {peer}"] = (
                        model,
                        lambda s=steering, steered=steered: steered(model, s),
                    )
    return found


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


def installed(peer: str) -> bool:
    try:
        importlib.metadata.version(peer)
    except importlib.metadata.PackageNotFoundError:
        print(f"{peer} is not installed: no race against it", file=sys.stderr)
        return False
    return True


def check(model: nn.Module, racing: dict[str, tuple[nn.Module, Callable[[], object]]]) -> None:
    """Stop where two ways at one place do not compute the same."""
    plain = logits(model)
    want: dict[str, torch.Tensor] = {}
    for name, (racer, steered) in racing.items():
        with steered():
            got = logits(racer)
        first = want.setdefault(name.partition(":")[0], got)
        torch.testing.assert_close(got, first, atol=1e-4 * float(first.abs().max()), rtol=1e-4)
        if (got - plain).abs().max() < 1e-3 * plain.abs().max():
            raise SystemExit(f"{name} steers nothing")


def race(model: nn.Module, turns: int, tokens: int) -> dict[str, float]:
    """Tokens a second over those of the model as it is, medians over turns."""
    racing = racers(model)
    check(model, racing)
    ratios: dict[str, list[float]] = {name: [] for name in racing}
    for turn in range(turns + 1):
        for name, (racer, steered) in racing.items():  # each beside a plain run of its own
            before = decode_seconds(model, tokens)
            with steered():
                taken = decode_seconds(racer, tokens)
            after = decode_seconds(model, tokens)
            if turn:
                ratios[name].append((before + after) / 2 / taken)
    return {name: median(values) for name, values in ratios.items()}


def markdown(report: dict) -> str:
    """The table of the README."""
    ways = ("folded", "module", "hook", *PEERS)
    lines = [f"| tokens a second, of the unsteered | {' | '.join(ways)} |"]
    lines.append("|---" * (len(ways) + 1) + "|")
    for place in PLACES:
        found = [report["ratios"].get(f"{place}: {way}") for way in ways]
        cells = ["-" if ratio is None else f"{ratio:.2f}" for ratio in found]
        lines.append(f"| {place} | {' | '.join(cells)} |")
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    lines += [
        "",
        f"Greedy decoding at batch 1 with a cache, {report['model']}, float32, "
        f"{report['threads']} thread(s), process time; medians over {report['turns']} turns of "
        f"{report['tokens']} tokens, each beside two of the model as it is. {versions}.",
    ]
    return "\n".join(lines)


def races(report: dict, *, bars: bool) -> list[dict]:
    """One row a figure, with the bar that it must keep; without, after only a few turns."""
    rows = []
    for name, value in report["ratios"].items():
        way = name.rpartition(": ")[2]
        bar = {"at_least": BARS[way]} if bars and way in BARS else {}
        rows.append({"what": f"tokens/s, {name} / unsteered", "value": value} | bar)
    return rows


def missed_bars(rows: list[dict]) -> list[str]:
    """One line for every bar that was not reached."""
    missed = []
    for row in rows:
        value, least, most = row["value"], row.get("at_least"), row.get("at_most")
        if least is not None and not value >= least:
            missed.append(f"{row['what']}: {value:.4g}, bar at least {least:g}")
        if most is not None and not value <= most:
            missed.append(f"{row['what']}: {value:.4g}, bar at most {most:g}")
    return missed


def write_readme(table: str) -> None:
    """Put the table between the README's markers."""
    text = README.read_text()
    marked = re.compile(r"(<!-- decode -->\n).*?(<!-- /decode -->)", re.DOTALL)
    if not marked.search(text):
        raise SystemExit(f"{README} has no <!-- decode --> markers")
    new = README.with_suffix(".new")
    new.write_text(marked.sub(lambda m: m[1] + "\n" + table + "\n\n" + m[2], text))
    os.replace(new, README)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--tokens", type=int, default=8)
    parser.add_argument("--model", type=Path, help="folder of a Llama of transformers")
    parser.add_argument("--quick", action="store_true", help="few turns: does it run at all")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--readme", action="store_true", help="write the table into the README")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")  # the peers are of 2025
    turns, tokens = (1, 2) if arguments.quick else (arguments.turns, arguments.tokens)
    if arguments.model:
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(arguments.model, local_files_only=True).eval()
    else:
        model = smollm2_shape()
    packages = ["act-steer", "torch", "transformers", *(p for p in PEERS if installed(p))]
    report = {
        "model": arguments.model.name if arguments.model else "a Llama of SmolLM2-135M's shape",
        "threads": arguments.threads,
        "turns": turns,
        "tokens": tokens,
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in packages},
        "ratios": race(model, turns, tokens),
    }
    table = markdown(report)
    print(table)
    report["races"] = races(report, bars=not arguments.quick)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    if arguments.readme:
        write_readme(table)
    missed = missed_bars(report["races"])
    for line in missed:
        print(f"bar missed: {line}", file=sys.stderr)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())

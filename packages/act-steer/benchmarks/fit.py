"""What fitting costs: the kernel against loops over neurons, one pass against layer by layer.

`python packages/act-steer/benchmarks/fit.py` checks first that all compute the same maps, then
races them in turns in one process, by process time, and prints a table of ratios. `--smollm2 DIR`
takes a transformers checkpoint in place of a random Llama of SmolLM2's depth; `--readme` writes the
table into the package's README.
"""

import argparse
import contextlib
import copy
import importlib.metadata
import json
import math
import os
import platform
import re
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from act_steer import LinearTransport, fit

README = Path(__file__).parents[1] / "README.md"
SAMPLES, NEURONS = 1024, 4096
DEPTHS = (4, 8, 16, 32)
COLUMN, POT, PASSES, SLOPE = (
    "loop over columns / fit",
    "loop of `ot.emd_1d` / fit",
    "layer by layer / one pass",
    "one pass: log-log slope in layers",
)
ALL = ", all threads"
BARS = {
    COLUMN + ALL: (20, None),
    POT + ALL: (200, None),
    PASSES: (15, None),
    SLOPE: (0.85, 1.15),
}


def race(
    racers: dict[str, Callable[[], object]],
    turns: int,
    clock: Callable[[], float] = time.process_time,
    warm: int = 1,
) -> dict[str, float]:
    """Median time of each, in turns, after some that do not count."""
    taken: dict[str, list[float]] = {name: [] for name in racers}
    for turn in range(turns + warm):
        for name, run in racers.items():
            start = clock()
            run()
            if turn >= warm:
                taken[name].append(clock() - start)
    return {name: median(times) for name, times in taken.items()}


def by_column(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Definition 3.1 with a loop over neurons, as the published code has it."""
    maps = []
    for d in range(a.shape[1]):
        x, y = a[:, d].sort().values, b[:, d].sort().values
        mx, my = x.mean(), y.mean()
        x, y = x - mx, y - my
        scale = (x * y).sum() / (x * x).sum()
        maps.append((scale, my - scale * mx))
    scale, shift = zip(*maps, strict=True)
    return torch.stack(scale), torch.stack(shift)


def by_plan(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least squares over POT's plan of every neuron."""
    import ot

    maps = []
    for d in range(a.shape[1]):
        x, y = a[:, d], b[:, d]
        plan = ot.emd_1d(x, y)
        mx, my = x.mean(), y.mean()
        scale = (x - mx) @ plan @ (y - my) / x.var()
        maps.append((scale, my - scale * mx))
    scale, shift = zip(*maps, strict=True)
    return np.array(scale), np.array(shift)


def kernel(turns: int) -> dict[str, float]:
    """Ratios of the kernel; POT's loop runs over 64 columns and is scaled."""
    g = torch.Generator().manual_seed(0)
    a = torch.randn(SAMPLES, NEURONS, generator=g)
    b = 2 * torch.randn(SAMPLES, NEURONS, generator=g) + 1
    some = slice(0, 64)
    x, y = a[:, some].double().numpy(), b[:, some].double().numpy()
    ours = LinearTransport.fit(a, b)
    torch.testing.assert_close(by_column(a, b), (ours.scale, ours.shift), atol=1e-4, rtol=1e-4)
    plan = torch.from_numpy(np.stack(by_plan(x, y))).float()
    want = torch.stack([ours.scale, ours.shift])[:, some]
    torch.testing.assert_close(plan, want, atol=1e-5, rtol=1e-5)
    racers = {
        "ours": lambda: LinearTransport.fit(a, b),
        "column": lambda: by_column(a, b),
        "pot": lambda: by_plan(x, y),
    }
    ratios, threads = {}, torch.get_num_threads()
    for suffix, number, clock in (
        ("", threads, time.process_time),
        (ALL, os.cpu_count() or 1, time.perf_counter),
    ):
        torch.set_num_threads(number)
        taken = race(racers, turns, clock)
        ratios[COLUMN + suffix] = taken["column"] / taken["ours"]
        ratios[POT + suffix] = taken["pot"] * NEURONS / 64 / taken["ours"]
    torch.set_num_threads(threads)
    return ratios


def random_llama(layers: int, width: int = 64) -> torch.nn.Module:
    """A Llama of random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512, hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, initializer_range=0.1,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def token_batches(vocabulary: int, seed: int, prompts: int = 32) -> list[dict[str, torch.Tensor]]:
    """Two batches of 16 prompts of 16 tokens."""
    g = torch.Generator().manual_seed(seed)
    low = seed * vocabulary // 4  # the sides use other parts of the vocabulary
    ids = torch.randint(low, low + vocabulary // 2, (prompts, 16), generator=g)
    return [{"input_ids": part, "attention_mask": torch.ones_like(part)} for part in ids.split(16)]


class Enough(Exception):
    """Ends a forward pass at the module whose activations were asked for."""


@torch.no_grad()
def layer_by_layer(
    model: torch.nn.Module, names: list[str], source: list[dict], target: list[dict]
) -> dict[str, LinearTransport]:
    """The published procedure: for every module, all prompts again up to it, earlier maps on."""
    maps: dict[str, LinearTransport] = {}
    for name in names:
        rows = []
        for batches, steered in ((source, True), (target, False)):
            kept: list[torch.Tensor] = []
            handles = []
            if steered:
                for earlier, each in maps.items():
                    module = model.get_submodule(earlier)
                    handles.append(
                        module.register_forward_hook(lambda m, a, out, each=each: each(out))
                    )

            def keep(module: object, args: object, out: torch.Tensor, kept: list = kept) -> None:
                kept.append(out.mean(1))
                raise Enough

            handles.append(model.get_submodule(name).register_forward_hook(keep))
            for batch in batches:
                with contextlib.suppress(Enough):
                    model(**batch, use_cache=False)
            for handle in handles:
                handle.remove()
            rows.append(torch.cat(kept))
        maps[name] = LinearTransport.fit(*rows)
    return maps


def passes(model: torch.nn.Module, turns: int) -> dict[str, float]:
    """One pass against layer by layer, on all norms of a model."""
    sides = [token_batches(model.config.vocab_size, seed) for seed in (0, 1)]

    def once() -> object:
        return fit(model, *sides, progress=False)

    exact = copy.deepcopy(model).double()  # rounding grows through the layers, and would hide much
    names = list(once())
    maps = fit(exact, *sides, progress=False)
    for name, want in layer_by_layer(exact, names[:12], *sides).items():
        torch.testing.assert_close(maps[name].scale, want.scale, atol=1e-8, rtol=1e-8)
        torch.testing.assert_close(maps[name].shift, want.shift, atol=1e-8, rtol=1e-8)
    racers = {"once": once, "each": lambda: layer_by_layer(model, names, *sides)}
    taken = race(racers, turns, warm=0)
    return {PASSES: taken["each"] / taken["once"]}


def growth(turns: int) -> dict[str, float]:
    """Slope of log time over log layers."""
    sides = [token_batches(512, seed) for seed in (0, 1)]
    models = {layers: random_llama(layers, width=256) for layers in DEPTHS}
    taken = race(
        {str(n): lambda m=m: fit(m, *sides, progress=False) for n, m in models.items()}, turns
    )
    x, y = [math.log(n) for n in DEPTHS], [math.log(taken[str(n)]) for n in DEPTHS]
    return {SLOPE: float(np.polyfit(x, y, 1)[0])}


def markdown(report: dict) -> str:
    """The table of the README."""
    lines = ["| | ratio |", "|---|---|"]
    lines += [f"| {name} | {value:.3g} |" for name, value in report["ratios"].items()]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    lines += [
        "",
        f"Medians in turns in one process, process time, float32, {report['threads']} thread(s); "
        f"with all {report['cores']}, wall time. "
        f"Kernel: {SAMPLES} samples a side, {NEURONS} neurons; POT's loop on 64 of them, scaled. "
        f"Passes: all {report['modules']} norms of {report['model']}, 32 prompts of 16 tokens a "
        f"side. Slope: random Llamas of {', '.join(map(str, DEPTHS))} layers. {versions}.",
    ]
    return "\n".join(lines)


def races(report: dict, *, bars: bool) -> list[dict]:
    """One row a figure, with the bar that it must keep; without, after only a few turns."""
    rows = []
    for name, value in report["ratios"].items():
        least, most = BARS.get(name, (None, None)) if bars else (None, None)
        ends = {"at_least": least, "at_most": most}
        row = {"what": name, "value": value}
        rows.append(row | {end: bar for end, bar in ends.items() if bar is not None})
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
    marked = re.compile(r"(<!-- fit -->\n).*?(<!-- /fit -->)", re.DOTALL)
    if not marked.search(text):
        raise SystemExit(f"{README} has no <!-- fit --> markers")
    new = README.with_suffix(".new")
    new.write_text(marked.sub(lambda m: m[1] + "\n" + table + "\n\n" + m[2], text))
    os.replace(new, README)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="few turns: does it run at all")
    parser.add_argument("--only", choices=["kernel", "passes", "growth"], help="one race")
    parser.add_argument("--smollm2", type=Path, help="folder of a transformers checkpoint")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--readme", action="store_true", help="write the table into the README")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")  # POT's own, at its first import
    if arguments.smollm2:
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(arguments.smollm2).eval()
        name = arguments.smollm2.name
    else:
        model = random_llama(4) if arguments.quick else random_llama(30, width=192)
        name = (
            f"a random Llama, {model.config.num_hidden_layers} layers of {model.config.hidden_size}"
        )
    turns = 1 if arguments.quick else 5
    contests = {
        "kernel": lambda: kernel(turns),
        "passes": lambda: passes(model, 1 if arguments.quick else 3),
        "growth": lambda: growth(turns),
    }
    chosen = [arguments.only] if arguments.only else list(contests)
    packages = ["act-steer", "torch", "numpy", "POT", "transformers"]
    report = {
        "threads": arguments.threads,
        "cores": os.cpu_count(),
        "model": name,
        "modules": 2 * model.config.num_hidden_layers,
        "versions": {"python": platform.python_version()}
        | {package: importlib.metadata.version(package) for package in packages},
        "ratios": {key: value for name_ in chosen for key, value in contests[name_]().items()},
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

"""Race the EMA update against its peers, and print the table that the README holds.

    uv run nox -s bench -- ema-scaling                 # all races, a few minutes
    uv run nox -s bench -- ema-scaling --quick         # a check that everything runs
    uv run nox -s bench -- ema-scaling --json out.json --readme

Contenders take turns within one process; a figure is the median over the rounds of the time
divided by the floor's time of the same round. The floor is one flat ``lerp_`` as large as the
model: what the memory allows.
"""

import argparse
import json
import platform
import re
import statistics
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import _peers as peers
import torch
from _peers import Contender
from ema_scaling.files import write_text
from torch.utils.benchmark import Timer

README = Path(__file__).parent.parent / "README.md"
PACKAGES = ("ema-scaling", "torch", "timm", "ema-pytorch", "diffusers", "torch-ema", "lightning")
Row = dict[str, Any]
BARS: dict[tuple[str, str], Row] = {  # ours over the floor, and peers over ours
    ("float32", "floor"): {"at_most": 1.20},
    ("mixed", "floor"): {"at_most": 1.60},
    ("mixed", "MiB allocated"): {"at_most": 2.0},
    ("stochastic", "timm ModelEmaV3"): {"at_least": 4.0},
    ("small", "torch AveragedModel (multi_avg_fn)"): {"at_least": 5.0},
    ("small", "torch AveragedModel (avg_fn)"): {"at_least": 5.0},
    ("growth", "floor"): {"at_most": 4.5},
}


def size_of(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def race(contenders: list[Contender], rounds: int, threads: int) -> list[list[float]]:
    """Seconds of every contender in every round, taking turns: ``[contender][round]``."""
    timers = [Timer("run()", globals={"run": c.update}, num_threads=threads) for c in contenders]
    for timer in timers:
        timer.timeit(2)
    times: list[list[float]] = [[] for _ in contenders]
    for index in range(rounds):
        order = range(len(timers)) if index % 2 else range(len(timers) - 1, -1, -1)
        for i in order:
            times[i].append(timers[i].timeit(1).median)
    return times


def rows(title: str, contenders: list[Contender], times: list[list[float]]) -> list[Row]:
    """One row a contender: ratios to the first one, which is the floor."""
    out = []
    for contender, own in zip(contenders, times, strict=True):
        ratios = [a / b for a, b in zip(own, times[0], strict=True)]
        out.append({
            "race": title, "contender": contender.name, "ratio": statistics.median(ratios),
            "best": min(own) / min(times[0]), "ms": 1e3 * statistics.median(own),
        })  # fmt: skip
    return out


def float32(quick: bool, rounds: int, threads: int) -> list[Row]:
    model = peers.resnet50(0.25 if quick else 1.0)
    contenders = [
        peers.floor(size_of(model)), peers.bare(model), peers.ours(model),
        peers.ours(model, precision="compensated"), *peers.peers(model),
    ]  # fmt: skip
    peers.check_alike(model, contenders[1:], 1e-5)
    title = f"float32, ResNet-50's shapes ({size_of(model) / 1e6:.1f} M)"
    return rows(title, contenders, race(contenders, rounds, threads))


def mixed(quick: bool, rounds: int, threads: int) -> list[Row]:
    model = peers.resnet50(0.25 if quick else 1.0).to(torch.bfloat16)
    contenders = [peers.floor(size_of(model)), peers.ours(model)]
    try:
        contenders.append(peers.timm(model, dtype=torch.float32))
    except ImportError:
        print("timm is not installed: left out", file=sys.stderr)
    shadows = [p.detach().float() for p in model.parameters()]
    sources = list(model.parameters())

    @torch.no_grad()
    def cast() -> None:
        torch._foreach_lerp_(shadows, [p.float() for p in sources], 1 - peers.DECAY)

    contenders.append(
        Contender("cast, then _foreach_lerp_", cast, lambda: shadows[0].flatten().double())
    )
    peers.check_alike(model, contenders[1:], 1e-5)
    out = rows("bfloat16 model, float32 average", contenders, race(contenders, rounds, threads))
    for row, contender in zip(out, contenders, strict=True):
        row["allocated_mib"] = allocated(contender.update)
    return out


def stochastic(quick: bool, rounds: int, threads: int) -> list[Row]:
    model = peers.resnet50(0.25 if quick else 1.0).to(torch.bfloat16)
    contenders = [
        peers.floor(size_of(model)),
        peers.ours(model, precision="stochastic"),
        peers.ours(model, precision="stochastic", rng="independent"),
    ]
    try:
        contenders.append(peers.timm(model))
    except ImportError:
        print("timm is not installed: left out", file=sys.stderr)
    peers.check_alike(model, contenders[1:], 0.1)
    title = "bfloat16 average, stochastic rounding"
    return rows(title, contenders, race(contenders, rounds, threads))


def small(quick: bool, rounds: int, threads: int) -> list[Row]:
    model = peers.small_tensors(200 if quick else 2000)
    contenders = [
        peers.floor(size_of(model)), peers.bare(model), peers.ours(model), *peers.peers(model)
    ]  # fmt: skip
    peers.check_alike(model, contenders[1:], 1e-5)
    title = f"{len(list(model.parameters()))} tensors of 64"
    return rows(title, contenders, race(contenders, rounds, threads))


def growth(quick: bool, rounds: int, threads: int) -> list[Row]:
    unit = 250_000 if quick else 2_500_000
    models = []
    for count in (10, 40):
        model = torch.nn.Module()
        model.items = torch.nn.ParameterList(
            [torch.nn.Parameter(torch.randn(unit)) for _ in range(count)]
        )
        models.append(model)
    contenders = [peers.ours(model) for model in models]
    for contender, model in zip(contenders, models, strict=True):
        contender.name = f"ema-scaling, {size_of(model) / 1e6:g} M parameters"
    return rows("growth", contenders, race(contenders, rounds, threads))


def allocated(run: Callable[[], object]) -> float:
    """MiB that one call allocates, all allocations added up."""
    run()
    activity = torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[activity], profile_memory=True) as profile:
        run()
    total = sum(max(event.self_cpu_memory_usage, 0) for event in profile.key_averages())
    return total / 2**20


RACES = {f.__name__: f for f in (float32, mixed, stochastic, small, growth)}


def markdown(results: list[Row], setting: dict[str, Any]) -> str:
    """The tables, one a race, with the versions and the command below."""
    lines: list[str] = []
    for title in dict.fromkeys(row["race"] for row in results):
        group = [row for row in results if row["race"] == title]
        extra = any("allocated_mib" in row for row in group)
        unit = "x the smaller" if title == "growth" else "x the floor"
        lines += [
            f"**{title}**",
            "",
            f"| update | {unit} |" + (" MiB allocated |" if extra else ""),
        ]
        lines.append("|---|---|" + ("---|" if extra else ""))
        for row in group:
            cell = f" {row['allocated_mib']:.1f} |" if extra else ""
            lines.append(f"| {row['contender']} | {row['ratio']:.2f} |{cell}")
        lines.append("")
    versions = ", ".join(f"{name} {version}" for name, version in setting["versions"].items())
    threads = f"{setting['threads']} thread" + ("s" if setting["threads"] > 1 else "")
    lines.append(
        f"Medians of {setting['rounds']} interleaved rounds, {threads}, floor "
        f"{setting['floor_gb_s']:.0f} GB/s; {versions}. Made by "
        f"`uv run nox -s bench -- ema-scaling --readme`."
    )
    return "\n".join(lines)


def races(results: list[Row], quick: bool) -> list[Row]:
    """One row a figure, with the bar that it must keep; without, where the models were small."""
    found: list[Row] = []

    def add(name: str, against: str, what: str, value: float) -> None:
        bar = {} if quick else BARS.get((name, against), {})
        found.append({"what": what, "value": value, **bar})

    for name in dict.fromkeys(row["name"] for row in results):
        floor, *others = [row for row in results if row["name"] == name]
        ours = next(row for row in others if row["contender"].startswith("ema-scaling"))
        title, below = floor["race"], floor["contender"].removeprefix("floor: ")
        add(name, "floor", f"{title}: time of {ours['contender']} / {below}", ours["ratio"])
        if "allocated_mib" in ours:
            add(name, "MiB allocated", f"{title}: MiB that we allocate", ours["allocated_mib"])
        for row in others:
            if not row["contender"].startswith("ema-scaling"):
                peer = row["contender"]
                add(name, peer, f"{title}: time of {peer} / ours", row["ratio"] / ours["ratio"])
    return found


def missed_bars(races: list[dict]) -> list[str]:
    """One line for every bar that was not reached."""
    missed = []
    for race in races:
        value, least, most = race["value"], race.get("at_least"), race.get("at_most")
        if least is not None and not value >= least:
            missed.append(f"{race['what']}: {value:.4g}, at least {least:.4g} is claimed")
        if most is not None and not value <= most:
            missed.append(f"{race['what']}: {value:.4g}, at most {most:.4g} is claimed")
    return missed


def rewrite_readme(text: str) -> None:
    """Put the tables between the README's two marks.

    Raises:
        ValueError: if the marks are not there.
    """
    old = README.read_text()
    mark = "<!-- bench -->"
    if old.count(mark) != 2:
        raise ValueError(f"{README} needs two marks {mark}")
    before, _, after = re.split(re.escape(mark), old)
    write_text(README, f"{before}{mark}\n\n{text}\n\n{mark}{after}")


def installed() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small models, few rounds")
    parser.add_argument("--rounds", type=int, help="rounds of each race")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--race", action="append", choices=RACES, help="only this one; repeatable")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--readme", action="store_true", help="rewrite the README's tables")
    arguments = parser.parse_args()
    rounds = arguments.rounds or (3 if arguments.quick else 31)
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    results: list[Row] = []
    for name in arguments.race or RACES:
        print(f"racing: {name}", file=sys.stderr)
        made = RACES[name](arguments.quick, rounds, arguments.threads)
        results += [{"name": name, **row} for row in made]
    elements = 250_000 if arguments.quick else 25_000_000
    flat = race([peers.floor(elements)], rounds, arguments.threads)[0]
    setting = {
        "rounds": rounds, "threads": arguments.threads, "versions": installed(),
        "floor_gb_s": 12 * elements / min(flat) / 1e9, "machine": platform.machine(),
        "python": platform.python_version(), "quick": arguments.quick,
    }  # fmt: skip
    found = races(results, arguments.quick)
    text = markdown(results, setting)
    print(text)
    if arguments.json:
        report = {**setting, "races": found, "rows": results}
        write_text(arguments.json, json.dumps(report, indent=2))
    if arguments.readme:
        rewrite_readme(text)
    missed = missed_bars(found)
    for line in missed:
        print(f"bar missed: {line}", file=sys.stderr)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())

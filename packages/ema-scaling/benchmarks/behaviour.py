"""What averages do where speed is not the question: lag of sparse updates, fixed point, rounding.

    uv run nox -s bench -- ema-scaling

Prints one line a check, ours beside a peer's. Peers that are not installed are left out.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from ema_scaling import ModelEMA, PowerFunction
from ema_scaling.files import write_text
from torch import nn
from update import installed, missed_bars

STEPS = 20_000
Check = tuple[str, dict[str, float], dict[str, float]]
"""What is measured, by whom it is what, and between what ours must be."""


def ramp(*averages: object) -> None:
    """Feed every average a weight that equals the number of the step."""
    model = averages[0].model
    for step in range(1, STEPS + 1):
        with torch.no_grad():
            model.weight.fill_(float(step))
        for average in averages:
            average.update()


def weight() -> nn.Module:
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    return model


def sparse() -> list[Check]:
    model = weight()
    ours = ModelEMA(model, 0.999, update_every=10, corrected=True)
    profile = ModelEMA(model, PowerFunction(gamma=6.94), update_every=100, corrected=True)
    peers = {}
    try:
        from ema_pytorch import EMA, KarrasEMA

        peers["lag"] = EMA(model, beta=0.999, min_value=0.999, update_after_step=0)
        peers["profile"] = KarrasEMA(model, gamma=6.94)
    except ImportError:
        pass
    ramp(ours, profile, *peers.values())
    lags = {"ema-scaling": STEPS - float(ours.weights()["weight"])}
    shares = {"ema-scaling": float(profile.weights()["weight"]) / STEPS}
    if "lag" in peers:
        lags["ema-pytorch EMA"] = STEPS - first(peers["lag"])
    if "profile" in peers:
        shares["ema-pytorch KarrasEMA"] = first(peers["profile"]) / STEPS
    lag = f"lag on a ramp of {STEPS} steps, decay 0.999, updated every 10th step (right: 999)"
    share = "share of that ramp, power function of gamma 6.94, every 100th step (right: 0.888)"
    return [
        (lag, lags, {"at_least": 998.9, "at_most": 999.1}),
        (share, shares, {"at_least": 0.8875, "at_most": 0.8885}),
    ]


def first(peer: nn.Module) -> float:
    return float(next(peer.ema_model.parameters()))


def fixed_point() -> list[Check]:
    from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

    model = nn.Linear(256, 256)
    start = model.weight.detach().clone()
    ours = ModelEMA(model, 0.999)
    single = AveragedModel(model, avg_fn=get_ema_avg_fn(0.999))
    for _ in range(2000):
        ours.update()
        single.update_parameters(model)
    ends = {
        "ema-scaling": ours.weights()["weight"],
        "torch AveragedModel (avg_fn)": single.module.weight.detach(),
    }
    moved = {name: float(((end - start) / start).abs().max()) for name, end in ends.items()}
    what = "largest relative movement of an average that equals its model, 2,000 updates (right: 0)"
    return [(what, moved, {"at_most": 0.0})]


def stagnation() -> list[Check]:
    model = nn.Linear(1, 1, bias=False).bfloat16()
    nn.init.ones_(model.weight)
    plain = model.weight.detach().clone()
    averages = {p: ModelEMA(model, 0.9999, precision=p) for p in ("fp32", "stochastic")}
    nn.init.constant_(model.weight, 1.5)
    for _ in range(20_000):
        plain.lerp_(model.weight.detach(), 1e-4)
        for average in averages.values():
            average.update()
    found = {
        f"ema-scaling, {name}": float(average.average.shadow["weight"].float())
        for name, average in averages.items()
    }
    found["plain lerp in bfloat16"] = float(plain)
    what = "bfloat16 model moved from 1 to 1.5, decay 0.9999, 20,000 updates (right: 1.432)"
    return [(what, found, {"at_least": 1.42, "at_most": 1.445})]


def races(checks: list[Check]) -> list[dict]:
    """One row a figure; ours with the bounds that it must keep."""
    return [
        {"what": f"{name}: {what}", "value": value}
        | (bounds if name.startswith("ema-scaling") else {})
        for what, found, bounds in checks
        for name, value in found.items()
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments, _ = parser.parse_known_args()  # options of the races beside it mean nothing here
    torch.manual_seed(0)
    torch.set_num_threads(1)
    checks = [*sparse(), *fixed_point(), *stagnation()]
    for what, found, _ in checks:
        print(what)
        for name, value in found.items():
            print(f"  {name:<29} {value:9.4g}")
    rows = races(checks)
    if arguments.json:
        report = {"threads": 1, "versions": installed(), "races": rows}
        write_text(arguments.json, json.dumps(report, indent=2))
    missed = missed_bars(rows)
    for line in missed:
        print(f"bar missed: {line}", file=sys.stderr)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())

"""What averages do where speed is not the question: lag of sparse updates, fixed point, rounding.

    uv run nox -s bench -- ema-scaling

Prints one line a check, ours beside a peer's. Peers that are not installed are left out.
"""

import argparse

import torch
from ema_scaling import ModelEMA, PowerFunction
from torch import nn

STEPS = 20_000


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


def sparse() -> None:
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
    print(f"lag on a ramp of {STEPS} steps, decay 0.999, updated every 10th step (right: 999)")
    print(f"  ema-scaling                   {STEPS - float(ours.weights()['weight']):9.1f}")
    if "lag" in peers:
        print(f"  ema-pytorch EMA               {STEPS - first(peers['lag']):9.1f}")
    print("share of that ramp, power function of gamma 6.94, every 100th step (right: 0.888)")
    print(f"  ema-scaling                   {float(profile.weights()['weight']) / STEPS:9.3f}")
    if "profile" in peers:
        print(f"  ema-pytorch KarrasEMA         {first(peers['profile']) / STEPS:9.3f}")


def first(peer: nn.Module) -> float:
    return float(next(peer.ema_model.parameters()))


def fixed_point() -> None:
    from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

    model = nn.Linear(256, 256)
    start = model.weight.detach().clone()
    ours = ModelEMA(model, 0.999)
    single = AveragedModel(model, avg_fn=get_ema_avg_fn(0.999))
    for _ in range(2000):
        ours.update()
        single.update_parameters(model)
    print("largest relative movement of an average that equals its model, 2,000 updates (right: 0)")
    for name, got in (("ema-scaling", ours.weights()["weight"]),
                      ("torch AveragedModel (avg_fn)", single.module.weight.detach())):  # fmt: skip
        print(f"  {name:<29} {float(((got - start) / start).abs().max()):9.2g}")


def stagnation() -> None:
    model = nn.Linear(1, 1, bias=False).bfloat16()
    nn.init.ones_(model.weight)
    plain = model.weight.detach().clone()
    averages = {p: ModelEMA(model, 0.9999, precision=p) for p in ("fp32", "stochastic")}
    nn.init.constant_(model.weight, 1.5)
    for _ in range(20_000):
        plain.lerp_(model.weight.detach(), 1e-4)
        for average in averages.values():
            average.update()
    print("bfloat16 model moved from 1 to 1.5, decay 0.9999, 20,000 updates (right: 1.432)")
    for name, average in averages.items():
        print(f"  ema-scaling, {name:<16} {float(average.average.shadow['weight'].float()):9.3f}")
    print(f"  plain lerp in bfloat16        {float(plain):9.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_known_args()  # options of the races beside it mean nothing here
    torch.manual_seed(0)
    torch.set_num_threads(1)
    sparse()
    fixed_point()
    stagnation()


if __name__ == "__main__":
    main()

"""Distillation without predictor and with decay 0 collapses; the entropy term keeps it up.

`python packages/er-ssl/examples/collapse.py` trains a small network twice on synthetic clusters,
about two seconds each on one core, and draws `collapse.svg` beside this file (needs er-ssl[plot]).
"""

import warnings
from pathlib import Path

import torch
from er_ssl import CollapseWarning, DistillationERLoss, ERMonitor
from torch import nn

KAPPA = 10.0


def train(entropy_weight: float, *, steps: int = 400, seed: int = 0) -> list[dict[str, float]]:
    """Return the monitor's records of one run, one every ten steps."""
    g = torch.Generator().manual_seed(seed)
    centres = torch.randn(20, 32, generator=g)

    def batch() -> tuple[torch.Tensor, torch.Tensor]:
        """Two noisy views of 128 points in twenty clusters."""
        x = centres[torch.randint(20, (128,), generator=g)]
        x = x + 0.3 * torch.randn(x.shape, generator=g)
        return tuple(x + 0.3 * torch.randn(x.shape, generator=g) for _ in range(2))

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 16))
    optimizer = torch.optim.Adam(encoder.parameters(), lr=3e-3)
    loss = DistillationERLoss(KAPPA, entropy_weight=entropy_weight)
    monitor, records = ERMonitor(kappa=KAPPA), []
    for step in range(steps):
        x1, x2 = batch()
        z1, z2 = encoder(x1), encoder(x2)  # teacher and student are one: decay 0
        optimizer.zero_grad()
        ((loss(z1, z1, z2) + loss(z2, z2, z1)) / 2).backward()
        optimizer.step()
        monitor.update(z1, z2)
        if step % 10 == 9:
            records.append({"step": step + 1, **monitor.compute()})
            monitor.reset()
    return records


def draw(runs: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Entropy and bound of the runs over steps, between their limits."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, records in runs.items():
        steps = [record["step"] for record in records]
        left.plot(steps, [record["entropy_online"] for record in records], label=name)
        right.plot(steps, [record["bound"] for record in records], label=name)
    limits = next(iter(runs.values()))[0]
    grey = {"color": "0.5", "linewidth": 1}
    left.axhline(limits["entropy_ceiling"], linestyle="--", label="ceiling", **grey)
    left.axhline(limits["entropy_floor"], linestyle=":", label="floor: collapse", **grey)
    right.axhline(limits["ceiling"], linestyle="--", **grey)
    left.set(xlabel="step", ylabel="entropy of the embeddings (nats)")
    right.set(xlabel="step", ylabel="bound on the information (nats)")
    left.legend(frameon=False, fontsize="small")
    for axis in left, right:
        axis.spines[["top", "right"]].set_visible(False)
    with rc_context({"svg.hashsalt": "er-ssl"}):
        figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Train both, print where they ended, draw."""
    warnings.simplefilter("ignore", CollapseWarning)  # it is what we came to see
    torch.set_num_threads(1)  # small matrices
    runs = {"reconstruction only": train(0.0), "entropy and reconstruction": train(1.0)}
    for name, records in runs.items():
        last = records[-1]
        numbers = f"std {last['std_online']:.3f}, bound {last['bound']:.2f} nats"
        print(f"{name}: {numbers}, collapsed: {last['collapsed']}")
    draw(runs, Path(__file__).with_suffix(".svg"))


if __name__ == "__main__":
    main()

"""Is an inferred concentration the true one? With samples averaged inside the logarithm, in rank.

`python packages/lv-ssl/examples/concentration.py` trains three small networks on synthetic
directions, a few seconds each on one core, and draws `concentration.svg` beside this file (needs
matplotlib). After the controlled experiment of Kirchhof et al. 2023.
"""

from pathlib import Path

import torch
from lv_ssl import StochasticContrastiveLoss, StochasticHead, VonMisesFisher, spearman
from torch import Tensor, nn

DIM = 6


def train(
    estimator: str, *, samples: int, related: bool = True, steps: int = 150
) -> tuple[Tensor, Tensor]:
    """Return the concentrations of 1,000 views that were seen, and those that are inferred.

    A view is a draw around a direction that both views share, with a concentration of its own
    that stands beside it. ``related=False`` puts another view's concentration there.
    """
    g = torch.Generator().manual_seed(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(DIM + 1, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        head = StochasticHead(64, DIM, "vmf", start_kappa=16.0)
    loss = StochasticContrastiveLoss(samples=samples, estimator=estimator, beta=0.03)
    optimizer = torch.optim.Adam([*net.parameters(), *head.parameters()], lr=5e-3)

    def view(mean: Tensor) -> tuple[Tensor, Tensor]:
        log_kappa = 1 + 4 * torch.rand(len(mean), 1, generator=g)  # kappa 2.7 to 148
        z = VonMisesFisher(mean, log_kappa.exp()).rsample(generator=g)[0]
        seen = log_kappa if related else log_kappa.roll(1, 0)
        return torch.cat([z, (seen - 3) / 2], 1), seen.exp().flatten()

    for _ in range(steps):
        mean = torch.randn(64, DIM, generator=g)
        posteriors = [head(net(view(mean)[0])) for _ in range(2)]
        optimizer.zero_grad()
        loss(*posteriors).loss.backward()
        optimizer.step()
    x, seen = view(torch.randn(1000, DIM, generator=g))
    with torch.no_grad():
        return seen, head(net(x)).kappa.flatten()


def draw(runs: dict[str, tuple[Tensor, Tensor]], path: Path) -> None:
    """The median inferred concentration in ten bins of the true one."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axis = figure.subplots()
    for name, (seen, inferred) in runs.items():
        bins = seen.argsort().chunk(10)
        medians = [[float(x[rows].median()) for rows in bins] for x in (seen, inferred)]
        axis.plot(*medians, marker=".", label=name)
    axis.set(xscale="log", yscale="log", xlabel="true concentration", ylabel="inferred")
    axis.legend(frameon=False, fontsize="small")
    axis.spines[["top", "right"]].set_visible(False)
    with rc_context({"svg.hashsalt": "lv-ssl"}):
        figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Train, print the rank correlations, draw."""
    torch.set_num_threads(1)  # small matrices
    runs = {
        "mc, 16 samples": train("mc", samples=16),
        "mean, 1 sample": train("mean", samples=1),
        "mc, 16 samples; another view's concentration is seen": train(
            "mc", samples=16, related=False
        ),
    }
    for name, (seen, inferred) in runs.items():
        print(f"{name}: rank correlation {spearman(seen.numpy(), inferred.numpy()):+.2f}")
    draw(runs, Path(__file__).with_suffix(".svg"))


if __name__ == "__main__":
    main()

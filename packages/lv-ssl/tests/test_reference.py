"""Against lightly's loss where it is there, and the controlled experiment on vMF latents."""

import pytest
import torch
from lv_ssl import Normal, StochasticContrastiveLoss, StochasticHead, VonMisesFisher, spearman
from torch import nn


def test_without_noise_and_rate_it_is_lightlys_loss():
    loss = pytest.importorskip("lightly.loss")
    for seed in range(20):
        g = torch.Generator().manual_seed(seed)
        z1, z2 = torch.randn(2, 16, 8, generator=g)
        q1, q2 = (Normal(z, torch.full_like(z, 1e-7)) for z in (z1, z2))
        got = StochasticContrastiveLoss(temperature=0.2, beta=0.0)(q1, q2).loss
        want = loss.NTXentLoss(temperature=0.2)(z1, z2)
        assert float(got) == pytest.approx(float(want), abs=1e-5)


def recovered(*, related, steps=150):
    """Kirchhof's controlled experiment: the rank correlation of inferred and true kappa.

    A view is a draw around a direction that both views share, with a concentration of its own
    that is seen beside it. In the control, what is seen is another view's concentration.
    """
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(1)
    dim = 6
    net = nn.Sequential(nn.Linear(dim + 1, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
    head = StochasticHead(64, dim, "vmf", start_kappa=16.0)
    loss = StochasticContrastiveLoss(samples=16, estimator="mc", beta=0.03)
    optimizer = torch.optim.Adam([*net.parameters(), *head.parameters()], lr=5e-3)

    def view(mean):
        log_kappa = 1 + 4 * torch.rand(len(mean), 1, generator=g)  # kappa 2.7 to 148
        z = VonMisesFisher(mean, log_kappa.exp()).rsample(generator=g)[0]
        seen = log_kappa if related else log_kappa.roll(1, 0)
        return torch.cat([z, (seen - 3) / 2], 1), seen

    def means(n):
        return nn.functional.normalize(torch.randn(n, dim, generator=g), dim=1)

    for _ in range(steps):
        mean = means(64)
        posteriors = [head(net(view(mean)[0])) for _ in range(2)]
        optimizer.zero_grad()
        loss(*posteriors).loss.backward()
        optimizer.step()
    x, seen = view(means(1000))
    with torch.no_grad():
        kappa = head(net(x)).kappa
    return spearman(seen.flatten().numpy(), kappa.flatten().numpy())


def test_the_true_concentration_of_synthetic_latents_is_recovered_in_rank():
    # n = 1,000 views, seeds 0 and 1; the bound is .7
    assert recovered(related=True) > 0.7


def test_a_concentration_that_the_views_do_not_have_is_not():
    assert abs(recovered(related=False)) < 0.3

"""Against lightly's loss, where it is there."""

import pytest
import torch
from lv_ssl import Normal, StochasticContrastiveLoss


def test_without_noise_and_rate_it_is_lightlys_loss():
    loss = pytest.importorskip("lightly.loss")
    for seed in range(20):
        g = torch.Generator().manual_seed(seed)
        z1, z2 = torch.randn(2, 16, 8, generator=g)
        q1, q2 = (Normal(z, torch.full_like(z, 1e-7)) for z in (z1, z2))
        got = StochasticContrastiveLoss(temperature=0.2, beta=0.0)(q1, q2).loss
        want = loss.NTXentLoss(temperature=0.2)(z1, z2)
        assert float(got) == pytest.approx(float(want), abs=1e-5)

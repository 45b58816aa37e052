"""randaug-study's views feed er-ssl and lv-ssl: the same weights, whatever the workers."""

import pytest
import torch
from er_ssl import ERLoss, NTXentLoss
from lv_ssl import StochasticContrastiveLoss, StochasticHead
from randaug_study import Collate, Numbered, RandAugment
from tenfold.data.images import fashion_mnist
from tenfold.encoders import small_encoder
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

EPOCHS, BATCH, N = 3, 32, 256


class Pairs:
    """Two views of each image: an augmenter as `Collate` wants it, under two keys."""

    def __init__(self):
        self.aug = RandAugment(num_ops=2, magnitude=9)

    def __call__(self, images, *, key, ids):
        return torch.stack([self.aug(images, key=(*key, view), ids=ids) for view in (0, 1)])


class Bits(nn.Module):
    """lv-ssl's Bernoulli head and loss, as a pair objective with weights of its own."""

    def __init__(self):
        super().__init__()
        self.head = StochasticHead(64, 16, "bernoulli")
        self.loss = StochasticContrastiveLoss(NTXentLoss(0.2), seed=0)

    def forward(self, z1, z2):
        return self.loss(self.head(z1), self.head(z2)).loss


OBJECTIVES = {"er": lambda: ERLoss(kappa=5.0), "nt-xent": lambda: NTXentLoss(0.2), "bits": Bits}


def trained(name, *, seed=0, workers=0, batch=BATCH):
    """Train a small encoder; its weights, and the mean loss of each epoch."""
    images = torch.tensor(fashion_mnist().train[:N])
    collate = Collate(Pairs(), seed=seed)
    torch.manual_seed(0)
    width = small_encoder()(torch.zeros(1, 1, 28, 28)).shape[1]
    torch.manual_seed(0)
    encoder, objective = nn.Sequential(small_encoder(), nn.Linear(width, 64)), OBJECTIVES[name]()
    both = nn.ModuleList([encoder, objective])
    optimizer = torch.optim.AdamW(both.parameters(), lr=2e-3)
    loader = DataLoader(
        Numbered(TensorDataset(images)), batch_size=batch, shuffle=True, num_workers=workers,
        collate_fn=collate, generator=torch.Generator().manual_seed(1), drop_last=True,
    )  # fmt: skip
    losses = []
    for epoch in range(EPOCHS):
        collate.set_epoch(epoch)
        total = 0.0
        for (views,) in loader:
            z1, z2 = encoder(views.flatten(0, 1).float() / 127.5 - 1).chunk(2)
            loss = objective(z1, z2)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach())
        losses.append(total / len(loader))
    return torch.cat([p.detach().flatten() for p in both.parameters()]), losses


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_trains_on_views_by_key(name):
    weights, losses = trained(name)
    assert weights.isfinite().all()
    assert losses[-1] < losses[0] - 0.05


def test_the_same_key_gives_the_same_weights_whatever_the_workers():
    one, two = trained("er"), trained("er", workers=2)
    assert torch.equal(one[0], two[0])
    assert not torch.equal(one[0], trained("er", seed=1)[0])  # and the views do matter


def test_an_images_view_does_not_depend_on_the_batch_it_is_in():
    images = torch.tensor(fashion_mnist().train[:24])
    found = {}
    for batch in (5, 24):
        loader = DataLoader(
            Numbered(TensorDataset(images)), batch_size=batch, collate_fn=Collate(Pairs(), seed=0)
        )
        found[batch] = torch.cat([views for (views,) in loader], dim=1)
    assert torch.equal(found[5], found[24])
    assert not torch.equal(found[5][0], found[5][1])

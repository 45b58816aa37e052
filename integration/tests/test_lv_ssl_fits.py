"""er-ssl's losses as lv-ssl's objective: the same number, and two processes as one."""

import pytest
import torch
from er_ssl import ERLoss, NTXentLoss
from lv_ssl import StochasticContrastiveLoss, StochasticHead

RANKS = """
import sys
from datetime import timedelta
import torch
import torch.distributed as dist
from er_ssl import NTXentLoss
from lv_ssl import StochasticContrastiveLoss, StochasticHead
from torch.nn.parallel import DistributedDataParallel

folder, rank, world = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(1)
if world > 1:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank,
                            world_size=world, timeout=timedelta(seconds=60))
torch.manual_seed(0)
head = StochasticHead(12, 16, "bernoulli", batch_norm=False).double()
loss = StochasticContrastiveLoss(NTXentLoss(0.1, gather_distributed=world > 1), beta=0.01).eval()


class Both(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = head

    def forward(self, x1, x2):
        return loss(self.head(x1), self.head(x2)).loss


g = torch.Generator().manual_seed(1)
views = [torch.randn(8, 12, generator=g, dtype=torch.float64) for _ in range(2)]
share = slice(rank * 8 // world, (rank + 1) * 8 // world)
model = Both() if world == 1 else DistributedDataParallel(Both())
value = model(*(v[share] for v in views))
value.backward()
grads = torch.cat([p.grad.flatten() for p in head.parameters()])
mean = value.detach().clone()
if world > 1:
    dist.all_reduce(mean)
torch.save((mean / world, grads), f"{folder}/{world}-{rank}.pt")
if world > 1:
    dist.barrier()
    dist.destroy_process_group()
"""


@pytest.mark.parametrize("family", ["normal", "bernoulli", "vmf"])
def test_er_ssls_loss_equals_the_default_where_the_formula_is_the_same(family):
    torch.manual_seed(0)
    head = StochasticHead(12, 16, family).double()
    x1, x2 = torch.randn(2, 32, 12, dtype=torch.float64)
    found = []
    for objective in (None, NTXentLoss(temperature=0.1)):
        loss = StochasticContrastiveLoss(objective, samples=2, seed=5)
        head.zero_grad()
        terms = loss(head(x1), head(x2))
        terms.loss.backward()
        found.append((terms.loss.detach(), head.location.weight.grad.clone()))
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-9)


def test_a_head_trains_under_er_ssls_other_losses():
    torch.manual_seed(0)
    head, loss = StochasticHead(12, 16, "vmf"), StochasticContrastiveLoss(ERLoss(kappa=10.0))
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    values = []
    for _ in range(60):
        x = torch.randn(64, 6)
        views = [torch.cat([x, torch.randn(64, 6)], 1) for _ in range(2)]
        terms = loss(*(head(v) for v in views))
        optimizer.zero_grad()
        terms.loss.backward()
        optimizer.step()
        values.append(float(terms.contrastive.detach()))
    assert sum(values[-10:]) < sum(values[:10])


@pytest.mark.distributed
def test_two_processes_with_the_gathered_objective_equal_one(two_as_one):
    two_as_one(RANKS)

"""er-ssl's losses and ema-scaling's teacher in homssl: the same numbers; two processes as one."""

import pytest
import torch
from ema_scaling import ModelEMA
from er_ssl import ERLoss, NTXentLoss
from homssl import ASSL, HSSL, Cyclic, EMATeacher, cosine_regression, group_convnet
from torch import nn

RANKS = """
import sys
from datetime import timedelta
import torch
import torch.distributed as dist
from er_ssl import NTXentLoss
from homssl import HSSL, Cyclic, group_convnet
from torch.nn.parallel import DistributedDataParallel

folder, rank, world = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(1)
if world > 1:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank,
                            world_size=world, timeout=timedelta(seconds=60))
torch.manual_seed(0)
hssl = HSSL(group_convnet(Cyclic(4), widths=(3, 6)), Cyclic(4),
            objective=NTXentLoss(0.1, gather_distributed=world > 1)).double().eval()


class Loss(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = hssl

    def forward(self, x, elements):
        return self.inner(x, elements=elements).loss


g = torch.Generator().manual_seed(1)
x = torch.rand(8, 1, 12, 12, generator=g, dtype=torch.float64)
elements = hssl.sample(8, generator=g)
share = slice(rank * 8 // world, (rank + 1) * 8 // world)
model = Loss() if world == 1 else DistributedDataParallel(Loss())
value = model(x[share], elements[:, share])
value.backward()
grads = torch.cat([p.grad.flatten() for p in hssl.parameters()])
mean = value.detach().clone()
if world > 1:
    dist.all_reduce(mean)
torch.save((mean / world, grads), f"{folder}/{world}-{rank}.pt")
if world > 1:
    dist.barrier()
    dist.destroy_process_group()
"""


def drawn(kind, seed=0, **options):
    torch.manual_seed(seed)
    return kind(group_convnet(Cyclic(4), widths=(3, 6)), Cyclic(4), **options)


@pytest.mark.parametrize("kind", [HSSL, ASSL])
def test_er_ssls_loss_equals_the_default_where_the_formula_is_the_same(kind):
    x = torch.rand(16, 1, 12, 12, dtype=torch.float64)
    found = []
    for options in ({}, {"objective": NTXentLoss(temperature=0.1)}):
        framework = drawn(kind, views=3, **options).double()
        loss = framework(x, generator=torch.Generator().manual_seed(5)).loss
        loss.backward()
        found.append((loss.detach(), framework.branch.encoder[0].weight.grad))
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-9)


def test_fibers_train_under_er_ssls_other_losses():
    hssl = drawn(HSSL, objective=ERLoss(kappa=10.0))
    optimizer = torch.optim.Adam(hssl.parameters(), lr=1e-2)
    generator, values = torch.Generator().manual_seed(0), []
    for _ in range(40):
        out = hssl(torch.rand(32, 1, 12, 12, generator=generator), generator=generator)
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        values.append(float(out.loss.detach()))
    assert sum(values[-10:]) < sum(values[:10])


def test_ema_scalings_teacher_gives_the_targets_of_ours():
    x = torch.rand(6, 1, 12, 12, dtype=torch.float64)
    losses = []
    for kind in (EMATeacher, ModelEMA, None):
        predictor = nn.Linear(6, 6)
        byol = drawn(HSSL, objective=cosine_regression, predictor=predictor).double()
        torch.nn.init.eye_(predictor.weight)
        torch.nn.init.zeros_(predictor.bias)
        if kind is not None:
            byol.teacher = kind(byol.branch, decay=0.9)
        with torch.no_grad():
            for p in byol.branch.parameters():
                p.add_(torch.linspace(0, 1, p.numel(), dtype=p.dtype).view(p.shape))
        if kind is not None:
            byol.teacher.update()
        generator = torch.Generator().manual_seed(0)
        losses.append(byol(x, generator=generator).loss.detach())
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-9, atol=1e-12)
    assert abs(float(losses[0] - losses[2])) > 1e-3  # the teacher lags behind


@pytest.mark.distributed
def test_two_processes_with_the_gathered_objective_equal_one(two_as_one):
    two_as_one(RANKS)

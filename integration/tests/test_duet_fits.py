"""er-ssl's losses and ema-scaling's teacher with duet: the same numbers; two processes as one."""

import pytest
import torch
from duet import ParamView, rotation, scale, transform
from duet.baselines import ESSL, SimCLR
from duet.encoders import ConvNet
from duet.model import Duet
from ema_scaling import ModelEMA
from er_ssl import ERLoss, NTXentLoss

RANKS = """
import sys
from datetime import timedelta
import torch
import torch.distributed as dist
from duet import rotation, transform
from duet.encoders import ConvNet
from duet.model import Duet
from er_ssl import NTXentLoss
from torch.nn.parallel import DistributedDataParallel

folder, rank, world = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(1)
if world > 1:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank,
                            world_size=world, timeout=timedelta(seconds=60))
torch.manual_seed(0)
duet = Duet(ConvNet(1, features=32, widths=(4, 4, 8, 8)), [rotation()],
            objective=NTXentLoss(0.1, gather_distributed=world > 1)).double().eval()


class Loss(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = duet

    def forward(self, x, p1, p2):
        outs = [self.inner(transform(x, rotation(), p)) for p in (p1, p2)]
        embedded = [self.inner.head(out.content) for out in outs]
        return self.inner.loss(*outs, *embedded, {"rotation": p1}, {"rotation": p2}).loss


g = torch.Generator().manual_seed(1)
x = torch.rand(8, 1, 12, 12, generator=g, dtype=torch.float64)
p1, p2 = torch.rand(2, 8, generator=g, dtype=torch.float64)
share = slice(rank * 8 // world, (rank + 1) * 8 // world)
model = Loss() if world == 1 else DistributedDataParallel(Loss())
value = model(x[share], p1[share], p2[share])
value.backward()
grads = torch.cat([p.grad.flatten() for p in duet.parameters()])
mean = value.detach().clone()
if world > 1:
    dist.all_reduce(mean)
torch.save((mean / world, grads), f"{folder}/{world}-{rank}.pt")
if world > 1:
    dist.barrier()
    dist.destroy_process_group()
"""
TURN = rotation()


def drawn(kind, **options):
    torch.manual_seed(0)
    encoder = ConvNet(1, features=32, widths=(4, 4, 8, 8))
    view = ParamView([scale(low=0.25), TURN])
    if kind is Duet:
        return Duet(encoder, [TURN], view=view, **options)
    return kind(encoder, view, **options)


@pytest.mark.parametrize("kind", [Duet, SimCLR, ESSL])
def test_er_ssls_loss_equals_the_default_where_the_formula_is_the_same(kind):
    x = torch.rand(16, 1, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = []
    for options in ({}, {"objective": NTXentLoss(temperature=0.1)}):
        method = drawn(kind, **options).double()
        loss = method.step(x, generator=torch.Generator().manual_seed(5)).loss
        loss.backward()
        found.append((loss.detach(), method.encoder.body[0].weight.grad))
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-9)


def test_duet_trains_under_er_ssls_other_losses():
    from duet.harness import fit

    model = drawn(Duet, objective=ERLoss(kappa=10.0), weights=50.0)
    x = torch.rand(64, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    x[:, :, :4] += 1  # a bright band at the top tells the angle
    trace = fit(model, x / 2, steps=30, batch=32, lr=1e-2, progress=lambda done, total: None,
                generator=torch.Generator().manual_seed(0))  # fmt: skip
    for name in ("content", "rotation"):
        values = trace.terms[name]
        assert sum(values[-10:]) < sum(values[:10])


def test_ema_scalings_teacher_reads_the_pose_as_its_model_does():
    model = drawn(Duet).eval()
    teacher = ModelEMA(model, decay=0.5)
    x = torch.rand(4, 1, 12, 12)
    start = teacher(x).readout()["rotation"]
    torch.testing.assert_close(start, model.readout(x)["rotation"])
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.linspace(0, 1, p.numel()).view(p.shape))
    for _ in range(40):
        teacher.update()
    now = teacher(x).readout()["rotation"]
    torch.testing.assert_close(now, model.readout(x)["rotation"], atol=1e-4, rtol=0)
    assert not torch.allclose(now, start, atol=1e-3)


def test_a_view_that_any_method_draws_is_a_uint8_batch_or_a_floating_one():
    pixels = torch.randint(0, 256, (3, 1, 12, 12), dtype=torch.uint8)
    turned = transform(pixels, TURN, 0.75)
    torch.testing.assert_close(turned, transform(pixels.float() / 255, TURN, 0.75))
    assert 0 <= float(turned.min()) <= float(turned.max()) <= 1


@pytest.mark.distributed
def test_two_processes_with_the_gathered_objective_equal_one(two_as_one):
    two_as_one(RANKS)

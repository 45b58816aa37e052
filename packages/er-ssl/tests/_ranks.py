"""All ranks of `test_distributed`, forked from one process: `_ranks.py FOLDER`.

A world of 1 is the plain process, without a process group.
"""

import os
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from er_ssl import DiscreteERLoss, DistillationERLoss, ERLoss, NTXentLoss, er_bound, gather_rows
from torch import nn
from torch.nn.parallel import DistributedDataParallel

SHARES = {1: [[12]], 2: [[6, 6], [9, 3]], 3: [[4, 4, 4], [7, 4, 1], [5, 0, 7]]}


class Encoder(nn.Module):
    """A projector and a predictor."""

    def __init__(self):
        super().__init__()
        self.projector = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5)).double()
        self.predictor = nn.Linear(5, 5).double()

    def forward(self, x):
        z = self.projector(x)
        return z, self.predictor(z)


def losses(gather):
    """Name to a loss of projections and predictions of two views."""
    nt_xent = NTXentLoss(0.1, gather_distributed=gather)
    cold = NTXentLoss(0.01, gather_distributed=gather)
    er = ERLoss(7.0, gather_distributed=gather)
    loo = ERLoss(7.0, leave_one_out=True, entropy_weight=0.5, gather_distributed=gather)
    byol = DistillationERLoss(7.0, gather_distributed=gather)
    dino = DiscreteERLoss(0.5, 0.2, gather_distributed=gather)
    group = dist.group.WORLD if gather else None
    return {
        "nt_xent": lambda z1, z2, p1, p2: nt_xent(z1, z2),
        "nt_xent at a low temperature": lambda z1, z2, p1, p2: cold(z1, z2),
        "three views": lambda z1, z2, p1, p2: er(z1, z2, p1),
        "leave one out": lambda z1, z2, p1, p2: loo(z1, z2),
        "distillation": lambda z1, z2, p1, p2: byol(p1, z1, z2) + byol(p2, z2, z1),
        "discrete": lambda z1, z2, p1, p2: dino(z1, z2),
        "bound": lambda z1, z2, p1, p2: er_bound(z1, z2, kappa=7.0, group=group).loss,
    }


def run(rank, world):
    """Loss and gradients by case and split, and what a learnt kappa receives."""
    g = torch.Generator().manual_seed(0)
    views = [torch.randn(12, 6, generator=g, dtype=torch.float64) for _ in range(2)]
    out = {}
    for split, share in enumerate(SHARES[world]):
        start = sum(share[:rank])
        mine = [view[start : start + share[rank]] for view in views]
        for name, loss in losses(gather=world > 1).items():
            torch.manual_seed(1)
            encoder = Encoder()
            model = encoder
            if world > 1:
                model = DistributedDataParallel(encoder, find_unused_parameters=True)
            (z1, p1), (z2, p2) = (part.unbind() for part in _both(model, mine))
            value = loss(z1, z2, p1, p2)
            value.backward()
            grads = [p.grad for p in encoder.parameters() if p.grad is not None]
            out[name, split] = value.detach(), torch.cat([x.flatten() for x in grads])
        learnt = ERLoss(7.0, learnable_kappa=True, gather_distributed=world > 1).double()
        learnt(*mine).backward()
        if world > 1:
            dist.all_reduce(learnt.log_kappa.grad)
        out["learnt kappa", split] = learnt.log_kappa.grad / world, learnt(*mine).detach()
    return out


def _both(model, views):
    """One forward for both views, as DistributedDataParallel wants it."""
    z, p = model(torch.cat(views))
    n = len(views[0])
    return torch.stack([z[:n], p[:n]]), torch.stack([z[n:], p[n:]])


def rank_main(rank, world, folder):
    """Run one rank and save what it found."""
    if world > 1:
        store = f"file://{folder}/store-{world}"
        patience = timedelta(seconds=60)
        dist.init_process_group(
            "gloo", init_method=store, rank=rank, world_size=world, timeout=patience
        )
    out = run(rank, world)
    if world > 1:
        part = torch.full((rank + 1, 2), float(rank), requires_grad=True)
        everyone = gather_rows(part)
        (everyone * (rank + 1)).sum().backward()
        out["rows"] = everyone.detach(), part.grad
        try:
            gather_rows(torch.zeros(2, 3 + rank))
        except ValueError as error:
            out["error"] = str(error)
        try:
            NTXentLoss(gather_distributed=True)(*2 * [torch.zeros(1 - min(rank, 1), 3)])
        except ValueError as error:
            out["too few"] = str(error)
        dist.destroy_process_group()
    torch.save(out, folder / f"{world}-{rank}.pt")


def main():
    """Fork every rank of every world before torch has started a thread; fail if one fails."""
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    children = []
    for world in SHARES:
        for rank in range(world):
            child = os.fork()
            if child == 0:
                rank_main(rank, world, folder)
                sys.stdout.flush()
                os._exit(0)  # an exception exits with 1 on its way out
            children.append(child)
    failed = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    sys.exit(int(any(failed)))


main()

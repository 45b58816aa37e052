"""Both ranks of `test_distributed`, forked from one process: `_ranks.py FOLDER`."""

import os
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from lv_ssl import Normal, StochasticContrastiveLoss


def rank_main(rank, world, folder):
    """The same posteriors on every rank; what the loss hands to its objective is kept."""
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world,
        timeout=timedelta(seconds=60),
    )  # fmt: skip
    seen = []

    def objective(z1, z2):
        seen.append(torch.stack([z1, z2]))
        return (z1 * z2).mean()

    q = Normal(torch.zeros(6, 4), torch.ones(6, 4))
    loss = StochasticContrastiveLoss(objective, samples=2, seed=3)
    value = loss(q, q).loss
    found = {"samples": torch.stack(seen), "loss": value, "eval": loss.eval()(q, q).loss}
    torch.save(found, folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def main():
    """Fork before torch has started a thread; fail if a rank fails."""
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    children = []
    for rank in range(2):
        child = os.fork()
        if child == 0:
            rank_main(rank, 2, folder)
            sys.stdout.flush()
            os._exit(0)
        children.append(child)
    sys.exit(int(any([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])))


main()

"""All ranks of `test_distributed`, forked from one process: `_deeppcr_ranks.py FOLDER`."""

import os
import sys
from datetime import timedelta
from itertools import product
from pathlib import Path

import torch
import torch.distributed as dist
from deeppcr import affine_scan

SHARES = {2: [[5, 6], [11, 0], [0, 11]], 3: [[4, 3, 4], [1, 10, 0]]}
KINDS = {"dense": (3, 3), "diagonal": (3,), "scalar": (1,)}


def draw(kind, start, dtype):
    """The whole system: blocks, right-hand sides, weights of a loss, and a first state."""
    g = torch.Generator().manual_seed(7)
    A = torch.randn(11, 2, *KINDS[kind], generator=g, dtype=dtype) / 2
    b, weights = (torch.randn(11, 2, 3, generator=g, dtype=dtype) for _ in range(2))
    return A, b, weights, torch.randn(2, 3, generator=g, dtype=dtype) if start else None


def run(rank, world):
    """States and gradients of this rank, by case."""
    out = {}
    cases = product(SHARES[world], KINDS, [False, True], [False, True], [False, True])
    for share, kind, reverse, start, is_complex in cases:
        dtype = torch.complex128 if is_complex else torch.float64
        A, b, weights, z0 = draw(kind, start, dtype)
        mine = slice(sum(share[:rank]), sum(share[: rank + 1]))
        leaves = [A[mine].clone(), b[mine].clone(), *([z0] if start else [])]
        for leaf in leaves:
            leaf.requires_grad_()
        z = affine_scan(*leaves, reverse=reverse, group=dist.group.WORLD)
        (z * weights[mine]).real.sum().backward()
        case = str((share, kind, reverse, start, is_complex))
        out[case] = [z.detach(), *(leaf.grad for leaf in leaves)]
    return out


def rank_main(rank, world, folder):
    """Run one rank and save what it found."""
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store-{world}", rank=rank, world_size=world,
        timeout=timedelta(seconds=60),
    )  # fmt: skip
    torch.save(run(rank, world), folder / f"{world}-{rank}.pt")
    dist.barrier()  # the store is a file, and goes with the first who leaves
    dist.destroy_process_group()


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


if __name__ == "__main__":
    main()

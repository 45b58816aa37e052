"""Several gloo processes give the loss and the gradients of one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from er_ssl import gather_rows

pytestmark = pytest.mark.distributed
SCRIPT = Path(__file__).with_name("_ranks.py")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """World size to what its ranks saved, all started together."""
    folder = tmp_path_factory.mktemp("ranks")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr[-4000:]

    def load(world, rank):
        return torch.load(folder / f"{world}-{rank}.pt", weights_only=True)

    return {world: [load(world, rank) for rank in range(world)] for world in (1, 2, 3)}


@pytest.mark.parametrize("world", [2, 3])
def test_loss_and_gradients_equal_those_of_one_process_also_for_uneven_shares(results, world):
    alone, together = results[1][0], results[world]
    cases = [key for key in together[0] if isinstance(key, tuple)]
    assert len(cases) == 8 * world
    for name, split in cases:
        want = alone[name, 0]
        for rank in together:
            for mine, theirs in zip(rank[name, split], want, strict=True):
                torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9, msg=f"{name}")


@pytest.mark.parametrize("world", [2, 3])
def test_rows_come_in_the_order_of_the_ranks_and_gradients_are_summed(results, world):
    want = torch.cat([torch.full((rank + 1, 2), float(rank)) for rank in range(world)])
    for rank, result in enumerate(results[world]):
        everyone, grad = result["rows"]
        assert torch.equal(everyone, want)
        total = float(sum(range(1, world + 1)))  # each rank weighs all rows by rank + 1
        assert torch.equal(grad, torch.full((rank + 1, 2), total))


@pytest.mark.parametrize("world", [2, 3])
def test_every_rank_says_why_it_cannot(results, world):
    for result in results[world]:
        columns = [3 + rank for rank in range(world)]
        assert result["error"] == f"z must have equal columns on all ranks, got {columns}"
        assert result["too few"] == "the batch must have at least 2 pairs, got 1"


def test_without_a_process_group_the_rows_are_the_batchs_own(rows):
    z = rows(0, 3, 2)
    assert gather_rows(z) is z

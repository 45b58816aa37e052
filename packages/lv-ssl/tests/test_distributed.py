"""Two gloo processes draw noise of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lv_ssl import Normal, StochasticContrastiveLoss

pytestmark = pytest.mark.distributed
SCRIPT = Path(__file__).with_name("_ranks.py")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    command = [sys.executable, str(SCRIPT), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr[-4000:]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def test_ranks_with_one_seed_draw_different_samples(results):
    first, second = (r["samples"] for r in results)  # (S, 2, B, D)
    assert first.shape == second.shape == (2, 2, 6, 4)
    assert (first != second).all()
    together = torch.stack([first.flatten(), second.flatten()])
    assert float(torch.corrcoef(together)[0, 1].abs()) < 0.4  # n = 96, 4 standard errors


def test_eval_mode_is_one_number_on_all_ranks(results):
    assert torch.equal(results[0]["eval"], results[1]["eval"])
    assert not torch.equal(results[0]["loss"], results[1]["loss"])


def test_rank_0_draws_as_a_single_process_does(results):
    seen = []
    q = Normal(torch.zeros(6, 4), torch.ones(6, 4))
    loss = StochasticContrastiveLoss(
        lambda z1, z2: seen.append(torch.stack([z1, z2])) or z1.sum(), samples=2, seed=3
    )
    loss(q, q)
    assert torch.equal(torch.stack(seen), results[0]["samples"])

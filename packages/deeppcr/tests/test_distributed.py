"""Several gloo processes, each with its own steps, give the states and gradients of one."""

import importlib.util
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch
from deeppcr import affine_scan

pytestmark = pytest.mark.distributed
SCRIPT = Path(__file__).with_name("_deeppcr_ranks.py")
spec = importlib.util.spec_from_file_location("_deeppcr_ranks", SCRIPT)
ranks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ranks)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """World size to what its ranks saved, all started together."""
    folder = tmp_path_factory.mktemp("ranks")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    command = [sys.executable, str(SCRIPT), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr[-4000:]

    def load(world, rank):
        return torch.load(folder / f"{world}-{rank}.pt", weights_only=True)

    return {world: [load(world, rank) for rank in range(world)] for world in ranks.SHARES}


@pytest.mark.parametrize("world", list(ranks.SHARES))
def test_states_and_gradients_equal_those_of_one_process(results, world):
    flags = [False, True]
    cases = list(product(ranks.SHARES[world], ranks.KINDS, flags, flags, flags))
    assert len(cases) == len(results[world][0])
    for case in cases:
        _, kind, reverse, start, is_complex = case
        dtype = torch.complex128 if is_complex else torch.float64
        A, b, weights, z0 = ranks.draw(kind, start, dtype)
        leaves = [A, b, *([z0] if start else [])]
        for leaf in leaves:
            leaf.requires_grad_()
        z = affine_scan(*leaves, reverse=reverse)
        (z * weights).real.sum().backward()
        theirs = [result[str(case)] for result in results[world]]
        states, by_A, by_b = (torch.cat([t[i] for t in theirs]) for i in range(3))
        torch.testing.assert_close(states, z.detach(), msg=str(case))
        torch.testing.assert_close(by_A, A.grad, msg=str(case))
        torch.testing.assert_close(by_b, b.grad, msg=str(case))
        if start:
            torch.testing.assert_close(sum(t[3] for t in theirs), z0.grad, msg=str(case))
            held = [bool((t[3] != 0).any()) for t in theirs]
            assert held.index(True) == (world - 1 if reverse else 0)
            assert sum(held) == 1


def test_lengths_are_refused_with_a_group(monkeypatch):
    with pytest.raises(ValueError, match="lengths cannot be combined with group"):
        affine_scan(torch.ones(3, 1), torch.ones(3, 1), lengths=torch.tensor(2), group=object())

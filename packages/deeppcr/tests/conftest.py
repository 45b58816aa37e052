import sys
from pathlib import Path

import pytest
import torch
from deeppcr import kernel

sys.path.append(str(Path(__file__).parent))  # for deeppcr_chains, which the tests share

KINDS = ("dense", "diagonal", "scalar")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Two workers with two threads each wait for one another."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def loop():
    """The definition: one step after another."""

    def substitute(A, b, z0=None, *, reverse=False):
        z, states = z0, [None] * len(b)
        for i in range(len(b) - 1, -1, -1) if reverse else range(len(b)):
            if z is None:
                z = b[i]
            elif A.ndim > b.ndim:
                z = torch.einsum("...ij,...j->...i", A[i], z) + b[i]
            else:
                z = A[i] * z + b[i]
            states[i] = z
        return torch.stack(states)

    return substitute


@pytest.fixture(scope="session")
def system():
    """Random blocks and right-hand sides that neither explode nor vanish, by seed."""

    def draw(length, d, batch=(), *, kind="dense", seed=0, dtype=torch.float64, start=False):
        g = torch.Generator().manual_seed(seed)
        shape = {"dense": (d, d), "diagonal": (d,), "scalar": (1,)}[kind]

        def normal(*size):
            return torch.randn(*size, generator=g, dtype=dtype)

        A = normal(length, *batch, *shape) / (d**0.5 if kind == "dense" else 1)
        return A, normal(length, *batch, d), normal(*batch, d) if start else None

    return draw


@pytest.fixture(params=["kernel", "torch"], scope="module")
def either(request):
    """The package with its kernel, and then as where there is none."""
    library = kernel.library
    if request.param == "torch":
        kernel.library = lambda: None
    elif library() is None:
        pytest.skip("no kernel here")
    yield request.param
    kernel.library = library

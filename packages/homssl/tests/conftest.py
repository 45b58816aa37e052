import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Two workers with two threads each wait for one another."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def same_weights():
    """Layers draw their weights from the global generator, as torch's do."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def draw():
    """Normal draws in float64, by seed."""

    def normal(*shape, seed=0):
        g = torch.Generator().manual_seed(seed)
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    return normal


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)

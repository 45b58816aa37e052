import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Two workers with two threads each wait for one another."""
    torch.set_num_threads(1)
    torch.set_warn_always(True)  # not only the first test fails


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parent))  # for deeppcr_chains, which the tests share


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Two workers with two threads each wait for one another."""
    torch.set_num_threads(1)

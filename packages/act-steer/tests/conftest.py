import sys
import warnings
from pathlib import Path

import pytest
import torch

with warnings.catch_warnings():  # POT 0.9.7 has a string with an unknown escape, told once
    warnings.simplefilter("ignore")
    import ot  # noqa: F401

sys.path.append(str(Path(__file__).parent))  # for act_steer_models, which the tests share


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Two workers with two threads each wait for one another."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def same_weights():
    """Layers draw their weights from the global generator, as torch's do."""
    torch.manual_seed(0)

import pytest
import torch
from lv_ssl import Bernoulli, Categorical, Normal, PowerSpherical, VonMisesFisher


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Two workers with two threads each wait for one another."""
    torch.set_num_threads(1)


@pytest.fixture
def seeded():
    """A generator by seed."""
    return lambda seed=0: torch.Generator().manual_seed(seed)


@pytest.fixture(scope="session")
def posterior():
    """A posterior of a family with drawn parameters, float64: `posterior(family, seed, B, D)`."""

    def draw(family, seed=0, rows=5, dim=8, *, grad=False):
        g = torch.Generator().manual_seed(seed)
        loc = torch.randn(rows, dim, generator=g, dtype=torch.float64)
        positive = torch.randn(rows, dim, generator=g, dtype=torch.float64).exp()
        loc.requires_grad_(grad), positive.requires_grad_(grad)
        if family == "normal":
            return Normal(loc, positive)
        if family == "bernoulli":
            return Bernoulli(2 * loc, relaxation=0.7)
        if family == "categorical":
            return Categorical(2 * loc, classes=4, relaxation=0.7)
        kind = {"power_spherical": PowerSpherical, "vmf": VonMisesFisher}[family]
        return kind(loc, 5 * positive[:, :1])

    return draw

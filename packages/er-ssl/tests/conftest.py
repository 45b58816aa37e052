import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Two workers with two threads each wait for one another."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def rows():
    """Draws of embeddings by seed: `spread` 0 puts all rows in one direction."""

    def draw(seed, n, d, *, spread=1.0, dtype=torch.float64, scale=1.0):
        g = torch.Generator().manual_seed(seed)
        centre = torch.randn(1, d, generator=g, dtype=torch.float64)
        noise = torch.randn(n, d, generator=g, dtype=torch.float64)
        return (scale * ((1 - spread) * centre + spread * noise)).to(dtype)

    return draw

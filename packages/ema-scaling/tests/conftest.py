import pytest
import torch


@pytest.fixture(autouse=True)
def _same_weights_every_time():
    """Modules draw their first weights from the global generator: seed it for each test."""
    torch.manual_seed(0)


@pytest.fixture
def move():
    """A function that moves every parameter of a model at random, from a generator of its own."""
    generator = torch.Generator().manual_seed(1)

    def moved(model, scale=0.1):
        with torch.no_grad():
            for parameter in model.parameters():
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.add_((scale * noise).to(parameter.dtype))

    return moved

import pytest
import torch
from duet.encoders import ConvNet, ProjectionHead


@pytest.mark.parametrize("side", [8, 14, 28, 33])
def test_images_of_any_side_become_features(side):
    net = ConvNet(3, features=24, widths=(4, 4, 4, 4))
    assert net(torch.rand(5, 3, side, side)).shape == (5, 24)
    assert net.num_features == 24


def test_the_last_layer_is_a_batch_norm():
    z = ConvNet(1, features=16)(torch.rand(64, 1, 12, 12)).detach()
    torch.testing.assert_close(z.mean(0), torch.zeros(16), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.var(0, correction=0), torch.ones(16), atol=0.05, rtol=0)


def test_the_head_has_three_linear_layers_each_with_a_batch_norm():
    head = ProjectionHead(8, hidden=16, after=4)
    kinds = [type(layer).__name__ for layer in head]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear", "BatchNorm1d"]
    assert head(torch.rand(5, 8)).shape == (5, 4)


def test_says_what_came():
    with pytest.raises(ValueError, match=r"widths \(1, 2\)"):
        ConvNet(1, widths=(1, 2))
    with pytest.raises(ValueError, match="channels 0"):
        ConvNet(0)
    with pytest.raises(ValueError, match="got 0, 256 and 64"):
        ProjectionHead(0)

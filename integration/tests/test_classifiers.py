import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tenfold.classifiers import CausalTransformer, GhostNorm, ImageTransformer, conv_classifier


def test_the_causal_transformer_does_not_see_what_comes():
    torch.manual_seed(0)
    model = CausalTransformer(11, context=8)
    symbols = torch.randint(11, (3, 8))
    changed = symbols.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % 11
    before, after = model(symbols), model(changed)
    assert torch.allclose(before[:, :5], after[:, :5], atol=1e-6)
    assert not torch.allclose(before[:, 5:], after[:, 5:], atol=1e-3)


def test_the_image_transformer_knows_where_a_patch_is():
    torch.manual_seed(0)
    model = ImageTransformer(depth=1)
    images = torch.randn(2, 1, 28, 28)
    swapped = torch.cat([images[..., 14:, :], images[..., :14, :]], 2)
    assert not torch.allclose(model(images), model(swapped), atol=1e-4)


@pytest.mark.parametrize("make", [conv_classifier, lambda: ImageTransformer(depth=1)])
def test_no_image_depends_on_the_rest_of_its_batch(make):
    torch.manual_seed(0)
    model, images = make(), torch.randn(6, 1, 28, 28)
    alone = torch.cat([model(image[None]) for image in images])
    assert torch.allclose(model(images), alone, atol=1e-5)


@given(groups=st.integers(1, 5), rows=st.integers(2, 6), seed=st.integers(0, 2**31))
def test_a_large_batch_has_the_mean_gradient_of_its_groups(groups, rows, seed):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), GhostNorm(4, rows=rows)).double()
    x = torch.randn(groups * rows, 3, dtype=torch.float64)
    target = torch.randn(groups * rows, 4, dtype=torch.float64)

    def gradient(i, j):
        model.zero_grad()
        (model(x[i:j]) - target[i:j]).pow(2).mean().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    parts = [gradient(i, i + rows) for i in range(0, len(x), rows)]
    assert torch.allclose(gradient(0, len(x)), sum(parts) / groups, atol=1e-12)


def test_ghost_norm_equals_torchs_batch_norm_in_each_group():
    x = 3 * torch.randn(12, 5) + 2
    want = [torch.nn.functional.batch_norm(part, None, None, training=True) for part in x.split(4)]
    assert torch.allclose(GhostNorm(5, rows=4)(x), torch.cat(want), atol=1e-5)
    with pytest.raises(ValueError, match="multiple of 4 rows, got 6"):
        GhostNorm(5, rows=4)(x[:6])

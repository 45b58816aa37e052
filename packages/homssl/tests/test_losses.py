import math

import pytest
import torch
from homssl import cosine_regression, info_nce
from hypothesis import given
from hypothesis import strategies as st


def looped_info_nce(z1, z2, temperature):
    """The definition, row by row; candidates are the positive and the rows of other images."""
    n = len(z1)
    rows = [(b, row / row.norm()) for z in (z1, z2) for b, row in enumerate(z)]
    total = 0.0
    for i, (b, anchor) in enumerate(rows):
        positive = float(anchor @ rows[(i + n) % (2 * n)][1]) / temperature
        others = [float(anchor @ row) / temperature for c, row in rows if c != b]
        total += math.log(math.exp(positive) + sum(map(math.exp, others))) - positive
    return total / (2 * n)


@given(
    batch=st.integers(2, 9),
    dim=st.integers(1, 12),
    temperature=st.floats(0.05, 2.0),
    seed=st.integers(0, 2**31),
)
def test_equals_the_definition_row_by_row(batch, dim, temperature, seed, draw):
    z1, z2 = draw(batch, dim, seed=seed), draw(batch, dim, seed=seed + 1)
    got = float(info_nce(z1, z2, temperature=temperature))
    assert got == pytest.approx(looped_info_nce(z1, z2, temperature), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("batch", [2, 5, 64])
def test_identical_embeddings_cost_the_log_of_the_candidates(batch):
    z = torch.ones(batch, 3, dtype=torch.float64)
    assert float(info_nce(z, z)) == pytest.approx(math.log(2 * batch - 1), abs=1e-12)


def test_the_order_of_the_images_does_not_matter(draw):
    z1, z2 = draw(7, 4), draw(7, 4, seed=1)
    other = torch.randperm(7, generator=torch.Generator().manual_seed(0))
    for loss in info_nce, cosine_regression:
        assert float(loss(z1[other], z2[other])) == pytest.approx(float(loss(z1, z2)), abs=1e-13)


def test_the_regression_is_the_squared_distance_of_unit_vectors(draw):
    z1, z2 = draw(7, 4), draw(7, 4, seed=1)
    want = sum(
        float((a / a.norm() - b / b.norm()).square().sum()) for a, b in zip(z1, z2, strict=True)
    )
    assert float(cosine_regression(z1, z2)) == pytest.approx(want / 7, abs=1e-13)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened(dtype, draw):
    z1, z2 = draw(7, 4).to(dtype), draw(7, 4, seed=1).to(dtype)
    for loss in info_nce, cosine_regression:
        assert loss(z1, z2).dtype == torch.float32
        assert torch.equal(loss(z1, z2), loss(z1.float(), z2.float()))


def test_says_what_came():
    with pytest.raises(ValueError, match=r"\(3, 4\) and \(2, 4\)"):
        info_nce(torch.zeros(3, 4), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="at least 2 images, for a negative, got 1"):
        info_nce(torch.zeros(1, 4), torch.zeros(1, 4))
    with pytest.raises(ValueError, match="positive, got 0"):
        info_nce(torch.zeros(2, 4), torch.zeros(2, 4), temperature=0)
    with pytest.raises(ValueError, match=r"\(3,\) and \(3,\)"):
        cosine_regression(torch.zeros(3), torch.zeros(3))

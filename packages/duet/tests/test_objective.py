import math

import pytest
import torch
from duet.objective import nt_xent
from hypothesis import given
from hypothesis import strategies as st


def looped_nt_xent(z1, z2, temperature):
    """The definition, row by row."""
    z = [row / row.norm() for row in torch.cat([z1, z2])]
    n, total = len(z1), 0.0
    for i, anchor in enumerate(z):
        others = [other for j, other in enumerate(z) if j != i]
        weights = [math.exp(float(anchor @ other) / temperature) for other in others]
        positive = float(anchor @ z[(i + n) % (2 * n)]) / temperature
        total -= positive - math.log(sum(weights))
    return total / (2 * n)


@given(
    batch=st.integers(2, 9),
    dim=st.integers(1, 12),
    temperature=st.floats(0.05, 2.0),
    seed=st.integers(0, 2**31),
)
def test_equals_the_definition_row_by_row(batch, dim, temperature, seed):
    g = torch.Generator().manual_seed(seed)
    z1, z2 = torch.randn(2, batch, dim, generator=g, dtype=torch.float64)
    got = nt_xent(z1, z2, temperature=temperature)
    assert float(got) == pytest.approx(looped_nt_xent(z1, z2, temperature), rel=1e-10, abs=1e-10)


def test_identical_embeddings_cost_the_log_of_the_candidates():
    z = torch.ones(5, 3)
    assert float(nt_xent(z, z)) == pytest.approx(math.log(2 * 5 - 1), abs=1e-5)


def test_gradients_are_right(generator):
    z = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: nt_xent(z[0], z[1]), z)


def test_autocast_does_not_narrow_it(generator):
    z = torch.randn(2, 16, 8, generator=generator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = nt_xent(*z.bfloat16())
        wide = nt_xent(*z)
    assert wide.equal(nt_xent(*z))
    assert narrow.dtype == torch.float32
    assert float(narrow) == pytest.approx(float(wide), rel=0.05)


def test_bad_arguments_are_told_what_came():
    with pytest.raises(ValueError, match=r"\(3, 4\) and \(2, 4\)"):
        nt_xent(torch.zeros(3, 4), torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"B >= 2, got \(1, 4\) and \(1, 4\)"):
        nt_xent(torch.zeros(1, 4), torch.zeros(1, 4))
    with pytest.raises(ValueError, match="temperature"):
        nt_xent(torch.ones(2, 4), torch.ones(2, 4), temperature=0.0)
    with pytest.raises(TypeError, match="z1 must be"):
        nt_xent(torch.zeros(2, 4, dtype=torch.int64), torch.zeros(2, 4))

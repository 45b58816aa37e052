import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lv_ssl import Bernoulli, information_split
from lv_ssl.heads import FAMILIES


@given(seed=st.integers(0, 2**31), rows=st.integers(1, 9))
@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
def test_the_rate_is_information_plus_the_means_distance_from_the_prior(
    posterior, family, seed, rows
):
    q = posterior(family, seed, rows, 8)
    split = information_split(q)
    torch.testing.assert_close(split.information + split.marginal, q.kl_units().mean(0))
    assert (split.information >= -1e-12).all()
    assert (split.marginal >= -1e-12).all()
    assert (split.information <= math.log(rows) + 1e-9).all()
    classes = 2 if family == "bernoulli" else 4
    p = (
        q.mean.unflatten(1, (-1, classes))
        if classes == 4
        else torch.stack([1 - q.mean, q.mean], -1)
    )
    mean = p.mean(0)
    want = (p * (p / mean).log()).sum(-1).mean(0)  # the definition of mutual information
    torch.testing.assert_close(split.information, want, rtol=1e-9, atol=1e-9)


def test_units_that_all_inputs_share_are_found_out_whatever_their_rate():
    q = Bernoulli(torch.tensor([[20.0, 20.0, 0.0], [20.0, -20.0, 0.0]]))
    split = information_split(q)
    assert split.active == 1
    assert q.kl().mean() > 1.3
    assert str(split) == "1.0 bits of information in 1 of 3 units, 1.0 bits spent on a mean " + (
        "that is not the prior"
    )
    assert split.to_table()["unit"] == [0, 1, 2]


@pytest.mark.parametrize("family", set(FAMILIES) - {"bernoulli", "categorical"})
def test_continuous_families_have_no_exact_split(posterior, family):
    with pytest.raises(TypeError, match=f"bits or classes, got '{family}'"):
        information_split(posterior(family))
    with pytest.raises(ValueError, match="at least 1 input"):
        information_split(posterior("bernoulli")[:0])

"""Parity with the authors' released two functions, and where they part from the formula.

The functions are written here anew from their behaviour, faults included: the Bessel function has
1e-7 added inside its log, and so has every probability.
"""

import math

import pytest
import torch
from er_ssl import (
    categorical_log_prob,
    er_bound,
    kde_entropy,
    plugin_entropy,
    vmf_log_normalizer,
    vmf_log_prob,
)
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import iv

EPSILON = 1e-7


def reference_log_normalizer(d, kappa):
    nu = d / 2 - 1
    log_bessel = math.log(iv(nu, kappa) + EPSILON)
    return nu * math.log(kappa) - d / 2 * math.log(2 * math.pi) - log_bessel


def reference_entropy(z, kappa, support, reduction):
    if support == "discrete":
        mean = z.mean(0)
        weights = mean if reduction == "expectation" else 1 / len(mean)
        return -(weights * (mean + EPSILON).log()).sum()
    log_p = (kappa * z @ z.T).exp().mean(1).log() + reference_log_normalizer(z.shape[1], kappa)
    weights = log_p.softmax(0) if reduction == "expectation" else 1 / len(z)
    return -(weights * log_p).sum()


def reference_reconstruction(p1, p2, kappa, support):
    if support == "discrete":
        one, two = (p1 * (p2 + EPSILON).log()).sum(1), (p2 * (p1 + EPSILON).log()).sum(1)
        return 0.5 * (one + two).mean()
    return kappa * (p1 * p2).sum(1).mean() + reference_log_normalizer(p1.shape[1], kappa)


def unit(z):
    return z / z.norm(dim=1, keepdim=True)


@given(n=st.integers(2, 30), d=st.integers(2, 32), seed=st.integers(0, 2**31))
def test_continuous_terms_agree_up_to_32_dimensions(rows, n, d, seed):
    z1, z2 = unit(rows(seed, n, d)), unit(rows(seed + 1, n, d))
    for reduction, estimator in (("average", "joe"), ("expectation", "plugin")):
        want = reference_entropy(z1, 10.0, "continuous", reduction)
        got = kde_entropy(z1, kappa=10.0, estimator=estimator)
        assert float(got) == pytest.approx(float(want), abs=1e-4)
    want = reference_reconstruction(z1, z2, 10.0, "continuous")
    assert float(vmf_log_prob(z2, z1, kappa=10.0).mean()) == pytest.approx(float(want), abs=1e-4)


@given(n=st.integers(1, 30), m=st.integers(2, 32), seed=st.integers(0, 2**31))
def test_discrete_terms_agree(rows, n, m, seed):
    logits = rows(seed, n, m), rows(seed + 1, n, m)
    p1, p2 = (x.softmax(1) for x in logits)
    want = reference_entropy(p1, 10.0, "discrete", "expectation")
    assert float(plugin_entropy(p1)) == pytest.approx(float(want), abs=1e-4)
    want = reference_reconstruction(p1, p2, 10.0, "discrete")
    ours = categorical_log_prob(p1, logits[1]), categorical_log_prob(p2, logits[0])
    assert float((ours[0] + ours[1]).mean() / 2) == pytest.approx(float(want), abs=1e-3)


@pytest.mark.parametrize(("d", "log_bessel"), [(64, -27.427), (128, -99.225), (1000, -1801.956)])
def test_above_it_the_reference_is_off_by_a_constant(rows, d, log_bessel):
    fault = reference_log_normalizer(d, 10.0) - float(vmf_log_normalizer(d, 10.0))
    assert fault == pytest.approx(log_bessel - math.log(EPSILON), abs=2e-3)
    z1, z2 = unit(rows(0, 20, d)).requires_grad_(), unit(rows(1, 20, d))
    ours, theirs = (
        kde_entropy(z1, kappa=10.0),
        reference_entropy(z1, 10.0, "continuous", "average"),
    )
    assert float((ours - theirs).detach()) == pytest.approx(fault)
    ours, theirs = (
        er_bound(z2, z1).bound,
        theirs + reference_reconstruction(z2, z1, 10.0, "continuous"),
    )
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()))  # it cancels in the bound
    slopes = [torch.autograd.grad(x, z1)[0] for x in (ours, theirs)]
    along = [(slope * z1).sum(1, keepdim=True) * z1 for slope in slopes]
    torch.testing.assert_close(slopes[0] - along[0], slopes[1] - along[1])


def test_the_references_average_over_clusters_is_no_entropy(rows):
    p = rows(0, 20, 4, scale=3.0).softmax(1)
    assert float(reference_entropy(p, 10.0, "discrete", "average")) > math.log(4)
    assert float(plugin_entropy(p)) < math.log(4)

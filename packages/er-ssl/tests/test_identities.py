"""The identities that hold the package together, numbered as in its design."""

import math

import pytest
import torch
from er_ssl import (
    ERLoss,
    NTXentLoss,
    categorical_log_prob,
    embedding_std,
    entropy_limits,
    er_bound,
    gaussian_log_prob,
    infonce_bound,
    kde_entropy,
    log_sphere_area,
    plugin_entropy,
    vmf_log_normalizer,
    vmf_log_prob,
    vmf_mean_cosine,
)
from hypothesis import given, settings
from hypothesis import strategies as st

MANY = settings(max_examples=max(200, settings.default.max_examples))
SEED = st.integers(0, 2**31)
BATCH = st.integers(2, 24)
DIM = st.integers(2, 20)
KAPPA = st.floats(0.05, 200.0)
SPREAD = st.sampled_from([1e-6, 0.05, 0.5, 1.0])


def unit(z):
    return z / z.norm(dim=1, keepdim=True)


def simplex(n):
    """n points as far apart as can be."""
    return torch.eye(n, dtype=torch.float64) - 1 / n


@given(n=BATCH, d=DIM, kappa=KAPPA, seed=SEED)
def test_p1_the_normaliser_cancels_in_the_bound(rows, n, d, kappa, seed):
    z1, z2 = rows(seed, n, d), rows(seed + 1, n, d)
    terms = er_bound(z1, z2, kappa=kappa)
    bare = (
        kde_entropy(z2, kappa=kappa, normalized=False) + kappa * (unit(z1) * unit(z2)).sum(1).mean()
    )
    assert float(terms.bound) == pytest.approx(float(bare), abs=1e-9)
    assert float(terms.bound) == pytest.approx(float(terms.entropy + terms.reconstruction))
    shift = terms.entropy - kde_entropy(z2, kappa=kappa, normalized=False)
    assert float(shift) == pytest.approx(-float(vmf_log_normalizer(d, kappa)))


@MANY
@given(n=BATCH, d=DIM, kappa=KAPPA, spread=SPREAD, seed=SEED, loo=st.booleans())
def test_p2_no_batch_passes_its_ceiling(rows, n, d, kappa, spread, seed, loo):
    z1, z2 = rows(seed, n, d, spread=spread), rows(seed + 1, n, d, spread=spread)
    for first in (z1, z2):
        terms = er_bound(first, z2, kappa=kappa, leave_one_out=loo)
        assert float(terms.bound) <= terms.ceiling + 1e-9
        assert terms.entropy_floor - 1e-9 <= float(terms.entropy) <= terms.entropy_ceiling + 1e-9
        if not loo:
            assert terms.ceiling <= math.log(n) + 1e-9


@given(n=BATCH, kappa=KAPPA, loo=st.booleans())
def test_p2_the_simplex_reaches_the_ceiling_and_large_kappa_log_k(n, kappa, loo):
    z = simplex(n)
    terms = er_bound(z, z, kappa=kappa, leave_one_out=loo)
    assert float(terms.bound) == pytest.approx(terms.ceiling)
    assert float(terms.entropy) == pytest.approx(terms.entropy_ceiling)
    assert terms.level == pytest.approx(1)
    assert float(er_bound(z, z, kappa=1e3).bound) == pytest.approx(math.log(n))


@MANY
@given(n=BATCH, d=DIM, kappa=KAPPA, seed=SEED)
def test_p3_on_equal_views_it_is_infonce(rows, n, d, kappa, seed):
    z = rows(seed, n, d)
    want = float(infonce_bound(z, z, kappa=kappa))
    assert float(er_bound(z, z, kappa=kappa).bound) == pytest.approx(want, abs=1e-10)


@settings(max_examples=max(50, settings.default.max_examples))
@given(n=BATCH, d=DIM, temperature=st.floats(0.01, 2.0), seed=SEED)
def test_p4_nt_xent_is_entropy_of_the_mixture_and_reconstruction(rows, n, d, temperature, seed):
    z1, z2 = rows(seed, n, d), rows(seed + 1, n, d)
    kappa = 1 / temperature
    h = kde_entropy(torch.cat([z1, z2]), kappa=kappa, leave_one_out=True, normalized=False)
    reconstruction = kappa * (unit(z1) * unit(z2)).sum(1).mean()
    want = math.log(2 * n - 1) - h - reconstruction
    got = NTXentLoss(temperature)(z1, z2)
    assert float(got) == pytest.approx(float(want), abs=1e-10)


@MANY
@given(n=BATCH, d=DIM, kappa=KAPPA, spread=SPREAD, seed=SEED, loo=st.booleans())
def test_p5_collapse_is_the_least_entropy_there_is(rows, n, d, kappa, spread, seed, loo):
    def h(z):
        return float(kde_entropy(z, kappa=kappa, leave_one_out=loo, normalized=False))

    one = rows(seed, 1, d).expand(n, d)
    assert h(one) == pytest.approx(-kappa, abs=1e-9)
    assert h(rows(seed, n, d, spread=spread)) >= -kappa - 1e-9
    floor, _ = entropy_limits(n, d, kappa=kappa, leave_one_out=loo)
    assert floor == pytest.approx(-kappa - float(vmf_log_normalizer(d, kappa)))
    assert float(embedding_std(one)) == pytest.approx(0, abs=1e-9)


@given(n=BATCH, d=DIM, kappa=KAPPA, seed=SEED)
def test_p6_rotations_and_joint_permutations_change_nothing(rows, n, d, kappa, seed):
    z1, z2 = rows(seed, n, d), rows(seed + 1, n, d)
    q, _ = torch.linalg.qr(rows(seed + 2, d, d))
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    want = float(er_bound(z1, z2, kappa=kappa).bound)
    assert float(er_bound(z1 @ q, z2 @ q, kappa=kappa).bound) == pytest.approx(want, abs=1e-8)
    got = float(er_bound(z1[order], z2[order], kappa=kappa).bound)
    assert got == pytest.approx(want, abs=1e-9)


@given(n=BATCH, d=DIM, seed=SEED)
def test_p7_without_concentration_nothing_is_known(rows, n, d, seed):
    terms = er_bound(rows(seed, n, d), rows(seed + 1, n, d), kappa=1e-7)
    assert float(terms.entropy) == pytest.approx(log_sphere_area(d), abs=1e-6)
    assert float(terms.reconstruction) == pytest.approx(-log_sphere_area(d), abs=1e-6)
    assert float(terms.bound) == pytest.approx(0, abs=1e-6)


def test_p8_uniform_points_on_the_sphere_have_the_log_of_its_area(rows):
    # 8,000 points, seed 0; over 20 seeds the estimate is within 1e-3 of the truth
    got = float(kde_entropy(rows(0, 8000, 3), kappa=10.0, leave_one_out=True))
    assert got == pytest.approx(math.log(4 * math.pi), abs=3e-3)
    half = rows(0, 8000, 3)
    half[:, 2] = half[:, 2].abs()  # the control: half the sphere has log 2 less, blurred by 0.06
    got = float(kde_entropy(half, kappa=1e3, leave_one_out=True))
    assert got == pytest.approx(math.log(2 * math.pi), abs=8e-2)


@given(n=BATCH, d=DIM, kappa=KAPPA, seed=SEED)
def test_p9_uniformity_is_a_looser_bound_of_the_entropy(rows, n, d, kappa, seed):
    z = unit(rows(seed, n, d))
    squared = torch.cdist(z, z).square()[~torch.eye(n, dtype=torch.bool)]
    uniformity = (-kappa / 2 * squared).exp().mean().log()
    h = kde_entropy(z, kappa=kappa, leave_one_out=True, normalized=False)
    assert float(h) + kappa >= -float(uniformity) - 1e-8


@given(n=BATCH, d=DIM, kappa=st.floats(0.05, 20), copies=st.integers(2, 4), seed=SEED)
def test_p10_copies_of_the_batch_tell_the_self_term_from_leaving_it_out(
    rows, n, d, kappa, copies, seed
):
    z = rows(seed, n, d)
    many = z.repeat(copies, 1)
    want = float(kde_entropy(z, kappa=kappa))
    assert float(kde_entropy(many, kappa=kappa)) == pytest.approx(want, abs=1e-9)
    u = unit(z)
    sums = (kappa * u @ u.T).exp().sum(1)  # with self
    left = (copies * sums - math.exp(kappa)) / (copies * n - 1)
    got = kde_entropy(many, kappa=kappa, leave_one_out=True, normalized=False)
    assert float(got) == pytest.approx(-float(left.log().mean()), abs=1e-9)


@MANY
@given(n=BATCH, m=DIM, sharp=st.floats(0.1, 10), seed=SEED)
def test_p11_the_discrete_bound_is_information_minus_a_divergence(rows, n, m, sharp, seed):
    logits = sharp * rows(seed + 1, n, m)
    p, q = (sharp * rows(seed, n, m)).softmax(1), logits.softmax(1)
    bound = plugin_entropy(p) + categorical_log_prob(p, logits).mean()
    information = (p * (p / p.mean(0)).log()).sum(1).mean()
    divergence = (p * (p / q).log()).sum(1).mean()
    assert float(bound) == pytest.approx(float(information - divergence), abs=1e-9)
    assert -1e-12 <= float(information) <= min(math.log(m), math.log(n)) + 1e-12


@given(clusters=st.integers(2, 9), each=st.integers(1, 4), seed=SEED)
def test_p12_even_use_reaches_log_m_and_one_cluster_nothing(clusters, each, seed):
    even = torch.eye(clusters, dtype=torch.float64).repeat(each, 1)
    one = even[:1].expand(5, clusters)
    logits = 1e3 * even
    got = plugin_entropy(even) + categorical_log_prob(even, logits).mean()
    assert float(got) == pytest.approx(math.log(clusters))
    assert float(plugin_entropy(one)) == 0.0
    order = torch.randperm(clusters, generator=torch.Generator().manual_seed(seed))
    uneven = torch.cat([even, one if clusters == 5 else even[:1]])
    want = float(plugin_entropy(uneven))
    assert float(plugin_entropy(uneven[:, order])) == pytest.approx(want)


@MANY
@given(n=BATCH, d=DIM, kappa=KAPPA, seed=SEED, loo=st.booleans())
def test_p13_the_plugin_estimate_is_never_above_joes(rows, n, d, kappa, seed, loo):
    z = rows(seed, n, d)
    plugin = kde_entropy(z, kappa=kappa, estimator="plugin", leave_one_out=loo)
    joe = kde_entropy(z, kappa=kappa, leave_one_out=loo)
    assert float(plugin) <= float(joe) + 1e-9
    equal = simplex(n)  # all densities are equal
    plugin = kde_entropy(equal, kappa=kappa, estimator="plugin", leave_one_out=loo)
    joe = kde_entropy(equal, kappa=kappa, leave_one_out=loo)
    assert float(plugin) == pytest.approx(float(joe), rel=1e-9)


@given(d=st.integers(2, 2000), kappa=st.floats(0.01, 1e3))
def test_p14_the_constants_slope_is_the_mean_cosine(d, kappa):
    k = torch.tensor(kappa, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(-vmf_log_normalizer(d, k), k)
    assert float(slope) == pytest.approx(float(vmf_mean_cosine(d, kappa)), rel=1e-9)
    assert 0 < float(slope) < 1


@given(n=BATCH, d=DIM, std=st.floats(0.1, 3), seed=SEED)
def test_p17_on_the_sphere_a_gaussian_is_a_von_mises_fisher(rows, n, d, std, seed):
    z, mu = unit(rows(seed, n, d)), unit(rows(seed + 1, n, d)).requires_grad_()
    gaussian, vmf = gaussian_log_prob(z, mu, std=std), vmf_log_prob(z, mu, kappa=1 / std**2)
    difference = (gaussian - vmf).detach()
    torch.testing.assert_close(difference, difference[:1].expand(n), rtol=0, atol=1e-8)
    slopes = [torch.autograd.grad(x.sum(), mu)[0] for x in (gaussian, vmf)]
    along = [(slope * mu).sum(1, keepdim=True) * mu for slope in slopes]
    tangents = [slope - part for slope, part in zip(slopes, along, strict=True)]
    torch.testing.assert_close(*tangents, rtol=1e-8, atol=1e-8)


@given(n=BATCH, d=DIM, seed=SEED)
def test_p18_byols_loss_is_two_minus_twice_the_reconstruction(rows, n, d, seed):
    z1, z2 = rows(seed, n, d), rows(seed + 1, n, d)
    byol = (unit(z1) - unit(z2)).square().sum(1).mean()
    r = er_bound(z1, z2, kappa=1.0).reconstruction - vmf_log_normalizer(d, 1.0)
    assert float(byol) == pytest.approx(2 - 2 * float(r))


def around(mu, kappa, generator):
    """Draws from the von Mises-Fisher distribution in three dimensions, by its inverse."""
    share = torch.rand(len(mu), generator=generator, dtype=torch.float64)
    cosine = 1 + torch.log(share + (1 - share) * math.exp(-2 * kappa)) / kappa
    tangent = torch.randn(mu.shape, generator=generator, dtype=torch.float64)
    tangent = unit(tangent - (tangent * mu).sum(1, keepdim=True) * mu)
    return cosine[:, None] * mu + (1 - cosine**2).sqrt()[:, None] * tangent


def test_p19_where_the_information_is_known_the_bound_rises_to_it():
    # 6,000 pairs, seed 0; over 20 seeds the estimate at the true kappa is within 0.03 of the truth
    g, true = torch.Generator().manual_seed(0), 20.0
    z1 = unit(torch.randn(6000, 3, generator=g, dtype=torch.float64))
    z2 = around(z1, true, g)
    mean_cosine = float(vmf_mean_cosine(3, true))
    noise = -float(vmf_log_normalizer(3, true)) - true * mean_cosine  # H(Z2 | Z1)
    information = log_sphere_area(3) - noise

    def bound(kappa, first=z1):
        return float(er_bound(first, z2, kappa=kappa, leave_one_out=True).bound)

    assert bound(true) == pytest.approx(information, abs=0.05)
    assert bound(true / 5) < bound(true / 2) < bound(true) > bound(2 * true) > bound(5 * true)
    assert max(map(bound, (4.0, 10.0, 20.0, 40.0))) <= information + 0.05
    assert bound(true, first=z1.roll(1, 0)) < 0  # the control: pairs that share nothing


def test_the_loss_is_minus_the_bound_of_both_directions(rows):
    z1, z2 = rows(0, 9, 5), rows(1, 9, 5)
    both = [er_bound(z1, z2, kappa=7.0).bound, er_bound(z2, z1, kappa=7.0).bound]
    want = -float(sum(both) / 2)
    assert float(ERLoss(kappa=7.0)(z1, z2)) == pytest.approx(want)

import math
import warnings
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lv_ssl import (
    Bernoulli,
    CollapseWarning,
    Normal,
    StochasticContrastiveLoss,
    StochasticHead,
    mc_infonce,
    nt_xent,
    row_log_probs,
)
from lv_ssl.heads import FAMILIES

SEEDS = st.integers(0, 2**31)


def looped_log_probs(z1, z2, temperature):
    """The definition, row by row."""
    z = [row / row.norm() for row in torch.cat([z1, z2])]
    n, out = len(z1), []
    for i, anchor in enumerate(z):
        weights = [math.exp(anchor @ other / temperature) for j, other in enumerate(z) if j != i]
        positive = float(anchor @ z[(i + n) % (2 * n)]) / temperature
        out.append(positive - math.log(sum(weights)))
    return torch.tensor(out, dtype=torch.float64)


def drawn(seed, *shape):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64)


@given(seed=SEEDS, rows=st.integers(2, 7), dim=st.integers(1, 9), t=st.floats(0.05, 2.0))
def test_rows_equal_the_definition(seed, rows, dim, t):
    z1, z2 = drawn(seed, rows, dim), drawn(seed + 1, rows, dim)
    want = looped_log_probs(z1, z2, t)
    got = row_log_probs(z1, z2, temperature=t)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
    assert float(nt_xent(z1, z2, temperature=t)) == pytest.approx(-float(want.mean()))


@given(seed=SEEDS, samples=st.integers(1, 6))
def test_averaging_probabilities_costs_at_most_the_mean_of_the_losses(seed, samples):
    z1, z2 = drawn(seed, samples, 5, 4), drawn(seed + 1, samples, 5, 4)
    got = float(mc_infonce(z1, z2))
    rows = torch.stack([looped_log_probs(a, b, 0.1) for a, b in zip(z1, z2, strict=True)])
    assert got == pytest.approx(-float(rows.exp().mean(0).log().mean()), rel=1e-8)
    each = [float(nt_xent(a, b)) for a, b in zip(z1, z2, strict=True)]
    assert got <= sum(each) / samples + 1e-9
    if samples == 1:
        assert got == pytest.approx(each[0])
    else:
        assert got < sum(each) / samples
    same = float(mc_infonce(z1[:1].expand(samples, -1, -1), z2[:1].expand(samples, -1, -1)))
    assert same == pytest.approx(each[0])


def test_more_samples_do_not_raise_the_expected_loss():
    # n = 200 draws, seeds 0 to 199; E[loss at S] falls in S; the bound is 2 standard errors
    g = torch.Generator().manual_seed(0)
    q1, q2 = (Normal(drawn(s, 6, 4), torch.full((6, 4), 0.5).double()) for s in (1, 1))
    means = []
    for samples in (1, 2, 4, 8):
        draws = torch.stack(
            [
                mc_infonce(q1.rsample(samples, generator=g), q2.rsample(samples, generator=g))
                for _ in range(200)
            ]
        )
        means.append((float(draws.mean()), float(draws.std()) / 200**0.5))
    for (before, error), (after, other) in pairwise(means):
        assert after < before + 2 * math.hypot(error, other)
    assert means[-1][0] < means[0][0] - 0.1


@given(seed=SEEDS)
def test_without_noise_the_loss_is_that_of_the_means_plus_the_kl(seed):
    mu1, mu2 = drawn(seed, 6, 5), drawn(seed + 1, 6, 5)
    q1, q2 = (Normal(mu, torch.full_like(mu, 1e-9)) for mu in (mu1, mu2))
    terms = StochasticContrastiveLoss(beta=0.01, samples=3)(q1, q2)
    want = nt_xent(mu1, mu2) + 0.01 * (q1.kl() + q2.kl()).mean() / 2
    torch.testing.assert_close(terms.loss, want, rtol=1e-6, atol=1e-6)
    assert float(terms.rate_bits) == pytest.approx(float(terms.kl) / math.log(2))


@pytest.mark.parametrize("family", FAMILIES)
def test_trained_mode_draws_and_eval_mode_does_not(posterior, family):
    q1, q2 = posterior(family, 1), posterior(family, 2)
    loss = StochasticContrastiveLoss()
    assert loss(q1, q2).loss != loss(q1, q2).loss
    loss.eval()
    assert torch.equal(loss(q1, q2).loss, loss(q1, q2).loss)
    assert torch.equal(loss(q1, q2).contrastive, nt_xent(q1.mean, q2.mean))


def test_its_stream_of_noise_is_set_by_the_seed_and_never_the_global_one(posterior):
    q1, q2 = posterior("bernoulli", 1), posterior("bernoulli", 2)
    before = torch.get_rng_state()
    first, again, other = (
        [float(loss(q1, q2).loss) for _ in range(3)]
        for loss in (StochasticContrastiveLoss(seed=s) for s in (4, 4, 5))
    )
    assert first == again != other
    assert torch.equal(before, torch.get_rng_state())
    given_ = [
        StochasticContrastiveLoss()(q1, q2, generator=torch.Generator().manual_seed(9)).loss
        for _ in range(2)
    ]
    assert torch.equal(*given_)


def test_the_two_views_have_noise_of_their_own():
    seen = []
    q = Normal(torch.zeros(4, 8), torch.ones(4, 8))

    def objective(z1, z2):
        seen.append((z1, z2))
        return (z1 * z2).mean()

    StochasticContrastiveLoss(objective, samples=2)(q, q)
    assert len(seen) == 2
    (a1, a2), (b1, b2) = seen
    assert all(not torch.equal(x, y) for x, y in [(a1, a2), (a1, b1), (a2, b2), (b1, b2)])


def test_swapped_views_with_swapped_noise_cost_the_same(posterior):
    class Given(Bernoulli):
        def _draw(self, n, generator):
            return (torch.rand(n, *self.logits.shape, generator=noise[id(self)]) < self.mean).to(
                self.logits
            )

    logits = drawn(0, 6, 5), drawn(1, 6, 5)
    q1, q2 = (Given(x) for x in logits)
    values = []
    for a, b in ((q1, q2), (q2, q1)):
        noise = {id(q): torch.Generator().manual_seed(s) for s, q in enumerate((q1, q2))}
        values.append(StochasticContrastiveLoss(samples=2)(a, b).loss)
    torch.testing.assert_close(*values)


def test_latents_in_another_order_cost_the_same():
    x, order = drawn(0, 6, 8), torch.randperm(8, generator=torch.Generator().manual_seed(0))
    loss = StochasticContrastiveLoss().eval()
    q1, q2 = Bernoulli(x), Bernoulli(x.flip(0))
    p1, p2 = Bernoulli(x[:, order]), Bernoulli(x.flip(0)[:, order])
    torch.testing.assert_close(loss(q1, q2).loss, loss(p1, p2).loss)


def test_free_bits_cost_nothing_and_are_counted_in_the_rate(posterior):
    q = posterior("bernoulli")
    least = StochasticContrastiveLoss(beta=1.0, free_bits=0.25).eval()(q, q)
    none = StochasticContrastiveLoss(beta=1.0).eval()(q, q)
    units = q.kl_units().mean(0)
    want = none.contrastive + units.clamp_min(0.25 * math.log(2)).sum()
    torch.testing.assert_close(least.loss, want)
    assert torch.equal(least.kl, none.kl)
    logits = torch.zeros(4, 3, requires_grad=True)
    small = Bernoulli(logits + 0.01)
    StochasticContrastiveLoss(beta=1.0, free_bits=0.25).eval()(
        small, small, projector=torch.Tensor.detach
    ).loss.backward()
    assert logits.grad.abs().max() == 0


def test_a_projector_stands_between_samples_and_the_contrastive_term(posterior):
    q1, q2 = posterior("bernoulli", 1), posterior("bernoulli", 2)
    loss = StochasticContrastiveLoss().eval()
    got = loss(q1, q2, projector=lambda z: 2 * z - 1)
    assert torch.equal(got.contrastive, nt_xent(2 * q1.mean - 1, 2 * q2.mean - 1))


@pytest.mark.parametrize("estimator", ["mean", "mc"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_learns_what_two_views_share(family, estimator, seeded):
    # 60 steps, loss at the end over loss at the start; the control has unrelated rows
    def last_of(shared):
        torch.manual_seed(0)
        g = seeded(3)
        head = StochasticHead(12, 16, family)
        loss = StochasticContrastiveLoss(temperature=0.1, samples=2, estimator=estimator, beta=1e-4)
        optimizer = torch.optim.Adam(head.parameters(), lr=3e-2)
        values = []
        for _ in range(60):
            x = torch.randn(32, 6, generator=g)
            views = [
                torch.cat([x if shared else torch.randn(32, 6, generator=g),
                           torch.randn(32, 6, generator=g)], 1)
                for _ in range(2)
            ]  # fmt: skip
            terms = loss(*(head(v) for v in views))
            optimizer.zero_grad()
            terms.loss.backward()
            optimizer.step()
            values.append(float(terms.contrastive.detach()))
        return sum(values[-10:]) / sum(values[:10])

    assert last_of(shared=True) < last_of(shared=False) - 0.02


def test_a_higher_beta_leaves_a_lower_rate_and_a_huge_one_collapses_and_says_so(seeded):
    def rate(beta):
        torch.manual_seed(0)
        g, head = seeded(3), StochasticHead(12, 16, "normal")
        loss = StochasticContrastiveLoss(temperature=0.5, beta=beta)
        optimizer = torch.optim.Adam(head.parameters(), lr=3e-2)
        for _ in range(150):
            x = torch.randn(32, 6, generator=g)
            views = [torch.cat([x, torch.randn(32, 6, generator=g)], 1) for _ in range(2)]
            terms = loss(*(head(v) for v in views))
            optimizer.zero_grad()
            terms.loss.backward()
            optimizer.step()
        return float(terms.rate_bits.detach())

    rates = [rate(beta) for beta in (0.0, 1e-3, 1e-2, 1e-1)]
    assert all(a > b for a, b in pairwise(rates))
    with pytest.warns(CollapseWarning, match=r"rate is below 1 bit.*lower beta"):
        assert rate(100.0) < 0.1


def repeat(loss, q, *, times):
    for _ in range(times):
        loss(q, q)


def test_collapse_is_said_once_and_only_when_it_lasts():
    loss = StochasticContrastiveLoss(beta=0.0)
    silent, loud = Bernoulli(torch.zeros(4, 3)), Bernoulli(torch.full((4, 3), 3.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for q in [silent] * 9 + [loud] + [silent] * 9 + [loud]:
            loss(q, q)
    with pytest.warns(CollapseWarning) as caught:
        repeat(loss, silent, times=30)
    assert len(caught) == 1
    still = Normal(torch.ones(4, 3), torch.full((4, 3), 1e-5))
    with pytest.warns(CollapseWarning, match="lost their noise"):
        repeat(loss, still, times=10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"objective": nt_xent, "estimator": "mc"},
            "leave objective out, or take estimator='mean'",
        ),
        ({"estimator": "median"}, "estimator must be one of 'mean', 'mc'"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"beta": -1.0}, "beta must be at least 0"),
        ({"samples": 0}, "samples must be at least 1"),
        ({"free_bits": math.inf}, "free_bits must be at least 0"),
    ],
)
def test_refuses_at_construction(arguments, message):
    with pytest.raises(ValueError, match=message):
        StochasticContrastiveLoss(**arguments)


def test_says_which_posteriors_came(posterior):
    q = posterior("normal")
    with pytest.raises(ValueError, match="got 5 of normal and 5 of bernoulli"):
        StochasticContrastiveLoss()(q, posterior("bernoulli"))
    with pytest.raises(ValueError, match="got 5 of normal and 4 of normal"):
        StochasticContrastiveLoss()(q, q[:4])
    with pytest.raises(ValueError, match=r"\(1, 3\) and \(1, 3\)"):
        nt_xent(torch.ones(1, 3), torch.ones(1, 3))
    with pytest.raises(ValueError, match=r"\(S, B, D\) stacks of samples, got \(4, 3\)"):
        mc_infonce(torch.ones(4, 3), torch.ones(4, 3))


def test_terms_print_and_make_a_table(posterior):
    terms = StochasticContrastiveLoss().eval()(posterior("bernoulli"), posterior("bernoulli"))
    assert "rate" in str(terms)
    assert "bits" in str(terms)
    table = terms.to_table()
    assert table["term"] == ["loss", "contrastive", "kl", "rate_bits", "beta"]
    assert table["value"][0] == pytest.approx(table["value"][1] + 1e-3 * table["value"][2])

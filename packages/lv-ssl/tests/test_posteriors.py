import math

import pytest
import torch
import torch.distributions as td
from hypothesis import given
from hypothesis import strategies as st
from lv_ssl import (
    Bernoulli,
    Categorical,
    Normal,
    Posterior,
    PowerSpherical,
    VonMisesFisher,
    sample_disagreement,
)
from lv_ssl.heads import FAMILIES

SEEDS = st.integers(0, 2**31)


def looped_kl(q, dim):
    """The definitions, unit by unit, as numbers."""
    out = []
    for row in range(len(q)):
        total = 0.0
        if q.family == "normal":
            for mu, s in zip(q.loc[row].tolist(), q.scale[row].tolist(), strict=True):
                total += (mu * mu + s * s - 1 - math.log(s * s)) / 2
        elif q.family == "bernoulli":
            for p in q.mean[row].tolist():
                total += p * math.log(p / q.prior) + (1 - p) * math.log((1 - p) / (1 - q.prior))
        else:
            for start in range(0, dim, q.classes):
                for p in q.mean[row, start : start + q.classes].tolist():
                    total += p * math.log(p * q.classes)
        out.append(total)
    return torch.tensor(out, dtype=torch.float64)


@given(seed=SEEDS, rows=st.integers(1, 6), groups=st.integers(1, 4))
@pytest.mark.parametrize("family", ["normal", "bernoulli", "categorical"])
def test_kl_equals_the_definition_unit_by_unit(posterior, family, seed, rows, groups):
    q = posterior(family, seed, rows, 4 * groups)
    torch.testing.assert_close(q.kl(), looped_kl(q, 4 * groups), rtol=1e-6, atol=1e-6)
    assert (q.kl() >= 0).all()
    assert torch.equal(q.kl(), q.kl_units().sum(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kl_equals_that_of_torch_distributions(dtype, seeded):
    x = torch.randn(64, 12, generator=seeded(), dtype=dtype)
    s = torch.randn(64, 12, generator=seeded(1), dtype=dtype).exp()
    zeros, ones = torch.zeros_like(x), torch.ones_like(x)
    want = td.kl_divergence(td.Normal(x, s), td.Normal(zeros, ones)).sum(1)
    torch.testing.assert_close(Normal(x, s).kl(), want, rtol=1e-6, atol=1e-6)
    for prior in (0.5, 0.1):
        other = td.Bernoulli(probs=torch.full_like(x, prior))
        want = td.kl_divergence(td.Bernoulli(logits=x), other).sum(1)
        got = Bernoulli(x, prior=prior).kl()
        torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6)
    groups = x.unflatten(1, (3, 4))
    uniform = td.Categorical(logits=torch.zeros_like(groups))
    want = td.kl_divergence(td.Categorical(logits=groups), uniform).sum(1)
    torch.testing.assert_close(Categorical(x, classes=4).kl(), want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "q",
    [
        Normal(torch.zeros(2, 3), torch.ones(2, 3)),
        Bernoulli(torch.full((2, 3), math.log(0.2 / 0.8)), prior=0.2),
        Categorical(torch.full((2, 6), 1.5), classes=3),
        PowerSpherical(torch.ones(2, 3), torch.full((2, 1), 1e-5)),
        VonMisesFisher(torch.ones(2, 3), torch.full((2, 1), 1e-5)),
    ],
    ids=lambda q: q.family,
)
def test_kl_is_nothing_at_the_prior(q):
    torch.testing.assert_close(q.kl(), torch.zeros(2), rtol=0, atol=1e-6)


@given(seed=SEEDS)
def test_of_bits_kl_and_entropy_add_up_to_the_bits(posterior, seed):
    q = posterior("bernoulli", seed, 4, 9)
    want = torch.full((4,), 9 * math.log(2), dtype=torch.float64)
    torch.testing.assert_close(q.kl() + q.entropy(), want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("size", [100.0, 1e4])
@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
def test_extreme_logits_are_finite_in_value_and_gradient(family, size, seeded):
    logits = torch.tensor([[size, -size, 0.0, size], [-size, -size, size, 1.0]], requires_grad=True)
    q = Bernoulli(logits) if family == "bernoulli" else Categorical(logits, classes=2)
    total = q.kl().sum() + q.entropy().sum() + q.rsample(4, generator=seeded()).square().sum()
    total.backward()
    assert total.isfinite()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("family", ["power_spherical", "vmf"])
@pytest.mark.parametrize("kappa", [1e-3, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("dim", [2, 3, 64, 2048])
def test_on_the_sphere_every_concentration_is_finite(family, kappa, dim, seeded):
    kind = PowerSpherical if family == "power_spherical" else VonMisesFisher
    loc = torch.randn(4, dim, generator=seeded(), requires_grad=True)
    k = torch.full((4, 1), kappa, requires_grad=True)
    q = kind(loc, k)
    z = q.rsample(3, generator=seeded())
    (q.kl().sum() + z[..., 0].sum() + q.mean.sum()).backward()
    assert q.kl().isfinite().all()
    assert (q.kl() >= -1e-6).all()
    torch.testing.assert_close(z.norm(dim=-1), torch.ones(3, 4), rtol=0, atol=1e-5)
    assert k.grad.isfinite().all()
    assert loc.grad.isfinite().all()


@pytest.mark.parametrize("family", FAMILIES)
def test_samples_have_the_mean_of_the_posterior(posterior, family, seeded):
    # 20,000 samples; bound 5 standard errors, at most 1 in 10^6 false alarms a latent
    q = posterior(family, 3, 3, 8)
    z = q.rsample(20_000, generator=seeded(7))
    error = (z.mean(0) - q.mean) / (z.std(0) / 20_000**0.5 + 1e-9)
    assert error.abs().max() < 5
    wrong = (z.mean(0) - q.mean.flip(1)) / (z.std(0) / 20_000**0.5 + 1e-9)
    assert wrong.abs().max() > 5  # the control


def test_normal_samples_have_the_scale_of_the_posterior(posterior, seeded):
    q = posterior("normal", 3, 3, 8)
    z = q.rsample(20_000, generator=seeded(7))
    torch.testing.assert_close(z.std(0), q.scale, rtol=0.03, atol=0)


@pytest.mark.parametrize("relaxation", [0.1, 0.7, 5.0])
def test_a_relaxed_bit_exceeds_a_half_with_its_probability_at_every_temperature(relaxation, seeded):
    q = Bernoulli(torch.tensor([[-2.0, 0.0, 1.0]]), relaxation=relaxation, hard=False)
    share = (q.rsample(40_000, generator=seeded(1)) > 0.5).float().mean(0)
    torch.testing.assert_close(share, q.mean, rtol=0, atol=0.0125)  # 5 standard errors


@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
def test_straight_through_is_hard_in_value_and_relaxed_in_gradient(posterior, family, seeded):
    x = torch.randn(5, 8, generator=seeded(), dtype=torch.float64)
    weight = torch.randn(5, 8, generator=seeded(1), dtype=torch.float64)
    kind = Bernoulli if family == "bernoulli" else Categorical
    gradients = []
    for hard in (True, False):
        logits = x.clone().requires_grad_()
        z = kind(logits, relaxation=0.5, hard=hard).rsample(generator=seeded(2))[0]
        assert set(z.unique().tolist()) <= {0.0, 1.0} or not hard
        (z * weight).sum().backward()
        gradients.append(logits.grad)
    assert torch.equal(*gradients)
    assert gradients[0].abs().min() > 0


@given(seed=SEEDS)
def test_one_hot_samples_and_modes_choose_one_class_a_group(posterior, seed):
    q = posterior("categorical", seed, 3, 12)
    z = q.rsample(5, generator=torch.Generator().manual_seed(seed)).unflatten(-1, (3, 4))
    assert torch.equal(z.sum(-1), torch.ones(5, 3, 3, dtype=z.dtype))
    mode = q.mode.unflatten(-1, (3, 4))
    assert torch.equal(mode.argmax(-1), q.logits.unflatten(-1, (3, 4)).argmax(-1))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_generator_gives_the_same_samples_and_another_others(posterior, family, seeded):
    q = posterior(family)
    first, again = (q.rsample(2, generator=seeded(5)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, q.rsample(2, generator=seeded(6)))
    assert not torch.equal(first[0], first[1])
    before = torch.get_rng_state()
    q.rsample(generator=seeded())
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("family", ["normal", "bernoulli"])
def test_reordered_latents_reorder_everything_and_change_no_sum(posterior, family):
    q, order = posterior(family), torch.tensor([3, 1, 0, 2, 7, 6, 5, 4])
    fields = ("loc", "scale") if family == "normal" else ("logits",)
    p = type(q)(*(getattr(q, name)[:, order] for name in fields))
    torch.testing.assert_close(p.kl_units(), q.kl_units()[:, order])
    torch.testing.assert_close(p.kl(), q.kl())
    torch.testing.assert_close(p.entropy(), q.entropy())
    assert torch.equal(p.mean, q.mean[:, order])
    assert torch.equal(p.mode, q.mode[:, order])


@given(seed=SEEDS, factor=st.floats(1.1, 5.0))
def test_uncertainty_rises_with_the_spread(posterior, seed, factor):
    q = posterior("normal", seed)
    assert (Normal(q.loc, factor * q.scale).uncertainty() > q.uncertainty()).all()
    bits = posterior("bernoulli", seed)
    assert (Bernoulli(bits.logits / factor).uncertainty() > bits.uncertainty()).all()
    for family in ("power_spherical", "vmf"):
        s = posterior(family, seed)
        wider = type(s)(s.loc, s.kappa / factor)
        assert (wider.uncertainty() > s.uncertainty()).all()
        assert (wider.entropy() > s.entropy()).all()
        assert (wider.kl() < s.kl()).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_can_be_taken_joined_and_detached(posterior, family):
    q = posterior(family, grad=True)
    assert q.kl().requires_grad
    assert not q.detach().kl().requires_grad
    joined = type(q).cat([q[:2], q[2:]])
    assert len(joined) == len(q) == 5
    torch.testing.assert_close(joined.kl(), q.kl())
    torch.testing.assert_close(q[torch.tensor([4])].mode, q.mode[4:])


@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_is_widened(posterior, family):
    q = posterior(family)
    half = q._each(torch.Tensor.bfloat16)
    assert half.kl().dtype == half.mean.dtype == torch.float32


def test_disagreement_orders_directions_by_their_concentration(seeded):
    kappa = torch.tensor([[1.0], [10.0], [100.0], [1e4]])
    q = VonMisesFisher(torch.ones(4, 6), kappa)
    d = sample_disagreement(q, samples=64, generator=seeded())
    assert (d.diff() < 0).all()
    with pytest.raises(ValueError, match="samples must be at least 2, got 1"):
        sample_disagreement(q, samples=1, generator=seeded())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Normal(torch.zeros(2, 3), torch.zeros(2, 3)), "scale positive"),
        (lambda: Normal(torch.zeros(2, 3), torch.ones(2, 2)), r"\(2, 3\) and \(2, 2\)"),
        (lambda: Bernoulli(torch.tensor([[math.nan]])), "logits must be finite, got 1 of 1"),
        (lambda: Bernoulli(torch.zeros(2)), r"logits must be \(B, D\).*got \(2,\)"),
        (lambda: Bernoulli(torch.zeros(2, 2), prior=1.0), "prior must be a probability"),
        (lambda: Bernoulli(torch.zeros(2, 2), relaxation=0.0), "relaxation must be positive"),
        (lambda: Categorical(torch.zeros(2, 5), classes=2), "divide the 5 logits, got 2"),
        (lambda: VonMisesFisher(torch.ones(2, 3), torch.zeros(2, 1)), "kappa must be positive"),
        (lambda: VonMisesFisher(torch.ones(2, 1), torch.ones(2, 1)), "D >= 2"),
        (lambda: Posterior.cat([]), "at least one posterior"),
        (lambda: Bernoulli(torch.zeros(1, 1)).rsample(0, generator=torch.Generator()), "n must"),
    ],
)
def test_says_what_came_and_what_would_do(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_sample_needs_a_generator():
    with pytest.raises(TypeError, match=r"generator must be a .*, got NoneType"):
        Bernoulli(torch.zeros(1, 1)).rsample(generator=None)
    with pytest.raises(TypeError, match=r"logits must be a floating tensor, got torch\.int64"):
        Bernoulli(torch.zeros(1, 1, dtype=torch.int64))

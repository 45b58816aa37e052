import copy

import pytest
import torch
from lv_ssl import StochasticHead
from lv_ssl.heads import FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_a_posterior_of_its_own_that_trains(family, seeded):
    torch.manual_seed(0)
    head = StochasticHead(6, 16, family)
    q = head(torch.randn(9, 6, generator=seeded()))
    assert q.family == family
    assert q.mean.shape == q.mode.shape == (9, 16)
    (q.kl().mean() + q.rsample(generator=seeded())[..., 0].sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())
    assert all(p.grad.abs().sum() > 0 for p in head.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_options_make_the_same_head_again(family):
    head = StochasticHead(6, 16, family, start_kappa=3.0, relaxation=0.5)
    again = StochasticHead(**head.options)
    again.load_state_dict(head.state_dict())
    head.eval(), again.eval()
    x = torch.randn(4, 6)
    assert torch.equal(head(x).mean, again(x).mean)
    assert torch.equal(head(x).kl(), again(x).kl())


def test_bits_are_normalised_over_the_batch_and_are_on_about_half_the_time(seeded):
    head = StochasticHead(6, 32)
    q = head(5 + 3 * torch.randn(512, 6, generator=seeded()))
    torch.testing.assert_close(q.logits.mean(0), torch.zeros(32), rtol=0, atol=1e-5)
    torch.testing.assert_close(q.logits.std(0), torch.ones(32), rtol=0, atol=1e-2)
    assert len(list(head.normalise.parameters())) == 0
    bare = StochasticHead(6, 32, batch_norm=False)
    assert bare(5 + 3 * torch.randn(512, 6, generator=seeded())).logits.mean(0).abs().max() > 0.5


def test_evaluation_is_deterministic_and_leaves_the_state_alone(seeded):
    head = StochasticHead(6, 32)
    head(torch.randn(64, 6, generator=seeded()))
    head.eval()
    before = copy.deepcopy(head.state_dict())
    x = torch.randn(8, 6, generator=seeded(1))
    assert torch.equal(head(x).mean, head(x).mean)
    torch.testing.assert_close(head(x[:1]).logits, head(x).logits[:1])  # rows alone, as together
    assert all(torch.equal(before[k], v) for k, v in head.state_dict().items())


@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
def test_a_gain_makes_all_bits_of_an_input_surer_and_changes_none(family, seeded):
    torch.manual_seed(0)
    head = StochasticHead(6, 32, family, gain=True).eval()
    x = torch.randn(9, 6, generator=seeded())
    torch.nn.init.zeros_(head.spread.weight)
    certain, before = [], head(x)
    for bias in (0.0, 2.0, 5.0):
        torch.nn.init.constant_(head.spread.bias, bias)
        q = head(x)
        certain.append(float(q.uncertainty().detach().mean()))
        assert torch.equal(q.mode, before.mode)
    assert certain[0] > certain[1] > certain[2]
    assert StochasticHead(6, 32, "vmf", gain=True).options["gain"] is False


@pytest.mark.parametrize("family", ["power_spherical", "vmf"])
def test_concentration_starts_about_where_it_is_asked_to(family, seeded):
    head = StochasticHead(6, 32, family, start_kappa=50.0)
    kappa = head(0.1 * torch.randn(64, 6, generator=seeded())).kappa
    assert 25 < float(kappa.detach().mean()) < 100


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("scale", [1e2, 1e4])
def test_extreme_features_are_finite_in_value_and_gradient(family, scale, seeded):
    head = StochasticHead(6, 16, family, batch_norm=False)
    q = head(scale * torch.randn(9, 6, generator=seeded()))
    total = q.kl().sum() + q.uncertainty().sum() + q.rsample(2, generator=seeded()).sum()
    total.backward()
    assert total.isfinite()
    assert all(p.grad.isfinite().all() for p in head.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"family": "gauss"}, "family must be one of 'normal', .*got 'gauss'"),
        ({"dim": 0}, "dim must be positive"),
        ({"family": "categorical", "classes": 5}, "divide the 16 logits, got 5"),
        ({"relaxation": -1.0}, "relaxation must be positive"),
        ({"prior": 0.0}, "prior must be a probability"),
        ({"family": "vmf", "start_kappa": 0.0}, "start_kappa must be positive"),
        ({"family": "vmf", "dim": 1}, "D >= 2"),
    ],
)
def test_refuses_at_construction(arguments, message):
    with pytest.raises(ValueError, match=message):
        StochasticHead(**({"in_dim": 6, "dim": 16} | arguments))


def test_says_which_features_came():
    head = StochasticHead(6, 16)
    with pytest.raises(ValueError, match=r"features must be \(B, 6\), got \(3, 5\)"):
        head(torch.zeros(3, 5))
    with pytest.raises(ValueError, match="logits must be finite, got 48 of 48"):
        head(torch.full((3, 6), torch.nan))
    with pytest.raises(TypeError, match="features must be a floating tensor"):
        head(torch.zeros(3, 6, dtype=torch.int64))

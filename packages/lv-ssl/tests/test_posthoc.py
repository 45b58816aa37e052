import copy

import pytest
import torch
from lv_ssl import (
    FitReport,
    LatentLayer,
    StochasticContrastiveLoss,
    StochasticHead,
    embed,
    fine_tune,
    fine_tuning,
    fit_head,
    infer,
)
from lv_ssl.finetune import LATENTS
from torch import nn


def encoder(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 12), nn.BatchNorm1d(12), nn.ReLU())


def views(n=256, seed=0):
    """Two views of two classes: four inputs are shared, four are noise."""
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    shared = torch.randn(n, 4, generator=g) + 1.5 * (2 * y[:, None] - 1)
    return [torch.cat([shared, torch.randn(n, 4, generator=g)], 1) for _ in range(2)], y


def state(module):
    return copy.deepcopy(module.state_dict()), [m.training for m in module.modules()]


def same(a, b):
    return a[1] == b[1] and all(torch.equal(a[0][k], b[0][k]) for k in a[0])


def test_a_frozen_encoder_is_bit_identical_after_all_that_is_done_with_it():
    model, head, (v, y) = encoder(), StochasticHead(12, 16), views()
    model[1].eval()  # a mixed mode is given back too
    before, before_head = state(model), state(head)
    features = [embed(model, x, batch=100) for x in v]
    fit_head(StochasticHead(12, 16), *features, epochs=2, batch=64)
    infer(head, features[0])
    fine_tune(model, head, v[0], y, epochs=1)
    assert same(before, state(model))
    assert same(before_head, state(head))
    assert all(p.grad is None for p in model.parameters())
    assert not features[0].requires_grad


def test_features_are_those_of_eval_mode_whatever_the_batch():
    model, (v, _) = encoder(), views()
    want = model.eval()(v[0])
    model.train()
    for batch in (7, 1000):
        torch.testing.assert_close(embed(model, v[0], batch=batch), want)
    got = embed(model, v[0], prepare=lambda x: 2 * x)
    torch.testing.assert_close(got, model.eval()(2 * v[0]))


def test_the_mode_is_given_back_after_an_error():
    model = encoder()
    with pytest.raises(RuntimeError):
        embed(model, torch.zeros(3, 5))
    assert model.training


def test_a_head_learns_what_the_views_share_and_the_same_seed_gives_the_same_head():
    (a, b), _ = views()

    def fitted(seed, second):
        torch.manual_seed(0)
        head = StochasticHead(8, 32)
        report = fit_head(head, a, second, epochs=12, batch=64, lr=1e-2, seed=seed)
        return head, report

    head, report = fitted(0, b)
    again, _ = fitted(0, b)
    other, _ = fitted(1, b)
    assert all(
        torch.equal(x, y) for x, y in zip(head.parameters(), again.parameters(), strict=True)
    )
    assert not torch.equal(head.location.weight, other.location.weight)
    assert report.contrastive[-1] < report.contrastive[0] - 0.1
    _, unrelated = fitted(0, b.roll(1, 0).flip(1))
    assert unrelated.contrastive[-1] > report.contrastive[-1] + 0.1  # the control
    assert not head.training
    assert len(report.to_table()["epoch"]) == 12
    assert "12 epochs" in str(report)


def test_beta_warms_up_and_is_given_back():
    (a, b), _ = views(64)
    seen = []

    class Watched(StochasticContrastiveLoss):
        def forward(self, *posteriors):
            seen.append(self.beta)
            return super().forward(*posteriors)

    loss = Watched(beta=0.01)
    done = []
    fit_head(
        StochasticHead(8, 4), a, b, loss=loss, epochs=5, batch=32, warm_up_share=0.4,
        progress=lambda step, total: done.append((step, total)),
    )  # fmt: skip
    assert seen == pytest.approx([0, 0.0025, 0.005, 0.0075, *6 * [0.01]])
    assert loss.beta == 0.01
    fit_head(StochasticHead(8, 4), a, b, loss=loss, epochs=1, batch=32, warm_up_share=1.0)
    assert seen[-1] < loss.beta == 0.01
    assert done[-1] == (10, 10)
    assert len(done) == 10


def test_inferred_rows_are_those_of_the_head_whatever_the_batch():
    head, (v, _) = StochasticHead(8, 16), views(50)
    head(v[0])
    got = infer(head, v[0], batch=7)
    torch.testing.assert_close(got.kl(), head.eval()(v[0]).kl())
    assert not got.mean.requires_grad


@pytest.mark.parametrize("latent", LATENTS)
def test_a_latent_layer_is_deterministic_in_eval_mode_and_draws_only_if_kept(latent):
    layer, (v, _) = LatentLayer(StochasticHead(8, 16), latent=latent), views(50)
    drawn = {tuple(layer(v[0]).flatten().tolist()) for _ in range(3)}
    assert (len(drawn) == 1) == (latent == "mean")
    layer.eval()
    assert torch.equal(layer(v[0]), layer(v[0]))
    assert torch.equal(layer(v[0]), layer.head(v[0]).mean)


def test_fine_tuning_compares_three_protocols():
    model, head, (v, y) = encoder(), StochasticHead(12, 16), views(400)
    train, test = (v[0][:300], y[:300]), (v[0][300:], y[300:])
    found = fine_tuning(model, head, train, test, epochs=6, batch=32, lr=1e-2)
    assert min(found.linear, found.sample, found.mean) > 0.9
    assert "with samples" in str(found)
    assert found.to_table()["accuracy"] == [found.linear, found.sample, found.mean]
    shuffled = y[torch.randperm(400, generator=torch.Generator().manual_seed(0))]
    chance = fine_tuning(
        model, head, (v[0][:300], shuffled[:300]), (v[0][300:], shuffled[300:]), epochs=2
    )
    assert max(chance.linear, chance.sample, chance.mean) < 0.75  # the control, n = 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"view2": torch.zeros(63, 8)}, r"\(64, 8\) and \(63, 8\)"),
        ({"batch": 65}, "batch must be in 2 to 64, got 65"),
        ({"epochs": 0}, "epochs must be positive"),
        ({"warm_up_share": 2.0}, r"warm_up_share must be in \[0, 1\]"),
        ({"view1": torch.zeros(1, 8)}, "B >= 2"),
    ],
)
def test_fitting_says_what_came_and_what_would_do(arguments, message):
    given = {"view1": torch.zeros(64, 8), "view2": torch.zeros(64, 8), "batch": 32} | arguments
    with pytest.raises(ValueError, match=message):
        fit_head(StochasticHead(8, 4), **given)


def test_the_others_say_it_too():
    head, x = StochasticHead(8, 4), torch.zeros(4, 8)
    with pytest.raises(ValueError, match=r"labels must be \(4,\) of int64.*got \(3,\)"):
        fine_tune(nn.Identity(), head, x, torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="epochs must be positive"):
        fine_tune(nn.Identity(), head, x, torch.zeros(4, dtype=torch.int64), epochs=0)
    with pytest.raises(ValueError, match="latent must be one of 'sample', 'mean'"):
        LatentLayer(head, latent="mode")
    with pytest.raises(ValueError, match="batch must be at least 1"):
        embed(nn.Identity(), x, batch=0)
    assert isinstance(FitReport([1.0], [2.0]).to_table(), dict)

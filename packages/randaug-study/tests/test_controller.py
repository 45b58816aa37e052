import dataclasses
import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from randaug_study.controller import (
    Controller,
    ControllerConfig,
    Policies,
    advantages,
    reinforce,
)

SMALL = ControllerConfig(ops=3, bins=2, subpolicies=2, length=1, hidden=8, embedding=4)
TWO = ControllerConfig(ops=2, bins=1, subpolicies=1, length=1, hidden=8, embedding=4, lr=0.02)


def lively(config, seed):
    """A controller far from uniform, biases and all."""
    controller = Controller(config, seed=seed)
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in controller.parameters():
            weight.copy_(torch.randn(weight.shape, generator=g))
    return controller


@torch.no_grad()
def stepwise(controller, policies):
    """Log-probability and entropy, one policy and one choice at a time."""
    config, rows = controller.config, []
    for m in range(len(policies)):
        h = c = torch.zeros(1, config.hidden)
        fed, log_prob, entropy = torch.zeros(1, config.embedding), 0.0, 0.0
        for q in range(config.subpolicies):
            if config.restart:
                h = c = torch.zeros(1, config.hidden)
                fed = torch.zeros(1, config.embedding)
            for n in range(config.length):
                for kind, head, embed in (
                    (policies.ops, controller.op_head, controller.embed_op),
                    (policies.bins, controller.bin_head, controller.embed_bin),
                ):
                    h, c = controller.cell(fed, (h, c))
                    p = head(h).softmax(1)[0]
                    log_prob += math.log(float(p[kind[m, q, n]]))
                    entropy -= sum(float(v) * math.log(float(v)) for v in p)
                    fed = embed(kind[m, q, n])[None]
        rows.append((log_prob, entropy))
    return rows


def every_policy(config):
    """All policies, each once."""
    sizes = [config.ops, config.bins] * (config.subpolicies * config.length)
    choices = torch.cartesian_prod(*[torch.arange(n) for n in sizes])
    return Policies.from_choices(choices.view(-1, len(sizes)), config)


@pytest.mark.parametrize("restart", [False, True])
def test_the_log_probability_is_the_sum_over_the_choices(restart):
    config = ControllerConfig(ops=4, bins=3, subpolicies=3, hidden=9, embedding=5, restart=restart)
    controller = lively(config, 3)
    policies = controller.sample(5, key=1)
    log_probs, entropies = (value.detach() for value in controller.evaluate(policies))
    for m, (log_prob, entropy) in enumerate(stepwise(controller, policies)):
        assert float(log_probs[m]) == pytest.approx(log_prob, abs=1e-4)
        assert float(entropies[m]) == pytest.approx(entropy, abs=1e-4)


def test_probabilities_of_all_policies_sum_to_1_and_their_mean_path_entropy_is_the_entropy():
    controller = lively(SMALL, 1)
    log_probs, paths = (value.detach() for value in controller.evaluate(every_policy(SMALL)))
    p = log_probs.exp().double()
    assert float(p.sum()) == pytest.approx(1, abs=1e-5)
    entropy = -float((p * log_probs).sum())
    assert float((p * paths).sum()) == pytest.approx(entropy, abs=1e-5)
    # 4,000 sampled policies; the standard error is measured from the paths themselves
    se = float((p * (paths - entropy) ** 2).sum().sqrt()) / math.sqrt(4000)
    assert controller.entropy(0, samples=4000) == pytest.approx(entropy, abs=4 * se + 1e-6)
    assert controller.kl_to_uniform(0, samples=4000) == pytest.approx(
        float((p * (log_probs + math.log(len(p)))).sum()), abs=4 * se + 1e-5
    )
    assert entropy < 0.9 * SMALL.max_entropy  # so that it is not just the uniform one


def test_zero_heads_give_the_entropy_of_a_uniform_policy():
    controller = Controller(ControllerConfig())
    with torch.no_grad():
        for head in controller.op_head, controller.bin_head:
            head.weight.zero_()
    want = 10 * math.log(15) + 10 * math.log(10)
    assert controller.config.max_entropy == pytest.approx(want) == pytest.approx(50.11, abs=0.01)
    assert controller.entropy(0, samples=4) == pytest.approx(want, abs=1e-4)
    assert controller.kl_to_uniform(0, samples=4) == pytest.approx(0, abs=1e-4)


def test_a_new_controller_is_nearly_uniform_and_its_weights_lie_where_they_should():
    controller = Controller(seed=0)
    assert controller.entropy(0) / controller.config.max_entropy > 0.999
    for name, weight in controller.named_parameters():
        if "bias" in name:
            assert not bool(weight.any()), name
        else:
            assert 0.09 < float(weight.detach().abs().max()) <= 0.1, name


def test_samples_have_the_frequencies_of_the_distribution():
    # 20,000 policies over 36; 35 d.f., P(chi2 > 80) = 3e-5. The control: uniform must fail.
    controller, n = lively(SMALL, 2), 20_000
    sampled = controller.sample(n, key=(0, 7)).choices()
    weights = torch.tensor([12, 6, 2, 1])  # mixed radix: ops 3, bins 2, ops 3, bins 2
    counts = (sampled * weights).sum(1).bincount(minlength=36).double()
    log_probs, _ = controller.evaluate(every_policy(SMALL))
    want = n * log_probs.detach().double().exp()
    assert float(((counts - want) ** 2 / want).sum()) < 80
    assert float(((counts - n / 36) ** 2 / (n / 36)).sum()) > 80


def test_the_next_policies_depend_on_the_key_and_on_no_generator():
    controller, state = Controller(SMALL, seed=0), torch.get_rng_state()
    a, b = controller.sample(6, key=(1, 2)), controller.sample(3, key=(1, 2))
    assert torch.equal(a.choices()[:3], b.choices())
    assert not torch.equal(controller.sample(6, key=(1, 3)).choices(), a.choices())
    Controller(SMALL, seed=9)
    assert torch.equal(torch.get_rng_state(), state)


@given(
    losses=st.lists(st.floats(0, 100), min_size=1, max_size=12),
    scale=st.floats(0.5, 10),
    shift=st.floats(-100, 100),
)
def test_advantages_have_mean_0_and_deviation_1_or_are_all_0(losses, scale, shift):
    values = torch.tensor(losses, dtype=torch.float64)
    a, sd = advantages(values), float(values.std(correction=0))
    assert float(a.mean()) == pytest.approx(0, abs=1e-9)
    assert float(a.square().mean().sqrt()) == pytest.approx(sd / (sd + 1e-5), abs=1e-6)
    if len(set(losses)) == 1:
        assert not bool(a.any())
    if sd > 1:
        torch.testing.assert_close(advantages(values * scale + shift), a, atol=1e-4, rtol=1e-4)


def test_equal_losses_move_nothing_but_the_entropy():
    controller = Controller(SMALL, seed=0)
    policies = controller.sample(8, key=0)
    got = controller.update(policies, torch.full((8,), 0.1))
    assert not bool(got.any())
    still = Controller(dataclasses.replace(SMALL, entropy_weight=0.0), seed=0)
    before = [weight.clone() for weight in still.parameters()]
    still.update(policies, torch.full((8,), 0.1))
    assert all(torch.equal(a, b) for a, b in zip(before, still.parameters(), strict=True))


def test_the_entropy_bonus_alone_raises_the_entropy():
    controller = lively(dataclasses.replace(SMALL, lr=0.01), 0)
    before = controller.entropy(0)
    for step in range(20):
        controller.update(controller.sample(8, key=step), torch.full((8,), 0.1))
    assert controller.entropy(0) > before + 0.05


def gradient(controller, value):
    return torch.cat([
        g.flatten() if g is not None else torch.zeros(p.numel())
        for p, g in zip(
            controller.parameters(),
            torch.autograd.grad(value, controller.parameters(), allow_unused=True),
            strict=True,
        )
    ])  # fmt: skip


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_mean_gradient_is_the_gradient_of_the_expected_loss(seed):
    # Two operations of known losses, n = 1e5 keyed samples: every weight within 4 standard
    # errors. The control, the same gradient with its sign turned, must be far outside.
    n, losses = 100_000, torch.tensor([0.2, 1.0])
    controller = lively(TWO, seed)
    each = every_policy(TWO)
    log_p, _ = controller.evaluate(each)
    want = gradient(controller, (log_p.exp() * losses).sum())
    per_op = torch.stack(
        [losses[o] * gradient(controller, controller.evaluate(each)[0][o]) for o in (0, 1)]
    )  # (2, weights): the estimate that one sample of operation o gives
    p = log_p.detach().exp()
    se = ((p[:, None] * (per_op - want) ** 2).sum(0) / n).sqrt()

    sampled = controller.sample(n, key=seed)
    log_probs, _ = controller.evaluate(sampled)
    got = gradient(controller, reinforce(log_probs, losses[sampled.ops.flatten()]))
    live = se > 1e-7
    assert int(live.sum()) > 50
    assert bool(((got - want).abs()[live] <= 4 * se[live] + 1e-6).all())
    assert not bool(((got + want).abs()[live] <= 4 * se[live] + 1e-6).all())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_controller_goes_to_the_harder_operation_and_shuffled_losses_do_not_move_it(seed):
    # 80 updates of 8 policies. The control shuffles the losses among the policies.
    def train(shuffle):
        controller = Controller(TWO, seed=seed)
        for step in range(80):
            policies = controller.sample(8, key=(seed, step))
            g = torch.Generator().manual_seed(1000 * seed + step)
            losses = policies.ops.flatten().double() + 0.1 * torch.randn(8, generator=g).double()
            order = torch.randperm(8, generator=g) if shuffle else torch.arange(8)
            controller.update(policies, losses[order])
        log_p, _ = controller.evaluate(every_policy(TWO))
        return float(log_p[1].detach().exp())

    assert train(shuffle=False) > 0.95
    assert 0.05 < train(shuffle=True) < 0.95


@pytest.mark.parametrize("restart", [False, True])
def test_only_a_restarted_state_makes_sub_policies_alike(restart):
    config = ControllerConfig(ops=3, bins=1, subpolicies=2, length=1, hidden=8, restart=restart)
    controller = lively(config, 0)
    log_p, _ = controller.evaluate(every_policy(config))
    table = log_p.detach().exp().view(3, 3)  # (first operation, second)
    same = torch.allclose(table, table.sum(1)[:, None] * table.sum(1)[None], atol=1e-5)
    assert same == restart


def test_a_checkpoint_resumes_to_the_same_policies_and_the_same_steps(tmp_path):
    def steps(controller, first, last):
        for step in range(first, last):
            policies = controller.sample(4, key=step)
            controller.update(policies, policies.ops.sum((1, 2)).double())

    straight = Controller(SMALL, seed=0)
    steps(straight, 0, 7)
    halted = Controller(SMALL, seed=0)
    steps(halted, 0, 3)
    halted.save(tmp_path / "controller.json", extra={"step": 3})
    resumed, extra = Controller.load(tmp_path / "controller.json")
    assert extra == {"step": 3}
    assert torch.equal(resumed.sample(9, key=3).choices(), halted.sample(9, key=3).choices())
    steps(resumed, 3, 7)
    for a, b in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["controller.json"]


def test_a_checkpoint_before_the_first_step_has_no_moments(tmp_path):
    controller = Controller(SMALL, seed=4)
    controller.save(tmp_path / "new.json")
    loaded, _ = Controller.load(tmp_path / "new.json")
    assert torch.equal(loaded.op_head.weight, controller.op_head.weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c | {"version": 99}, "version 1, got"),
        (lambda c: c | {"format": "other"}, "got \\('other'"),
        (lambda c: {}, "not a checkpoint"),
        (lambda c: c | {"weights": c["weights"] | {"op_head.bias": "AAAA"}}, "."),
        (lambda c: c | {"weights": c["weights"] | {"op_head.bias": "AAAAAA=="}}, "hold 3 numbers"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused(change, message, tmp_path):
    path = tmp_path / "controller.json"
    Controller(SMALL).save(path)
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(ValueError, match=message):
        Controller.load(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ControllerConfig(ops=0), "ops must be at least 1, got 0"),
        (lambda: ControllerConfig(lr=0), "lr must be positive"),
        (lambda: Controller(SMALL).sample(0, key=0), "count must be at least 1"),
        (
            lambda: Controller(SMALL).evaluate(Controller(TWO).sample(2, key=0)),
            r"\(2, 2, 1\), got",
        ),
        (
            lambda: Controller(SMALL).update(Controller(SMALL).sample(2, key=0), torch.zeros(3)),
            "each of 2 policies",
        ),
        (
            lambda: Controller(SMALL).update(
                Controller(SMALL).sample(2, key=0), torch.tensor([1.0, math.nan])
            ),
            "finite",
        ),
    ],
)
def test_says_what_came_and_what_would_do(make, message):
    with pytest.raises(ValueError, match=message):
        make()

import math

import pytest
import torch
from randaug_study.advaa import AdvAA
from randaug_study.controller import Controller, ControllerConfig
from randaug_study.plan import sample_plan
from randaug_study.space import Space
from torch import nn


class Shift(nn.Module):
    """An augmenter whose operation o at bin m with sign s adds ``s (o + 1) m`` to all pixels."""

    space = Space()

    def sample(self, batch_size, key, *, magnitude=None, num_ops=None, ids=None):
        return sample_plan(self.space, batch_size, num_ops or 2, key, magnitude=9, ids=ids)

    def apply(self, x, plan):
        by = (plan.sign.long() * (plan.op.long() + 1) * plan.bin.long()).sum(1)
        return (x + by[:, None, None, None]).remainder(256).to(torch.uint8)


def images(batch=6, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 256, (batch, 1, 4, 4), generator=g, dtype=torch.uint8)
    return x, torch.arange(batch) % 2


def brightness(x):
    return torch.stack([x.mean((1, 2, 3)), torch.zeros(len(x))], 1)


def run_epoch(advaa, epoch, batches=2):
    advaa.begin_epoch(epoch)
    for step in range(batches):
        batch = advaa(None, *images(), key=(0, epoch, step))
        losses = batch.x.double().mean((1, 2, 3)) / 255
        advaa.record(batch, losses)
    return advaa.end_epoch()


def test_every_image_comes_once_a_policy_made_by_one_of_its_sub_policies():
    advaa, (x, y) = AdvAA(Shift(), policies=3, seed=5), images(40)
    advaa.begin_epoch(2)
    got = advaa(None, x, y, key=1)
    assert torch.equal(got.x, advaa.aug.apply(x.repeat(3, 1, 1, 1), got.plan))
    assert torch.equal(got.y, y.repeat(3))
    used = [set() for _ in range(3)]
    for row in range(120):
        m = int(got.chosen[row])
        assert m == row // 40
        subs = [
            (ops, [round(b * 30 / 9) for b in bins])
            for ops, bins in zip(
                advaa.policies.ops[m].tolist(), advaa.policies.bins[m].tolist(), strict=True
            )
        ]
        mine = (got.plan.op[row].tolist(), got.plan.bin[row].tolist())
        assert mine in subs
        used[m].add(subs.index(mine))
    assert used == [set(range(5))] * 3  # P(one of 15 is missed by 40 draws) = 2e-3, seeded
    signed = torch.tensor(Space().signed)[got.plan.op.long()]
    assert bool((got.plan.sign[~signed] == 1).all())
    assert 0.35 < float((got.plan.sign[signed] == -1).float().mean()) < 0.65


def test_losses_are_means_over_the_rows_of_a_policy_and_over_batches_of_any_size():
    advaa = AdvAA(Shift(), policies=2)
    advaa.begin_epoch(0)
    first, second = advaa(None, *images(3), key=0), advaa(None, *images(1), key=1)
    advaa.record(first, torch.tensor([1.0, 2, 3, 10, 20, 30]))
    advaa.record(second, torch.tensor([6.0, 0.0]))
    log = advaa.end_epoch()
    assert log.losses == (3.0, 15.0)
    assert log.advantages == pytest.approx((-1, 1), abs=1e-4)


def test_a_log_says_how_far_from_random_the_controller_was():
    log = run_epoch(AdvAA(Shift(), policies=4), 0)
    most = 10 * math.log(14) + 10 * math.log(10)
    assert log.entropy + log.kl_to_uniform == pytest.approx(most)
    assert log.relative_entropy == pytest.approx(log.entropy / most) == pytest.approx(1, abs=1e-3)
    assert str(log).startswith("epoch 0: H/H_max ")
    assert "gap" not in str(log)
    assert {len(column) for column in log.to_table().values()} == {4}


def test_the_probe_is_the_loss_of_the_controller_less_that_of_uniform_policies():
    controller = Controller(ControllerConfig(ops=14), seed=0)
    with torch.no_grad():
        controller.bin_head.bias[0] = 50.0  # bin 0 always: nothing is changed by Shift
    advaa, (x, y) = AdvAA(Shift(), controller=controller), images(200)
    advaa.begin_epoch(0)
    advaa.record(advaa(None, x, y, key=0), torch.rand(1600))
    label_0 = torch.zeros_like(y)
    gap = advaa.probe(brightness, x, label_0, key=3, count=16)
    clean = float(torch.nn.functional.cross_entropy(brightness(x.float() / 255), label_0))
    uniform = clean - gap  # by definition, since the controller leaves images as they are
    assert 0 < uniform < math.log(2)
    log = advaa.end_epoch()
    assert log.loss_gap == gap
    assert "loss gap" in str(log)
    fresh = AdvAA(Shift(), controller=Controller(ControllerConfig(ops=14), seed=1))
    assert abs(fresh.probe(brightness, x, label_0, key=3, count=64)) < abs(gap) + 0.02


@pytest.mark.parametrize("within", [False, True])
def test_a_resumed_run_draws_the_same_policies_and_learns_the_same(within, tmp_path):
    straight = AdvAA(Shift(), policies=3, seed=1)
    logs = [run_epoch(straight, epoch) for epoch in range(4)]

    halted = AdvAA(Shift(), policies=3, seed=1)
    for epoch in range(2):
        run_epoch(halted, epoch)
    if within:
        halted.begin_epoch(2)
        batch = halted(None, *images(), key=(0, 2, 0))
        halted.record(batch, batch.x.double().mean((1, 2, 3)) / 255)
    halted.save(tmp_path / "advaa.json")
    resumed = AdvAA.load(tmp_path / "advaa.json", Shift())
    if within:
        batch = resumed(None, *images(), key=(0, 2, 1))
        resumed.record(batch, batch.x.double().mean((1, 2, 3)) / 255)
        log = resumed.end_epoch()
    else:
        log = run_epoch(resumed, 2)
    assert str(log) == str(logs[2])
    assert log.losses == logs[2].losses
    assert run_epoch(resumed, 3).advantages == logs[3].advantages


def test_in_training_the_controller_drifts_to_what_is_hard():
    # Loss of a policy: its share of operation 0. 60 epochs of 8 policies; seed 0. Controls: the
    # same run with losses that do not depend on the policy.
    config = ControllerConfig(ops=14, subpolicies=2, length=1, hidden=16, embedding=8, lr=0.01)

    def share(signal):
        advaa = AdvAA(Shift(), controller=Controller(config, seed=0), seed=0)
        for epoch in range(60):
            advaa.begin_epoch(epoch)
            batch = advaa(None, *images(12), key=epoch)
            hard = (batch.plan.op[:, 0] == 0).double() * signal
            noise = torch.rand(96, generator=torch.Generator().manual_seed(epoch)).double()
            advaa.record(batch, hard + 0.1 * noise)
            log = advaa.end_epoch()
        drawn = advaa.controller.sample(2000, key=99)
        return float((drawn.ops == 0).float().mean()), log.relative_entropy

    to_hard, entropy = share(signal=1.0)
    control, entropy_of_control = share(signal=0.0)
    assert to_hard > 0.5
    assert entropy < 0.8
    assert control < 0.2
    assert entropy_of_control > 0.95


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AdvAA(Shift(), policies=0), "policies must be at least 1"),
        (lambda: AdvAA(Shift(), controller=Controller()), r"ControllerConfig\(ops=14\)"),
        (lambda: AdvAA(Shift())(None, *images(), key=0), "call begin_epoch"),
        (lambda: AdvAA(Shift()).end_epoch(), "call begin_epoch"),
    ],
)
def test_says_what_is_missing(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_epoch_without_losses_or_with_losses_of_another_shape_is_refused(tmp_path):
    advaa = AdvAA(Shift(), policies=2)
    advaa.begin_epoch(0)
    with pytest.raises(ValueError, match="batches of the epoch"):
        advaa.end_epoch()
    batch = advaa(None, *images(), key=0)
    with pytest.raises(ValueError, match=r"12 rows, got \(\)"):
        advaa.record(batch, torch.tensor(1.0))
    advaa.controller.save(tmp_path / "alone.json")
    with pytest.raises(ValueError, match=r"Controller.load"):
        AdvAA.load(tmp_path / "alone.json", Shift())

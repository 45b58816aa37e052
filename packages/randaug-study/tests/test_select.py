import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from randaug_study import RandAugment, TrivialAugmentWide, UniformAugment
from randaug_study.keys import uniforms
from randaug_study.plan import Plan, sample_plan
from randaug_study.sampling import copy_key, every_op
from randaug_study.select import (
    Boltzmann,
    Exhaustive,
    MeanOfK,
    Mixture,
    Quantile,
    Random,
    WorstOfK,
    boltzmann_logits,
)
from randaug_study.space import Space
from torch import nn


class Shift(nn.Module):
    """An augmenter whose operation o at bin m with sign s adds ``s (o + 1) m`` to all pixels."""

    def __init__(self, num_ops=2, magnitude=9):
        super().__init__()
        self.num_ops, self.magnitude, self.space = num_ops, magnitude, Space()

    def sample(self, batch_size, key, *, magnitude=None, num_ops=None, ids=None):
        return sample_plan(
            self.space,
            batch_size,
            self.num_ops if num_ops is None else num_ops,
            key,
            magnitude=self.magnitude if magnitude is None else magnitude,
            ids=ids,
        )

    def apply(self, x, plan):
        by = (plan.sign.long() * (plan.op.long() + 1) * plan.bin.long()).sum(1)
        return (x + by[:, None, None, None]).remainder(256).to(torch.uint8)


class BrightPixelLoss(nn.Module):
    """A 'model' whose prediction is the mean pixel: a loss that tells all copies apart."""

    def forward(self, x):
        return torch.stack([x.mean((1, 2, 3)), torch.zeros(len(x))], 1)


def images(batch=12, seed=0, channels=1, side=4):
    g = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 256, (batch, channels, side, side), generator=g, dtype=torch.uint8)
    return x, torch.arange(batch) % 2


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5),
        nn.Flatten(), nn.Linear(128, 2),
    )  # fmt: skip


def by_hand(model, aug, x, y, k, key):
    """Losses of the k copies, one image at a time."""
    losses = torch.zeros(k, len(x))
    copies = [aug.apply(x, aug.sample(len(x), copy_key(key, j))) for j in range(k)]
    for j in range(k):
        for i in range(len(x)):
            out = model(copies[j][i : i + 1].float() / 255)
            losses[j, i] = F.cross_entropy(out, y[i : i + 1])
    return losses, copies


RULES = {
    "worst": WorstOfK(Shift(), 4),
    "worst, batch": WorstOfK(Shift(), 4, scope="batch"),
    "exhaustive": Exhaustive(Shift()),
    "boltzmann": Boltzmann(Shift(), 4, beta=2.0),
    "quantile": Quantile(Shift(), 4, q=0.5),
    "mixture": Mixture(Shift(), 4, epsilon=0.5),
    "mean": MeanOfK(Shift(), 4),
    "random": Random(Shift()),
}
rules = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


@given(batch=st.integers(1, 5), k=st.integers(1, 4), seed=st.integers(0, 2**31))
def test_the_worst_of_k_is_found_one_image_at_a_time(batch, k, seed):
    (x, y), aug, model = images(batch, seed), Shift(), BrightPixelLoss()
    losses, copies = by_hand(model, aug, x, y, k, (seed, 1))
    got = WorstOfK(aug, k)(model, x, y, key=(seed, 1))
    torch.testing.assert_close(got.losses, losses)
    for i in range(batch):
        worst = max(range(k), key=lambda j: float(losses[j, i]))
        assert float(losses[got.chosen[i], i]) == pytest.approx(float(losses[worst, i]), abs=1e-6)
        assert torch.equal(got.x[i], copies[got.chosen[i]][i])


@rules
def test_what_is_trained_on_is_the_plan_applied_to_the_clean_images(rule):
    (x, y), model = images(), BrightPixelLoss()
    got = rule(model, x, y, key=(0, 3))
    times = len(got.x) // len(x)
    assert torch.equal(got.x, rule.aug.apply(x.repeat(times, 1, 1, 1), got.plan))
    assert torch.equal(got.y, y.repeat(times))
    assert got.x.dtype == torch.uint8
    assert len(got.chosen) == len(got.plan) == len(got.x)


@rules
@pytest.mark.parametrize("statistics", ["running", "batch"])
@pytest.mark.parametrize("training", [True, False])
def test_the_model_its_modes_its_buffers_and_all_generators_are_left_alone(
    rule, statistics, training
):
    model, (x, y) = net(), images()
    model.train(training)
    model[1].eval()  # a frozen batch norm stays frozen
    model(x.float())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pointers = {name: value.data_ptr() for name, value in model.named_buffers()}
    modes, state = [m.training for m in model.modules()], torch.get_rng_state()
    if hasattr(rule, "statistics"):
        rule = dataclasses.replace(rule, statistics=statistics)
    rule(model, x, y, key=5)
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert {name: value.data_ptr() for name, value in model.named_buffers()} == pointers
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.grad is None for p in model.parameters())


def test_the_state_is_restored_when_the_model_raises():
    class Bad(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(1)

        def forward(self, x):
            self.norm(x)
            torch.rand(1)
            raise RuntimeError("no forward today")

    model, state = Bad().train(), torch.get_rng_state()
    with pytest.raises(RuntimeError, match="no forward"):
        WorstOfK(Shift(), 2, statistics="batch")(model, *images(), key=0)
    assert model.training
    assert model.norm.training
    assert int(model.norm.num_batches_tracked) == 0
    assert torch.equal(torch.get_rng_state(), state)


def test_batch_statistics_are_those_of_a_training_forward_of_each_copy():
    model, (x, y), aug = net(), images(), Shift()
    model[3] = nn.Identity()
    got = WorstOfK(aug, 3, statistics="batch")(model, x, y, key=1).losses
    running = WorstOfK(aug, 3)(model, x, y, key=1).losses
    model.train()
    for j in range(3):
        copy = aug.apply(x, aug.sample(len(x), copy_key(1, j)))
        want = F.cross_entropy(model(copy.float() / 255), y, reduction="none")
        torch.testing.assert_close(got[j], want.detach())
    assert not torch.allclose(got, running, atol=1e-3)


@pytest.mark.parametrize("rule", [WorstOfK, Boltzmann, Quantile, Mixture])
@given(seed=st.integers(0, 2**31), batch=st.integers(1, 8))
def test_a_pool_of_one_is_plain_random_augmentation_bit_for_bit(rule, seed, batch):
    (x, y), aug = images(batch, seed), RandAugment()
    assert torch.equal(rule(aug, 1)(BrightPixelLoss(), x, y, key=seed).x, aug(x, key=seed))
    got = rule(aug, 1)(BrightPixelLoss(), x, y, key=(seed, 2))
    assert got.plan == aug.sample(batch, (seed, 2))
    assert torch.equal(got.x, aug.apply(x, got.plan))
    assert torch.equal(got.x, Random(aug)(None, x, y, key=(seed, 2)).x)


@given(seed=st.integers(0, 2**31), k=st.integers(1, 5), more=st.integers(1, 4))
def test_a_pool_holds_every_smaller_pool_and_the_worst_never_falls_with_k(seed, k, more):
    (x, y), aug, model = images(6, seed), Shift(), BrightPixelLoss()
    small = WorstOfK(aug, k)(model, x, y, key=seed)
    large = WorstOfK(aug, k + more)(model, x, y, key=seed)
    assert torch.equal(large.losses[:k], small.losses)
    assert bool((large.chosen_losses >= small.chosen_losses).all())
    best = Quantile(aug, k, q=0)(model, x, y, key=seed)
    assert bool((small.chosen_losses >= small.losses.mean(0) - 1e-6).all())
    assert bool((small.losses.mean(0) + 1e-6 >= best.chosen_losses).all())
    assert small.gap == pytest.approx(
        float((small.chosen_losses - small.losses.mean(0)).mean()), abs=1e-6
    )


@given(seed=st.integers(0, 2**31))
def test_the_choice_and_the_copies_of_a_row_follow_its_id(seed):
    (x, y), aug, model = images(10, seed), Shift(), BrightPixelLoss()
    ids = torch.randperm(1000, generator=torch.Generator().manual_seed(seed))[:10]
    order = torch.randperm(10, generator=torch.Generator().manual_seed(seed + 1))
    for rule in Boltzmann(aug, 3, beta=1.0), Mixture(aug, 3), WorstOfK(aug, 3):
        whole = rule(model, x, y, key=seed, ids=ids)
        moved = rule(model, x[order], y[order], key=seed, ids=ids[order])
        assert torch.equal(moved.x, whole.x[order])
        assert torch.equal(moved.chosen, whole.chosen[order])


@pytest.mark.parametrize("chunk", [1, 5, 12, 30, 10_000])
def test_the_chunk_changes_no_choice(chunk):
    (x, y), model = images(), net()
    want = WorstOfK(Shift(), 5)(model, x, y, key=0)
    got = WorstOfK(Shift(), 5, chunk=chunk)(model, x, y, key=0)
    torch.testing.assert_close(got.losses, want.losses)
    assert torch.equal(got.x, want.x)


@pytest.mark.parametrize(("k", "chunk", "forwards"), [(4, 1024, 1), (4, 24, 2), (4, 12, 4)])
def test_k_candidates_cost_k_augmentations_and_k_forwards(k, chunk, forwards):
    seen, augmented = [], []

    class Counting(Shift):
        def apply(self, x, plan):
            augmented.append(len(x))
            return super().apply(x, plan)

    def model(x):
        seen.append(len(x))
        return BrightPixelLoss()(x)

    rule = WorstOfK(Counting(), k, chunk=chunk)
    rule(model, *images(12), key=0)
    assert sum(seen) == sum(augmented) == 12 * k == 12 * rule.forwards == 12 * rule.augmentations
    assert len(seen) == len(augmented) == forwards


def test_the_scope_of_a_batch_gives_all_images_one_list_of_operations():
    (x, y), aug, model = images(), Shift(), BrightPixelLoss()
    got = WorstOfK(aug, 5, scope="batch")(model, x, y, key=2)
    assert got.plan == got.plan[torch.zeros(12, dtype=torch.int64)]
    assert int(got.chosen[0]) == int(got.losses.mean(1).argmax())
    assert len(set(got.chosen.tolist())) == 1
    single = WorstOfK(aug, 1, scope="batch")(model, x, y, key=2)
    assert single.plan == aug.sample(1, 2)[torch.zeros(12, dtype=torch.int64)]


def test_the_scope_of_an_epoch_keeps_what_it_began_with():
    (x, y), aug, model = images(40), Shift(), BrightPixelLoss()
    rule = WorstOfK(aug, 5, scope="epoch")
    with pytest.raises(ValueError, match="begin_epoch"):
        rule(model, x, y, key=0)
    index = rule.begin_epoch(model, x, y, key=(0, 1))
    want = WorstOfK(aug, 5, scope="batch")(model, x, y, key=(0, 1))
    first, second = rule(model, x[:8], y[:8], key=7), rule(model, x[8:30], y[8:30], key=8)
    assert index == int(want.chosen[0])
    assert torch.equal(first.x, want.x[:8])
    assert torch.equal(second.x, want.x[8:30])
    assert second.losses.shape == (5, 22)
    torch.testing.assert_close(second.losses[:, 3], want.losses.mean(1))
    assert set(second.chosen.tolist()) == {index}
    with pytest.raises(ValueError, match="scope='epoch'"):
        WorstOfK(aug, 5).begin_epoch(model, x, y, key=0)


def test_every_operation_means_23_variants_and_529_pairs():
    space = Space()
    single, pairs = every_op(Shift(), 9, 1), every_op(Shift(), 9, 2)
    assert (len(single), len(pairs)) == (23, 529)
    assert len({(int(o), int(s)) for o, s in zip(single.op, single.sign, strict=True)}) == 23
    rows = torch.cat([pairs.op, pairs.sign], 1).tolist()
    assert len(set(map(tuple, rows))) == 529
    assert all(space.signed[int(o)] for o, s in zip(single.op, single.sign, strict=True) if s < 0)
    assert Exhaustive(Shift(), magnitude=4).k == 23
    assert set(every_op(Shift(), 4, 1).bin.flatten().tolist()) == {4}


def test_the_exhaustive_adversary_is_at_least_any_of_1000_sampled_for_each_of_50_images():
    (x, y), aug, model = images(50), RandAugment(num_ops=1), net().train()
    best = Exhaustive(aug)(model, x, y, key=0).chosen_losses
    sampled = WorstOfK(aug, 1000, chunk=4096)(model, x, y, key=0).chosen_losses
    assert bool((best >= sampled - 1e-5).all())
    few = WorstOfK(aug, 3)(model, x, y, key=0).chosen_losses
    assert not bool((few >= best - 1e-5).all())


def test_pairs_of_operations_are_at_least_single_ones():
    (x, y), aug, model = images(50), Shift(num_ops=1), BrightPixelLoss()
    best = Exhaustive(aug)(model, x, y, key=0).chosen_losses
    pairs = Exhaustive(aug, num_ops=2)(model, x, y, key=0).chosen_losses
    assert bool((pairs >= best - 1e-6).all())  # (op, Identity) is among the pairs
    weaker = Exhaustive(aug, magnitude=3)(model, x, y, key=0)
    moved = Exhaustive(aug)(model, x, y, key=0, magnitude=3)
    assert torch.equal(weaker.x, moved.x)


def uniform_losses(k=4, batch=20_000):
    """Losses that do not depend on the copies, for frequencies."""
    return torch.arange(k).float()[:, None].expand(k, batch)


def chi_square(counts):
    want = sum(counts) / len(counts)
    return sum((c - want) ** 2 / want for c in counts)


def test_beta_0_is_uniform_and_beta_is_not():
    # 20,000 keyed draws over 4; 3 d.f., P(chi2 > 21.1) = 1e-4. The control: beta = .1 must fail.
    def counts(beta):
        rule = Boltzmann(Shift(), 4, beta=beta)
        return rule._choose(uniform_losses(), (0, 0), None).bincount(minlength=4).tolist()

    assert chi_square(counts(0.0)) < 21.1
    assert chi_square(counts(0.1)) > 21.1


@pytest.mark.parametrize("beta", [-1.0, 0.5, 2.0])
def test_frequencies_are_proportional_to_exp_beta_loss(beta):
    n = 20_000
    got = Boltzmann(Shift(), 4, beta=beta)._choose(uniform_losses(), (0, 1), None)
    p = torch.softmax(beta * torch.arange(4.0), 0)
    for j in range(4):
        se = math.sqrt(float(p[j] * (1 - p[j])) / n)
        assert float((got == j).float().mean()) == pytest.approx(float(p[j]), abs=4 * se)


@given(
    losses=st.lists(st.floats(0, 20), min_size=2, max_size=6, unique=True),
    shift=st.floats(-50, 50),
    beta=st.floats(-5, 5),
)
def test_a_constant_added_to_all_losses_changes_nothing(losses, shift, beta):
    column = torch.tensor(losses, dtype=torch.float64)[:, None]
    a, b = boltzmann_logits(column, beta), boltzmann_logits(column + shift, beta)
    torch.testing.assert_close(a.softmax(0), b.softmax(0), atol=1e-9, rtol=1e-9)
    want = torch.tensor([beta * (v - max(losses)) for v in losses], dtype=torch.float64).exp()
    torch.testing.assert_close(a.softmax(0)[:, 0], want / want.sum(), atol=1e-5, rtol=0)


def test_a_large_beta_is_the_worst_and_a_large_negative_one_the_easiest():
    (x, y), model, aug = images(30), BrightPixelLoss(), Shift()
    worst = WorstOfK(aug, 5)(model, x, y, key=4).chosen_losses
    easiest = Quantile(aug, 5, q=0)(model, x, y, key=4).chosen_losses
    for beta in 1e6, 1e9:
        assert torch.equal(Boltzmann(aug, 5, beta=beta)(model, x, y, key=4).chosen_losses, worst)
    low = Boltzmann(aug, 5, beta=-1e9)(model, x, y, key=4).chosen_losses
    assert torch.equal(low, easiest)


def test_standardized_losses_make_beta_free_of_their_scale():
    losses = torch.rand(5, 40, generator=torch.Generator().manual_seed(0))
    a = boltzmann_logits(losses, 1.5, standardize=True)
    b = boltzmann_logits(losses * 1e3 + 7, 1.5, standardize=True)
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    assert bool((boltzmann_logits(torch.ones(3, 2), 5.0, standardize=True) == 0).all())


def test_infinite_losses_are_drawn_surely_or_never():
    losses = torch.tensor([[1.0], [torch.inf], [torch.inf]])
    torch.testing.assert_close(
        boltzmann_logits(losses, 0.5).softmax(0)[:, 0], torch.tensor([0, 0.5, 0.5]).double()
    )
    torch.testing.assert_close(
        boltzmann_logits(losses, -0.5).softmax(0)[:, 0], torch.tensor([1.0, 0, 0]).double()
    )
    assert bool((boltzmann_logits(losses, 0.0) == 0).all())
    assert bool((boltzmann_logits(losses[1:], -1.0) == 0).all())


@pytest.mark.parametrize(("q", "rank"), [(0, 0), (0.25, 1), (0.5, 2), (0.8, 3), (1, 4)])
def test_a_quantile_is_a_rank_of_the_sorted_losses(q, rank):
    (x, y), model = images(), BrightPixelLoss()
    got = Quantile(Shift(), 5, q=q)(model, x, y, key=9)
    assert torch.equal(got.chosen_losses, got.losses.sort(0).values[rank])


def test_a_mixture_takes_the_worst_as_often_as_epsilon_says():
    losses = torch.tensor([0.0, 1.0, 2.0])[:, None].expand(3, 20_000)
    for epsilon in 0.0, 0.3, 1.0:
        got = Mixture(Shift(), 3, epsilon=epsilon)._choose(losses, 1, None)
        assert set(got.tolist()) <= {0, 2}
        se = math.sqrt(0.3 * 0.7 / 20_000)
        assert float((got == 2).float().mean()) == pytest.approx(epsilon, abs=4 * se)


def test_all_copies_are_the_candidates_of_the_worst_of_k():
    (x, y), aug = images(), Shift()
    got = MeanOfK(aug, 3)(None, x, y, key=(1, 2))
    for j in range(3):
        copy = aug.apply(x, aug.sample(12, copy_key((1, 2), j)))
        assert torch.equal(got.x[12 * j : 12 * (j + 1)], copy)
    assert got.chosen.tolist() == [0] * 12 + [1] * 12 + [2] * 12


def test_a_fraction_of_an_operation_is_an_identity_in_the_rest_of_the_rows():
    (x, y), aug = images(4000), Shift()
    plan = Random(aug)(None, x, y, key=0, num_ops=1.25).plan
    assert plan.steps == 2
    # 4,000 rows; one in 14 draws Identity in the second place by itself
    share = float((plan.op[:, 1] != 0).float().mean())
    want = 0.25 * 13 / 14
    assert share == pytest.approx(want, abs=4 * math.sqrt(want * (1 - want) / 4000))
    assert bool((plan.op[:, 0] == aug.sample(4000, 0).op[:, 0]).all())
    assert Random(aug)(None, x, y, key=0, num_ops=2.0).plan == aug.sample(4000, 0)
    assert torch.equal(Random(aug)(None, x, y, key=0, num_ops=0).x, x)


def test_a_fractional_magnitude_keeps_its_mean():
    (x, y), aug = images(4000), Shift()
    plan = WorstOfK(aug, 1)(BrightPixelLoss(), x, y, key=0, magnitude=6.25).plan
    assert set(plan.bin.flatten().tolist()) == {6, 7}
    se = math.sqrt(0.25 * 0.75 / 8000)
    assert float(plan.bin.double().mean()) == pytest.approx(6.25, abs=4 * se)


class Nan(nn.Module):
    """NaN for images whose first pixel is odd."""

    def forward(self, x):
        bad = (x[:, 0, 0, 0] * 255).round().remainder(2) == 1
        out = torch.where(bad, torch.nan, x.mean((1, 2, 3)))
        return torch.stack([out, torch.zeros(len(x))], 1)


def test_nan_counts_as_infinity_and_raises_when_it_persists():
    (x, y), rule = images(), WorstOfK(Shift(), 4, patience=3)
    got = rule(Nan(), x, y, key=0)
    odd = got.losses.isinf()
    assert bool(odd.any())
    assert not bool(got.losses.isnan().any())
    assert bool(got.chosen_losses[odd.any(0)].isinf().all())
    rule(Nan(), x, y, key=1)
    rule(BrightPixelLoss(), x, y, key=2)  # a good call in between starts the count again
    rule(Nan(), x, y, key=3)
    rule(Nan(), x, y, key=4)
    with pytest.raises(FloatingPointError, match="3 calls in a row"):
        rule(Nan(), x, y, key=5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WorstOfK(Shift(), 0), "k must be at least 1 candidate, got 0"),
        (lambda: WorstOfK(Shift(), 2, scope="image"), "'sample', 'batch' or 'epoch', got 'image'"),
        (lambda: Quantile(Shift(), 2, q=1.5), r"\[0, 1\], got 1.5"),
        (lambda: Mixture(Shift(), 2, epsilon=-1), r"\[0, 1\], got -1"),
        (lambda: Exhaustive(Shift(), magnitude=31), "from 0 to 30, got 31"),
        (lambda: Exhaustive(Shift(), num_ops=3), "1 or 2 to be enumerated, got 3"),
        (lambda: MeanOfK(Shift(), 0), "got 0"),
        (lambda: WorstOfK(Shift(), 2, patience=0), "patience must be at least 1"),
        (lambda: boltzmann_logits(torch.zeros(2, 1), math.inf), "WorstOfK is its limit"),
        (lambda: WorstOfK(Shift(), 2, statistics="train")(net(), *images(), key=0), "'running'"),
        (lambda: WorstOfK(Shift(), 2, chunk=0)(net(), *images(), key=0), "chunk must be"),
        (
            lambda: WorstOfK(Shift(), 2)(net(), *images(), key=0, loss=nn.CrossEntropyLoss()),
            r"one value a row, \(24,\), got \(\)",
        ),
        (
            lambda: WorstOfK(Shift(), 2)(net(), images()[0].float(), images()[1], key=0),
            "uint8 .* got torch.float32",
        ),
        (lambda: WorstOfK(Shift(), 2)(net(), images()[0], torch.zeros(3), key=0), "12 images"),
        (lambda: Random(Shift())(None, *images(), key=0, num_ops=-1), "at least 0, got -1"),
        (
            lambda: Random(Shift())(None, *images(), key=0, num_ops=0.5, ids=torch.arange(3)),
            r"\(12,\), got .*\(3,\)",
        ),
    ],
)
def test_says_what_came_and_what_would_do(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_loss_with_a_reduction_is_taken_unreduced():
    (x, y), aug, model = images(), Shift(), BrightPixelLoss()
    want = WorstOfK(aug, 3)(model, x, y, key=0).losses
    for loss in (
        F.cross_entropy,
        nn.CrossEntropyLoss(reduction="none"),
        lambda out, target: -out.log_softmax(1).gather(1, target[:, None])[:, 0],
    ):
        torch.testing.assert_close(WorstOfK(aug, 3)(model, x, y, key=0, loss=loss).losses, want)


@pytest.mark.parametrize("make", [RandAugment, TrivialAugmentWide, UniformAugment])
def test_colour_images_in_any_memory_format_and_the_other_augmenters_are_taken(make):
    x, y = images(7, channels=3, side=6)
    for rule in WorstOfK(make(), 3), Boltzmann(make(), 3), MeanOfK(make(), 3):
        want = rule(BrightPixelLoss(), x, y, key=0)
        for other in (
            x.contiguous(memory_format=torch.channels_last),
            torch.stack([x, x], -1)[..., 0],
        ):
            assert torch.equal(rule(BrightPixelLoss(), other, y, key=0).x, want.x)


def test_an_empty_batch_gives_an_empty_batch():
    x, y = images(0)
    for rule in WorstOfK(Shift(), 3), Boltzmann(Shift(), 3), MeanOfK(Shift(), 3):
        assert len(rule(BrightPixelLoss(), x, y, key=0).x) == 0


def test_selected_prints_and_has_a_table():
    (x, y), model = images(), BrightPixelLoss()
    got = WorstOfK(Shift(), 4)(model, x, y, key=0)
    assert str(got).startswith("12 of 4 x 12 candidates: loss ")
    table = got.to_table()
    assert set(table) == {"chosen", "loss", "operations"}
    assert {len(column) for column in table.values()} == {12}
    assert "without looking" in str(Random(Shift())(model, x, y, key=0))
    assert math.isnan(Random(Shift())(model, x, y, key=0).gap)


def test_keys_of_copies_and_of_choices_are_apart():
    ids = torch.arange(1000)
    streams = [uniforms(copy_key((3, 4), j), ids, 0) for j in range(4)]
    for a in range(4):
        for b in range(a):
            assert not torch.equal(streams[a], streams[b])
    assert copy_key(5, 0) == (5,)


def test_plans_of_another_space_do_not_mix():
    with pytest.raises(ValueError, match="share space"):
        Plan.cat([Shift().sample(1, 0), Shift().sample(1, 0, num_ops=1)])

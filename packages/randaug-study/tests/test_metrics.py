import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from randaug_study import RandAugment
from randaug_study.metrics import (
    Affinity,
    OperationHistogram,
    adversarial_gap,
    affinity,
    diversity,
    entropy,
    kl_to_uniform,
    mean_bin,
    operation_counts,
    pixel_change,
)
from randaug_study.plan import Plan
from randaug_study.select import WorstOfK
from torch import nn


def plan(names, bins):
    space = RandAugment().space
    op = torch.tensor([[space.ops.index(name) for name in row] for row in names])
    return Plan(op, torch.ones_like(op), torch.tensor(bins), space)


@given(k=st.integers(1, 6), batch=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_the_gap_is_the_highest_less_the_mean_image_by_image(k, batch, seed):
    losses = torch.rand(k, batch, generator=torch.Generator().manual_seed(seed)).double()
    want = sum(
        max(float(v) for v in losses[:, i]) - sum(float(v) for v in losses[:, i]) / k
        for i in range(batch)
    )
    assert adversarial_gap(losses) == pytest.approx(want / batch, abs=1e-12)
    assert adversarial_gap(losses) >= 0


@given(counts=st.lists(st.integers(0, 50), min_size=1, max_size=15).filter(any))
def test_entropy_and_kl_are_their_sums(counts):
    p = [c / sum(counts) for c in counts]
    want = -sum(v * math.log(v) for v in p if v)
    kl = sum(v * math.log(v * len(p)) for v in p if v)
    assert entropy(torch.tensor(counts)) == pytest.approx(want, abs=1e-12)
    assert kl_to_uniform(torch.tensor(counts)) == pytest.approx(kl, abs=1e-12)


def test_operations_are_counted_and_only_graded_ones_have_a_bin():
    some = plan([["Rotate", "Identity"], ["Rotate", "Equalize"], ["Solarize", "Color"]],
                [[3, 30], [9, 30], [6, 12]])  # fmt: skip
    counts = operation_counts(some)
    assert {n: int(c) for n, c in zip(some.space.ops, counts, strict=True) if c} == {
        "Rotate": 2, "Identity": 1, "Equalize": 1, "Solarize": 1, "Color": 1,
    }  # fmt: skip
    assert mean_bin(some) == (3 + 9 + 6 + 12) / 4
    assert math.isnan(mean_bin(plan([["Identity", "Equalize"]], [[5, 5]])))


def test_random_choices_are_near_uniform_and_an_adversary_is_not():
    # 60 images of white squares under a loss that is their brightness, 20 candidates each.
    def model(x):
        return torch.stack([x.mean((1, 2, 3)), torch.zeros(len(x))], 1)

    x = torch.full((60, 1, 8, 8), 90, dtype=torch.uint8)
    y, aug = torch.ones(60, dtype=torch.int64), RandAugment(num_ops=1, magnitude=25)
    chosen = WorstOfK(aug, 20)(model, x, y, key=0)
    adversary = kl_to_uniform(operation_counts(chosen.plan))
    random = kl_to_uniform(operation_counts(aug.sample(60, 0)))
    assert adversary > 1 > 3 * random
    assert adversarial_gap(chosen.losses) == pytest.approx(chosen.gap)


def test_the_histogram_adds_batches_up_by_epoch():
    histogram = OperationHistogram()
    a, b, c = (RandAugment().sample(30, key=key) for key in range(3))
    histogram.add(1, a)
    histogram.add(0, b)
    histogram.add(1, c)
    shares = histogram.frequencies()
    torch.testing.assert_close(shares[0], operation_counts(b) / 60.0, check_dtype=False)
    torch.testing.assert_close(
        shares[1], (operation_counts(a) + operation_counts(c)) / 120.0, check_dtype=False
    )
    table = histogram.to_table()
    assert {len(column) for column in table.values()} == {28}
    assert table["epoch"][:15] == [0] * 14 + [1]
    assert sum(table["count"]) == 180
    assert str(histogram).splitlines()[1].startswith("epoch 1: KL to uniform ")
    other = RandAugment(ops=("Identity", "Rotate")).sample(3, key=0)
    with pytest.raises(ValueError, match="must stay"):
        histogram.add(2, other)
    assert OperationHistogram().to_table()["share"] == []


def test_pixel_change_is_in_grey_levels_both_ways():
    x = torch.tensor([[[[0, 255]]]], dtype=torch.uint8)
    assert pixel_change(x, 255 - x) == 255
    assert pixel_change(x, x) == 0
    with pytest.raises(ValueError, match=r"uint8 of one shape, got torch.uint8"):
        pixel_change(x, x.float())


class Brightness(nn.Module):
    """Class 1 where the mean pixel is above the middle; counts its forwards' rows."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.rows = 0

    def forward(self, x):
        self.norm(x)
        self.rows += len(x)
        mean = x.mean((1, 2, 3))
        return torch.stack([1 - mean, mean], 1)


def test_affinity_is_accuracy_on_augmented_over_accuracy_on_clean_images():
    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (50, 1, 6, 6), generator=g, dtype=torch.uint8)
    model, aug = Brightness().train(), RandAugment(magnitude=20)
    y = (x.float().mean((1, 2, 3)) > 127.5).long()
    y[:5] = 1 - y[:5]  # so that clean accuracy is .9
    got = affinity(model, aug, x, y, key=(1, 2), copies=3, chunk=7)
    hits = 0
    for copy in range(3):
        moved = aug.apply(x, aug.sample(50, (1, 2, copy))).float() / 255
        hits += sum(int(m.mean() > 0.5) == int(label) for m, label in zip(moved, y, strict=True))
    assert got.clean == pytest.approx(0.9)
    assert got.augmented == pytest.approx(hits / 150)
    assert got.ratio == pytest.approx(hits / 150 / 0.9)
    assert got.difference == pytest.approx(hits / 150 - 0.9)
    assert model.training
    assert int(model.norm.num_batches_tracked) == 0
    assert model.rows == 200
    weak = affinity(model, RandAugment(num_ops=0), x, y, key=0)
    assert weak.ratio == 1
    assert str(weak) == "affinity 1.000 (90.0% of 90.0%)"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: adversarial_gap(torch.zeros(0, 3)), r"got \(0, 3\)"),
        (lambda: entropy(torch.tensor([1, -1])), "not be negative"),
        (lambda: entropy(torch.tensor([0, 0])), "nor all 0"),
        (lambda: diversity([], [1.0]), "got 0 and 1"),
        (lambda: diversity([1.0], [0.0]), "positive, got 0"),
        (
            lambda: affinity(
                Brightness(), RandAugment(), torch.zeros(0, 1, 2, 2, dtype=torch.uint8),
                torch.zeros(0), key=0,
            ),
            "needs images",
        ),
    ],
)  # fmt: skip
def test_says_what_came_and_what_would_do(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_diversity_is_a_quotient_of_means():
    assert diversity([1.0, 2.0, 3.0], [0.5]) == 4
    assert math.isnan(Affinity(0.0, 0.5).ratio)
    assert dataclasses.is_dataclass(Affinity)

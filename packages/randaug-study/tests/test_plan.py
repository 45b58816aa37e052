import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from randaug_study import Plan, RandAugment, Space, TrivialAugmentWide, UniformAugment
from scipy import stats


def test_operations_signs_and_pairs_are_uniform_at_1e5_draws():
    aug = RandAugment(num_ops=2)
    plan = aug.sample(50_000, key=(1, 2))  # 1e5 draws; refused at p < 1e-6
    counts = torch.bincount(plan.op.flatten().long(), minlength=14)
    assert stats.chisquare(counts).pvalue > 1e-6
    pairs = torch.bincount((plan.op[:, 0].long() * 14 + plan.op[:, 1]), minlength=196)
    assert stats.chisquare(pairs).pvalue > 1e-6  # with replacement: equal pairs as often as others
    signed = torch.tensor(aug.space.signed)[plan.op.long()]
    assert stats.binomtest(int((plan.sign[signed] < 0).sum()), int(signed.sum())).pvalue > 1e-6
    assert bool((plan.sign[~signed] == 1).all())
    skewed = counts.clone()
    skewed[0] += 1000  # one operation drawn a seventh too often: the test must see it
    assert stats.chisquare(skewed).pvalue < 1e-6


def test_wide_bins_are_uniform():
    bins = torch.bincount(TrivialAugmentWide().sample(50_000, key=3).bin.flatten().long())
    assert len(bins) == 31
    assert stats.chisquare(bins).pvalue > 1e-6


def test_uniform_augment_leaves_out_half_and_draws_the_others_alike():
    plan = UniformAugment().sample(50_000, key=3)
    counts = torch.bincount(plan.op.flatten().long(), minlength=15)
    assert stats.binomtest(int(counts[0]), 100_000).pvalue > 1e-6
    assert stats.chisquare(counts[1:]).pvalue > 1e-6


@given(st.integers(0, 2**40), st.integers(0, 9), st.integers(0, 5), st.permutations(range(9)))
def test_a_row_depends_on_the_key_and_its_number_alone(key, start, steps, order):
    aug = RandAugment(num_ops=steps)
    whole = aug.sample(9, key)
    ids = torch.tensor(order)
    assert aug.sample(9, key, ids=ids) == whole[ids]
    part = torch.arange(start, 9)
    assert aug.sample(len(part), key, ids=part) == whole[start:]
    longer = aug.sample(9, key, num_ops=steps + 2)
    assert torch.equal(longer.op[:, :steps], whole.op)


def test_a_magnitude_between_bins_is_met_in_the_mean():
    bins = RandAugment(magnitude=7.25).sample(100_000, key=0).bin
    assert bins.unique().tolist() == [7, 8]
    assert float(bins.double().mean()) == pytest.approx(7.25, abs=5 * 0.433 / 200_000**0.5)


def test_noise_spreads_the_magnitude_and_is_clipped():
    bins = RandAugment(magnitude=15, noise=3.0).sample(50_000, key=0).bin.double()
    assert float(bins.mean()) == pytest.approx(15, abs=0.06)
    assert float(bins.var()) == pytest.approx(9 + 1 / 6, rel=0.03)  # and of the rounding
    strong = RandAugment(magnitude=30, noise=9.0).sample(1000, key=0).bin
    assert int(strong.max()) == 30


@given(st.integers(0, 5), st.integers(0, 4), st.booleans())
def test_json_gives_the_plan_back(batch, steps, zero):
    space = Space(("Rotate", "Invert"), 7, "wide", zero)
    aug = RandAugment(steps, 3, 7, ops=space.ops, ranges="wide", identity_at_zero=zero)
    plan = aug.sample(batch, key=1)
    read = Plan.from_json(plan.to_json())
    assert read == plan
    assert read.space == space
    assert read.op.shape == (batch, steps)


@pytest.mark.parametrize("text", ["", "{}", '{"format": "x", "version": 1}', "[1]", "null"])
def test_other_json_is_refused(text):
    with pytest.raises(ValueError, match="not a plan"):
        Plan.from_json(text)


def test_rows_join_and_part_again():
    a, b = (RandAugment().sample(5, key=k) for k in (1, 2))
    both = Plan.cat([a, b])
    assert both[:5] == a
    assert both[torch.arange(5, 10)] == b
    assert both[[0]].names == a.names[:1]
    assert both != Plan.cat([b, a])
    with pytest.raises(ValueError, match="share space and steps"):
        Plan.cat([a, RandAugment(3).sample(5, key=1)])


def test_a_table_has_a_row_for_each_operation():
    table = RandAugment().sample(3, key=0).to_table()
    assert {name: len(column) for name, column in table.items()} == dict.fromkeys(
        ("image", "step", "op", "sign", "bin"), 6
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"op": torch.full((2, 2), 14)}, "op must be from 0 to 13, got 14"),
        ({"bin": torch.full((2, 2), -1)}, "bin must be from 0 to 30, got -1"),
        ({"sign": torch.zeros(2, 2, dtype=torch.int8)}, "sign must be -1 or"),
        ({"op": torch.zeros(2, 3, dtype=torch.int8)}, r"alike, got \[\(2, 2\), \(2, 3\)\]"),
        ({"bin": torch.zeros(2, 2)}, "bin must be a tensor of integers"),
    ],
)
def test_a_plan_that_means_nothing_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(RandAugment().sample(2, key=0), **change)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_ops": -1}, "num_ops must be"),
        ({"magnitude": 31}, "magnitude must be from 0 to 30"),
        ({"ops": ("Rotat",)}, "ops has 'Rotat'"),
        ({"ops": ("Rotate", "Rotate")}, "none twice"),
        ({"num_magnitude_bins": 1}, "bins must be"),
        ({"ranges": "narrow"}, "ranges must be one of"),
        ({"interpolation": "bicubic"}, "interpolation must be 'nearest' or 'bilinear'"),
        ({"probability": 0.5, "ops": ("Rotate",)}, "needs 'Identity' as the first"),
        ({"noise": 1.0, "magnitude": None}, "go with a magnitude"),
    ],
)
def test_an_augmenter_says_what_is_wrong_with_its_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        RandAugment(**arguments)

import dataclasses

import numpy as np
import pytest
import torch
from randaug_study.arms import CURRICULA, RULES, Arm
from randaug_study.data import Data
from randaug_study.training import Recipe, network, train

RECIPE = Recipe(train=40, epochs=4, batch=16, lr=0.05, widths=(4, 8), strides=(2, 2))


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = np.arange(120) % 4
    x = rng.integers(0, 100, (120, 8, 8), np.uint8)
    for i, c in enumerate(y):
        x[i, :, 2 * c : 2 * c + 2] += 150
    return Data(x[:80], y[:80], x[80:], y[80:])


def timeless(run):
    return dataclasses.replace(run, cpu_s=0.0)


ARMS = [
    Arm("none", "none"),
    Arm("random", "random"),
    Arm("worst", "worst", k=3),
    Arm("batch", "worst", k=3, scope="batch"),
    Arm("epoch", "worst", k=3, scope="epoch"),
    Arm("boltzmann", "boltzmann", k=3, beta=-1.0),
    Arm("quantile", "quantile", k=3, q=0.5),
    Arm("mixture", "mixture", k=3, epsilon=0.5),
    Arm("copies", "copies", k=3),
    Arm("advaa", "advaa", k=3),
    Arm("up", "random", curriculum="up"),
]


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.name)
def test_every_arm_counts_what_it_did_and_repeats_to_the_bit(arm, data):
    run = train(arm, 0, RECIPE, data)
    assert timeless(run) == timeless(train(arm, 0, RECIPE, data))
    images = 40 * RECIPE.epochs
    assert run.trained == images * arm.copies
    assert run.scored == images * arm.scored
    assert run.augmented == (0 if arm.rule == "none" else images * arm.k)
    assert len(run.train_loss) == RECIPE.epochs
    assert len(run.gap) == (RECIPE.epochs if arm.needs_model else 0)
    assert len(run.controller) == (RECIPE.epochs if arm.rule == "advaa" else 0)
    counted = sum(map(sum, run.operations.values()))
    assert counted == (0 if arm.rule == "none" else 2 * run.trained)  # N = 2
    assert 0 <= run.accuracy <= 100
    assert f"{arm.name}, seed 0: {run.accuracy:.2f} %" in str(run)


def test_the_network_learns_the_drawn_classes(data):
    recipe = dataclasses.replace(RECIPE, epochs=25)
    assert train(Arm("none", "none"), 0, recipe, data).accuracy > 90


def test_one_candidate_is_random_and_one_copy_too(data):
    want = train(Arm("random", "random"), 1, RECIPE, data)
    for rule in ("worst", "copies"):
        got = train(Arm("random", rule, k=1), 1, RECIPE, data)
        assert got.accuracy == want.accuracy
        assert got.train_loss == want.train_loss
        assert got.operations == want.operations


def test_arms_of_a_seed_start_alike_and_seeds_apart(data):
    first = {
        (arm.name, seed): train(arm, seed, RECIPE, data).train_loss[0]
        for arm in (Arm("a", "none"), Arm("b", "none"))
        for seed in (0, 1)
    }
    assert first["a", 0] == first["b", 0] != first["a", 1]


def test_the_worst_of_more_has_the_wider_gap(data):
    gaps = [train(Arm("w", "worst", k=k), 0, RECIPE, data).gap[0] for k in (1, 2, 8)]
    assert gaps[0] == 0 < gaps[1] < gaps[2]


def test_global_state_is_left_as_it_was(data):
    torch.manual_seed(5)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    train(Arm("advaa", "advaa", k=2), 0, RECIPE, data)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("name", CURRICULA)
def test_a_curriculum_has_the_mean_of_the_constant_magnitude(name):
    values = Arm("c", "random", curriculum=name).magnitudes(9, 60)
    assert sum(values) / 60 == pytest.approx(9, abs=1e-9)
    assert len(set(values)) > 1


def test_progress_counts_epochs_of_the_arm(data):
    seen = []
    arm = Arm("long", "none", epochs=2)
    train(arm, 0, RECIPE, data, progress=lambda *at: seen.append(at))
    assert seen == [(1, 2), (2, 2)]


def test_a_loss_that_is_not_finite_stops_the_run(data):
    with pytest.raises(FloatingPointError, match="lower lr"):
        train(Arm("none", "none"), 0, dataclasses.replace(RECIPE, lr=1e30), data)


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ({"rule": "best"}, r"arm 'a': rule must be one of .*'worst'.*got 'best'"),
        ({"rule": "random", "curriculum": "left"}, "curriculum must be one of up, down"),
        ({"rule": "none", "curriculum": "up"}, "does nothing to rule 'none'"),
        ({"rule": "worst", "k": 0}, "at least 1, got 0"),
        ({"rule": "worst", "beat": 1}, "no entry 'beat'; there are name, rule, k"),
        ({"k": 2}, "lacks the entry 'rule'"),
        ({"rule": "worst", "k": "2"}, "wrong type"),
    ],
)
def test_an_arm_says_which_entry_is_wrong(entries, text):
    with pytest.raises(ValueError, match=text):
        Arm.read("a", entries)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"train": 0}, "at least 1"),
        ({"widths": (4,)}, r"as many, got \(4,\) and \(2, 2\)"),
        ({"magnitude": 40}, "magnitude"),
        ({"ops": ("Blur",)}, "Blur"),
    ],
)
def test_a_recipe_says_which_number_is_wrong(change, text):
    with pytest.raises(ValueError, match=text):
        dataclasses.replace(RECIPE, **change)


def test_all_rules_are_tried_here():
    assert {arm.rule for arm in ARMS} == set(RULES)
    assert network(3, 5, (4,), (1,))(torch.zeros(2, 3, 6, 6)).shape == (2, 5)

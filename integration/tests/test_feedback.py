import numpy as np
import pytest
import torch
from ema_scaling import Recipe
from tenfold.at_batch import Training
from tenfold.data.images import Split, fashion_mnist
from tenfold.feedback import apart, byol, mean_square, pseudo_labels


@pytest.fixture(scope="module")
def tiny():
    full = fashion_mnist()
    rows = full.train[:256], full.train_labels[:256], full.test[:64], full.test_labels[:64]
    return Split("tiny", *rows, full.classes)


def training(kappa, **changes):
    plain = {"batch": 32, "optimizer": "sgd", "lr": 0.03, "ema_decay": 0.9, "samples": 256}
    return Training(Recipe(**(plain | changes)), kappa, points=2)


def test_byol_measures_both_networks_and_starts_with_a_teacher_that_is_the_student(tiny):
    curve = byol(training(1), tiny, rule=True, width=8, dim=8)
    assert {len(column) for column in curve.values()} == {3}
    assert curve["projection distance"][0] == pytest.approx(0, abs=1e-6)
    assert curve["weight distance"][0] == 0
    assert curve["weight distance"][1] > 0
    assert curve["student probe"][0] == curve["teacher probe"][0]
    assert all(np.isfinite(column).all() for column in curve.values())


def test_without_the_rule_the_large_batchs_teacher_lags(tiny):
    arms = {rule: byol(training(4), tiny, rule=rule, width=8, dim=8) for rule in (True, False)}
    assert arms[False]["weight distance"][-1] > 1.3 * arms[True]["weight distance"][-1]
    assert arms[False]["loss"][0] == arms[True]["loss"][0]
    assert arms[False]["alignment"][-1] != arms[True]["alignment"][-1]  # the student itself


def test_at_the_base_batch_the_rule_changes_nothing(tiny):
    for train in (byol, pseudo_labels):
        options = {"labels": 32} if train is pseudo_labels else {"width": 8, "dim": 8}
        with_rule = train(training(1), tiny, rule=True, **options)
        assert with_rule == train(training(1), tiny, rule=False, **options)


def test_pseudo_labels_teach_what_the_few_labels_do_not(tiny):
    curve = pseudo_labels(training(1, samples=512, lr=0.01), tiny, rule=True, labels=32)
    assert {len(column) for column in curve.values()} == {3}
    assert curve["student"][-1] < curve["student"][0]
    with pytest.raises(ValueError, match="between 1 and 255, got 256"):
        pseudo_labels(training(1), tiny, rule=True, labels=256)


def test_the_objective_is_the_squared_distance_of_directions():
    a, b = torch.randn(5, 3), torch.randn(5, 3)
    unit = [torch.nn.functional.normalize(x, dim=1) for x in (a, b)]
    want = (unit[0] - unit[1]).pow(2).sum(1).mean()
    assert float(mean_square(a, a, b)) == pytest.approx(float(want), rel=1e-5)


def test_weights_are_apart_by_their_distance_over_the_models_length():
    model = {"a": torch.tensor([3.0]), "b": torch.tensor([4.0])}
    average = {"a": torch.tensor([3.0]), "b": torch.tensor([3.0])}
    assert apart(average, model) == pytest.approx(1 / 5)

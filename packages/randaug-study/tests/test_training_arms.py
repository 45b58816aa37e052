import dataclasses

import numpy as np
import pytest
import torch
from randaug_study import RandAugment
from randaug_study.advaa import AdvAA
from randaug_study.arms import Arm
from randaug_study.data import Data
from randaug_study.select import MeanOfK
from randaug_study.training import Recipe, _rows, train

RECIPE = Recipe(train=40, epochs=2, batch=10, lr=0.05, widths=(4,), strides=(2,))


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (80, 8, 8), np.uint8), np.arange(80) % 4
    return Data(x, y, x[:20], y[:20])


def test_a_curriculum_trains_each_epoch_at_its_own_magnitude(data):
    up = Arm("up", "random", curriculum="up")
    weakest = up.magnitudes(RECIPE.magnitude, RECIPE.epochs)[0]
    got = train(up, 0, RECIPE, data)
    random = Arm("random", "random")
    want = train(random, 0, dataclasses.replace(RECIPE, magnitude=weakest), data)
    constant = train(random, 0, RECIPE, data)
    assert got.train_loss[0] == want.train_loss[0] != constant.train_loss[0]
    assert got.train_loss[1] != want.train_loss[1]


def test_a_batch_of_copies_holds_every_copy_of_its_own_images(data):
    n = 12
    x = torch.arange(n, dtype=torch.uint8)[:, None, None, None].expand(n, 1, 4, 4)
    whole = MeanOfK(RandAugment(num_ops=0), k=3)(None, x, torch.arange(n), key=0)
    rows = torch.tensor([7, 2, 9])
    got = _rows(whole, rows, n)
    assert got.x[:, 0, 0, 0].tolist() == [7, 2, 9] * 3
    assert got.y.tolist() == [7, 2, 9] * 3
    assert got.chosen.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert len(got.plan) == 9


def test_batches_of_an_epoch_draw_lists_of_operations_of_their_own(data):
    run = train(Arm("batch", "worst", k=1, scope="batch"), 0, RECIPE, data)
    used = [sum(count > 0 for count in span) for span in zip(*run.operations.values(), strict=True)]
    assert max(used) > 2  # four batches of two operations; one list an epoch would use two


def test_the_controller_is_told_the_loss_of_every_row_that_was_trained_on(data, monkeypatch):
    told = []
    record = AdvAA.record

    def spy(self, selected, losses):
        told.append((selected, losses.clone()))
        record(self, selected, losses)

    monkeypatch.setattr(AdvAA, "record", spy)
    run = train(Arm("advaa", "advaa", k=3), 0, RECIPE, data)
    losses = torch.cat([rows for _, rows in told]).view(RECIPE.epochs, -1)
    assert losses.shape[1] == 40 * 3
    assert losses.mean(1).tolist() == pytest.approx(run.train_loss, abs=1e-4)
    assert all(len(rows.unique()) > 3 for _, rows in told)
    assert all(selected.chosen.bincount().tolist() == [10] * 3 for selected, _ in told)

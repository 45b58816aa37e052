import pytest
import torch
from tenfold import identity
from tenfold.augment import plain
from tenfold.data.images import fashion_mnist


@pytest.fixture(scope="module")
def images():
    return plain(torch.tensor(fashion_mnist().train[:12])).double()


def test_both_losses_are_one_number_and_what_ought_to_differ_does(images):
    found = identity.gaps(images)
    assert [gap.equal for gap in found] == [True] * 6 + [False] * 2
    assert all(gap.holds for gap in found)
    assert {gap.what.split(",")[0] for gap in found[:6]} == {"C4", "D4", "T(7x7)"}


def test_a_gap_holds_by_its_stated_bars():
    def gap(images, fibers, gradient, equal):
        return identity.Gap("", images, fibers, gradient, equal).holds

    assert gap(1.0, 1.0, 1e-12, True)
    assert not gap(1.0, 1.0 + 1e-11, 0.0, True)
    assert not gap(1.0, 1.0, 1e-10, True)
    assert not gap(1.0, float("nan"), 0.0, True)
    assert gap(1.0, 1.01, 0.0, False)
    assert not gap(1.0, 1.0001, 1.0, False)


def test_byols_teacher_has_weights_of_its_own(images):
    encoder = identity.encoder_of(identity.Cyclic(4), images, 0)
    parts = identity._parts(encoder, images, 0)
    apart = [(a - b).detach().abs().max() for a, b in
             zip(encoder.parameters(), parts.teacher[0].parameters(), strict=True)]  # fmt: skip
    assert float(max(apart)) > 0.01


def test_more_views_cost_a_loss_on_images_more_and_one_on_fibers_little(images):
    taken = identity.step_seconds_of(images.float(), turns=3)
    assert list(taken) == [2, 4]
    assert taken[4][0] / taken[4][1] > 1.5

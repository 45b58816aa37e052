import math

import pytest
import torch
from duet.probe import PoseErrors, ProbeScore, fit_classifier, linear_probe, pose_errors, pose_probe
from hypothesis import given
from hypothesis import strategies as st


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_classifier_stands_where_the_gradient_of_its_loss_vanishes():
    x, labels = drawn(60, 5), torch.arange(60) % 3
    x[:, 0] += labels
    l2 = 0.01
    weight, bias, shift, scale = fit_classifier(x, labels, l2=l2, steps=500)
    z = (x - shift) / scale
    left = torch.softmax(z @ weight + bias, 1) - torch.nn.functional.one_hot(labels)
    assert float((z.T @ left / len(z) + l2 * weight).abs().max()) < 1e-5
    assert float(left.mean(0).abs().max()) < 1e-5


def test_the_probe_learns_what_is_linear_and_nothing_else():
    x = drawn(900, 6)
    rule, noise = (x @ drawn(6, 3, seed=1)).argmax(1), torch.arange(900) * 7919 % 3
    for labels, low, high in ((rule, 0.93, 1.0), (noise, 0.2, 0.47)):
        score = linear_probe(x[:600], labels[:600], x[600:], labels[600:])
        assert low <= score.accuracy <= high
        assert score.n == 300


def test_the_probe_standardises_with_the_training_rows():
    x, labels = drawn(90, 4), torch.arange(90) % 2
    x[:, 2] = 5.0  # a constant column
    x[:, 1] += labels
    first = linear_probe(x[:60], labels[:60], x[60:], labels[60:])
    moved = 1000 * x + 77
    again = linear_probe(moved[:60], labels[:60], moved[60:], labels[60:])
    assert first == again


def test_a_share_has_wilsons_interval():
    score = ProbeScore(8, 10)
    assert score.interval == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert str(score) == "80.0 % (49.0 to 94.3, n=10)"
    assert score.to_table()["accuracy"] == [0.8]
    assert ProbeScore(0, 10).interval[0] == pytest.approx(0, abs=1e-12)


@given(found=st.floats(-3, 3), true=st.floats(-3, 3))
def test_on_the_circle_the_shorter_way_round_counts(found, true):
    errors = pose_errors(torch.tensor([found]), torch.tensor([true]), cyclic=True).errors
    a, b = 2 * math.pi * found, 2 * math.pi * true
    difference = math.degrees(math.atan2(math.sin(a - b), math.cos(a - b)))
    assert errors[0] == pytest.approx(abs(difference), abs=1e-3)
    assert 0 <= errors[0] <= 180


def test_on_a_range_the_plain_difference_counts():
    found, true = torch.tensor([0.9, 0.1, 0.5]), torch.tensor([0.1, 0.1, 0.7])
    errors = pose_errors(found, true, cyclic=False)
    assert errors.errors == pytest.approx((0.8, 0.0, 0.2))
    assert errors.median == pytest.approx(0.2)
    assert errors.mean == pytest.approx(1 / 3)
    assert str(errors) == "median 0.200, mean 0.333 of the range (chance 0.25, n=3)"
    assert {len(column) for column in errors.to_table().values()} == {1}


@pytest.mark.parametrize("cyclic", [True, False])
def test_chance_is_what_a_reading_that_knows_nothing_has(cyclic):
    p = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    errors = pose_errors(torch.full_like(p, 0.5), p, cyclic=cyclic)
    assert errors.mean == pytest.approx(errors.chance, rel=0.02)  # n = 20,000: s.e. 0.4 %


def test_the_pose_probe_is_ridge_regression_on_sine_and_cosine():
    x, p = drawn(40, 3), torch.rand(40, generator=torch.Generator().manual_seed(1)).double()
    z = (x - x.mean(0)) / x.std(0, correction=0)
    y = torch.stack([torch.cos(2 * math.pi * p), torch.sin(2 * math.pi * p)], 1)
    ridge = 0.1
    rows = torch.cat([z, math.sqrt(ridge * 40) * torch.eye(3, dtype=z.dtype)])
    sides = torch.cat([y - y.mean(0), torch.zeros(3, 2, dtype=z.dtype)])
    weight = torch.linalg.lstsq(rows, sides).solution  # the penalty as three more rows
    angle = torch.atan2(*(z @ weight + y.mean(0)).T.flip(0)) / (2 * math.pi)
    want = pose_errors(angle, p, cyclic=True)
    got = pose_probe(x, p, x, p, cyclic=True, ridge=ridge)
    assert got.errors == pytest.approx(want.errors, abs=1e-6)


def test_the_pose_probe_reads_across_the_seam_and_noise_is_at_chance():
    p = torch.rand(2000, generator=torch.Generator().manual_seed(2))
    x = torch.stack([torch.cos(2 * math.pi * (p + 0.2)), torch.sin(2 * math.pi * (p + 0.2))], 1)
    x = x @ drawn(2, 6, seed=3).float()
    assert max(pose_probe(x[:1000], p[:1000], x[1000:], p[1000:], cyclic=True).errors) < 2
    noise = drawn(2000, 6, seed=4)
    at_chance = pose_probe(noise[:1000], p[:1000], noise[1000:], p[1000:], cyclic=True)
    assert 84 < at_chance.mean < 96  # s.e. 1.6 degrees with n = 1,000


def test_the_pose_probe_reads_a_range_as_it_is():
    p = torch.rand(300, generator=torch.Generator().manual_seed(5))
    x = p[:, None] * torch.tensor([[2.0, -1.0]]) + 3
    found = pose_probe(x, p, x, p, cyclic=False, ridge=1e-9)
    assert not found.cyclic
    assert found.mean < 1e-3


def test_says_what_came():
    x, y = torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"\(4, 2\) and \(3,\)"):
        linear_probe(x, y[:3], x, y)
    with pytest.raises(ValueError, match="2 columns, got 3"):
        linear_probe(x, y, torch.zeros(4, 3), y)
    with pytest.raises(ValueError, match=r"int64 from 0, got torch\.float32"):
        linear_probe(x, y.float(), x, y.float())
    with pytest.raises(ValueError, match="2 columns, got 3"):
        pose_probe(x, y.float(), torch.zeros(4, 3), y.float(), cyclic=True)
    with pytest.raises(ValueError, match="N >= 1"):
        pose_errors(torch.zeros(0), torch.zeros(0), cyclic=True)
    assert PoseErrors((1.0, 3.0), True).median == 2.0
